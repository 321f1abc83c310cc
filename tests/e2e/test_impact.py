"""The predictions of the impact report for the changes in tests/changes/ come true in a cluster.

Each change has its own environment. All environments run in their old state first, then one commit
makes all changes. A commit is tested with a sample of the changes, and with those that it adds or
edits itself; `--all` tests all of them, and that the sample has each kind of outcome.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.cluster import argocd
from scripts.cluster.api_client import RESOURCES, Object
from scripts.cluster.cluster import Cluster
from scripts.impact.effects.prediction import Prediction
from scripts.impact.predict import impact
from scripts.impact.report import Report
from tests.conftest import ROOT, Repository, copy
from tests.e2e import conftest, steps
from tests.git import git
from tests.impact import changes, outcomes
from tests.impact.changes import Change
from tests.impact.outcomes import Seen

ALL_S = 2400.0
"""A wait fails after this time without progress: generous, for two busy processors."""
HANG_S = 6 * 3600
"""Time-out of the test: the machine decides how long so many environments take."""
pytestmark = pytest.mark.timeout(HANG_S)

LOOKS_EVERY_S = 24 * 3600
"""Argo CD does not poll git: for so many Applications, polling would be most of its work, and a
refresh before the root's sync would use settings that the same commit changes."""
ALONE = {"besu": "besu", "ethstats": "ethstats", "txSender": "tx-sender"}
"""Key in the values → component that can run without others: if a change is about such components
only, its environment has only those, because each synced object takes time."""
OTHERS = ("sequencer", "maru")
OF_GIT = sorted(
    RESOURCES.keys()
    - {"AppProject", "Application", "CustomResourceDefinition", "Event", "Namespace", "Node"}
    - {"PersistentVolume", "PersistentVolumeClaim", "Pod", "PodMetrics"}
)
"""Kinds of objects that are in git."""
TRACKED = "argocd.argoproj.io/tracking-id"
"""Annotation of objects that Argo CD manages."""
CONFIRMATION = "waiting for pruning confirmation of "
"""Message of Argo CD for a sync that waits for a person."""
FAILING = "Retrying attempt "
"""Its message for a failed sync, until the next retry starts."""
PODS = "waiting for healthy state of "
"""Its message for a sync that waits for pods to be ready."""
REFUSED = "Failed to compare desired state to live state"
"""Its message if the API server rejects an object in git."""
LATE = ("deadline exceeded", "timed out", " timeout", "connection refused", ": EOF")
"""Parts of the same message if a request timed out."""
FULL = "exceeded quota"
"""Message of Kubernetes if a quota has no room."""

SAMPLE = (
    "autoscaler-gone",
    "budget-gone",
    "comment-in-values",
    "image-and-fewer-pods-of-besu",
    "image-and-more-pods-of-besu",
    "images-in-one-wave",
    "name-of-a-deployment",
    "names-of-all",
    "new-service-with-an-invalid-port",
    "no-alerts",
    "no-backups",
    "no-dashboard",
    "no-pods-of-besu",
    "no-tx-sender",
    "no-validator",
    "nothing-is-pruned",
    "object-in-another-file",
    "quota-too-small-for-more-pods",
    "script-of-the-tx-sender",
    "service-account-of-another-name",
    "strategy-of-two-types",
    "two-dashboards",
)
"""Changes that have, together, an example of each of the `kinds` of outcomes."""

Objects = dict[str, Object]
"""Kind/name → object."""


@dataclass(frozen=True, slots=True)
class State:
    """The objects of Argo CD and the pods in a namespace."""

    objects: Objects
    pods: list[Object]


