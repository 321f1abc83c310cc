"""Connections: NetworkPolicies let through what pods need, and no more."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from scripts import reach, yamlio
from scripts.calls import Call
from scripts.findings import Severity
from scripts.manifest import Manifest, Where
from scripts.reach import EGRESS, FIELDS, INGRESS, Party, Policy, Rule
from scripts.rules.objects import Objects, pod
from scripts.rules.rule import Problem, rule
from scripts.workloads import Workload, mappings, selects, whole

_CONCEPTS = "https://kubernetes.io/docs/concepts/services-networking/network-policies/"
_REFERENCE = (
    "https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/"
)
_CONNECTIVITY = "docs/connectivity.md"

_DNS = 53
_DNS_PODS = Party("DNS", "kube-system", {"k8s-app": "kube-dns"})
_ANY = Party("a pod of no namespace in particular", "any")
_PRIVATE = ("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
_LARGEST_VPC = 16
"""https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html"""
_LAST_PORT = 65535
_OF_ONE_POD = ("statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index")

_MONITORING = {"namespaceSelector": {"matchLabels": {reach.NAMESPACE: "monitoring"}}}

Port = tuple[int, str]
"""Number and protocol."""
Peer = Mapping[str, Any]
"""An item of from or to."""


# What pods need of each other


@rule(_CONCEPTS)
def policy_blocks_call(objects: Objects) -> Iterator[Problem]:
    """Policies let pods connect to what their configuration names, at both ends.

    Else they try for ever: Maru makes no block without its sequencer, a node finds no peer, and
    nothing but a log says why.
    """
    blocked = _blocked_calls(objects)
    for key, (_, others) in _half_open(objects, blocked).items() if blocked else ():
        # Most often the same mistake.
        for label, (other, ports) in others.items() if key in blocked else ():
            blocked[key][1].setdefault(label, (other, set()))[1].update(ports)
    yield from _told(objects, blocked, "as their configuration or the other end's policy has it")


@rule(_CONCEPTS)
def half_open_connection(objects: Objects) -> Iterator[Problem]:
    """What one end's policy opens to the pods at the other end, the policy there opens, too.

    A connection needs both: with one end shut, the rule at the other does nothing.
    """
    calls = _blocked_calls(objects)
    blocked = {key: at for key, at in _half_open(objects, calls).items() if key not in calls}
    yield from _told(objects, blocked, "which the other end's policy opens")


def _blocked_calls(objects: Objects) -> _Blocked:
    """Return what pods call, and can't reach."""
    blocked: _Blocked = {}
    for source, target, port in _called(objects).values():
        _note(objects, source, target, port, blocked)
    return blocked


def _half_open(objects: Objects, calls: _Blocked) -> _Blocked:
    """Return what policies open at one end alone, but for what is called.

    Where calls between the same pods are blocked at the end that opens it, its port is what is
    wrong.
    """
    called, found = _called(objects), _Blocked()
    for policy in objects.policies:
        for direction in sorted(FIELDS.keys() & policy.isolates):
            for source, target, port in _opened(objects, policy, direction):
                if (_label(source), _label(target), port) not in called:
                    _note(objects, source, target, port, found)
    blocked: _Blocked = {}
    for (direction, label), (end, others) in found.items():
        opposite = INGRESS if direction == EGRESS else EGRESS
        left = {
            other: at
            for other, at in others.items()
            if label not in calls.get((opposite, other), (end, {}))[1]
        }
        if left:
            blocked[direction, label] = end, left
    return blocked


def _called(objects: Objects) -> dict[tuple[str, str, Port], tuple[Workload, Workload, Port]]:
    """Return the calls between pods, each once: source, target and port, by the labels of these."""
    return {
        (_label(call.source), _label(target), (call.port, "TCP")): (
            call.source,
            target,
            (call.port, "TCP"),
        )
        for call in objects.calls
        for target in call.targets
    }


_Blocked = dict[tuple[str, str], tuple[Workload, dict[str, tuple[Workload, set[Port]]]]]
"""Direction and label of the end that denies → that end, and the others, each with its ports."""


def _note(
    objects: Objects, source: Workload, target: Workload, port: Port, blocked: _Blocked
) -> None:
    """Add a connection to those that are blocked, where it is."""
    parties = objects.parties
    for direction, end, other in ((EGRESS, source, target), (INGRESS, target, source)):
        isolating = objects.isolating[direction, _label(end)]
        peer, at = parties[_label(other)], parties[_label(target)]
        if not reach.opens(isolating, direction, peer, at, *port):
            _, others = blocked.setdefault((direction, _label(end)), (end, {}))
            others.setdefault(_label(other), (other, set()))[1].add(port)


def _told(objects: Objects, blocked: _Blocked, why: str) -> Iterator[Problem]:
    """Yield what is blocked: a problem for each rule that is missing, or for a whole policy."""
    for (direction, label), (end, others) in sorted(blocked.items(), key=lambda item: item[0]):
        groups: dict[frozenset[Port], list[Workload]] = {}
        for other, ports in others.values():
            groups.setdefault(frozenset(ports), []).append(other)
        policy = _own_policy(objects, direction, end)
        if _has_dead_rules(objects, direction, end):
            continue
        if policy is None:
            rules = [_rule_to_write(direction, *group) for group in groups.items()]
            fix = (
                f"write a NetworkPolicy for them with {FIELDS[direction][0]}: [{', '.join(rules)}]"
            )
            ways = "; ".join(_way(direction, label, group) for group in groups.items())
            message = f"{ways}, {why}: no policy is for the pods of {label} alone"
            yield Problem(end.manifest, (*end.template, "metadata", "labels"), message, fix)
            continue
        for group in groups.items():
            path, fix = _to_write(objects, policy, direction, end, *group)
            message = (
                f"{_way(direction, label, group)}, {why}: "
                f"{policy.manifest.label} has no such {FIELDS[direction][0]}"
            )
            yield Problem(policy.manifest, path, message, fix)


def _way(direction: str, label: str, group: tuple[Iterable[Port], Sequence[Workload]]) -> str:
    """Return who may not connect to whom, in words."""
    ports, others = group
    names = _words(sorted(map(_label, others)))
    source, target = (label, names) if direction == EGRESS else (names, label)
    return f"the pods of {source} may not connect to {target} on {_numbers(ports)}"


