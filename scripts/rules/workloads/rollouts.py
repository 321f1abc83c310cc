"""Rollouts: updates reach all pods, complete, and keep the chain running."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.core import advice, paths
from scripts.core.findings import Severity
from scripts.kubernetes import minor_version, resilience, volumes
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
    """The maxSurge and maxUnavailable of a Deployment are not both 0.

    Otherwise the API server rejects the object, so the sync fails or does not begin.
    """
    for workload in _of_kind(objects, "Deployment"):
        path: Where = ("spec", "strategy", "rollingUpdate")
        rolling = workload.get(*path)
        if not isinstance(rolling, dict) or not {"maxSurge", "maxUnavailable"} <= rolling.keys():
            continue
        if not any(scaled(rolling[key], 100) for key in ("maxSurge", "maxUnavailable")):
            message = (
                "maxSurge and maxUnavailable are both 0: the API server rejects the object, so the "
                "sync fails"
            )
            fix = advice.write("maxSurge", 1).unless(
                "; if no additional pod may run, write maxUnavailable: 1 instead"
            )
            yield Problem(workload.manifest, (*path, "maxSurge"), message, fix)


@rule(_STATEFUL, outcome=Outcome.REJECTED)
def rolling_update_settings_ignored(objects: Objects) -> Iterator[Problem]:
    """Only an update strategy of type RollingUpdate has rollingUpdate settings.

    Otherwise the API server rejects the object, so the sync fails or does not begin.
    """
    for workload in _of_kind(objects, "Deployment", "StatefulSet"):
        path = _strategy(workload)
        type_ = workload.get(*path, "type")
        if type_ in ("OnDelete", "Recreate") and workload.get(*path, "rollingUpdate") is not None:
            message = (
                f"{path[-1]} has the type {type_}, but also rollingUpdate: the API server rejects "
                "the object, so the sync fails"
            )
            fix = advice.write("rollingUpdate", None).unless(
                f"; if {type_} is not intended, write type: RollingUpdate instead"
            )
            yield Problem(workload.manifest, (*path, "type"), message, fix)


@rule(_STATEFUL)
def update_breaks_quorum(objects: Objects) -> Iterator[Problem]:
    """An update stops no more validators at once than the chain can spare.

    Otherwise each update stops the chain. Kubernetes before 1.35 ignores maxUnavailable.
    """
    spare = objects.chain.spare if objects.chain else 0
    needs = f", but a block needs {objects.chain.quorum}" if objects.chain else ""
    for workload in _of_kind(objects, "StatefulSet"):
        path = (*_strategy(workload), "rollingUpdate", "maxUnavailable")
        max_unavailable = workload.get(*path)
        if max_unavailable is None or workload.manifest.component not in _VALIDATORS:
            continue
        gone = min(scaled(max_unavailable, workload.least), workload.least)
        if gone > max(1, spare):
            message = (
                f"maxUnavailable is {max_unavailable}, so from Kubernetes 1.35 on, an update stops "
                f"{gone} of {workload.least} validators at once{needs}: each update stops the chain"
            )
            fix = advice.write("maxUnavailable", max(1, spare))
            yield Problem(workload.manifest, path, message, fix)


_MAX_UNAVAILABLE = 37
"""Minor version of Kubernetes from which API servers keep a StatefulSet's maxUnavailable."""


@rule(
    "https://github.com/kubernetes/kubernetes/pull/139466",
    Severity.WARNING,
    outcome=Outcome.HIDDEN,
)
def max_unavailable_dropped(objects: Objects) -> Iterator[Problem]:
    """A StatefulSet has maxUnavailable only from Kubernetes 1.37 on.

    Older API servers drop the field: pods are replaced one at a time, and Argo CD may show a
    difference that no sync removes. 1.35.0 to 1.35.3 kept it, but had a bug with
    podManagementPolicy: Parallel.
    """
    minor = minor_version.number(objects.kubernetes_version)
    for workload in _of_kind(objects, "StatefulSet") if minor < _MAX_UNAVAILABLE else ():
        path = (*_strategy(workload), "rollingUpdate", "maxUnavailable")
        if workload.get(*path) is not None:
            message = (
                f"Kubernetes {objects.kubernetes_version} drops maxUnavailable of a StatefulSet: "
                "pods are replaced one at a time, and Argo CD may show a difference that no sync "
                "removes"
            )
            place = f"{'.'.join(map(str, path[:-1]))} of {workload.manifest.label}"
            fix = advice.remove(f"maxUnavailable from {place}")
            fix += f"; Kubernetes keeps it from 1.{_MAX_UNAVAILABLE} on"
            yield Problem(workload.manifest, path, message, fix)


@rule(_STATEFUL, Severity.WARNING)
def update_strategy_on_delete(objects: Objects) -> Iterator[Problem]:
    """A StatefulSet does not have the update strategy OnDelete.

    Otherwise a merged change reaches a pod only when someone deletes it, while Argo CD shows the
    StatefulSet as synced.
    """
    for workload in _of_kind(objects, "StatefulSet"):
        path = (*_strategy(workload), "type")
        rejected = workload.get(*_strategy(workload), "rollingUpdate") is not None
        if workload.get(*path) == "OnDelete" and not rejected:
            message = (
                "the update strategy is OnDelete: each pod runs the old version until someone "
                "deletes it"
            )
            fix = advice.write("type", "RollingUpdate") + " in updateStrategy"
            yield Problem(workload.manifest, path, message, fix)


@rule(f"{_STATEFUL}#partitions", outcome=Outcome.HIDDEN)
def partition_excludes_all_pods(objects: Objects) -> Iterator[Problem]:
    """The partition of a StatefulSet is less than its number of pods.

    Otherwise merged changes reach no pod, while Argo CD shows the StatefulSet as synced.
    """
    for workload, path, partition in _partitions(objects):
        if partition >= workload.most > 0:
            message = (
                f"partition is {partition}, so only pods with an ordinal from {partition} on are "
                f"updated: none of the {workload.most} pods"
            )
            yield Problem(workload.manifest, path, message, advice.write("partition", 0))


