"""Connections: NetworkPolicies let through what pods need."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from scripts.core import paths
from scripts.kubernetes import network_policies
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.network_policies import EGRESS, FIELDS, INGRESS, Party, Policy
from scripts.kubernetes.pod_connections import Call
from scripts.kubernetes.workloads import Workload, mappings, selects
from scripts.rules.networking.policies import (
    CONCEPTS,
    CONNECTIVITY,
    DNS,
    PRIVATE,
    Peer,
    Port,
    flow,
    has_dead_rules,
    has_ports,
    joined,
    label_of,
    named_pods,
    numbered,
    opened_ports,
    p2p_ports,
    pods_behind,
    selected,
)
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects

_DNS_PODS = Party("DNS", "kube-system", {"k8s-app": "kube-dns"})
_ANY = Party("a pod of no namespace in particular", "any")
_MONITORING = {"namespaceSelector": {"matchLabels": {network_policies.NAMESPACE: "monitoring"}}}


@rule(CONCEPTS)
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


@rule(CONCEPTS)
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
                if (label_of(source), label_of(target), port) not in called:
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
        (label_of(call.source), label_of(target), (call.port, "TCP")): (
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
        isolating = objects.isolating[direction, label_of(end)]
        peer, at = parties[label_of(other)], parties[label_of(target)]
        if not network_policies.opens(isolating, direction, peer, at, *port):
            _, others = blocked.setdefault((direction, label_of(end)), (end, {}))
            others.setdefault(label_of(other), (other, set()))[1].add(port)


def _told(objects: Objects, blocked: _Blocked, why: str) -> Iterator[Problem]:
    """Yield what is blocked: a problem for each rule that is missing, or for a whole policy."""
    for (direction, label), (end, others) in sorted(blocked.items(), key=lambda item: item[0]):
        groups: dict[frozenset[Port], list[Workload]] = {}
        for other, ports in others.values():
            groups.setdefault(frozenset(ports), []).append(other)
        policy = _own_policy(objects, direction, end)
        if has_dead_rules(objects, direction, end):
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
    names = joined(sorted(map(label_of, others)))
    source, target = (label, names) if direction == EGRESS else (names, label)
    return f"the pods of {source} may not connect to {target} on {numbered(ports)}"


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
    own, *theirs = (objects.parties[label_of(one)] for one in (end, *others))
    for one in policy.rules[direction]:
        if one.ports and all(network_policies.is_for(policy, one, other) for other in theirs):
            return (*one.path, "ports"), f"add to it {_port_items(ports)}"
    for one in policy.rules[direction]:
        target = theirs[0] if direction == EGRESS else own
        if one.peers and all(network_policies.is_for_port(one, target, *port) for port in ports):
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
    return ", ".join(flow({"podSelector": {"matchLabels": labels}}) for labels in selectors)


def _port_items(ports: Iterable[Port]) -> str:
    return ", ".join(flow({"port": p, "protocol": protocol}) for p, protocol in sorted(ports))


def _opened(
    objects: Objects, policy: Policy, direction: str
) -> Iterator[tuple[Workload, Workload, Port]]:
    """Yield what a policy opens between pods by their labels: source, target and port."""
    for own in selected(objects, policy):
        for one in policy.rules[direction]:
            for other in named_pods(objects, one):
                source, target = (own, other) if direction == EGRESS else (other, own)
                party = objects.parties[label_of(target)]
                for port in sorted(has_ports(target)):
                    if one.ports and network_policies.is_for_port(one, party, *port):
                        yield source, target, port


@rule("https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/")
def policy_blocks_names(objects: Objects) -> Iterator[Problem]:
    """Policies let pods that connect to names ask the cluster's DNS, by UDP and by TCP.

    Else no name leads anywhere, and they reach nobody; without TCP, long answers fail alone.
    """
    missing: dict[tuple[str, ...], dict[str, Workload]] = {}
    for call in objects.calls:
        isolating = objects.isolating[EGRESS, label_of(call.source)]
        if call.is_by_name and isolating:
            lacks = tuple(
                protocol
                for protocol in ("UDP", "TCP")
                if not any(_is_dns(peer) for peer in _peers(isolating, EGRESS, (DNS, protocol)))
            )
            missing.setdefault(lacks, {})[label_of(call.source)] = call.source
    for lacks, asking in missing.items():
        if lacks:
            yield _without_names(objects, lacks, list(asking.values()))


def _without_names(objects: Objects, lacks: Sequence[str], asking: Sequence[Workload]) -> Problem:
    """Return that workloads can't ask for names, at the policy that is nearest to it."""
    message = (
        f"the pods of {joined(sorted(map(label_of, asking)))} may not ask the cluster's DNS by "
        f"{' or '.join(lacks)}, and they find the others by name"
    )
    of_system = {"matchLabels": {network_policies.NAMESPACE: _DNS_PODS.namespace}}
    peer = {"namespaceSelector": of_system, "podSelector": {"matchLabels": _DNS_PODS.labels}}
    ports = _port_items((DNS, protocol) for protocol in lacks)
    for policy in objects.policies:
        for one in policy.rules[EGRESS]:
            if any(item.get("port") == DNS for _, item in one.ports or ()):
                if not all(policy in objects.isolating[EGRESS, label_of(asks)] for asks in asking):
                    fix = "write a selector that selects them, too"
                    return Problem(policy.manifest, ("spec", "podSelector"), message, fix)
                if all(
                    network_policies.is_for_port(one, _DNS_PODS, DNS, protocol)
                    for protocol in lacks
                ):
                    return Problem(
                        policy.manifest, (*one.path, "to"), message, f"write {flow(peer)}"
                    )
                return Problem(policy.manifest, (*one.path, "ports"), message, f"add to it {ports}")
    fix = f"write networkPolicy.dnsTo: [{flow(peer)}], or a NetworkPolicy for them with egress: "
    fix += f"[{{to: [{flow(peer)}], ports: [{ports}]}}]"
    return Problem(asking[0].manifest, ("metadata", "name"), message, fix)