def _to_write(
    objects: Objects,
    policy: Policy,
    direction: str,
    end: Workload,
    ports: Iterable[Port],
    others: Sequence[Workload],
) -> tuple[Where, str]:
    """Return where in a policy a connection belongs, and what to write there.

    That is a rule which has half of it, else the rules.
    """
    name, peers = FIELDS[direction]
    own, *theirs = (objects.parties[_label(one)] for one in (end, *others))
    for one in policy.rules[direction]:
        if one.ports and all(reach.is_for(policy, one, other) for other in theirs):
            return (*one.path, "ports"), f"add to it {_port_items(ports)}"
    for one in policy.rules[direction]:
        target = theirs[0] if direction == EGRESS else own
        if one.peers and all(reach.is_for_port(one, target, *port) for port in ports):
            return (*one.path, peers), f"add to it {_pod_items(others)}"
    fix = f"add to {name} {_rule_to_write(direction, ports, others)}"
    return _of_missing_rule(policy, direction), fix


def _of_missing_rule(policy: Policy, direction: str) -> Where:
    """Return the path of a rule that is not there: of all rules, where a patch may have it out."""
    path = ("spec", FIELDS[direction][0])
    return path if policy.manifest.patches else (*path, len(policy.rules[direction]))


def _rule_to_write(direction: str, ports: Iterable[Port], others: Sequence[Workload]) -> str:
    peers = FIELDS[direction][1]
    return f"{{{peers}: [{_pod_items(others)}], ports: [{_port_items(ports)}]}}"


def _pod_items(workloads: Iterable[Workload]) -> str:
    selectors = [one.get("spec", "selector", "matchLabels") or one.labels for one in workloads]
    return ", ".join(_flow({"podSelector": {"matchLabels": labels}}) for labels in selectors)


def _port_items(ports: Iterable[Port]) -> str:
    return ", ".join(_flow({"port": p, "protocol": protocol}) for p, protocol in sorted(ports))


def _opened(
    objects: Objects, policy: Policy, direction: str
) -> Iterator[tuple[Workload, Workload, Port]]:
    """Yield what a policy opens between pods by their labels: source, target and port."""
    for own in _selected(objects, policy):
        for one in policy.rules[direction]:
            for other in _named(objects, one):
                source, target = (own, other) if direction == EGRESS else (other, own)
                party = objects.parties[_label(target)]
                for port in sorted(_has(target)):
                    if one.ports and reach.is_for_port(one, party, *port):
                        yield source, target, port


def _named(objects: Objects, one: Rule) -> Iterator[Workload]:
    """Yield the workloads whose pods a rule names by labels."""
    for _, peer in one.peers or ():
        if peer.get("namespaceSelector") is None and peer.get("podSelector"):
            yield from objects.selected(peer["podSelector"])


# What pods need of others


@rule("https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/")
def policy_blocks_names(objects: Objects) -> Iterator[Problem]:
    """Policies let pods that connect to names ask the cluster's DNS, by UDP and by TCP.

    Else no name leads anywhere, and they reach nobody; without TCP, long answers fail alone.
    """
    missing: dict[tuple[str, ...], dict[str, Workload]] = {}
    for call in objects.calls:
        isolating = objects.isolating[EGRESS, _label(call.source)]
        if call.is_by_name and isolating:
            lacks = tuple(
                protocol
                for protocol in ("UDP", "TCP")
                if not any(_is_dns(peer) for peer in _peers(isolating, EGRESS, (_DNS, protocol)))
            )
            missing.setdefault(lacks, {})[_label(call.source)] = call.source
    for lacks, asking in missing.items():
        if lacks:
            yield _without_names(objects, lacks, list(asking.values()))


def _without_names(objects: Objects, lacks: Sequence[str], asking: Sequence[Workload]) -> Problem:
    """Return that workloads can't ask for names, at the policy that is nearest to it."""
    message = (
        f"the pods of {_words(sorted(map(_label, asking)))} may not ask the cluster's DNS by "
        f"{' or '.join(lacks)}, and they find the others by name"
    )
    of_system = {"matchLabels": {reach.NAMESPACE: _DNS_PODS.namespace}}
    peer = {"namespaceSelector": of_system, "podSelector": {"matchLabels": _DNS_PODS.labels}}
    ports = _port_items((_DNS, protocol) for protocol in lacks)
    for policy in objects.policies:
        for one in policy.rules[EGRESS]:
            if any(item.get("port") == _DNS for _, item in one.ports or ()):
                if not all(policy in objects.isolating[EGRESS, _label(asks)] for asks in asking):
                    fix = "write a selector that selects them, too"
                    return Problem(policy.manifest, ("spec", "podSelector"), message, fix)
                if all(reach.is_for_port(one, _DNS_PODS, _DNS, protocol) for protocol in lacks):
                    return Problem(
                        policy.manifest, (*one.path, "to"), message, f"write {_flow(peer)}"
                    )
                return Problem(policy.manifest, (*one.path, "ports"), message, f"add to it {ports}")
    fix = f"write networkPolicy.dnsTo: [{_flow(peer)}], or a NetworkPolicy for them with egress: "
    fix += f"[{{to: [{_flow(peer)}], ports: [{ports}]}}]"
    return Problem(asking[0].manifest, ("metadata", "name"), message, fix)


def _is_dns(peer: Peer | None) -> bool:
    """Return whether a peer can be a cluster's DNS: the usual one, or one that is elsewhere."""
    if peer is None or "ipBlock" in peer or reach.names(peer, _DNS_PODS, ""):
        return True
    name = yamlio.get(peer, ("namespaceSelector", "matchLabels", reach.NAMESPACE))
    is_misspelt = difflib.get_close_matches(str(name), ["kube-system"], cutoff=0.8)
    return peer.get("namespaceSelector") is not None and not is_misspelt


@rule(_CONCEPTS)
def policy_blocks_way_out(objects: Objects) -> Iterator[Problem]:
    """Policies let pods reach what their configuration names outside of the namespace.

    Else backups don't reach their bucket, or transfers their node, and it is missed when needed.
    """
    blocked: dict[str, tuple[Workload, dict[str, Call]]] = {}
    for call in objects.calls:
        isolating = objects.isolating[EGRESS, _label(call.source)]
        if call.targets or not isolating:
            continue
        peers = _peers(isolating, EGRESS, (call.port, "TCP"))
        if not any(_may_be(peer, call.host, call.namespace) for peer in peers):
            _, hosts = blocked.setdefault(_label(call.source), (call.source, {}))
            hosts[call.host] = call
    for label, (workload, hosts) in blocked.items():
        if _has_dead_rules(objects, EGRESS, workload):
            continue
        names = _words([f"{call.host}:{call.port}" for call in hosts.values()])
        message = f"the pods of {label} may not connect to {names}, as their configuration says"
        who = list({_flow(_peer_of(call)): _peer_of(call) for call in hosts.values()}.values())
        ports = {(call.port, "TCP") for call in hosts.values()}
        value = "txSenderTo" if workload.manifest.component == "tx-sender" else "backupTo"
        yield _at_own_policy(objects, EGRESS, workload, message, who, ports, value)


