"""Predict which pods a change replaces, adds and removes, in what order, and what runs on. Pure.

https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#update-strategies and
deployment/#strategy. A rollout ignores PodDisruptionBudgets; those limit evictions only.

It names only what controllers guarantee: a StatefulSet replaces its pods from the highest ordinal
down, and removes the highest ones. With podManagementPolicy Parallel it creates and deletes several
in no particular order (stateful_set_control.go in Kubernetes' pkg/controller/statefulset). Which
pods a Deployment replaces or removes is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

from scripts.impact.compare.difference import Change, Difference
from scripts.kubernetes import containers, minor_version
from scripts.kubernetes.workloads import Workload, rolled, scaled, whole

_MAX_UNAVAILABLE = 37
"""Minor version of Kubernetes from which a StatefulSet can have maxUnavailable. Earlier API servers
drop the field, except for 1.35.0 to 1.35.3."""
PAUSED = (
    "its pods keep the old template: the Deployment is paused, and the sync waits until someone"
    " resumes it"
)
_ON_DELETE = "its pods keep the old template until someone deletes them (updateStrategy OnDelete)"


@dataclass(frozen=True, slots=True)
class Rollout:
    """What happens to the pods of a workload."""

    workload: Workload
    """The new workload; the old one if it is removed."""
    restarted: tuple[str, ...]
    """The replaced pods, in the order in which they stop. The name of a Deployment's pod is random,
    so it is listed as the Deployment's name."""
    added: tuple[str, ...]
    """By ordinals; created in this order if `is_ordered`, otherwise in any order."""
    removed: tuple[str, ...]
    at_once: int
    """How many pods are down at the same time, at most."""
    pods: int
    """How many pods there are before."""
    after: int
    """How many pods there are in the end."""
    least_s: int
    """How long some pods are down, at least, in seconds."""
    reasons: tuple[Change, ...]
    """The changes of the pod template."""
    waits: str = ""
    """Why some pods are not replaced although the template changes; otherwise empty."""

    @property
    def left(self) -> int:
        """Return how many pods keep running, at least."""
        return self.pods - self.at_once if self.restarted else self.pods

    @property
    def is_ordered(self) -> bool:
        """Return whether a pod is created only when all pods before it are ready."""
        is_set = self.workload.manifest.kind == "StatefulSet"
        return is_set and self.workload.get("spec", "podManagementPolicy") != "Parallel"

    @property
    def is_quiet(self) -> bool:
        """Return whether nothing happens to any pod."""
        return not (self.restarted or self.added or self.removed or self.waits)


def rollout(
    old: Workload | None, new: Workload | None, difference: Difference, kubernetes_version: str
) -> Rollout | None:
    """Return what happens to the pods of a workload; None if nothing does.

    difference: between the old and new manifest. kubernetes_version: like 1.34.
    """
    workload = new or old
    assert workload is not None
    if workload.manifest.kind not in ("Deployment", "StatefulSet"):
        return None
    before, after = old.least if old else 0, new.least if new else 0
    kept = min(before, after)
    added = _names(workload, before, after)
    removed = _names(workload, after, before)[::-1]
    reasons = tuple(difference.within(*workload.template)) if old and new else ()
    restarts = _Restarts((), 0, "")
    if reasons:
        restarts = _restarts(workload, kept, minor_version.number(kubernetes_version))
    predicted = Rollout(
        workload=workload,
        restarted=restarts.pods,
        added=added,
        removed=removed,
        at_once=min(restarts.at_once, kept),
        pods=before,
        after=after,
        least_s=_least_s(workload) * -(-len(restarts.pods) // max(restarts.at_once, 1)),
        reasons=reasons,
        waits=restarts.waits,
    )
    return None if predicted.is_quiet else predicted


@dataclass(frozen=True, slots=True)
class _Restarts:
    pods: tuple[str, ...]
    at_once: int
    waits: str


def _restarts(workload: Workload, pods: int, minor: int) -> _Restarts:
    if workload.manifest.kind == "Deployment":
        if workload.get("spec", "paused") is True:
            return _Restarts((), 0, PAUSED)
        return _Restarts(_names(workload, 0, pods), _away(workload, pods), "")
    strategy = workload.get("spec", "updateStrategy")
    strategy = strategy if isinstance(strategy, dict) else {}
    if strategy.get("type") == "OnDelete":
        return _Restarts((), 0, _ON_DELETE)
    rolling = strategy.get("rollingUpdate")
    rolling = rolling if isinstance(rolling, dict) else {}
    partition = whole(rolling.get("partition"), 0)
    names = _names(workload, partition, pods)[::-1]
    waits = f"pods with an ordinal below {partition} keep the old template (partition {partition})"
    waits = waits if partition and pods else ""
    at_once = 1
    if minor >= _MAX_UNAVAILABLE:
        # A share of all replicas, rounded down, but at least one: getStatefulSetMaxUnavailable.
        at_once = max(1, scaled(rolling.get("maxUnavailable", 1), workload.least, up=False))
    return _Restarts(names, at_once, waits)


def _away(workload: Workload, pods: int) -> int:
    """Return how many pods of a Deployment may be down during its rollout."""
    if workload.get("spec", "strategy", "type") == "Recreate":
        return pods
    return rolled(workload, pods)[1]


def _names(workload: Workload, first: int, end: int) -> tuple[str, ...]:
    name = workload.manifest.name
    if workload.manifest.kind == "Deployment":
        return (name,) * max(0, end - first)
    start = whole(workload.get("spec", "ordinals", "start"), 0)
    return tuple(f"{name}-{start + index}" for index in range(first, end))


def _least_s(workload: Workload) -> int:
    """Return how long a replaced pod is unavailable, at least, in seconds.

    That is the time until its probes first run, and minReadySeconds.
    """
    probes = [0]
    for container in containers.of(workload):
        if container.is_init:
            continue
        delays = [
            whole(probe.get("initialDelaySeconds"), 0)
            for probe in (container.get("startupProbe"), container.get("readinessProbe"))
            if isinstance(probe, dict)
        ]
        probes.append(max(delays, default=0))
    return max(probes) + whole(workload.get("spec", "minReadySeconds"), 0)
