"""NetworkPolicies, as the families of rules about them look at them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from scripts.kubernetes import containers, network_policies, services
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.network_policies import EGRESS, INGRESS, Policy, Rule
from scripts.kubernetes.services import ServicePort
from scripts.kubernetes.workloads import Workload
from scripts.rules.snapshot import Objects

CONCEPTS = "https://kubernetes.io/docs/concepts/services-networking/network-policies/"
CONNECTIVITY = "docs/connectivity.md"
DNS = 53
PRIVATE = ("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
Port = tuple[int, str]
"""Number and protocol."""
Peer = Mapping[str, Any]
"""An item of from or to."""


def named_pods(objects: Objects, one: Rule) -> Iterator[Workload]:
    """Yield the workloads whose pods a rule names by labels."""
    for _, peer in one.peers or ():
        if peer.get("namespaceSelector") is None and peer.get("podSelector"):
            yield from objects.selected(peer["podSelector"])


def pods_behind(objects: Objects, ports: Iterable[ServicePort]) -> Iterator[tuple[Workload, Port]]:
    """Yield the workloads and ports that ports of Services lead to."""
    for port in ports:
        for workload in objects.behind(port.service):
            if number := services.reached(port, workload):
                yield workload, (number, port.protocol)


def p2p_ports(objects: Objects) -> set[Port]:
    """Return the ports for peers of the chain."""
    return {
        (number, protocol)
        for party in objects.parties.values()
        for (name, protocol), number in party.ports.items()
        if "p2p" in name.split("-")
    }


def opened_ports(objects: Objects, one: Rule, own: Workload) -> Iterator[Port]:
    """Yield the ports of a workload that an ingress rule is for."""
    party = objects.parties[label_of(own)]
    return (port for port in has_ports(own) if network_policies.is_for_port(one, party, *port))


def is_within(
    inner: network_policies.Network | None, outer: network_policies.Network | None
) -> bool:
    """Return whether all addresses of a network are in another; false where one is none."""
    if inner is None or outer is None or inner.version != outer.version:
        return False
    return inner.network_address in outer and inner.prefixlen >= outer.prefixlen


def blocks(objects: Objects) -> Iterator[tuple[Policy, Where, Mapping[str, Any]]]:
    """Yield the ranges of addresses among all peers, each with its path."""
    for policy, path, peer in all_peers(objects):
        block = peer.get("ipBlock")
        if isinstance(block, dict):
            yield policy, (*path, "ipBlock"), block


def all_peers(objects: Objects) -> Iterator[tuple[Policy, Where, Peer]]:
    """Yield the peers of all rules, each with its path."""
    for policy in objects.policies:
        for one in (*policy.rules[INGRESS], *policy.rules[EGRESS]):
            yield from ((policy, path, peer) for path, peer in one.peers or ())


def selected(objects: Objects, policy: Policy) -> list[Workload]:
    """Return the workloads whose pods a policy is about."""
    return [one for one in objects.workloads if policy.selects(objects.parties[label_of(one)])]


def has_dead_rules(objects: Objects, direction: str, workload: Workload) -> bool:
    """Return whether a policy of a workload's pods has rules for a direction that it is not for.

    Of that missing-policy-type tells, and not of what comes of it.
    """
    party = objects.parties[label_of(workload)]
    return any(
        policy.rules[direction] and direction not in policy.isolates and policy.selects(party)
        for policy in objects.policies
    )


def has_ports(workload: Workload) -> set[Port]:
    """Return the ports that the containers of a workload's pods say they have."""
    return {(port.number, port.protocol) for port in containers.ports(workload)}


def label_of(workload: Workload) -> str:
    """Return the label of the manifest that makes the pods."""
    return workload.manifest.label


def numbered(ports: Iterable[Port]) -> str:
    """Return ports as people write them, in a list of words."""
    return joined([f"{number}/{protocol}" for number, protocol in sorted(ports)])


def joined(items: Sequence[str]) -> str:
    """Return a list in words: a, b and c."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if items[1:] else items)


def flow(data: Any) -> str:
    """Return data as YAML on one line."""
    if isinstance(data, Mapping):
        return "{" + ", ".join(f"{key}: {flow(value)}" for key, value in data.items()) + "}"
    if isinstance(data, list):
        return f"[{', '.join(map(flow, data))}]"
    return str(data)