def _peer_of(call: Call) -> Peer:
    """Return what to write for who is called outside of the namespace."""
    if call.namespace:
        return {"namespaceSelector": {"matchLabels": {reach.NAMESPACE: call.namespace}}}
    network = reach.network(call.host)
    if network is not None:
        return {"ipBlock": {"cidr": network}}
    return {"ipBlock": {"cidr": "0.0.0.0/0", "except": list(_PRIVATE)}}


def _at_own_policy(
    objects: Objects,
    direction: str,
    workload: Workload,
    message: str,
    peers: Sequence[Peer],
    ports: Iterable[Port],
    value: str,
) -> Problem:
    """Return that a rule is missing, at the policy of a workload, or the workload without one.

    value: the chart's value that has the peers.
    """
    policy, (name, of) = _own_policy(objects, direction, workload), FIELDS[direction]
    item = f"{{{of}: {_flow(peers)}, ports: [{_port_items(ports)}]}}"
    if policy is None:
        fix = f"write a NetworkPolicy for them with {name}: [{item}]"
        return Problem(workload.manifest, ("metadata", "name"), message, fix)
    fix = f"add to {name} {item}"
    if not policy.manifest.patches and policy.manifest.template.startswith("chart/"):
        fix = f"write networkPolicy.{value}: {_flow(peers)}"
    wanted = set(ports)
    for one in policy.rules[direction]:
        is_for_ports = all(reach.is_for_port(one, _ANY, *port) for port in wanted)
        if one.peers and is_for_ports and not any(_named(objects, one)):
            return Problem(policy.manifest, (*one.path, of), message, fix)
    return Problem(policy.manifest, _of_missing_rule(policy, direction), message, fix)


def _may_be(peer: Peer | None, host: str, namespace: str) -> bool:
    """Return whether a peer may be, as far as can be known, who is called outside."""
    if peer is None:
        return True
    address = reach.network(host)
    if address is not None:
        return reach.names(peer, Party(host, address=host), "")
    if peer.get("ipBlock") is not None:
        return True
    selector = peer.get("namespaceSelector")
    return bool(namespace) and selector is not None and _may_select(selector, namespace)


def _may_select(selector: Any, namespace: str) -> bool:
    """Return whether a selector may select a namespace: of its labels only its name is known."""
    wanted = yamlio.get(selector, ("matchLabels", reach.NAMESPACE))
    if wanted is not None:
        return bool(wanted == namespace)
    expressions = [
        one
        for _, one in mappings(yamlio.get(selector, ("matchExpressions",)))
        if one.get("key") == reach.NAMESPACE
    ]
    return selects({"matchExpressions": expressions}, {reach.NAMESPACE: namespace})


@rule(_CONNECTIVITY)
def policy_blocks_scrape(objects: Objects) -> Iterator[Problem]:
    """Policies let somebody outside of the environment in to the ports that Prometheus scrapes.

    Else there are no metrics, and alerts on them stay silent.
    """
    blocked: dict[str, tuple[Workload, set[Port]]] = {}
    for workload, port in _scraped(objects):
        isolating = objects.isolating[INGRESS, _label(workload)]
        if isolating and not any(_is_outside(objects, p) for p in _into(objects, workload, port)):
            blocked.setdefault(_label(workload), (workload, set()))[1].add(port)
    usual = _usual_scraper(objects)
    peer = json.loads(usual) if usual else _MONITORING
    left = [at for at in blocked.values() if not _has_dead_rules(objects, INGRESS, at[0])]
    # Without any peer to scrape from, it is one value that is missing.
    for together in [left] if left and not usual else [[at] for at in left]:
        what = _words([f"{_numbers(ports)} of the pods of {_label(at)}" for at, ports in together])
        message = f"Prometheus may not scrape {what}"
        kin = {port for _, port in _scraped(objects)}
        yield _shut(objects, *together[0], message, peer, kin, "metricsFrom")


@rule(_CONNECTIVITY)
def scrape_from_another_namespace(objects: Objects) -> Iterator[Problem]:
    """All ports that Prometheus scrapes are open to one and the same peer.

    One Prometheus scrapes them all: where a port is open to another, its metrics are missing.
    """
    usual = _usual_scraper(objects)
    for workload, port in _scraped(objects):
        texts = _scrapers(objects, workload, port)
        if usual and texts and usual not in texts:
            policy, path = _opening(objects, workload, port)
            message = (
                f"{_numbers([port])} of the pods of {_label(workload)} is open to "
                f"{_flow(json.loads(texts[0]))}, and what Prometheus scrapes elsewhere to another"
            )
            yield Problem(policy.manifest, path, message, f"write {_flow(json.loads(usual))}")


def _usual_scraper(objects: Objects) -> str:
    """Return the peer, as JSON, to which most ports that Prometheus scrapes are open."""
    found = [text for one in _scraped(objects) for text in _scrapers(objects, *one)]
    return max(sorted(set(found)), key=found.count, default="")


def _scrapers(objects: Objects, workload: Workload, port: Port) -> list[str]:
    """Return the peers outside, as JSON, to which a port is open; none where all may."""
    found = [peer for peer in _into(objects, workload, port) if _is_outside(objects, peer)]
    return [] if None in found else [json.dumps(peer, sort_keys=True) for peer in found]


def _opening(objects: Objects, workload: Workload, port: Port) -> tuple[Policy, Where]:
    """Return the first policy and peer that open a workload's port to somebody outside."""
    party = objects.parties[_label(workload)]
    return next(
        (policy, path)
        for policy in objects.isolating[INGRESS, _label(workload)]
        for one in policy.rules[INGRESS]
        if reach.is_for_port(one, party, *port)
        for path, peer in one.peers or ()
        if _is_outside(objects, peer)
    )