def _is_dns(peer: Peer | None) -> bool:
    """Return whether a peer can be a cluster's DNS: the usual one, or one that is elsewhere."""
    if peer is None or "ipBlock" in peer or network_policies.names(peer, _DNS_PODS, ""):
        return True
    name = paths.get(peer, ("namespaceSelector", "matchLabels", network_policies.NAMESPACE))
    is_misspelt = difflib.get_close_matches(str(name), ["kube-system"], cutoff=0.8)
    return peer.get("namespaceSelector") is not None and not is_misspelt


@rule(CONCEPTS)
def policy_blocks_way_out(objects: Objects) -> Iterator[Problem]:
    """Policies let pods reach what their configuration names outside of the namespace.

    Else backups don't reach their bucket, or transfers their node, and it is missed when needed.
    """
    blocked: dict[str, tuple[Workload, dict[str, Call]]] = {}
    for call in objects.calls:
        isolating = objects.isolating[EGRESS, label_of(call.source)]
        if call.targets or not isolating:
            continue
        peers = _peers(isolating, EGRESS, (call.port, "TCP"))
        if not any(_may_be(peer, call.host, call.namespace) for peer in peers):
            _, hosts = blocked.setdefault(label_of(call.source), (call.source, {}))
            hosts[call.host] = call
    for label, (workload, hosts) in blocked.items():
        if has_dead_rules(objects, EGRESS, workload):
            continue
        names = joined([f"{call.host}:{call.port}" for call in hosts.values()])
        message = f"the pods of {label} may not connect to {names}, as their configuration says"
        who = list({flow(_peer_of(call)): _peer_of(call) for call in hosts.values()}.values())
        ports = {(call.port, "TCP") for call in hosts.values()}
        value = "txSenderTo" if workload.manifest.component == "tx-sender" else "backupTo"
        yield _only_ports_missing(objects, workload, message, list(hosts.values())) or (
            _at_own_policy(objects, EGRESS, workload, message, who, ports, value)
        )


def _only_ports_missing(
    objects: Objects, workload: Workload, message: str, calls: Sequence[Call]
) -> Problem | None:
    """Return that a rule for the right addresses lacks the ports; None if there is no such rule."""
    policy = _own_policy(objects, EGRESS, workload)
    for one in policy.rules[EGRESS] if policy else ():
        peers = [None] if one.peers is None else [peer for _, peer in one.peers]
        if policy and all(
            any(_may_be(peer, call.host, call.namespace) for peer in peers) for call in calls
        ):
            items = _port_items({(call.port, "TCP") for call in calls})
            path, fix = (*one.path, "ports"), f"add to the ports of this rule {items}"
            if not policy.manifest.patches and policy.manifest.template.startswith("chart/"):
                is_sender = workload.manifest.component == "tx-sender"
                value = "txSender.rpc.port" if is_sender else "backup.storage.endpoint"
                path, fix = (
                    (*one.path, "to"),
                    f"write the port in {value}: the policy opens that one",
                )
            return Problem(policy.manifest, path, message, fix)
    return None