@rule(f"{_STATEFUL}#partitions", Severity.WARNING)
def partition_left_behind(objects: Objects) -> Iterator[Problem]:
    """The partition of a StatefulSet is 0, except during a staged rollout.

    Otherwise pods with a lower ordinal keep the old version, even after a restart.
    """
    for workload, path, partition in _partitions(objects):
        if 0 < partition < workload.most:
            message = (
                f"partition is {partition}, so only pods with an ordinal from {partition} on are "
                f"updated: {partition} of the {workload.most} pods keep the old version"
            )
            fix = (
                advice.write("partition", 0)
                + "; during a staged rollout, add a waiver of this rule to environment.yaml instead"
            )
            yield Problem(workload.manifest, path, message, fix)


@rule(f"{_STATEFUL}#parallel-pod-management")
def validators_start_in_order(objects: Objects) -> Iterator[Problem]:
    """The StatefulSets of validators have the podManagementPolicy Parallel.

    Otherwise the chain does not restart after an outage: the first pod becomes ready only when it
    has caught up with the others, and these are not started until it is ready.
    """
    for workload in _of_kind(objects, "StatefulSet"):
        path = ("spec", "podManagementPolicy")
        of_chain = workload.manifest.component in _VALIDATORS and workload.most > 1
        if of_chain and workload.get(*path) != "Parallel":
            message = (
                f"podManagementPolicy is {workload.get(*path) or 'OrderedReady'}: each of the "
                f"{workload.most} validators starts only when the previous one is ready, but the "
                "first becomes ready only with the others: after an outage, the chain stays down"
            )
            yield Problem(
                workload.manifest, path, message, advice.write("podManagementPolicy", "Parallel")
            )


@rule("https://kubernetes.io/docs/concepts/storage/persistent-volumes/#access-modes")
def rolling_update_with_exclusive_volume(objects: Objects) -> Iterator[Problem]:
    """A Deployment with a ReadWriteOnce volume has the strategy Recreate.

    Otherwise an update never completes: on another node, the new pod waits for the volume, which
    the old pod uses until the new one is ready.
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
                    f"the new pod of an update waits for PersistentVolumeClaim/{name}, which is "
                    f"{modes[0]} and in use by the old pod: the update never completes"
                )
                fix = advice.write("strategy", {"type": "Recreate"}, is_whole=True, above=("spec",))
                yield Problem(workload.manifest, path, message, fix)


@rule(_DEPLOYMENTS)
def surge_without_free_zone(objects: Objects) -> Iterator[Problem]:
    """A Deployment whose pods must be in different zones has a free zone for its surge pod.

    Otherwise an update never completes: the new pod stays Pending until an old one is removed,
    which happens only when the new one is ready.
    """
    for workload in _of_kind(objects, "Deployment") if objects.zones else ():
        places = sum(resilience.may_be_in(workload, zone) for zone in objects.zones)
        rolls = workload.get("spec", "strategy", "type") != "Recreate" and not _unavailable(
            workload
        )
        if rolls and resilience.apart(workload, ZONE) and workload.most == places:
            message = (
                f"{workload.most} pods must be in different zones, and there are only {places} "
                "zones: the pod that an update adds stays Pending, so the update never completes"
            )
            fix = advice.write("rollingUpdate", {"maxSurge": 0, "maxUnavailable": 1})
            path = ("spec", "strategy", "rollingUpdate", "maxUnavailable")
            yield Problem(workload.manifest, path, message, fix)


@rule(_DEPLOYMENTS, outcome=Outcome.REJECTED)
def progress_deadline_too_short(objects: Objects) -> Iterator[Problem]:
    """The progressDeadlineSeconds of a Deployment is more than its minReadySeconds.

    Otherwise the API server rejects the object, so the sync fails or does not begin.
    """
    for workload in _of_kind(objects, "Deployment"):
        ready = whole(workload.get("spec", "minReadySeconds"), 0)
        deadline = whole(workload.get("spec", "progressDeadlineSeconds"), 600)
        if deadline <= ready:
            message = (
                f"minReadySeconds is {ready}, not less than progressDeadlineSeconds, which is "
                f"{deadline}: the API server rejects the object, so the sync fails"
            )
            field = "minReadySeconds" if deadline == 600 else "progressDeadlineSeconds"
            fix = advice.write("progressDeadlineSeconds", ready + 600)
            yield Problem(workload.manifest, ("spec", field), message, fix)


def _of_kind(objects: Objects, *kinds: str) -> Iterator[Workload]:
    return (w for w in objects.workloads if w.manifest.kind in kinds)


def _strategy(workload: Workload) -> Where:
    return "spec", "strategy" if workload.manifest.kind == "Deployment" else "updateStrategy"


def _partitions(objects: Objects) -> Iterator[tuple[Workload, Where, int]]:
    for workload in _of_kind(objects, "StatefulSet"):
        path = (*_strategy(workload), "rollingUpdate", "partition")
        yield workload, path, whole(workload.get(*path), 0)


def _surge(workload: Workload) -> int:
    """Return how many pods an update may add to the replicas."""
    value = workload.get("spec", "strategy", "rollingUpdate", "maxSurge")
    return scaled("25%" if value is None else value, workload.most)


def _unavailable(workload: Workload) -> int:
    """Return how many pods an update may stop before new ones are ready."""
    value = workload.get("spec", "strategy", "rollingUpdate", "maxUnavailable")
    return scaled("25%" if value is None else value, workload.most, up=False)