def _scraped(objects: Objects) -> Iterator[tuple[Workload, Port]]:
    """Yield the workloads and ports of ServiceMonitors."""
    for monitor in objects.of_kind("ServiceMonitor"):
        selector = yamlio.get(monitor.object, ("spec", "selector"))
        names = [
            endpoint.get("port")
            for _, endpoint in mappings(yamlio.get(monitor.object, ("spec", "endpoints")))
        ]
        for service in objects.of_kind("Service"):
            labels = service.metadata.get("labels")
            if selects(selector, labels if isinstance(labels, dict) else {}):
                yield from _behind(objects, service, names)


@rule(_CONNECTIVITY)
def policy_blocks_load_balancer(objects: Objects) -> Iterator[Problem]:
    """Policies let in who comes through an Ingress, a load balancer or a node's port.

    Else the health checks fail, and clients get an error 503 or 504, or no answer at all.
    """
    blocked: dict[str, tuple[Workload, dict[Port, tuple[Manifest, bool]]]] = {}
    entered = set[Port]()
    for entry, service, names, is_by_address in _entries(objects):
        for workload, port in _behind(objects, service, names):
            entered.add(port)
            isolating = objects.isolating[INGRESS, _label(workload)]
            peers = _into(objects, workload, port)
            if isolating and not any(
                peer is None or "ipBlock" in peer if is_by_address else _is_outside(objects, peer)
                for peer in peers
            ):
                _, ports = blocked.setdefault(_label(workload), (workload, {}))
                ports.setdefault(port, (entry, is_by_address))
    for label, (workload, ports) in blocked.items():
        entries = _words(sorted({entry.label for entry, _ in ports.values()}))
        message = (
            f"nothing lets what comes by {entries} in to {_numbers(ports)} of the pods of {label}"
        )
        name = "the ingress controller's"
        peer: Peer = {"namespaceSelector": {"matchLabels": {reach.NAMESPACE: name}}}
        if any(entry.kind == "Service" or is_by_address for entry, is_by_address in ports.values()):
            peer = {"ipBlock": {"cidr": "the load balancer's subnets"}}
        if not _has_dead_rules(objects, INGRESS, workload):
            value = "ethstatsFrom" if workload.manifest.component == "ethstats" else "rpcFrom"
            p2p = _p2p(objects)
            kin = p2p if ports.keys() <= p2p else entered - p2p
            if kin is p2p:
                value, peer = "p2pFrom", {"ipBlock": {"cidr": "the addresses of the peers"}}
            yield _shut(objects, workload, ports, message, peer, kin, value)


def _entries(objects: Objects) -> Iterator[tuple[Manifest, Manifest, list[Any] | None, bool]]:
    """Yield the ways in: the object that opens it, the Service, its ports, whether by address.

    No ports where it is all of them.
    """
    for service in objects.of_kind("Service"):
        if yamlio.get(service.object, ("spec", "type")) in ("LoadBalancer", "NodePort"):
            yield service, service, None, False
    for ingress in objects.of_kind("Ingress"):
        is_by_address = yamlio.get(ingress.object, ("spec", "ingressClassName")) == "alb"
        backends = [yamlio.get(ingress.object, ("spec", "defaultBackend"))]
        for _, one in mappings(yamlio.get(ingress.object, ("spec", "rules"))):
            paths = mappings(yamlio.get(one, ("http", "paths")))
            backends += [path.get("backend") for _, path in paths]
        for backend in backends:
            service_ = objects.find("Service", yamlio.get(backend, ("service", "name")))
            port = yamlio.get(backend, ("service", "port"))
            if service_ and isinstance(port, dict):
                yield ingress, service_, [*port.values(), *_checked(ingress)], is_by_address


def _checked(ingress: Manifest) -> Iterator[int]:
    """Yield the port for the load balancer's health checks, where an Ingress has one for them."""
    port = yamlio.get(
        ingress.metadata, ("annotations", "alb.ingress.kubernetes.io/healthcheck-port")
    )
    if isinstance(port, str) and port.isdecimal():
        yield int(port)


def _behind(
    objects: Objects, service: Manifest, names: Sequence[Any] | None
) -> Iterator[tuple[Workload, Port]]:
    """Yield the workloads and ports that ports of a Service lead to, by their names or numbers."""
    selector = yamlio.get(service.object, ("spec", "selector"))
    if not isinstance(selector, dict):
        return
    # Labels that a StatefulSet gives its pods one by one stand in no template.
    labels = {key: value for key, value in selector.items() if key not in _OF_ONE_POD}
    for workload in objects.selected({"matchLabels": labels}):
        for _, item in mappings(yamlio.get(service.object, ("spec", "ports"))):
            if names is None or item.get("name") in names or item.get("port") in names:
                target, protocol = item.get("targetPort", item.get("port")), reach.protocol(item)
                if isinstance(target, str):
                    target = objects.parties[_label(workload)].ports.get((target, protocol))
                if target:
                    yield workload, (whole(target, 0), protocol)


def _into(objects: Objects, workload: Workload, port: Port) -> Iterator[Peer | None]:
    """Yield the peers to which policies open a port of a workload; None for everyone."""
    isolating = objects.isolating[INGRESS, _label(workload)]
    return _peers(isolating, INGRESS, port, objects.parties[_label(workload)])


def _peers(
    isolating: Iterable[Policy], direction: str, port: Port, target: Party = _ANY
) -> Iterator[Peer | None]:
    for policy in isolating:
        for one in policy.rules[direction]:
            if reach.is_for_port(one, target, *port):
                if one.peers is None:
                    yield None
                yield from (peer for _, peer in one.peers or ())


def _is_outside(objects: Objects, peer: Peer | None) -> bool:
    """Return whether a peer is, or includes, somebody that the environment does not make."""
    if peer is None or peer.get("ipBlock") is not None:
        return True
    if peer.get("namespaceSelector") is not None:
        return True
    return not objects.selected(peer.get("podSelector"))


def _shut(
    objects: Objects,
    workload: Workload,
    ports: Iterable[Port],
    message: str,
    peer: Peer,
    kin: set[Port],
    value: str,
) -> Problem:
    """Return that ports are shut to somebody outside, at the policy that may open them.

    peer: who it is, as far as that is known. kin: the ports that are for them; a rule that opens
    some of them to somebody outside is where others belong.
    """
    policy, missing = _own_policy(objects, INGRESS, workload), set(ports)
    for one in policy.rules[INGRESS] if policy else ():
        opened = set(_opens(objects, one, workload))
        is_to_outside = any(_is_outside(objects, item) for _, item in one.peers or ())
        if policy and is_to_outside and opened & kin and not opened & missing:
            path = (*one.path, "ports")
            return Problem(policy.manifest, path, message, f"add to it {_port_items(missing)}")
    return _at_own_policy(objects, INGRESS, workload, message, [peer], missing, value)


