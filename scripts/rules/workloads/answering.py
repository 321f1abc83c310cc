"""Containers of chain nodes, and containers that Services send connections to."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.kubernetes import containers, services
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Manifest
from scripts.rules.snapshot import Objects

_NODES = ("sequencer", "maru", "besu")
"""Components whose pods store the chain in RocksDB."""


def chain_nodes(objects: Objects) -> Iterator[Container]:
    """Yield the containers of chain nodes, without their init containers."""
    for container in objects.containers:
        manifest = container.workload.manifest
        of_stack = manifest.kind in ("StatefulSet", "Deployment") and manifest.component in _NODES
        if of_stack and not container.is_init:
            yield container


def answering(objects: Objects, service: Manifest) -> Iterator[Container]:
    """Yield the containers that listen on a target port of a Service."""
    ports = services.ports(service)
    for workload in objects.behind(service):
        targets = [services.answering(port, workload) for port in ports]
        listening = {target.container.path for target in targets if target}
        for container in containers.running(workload):
            if container.path in listening:
                yield container
