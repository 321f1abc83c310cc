"""Who may connect to whom: manifests → what their NetworkPolicies let through. Pure.

By https://kubernetes.io/docs/concepts/services-networking/network-policies/: a policy isolates the
pods that it selects, in the directions that it is for; what some rule of some policy allows is let
through, at both ends. Of a namespace no more is known than its name, of most pods no address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from typing import Any

from scripts.core import paths
from scripts.kubernetes import containers
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import Workload, mappings, selects, whole

INGRESS = "Ingress"
EGRESS = "Egress"
FIELDS = {INGRESS: ("ingress", "from"), EGRESS: ("egress", "to")}
"""Direction → the fields of its rules, and of their peers."""

NAMESPACE = "kubernetes.io/metadata.name"
"""The label that every namespace has, with its name."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

Connection = tuple[str, str, str]
"""From, to, and the port, like 8545/TCP."""


@dataclass(frozen=True, slots=True)
class Party:
    """A pod, or an address outside of the cluster."""

    name: str
    namespace: str | None = None
    """Of a pod; None for an address."""
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    """Empty where it is not known: only a block of all addresses is sure to have it."""
    ports: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Name and protocol of a pod's named ports → their numbers."""


@dataclass(frozen=True, slots=True)
class Rule:
    """An item of ingress or egress."""

    path: Where
    peers: tuple[tuple[Where, Mapping[str, Any]], ...] | None
    """As from or to has them; None for everyone, inside of the cluster and outside."""
    ports: tuple[tuple[Where, Mapping[str, Any]], ...] | None
    """None for all ports."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A NetworkPolicy."""

    manifest: Manifest
    isolates: frozenset[str]
    """The directions that it is for; where it does not say, as Kubernetes fills them in."""
    rules: Mapping[str, tuple[Rule, ...]]
    """Direction → rules, also of a direction that it is not for."""

    def selects(self, party: Party) -> bool:
        """Return whether it is about a pod."""
        selector = paths.get(self.manifest.object, ("spec", "podSelector"))
        is_here = party.namespace == self.manifest.namespace
        return is_here and selects({} if selector is None else selector, party.labels)


def policies(manifests: Iterable[Manifest]) -> list[Policy]:
    """Return the NetworkPolicies among manifests."""
    return [_policy(manifest) for manifest in manifests if manifest.kind == "NetworkPolicy"]


def _policy(manifest: Manifest) -> Policy:
    rules = {
        direction: tuple(
            Rule(
                ("spec", name, index),
                _items(rule.get(peers), ("spec", name, index, peers)),
                _items(rule.get("ports"), ("spec", name, index, "ports")),
            )
            for index, rule in mappings(paths.get(manifest.object, ("spec", name)))
        )
        for direction, (name, peers) in FIELDS.items()
    }
    types = paths.get(manifest.object, ("spec", "policyTypes"))
    if not isinstance(types, list) or not types:
        types = [INGRESS, EGRESS] if rules[EGRESS] else [INGRESS]
    return Policy(manifest, frozenset(t for t in types if isinstance(t, str)), rules)


def _items(value: Any, path: Where) -> tuple[tuple[Where, Mapping[str, Any]], ...] | None:
    """Return the items of a list, each with its path; None if there are none at all."""
    return tuple(((*path, index), item) for index, item in mappings(value)) if value else None


def pod(workload: Workload) -> Party:
    """Return a pod of a workload; its others differ from it in nothing that policies know."""
    ports = dict[tuple[str, str], int]()
    for port in containers.ports(workload):
        if port.name:
            ports.setdefault((port.name, port.protocol), port.number)
    return Party(workload.manifest.name, workload.manifest.namespace, workload.labels, ports=ports)


def denies(
    among: Sequence[Policy], source: Party, target: Party, port: int, protocol: str = "TCP"
) -> set[str]:
    """Return the directions in which policies deny a connection: none, and it is let through."""
    ends = ((EGRESS, source, target), (INGRESS, target, source))
    return {
        direction
        for direction, own, other in ends
        if not opens(isolating(among, direction, own), direction, other, target, port, protocol)
    }


def isolating(among: Iterable[Policy], direction: str, own: Party) -> list[Policy]:
    """Return the policies that isolate a pod in a direction."""
    return [one for one in among if direction in one.isolates and one.selects(own)]


def opens(
    isolating: Sequence[Policy],
    direction: str,
    other: Party,
    target: Party,
    port: int,
    protocol: str,
) -> bool:
    """Return whether policies that isolate an end open it to the other; where none does, it is."""
    return not isolating or any(
        lets(policy, rule, other, target, port, protocol)
        for policy in isolating
        for rule in policy.rules[direction]
    )