# Policies that let through too much


@rule(_CONCEPTS)
def pod_without_policy(objects: Objects) -> Iterator[Problem]:
    """Where policies isolate pods, they isolate all of them, in both directions.

    A pod that no policy selects is open to everyone, and reaches everyone.
    """
    for direction in (INGRESS, EGRESS):
        left = [one for one in objects.workloads if not objects.isolating[direction, _label(one)]]
        if len(left) == len(objects.workloads):
            continue
        for workload in left:
            if _has_dead_rules(objects, direction, workload):
                continue
            what = "everyone reaches them" if direction == INGRESS else "they reach everyone"
            message = f"no policy for {direction} selects the pods of {_label(workload)}: {what}"
            fix = f"write a NetworkPolicy with policyTypes [{direction}] that selects them"
            yield Problem(
                workload.manifest, (*workload.template, "metadata", "labels"), message, fix
            )


@rule(_CONCEPTS + "#default-deny-all-ingress-and-all-egress-traffic")
def production_without_default_deny(objects: Objects) -> Iterator[Problem]:
    """In production a policy denies what no other allows, for the whole namespace, both ways.

    Else a pod that somebody adds is open to everyone, and may connect to the nodes' peers.
    """
    if not objects.is_production:
        return
    denied = {
        direction for policy in filter(_is_whole, objects.policies) for direction in policy.isolates
    }
    missing = [direction for direction in FIELDS if direction not in denied]
    if not missing:
        return
    message = f"nothing denies {_words(missing)} to pods of the namespace that no policy selects"
    # One without rules is there to deny.
    denying = [policy for policy in objects.policies if not any(policy.rules.values())]
    widest = max(denying, key=lambda policy: len(_selected(objects, policy)), default=None)
    if widest is None:
        fix = "write networkPolicy: {enabled: true, wholeNamespace: true}"
        yield Problem(objects.application, ("metadata", "name"), message, fix)
        return
    is_whole = _is_whole(widest)
    path: Where = ("spec", "policyTypes")
    if not is_whole:
        labels = yamlio.get(widest.manifest.object, ("spec", "podSelector", "matchLabels"))
        path = ("spec", "podSelector", "matchLabels", *sorted(labels or ())[:1])
    fix = (
        "write policyTypes: [Ingress, Egress]"
        if is_whole
        else "write networkPolicy.wholeNamespace: true"
    )
    yield Problem(widest.manifest, path, message, fix)


@rule(_CONCEPTS)
def policy_lets_everyone_in(objects: Objects) -> Iterator[Problem]:
    """In production, policies let in somebody in particular, but for peers and load balancers.

    What is open to everyone is open to every pod of the cluster, and past the load balancer.
    """
    if not objects.is_production:
        return
    public = _public(objects)
    for policy, one in _rules(objects, INGRESS):
        ports = {port for own in _selected(objects, policy) for port in _opens(objects, one, own)}
        if one.peers is None:
            message = f"everyone may connect to {_numbers(ports) or 'the pods'}: there is no from"
            fix = "write from, with a selector or an ipBlock of those who need it"
            yield Problem(policy.manifest, one.path, message, fix)
        for path, peer in one.peers or ():
            block = yamlio.get(peer, ("ipBlock", "cidr"))
            if _is_any_address(peer) and not ports <= public:
                message = f"{block} may connect to {_numbers(ports - public)}, which is everyone"
                fix = "write the subnets of the load balancer, or whose addresses they are"
                yield Problem(policy.manifest, (*path, "ipBlock", "cidr"), message, fix)
            if _is_any_namespace(peer):
                message = f"pods of every namespace may connect to {_numbers(ports) or 'the pods'}"
                fix = f"write namespaceSelector: {{matchLabels: {{{reach.NAMESPACE}: …}}}}, "
                fix += "with the name of the namespace that needs it"
                yield Problem(policy.manifest, (*path, "namespaceSelector"), message, fix)


def _public(objects: Objects) -> set[Port]:
    """Return the ports that may be for all of the internet: of peers, and of load balancers."""
    balanced = {
        port
        for service in objects.of_kind("Service")
        if yamlio.get(service.object, ("spec", "type")) in ("LoadBalancer", "NodePort")
        for _, port in _behind(objects, service, None)
    }
    return _p2p(objects) | balanced


def _p2p(objects: Objects) -> set[Port]:
    """Return the ports for peers of the chain."""
    return {
        (number, protocol)
        for party in objects.parties.values()
        for (name, protocol), number in party.ports.items()
        if "p2p" in name.split("-")
    }


def _opens(objects: Objects, one: Rule, own: Workload) -> Iterator[Port]:
    """Yield the ports of a workload that an ingress rule is for."""
    party = objects.parties[_label(own)]
    return (port for port in _has(own) if reach.is_for_port(one, party, *port))


@rule(_CONCEPTS, severity=Severity.WARNING)
def policy_lets_whole_network_in(objects: Objects) -> Iterator[Problem]:
    """In production, policies let in subnets, not the network that all the pods are in.

    Pods have addresses of the VPC: its whole range lets in every pod of the cluster.
    """
    if not objects.is_production:
        return
    private = [reach.network(one) for one in _PRIVATE]
    for policy, one in _rules(objects, INGRESS):
        for path, peer in one.peers or ():
            found = reach.network(yamlio.get(peer, ("ipBlock", "cidr")))
            is_wide = found is not None and 0 < found.prefixlen <= _LARGEST_VPC
            if is_wide and any(_is_within(found, other) for other in private):
                message = f"{found} is as large as a VPC: it can have all pods of the cluster in it"
                fix = "write the subnets of the load balancer, like 10.30.0.0/22"
                yield Problem(policy.manifest, (*path, "ipBlock", "cidr"), message, fix)


def _is_within(inner: reach.Network | None, outer: reach.Network | None) -> bool:
    """Return whether all addresses of a network are in another; false where one is none."""
    if inner is None or outer is None or inner.version != outer.version:
        return False
    return inner.network_address in outer and inner.prefixlen >= outer.prefixlen