def test_the_predictions_for_all_changes_come_true(
    tmp_path: Path,
    base: str,
    request: pytest.FixtureRequest,
    measure: Callable[[str, float], None],
    record_property: Callable[[str, object], None],
) -> None:
    catalogue = {change.name: change for change in changes.catalogue()}
    is_whole = request.config.getoption("--all")
    if not is_whole:
        catalogue = {name: catalogue[name] for name in sorted({*SAMPLE, *_edited(base)})}
    repository, (old, new) = _committed(tmp_path / "repository", catalogue)
    predicted = _predictions(impact(repository.root, old, new))
    if is_whole:
        _assert_sample_has_each_kind(catalogue, predicted)
    with (
        Cluster(repository.root, looks_every_s=LOOKS_EVERY_S) as cluster,
        conftest.reported(cluster),
    ):
        begun = time.monotonic()
        _sync(cluster, old)
        measure(f"first sync of {len(catalogue)} environments", begun)
        before, begun = _states(cluster), time.monotonic()
        cluster.remote.take(new)
        rejected = _settle(cluster, catalogue, cluster.remote.push("all changes"))
        measure(f"{len(catalogue)} changes", begun)
        after = _states(cluster)
        applications = cluster.api.objects("Application", argocd.NAMESPACE)
        waiting = _named(applications, lambda it: _says(it, CONFIRMATION))
        failing = _named(applications, _is_failing)
        full = _full(cluster.api.objects("Event"))
        short = _named(applications, lambda it: it["metadata"]["name"] in full and _says(it, PODS))
    wrong = dict[str, str]()
    for name, change in catalogue.items():
        folder = repository / f"overlays/{name}/manifests"
        seen = _seen(before[name], after[name], folder, name in waiting)
        seen = replace(
            seen,
            is_refused=name in rejected,
            is_failing=name in failing,
            is_short=name in short,
        )
        prediction = predicted.get(name, Prediction(is_refused=False))
        if differences := outcomes.differences(prediction, seen):
            wrong[name] = "\n  ".join([f"{name}: {change.about}", *differences])
    held = f"{len(catalogue) - len(wrong)} of {len(catalogue)} predictions held"
    record_property(conftest.MEASURED, held)
    assert not wrong, "\n".join([held, *wrong.values()])


def _edited(base: str) -> set[str]:
    """Return the changes whose files differ from the base; none if there is no base."""
    folder = changes.FOLDER.relative_to(ROOT).as_posix()
    known = git(ROOT, "diff", "--name-only", "--diff-filter=d", base, "--", folder) if base else ""
    new = git(ROOT, "ls-files", "--others", "--exclude-standard", "--", folder)
    return {Path(name).stem for name in f"{known}\n{new}".split()}


def _assert_sample_has_each_kind(
    catalogue: dict[str, Change], predicted: dict[str, Prediction]
) -> None:
    of = {name: kinds(each, predicted.get(name)) for name, each in catalogue.items()}
    missing = set().union(*of.values()).difference(*(of[name] for name in SAMPLE))
    some = {kind: min(name for name in of if kind in of[name]) for kind in sorted(missing)}
    assert not some, f"SAMPLE has no example of these kinds of outcomes; add, for each: {some}"


def kinds(change: Change, prediction: Prediction | None) -> set[str]:
    """Return in which ways a change and its outcome differ from others, each in words."""
    found = set[str]()
    for each in (change.before, change.after):
        paths = [*each.files, *each.edits]
        found |= {f"by {path.partition('/')[0]}" for path in paths if "/" in path}
    if prediction is None:
        return found | {"no outcome"}
    names = [name for name in Prediction.__slots__ if getattr(prediction, name)]
    found.add(f"outcome: {', '.join(names)}")
    for name in ("pruned", "confirmed", "kept"):
        found |= {f"{name} {each.partition('/')[0]}" for each in getattr(prediction, name)}
    for name in ("added", "removed"):
        found |= {f"{name} pod of a {_owner(each)}" for each in getattr(prediction, name)}
    for workload in prediction.restarted:
        many = "several" if len(workload.pods) > 1 else "one"
        found.add(f"restarted {many} of a {_owner(workload.pods[0])}")
    waves = {each.wave for each in prediction.restarted}
    found |= (
        {"restarted workloads of one wave"} if len(prediction.restarted) > len(waves) else set()
    )
    return found | ({"restarted waves"} if len(waves) > 1 else set())


