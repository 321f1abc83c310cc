"""Blocked calls: NetworkPolicies allow the connections that pods make."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from scripts.core import advice, paths
from scripts.core.sentences import joined
from scripts.kubernetes import network_policies
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.network_policies import EGRESS, FIELDS, INGRESS, Party, Policy
from scripts.kubernetes.pod_connections import Call
from scripts.kubernetes.workloads import Workload, mappings, selects
from scripts.rules.chart_values import file, is_from_values
from scripts.rules.networking.policies import (
    CONCEPTS,
    DNS,
    PRIVATE,
    Peer,
    Port,
    flow,
    has_dead_rules,
    has_ports,
    is_within,
    label_of,
    named_pods,
    numbered,
    overlap,
    selected,
)
from scripts.rules.networking.policy_advice import (
    at_own_policy,
    in_values,
    new_policy,
    of_missing_rule,
    own_node_by_full_name,
    own_policy,
    peers_of,
    pod_list,
    port_items,
    port_list,
    variable_with,
)
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects

_DNS_PODS = Party("DNS", "kube-system", {"k8s-app": "kube-dns"})


@rule(CONCEPTS)
def network_policy_blocks_connection(objects: Objects) -> Iterator[Problem]:
    """NetworkPolicies at both ends allow the connections that the pods' configuration names.

    Otherwise the connections time out: Maru builds no blocks without its sequencer, a chain node
    has no peers, and only the logs show why.
    """
    blocked = _blocked_calls(objects)
    for key, (_, others) in _half_open(objects, blocked).items() if blocked else ():
        # Usually the same mistake.
        for label, (other, ports) in others.items() if key in blocked else ():
            blocked[key][1].setdefault(label, (other, set()))[1].update(ports)
    why = "but the pods' configuration or the policy at the other end requires it"
    yield from _problems(objects, blocked, why)


@rule(CONCEPTS)
def network_policy_opens_one_end(objects: Objects) -> Iterator[Problem]:
    """A connection that the policy at one end allows is also allowed by the policy at the other.

    Otherwise the connection times out, and the rule at the first end has no effect.
    """
    calls = _blocked_calls(objects)
    blocked = {key: at for key, at in _half_open(objects, calls).items() if key not in calls}
    yield from _problems(objects, blocked, "but the policy at the other end does")


def _blocked_calls(objects: Objects) -> _Blocked:
    """Return the calls that policies block."""
    blocked: _Blocked = {}
    for source, target, port in _called(objects).values():
        _add_if_blocked(objects, source, target, port, blocked)
    return blocked


def _half_open(objects: Objects, calls: _Blocked) -> _Blocked:
    """Return the connections that policies allow at only one end, except calls.

    If calls between the same pods are blocked at the end that allows it, the port in its rule is
    the mistake, and the connection is left out.
    """
    called, one_sided = _called(objects), _Blocked()
    for policy in objects.policies:
        for direction in sorted(FIELDS.keys() & policy.isolates):
            for source, target, port in _opened(objects, policy, direction):
                if (label_of(source), label_of(target), port) not in called:
                    _add_if_blocked(objects, source, target, port, one_sided)
    blocked: _Blocked = {}
    for (direction, label), (end, others) in one_sided.items():
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
    """Return the calls between pods (source, target and port) without duplicates, by labels."""
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
"""Direction and label of the end that blocks → that end, and the other ends with their ports."""


def _add_if_blocked(
    objects: Objects, source: Workload, target: Workload, port: Port, blocked: _Blocked
) -> None:
    """Add a connection to the blocked ones if a policy at an end blocks it."""
    parties = objects.parties
    for direction, end, other in ((EGRESS, source, target), (INGRESS, target, source)):
        isolating = objects.isolating[direction, label_of(end)]
        peer, at = parties[label_of(other)], parties[label_of(target)]
        if not network_policies.opens(isolating, direction, peer, at, *port):
            _, others = blocked.setdefault((direction, label_of(end)), (end, {}))
            others.setdefault(label_of(other), (other, set()))[1].add(port)


def _problems(objects: Objects, blocked: _Blocked, why: str) -> Iterator[Problem]:
    """Yield a problem for each missing rule, or for a missing policy."""
    effect = "the connections time out"
    for (direction, label), (end, others) in sorted(blocked.items(), key=lambda item: item[0]):
        groups: dict[frozenset[Port], list[Workload]] = {}
        for other, ports in others.values():
            groups.setdefault(frozenset(ports), []).append(other)
        policy = own_policy(objects, direction, end)
        if has_dead_rules(objects, direction, end):
            continue
        if policy is None:
            rules = [flow(_rule_to_write(direction, *group)) for group in groups.items()]
            fix = new_policy(end, direction, rules)
            connections = [_connections(direction, label, group) for group in groups.items()]
            message = f"no NetworkPolicy allows {joined(connections)}, {why}: {effect}"
            yield Problem(end.manifest, (*end.template, "metadata", "labels"), message, fix)
            continue
        for group in groups.items():
            source, target = (end, group[1][0]) if direction == EGRESS else (group[1][0], end)
            if found := own_node_by_full_name(objects, source, target):
                yield from [found] if direction == EGRESS else []
                continue
            path, fix = _to_write(objects, policy, direction, end, *group)
            message = (
                f"{policy.manifest.label} does not allow {_connections(direction, label, group)},"
                f" {why}: {effect}"
            )
            yield Problem(policy.manifest, path, message, fix)


def _connections(
    direction: str, label: str, group: tuple[Iterable[Port], Sequence[Workload]]
) -> str:
    """Return connections in words, as their direction at the end with the label."""
    ports, others = group
    names = joined(sorted(map(label_of, others)))
    source, target = (label, names) if direction == EGRESS else (names, label)
    return f"{FIELDS[direction][0]} from {source} to {target} on {numbered(ports)}"


def _to_write(
    objects: Objects,
    policy: Policy,
    direction: str,
    end: Workload,
    ports: Iterable[Port],
    others: Sequence[Workload],
) -> tuple[Where, str]:
    """Return the field of a policy that should allow a connection, and what to write there.

    A rule that has its peers or its ports is extended; otherwise a rule is added.
    """
    name, peers = FIELDS[direction]
    own, *theirs = (objects.parties[label_of(workload)] for workload in (end, *others))
    for allowed in policy.rules[direction]:
        is_for_peers = all(network_policies.is_for(policy, allowed, other) for other in theirs)
        if allowed.ports and is_for_peers:
            return (*allowed.path, "ports"), advice.add_to("ports", port_list(ports))
    for allowed in policy.rules[direction]:
        target = theirs[0] if direction == EGRESS else own
        is_for_ports = all(network_policies.is_for_port(allowed, target, *port) for port in ports)
        if allowed.peers and is_for_ports:
            field = peers
            if value := _value(objects, policy, direction, end, ports):
                field = f"networkPolicy.{value} in {file(objects)}"
            return (*allowed.path, peers), advice.add_to(field, pod_list(others))
    fix = advice.add_to(name, [_rule_to_write(direction, ports, others)], name)
    return of_missing_rule(policy, direction), fix


def _value(
    objects: Objects, policy: Policy, direction: str, end: Workload, ports: Iterable[Port]
) -> str:
    """Return the chart's value for the peers of ports; empty if it has none."""
    if direction == EGRESS or not is_from_values(policy.manifest):
        return ""
    own = objects.parties[label_of(end)].ports
    wanted, component = set(ports), end.manifest.component
    names = [name for (name, protocol), number in own.items() if (number, protocol) in wanted]
    if any("metrics" in name.split("-") for name in names):
        return "metricsFrom"
    if component == "besu":
        return "p2pFrom" if any("p2p" in name.split("-") for name in names) else "rpcFrom"
    return "ethstatsFrom" if component == "ethstats" else ""