@rule(_CONCEPTS)
def policy_lets_out_everywhere(objects: Objects) -> Iterator[Problem]:
    """In production, policies let pods out to somebody in particular, or to some ports.

    Whoever gets into a pod that may go everywhere gets on to all that the cluster reaches.
    """
    if not objects.is_production:
        return
    for policy, one in _rules(objects, EGRESS):
        ports = [item for _, item in one.ports or ()]
        if one.peers is None and not (ports and all(item.get("port") == _DNS for item in ports)):
            message = f"the pods that {policy.manifest.label} selects may connect to everyone: "
            message += "there is no to"
            fix = "write to, with a selector or an ipBlock of those whom they need"
            yield Problem(policy.manifest, one.path, message, fix)
        for _, peer in one.peers or ():
            if _is_for_all_ports(one) and (_is_any_address(peer) or _is_any_namespace(peer)):
                message = (
                    f"the pods that {policy.manifest.label} selects may connect to {_flow(peer)}"
                )
                message += " on every port"
                fix = "write ports, like [{port: 443, protocol: TCP}]"
                yield Problem(policy.manifest, (*one.path, "ports"), message, fix)


@rule(_CONNECTIVITY, severity=Severity.WARNING)
def way_out_leads_to_private_networks(objects: Objects) -> Iterator[Problem]:
    """In production, what lets pods out to the internet excepts private networks.

    Else it is a way to other pods, other machines and the node's metadata service, too.
    """
    if not objects.is_production:
        return
    for policy, one in _rules(objects, EGRESS):
        for path, peer in one.peers or ():
            cidr = reach.network(yamlio.get(peer, ("ipBlock", "cidr")))
            if cidr is None or cidr.prefixlen or cidr.version != 4 or _is_for_all_ports(one):
                continue
            excepted = yamlio.get(peer, ("ipBlock", "except"))
            known = [reach.network(x) for x in excepted] if isinstance(excepted, list) else []
            left = [
                private
                for private in _PRIVATE
                if not any(_is_within(reach.network(private), other) for other in known)
            ]
            if left:
                message = f"{cidr} has private networks in it: {_words(left)}"
                fix = f"write except: [{', '.join(_PRIVATE)}], and subnets that are needed as "
                fix += "ipBlocks of their own"
                yield Problem(policy.manifest, (*path, "ipBlock"), message, fix)


@rule(_CONCEPTS + "#targeting-a-range-of-ports", severity=Severity.WARNING)
def policy_opens_all_ports(objects: Objects) -> Iterator[Problem]:
    """In production, the rules of policies name the ports that they are for.

    Without ports a rule is for all of them, those that somebody adds later, too.
    """
    if not objects.is_production:
        return
    for direction in FIELDS:
        for policy, one in _rules(objects, direction):
            is_told = direction == EGRESS and (
                one.peers is None
                or any(_is_any_address(p) or _is_any_namespace(p) for _, p in one.peers)
            )
            if one.peers is not None and _is_for_all_ports(one) and not is_told:
                ports = sorted(
                    {
                        port
                        for own in _targets(objects, policy, direction, one)
                        for port in _has(own)
                    }
                )
                message = f"a rule of {policy.manifest.label} opens every port"
                message += f", {_numbers(ports)} among them" if ports else ""
                fix = "write ports, with those that it is for, like [{port: 8545, protocol: TCP}]"
                yield Problem(policy.manifest, (*one.path, "ports"), message, fix)


def _targets(objects: Objects, policy: Policy, direction: str, one: Rule) -> list[Workload]:
    """Return the workloads that a rule lets connections reach."""
    return _selected(objects, policy) if direction == INGRESS else list(_named(objects, one))


@rule(_CONNECTIVITY)
def engine_api_open_to_others(objects: Objects) -> Iterator[Problem]:
    """Policies let only the Maru that drives a node connect to its Engine API.

    The Engine API decides what the chain is: whoever reaches it can make other blocks.
    """
    yield from _open_to_others(objects, "engine", "the Engine API")


@rule(_CONNECTIVITY)
def maru_api_open_to_others(objects: Objects) -> Iterator[Problem]:
    """Policies let only the sequencers connect to Maru's API.

    It is for their readiness; it asks nobody who he is, and a validator has better to do.
    """
    yield from _open_to_others(objects, "api", "Maru's API")


def _open_to_others(objects: Objects, name: str, called: str) -> Iterator[Problem]:
    """Yield the peers to which a port with a name is open, and that have no use for it."""
    for workload in objects.workloads:
        number = objects.parties[_label(workload)].ports.get((name, "TCP"))
        if number is None:
            continue
        callers = [
            _label(call.source)
            for call in objects.calls
            if call.port == number and workload in call.targets
        ]
        for policy in objects.isolating[INGRESS, _label(workload)]:
            for one in policy.rules[INGRESS]:
                party = objects.parties[_label(workload)]
                if not reach.is_for_port(one, party, number) or _is_told(objects, one):
                    continue
                who = {path: _beside(objects, peer, callers) for path, peer in one.peers or ()}
                is_peer_wrong = any(
                    reach.is_for(policy, one, objects.parties[caller]) for caller in callers
                )
                for path, others in who.items() if one.peers else [(one.path, "everyone")]:
                    if others:
                        message = f"{called}, {number}/TCP of the pods of {_label(workload)}, "
                        message += f"is open to {others}"
                        fix = f"remove it; it is for {_words(sorted(set(callers))) or 'nobody'}"
                        place = path if is_peer_wrong else _port_item(one, party, number)
                        yield Problem(policy.manifest, place, message, fix)


def _port_item(one: Rule, target: Party, port: int) -> Where:
    """Return the path of what opens a port in a rule; of the rule, where it opens all."""
    return next(
        (p for p, item in one.ports or () if reach.covers(item, target, port, "TCP")), one.path
    )


def _is_told(objects: Objects, one: Rule) -> bool:
    """Return whether other rules tell of it: in production, what is open to all, or all ports."""
    return objects.is_production and (one.peers is None or _is_for_all_ports(one))


def _beside(objects: Objects, peer: Peer, callers: Sequence[str]) -> str:
    """Return in words who a peer is beside the callers; nothing where it is nobody."""
    if peer.keys() != {"podSelector"}:
        return _flow(peer)
    if not peer["podSelector"]:
        return "every pod of the namespace"
    others = {_label(one) for one in objects.selected(peer["podSelector"])} - set(callers)
    return f"the pods of {_words(sorted(others))}" if others else ""


