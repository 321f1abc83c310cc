"""What makes pods, and how many: manifests → workloads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.core import paths
from scripts.kubernetes.manifest import PODS, Manifest, Where

MOST_PODS = 5_000
"""Nodes of a cluster: https://kubernetes.io/docs/setup/best-practices/cluster-large/. A workload
of more pods is a typing error, for which nothing here should compute for minutes."""

_COUNTED = {"CronJob", "Deployment", "Job", "Pod", "StatefulSet"}
"""Kinds whose manifests say how many pods there are. Of a DaemonSet, only the cluster knows."""


@dataclass(frozen=True, slots=True)
class Workload:
    """An object that makes pods."""

    manifest: Manifest
    template: Where
    """Where its pod's metadata and spec stand."""
    least: int
    """Pods that it keeps if all is well; 1 for a kind without replicas."""
    most: int
    """Pods that it may be scaled to."""

    def get(self, *path: str | int) -> Any:
        """Return a field of the object; None if it is missing."""
        return paths.get(self.manifest.object, path)

    @property
    def labels(self) -> dict[str, str]:
        """Return the labels of its pods."""
        found = self.get(*self.template, "metadata", "labels")
        return found if isinstance(found, dict) else {}


def workloads(manifests: Sequence[Manifest]) -> list[Workload]:
    """Return what makes pods, with an autoscaler's bounds instead of replicas."""
    scaled = {}
    for manifest in manifests:
        if manifest.kind == "HorizontalPodAutoscaler":
            spec = manifest.object.get("spec")
            target = paths.get(spec, ["scaleTargetRef"])
            key = str(paths.get(target, ["kind"])), str(paths.get(target, ["name"]))
            least = whole(paths.get(spec, ["minReplicas"]), 1)
            scaled[key] = least, whole(paths.get(spec, ["maxReplicas"]), 1)
    found = []
    for manifest in manifests:
        if manifest.kind not in _COUNTED:
            continue
        template = PODS[manifest.kind.lower()][:-1]
        replicas = 1
        if manifest.kind in ("Deployment", "StatefulSet"):
            replicas = whole(paths.get(manifest.object, ["spec", "replicas"]), 1)
        least, most = scaled.get((manifest.kind, manifest.name), (replicas, replicas))
        found.append(Workload(manifest, template, min(least, MOST_PODS), min(most, MOST_PODS)))
    return found


def whole(value: Any, default: int) -> int:
    """Return a whole number of a manifest; the default where it says none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def scaled(value: Any, pods: int, up: bool = True) -> int:
    """Return how many of the pods a number or a percentage of them means, rounded up or down."""
    text = str(value)
    if text.endswith("%") and text[:-1].isdecimal():
        part = int(text[:-1]) * pods
        return -(-part // 100) if up else part // 100
    return whole(value, 0)


def rolled(workload: Workload, pods: int) -> tuple[int, int]:
    """Return how many pods more, and how many fewer, a Deployment may have while it is rolled out.

    pods: its replicas. Kubernetes takes one away where both are none.
    """
    rolling = workload.get("spec", "strategy", "rollingUpdate")
    said = {"maxSurge": "25%", "maxUnavailable": "25%"}
    said |= rolling if isinstance(rolling, dict) else {}
    surge, away = scaled(said["maxSurge"], pods), scaled(said["maxUnavailable"], pods, up=False)
    return (surge, away) if surge or away else (0, 1)


def mappings(value: Any) -> Sequence[tuple[int, dict[str, Any]]]:
    """Return the mappings in a list, each with its index; what else there is, the schemas tell."""
    if not isinstance(value, list):
        return ()
    return [(index, item) for index, item in enumerate(value) if isinstance(item, dict)]


def selects(selector: Any, labels: Mapping[str, str]) -> bool:
    """Return whether a label selector selects a pod; one that is not there selects none."""
    if not isinstance(selector, dict):
        return False
    wanted = selector.get("matchLabels")
    wanted = wanted if isinstance(wanted, dict) else {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    expressions = mappings(selector.get("matchExpressions"))
    return all(holds(expression, labels) for _, expression in expressions)


def holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Return whether labels meet one of a selector's matchExpressions."""
    has, operator = labels.get(str(expression.get("key"))), expression.get("operator")
    listed = expression.get("values")
    among = has in (listed if isinstance(listed, list) else [])
    known = {"In": among, "NotIn": not among, "Exists": has is not None, "DoesNotExist": not has}
    return known.get(str(operator), False)