def _owner(pod: str) -> str:
    """Return the kind of the workload of a pod as predictions name it."""
    return "StatefulSet" if pod[-1].isdigit() else "Deployment"


def _committed(root: Path, catalogue: dict[str, Change]) -> tuple[Repository, list[str]]:
    """Return a repository with only the environments of changes, and its old and new revision."""
    repository = copy(root)
    for folder in ("overlays", "argocd/applications", "argocd/projects"):
        shutil.rmtree(repository / folder)
        (repository / folder).mkdir()
    revisions = []
    for changed in (False, True):
        changes.write(repository, catalogue, changed=changed, under=_under)
        revisions.append(changes.commit(repository, "new" if changed else "old"))
    return repository, revisions


def _under(change: Change) -> dict[str, Any]:
    """Return values that make an environment as small and its rollouts as short as possible."""
    overrides = change.overrides(changed=True)
    values = {key: each.values[key] for each in overrides for key in each.values}
    files = {name for each in overrides for name in (*each.files.values(), *each.edits) if name}
    named = {key for key, name in ALONE.items() if key in values or name in " ".join(files)}
    others = any(name in " ".join(files) for name in (*OTHERS, "network.yaml"))
    switched = any("enabled" in values.get(key, {}) for key in ALONE)
    is_alone = named and not others and not switched and values.keys() <= ALONE.keys()
    off: dict[str, Any] = {
        key: {"enabled": False} for key in (*ALONE, *OTHERS) if is_alone and key not in named
    }
    if "besu" in off and "txSender" not in off:
        # By the name of its Service, as the chart rejects a component that is off.
        off["txSender"] = {"rpc": {"service": "linea-stack-besu"}}
    quick = {key: {"minReadySeconds": 0} for key in ("besu", *OTHERS)}
    return {**quick, **off}


def _predictions(report: Report) -> dict[str, Prediction]:
    """Return environment → prediction; environments without one do not change."""
    return {
        name: impact.outcome
        for impact in report.environments
        for name in impact.names
        if impact.outcome
    }


def _sync(cluster: Cluster, revision: str) -> None:
    """Sync the environments in their old state."""
    cluster.remote.take(revision)
    pushed = cluster.remote.push("old")
    cluster.sync()
    names = [steps.application(name) for name in steps.environments(cluster)]
    what = "the Applications"
    steps.wait(cluster, lambda current: all(name in current for name in names), what, ALL_S)
    for each in cluster.api.objects("Application", argocd.NAMESPACE):
        if each["metadata"]["name"] in names and "automated" not in each["spec"]["syncPolicy"]:
            steps.begin_sync(cluster, each["metadata"]["name"])
    steps.wait_synced(cluster, names, pushed, ALL_S)
    _wait_for_pods(cluster)


def _settle(cluster: Cluster, names: Iterable[str], revision: str) -> set[str]:
    """Wait until a revision is applied to all environments, as far as that needs no person.

    Return the environments for which the API server rejects it: Argo CD reports that only once.
    """
    rejected, refreshed = set[str](), list[str]()

    def settled(applications: dict[str, Object]) -> bool:
        # Refresh only now, so that this watch sees all that follows.
        if not refreshed:
            refreshed.extend(map(steps.application, names))
            steps.refresh(cluster, refreshed)
        # Argo CD does not retry after a time-out here.
        steps.refresh(cluster, [name for name in refreshed if _is_late(applications[name])])
        rest = [name for name in names if name not in rejected]
        current = {name: applications[steps.application(name)] for name in rest}
        rejected.update(name for name in rest if _is_rejected(current[name], revision))
        return all(
            name in rejected
            or _is_at_rest(current[name], revision)
            or _is_at(current[name], revision, PODS)
            for name in rest
        )

    def ended(events: dict[str, Object]) -> bool:
        current = {
            each["metadata"]["name"]: each
            for each in cluster.api.objects("Application", argocd.NAMESPACE)
        }
        full = _full(events.values())
        rest = [steps.application(name) for name in names if name not in rejected]
        return all(
            _is_at_rest(current[name], revision)
            or (name in full and _is_at(current[name], revision, PODS))
            for name in rest
        )

    # Otherwise chance decides whether a sync or its settings change first.
    steps.wait_synced(cluster, [steps.ROOT], revision, ALL_S)
    steps.wait(cluster, settled, "all changes synced, rejected or waiting", ALL_S)
    # There is an Event when a sync ends, and when a quota rejects a pod.
    what = "the last pods ready, or rejected by a quota"
    cluster.api.until("Event", ended, what, timeout_s=ALL_S)
    _wait_for_pods(cluster, _full(cluster.api.objects("Event")))
    return rejected


