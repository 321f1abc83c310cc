"""What makes pods, and how many: manifests → workloads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.core import paths
from scripts.kubernetes import autoscalers
from scripts.kubernetes.manifest import PODS, Manifest, Where

MOST_PODS = 5_000
"""Nodes of a cluster: https://kubernetes.io/docs/setup/best-practices/cluster-large/. A workload
of more pods is a typing error, for which nothing here should compute for minutes."""

_COUNTED = {"CronJob", "Deployment", "Job", "Pod", "StatefulSet"}
"""Kinds whose manifests say how many pods there are."""

OF_THE_CLUSTER = ("DaemonSet", "ReplicaSet")
"""Kinds that make as many pods as only the cluster knows."""

STATEFUL = ("statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index")
"""Labels that a StatefulSet gives each of its pods: its name, and its ordinal."""


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

    @property
    def component(self) -> str:
        """Return the component that it is, or its name where it has no label that says so."""
        return self.manifest.component or self.manifest.name

    @property
    def pod_path(self) -> Where:
        """Return the path of its pods' spec."""
        return (*self.template, "spec")

    @property
    def pod_spec(self) -> Mapping[str, Any]:
        """Return the spec of its pods, empty if there is none."""
        found = self.get(*self.template, "spec")
        return found if isinstance(found, dict) else {}

    def volumes(self) -> Iterator[tuple[Where, dict[str, Any]]]:
        """Yield the volumes of its pods, each with its path."""
        for index, volume in mappings(self.pod_spec.get("volumes")):
            yield (*self.pod_path, "volumes", index), volume

    def claim_templates(self) -> Iterator[tuple[Where, str, dict[str, Any]]]:
        """Yield a StatefulSet's templates of claims, each with its path and name."""
        path: Where = ("spec", "volumeClaimTemplates")
        if self.manifest.kind == "StatefulSet":
            for index, template in mappings(self.get(*path)):
                yield (*path, index), str(paths.get(template, ("metadata", "name"))), template

    def ordinals(self, least: bool = False) -> range:
        """Return the ordinals of a StatefulSet's pods: of all it may have, or of those it keeps."""
        start = whole(self.get("spec", "ordinals", "start"), 0)
        return range(start, start + max(self.least if least else self.most, 0))

    def pod_names(self) -> list[str]:
        """Return the names of all pods that a StatefulSet may have."""
        return [f"{self.manifest.name}-{ordinal}" for ordinal in self.ordinals()]


def workloads(manifests: Sequence[Manifest]) -> list[Workload]:
    """Return what makes pods, with an autoscaler's bounds instead of replicas."""
    bounds = {
        autoscalers.target(manifest): (
            whole(manifest.get("spec", "minReplicas"), 1),
            whole(manifest.get("spec", "maxReplicas"), 1),
        )
        for manifest in manifests
        if manifest.kind == autoscalers.KIND
    }
    found = []
    for manifest in manifests:
        if manifest.kind not in _COUNTED:
            continue
        replicas = 1
        if manifest.kind in ("Deployment", "StatefulSet"):
            replicas = whole(manifest.get("spec", "replicas"), 1)
        least, most = bounds.get(autoscalers.as_target(manifest), (replicas, replicas))
        template = PODS[manifest.kind.lower()][:-1]
        found.append(Workload(manifest, template, min(least, MOST_PODS), min(most, MOST_PODS)))
    return found


def makers(manifests: Sequence[Manifest]) -> list[Workload]:
    """Return the workloads, and then what makes as many pods as only the cluster knows."""
    others = [one for one in manifests if one.kind in OF_THE_CLUSTER]
    return [
        *workloads(manifests),
        *(Workload(one, PODS[one.kind.lower()][:-1], 1, 1) for one in others),
    ]


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


def picks(selector: Any, workload: Workload, least: bool = False) -> bool:
    """Return whether a label selector selects a pod of a workload, by its own labels, too.

    least: one of those that it keeps, and not only of all that there may be.
    """
    if selects(selector, workload.labels):
        return True
    if workload.manifest.kind != "StatefulSet" or not any(key in str(selector) for key in STATEFUL):
        return False
    name, index = STATEFUL
    return any(
        selects(
            selector,
            {**workload.labels, name: f"{workload.manifest.name}-{ordinal}", index: str(ordinal)},
        )
        for ordinal in workload.ordinals(least)
    )


def holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Return whether labels meet one of a selector's matchExpressions."""
    has, operator = labels.get(str(expression.get("key"))), expression.get("operator")
    listed = expression.get("values")
    among = has in (listed if isinstance(listed, list) else [])
    known = {"In": among, "NotIn": not among, "Exists": has is not None, "DoesNotExist": not has}
    return known.get(str(operator), False)
