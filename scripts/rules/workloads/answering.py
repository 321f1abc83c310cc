"""The containers that keep a chain, and those that Services lead to."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.kubernetes import containers, services
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Manifest
from scripts.rules.snapshot import Objects

_NODES = ("sequencer", "maru", "besu")
"""Components whose pods keep a chain in RocksDB."""


def of_nodes(objects: Objects) -> Iterator[Container]:
    """Yield the containers that keep a chain; what runs before them keeps nothing."""
    for container in objects.containers:
        manifest = container.workload.manifest
        of_stack = manifest.kind in ("StatefulSet", "Deployment") and manifest.component in _NODES
        if of_stack and not container.is_init:
            yield container


def answering(objects: Objects, service: Manifest) -> Iterator[Container]:
    """Yield the containers that have a port which a Service leads to."""
    ports = services.ports(service)
    for workload in objects.behind(service):
        found = [services.answering(port, workload) for port in ports]
        answers = {port.container.path for port in found if port}
        for container in containers.running(workload):
            if container.path in answers:
                yield container
