"""Which pods a change replaces, adds and takes away, in what order, and what is left. Pure.

https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#update-strategies and
deployment/#strategy. A rollout asks no PodDisruptionBudget; those bound evictions only.

Named is only what a controller promises: a StatefulSet ends its pods from the highest ordinal down,
and takes the highest away. With podManagementPolicy Parallel it creates and deletes several in no
particular order (stateful_set_control.go in Kubernetes' pkg/controller/statefulset). Which pods a
Deployment replaces or takes away, nobody can say.
"""

from __future__ import annotations

from dataclasses import dataclass

from scripts.impact.compare.difference import Change, Difference
from scripts.kubernetes.workloads import Workload, mappings, rolled, scaled, whole

_MAX_UNAVAILABLE = 35
"""Minor version of Kubernetes from which a StatefulSet may have maxUnavailable; the API server
drops it before."""
PAUSED = "the Deployment is paused, and later waves wait until it goes on"


@dataclass(frozen=True, slots=True)
class Rollout:
    """What becomes of a workload's pods."""

    workload: Workload
    """As it is after the change; as it was, where it is gone."""
    restarted: tuple[str, ...]
    """The pods that are replaced, in the order in which they are ended; of a Deployment, whose pods
    have no names of their own, as many times its name."""
    added: tuple[str, ...]
    """By their ordinals; they come in this order where `is_ordered`, otherwise in any."""
    removed: tuple[str, ...]
    at_once: int
    """How many are away at the same time, at most."""
    pods: int
    """How many there are before it begins."""
    after: int
    """How many there are in the end."""
    least_s: int
    """How long some of them are away, at the least."""
    reasons: tuple[Change, ...]
    """What differs in the pods' template."""
    waits: str = ""
    """Why pods that differ are not replaced; empty where they are."""

    @property
    def left(self) -> int:
        """Return how many pods go on, at the least."""
        return self.pods - self.at_once if self.restarted else self.pods

    @property
    def is_ordered(self) -> bool:
        """Return whether a pod comes only when all before it are ready."""
        is_set = self.workload.manifest.kind == "StatefulSet"
        return is_set and self.workload.get("spec", "podManagementPolicy") != "Parallel"

    @property
    def is_quiet(self) -> bool:
        """Return whether nothing becomes of any pod."""
        return not (self.restarted or self.added or self.removed or self.waits)


def rollout(
    old: Workload | None, new: Workload | None, difference: Difference, kubernetes_version: str
) -> Rollout | None:
    """Return what becomes of a workload's pods; None where that is nothing, or there are none.

    difference: what differs in its manifest, by meaning. kubernetes_version: like 1.34.
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
    made = _Restarts((), 0, "")
    if reasons:
        minor = kubernetes_version.partition(".")[2]
        made = _restarts(workload, kept, int(minor) if minor.isdecimal() else 0)
    found = Rollout(
        workload=workload,
        restarted=made.pods,
        added=added,
        removed=removed,
        at_once=min(made.at_once, kept),
        pods=before,
        after=after,
        least_s=_least_s(workload) * -(-len(made.pods) // max(made.at_once, 1)),
        reasons=reasons,
        waits=made.waits,
    )
    return None if found.is_quiet else found


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
        return _Restarts((), 0, "each pod is replaced when somebody deletes it (OnDelete)")
    rolling = strategy.get("rollingUpdate")
    rolling = rolling if isinstance(rolling, dict) else {}
    partition = whole(rolling.get("partition"), 0)
    names = _names(workload, partition, pods)[::-1]
    waits = f"pods below {partition} stay as they are (partition)" if partition and pods else ""
    at_once = 1
    if minor >= _MAX_UNAVAILABLE:
        # Of all replicas, rounded down, and one at least: getStatefulSetMaxUnavailable.
        at_once = max(1, scaled(rolling.get("maxUnavailable", 1), workload.least, up=False))
    return _Restarts(names, at_once, waits)


def _away(workload: Workload, pods: int) -> int:
    """Return how many pods of a Deployment may be away while it rolls."""
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
    """Return how long a pod that is replaced is not available, at the least, in seconds.

    Until its probes may first succeed, and for as long as it must be ready to count.
    """
    spec = workload.get(*workload.template, "spec")
    probes = [0]
    for _, container in mappings(spec.get("containers") if isinstance(spec, dict) else None):
        delays = [
            whole(probe.get("initialDelaySeconds"), 0)
            for probe in (container.get("startupProbe"), container.get("readinessProbe"))
            if isinstance(probe, dict)
        ]
        probes.append(max(delays, default=0))
    return max(probes) + whole(workload.get("spec", "minReadySeconds"), 0)
