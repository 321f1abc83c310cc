"""Ports of policies: NetworkPolicies allow ports that the pods have."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from scripts.core import advice
from scripts.kubernetes import containers
from scripts.kubernetes.containers import Port
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import Workload, mappings
from scripts.rules.networking.port_advice import instead, labels
from scripts.rules.networking.selection import own_namespace
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects


@rule("https://kubernetes.io/docs/concepts/services-networking/network-policies/")
def unknown_network_policy_port(objects: Objects) -> Iterator[Problem]:
    """Every port that a NetworkPolicy allows is a port of the pods at the other end.

    Otherwise the rule allows nothing, and connections to the port that was meant time out.
    """
    for manifest in objects.of_kind("NetworkPolicy"):
        own = objects.selected(manifest.get("spec", "podSelector"))
        for direction, side in (("ingress", "from"), ("egress", "to")):
            for index, allowed in mappings(manifest.get("spec", direction)):
                targets = own if direction == "ingress" else _peers(objects, allowed.get(side))
                known = [port for workload in targets for port in containers.ports(workload)]
                for place, port in mappings(allowed.get("ports")) if known else ():
                    path = ("spec", direction, index, "ports", place)
                    needed = _needed(objects, own, targets) if direction == "egress" else set()
                    yield from _policy_port(manifest, path, port, targets, known, needed)


def _policy_port(
    manifest: Manifest,
    path: Where,
    port: dict[str, Any],
    targets: Sequence[Workload],
    known: Sequence[Port],
    needed: Collection[int],
) -> Iterator[Problem]:
    """Yield that a port of a policy is not a port of its targets.

    needed: the ports of the targets to which the policy's pods connect.
    """
    wanted, protocol, end = port.get("port"), containers.protocol(port), port.get("endPort")
    if wanted is None or any(own.is_meant(wanted, protocol) for own in known):
        return
    name = f"port {wanted}"
    if isinstance(end, int) and isinstance(wanted, int):
        numbers = (own.number for own in known if own.protocol == protocol)
        if any(wanted <= number <= end for number in numbers):
            return
        name = f"ports {wanted} to {end}"
    other = [own for own in known if own.is_meant(wanted, own.protocol)]
    message = (
        f"{manifest.label} allows {name} ({protocol}), but no container of {labels(targets)}"
        " listens there: connections to the intended port time out"
    )
    if other:
        fix: str = advice.write("protocol", other[0].protocol)
        yield Problem(manifest, (*path, "protocol"), message, fix)
    else:
        fix = "remove endPort, and " if end is not None else ""
        ports = [own for own in known if own.number in needed] or known
        fix += instead("port", "clients need", wanted, ports, protocol)
        yield Problem(manifest, (*path, "port"), message, fix)


def _needed(objects: Objects, sources: Sequence[Workload], targets: Sequence[Workload]) -> set[int]:
    """Return the ports of the targets to which the sources connect, by their configuration."""
    return {
        call.port
        for call in objects.calls
        if call.source in sources and any(target in targets for target in call.targets)
    }


def _peers(objects: Objects, peers: Any) -> list[Workload]:
    """Return the workloads among peers; none if other pods may be among them."""
    workloads = list[Workload]()
    for _, peer in mappings(peers):
        inside = own_namespace(objects, peer.get("namespaceSelector"))
        if not inside or not isinstance(peer.get("podSelector"), dict):
            return []
        workloads += objects.selected(peer["podSelector"])
    return workloads
