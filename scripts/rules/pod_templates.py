"""Problems in pod templates, of workloads of any kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from scripts.kubernetes import containers
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.workloads import Workload
from scripts.rules.rule import Problem


def in_pod(workload: Workload, path: Sequence[str | int], message: str, fix: str) -> Problem:
    """Return the problem at a path in the pod spec of a workload."""
    return Problem(workload.manifest, (*workload.pod_path, *path), message, fix)


def in_container(
    container: Container, path: Sequence[str | int], message: str, fix: str
) -> Problem:
    """Return the problem at a path in a container."""
    return Problem(container.workload.manifest, (*container.path, *path), message, fix)


def contexts(workload: Workload) -> Iterator[tuple[Where, dict[str, Any]]]:
    """Yield the security contexts of a workload's pods and of their containers, with paths."""
    holders = [(workload.pod_path, workload.pod_spec)]
    holders += [(container.path, container.data) for container in containers.of(workload)]
    for path, holder in holders:
        context = holder.get("securityContext")
        yield (*path, "securityContext"), context if isinstance(context, dict) else {}


def called(container: Container) -> str:
    """Return the name of a container for messages; without a name, its field and index."""
    field, index = container.path[-2:]
    return f"the container {container.data.get('name') or f'in {field}[{index}], without a name,'}"