def _full(events: Iterable[Object]) -> set[str]:
    """Return the namespaces in which a quota has rejected a pod.

    A pod of a StatefulSet must be rejected twice: at the second attempt, the other pods of the
    first attempt are created, or rejected, too.
    """
    return {
        each["metadata"]["namespace"]
        for each in events
        if each["reason"] == "FailedCreate"
        and FULL in each.get("message", "")
        and (each["involvedObject"]["kind"] != "StatefulSet" or each.get("count", 1) > 1)
    }


def _is_rejected(application: Object, revision: str) -> bool:
    """Return whether the API server rejects a revision of an Application."""
    errors = _errors(application)
    is_about = steps.at(application) == revision and any(REFUSED in error for error in errors)
    return is_about and not _is_late(application)


def _is_late(application: Object) -> bool:
    """Return whether Argo CD could not compare an Application because of a time-out."""
    return any(
        REFUSED not in error or any(words in error for words in LATE)
        for error in _errors(application)
    )


def _errors(application: Object) -> list[str]:
    conditions = steps.status(application, "conditions") or ()
    return [it["message"] for it in conditions if it["type"] == "ComparisonError"]


def _is_at_rest(application: Object, revision: str) -> bool:
    """Return whether nothing more happens to an Application at a revision without a person."""
    if steps.is_synced(application, revision):
        return True
    if steps.at(application) != revision:
        return False
    if steps.status(application, "operationState", "syncResult", "revision") == revision:
        paused = steps.status(application, "health", "status") == "Suspended"
        fails = _is_failing(application) and _says(application, FAILING)
        return paused or fails or _says(application, CONFIRMATION)
    prunes = (application["spec"]["syncPolicy"].get("automated") or {}).get("prune")
    return not prunes and "operation" not in application


def _is_at(application: Object, revision: str, words: str) -> bool:
    """Return whether Argo CD's message about the sync of a revision contains words."""
    synced = steps.status(application, "operationState", "syncResult", "revision")
    return synced == revision and _says(application, words)


def _says(application: Object, words: str) -> bool:
    """Return whether Argo CD's message about a sync contains words."""
    return words in str(steps.status(application, "operationState", "message"))


def _is_failing(application: Object) -> bool:
    """Return whether a sync has failed repeatedly; also during the next retry."""
    state = steps.status(application, "operationState") or {}
    return state.get("phase") == "Running" and state.get("retryCount", 0) > 1


def _named(applications: Iterable[Object], holds: Callable[[Object], bool]) -> set[str]:
    """Return the environments whose Applications fulfil a condition."""
    names = (each["metadata"]["name"] for each in applications if holds(each))
    return {name.removeprefix(steps.application("")) for name in names}