def _rule_to_write(
    direction: str, ports: Iterable[Port], others: Sequence[Workload]
) -> dict[str, Any]:
    return {FIELDS[direction][1]: pod_list(others), "ports": port_list(ports)}


def _opened(
    objects: Objects, policy: Policy, direction: str
) -> Iterator[tuple[Workload, Workload, Port]]:
    """Yield what a policy allows between pods by their labels: source, target and port."""
    for own in selected(objects, policy):
        for allowed in policy.rules[direction]:
            for other in named_pods(objects, allowed):
                source, target = (own, other) if direction == EGRESS else (other, own)
                party = objects.parties[label_of(target)]
                for port in sorted(has_ports(target)):
                    if allowed.ports and network_policies.is_for_port(allowed, party, *port):
                        yield source, target, port


@rule("https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/")
def network_policy_blocks_dns(objects: Objects) -> Iterator[Problem]:
    """NetworkPolicies allow DNS queries, by UDP and TCP, to pods that connect to host names.

    Otherwise no name resolves, and every connection fails; without TCP, only long answers fail.
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
    for lacks, clients in missing.items():
        if lacks:
            yield _without_dns(objects, lacks, list(clients.values()))


def _without_dns(objects: Objects, lacks: Sequence[str], clients: Sequence[Workload]) -> Problem:
    """Return the problem of blocked DNS queries, at the policy to change."""
    effect = "names with long DNS answers do not resolve"
    if "UDP" in lacks:
        effect = "the names that the pods connect to do not resolve"
    names = joined(sorted(map(label_of, clients)))
    message = (
        f"no NetworkPolicy allows egress to the cluster's DNS over {' and '.join(lacks)} from"
        f" {names}: {effect}"
    )
    of_system = {"matchLabels": {network_policies.NAMESPACE: _DNS_PODS.namespace}}
    peer = {"namespaceSelector": of_system, "podSelector": {"matchLabels": _DNS_PODS.labels}}
    ports = port_list((DNS, protocol) for protocol in lacks)
    allowing = flow({"to": [peer], "ports": ports})
    for policy in objects.policies:
        for allowed in policy.rules[EGRESS]:
            if any(item.get("port") == DNS for _, item in allowed.ports or ()):
                isolating = objects.isolating
                left = [own for own in clients if policy not in isolating[EGRESS, label_of(own)]]
                if left:
                    fix = _selecting(policy, left) or _policies(left, allowing)
                    return Problem(policy.manifest, ("spec", "podSelector"), message, fix)
                if all(
                    network_policies.is_for_port(allowed, _DNS_PODS, DNS, protocol)
                    for protocol in lacks
                ):
                    path, fix = (*allowed.path, "to"), advice.write("to", [peer])
                    if is_from_values(policy.manifest):
                        fix = in_values(objects, "dnsTo", [peer])
                else:
                    path, fix = (*allowed.path, "ports"), advice.add_to("ports", ports)
                return Problem(policy.manifest, path, message, fix)
    fix = _policies(clients, allowing)
    if any(is_from_values(own.manifest) for own in clients):
        fix = in_values(objects, "dnsTo", [peer])
    return Problem(clients[0].manifest, ("metadata", "name"), message, fix)


def _selecting(policy: Policy, workloads: Sequence[Workload]) -> str:
    """Return the fix for a policy that should select more components; empty if it is no list."""
    selector = policy.manifest.get("spec", "podSelector")
    for _, expression in mappings(paths.get(selector, ["matchExpressions"])):
        key, values = str(expression.get("key")), expression.get("values")
        others = {"matchLabels": paths.get(selector, ["matchLabels"]) or {}}
        is_listed = expression.get("operator") == "In" and isinstance(values, list)
        if is_listed and all(
            key in own.labels and selects(others, own.labels) for own in workloads
        ):
            missing = sorted({str(own.labels[key]) for own in workloads})
            return f"add {', '.join(missing)} to the values of {key} in podSelector"
    return ""


def _policies(workloads: Sequence[Workload], allowing: str) -> str:
    """Return the fix for a policy that is missing for each of the workloads."""
    fix = new_policy(workloads[0], EGRESS, [allowing])
    if workloads[1:]:
        fix += f", and one each for {joined([label_of(own) for own in workloads[1:]])}"
    return fix


_NOT_DNS = ("default", "dns", "kube-dns", "kube-node-lease", "kube-public")
"""Names of Services, and namespaces of Kubernetes without pods for DNS."""


def _is_dns(peer: Peer | None) -> bool:
    """Return whether a peer can be the cluster's DNS: the usual one, or one in another place."""
    if peer is None or network_policies.names(peer, _DNS_PODS, ""):
        return True
    if "ipBlock" in peer:
        return _has_private_address(peer["ipBlock"])
    name = paths.get(peer, ("namespaceSelector", "matchLabels", network_policies.NAMESPACE))
    is_misspelled = difflib.get_close_matches(str(name), ["kube-system"], cutoff=0.8)
    labels = paths.get(peer, ("podSelector", "matchLabels"))
    # Only the usual DNS has this label, and it is in kube-system.
    is_elsewhere = name is not None and labels == _DNS_PODS.labels
    if is_misspelled or is_elsewhere or name in _NOT_DNS:
        return False
    return peer.get("namespaceSelector") is not None


