"""What the rules about NetworkPolicies share."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from scripts.core import paths
from scripts.core.sentences import joined
from scripts.kubernetes import containers, network_policies, services
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.network_policies import EGRESS, INGRESS, Policy, Rule
from scripts.kubernetes.services import ServicePort
from scripts.kubernetes.workloads import Workload, whole
from scripts.rules.snapshot import Objects

CONCEPTS = "https://kubernetes.io/docs/concepts/services-networking/network-policies/"
CONNECTIVITY = "docs/connectivity.md"
DNS = 53
PRIVATE = ("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
Port = tuple[int, str]
"""Number and protocol."""
Peer = Mapping[str, Any]
"""An item of from or to."""


def named_pods(objects: Objects, allowed: Rule) -> Iterator[Workload]:
    """Yield the workloads whose pods a rule selects by labels."""
    for _, peer in allowed.peers or ():
        if peer.get("namespaceSelector") is None and peer.get("podSelector"):
            yield from objects.selected(peer["podSelector"])


def pods_behind(objects: Objects, ports: Iterable[ServicePort]) -> Iterator[tuple[Workload, Port]]:
    """Yield the workloads and ports that ports of Services forward to."""
    for port in ports:
        for workload in objects.behind(port.service):
            if number := services.reached(port, workload):
                yield workload, (number, port.protocol)


def p2p_ports(objects: Objects) -> set[Port]:
    """Return the P2P ports of the chain nodes."""
    return {
        (number, protocol)
        for party in objects.parties.values()
        for (name, protocol), number in party.ports.items()
        if "p2p" in name.split("-")
    }


def opened_ports(objects: Objects, allowed: Rule, own: Workload) -> Iterator[Port]:
    """Yield the ports of a workload that an ingress rule allows."""
    party = objects.parties[label_of(own)]
    return (port for port in has_ports(own) if network_policies.is_for_port(allowed, party, *port))


def is_within(
    inner: network_policies.Network | None, outer: network_policies.Network | None
) -> bool:
    """Return whether all addresses of a network are in another; false if one is missing."""
    if inner is None or outer is None or inner.version != outer.version:
        return False
    return inner.network_address in outer and inner.prefixlen >= outer.prefixlen


def overlap(one: network_policies.Network | None, other: network_policies.Network | None) -> bool:
    """Return whether two networks have an address in common; false if one is missing."""
    return is_within(one, other) or is_within(other, one)


def merged(ranges: object) -> list[ipaddress.IPv4Network]:
    """Return the IPv4 ranges of a list, neighbours as one: 10.0.0.0/9 and 10.128.0.0/9 are 10/8."""
    networks = map(network_policies.network, ranges if isinstance(ranges, list) else ())
    of_version_4 = (one for one in networks if isinstance(one, ipaddress.IPv4Network))
    return list(ipaddress.collapse_addresses(of_version_4))


def share(cidr: object) -> str:
    """Return how many of all addresses a range has, in words."""
    network = network_policies.network(cidr)
    if network is None or not network.prefixlen:
        return f"all addresses ({cidr})"
    return f"1/{2**network.prefixlen} of all addresses ({cidr})"


def is_any_address(peer: Peer) -> bool:
    """Return whether a peer is an ipBlock of all addresses, or of a large part of them."""
    return network_policies.is_everywhere(
        network_policies.network(paths.get(peer, ("ipBlock", "cidr")))
    )


def blocks(objects: Objects) -> Iterator[tuple[Policy, Where, Mapping[str, Any]]]:
    """Yield the ipBlocks of all peers, each with its policy and path."""
    for policy, path, peer in all_peers(objects):
        block = peer.get("ipBlock")
        if isinstance(block, dict):
            yield policy, (*path, "ipBlock"), block


def all_peers(objects: Objects) -> Iterator[tuple[Policy, Where, Peer]]:
    """Yield the peers of all rules, each with its policy and path."""
    for policy in objects.policies:
        for allowed in (*policy.rules[INGRESS], *policy.rules[EGRESS]):
            yield from ((policy, path, peer) for path, peer in allowed.peers or ())


def selected(objects: Objects, policy: Policy) -> list[Workload]:
    """Return the workloads whose pods a policy selects."""
    parties = objects.parties
    return [own for own in objects.workloads if policy.selects(parties[label_of(own)])]


def has_dead_rules(objects: Objects, direction: str, workload: Workload) -> bool:
    """Return whether a policy of a workload has rules for a direction missing in policyTypes.

    missing-policy-type reports that; its consequences are not reported as well.
    """
    party = objects.parties[label_of(workload)]
    return any(
        policy.rules[direction] and direction not in policy.isolates and policy.selects(party)
        for policy in objects.policies
    )


def has_ports(workload: Workload) -> set[Port]:
    """Return the ports that the containers of a workload declare."""
    return {(port.number, port.protocol) for port in containers.ports(workload)}


def label_of(workload: Workload) -> str:
    """Return the label of the manifest that makes the pods."""
    return workload.manifest.label


def numbered(ports: Iterable[Port]) -> str:
    """Return ports as a list in words: 8545/TCP and 8546/TCP."""
    return joined([f"{number}/{protocol}" for number, protocol in sorted(ports)])


def flow(data: Any) -> str:
    """Return data as YAML on one line."""
    if isinstance(data, Mapping):
        return "{" + ", ".join(f"{key}: {flow(value)}" for key, value in data.items()) + "}"
    if isinstance(data, list):
        return f"[{', '.join(map(flow, data))}]"
    return str(data)


_LAST_PORT = 65535


def is_for_all_ports(allowed: Rule) -> bool:
    """Return whether a rule allows all ports, or most of them."""
    if allowed.ports is None or any(item.get("port") is None for _, item in allowed.ports):
        return True
    numbers = 0
    for _, item in allowed.ports:
        first = whole(item["port"], 0)
        numbers += max(0, min(whole(item.get("endPort"), first), _LAST_PORT) - first)
    return numbers > _LAST_PORT // 2
