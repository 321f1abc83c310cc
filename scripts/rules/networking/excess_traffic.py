"""Openings: NetworkPolicies let through no more than pods need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scripts.core import paths
from scripts.core.findings import Severity
from scripts.kubernetes import network_policies, services
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.network_policies import EGRESS, FIELDS, INGRESS, Party, Policy, Rule
from scripts.kubernetes.workloads import Workload, selects, whole
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
    is_within,
    joined,
    label_of,
    named_pods,
    numbered,
    opened_ports,
    p2p_ports,
    pods_behind,
    selected,
)
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_LARGEST_VPC = 16
"""https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html"""
_LAST_PORT = 65535


@rule(CONCEPTS, outcome=Outcome.RISK)
def pod_without_network_policy(objects: Objects) -> Iterator[Problem]:
    """Where policies isolate pods, they isolate all of them, in both directions.

    A pod that no policy selects is open to everyone, and reaches everyone.
    """
    for direction in (INGRESS, EGRESS):
        left = [one for one in objects.workloads if not objects.isolating[direction, label_of(one)]]
        if len(left) == len(objects.workloads):
            continue
        for workload in left:
            if has_dead_rules(objects, direction, workload):
                continue
            what = "everyone reaches them" if direction == INGRESS else "they reach everyone"
            message = f"no policy for {direction} selects the pods of {label_of(workload)}: {what}"
            fix = f"write a NetworkPolicy with policyTypes [{direction}] that selects them"
            yield Problem(
                workload.manifest, (*workload.template, "metadata", "labels"), message, fix
            )


@rule(CONCEPTS + "#default-deny-all-ingress-and-all-egress-traffic", outcome=Outcome.RISK)
def missing_default_deny(objects: Objects) -> Iterator[Problem]:
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
    message = f"nothing denies {joined(missing)} to pods of the namespace that no policy selects"
    # One without rules is there to deny.
    denying = [policy for policy in objects.policies if not any(policy.rules.values())]
    widest = max(denying, key=lambda policy: len(selected(objects, policy)), default=None)
    if widest is None:
        fix = "write networkPolicy: {enabled: true, wholeNamespace: true}"
        yield Problem(objects.application, ("metadata", "name"), message, fix)
        return
    is_whole = _is_whole(widest)
    path: Where = ("spec", "policyTypes")
    if not is_whole:
        labels = paths.get(widest.manifest.object, ("spec", "podSelector", "matchLabels"))
        path = ("spec", "podSelector", "matchLabels", *sorted(labels or ())[:1])
    fix = (
        "write policyTypes: [Ingress, Egress]"
        if is_whole
        else "write networkPolicy.wholeNamespace: true"
    )
    yield Problem(widest.manifest, path, message, fix)


@rule(CONCEPTS, outcome=Outcome.RISK)
def network_policy_allows_all_ingress(objects: Objects) -> Iterator[Problem]:
    """In production, policies let in somebody in particular, but for peers and load balancers.

    What is open to everyone is open to every pod of the cluster, and past the load balancer.
    """
    if not objects.is_production:
        return
    public = _public(objects)
    for policy, one in _rules(objects, INGRESS):
        ports = {
            port for own in selected(objects, policy) for port in opened_ports(objects, one, own)
        }
        if one.peers is None:
            message = f"everyone may connect to {numbered(ports) or 'the pods'}: there is no from"
            fix = "write from, with a selector or an ipBlock of those who need it"
            yield Problem(policy.manifest, one.path, message, fix)
        for path, peer in one.peers or ():
            block = paths.get(peer, ("ipBlock", "cidr"))
            if _is_any_address(peer) and not ports <= public:
                message = f"{block} may connect to {numbered(ports - public)}, which is everyone"
                fix = "write the subnets of the load balancer, or whose addresses they are"
                yield Problem(policy.manifest, (*path, "ipBlock", "cidr"), message, fix)
            if _is_any_namespace(peer):
                message = f"pods of every namespace may connect to {numbered(ports) or 'the pods'}"
                labels = f"{{matchLabels: {{{network_policies.NAMESPACE}: …}}}}"
                fix = f"write namespaceSelector: {labels}, "
                fix += "with the name of the namespace that needs it"
                yield Problem(policy.manifest, (*path, "namespaceSelector"), message, fix)


def _public(objects: Objects) -> set[Port]:
    """Return the ports that may be for all of the internet: of peers, and of load balancers."""
    balanced = {
        port
        for service in objects.of_kind("Service")
        if service.get("spec", "type") in ("LoadBalancer", "NodePort")
        for _, port in pods_behind(objects, services.ports(service))
    }
    return p2p_ports(objects) | balanced


@rule(CONCEPTS, severity=Severity.WARNING)
def network_policy_allows_whole_vpc(objects: Objects) -> Iterator[Problem]:
    """In production, policies let in subnets, not the network that all the pods are in.

    Pods have addresses of the VPC: its whole range lets in every pod of the cluster.
    """
    if not objects.is_production:
        return
    private = [network_policies.network(one) for one in PRIVATE]
    for policy, one in _rules(objects, INGRESS):
        for path, peer in one.peers or ():
            found = network_policies.network(paths.get(peer, ("ipBlock", "cidr")))
            is_wide = found is not None and 0 < found.prefixlen <= _LARGEST_VPC
            if is_wide and any(is_within(found, other) for other in private):
                message = f"{found} is as large as a VPC: it can have all pods of the cluster in it"
                fix = "write the subnets of the load balancer, like 10.30.0.0/22"
                yield Problem(policy.manifest, (*path, "ipBlock", "cidr"), message, fix)


@rule(CONCEPTS, outcome=Outcome.RISK)
def network_policy_allows_all_egress(objects: Objects) -> Iterator[Problem]:
    """In production, policies let pods out to somebody in particular, or to some ports.

    Whoever gets into a pod that may go everywhere gets on to all that the cluster reaches.
    """
    if not objects.is_production:
        return
    for policy, one in _rules(objects, EGRESS):
        ports = [item for _, item in one.ports or ()]
        if one.peers is None and not (ports and all(item.get("port") == DNS for item in ports)):
            message = f"the pods that {policy.manifest.label} selects may connect to everyone: "
            message += "there is no to"
            fix = "write to, with a selector or an ipBlock of those whom they need"
            yield Problem(policy.manifest, one.path, message, fix)
        for _, peer in one.peers or ():
            if _is_for_all_ports(one) and (_is_any_address(peer) or _is_any_namespace(peer)):
                message = (
                    f"the pods that {policy.manifest.label} selects may connect to {flow(peer)}"
                )
                message += " on every port"
                fix = "write ports, like [{port: 443, protocol: TCP}]"
                yield Problem(policy.manifest, (*one.path, "ports"), message, fix)


@rule(CONNECTIVITY, severity=Severity.WARNING)
def internet_egress_reaches_private_networks(objects: Objects) -> Iterator[Problem]:
    """In production, what lets pods out to the internet excepts private networks.

    Else it is a way to other pods, other machines and the node's metadata service, too.
    """
    if not objects.is_production:
        return
    for policy, one in _rules(objects, EGRESS):
        for path, peer in one.peers or ():
            cidr = network_policies.network(paths.get(peer, ("ipBlock", "cidr")))
            if cidr is None or cidr.prefixlen or cidr.version != 4 or _is_for_all_ports(one):
                continue
            excepted = paths.get(peer, ("ipBlock", "except"))
            known = (
                [network_policies.network(x) for x in excepted]
                if isinstance(excepted, list)
                else []
            )
            left = [
                private
                for private in PRIVATE
                if not any(is_within(network_policies.network(private), other) for other in known)
            ]
            if left:
                message = f"{cidr} has private networks in it: {joined(left)}"
                fix = f"write except: [{', '.join(PRIVATE)}], and subnets that are needed as "
                fix += "ipBlocks of their own"
                yield Problem(policy.manifest, (*path, "ipBlock"), message, fix)


@rule(CONCEPTS + "#targeting-a-range-of-ports", severity=Severity.WARNING)
def network_policy_allows_all_ports(objects: Objects) -> Iterator[Problem]:
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
                        for port in has_ports(own)
                    }
                )
                message = f"a rule of {policy.manifest.label} opens every port"
                message += f", {numbered(ports)} among them" if ports else ""
                fix = "write ports, with those that it is for, like [{port: 8545, protocol: TCP}]"
                yield Problem(policy.manifest, (*one.path, "ports"), message, fix)


def _targets(objects: Objects, policy: Policy, direction: str, one: Rule) -> list[Workload]:
    """Return the workloads that a rule lets connections reach."""
    return selected(objects, policy) if direction == INGRESS else list(named_pods(objects, one))


@rule(CONNECTIVITY, outcome=Outcome.RISK)
def engine_api_too_open(objects: Objects) -> Iterator[Problem]:
    """Policies let only the Maru that drives a node connect to its Engine API.

    The Engine API decides what the chain is: whoever reaches it can make other blocks.
    """
    yield from _open_to_others(objects, "engine", "the Engine API")


@rule(CONNECTIVITY, outcome=Outcome.RISK)
def maru_api_too_open(objects: Objects) -> Iterator[Problem]:
    """Policies let only the sequencers connect to Maru's API.

    It is for their readiness; it asks nobody who he is, and a validator has better to do.
    """
    yield from _open_to_others(objects, "api", "Maru's API")


def _open_to_others(objects: Objects, name: str, called: str) -> Iterator[Problem]:
    """Yield the peers to which a port with a name is open, and that have no use for it."""
    for workload in objects.workloads:
        number = objects.parties[label_of(workload)].ports.get((name, "TCP"))
        if number is None:
            continue
        callers = [
            label_of(call.source)
            for call in objects.calls
            if call.port == number and workload in call.targets
        ]
        for policy in objects.isolating[INGRESS, label_of(workload)]:
            for one in policy.rules[INGRESS]:
                party = objects.parties[label_of(workload)]
                if not network_policies.is_for_port(one, party, number) or _is_told(objects, one):
                    continue
                who = {path: _beside(objects, peer, callers) for path, peer in one.peers or ()}
                is_peer_wrong = any(
                    network_policies.is_for(policy, one, objects.parties[caller])
                    for caller in callers
                )
                for path, others in who.items() if one.peers else [(one.path, "everyone")]:
                    if others:
                        message = f"{called}, {number}/TCP of the pods of {label_of(workload)}, "
                        message += f"is open to {others}"
                        fix = f"remove it; it is for {joined(sorted(set(callers))) or 'nobody'}"
                        place = path if is_peer_wrong else _port_item(one, party, number)
                        yield Problem(policy.manifest, place, message, fix)


def _port_item(one: Rule, target: Party, port: int) -> Where:
    """Return the path of what opens a port in a rule; of the rule, where it opens all."""
    return next(
        (p for p, item in one.ports or () if network_policies.covers(item, target, port, "TCP")),
        one.path,
    )


def _is_told(objects: Objects, one: Rule) -> bool:
    """Return whether other rules tell of it: in production, what is open to all, or all ports."""
    return objects.is_production and (one.peers is None or _is_for_all_ports(one))


def _beside(objects: Objects, peer: Peer, callers: Sequence[str]) -> str:
    """Return in words who a peer is beside the callers; nothing where it is nobody."""
    if peer.keys() != {"podSelector"}:
        return flow(peer)
    if not peer["podSelector"]:
        return "every pod of the namespace"
    others = {label_of(one) for one in objects.selected(peer["podSelector"])} - set(callers)
    return f"the pods of {joined(sorted(others))}" if others else ""


@rule(CONNECTIVITY, outcome=Outcome.RISK)
def ethstats_too_open(objects: Objects) -> Iterator[Problem]:
    """Policies let those pods of the environment connect to EthStats that report to it.

    Who may connect may also report, as any node: the dashboard would show what is not so.
    """
    for workload in objects.workloads:
        if workload.manifest.component != "ethstats":
            continue
        callers = [label_of(call.source) for call in objects.calls if workload in call.targets]
        for policy in objects.isolating[INGRESS, label_of(workload)]:
            for path, peer in (item for one in policy.rules[INGRESS] for item in one.peers or ()):
                is_by_labels = peer.keys() == {"podSelector"}
                if is_by_labels and (who := _beside(objects, peer, callers)):
                    message = f"EthStats is open to {who}"
                    fix = f"remove it; those that report are {joined(sorted(set(callers)))}"
                    yield Problem(policy.manifest, path, message, fix)


def _rules(objects: Objects, direction: str) -> Iterator[tuple[Policy, Rule]]:
    """Yield the rules of policies that are for a direction."""
    for policy in objects.policies:
        if direction in policy.isolates:
            yield from ((policy, one) for one in policy.rules[direction])


def _is_any_address(peer: Peer) -> bool:
    found = network_policies.network(paths.get(peer, ("ipBlock", "cidr")))
    return found is not None and found.prefixlen == 0


def _is_any_namespace(peer: Peer) -> bool:
    """Return whether pods of namespaces that nobody has thought of are among a peer."""
    selector = peer.get("namespaceSelector")
    return peer.get("podSelector") in (None, {}) and selects(
        selector, {network_policies.NAMESPACE: "any"}
    )


def _is_for_all_ports(one: Rule) -> bool:
    return one.ports is None or any(
        item.get("port") is None
        or (whole(item["port"], 2) <= 1 and whole(item.get("endPort"), 0) >= _LAST_PORT)
        for _, item in one.ports
    )


@rule("https://datatracker.ietf.org/doc/html/rfc5737", outcome=Outcome.HIDDEN)
def reserved_ip_block(objects: Objects) -> Iterator[Problem]:
    """In production, an ipBlock's addresses are somebody's.

    Those of documentation, which stand in examples, are nobody's: the rule opens nothing.
    """
    for policy, path, block in blocks(objects) if objects.is_production else ():
        found = network_policies.network(block.get("cidr"))
        if any(is_within(found, network_policies.network(one)) for one in _DOCUMENTATION):
            message = f"{found} are addresses for examples, and nobody has them: it opens nothing"
            fix = "write the addresses of those who connect, as the load balancer's subnets"
            yield Problem(policy.manifest, (*path, "cidr"), message, fix)


_DOCUMENTATION = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")


@rule(CONCEPTS, outcome=Outcome.RISK)
def unneeded_internet_egress(objects: Objects) -> Iterator[Problem]:
    """In production, policies let those pods out to the internet that call somebody there.

    The others have no use for it, but for whoever gets into them.
    """
    if not objects.is_production:
        return
    outside = {label_of(call.source) for call in objects.calls if not call.targets}
    for policy, one in _rules(objects, EGRESS):
        if not any(_is_any_address(peer) for _, peer in one.peers or ()):
            continue
        own = {label_of(workload) for workload in selected(objects, policy)}
        if own & outside and (others := sorted(own - outside)):
            message = f"{policy.manifest.label} lets {joined(others)} out to the internet, too: "
            message += f"only {joined(sorted(own & outside))} has somebody to call there"
            fix = "write a podSelector that selects no others"
            yield Problem(policy.manifest, ("spec", "podSelector"), message, fix)


def _is_whole(policy: Policy) -> bool:
    """Return whether a policy is about all pods of its namespace, whatever their labels."""
    return policy.selects(Party("any pod", policy.manifest.namespace))
