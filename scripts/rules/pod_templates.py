"""What is wrong in the pods that an object makes, whichever kind it is of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from scripts.kubernetes import containers
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.workloads import Workload
from scripts.rules.rule import Problem


def in_pod(workload: Workload, path: Sequence[str | int], message: str, fix: str) -> Problem:
    """Return what is wrong at a path in the spec of a workload's pods."""
    return Problem(workload.manifest, (*workload.pod_path, *path), message, fix)


def in_container(
    container: Container, path: Sequence[str | int], message: str, fix: str
) -> Problem:
    """Return what is wrong at a path in a container."""
    return Problem(container.workload.manifest, (*container.path, *path), message, fix)


def contexts(workload: Workload) -> Iterator[tuple[Where, dict[str, Any]]]:
    """Yield the security contexts of a workload's pods and of their containers."""
    holders = [(workload.pod_path, workload.pod_spec)]
    holders += [(one.path, one.data) for one in containers.of(workload)]
    for path, holder in holders:
        found = holder.get("securityContext")
        yield (*path, "securityContext"), found if isinstance(found, dict) else {}


def called(container: Container) -> str:
    """Return what a container is called in messages."""
    return f"the container {container.data.get('name', 'without a name')}"