def _has_private_address(block: Any) -> bool:
    """Return whether a block may have the address of the cluster's DNS, which is a private one."""
    network = network_policies.network(paths.get(block, ["cidr"]))
    excepted = paths.get(block, ["except"])
    if network is None or network.version != 4:
        return True
    left = [network_policies.network(each) for each in excepted or ()]
    return any(
        overlap(network, private) and not any(is_within(private, one) for one in left)
        for private in map(network_policies.network, PRIVATE)
    )


_BACKUPS = ("backup", "restore-drill")
"""Components that call only the bucket of the backups, outside of the namespace."""


@rule(CONCEPTS)
def network_policy_blocks_egress(objects: Objects) -> Iterator[Problem]:
    """NetworkPolicies allow the connections out of the namespace that the configuration names.

    Otherwise they time out: backups do not reach their bucket, and the TX Sender does not reach its
    node.
    """
    blocked: dict[str, tuple[Workload, dict[str, Call]]] = {}
    buckets = {c.host for c in objects.calls if c.source.manifest.component in _BACKUPS}
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
        message = (
            f"no NetworkPolicy allows egress from {label} to {names}, which its configuration"
            " uses: the connections time out"
        )
        if found := _missing_port(objects, workload, message, list(hosts.values())):
            yield found
            continue
        by_text = {flow(_peer_of(call)): _peer_of(call) for call in hosts.values()}
        ports = {(call.port, "TCP") for call in hosts.values()}
        value = "txSenderTo" if workload.manifest.component == "tx-sender" else ""
        if hosts.keys() <= buckets:
            value = "backupTo"
            isolated = objects.isolating[EGRESS, label]
            by_text = _other_ranges(isolated, hosts.values()) | by_text
            inside = next((call.host for call in hosts.values() if call.namespace), "")
            place = variable_with(workload, f"//{inside}") if inside else None
            if place and is_from_values(workload.manifest):
                fix = in_values(objects, value, list(by_text.values()))
                yield Problem(workload.manifest, place, message, fix)
                continue
        yield at_own_policy(
            objects, EGRESS, workload, message, list(by_text.values()), ports, value
        )