def _peer_of(call: Call) -> Peer:
    """Return what to write for who is called outside of the namespace."""
    if call.namespace:
        return {"namespaceSelector": {"matchLabels": {network_policies.NAMESPACE: call.namespace}}}
    network = network_policies.network(call.host)
    if network is not None:
        return {"ipBlock": {"cidr": network}}
    return {"ipBlock": {"cidr": "0.0.0.0/0", "except": list(PRIVATE)}}


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
    item = f"{{{of}: {flow(peers)}, ports: [{_port_items(ports)}]}}"
    if policy is None:
        fix = f"write a NetworkPolicy for them with {name}: [{item}]"
        return Problem(workload.manifest, ("metadata", "name"), message, fix)
    fix = f"add to {name} {item}"
    if not policy.manifest.patches and policy.manifest.template.startswith("chart/"):
        fix = f"write networkPolicy.{value}: {flow(peers)}"
    wanted = set(ports)
    for one in policy.rules[direction]:
        is_for_ports = all(network_policies.is_for_port(one, _ANY, *port) for port in wanted)
        if one.peers and is_for_ports and not any(named_pods(objects, one)):
            return Problem(policy.manifest, (*one.path, of), message, fix)
    return Problem(policy.manifest, _of_missing_rule(policy, direction), message, fix)


def _may_be(peer: Peer | None, host: str, namespace: str) -> bool:
    """Return whether a peer may be, as far as can be known, who is called outside."""
    if peer is None:
        return True
    address = network_policies.network(host)
    if address is not None:
        return network_policies.names(peer, Party(host, address=host), "")
    if peer.get("ipBlock") is not None:
        return True
    selector = peer.get("namespaceSelector")
    return bool(namespace) and selector is not None and _may_select(selector, namespace)


def _may_select(selector: Any, namespace: str) -> bool:
    """Return whether a selector may select a namespace: of its labels only its name is known."""
    wanted = paths.get(selector, ("matchLabels", network_policies.NAMESPACE))
    if wanted is not None:
        return bool(wanted == namespace)
    expressions = [
        one
        for _, one in mappings(paths.get(selector, ("matchExpressions",)))
        if one.get("key") == network_policies.NAMESPACE
    ]
    return selects({"matchExpressions": expressions}, {network_policies.NAMESPACE: namespace})


@rule(CONNECTIVITY)
def policy_blocks_scrape(objects: Objects) -> Iterator[Problem]:
    """Policies let somebody outside of the environment in to the ports that Prometheus scrapes.

    Else there are no metrics, and alerts on them stay silent.
    """
    blocked: dict[str, tuple[Workload, set[Port]]] = {}
    for workload, port in _scraped(objects):
        isolating = objects.isolating[INGRESS, label_of(workload)]
        if isolating and not any(_is_outside(objects, p) for p in _into(objects, workload, port)):
            blocked.setdefault(label_of(workload), (workload, set()))[1].add(port)
    usual = _usual_scraper(objects)
    peer = json.loads(usual) if usual else _MONITORING
    left = [at for at in blocked.values() if not has_dead_rules(objects, INGRESS, at[0])]
    # Without any peer to scrape from, it is one value that is missing.
    for together in [left] if left and not usual else [[at] for at in left]:
        what = joined(
            [f"{numbered(ports)} of the pods of {label_of(at)}" for at, ports in together]
        )
        message = f"Prometheus may not scrape {what}"
        kin = {port for _, port in _scraped(objects)}
        yield _shut(objects, *together[0], message, peer, kin, "metricsFrom")


@rule(CONNECTIVITY)
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
                f"{numbered([port])} of the pods of {label_of(workload)} is open to "
                f"{flow(json.loads(texts[0]))}, and what Prometheus scrapes elsewhere to another"
            )
            yield Problem(policy.manifest, path, message, f"write {flow(json.loads(usual))}")


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
    party = objects.parties[label_of(workload)]
    return next(
        (policy, path)
        for policy in objects.isolating[INGRESS, label_of(workload)]
        for one in policy.rules[INGRESS]
        if network_policies.is_for_port(one, party, *port)
        for path, peer in one.peers or ()
        if _is_outside(objects, peer)
    )


def _scraped(objects: Objects) -> Iterator[tuple[Workload, Port]]:
    """Yield the workloads and ports of ServiceMonitors."""
    for monitor in objects.of_kind("ServiceMonitor"):
        selector = paths.get(monitor.object, ("spec", "selector"))
        names = [
            endpoint.get("port")
            for _, endpoint in mappings(paths.get(monitor.object, ("spec", "endpoints")))
        ]
        for service in objects.of_kind("Service"):
            labels = service.metadata.get("labels")
            if selects(selector, labels if isinstance(labels, dict) else {}):
                yield from pods_behind(objects, service, names)


