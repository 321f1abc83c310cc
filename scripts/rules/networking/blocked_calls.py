"""Blocked calls: NetworkPolicies let through what pods call."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from scripts.core import paths
from scripts.kubernetes import network_policies
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.network_policies import EGRESS, FIELDS, INGRESS, Party, Policy
from scripts.kubernetes.pod_connections import Call
from scripts.kubernetes.workloads import Workload, mappings, selects
from scripts.rules.networking.policies import (
    CONCEPTS,
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
    selected,
)
from scripts.rules.networking.policy_advice import (
    at_own_policy,
    of_missing_rule,
    own_policy,
    peers_of,
    port_items,
)
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects

_DNS_PODS = Party("DNS", "kube-system", {"k8s-app": "kube-dns"})


@rule(CONCEPTS)
def network_policy_blocks_connection(objects: Objects) -> Iterator[Problem]:
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
def network_policy_opens_one_end(objects: Objects) -> Iterator[Problem]:
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
        policy = own_policy(objects, direction, end)
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
            return (*one.path, "ports"), f"add to it {port_items(ports)}"
    for one in policy.rules[direction]:
        target = theirs[0] if direction == EGRESS else own
        if one.peers and all(network_policies.is_for_port(one, target, *port) for port in ports):
            return (*one.path, peers), f"add to it {_pod_items(others)}"
    fix = f"add to {name} {_rule_to_write(direction, ports, others)}"
    return of_missing_rule(policy, direction), fix


def _rule_to_write(direction: str, ports: Iterable[Port], others: Sequence[Workload]) -> str:
    peers = FIELDS[direction][1]
    return f"{{{peers}: [{_pod_items(others)}], ports: [{port_items(ports)}]}}"


def _pod_items(workloads: Iterable[Workload]) -> str:
    selectors = [one.get("spec", "selector", "matchLabels") or one.labels for one in workloads]
    return ", ".join(flow({"podSelector": {"matchLabels": labels}}) for labels in selectors)


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
def network_policy_blocks_dns(objects: Objects) -> Iterator[Problem]:
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
                if not any(_is_dns(peer) for peer in peers_of(isolating, EGRESS, (DNS, protocol)))
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
    ports = port_items((DNS, protocol) for protocol in lacks)
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
def network_policy_blocks_egress(objects: Objects) -> Iterator[Problem]:
    """Policies let pods reach what their configuration names outside of the namespace.

    Else backups don't reach their bucket, or transfers their node, and it is missed when needed.
    """
    blocked: dict[str, tuple[Workload, dict[str, Call]]] = {}
    for call in objects.calls:
        isolating = objects.isolating[EGRESS, label_of(call.source)]
        if call.targets or not isolating:
            continue
        peers = peers_of(isolating, EGRESS, (call.port, "TCP"))
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
        yield at_own_policy(objects, EGRESS, workload, message, who, ports, value)


def _peer_of(call: Call) -> Peer:
    """Return what to write for who is called outside of the namespace."""
    if call.namespace:
        return {"namespaceSelector": {"matchLabels": {network_policies.NAMESPACE: call.namespace}}}
    network = network_policies.network(call.host)
    if network is not None:
        return {"ipBlock": {"cidr": network}}
    return {"ipBlock": {"cidr": "0.0.0.0/0", "except": list(PRIVATE)}}


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
