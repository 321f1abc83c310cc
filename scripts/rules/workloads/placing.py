"""Where pods may go, and where their number is said, as several families look at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scripts.core import paths
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import Workload, mappings, selects
from scripts.rules.snapshot import Objects

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def constraints(workload: Workload) -> Iterator[tuple[Where, dict[str, Any]]]:
    """Yield the spread constraints of a workload's pods, each with its path."""
    path, spec = workload.pod_path, workload.pod_spec
    for index, constraint in mappings(spec.get("topologySpreadConstraints")):
        yield (*path, "topologySpreadConstraints", index), constraint


def is_hard(constraint: Mapping[str, Any], workload: Workload) -> bool:
    """Return whether pods wait rather than break a constraint, which is about them."""
    return constraint.get("whenUnsatisfiable") == "DoNotSchedule" and selects(
        constraint.get("labelSelector"), workload.labels
    )


def pod_terms(
    workload: Workload, affinity: str, kind: str
) -> Iterator[tuple[Where, dict[str, Any]]]:
    """Yield the terms about pods of the same namespace, each with its selector's path."""
    start, spec = workload.pod_path, workload.pod_spec
    path: Where = (*start, "affinity", affinity, kind)
    for index, item in mappings(paths.get(spec, ("affinity", affinity, kind))):
        inner = ("podAffinityTerm",) if kind == PREFERRED else ()
        term = paths.get(item, inner)
        if isinstance(term, dict) and not term.keys() & {"namespaces", "namespaceSelector"}:
            yield (*path, index, *inner, "labelSelector"), term


def counted(objects: Objects, workload: Workload, bound: str) -> tuple[Manifest, Where]:
    """Return where the number of pods is said: by the autoscaler, or by the workload."""
    scalers = objects.autoscalers(workload.manifest)
    return (scalers[0], ("spec", bound)) if scalers else (workload.manifest, ("spec", "replicas"))