def _other_ranges(isolating: Iterable[Policy], calls: Iterable[Call]) -> dict[str, Peer]:
    """Return the ranges to keep beside a bucket in the cluster: STS is still outside, for example.

    By their texts.
    """
    inside = [call for call in calls if call.namespace]
    peers = [p for call in inside for p in peers_of(isolating, EGRESS, (call.port, "TCP"))]
    ranges = [peer for peer in peers if peer and network_policies.has_address(peer.get("ipBlock"))]
    return {flow(peer): peer for peer in ranges if "ipBlock" in peer}


def _missing_port(
    objects: Objects, workload: Workload, message: str, calls: Sequence[Call]
) -> Problem | None:
    """Return the problem of a rule that has the right peers but lacks the ports, if any."""
    policy = own_policy(objects, EGRESS, workload)
    for allowed in policy.rules[EGRESS] if policy else ():
        peers = [None] if allowed.peers is None else [peer for _, peer in allowed.peers]
        if policy and all(
            any(_may_be(peer, call.host, call.namespace) for peer in peers) for call in calls
        ):
            items = port_items({(call.port, "TCP") for call in calls})
            rule_path = f"{allowed.path[-2]}[{allowed.path[-1]}]"
            fix = f"add {items} to {rule_path}.ports of {policy.manifest.label}"
            path = (*allowed.path, "ports")
            if is_from_values(policy.manifest):
                path, call = (*allowed.path, "to"), calls[0]
                field = f"backup.storage.endpoint: {_url(call)}"
                if workload.manifest.component == "tx-sender":
                    field = f"txSender.rpc.port: {call.port}"
                fix = f"write {field} in {file(objects)}: {policy.manifest.label} then allows it"
            return Problem(policy.manifest, path, message, fix)
    return None


def _url(call: Call) -> str:
    """Return the URL of the target of a call."""
    return f"{'http' if call.port == 80 else 'https'}://{call.host}:{call.port}"


def _peer_of(call: Call) -> Peer:
    """Return the peer to write for the target of a call out of the namespace."""
    if call.namespace:
        return {"namespaceSelector": {"matchLabels": {network_policies.NAMESPACE: call.namespace}}}
    network = network_policies.network(call.host)
    if network is not None:
        return {"ipBlock": {"cidr": str(network)}}
    return {"ipBlock": {"cidr": "0.0.0.0/0", "except": list(PRIVATE)}}


def _may_be(peer: Peer | None, host: str, namespace: str) -> bool:
    """Return whether a peer may include a host outside, as far as that is known."""
    if peer is None:
        return True
    address = network_policies.network(host)
    if address is not None:
        return network_policies.names(peer, Party(host, address=host), "")
    if (block := peer.get("ipBlock")) is not None:
        # The pods behind a Service of the cluster have private addresses.
        return _has_private_address(block) if namespace else network_policies.has_address(block)
    selector = peer.get("namespaceSelector")
    return bool(namespace) and selector is not None and _may_select(selector, namespace)


def _may_select(selector: Any, namespace: str) -> bool:
    """Return whether a selector may select a namespace, of which only the name is known."""
    wanted = paths.get(selector, ("matchLabels", network_policies.NAMESPACE))
    if wanted is not None:
        return bool(wanted == namespace)
    expressions = [
        expression
        for _, expression in mappings(paths.get(selector, ("matchExpressions",)))
        if expression.get("key") == network_policies.NAMESPACE
    ]
    return selects({"matchExpressions": expressions}, {network_policies.NAMESPACE: namespace})