def _wait_for_pods(cluster: Cluster, full: Iterable[str] = ()) -> None:
    """Wait until all pods exist and are ready, including those that autoscalers request.

    full: namespaces in which a quota has no room for all.
    """
    api, spaces = cluster.api, {*full}

    def is_whole(workload: Object) -> bool:
        """Return whether a workload has the requested number of pods."""
        status = workload.get("status") or {}
        is_current = status.get("observedGeneration") == workload["metadata"]["generation"]
        count = status.get("replicas", 0)
        is_full = workload["metadata"]["namespace"] in spaces
        return bool(is_current and (is_full or count == workload["spec"]["replicas"]))

    scaled, whole = "the pods that autoscalers request", "the pods that workloads request"
    api.until("HorizontalPodAutoscaler", _all(_is_scaled), scaled, timeout_s=ALL_S)
    for kind in ("StatefulSet", "Deployment"):
        api.until(kind, _all(is_whole), whole, timeout_s=ALL_S)
    api.until("Pod", _all(_is_ready), "pods that are ready", timeout_s=ALL_S)


def _all(holds: Callable[[Object], bool]) -> Callable[[Objects], list[bool]]:
    """Return a function that is true if all objects, perhaps none, fulfil a condition."""
    return lambda objects: [True] if all(map(holds, objects.values())) else []


def _is_scaled(autoscaler: Object) -> bool:
    status = autoscaler.get("status") or {}
    wanted = status.get("desiredReplicas", 0)
    least: int = autoscaler["spec"]["minReplicas"]
    return bool(wanted == status.get("currentReplicas") and wanted >= least)


def _is_ready(pod: Object) -> bool:
    return steps.status(pod, "phase") == "Succeeded" or steps.is_ready(pod)


def _states(cluster: Cluster) -> dict[str, State]:
    """Return environment → the state of its namespace."""
    spaces = {steps.application(name): name for name in steps.environments(cluster)}
    states = {name: State({}, []) for name in spaces.values()}
    for kind in (*OF_GIT, "Pod"):
        for each in cluster.api.objects(kind):
            metadata = each["metadata"]
            state = states.get(spaces.get(metadata["namespace"], ""))
            if state is None:
                continue
            if kind == "Pod":
                state.pods.append(each)
            elif TRACKED in metadata.get("annotations", {}):
                state.objects[f"{kind}/{metadata['name']}"] = each
    return states


def _seen(before: State, after: State, folder: Path, waits: bool) -> Seen:
    """Return what happened to an environment's pods and objects.

    folder: of its new manifests in git. waits: whether it waits for a person to confirm.
    """
    old, new = _pods(before), _pods(after)
    created = {name: new.get(name, {}).keys() - old.get(name, {}).keys() for name in old | new}
    deleted = {name: old.get(name, {}).keys() - new.get(name, {}).keys() for name in old | new}
    both = [name for name in created if created[name] and deleted[name]]
    more = {name: len(created[name]) - len(deleted[name]) for name in created}
    git = {f"{manifest['kind']}/{manifest['metadata']['name']}" for manifest in _read(folder)}
    left = frozenset(name for name in after.objects if name not in git)
    return Seen(
        restarted={name: tuple(sorted(new[name][uid] for uid in created[name])) for name in both},
        added={name: count for name, count in more.items() if count > 0},
        removed={name: -count for name, count in more.items() if count < 0},
        pruned=frozenset(before.objects.keys() - after.objects.keys()),
        confirmed=left if waits else frozenset(),
        kept=frozenset() if waits else left,
    )


def _pods(state: State) -> dict[str, dict[str, str]]:
    """Return a pod's name, or the name of its Deployment → uids → creation time."""
    pods: dict[str, dict[str, str]] = {}
    for pod in state.pods:
        metadata, owner = pod["metadata"], steps.owner(pod)
        if owner.get("kind") in ("ReplicaSet", "StatefulSet"):
            is_random = owner["kind"] == "ReplicaSet"
            name = owner["name"].rpartition("-")[0] if is_random else metadata["name"]
            pods.setdefault(name, {})[metadata["uid"]] = metadata["creationTimestamp"]
    return pods


def _read(folder: Path) -> Iterator[Object]:
    for file in folder.glob("*.yaml"):
        yield yaml.load(file.read_text("utf-8"), yaml.CSafeLoader)