@rule(CONNECTIVITY)
def policy_blocks_load_balancer(objects: Objects) -> Iterator[Problem]:
    """Policies let in who comes through an Ingress, a load balancer or a node's port.

    Else the health checks fail, and clients get an error 503 or 504, or no answer at all.
    """
    blocked: dict[str, tuple[Workload, dict[Port, tuple[Manifest, bool]]]] = {}
    entered = set[Port]()
    for entry, service, names, is_by_address in _entries(objects):
        for workload, port in pods_behind(objects, service, names):
            entered.add(port)
            isolating = objects.isolating[INGRESS, label_of(workload)]
            peers = _into(objects, workload, port)
            if isolating and not any(
                peer is None or "ipBlock" in peer if is_by_address else _is_outside(objects, peer)
                for peer in peers
            ):
                _, ports = blocked.setdefault(label_of(workload), (workload, {}))
                ports.setdefault(port, (entry, is_by_address))
    for label, (workload, ports) in blocked.items():
        entries = joined(sorted({entry.label for entry, _ in ports.values()}))
        message = (
            f"nothing lets what comes by {entries} in to {numbered(ports)} of the pods of {label}"
        )
        name = "the ingress controller's"
        peer: Peer = {"namespaceSelector": {"matchLabels": {network_policies.NAMESPACE: name}}}
        if any(entry.kind == "Service" or is_by_address for entry, is_by_address in ports.values()):
            peer = {"ipBlock": {"cidr": "the load balancer's subnets"}}
        if not has_dead_rules(objects, INGRESS, workload):
            value = "ethstatsFrom" if workload.manifest.component == "ethstats" else "rpcFrom"
            p2p = p2p_ports(objects)
            kin = p2p if ports.keys() <= p2p else entered - p2p
            if kin is p2p:
                value, peer = "p2pFrom", {"ipBlock": {"cidr": "the addresses of the peers"}}
            yield _shut(objects, workload, ports, message, peer, kin, value)


def _entries(objects: Objects) -> Iterator[tuple[Manifest, Manifest, list[Any] | None, bool]]:
    """Yield the ways in: the object that opens it, the Service, its ports, whether by address.

    No ports where it is all of them.
    """
    for service in objects.of_kind("Service"):
        if paths.get(service.object, ("spec", "type")) in ("LoadBalancer", "NodePort"):
            yield service, service, None, False
    for ingress in objects.of_kind("Ingress"):
        is_by_address = paths.get(ingress.object, ("spec", "ingressClassName")) == "alb"
        backends = [paths.get(ingress.object, ("spec", "defaultBackend"))]
        for _, one in mappings(paths.get(ingress.object, ("spec", "rules"))):
            listed = mappings(paths.get(one, ("http", "paths")))
            backends += [path.get("backend") for _, path in listed]
        for backend in backends:
            service_ = objects.find("Service", paths.get(backend, ("service", "name")))
            port = paths.get(backend, ("service", "port"))
            if service_ and isinstance(port, dict):
                yield ingress, service_, [*port.values(), *_checked(ingress)], is_by_address


def _checked(ingress: Manifest) -> Iterator[int]:
    """Yield the port for the load balancer's health checks, where an Ingress has one for them."""
    port = paths.get(
        ingress.metadata, ("annotations", "alb.ingress.kubernetes.io/healthcheck-port")
    )
    if isinstance(port, str) and port.isdecimal():
        yield int(port)


def _into(objects: Objects, workload: Workload, port: Port) -> Iterator[Peer | None]:
    """Yield the peers to which policies open a port of a workload; None for everyone."""
    isolating = objects.isolating[INGRESS, label_of(workload)]
    return _peers(isolating, INGRESS, port, objects.parties[label_of(workload)])


def _peers(
    isolating: Iterable[Policy], direction: str, port: Port, target: Party = _ANY
) -> Iterator[Peer | None]:
    for policy in isolating:
        for one in policy.rules[direction]:
            if network_policies.is_for_port(one, target, *port):
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
        opened = set(opened_ports(objects, one, workload))
        is_to_outside = any(_is_outside(objects, item) for _, item in one.peers or ())
        if policy and is_to_outside and opened & kin and not opened & missing:
            path = (*one.path, "ports")
            return Problem(policy.manifest, path, message, f"add to it {_port_items(missing)}")
    return _at_own_policy(objects, INGRESS, workload, message, [peer], missing, value)


def _own_policy(objects: Objects, direction: str, workload: Workload) -> Policy | None:
    """Return the policy that isolates a workload's pods, and no others."""
    isolating = objects.isolating[direction, label_of(workload)]
    return next((one for one in isolating if len(selected(objects, one)) == 1), None)
