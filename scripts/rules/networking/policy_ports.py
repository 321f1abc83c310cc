"""Ports of policies: what a NetworkPolicy lets through is a port that somebody listens on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

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
    """A port that a NetworkPolicy lets through is a port of the pods that it leads to.

    Else it opens nothing that anybody listens on: connections to the right port time out.
    """
    for manifest in objects.of_kind("NetworkPolicy"):
        own = objects.selected(manifest.get("spec", "podSelector"))
        for direction, side in (("ingress", "from"), ("egress", "to")):
            for index, allowed in mappings(manifest.get("spec", direction)):
                to = own if direction == "ingress" else _peers(objects, allowed.get(side))
                known = [port for one in to for port in containers.ports(one)]
                for place, port in mappings(allowed.get("ports")) if known else ():
                    path = ("spec", direction, index, "ports", place)
                    yield from _policy_port(manifest, path, port, to, known)


def _policy_port(
    manifest: Manifest,
    path: Where,
    port: dict[str, Any],
    to: Sequence[Workload],
    known: Sequence[Port],
) -> Iterator[Problem]:
    wanted, protocol, end = port.get("port"), containers.protocol(port), port.get("endPort")
    if wanted is None or any(own.is_meant(wanted, protocol) for own in known):
        return
    if isinstance(end, int) and isinstance(wanted, int):
        numbers = (own.number for own in known if own.protocol == protocol)
        if any(wanted <= number <= end for number in numbers):
            return
    other = [own for own in known if own.is_meant(wanted, own.protocol)]
    message = (
        f"{manifest.label} lets port {wanted} ({protocol}) through, which no container of"
        f" {labels(to)} has"
    )
    if other:
        yield Problem(manifest, (*path, "protocol"), message, f"write {other[0].protocol}")
    else:
        yield Problem(manifest, (*path, "port"), message, instead(wanted, known, protocol))


def _peers(objects: Objects, peers: Any) -> list[Workload]:
    """Return the workloads that peers are; none where there may be others that we do not know."""
    found = list[Workload]()
    for _, peer in mappings(peers):
        inside = own_namespace(objects, peer.get("namespaceSelector"))
        if not inside or not isinstance(peer.get("podSelector"), dict):
            return []
        found += objects.selected(peer["podSelector"])
    return found