@rule(_CONNECTIVITY)
def ethstats_open_to_others(objects: Objects) -> Iterator[Problem]:
    """Policies let those pods of the environment connect to EthStats that report to it.

    Who may connect may also report, as any node: the dashboard would show what is not so.
    """
    for workload in objects.workloads:
        if workload.manifest.component != "ethstats":
            continue
        callers = [_label(call.source) for call in objects.calls if workload in call.targets]
        for policy in objects.isolating[INGRESS, _label(workload)]:
            for path, peer in (item for one in policy.rules[INGRESS] for item in one.peers or ()):
                is_by_labels = peer.keys() == {"podSelector"}
                if is_by_labels and (who := _beside(objects, peer, callers)):
                    message = f"EthStats is open to {who}"
                    fix = f"remove it; those that report are {_words(sorted(set(callers)))}"
                    yield Problem(policy.manifest, path, message, fix)


def _rules(objects: Objects, direction: str) -> Iterator[tuple[Policy, Rule]]:
    """Yield the rules of policies that are for a direction."""
    for policy in objects.policies:
        if direction in policy.isolates:
            yield from ((policy, one) for one in policy.rules[direction])


def _is_any_address(peer: Peer) -> bool:
    found = reach.network(yamlio.get(peer, ("ipBlock", "cidr")))
    return found is not None and found.prefixlen == 0


def _is_any_namespace(peer: Peer) -> bool:
    """Return whether pods of namespaces that nobody has thought of are among a peer."""
    selector = peer.get("namespaceSelector")
    return peer.get("podSelector") in (None, {}) and selects(selector, {reach.NAMESPACE: "any"})


def _is_for_all_ports(one: Rule) -> bool:
    return one.ports is None or any(
        item.get("port") is None
        or (whole(item["port"], 2) <= 1 and whole(item.get("endPort"), 0) >= _LAST_PORT)
        for _, item in one.ports
    )


@rule("https://datatracker.ietf.org/doc/html/rfc5737")
def block_of_no_addresses(objects: Objects) -> Iterator[Problem]:
    """In production, an ipBlock's addresses are somebody's.

    Those of documentation, which stand in examples, are nobody's: the rule opens nothing.
    """
    for policy, path, block in _blocks(objects) if objects.is_production else ():
        found = reach.network(block.get("cidr"))
        if any(_is_within(found, reach.network(one)) for one in _DOCUMENTATION):
            message = f"{found} are addresses for examples, and nobody has them: it opens nothing"
            fix = "write the addresses of those who connect, as the load balancer's subnets"
            yield Problem(policy.manifest, (*path, "cidr"), message, fix)


_DOCUMENTATION = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")


@rule(_CONCEPTS)
def way_out_for_others(objects: Objects) -> Iterator[Problem]:
    """In production, policies let those pods out to the internet that call somebody there.

    The others have no use for it, but for whoever gets into them.
    """
    if not objects.is_production:
        return
    outside = {_label(call.source) for call in objects.calls if not call.targets}
    for policy, one in _rules(objects, EGRESS):
        if not any(_is_any_address(peer) for _, peer in one.peers or ()):
            continue
        own = {_label(workload) for workload in _selected(objects, policy)}
        if own & outside and (others := sorted(own - outside)):
            message = f"{policy.manifest.label} lets {_words(others)} out to the internet, too: "
            message += f"only {_words(sorted(own & outside))} has somebody to call there"
            fix = "write a podSelector that selects no others"
            yield Problem(policy.manifest, ("spec", "podSelector"), message, fix)


# Policies that say what they don't mean


@rule(_REFERENCE)
def rules_without_their_policy_type(objects: Objects) -> Iterator[Problem]:
    """A policy's policyTypes have each direction that it has rules for.

    Else those rules do nothing, and the pods are as open, or as shut, as other policies have it.
    """
    for policy in objects.policies:
        types = yamlio.get(policy.manifest.object, ("spec", "policyTypes"))
        known = {one for one in types if isinstance(one, str)} if isinstance(types, list) else set()
        if types and known <= FIELDS.keys():
            for direction in FIELDS.keys() - known:
                if policy.rules[direction]:
                    name = FIELDS[direction][0]
                    message = f"policyTypes has no {direction}: the rules below {name} do nothing"
                    fix = f"write policyTypes: [Ingress, Egress], or remove {name}"
                    yield Problem(policy.manifest, ("spec", "policyTypes"), message, fix)


@rule(_REFERENCE)
def unknown_policy_type(objects: Objects) -> Iterator[Problem]:
    """A policy's policyTypes are Ingress and Egress.

    The API server takes no others: the sync fails.
    """
    for policy in objects.policies:
        types = yamlio.get(policy.manifest.object, ("spec", "policyTypes"))
        for index, one in enumerate(types if isinstance(types, list) else ()):
            if isinstance(one, str) and one not in FIELDS:
                near = difflib.get_close_matches(one.capitalize(), list(FIELDS), 1) or [INGRESS]
                message = f"there is no policy type {one}"
                yield Problem(
                    policy.manifest, ("spec", "policyTypes", index), message, f"write {near[0]}"
                )


@rule(_REFERENCE, severity=Severity.WARNING)
def empty_policy_types(objects: Objects) -> Iterator[Problem]:
    """A policy's policyTypes, where they are written, are not empty.

    An empty list means what Kubernetes fills in: Ingress always, Egress only beside egress rules.
    """
    for policy in objects.policies:
        if yamlio.get(policy.manifest.object, ("spec", "policyTypes")) == []:
            message = (
                f"policyTypes is empty: pods are isolated for {_words(sorted(policy.isolates))}"
            )
            fix = "write the directions that are meant, like [Ingress, Egress]"
            yield Problem(policy.manifest, ("spec", "policyTypes"), message, fix)


@rule(_REFERENCE)
def block_of_no_range(objects: Objects) -> Iterator[Problem]:
    """An ipBlock's addresses are ranges, like 10.30.0.0/22.

    The API server takes nothing else: the sync fails.
    """
    for policy, path, block in _blocks(objects):
        for inner, text in (((*path, "cidr"), block.get("cidr")), *_excepted(path, block)):
            is_range = isinstance(text, str) and "/" in text and reach.network(text)
            if not is_range:
                message = f"{text} is no range of addresses"
                fix = "write an address and a length, like 10.30.0.0/22, or /32 for one address"
                yield Problem(policy.manifest, inner, message, fix)


