"""Excess traffic: NetworkPolicies allow only the connections that pods need."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.core import advice, paths
from scripts.core.findings import Severity
from scripts.core.sentences import joined
from scripts.kubernetes import network_policies, services
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.network_policies import EGRESS, FIELDS, INGRESS, Party, Policy, Rule
from scripts.kubernetes.pod_connections import Call
from scripts.kubernetes.workloads import Workload, selects
from scripts.rules.chart_values import file
from scripts.rules.networking.policies import (
    CONCEPTS,
    CONNECTIVITY,
    DNS,
    PRIVATE,
    Peer,
    Port,
    blocks,
    flow,
    has_dead_rules,
    has_ports,
    is_any_address,
    is_for_all_ports,
    is_within,
    label_of,
    merged,
    named_pods,
    numbered,
    opened_ports,
    overlap,
    p2p_ports,
    pods_behind,
    selected,
    share,
)
from scripts.rules.networking.policy_advice import (
    SUBNETS,
    in_values,
    new_policy,
    one_each,
    pod_selector,
    port_items,
)
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_LARGEST_VPC = 16
"""https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html"""


@rule(CONCEPTS, outcome=Outcome.RISK)
def pod_without_network_policy(objects: Objects) -> Iterator[Problem]:
    """If NetworkPolicies restrict ingress or egress of some pods, they restrict that of all pods.

    Otherwise the pods that no policy selects accept connections from anyone, or connect to any
    address.
    """
    for direction in (INGRESS, EGRESS):
        isolating = objects.isolating
        left = [own for own in objects.workloads if not isolating[direction, label_of(own)]]
        if len(left) == len(objects.workloads):
            continue
        for workload in left:
            if has_dead_rules(objects, direction, workload):
                continue
            effect = "they can connect to any address"
            if direction == INGRESS:
                effect = "anyone can connect to them"
            message = (
                f"no NetworkPolicy for {direction} selects the pods of {label_of(workload)}:"
                f" {effect}"
            )
            fix = new_policy(workload, direction, [])
            fix += f", and in {FIELDS[direction][0]} a rule for each connection that the pods need"
            path = (*workload.template, "metadata", "labels")
            yield Problem(workload.manifest, path, message, fix)


@rule(CONCEPTS + "#default-deny-all-ingress-and-all-egress-traffic", outcome=Outcome.RISK)
def missing_default_deny(objects: Objects) -> Iterator[Problem]:
    """In production, a default-deny NetworkPolicy applies to all pods, for ingress and egress.

    Otherwise a new pod accepts connections from anyone, and can connect to any address.
    """
    if not objects.is_production:
        return
    denied = {
        direction for policy in filter(_is_whole, objects.policies) for direction in policy.isolates
    }
    missing = [direction for direction in FIELDS if direction not in denied]
    if not missing:
        return
    message = (
        f"no NetworkPolicy denies {joined(missing).lower()} of all pods by default: traffic of pods"
        " that no other policy selects is unrestricted"
    )
    # A policy without rules is a default deny.
    denying = [policy for policy in objects.policies if not any(policy.rules.values())]
    widest = max(denying, key=lambda policy: len(selected(objects, policy)), default=None)
    if widest is None:
        both, where = {"enabled": True, "wholeNamespace": True}, f" in {file(objects)}"
        fix = advice.write_values("networkPolicy", both, where)
        yield Problem(objects.application, ("metadata", "name"), message, fix)
        return
    is_whole = _is_whole(widest)
    path: Where = ("spec", "policyTypes")
    if not is_whole:
        labels = paths.get(widest.manifest.object, ("spec", "podSelector", "matchLabels"))
        path = ("spec", "podSelector", "matchLabels", *sorted(labels or ())[:1])
    fix = (
        advice.write("policyTypes", ["Ingress", "Egress"])
        if is_whole
        else in_values(objects, "wholeNamespace", True)
    )
    yield Problem(widest.manifest, path, message, fix)


@rule(CONCEPTS, outcome=Outcome.RISK)
def network_policy_allows_all_ingress(objects: Objects) -> Iterator[Problem]:
    """In production, NetworkPolicies open only P2P and load balancer ports to all addresses.

    Otherwise every pod of the cluster can connect, and clients can bypass the load balancer.
    """
    if not objects.is_production:
        return
    public = _public(objects)
    for policy, allowed in _rules(objects, INGRESS):
        own = selected(objects, policy)
        ports = {port for workload in own for port in opened_ports(objects, allowed, workload)}
        label, opened = policy.manifest.label, numbered(ports) or "its pods"
        if allowed.peers is None:
            message = f"an ingress rule of {label} has no peers in from, so anyone can connect to"
            message += f" {opened}"
            calls = [
                call
                for call in objects.calls
                if (call.port, "TCP") in ports and any(one in own for one in call.targets)
            ]
            fix = one_each("from", "client", [call.source for call in calls])
            yield Problem(policy.manifest, allowed.path, message, fix)
        for path, peer in allowed.peers or ():
            cidr = paths.get(peer, ("ipBlock", "cidr"))
            if is_any_address(peer) and not ports <= public:
                message = f"{label} opens {numbered(ports - public)} to {share(cidr)}, so"
                message += " clients can bypass the load balancer"
                fix = f"{SUBNETS}; without a load balancer, write one for each client"
                yield Problem(policy.manifest, (*path, "ipBlock", "cidr"), message, fix)
            if _is_any_namespace(peer):
                message = f"{label} opens {opened} to the pods of all namespaces"
                labels = f"{{matchLabels: {{{network_policies.NAMESPACE}: ingress-nginx}}}}"
                fix = "write the namespace of the clients, for example namespaceSelector:"
                fix += f" {labels}"
                yield Problem(policy.manifest, (*path, "namespaceSelector"), message, fix)


def _public(objects: Objects) -> set[Port]:
    """Return the ports that may be open to the internet: P2P, and behind load balancers."""
    balanced = {
        port
        for service in objects.of_kind("Service")
        if service.get("spec", "type") in ("LoadBalancer", "NodePort")
        for _, port in pods_behind(objects, services.ports(service))
    }
    return p2p_ports(objects) | balanced


@rule(CONCEPTS, severity=Severity.WARNING)
def network_policy_allows_whole_vpc(objects: Objects) -> Iterator[Problem]:
    """In production, NetworkPolicies allow ingress from subnets, not from a whole VPC.

    Otherwise every pod of the cluster can connect: pods have addresses of the VPC.
    """
    if not objects.is_production:
        return
    private = [network_policies.network(cidr) for cidr in PRIVATE]
    for policy, allowed in _rules(objects, INGRESS):
        for path, peer in allowed.peers or ():
            network = network_policies.network(paths.get(peer, ("ipBlock", "cidr")))
            # network-policy-allows-all-ingress reports still larger ones.
            is_narrow = network is None or network.prefixlen > _LARGEST_VPC
            if is_narrow or network_policies.is_everywhere(network):
                continue
            if any(overlap(network, other) for other in private):
                message = (
                    f"{policy.manifest.label} allows ingress from {network}, which is as large as a"
                    " VPC and may include all pods of the cluster"
                )
                yield Problem(policy.manifest, (*path, "ipBlock", "cidr"), message, SUBNETS)


@rule(CONCEPTS, outcome=Outcome.RISK)
def network_policy_allows_all_egress(objects: Objects) -> Iterator[Problem]:
    """In production, NetworkPolicies limit egress to some peers or some ports.

    Otherwise an attacker in a pod can connect to everything that the cluster can reach.
    """
    if not objects.is_production:
        return
    for policy, allowed in _rules(objects, EGRESS):
        ports = [item for _, item in allowed.ports or ()]
        label, is_for_dns = policy.manifest.label, all(item.get("port") == DNS for item in ports)
        if allowed.peers is None and not (ports and is_for_dns):
            message = f"an egress rule of {label} has no peers in to, so its pods can connect to"
            message += " any address"
            calls = _calls_of(objects, policy)
            fix = one_each("to", "target", [one for call in calls for one in call.targets])
            yield Problem(policy.manifest, allowed.path, message, fix)
        for _, peer in allowed.peers or ():
            if is_for_all_ports(allowed) and (is_any_address(peer) or _is_any_namespace(peer)):
                message = f"{label} allows its pods to connect to {flow(peer)} on all ports"
                calls = _calls_of(objects, policy)
                needed = {(call.port, "TCP") for call in calls if not call.targets}
                fix = "write the ports that the pods need, for example ports:"
                fix += f" [{port_items(needed or {(443, 'TCP')})}]"
                yield Problem(policy.manifest, (*allowed.path, "ports"), message, fix)


def _calls_of(objects: Objects, policy: Policy) -> list[Call]:
    """Return the connections that the pods of a policy make."""
    own = selected(objects, policy)
    return [call for call in objects.calls if call.source in own]


@rule(CONNECTIVITY, severity=Severity.WARNING)
def internet_egress_reaches_private_networks(objects: Objects) -> Iterator[Problem]:
    """In production, egress rules for the internet have private networks in except.

    Otherwise the pods can also connect to other pods, to machines in the VPC and to the metadata
    service of the Kubernetes node.
    """
    if not objects.is_production:
        return
    for policy, allowed in _rules(objects, EGRESS):
        for path, peer in allowed.peers or ():
            cidr = network_policies.network(paths.get(peer, ("ipBlock", "cidr")))
            if not network_policies.is_everywhere(cidr) or is_for_all_ports(allowed):
                continue
            excepted = merged(paths.get(peer, ("ipBlock", "except")))
            left = [
                text
                for text, private in ((text, network_policies.network(text)) for text in PRIVATE)
                if overlap(private, cidr) and not any(is_within(private, one) for one in excepted)
            ]
            if left:
                message = (
                    f"egress to {cidr} in {policy.manifest.label} also allows connections to"
                    f" private networks: {joined(left)}"
                )
                # The API server rejects exceptions outside of the block.
                inside = [each for each in PRIVATE if overlap(network_policies.network(each), cidr)]
                fix = f"write except: [{', '.join(inside)}], and a separate ipBlock for each"
                fix += " private subnet that the pods need"
                yield Problem(policy.manifest, (*path, "ipBlock"), message, fix)


@rule(CONCEPTS + "#targeting-a-range-of-ports", severity=Severity.WARNING)
def network_policy_allows_all_ports(objects: Objects) -> Iterator[Problem]:
    """In production, every rule of a NetworkPolicy lists its ports.

    Otherwise it allows all ports, also those that are added to the pods later.
    """
    if not objects.is_production:
        return
    for direction in FIELDS:
        for policy, allowed in _rules(objects, direction):
            is_reported = direction == EGRESS and (  # by network-policy-allows-all-egress
                allowed.peers is None
                or any(is_any_address(p) or _is_any_namespace(p) for _, p in allowed.peers)
            )
            if allowed.peers is not None and is_for_all_ports(allowed) and not is_reported:
                targets = _targets(objects, policy, direction, allowed)
                ports = {port for workload in targets for port in has_ports(workload)}
                name, label = FIELDS[direction][0], policy.manifest.label
                message = f"a rule in {name} of {label} allows all ports"
                message += f", including {numbered(ports)}" if ports else ""
                sources = selected(objects, policy)
                if direction == INGRESS:
                    sources = list(named_pods(objects, allowed))
                needed = {
                    (call.port, "TCP")
                    for call in objects.calls
                    if call.source in sources and any(one in targets for one in call.targets)
                }
                fix = "write the ports that the rule is for, for example ports:"
                fix += f" [{port_items(needed or {(8545, 'TCP')})}]"
                yield Problem(policy.manifest, (*allowed.path, "ports"), message, fix)


def _targets(objects: Objects, policy: Policy, direction: str, allowed: Rule) -> list[Workload]:
    """Return the workloads to which a rule allows connections."""
    if direction == INGRESS:
        return selected(objects, policy)
    return list(named_pods(objects, allowed))


def _rules(objects: Objects, direction: str) -> Iterator[tuple[Policy, Rule]]:
    """Yield the rules for a direction, each with its policy."""
    for policy in objects.policies:
        if direction in policy.isolates:
            yield from ((policy, allowed) for allowed in policy.rules[direction])


def _is_any_namespace(peer: Peer) -> bool:
    """Return whether a peer selects all pods of any namespace."""
    selector = peer.get("namespaceSelector")
    return peer.get("podSelector") in (None, {}) and selects(
        selector, {network_policies.NAMESPACE: "any"}
    )


@rule("https://datatracker.ietf.org/doc/html/rfc5737", outcome=Outcome.HIDDEN)
def reserved_ip_block(objects: Objects) -> Iterator[Problem]:
    """In production, the addresses of an ipBlock are not reserved for documentation.

    Otherwise the rule has no effect: no machine has the addresses of examples.
    """
    reserved = [network_policies.network(cidr) for cidr in _DOCUMENTATION]
    for policy, path, block in blocks(objects) if objects.is_production else ():
        network = network_policies.network(block.get("cidr"))
        if any(is_within(network, other) for other in reserved):
            message = (
                f"{network} in {policy.manifest.label} is reserved for documentation: no machine"
                " has such an address, so the ipBlock allows nothing"
            )
            fix = "write the addresses that the pods connect to, for example cidr: 10.30.4.0/24"
            if "ingress" in path:
                fix = SUBNETS
            yield Problem(policy.manifest, (*path, "cidr"), message, fix)


_DOCUMENTATION = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")


@rule(CONCEPTS, outcome=Outcome.RISK)
def unneeded_internet_egress(objects: Objects) -> Iterator[Problem]:
    """In production, NetworkPolicies allow egress to the internet only to pods that need it.

    Otherwise an attacker in one of the other pods can connect to the internet, too.
    """
    if not objects.is_production:
        return
    outside = {label_of(call.source) for call in objects.calls if not call.targets}
    for policy, allowed in _rules(objects, EGRESS):
        if not any(is_any_address(peer) for _, peer in allowed.peers or ()):
            continue
        own = {label_of(workload) for workload in selected(objects, policy)}
        if own & outside and (others := sorted(own - outside)):
            needing = [one for one in selected(objects, policy) if label_of(one) in outside]
            message = (
                f"{policy.manifest.label} also allows egress to the internet from {joined(others)},"
                " which do not need it: an attacker in their pods can use it"
            )
            fix = f"write a podSelector that selects only {joined([*map(label_of, needing)])}"
            if not needing[1:]:
                labels = {"matchLabels": pod_selector(needing[0])}
                fix = advice.write("podSelector", labels)
            yield Problem(policy.manifest, ("spec", "podSelector"), message, fix)


def _is_whole(policy: Policy) -> bool:
    """Return whether a policy selects all pods of its namespace, whatever their labels."""
    return policy.selects(Party("any pod", policy.manifest.namespace))
