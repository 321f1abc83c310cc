"""Rollouts: updates reach the pods, and end."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.core import paths
from scripts.core.findings import Severity
from scripts.kubernetes import resilience, volumes
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.resilience import ZONE
from scripts.kubernetes.workloads import Workload, scaled, whole
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_DEPLOYMENTS = "https://kubernetes.io/docs/concepts/workloads/controllers/deployment/"
_STATEFUL = "https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/"
_VALIDATORS = ("sequencer", "maru")


@rule(_DEPLOYMENTS, outcome=Outcome.REJECTED)
def rollout_without_progress(objects: Objects) -> Iterator[Problem]:
    """A Deployment's update may add a pod, or take one away.

    With maxSurge and maxUnavailable both 0 it could do neither: Kubernetes refuses it.
    """
    for workload in _of_kind(objects, "Deployment"):
        path: Where = ("spec", "strategy", "rollingUpdate")
        rolling = workload.get(*path)
        if not isinstance(rolling, dict) or not {"maxSurge", "maxUnavailable"} <= rolling.keys():
            continue
        if not any(scaled(rolling[key], 100) for key in ("maxSurge", "maxUnavailable")):
            message = "maxSurge and maxUnavailable are both 0: Kubernetes refuses that"
            fix = "write maxSurge: 1, or type: Recreate where two pods must not run at once"
            yield Problem(workload.manifest, (*path, "maxSurge"), message, fix)


@rule(_STATEFUL, outcome=Outcome.REJECTED)
def rolling_update_settings_ignored(objects: Objects) -> Iterator[Problem]:
    """Only an update of type RollingUpdate has settings in rollingUpdate.

    Else Kubernetes refuses the object.
    """
    for workload in _of_kind(objects, "Deployment", "StatefulSet"):
        path = _strategy(workload)
        type_ = workload.get(*path, "type")
        if type_ in ("OnDelete", "Recreate") and workload.get(*path, "rollingUpdate") is not None:
            message = f"type is {type_}, and rollingUpdate is set: Kubernetes refuses that"
            fix = "write rollingUpdate: null, or type: RollingUpdate"
            yield Problem(workload.manifest, (*path, "type"), message, fix)


@rule(_STATEFUL)
def update_breaks_quorum(objects: Objects) -> Iterator[Problem]:
    """An update takes no more validators away at once than the chain can spare.

    Else each update stops the chain.
    """
    spare = objects.chain.spare if objects.chain else 0
    for workload in _of_kind(objects, "StatefulSet"):
        path = (*_strategy(workload), "rollingUpdate", "maxUnavailable")
        away = workload.get(*path)
        if away is None or workload.manifest.component not in _VALIDATORS:
            continue
        gone = min(scaled(away, workload.least), workload.least)
        if gone > max(1, spare):
            message = (
                f"an update takes {gone} of {workload.least} validators away at once, and the chain"
                f" goes on without {max(0, spare)} only"
            )
            yield Problem(
                workload.manifest, path, message, f"write maxUnavailable: {max(1, spare)}"
            )


@rule(_STATEFUL, Severity.WARNING)
def update_strategy_on_delete(objects: Objects) -> Iterator[Problem]:
    """A change of a StatefulSet reaches its pods by itself.

    With OnDelete what is merged runs only once somebody has deleted each pod, and Argo CD calls it
    synced before.
    """
    for workload in _of_kind(objects, "StatefulSet"):
        path = (*_strategy(workload), "type")
        refused = workload.get(*_strategy(workload), "rollingUpdate") is not None
        if workload.get(*path) == "OnDelete" and not refused:
            message = (
                "pods are replaced only when somebody deletes them: until then the old ones run"
            )
            yield Problem(workload.manifest, path, message, "write type: RollingUpdate")


@rule(f"{_STATEFUL}#partitions", outcome=Outcome.HIDDEN)
def partition_excludes_all_pods(objects: Objects) -> Iterator[Problem]:
    """A StatefulSet's partition leaves pods to update.

    From as many as there are pods on, none ever gets what is merged, and Argo CD calls it synced.
    """
    for workload, path, partition in _partitions(objects):
        if partition >= workload.most > 0:
            message = f"partition is {partition} of {workload.most} pods: no pod is updated"
            yield Problem(workload.manifest, path, message, "write partition: 0")


@rule(f"{_STATEFUL}#partitions", Severity.WARNING)
def partition_left_behind(objects: Objects) -> Iterator[Problem]:
    """A StatefulSet's partition is 0, but while an update is tried on some of the pods.

    Pods below it keep what ran before, also once they are started anew.
    """
    for workload, path, partition in _partitions(objects):
        if 0 < partition < workload.most:
            message = (
                f"partition is {partition} of {workload.most} pods: those with ordinals below it "
                "are not updated"
            )
            fix = "write partition: 0 once the update has proved itself, or waive this until then"
            yield Problem(workload.manifest, path, message, fix)


@rule(f"{_STATEFUL}#parallel-pod-management")
def validators_start_in_order(objects: Objects) -> Iterator[Problem]:
    """Validators start without waiting for each other.

    A node is ready when it has caught up with the others: after an outage the first would wait for
    those that wait for it, and no block comes.
    """
    for workload in _of_kind(objects, "StatefulSet"):
        path = ("spec", "podManagementPolicy")
        of_chain = workload.manifest.component in _VALIDATORS and workload.most > 1
        if of_chain and workload.get(*path) != "Parallel":
            message = (
                f"each of {workload.most} validators waits until the one before is ready, which may"
                " need those after it: after an outage no block comes"
            )
            yield Problem(workload.manifest, path, message, "write podManagementPolicy: Parallel")


@rule("https://kubernetes.io/docs/concepts/storage/persistent-volumes/#access-modes")
def rolling_update_with_exclusive_volume(objects: Objects) -> Iterator[Problem]:
    """A Deployment whose pods share a volume of one node replaces them by Recreate.

    Else the new pod may be on another node, and waits for the volume of the old one, which stays
    until the new one is ready.
    """
    for workload in _of_kind(objects, "Deployment"):
        strategy = ("spec", "strategy", "type")
        if workload.get(*strategy) == "Recreate" or not _surge(workload):
            continue
        for path, volume in workload.volumes():
            name = volumes.claim(volume)
            claim = objects.find("PersistentVolumeClaim", name)
            modes = paths.get(claim.object, ("spec", "accessModes")) if claim else None
            if not isinstance(modes, list) or not modes:
                continue
            if all(mode in ("ReadWriteOnce", "ReadWriteOncePod") for mode in modes):
                message = (
                    f"the new pod of an update waits for {name}, which is {modes[0]} and the old "
                    "pod's: the update never ends"
                )
                fix = "write strategy: {type: Recreate}"
                yield Problem(workload.manifest, path, message, fix)


@rule(_DEPLOYMENTS)
def surge_without_free_zone(objects: Objects) -> Iterator[Problem]:
    """Where a Deployment's pods must be in different zones, an update has a zone for the new one.

    Else that waits for the place of an old one, which stays until the new one is ready.
    """
    for workload in _of_kind(objects, "Deployment") if objects.zones else ():
        places = sum(resilience.may_be_in(workload, zone) for zone in objects.zones)
        rolls = workload.get("spec", "strategy", "type") != "Recreate" and not _away(workload)
        if rolls and resilience.apart(workload, ZONE) and workload.most == places:
            message = (
                f"{workload.most} pods must be in different ones of {places} zones, and an update "
                "adds one before it takes one away: it never ends"
            )
            fix = "write maxSurge: 0 and maxUnavailable: 1"
            path = ("spec", "strategy", "rollingUpdate", "maxUnavailable")
            yield Problem(workload.manifest, path, message, fix)


@rule(_DEPLOYMENTS, outcome=Outcome.REJECTED)
def progress_deadline_too_short(objects: Objects) -> Iterator[Problem]:
    """A Deployment's progressDeadlineSeconds is more than its minReadySeconds.

    Else Kubernetes refuses it.
    """
    for workload in _of_kind(objects, "Deployment"):
        ready = whole(workload.get("spec", "minReadySeconds"), 0)
        deadline = whole(workload.get("spec", "progressDeadlineSeconds"), 600)
        if deadline <= ready:
            message = (
                f"minReadySeconds is {ready}, and progressDeadlineSeconds {deadline}: Kubernetes "
                "refuses that"
            )
            field = "minReadySeconds" if deadline == 600 else "progressDeadlineSeconds"
            fix = f"write progressDeadlineSeconds: {ready + 600}, or fewer minReadySeconds"
            yield Problem(workload.manifest, ("spec", field), message, fix)


def _of_kind(objects: Objects, *kinds: str) -> Iterator[Workload]:
    return (one for one in objects.workloads if one.manifest.kind in kinds)


def _strategy(workload: Workload) -> Where:
    return "spec", "strategy" if workload.manifest.kind == "Deployment" else "updateStrategy"


def _partitions(objects: Objects) -> Iterator[tuple[Workload, Where, int]]:
    for workload in _of_kind(objects, "StatefulSet"):
        path = (*_strategy(workload), "rollingUpdate", "partition")
        yield workload, path, whole(workload.get(*path), 0)


def _surge(workload: Workload) -> int:
    """Return how many pods an update has above the replicas."""
    said = workload.get("spec", "strategy", "rollingUpdate", "maxSurge")
    return scaled("25%" if said is None else said, workload.most)


def _away(workload: Workload) -> int:
    """Return how many pods an update takes away before there are others."""
    said = workload.get("spec", "strategy", "rollingUpdate", "maxUnavailable")
    return scaled("25%" if said is None else said, workload.most, up=False)