@rule(_REFERENCE)
def exception_outside_of_block(objects: Objects) -> Iterator[Problem]:
    """What an ipBlock excepts is a part of it.

    The API server takes nothing else: the sync fails.
    """
    for policy, path, block in _blocks(objects):
        cidr = reach.network(block.get("cidr"))
        for inner, text in _excepted(path, block):
            found = reach.network(text)
            if cidr and found and (found == cidr or not _is_within(found, cidr)):
                what = "all of" if found == cidr else "not a part of"
                message = f"{text} is to be excepted, and it is {what} {cidr}"
                yield Problem(
                    policy.manifest, inner, message, "write a narrower range, or remove it"
                )


def _blocks(objects: Objects) -> Iterator[tuple[Policy, Where, Mapping[str, Any]]]:
    for policy, path, peer in _all_peers(objects):
        block = peer.get("ipBlock")
        if isinstance(block, dict):
            yield policy, (*path, "ipBlock"), block


def _excepted(path: Where, block: Mapping[str, Any]) -> list[tuple[Where, Any]]:
    excepted = block.get("except")
    items = excepted if isinstance(excepted, list) else []
    return [((*path, "except", index), text) for index, text in enumerate(items)]


def _all_peers(objects: Objects) -> Iterator[tuple[Policy, Where, Peer]]:
    for policy in objects.policies:
        for one in (*policy.rules[INGRESS], *policy.rules[EGRESS]):
            yield from ((policy, path, peer) for path, peer in one.peers or ())


@rule(_REFERENCE)
def block_beside_a_selector(objects: Objects) -> Iterator[Problem]:
    """A peer of a policy is an ipBlock, or pods by selectors, not both, and not nothing.

    The API server takes neither: the sync fails.
    """
    for policy, path, peer in _all_peers(objects):
        given = {key for key, value in peer.items() if value is not None}
        if "ipBlock" in given and len(given) > 1:
            message = "an item has an ipBlock and a selector"
            yield Problem(policy.manifest, path, message, "write two items, one for each")
        if not given:
            message = "an item names nobody"
            yield Problem(
                policy.manifest, path, message, "write podSelector: {} for every pod here"
            )


@rule(_CONCEPTS + "#targeting-a-range-of-ports")
def range_of_ports_without_an_end(objects: Objects) -> Iterator[Problem]:
    """An endPort stands beside a port that is a number, and is not less than it.

    The API server takes nothing else: the sync fails.
    """
    for policy, path, item in _all_ports(objects):
        first, last = item.get("port"), item.get("endPort")
        if last is None:
            continue
        if not isinstance(first, int):
            given = "missing" if first is None else first
            message = f"endPort {last} is beside no number: port is {given}"
            yield Problem(policy.manifest, (*path, "endPort"), message, "write port as a number")
        elif whole(last, first) < first:
            message = f"endPort {last} is less than port {first}"
            fix = f"write port: {last} and endPort: {first}, or remove endPort"
            yield Problem(policy.manifest, (*path, "endPort"), message, fix)


@rule(_CONNECTIVITY)
def port_name_beside_a_block(objects: Objects) -> Iterator[Problem]:
    """Beside an ipBlock a policy has ports by number.

    Addresses have no names for ports, and the VPC CNI leaves such a rule out: it opens nothing.
    """
    for policy in objects.policies:
        for one in (*policy.rules[INGRESS], *policy.rules[EGRESS]):
            if not any(peer.get("ipBlock") is not None for _, peer in one.peers or ()):
                continue
            for path, item in one.ports or ():
                name = item.get("port")
                if isinstance(name, str):
                    numbers = {
                        party.ports[name, reach.protocol(item)]
                        for party in objects.parties.values()
                        if (name, reach.protocol(item)) in party.ports
                    }
                    message = f"port {name} is a name, and a rule for addresses has no use for it"
                    fix = f"write {min(numbers)}" if numbers else "write its number"
                    yield Problem(policy.manifest, (*path, "port"), message, fix)


def _all_ports(objects: Objects) -> Iterator[tuple[Policy, Where, Mapping[str, Any]]]:
    for policy in objects.policies:
        for one in (*policy.rules[INGRESS], *policy.rules[EGRESS]):
            yield from ((policy, path, item) for path, item in one.ports or ())


# What the functions above share


def _selected(objects: Objects, policy: Policy) -> list[Workload]:
    """Return the workloads whose pods a policy is about."""
    return [one for one in objects.workloads if policy.selects(objects.parties[_label(one)])]


def _is_whole(policy: Policy) -> bool:
    """Return whether a policy is about all pods of its namespace, whatever their labels."""
    return policy.selects(Party("any pod", policy.manifest.namespace))


def _has_dead_rules(objects: Objects, direction: str, workload: Workload) -> bool:
    """Return whether a policy of a workload's pods has rules for a direction that it is not for.

    Of that rules-without-their-policy-type tells, and not of what comes of it.
    """
    party = objects.parties[_label(workload)]
    return any(
        policy.rules[direction] and direction not in policy.isolates and policy.selects(party)
        for policy in objects.policies
    )


def _own_policy(objects: Objects, direction: str, workload: Workload) -> Policy | None:
    """Return the policy that isolates a workload's pods, and no others."""
    isolating = objects.isolating[direction, _label(workload)]
    return next((one for one in isolating if len(_selected(objects, one)) == 1), None)


def _has(workload: Workload) -> set[Port]:
    """Return the ports that the containers of a workload's pods say they have."""
    return {
        (whole(port.get("containerPort"), 0), reach.protocol(port))
        for _, container in mappings(pod(workload)[1].get("containers"))
        for _, port in mappings(container.get("ports"))
    }


def _label(workload: Workload) -> str:
    return workload.manifest.label


def _numbers(ports: Iterable[Port]) -> str:
    return _words([f"{number}/{protocol}" for number, protocol in sorted(ports)])


def _words(items: Sequence[str]) -> str:
    return " and ".join([", ".join(items[:-1]), items[-1]] if items[1:] else items)


def _flow(data: Any) -> str:
    """Return data as YAML on one line."""
    if isinstance(data, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(value)}" for key, value in data.items()) + "}"
    if isinstance(data, list):
        return f"[{', '.join(map(_flow, data))}]"
    return str(data)