def lets(policy: Policy, rule: Rule, other: Party, target: Party, port: int, protocol: str) -> bool:
    """Return whether a rule is for who is at the other end, and for the port at the target."""
    return is_for_port(rule, target, port, protocol) and is_for(policy, rule, other)


def is_for(policy: Policy, rule: Rule, other: Party) -> bool:
    """Return whether a rule is for who is at the other end."""
    namespace = policy.manifest.namespace
    return rule.peers is None or any(names(peer, other, namespace) for _, peer in rule.peers)


def is_for_port(rule: Rule, target: Party, port: int, protocol: str = "TCP") -> bool:
    """Return whether a rule is for a port of the target."""
    return rule.ports is None or any(covers(one, target, port, protocol) for _, one in rule.ports)


def names(peer: Mapping[str, Any], other: Party, namespace: str) -> bool:
    """Return whether a peer of a policy in a namespace is, or includes, another party."""
    block = peer.get("ipBlock")
    if block is not None:
        return _has(block, other)
    if other.namespace is None:
        return False
    of_namespace, of_pod = peer.get("namespaceSelector"), peer.get("podSelector")
    if of_namespace is None and of_pod is None:
        return False
    if of_namespace is None:
        is_there = other.namespace == namespace
    else:
        is_there = selects(of_namespace, {NAMESPACE: other.namespace})
    return is_there and (of_pod is None or selects(of_pod, other.labels))


def _has(block: Any, other: Party) -> bool:
    cidr = network(paths.get(block, ("cidr",)))
    excepted = paths.get(block, ("except",)) or []
    if cidr is None or not isinstance(excepted, list):
        return False
    if not other.address:
        return cidr.prefixlen == 0 and not excepted
    address = ipaddress.ip_address(other.address)
    return address in cidr and not any(
        left is not None and address in left for left in map(network, excepted)
    )


def network(value: Any) -> Network | None:
    """Return what a text like 10.0.0.0/8 means; None if it is invalid."""
    return _network(value) if isinstance(value, str) else None


def has_address(block: Any) -> bool:
    """Return whether an ipBlock has an address that its exceptions leave; True if it is invalid."""
    if not isinstance(block, Mapping) or (whole_block := network(block.get("cidr"))) is None:
        return True
    excepted = block.get("except")
    taken = [network(each) for each in excepted] if isinstance(excepted, list) else []
    within = [
        each
        for each in taken
        if each is not None and each.version == whole_block.version and each.overlaps(whole_block)
    ]
    if any(each.prefixlen <= whole_block.prefixlen for each in within):
        return False
    left = ipaddress.collapse_addresses(within)  # type: ignore[type-var]
    return sum(each.num_addresses for each in left) < whole_block.num_addresses


_LEAST_PREFIX = {4: 8, 6: 16}
"""Of the address ranges that one organisation has: 10.0.0.0/8 is the largest private one."""


def is_everywhere(block: Network | None) -> bool:
    """Return whether a range has all addresses, or a large part of them, as 10.0.0.0/2 has."""
    return block is not None and block.prefixlen < _LEAST_PREFIX[block.version]


@lru_cache
def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def covers(item: Mapping[str, Any], target: Party, port: int, protocol: str) -> bool:
    """Return whether an item of a rule's ports is for a port of the target."""
    if containers.protocol(item) != protocol:
        return False
    first = item.get("port")
    if first is None:
        return True
    if isinstance(first, str):
        return target.ports.get((first, protocol)) == port
    return whole(first, 0) <= port <= whole(item.get("endPort"), whole(first, 0))


def openings(
    among: Sequence[Policy], parties: Sequence[Party], ports: Sequence[tuple[int, str]]
) -> set[Connection]:
    """Return the connections between parties that policies let through.

    ports: numbers and protocols to ask about.
    """
    out, into = ([isolating(among, way, one) for one in parties] for way in (EGRESS, INGRESS))
    return {
        (source.name, target.name, f"{port}/{protocol}")
        for (source, those_out), (target, those_in) in product(
            zip(parties, out, strict=True), zip(parties, into, strict=True)
        )
        for port, protocol in _open(
            those_in, INGRESS, source, target, _open(those_out, EGRESS, target, target, ports)
        )
    }


def _open(
    isolating: Sequence[Policy],
    direction: str,
    other: Party,
    target: Party,
    ports: Sequence[tuple[int, str]],
) -> Sequence[tuple[int, str]]:
    """Return the ports for which opens() holds; who is at the other end is asked but once."""
    if not isolating or not ports:
        return ports
    rules = [
        rule
        for policy in isolating
        for rule in policy.rules[direction]
        if is_for(policy, rule, other)
    ]
    return [one for one in ports if any(is_for_port(rule, target, *one) for rule in rules)]
