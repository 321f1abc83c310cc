"""What the impact report predicts of each change in tests/changes/ is what a cluster does.

Each change has an environment of its own. All run as they are before their changes, then one commit
changes all.
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
from scripts.impact.effects.prediction import Outcome
from scripts.impact.predict import impact
from scripts.impact.report import Report
from tests import changes, outcomes
from tests.changes import Change
from tests.conftest import Repository, copy
from tests.e2e import conftest, steps
from tests.outcomes import Seen

ALL_S = 2400.0
"""Far more than all environments take, on two processors that do other work, too."""
HANG_S = 6 * 3600
"""The end of a test that hangs: how long so many environments take is up to the machine."""
pytestmark = [pytest.mark.waits, pytest.mark.timeout(HANG_S)]

LOOKS_EVERY_S = 24 * 3600
"""No look at git comes by itself: of so many Applications, that would be most of the work, and one
that came before the root's sync would go by settings that the same commit changes."""
ALONE = {"besu": "besu", "ethstats": "ethstats", "txSender": "tx-sender"}
"""Parts, by their key in the values, that others do not change with: a change of nothing else has
an environment of nothing else, as each object that is synced takes a while."""
OTHERS = ("sequencer", "maru")
OF_GIT = sorted(
    RESOURCES.keys()
    - {"AppProject", "Application", "CustomResourceDefinition", "Event", "Namespace", "Node"}
    - {"PersistentVolume", "PersistentVolumeClaim", "Pod", "PodMetrics"}
)
"""Kinds of objects that git has."""
TRACKED = "argocd.argoproj.io/tracking-id"
"""Annotation of what Argo CD has made."""
CONFIRMATION = "waiting for pruning confirmation of "
"""What Argo CD says of a sync that waits for a person."""
FAILING = "Retrying attempt "
"""What it says of one that has failed, until it begins anew."""
PODS = "waiting for healthy state of "
"""What it says of one whose pods are not ready, yet or ever."""
REFUSED = "Failed to compare desired state to live state"
"""What it says where the API server refuses what git has."""
LATE = ("deadline exceeded", "timed out", " timeout", "connection refused", ": EOF")
"""What it says, too, where an answer does not come in time."""
FULL = "exceeded quota"
"""What Kubernetes says where a quota has no room."""

Objects = dict[str, Object]
"""Kind/name → object."""


@dataclass(frozen=True, slots=True)
class State:
    """What is in a namespace: what Argo CD has made there, and the pods."""

    objects: Objects
    pods: list[Object]


def test_the_cluster_does_what_the_report_predicts(
    tmp_path: Path,
    measure: Callable[[str, float], None],
    record_property: Callable[[str, object], None],
) -> None:
    catalogue = {change.name: change for change in changes.catalogue()}
    repository, (old, new) = _committed(tmp_path / "repository", catalogue)
    predicted = _outcomes(impact(repository.root, old, new))
    with Cluster(repository.root, looks_every_s=LOOKS_EVERY_S) as cluster, conftest.known(cluster):
        begun = time.monotonic()
        _sync(cluster, old)
        measure(f"first sync of {len(catalogue)} environments", begun)
        before, begun = _states(cluster), time.monotonic()
        cluster.remote.take(new)
        refused = _settle(cluster, catalogue, cluster.remote.push("all changes"))
        measure(f"{len(catalogue)} changes", begun)
        after = _states(cluster)
        there = cluster.api.objects("Application", argocd.NAMESPACE)
        waiting = _named(there, lambda one: _says(one, CONFIRMATION))
        failing = _named(there, _is_failing)
        full = _full(cluster.api.objects("Event"))
        short = _named(there, lambda one: one["metadata"]["name"] in full and _says(one, PODS))
    wrong = dict[str, str]()
    for name, change in catalogue.items():
        folder = repository / f"overlays/{name}/manifests"
        seen = _seen(before[name], after[name], folder, name in waiting)
        seen = replace(
            seen,
            is_refused=name in refused,
            is_failing=name in failing,
            is_short=name in short,
        )
        expected = predicted.get(name, Outcome(is_refused=False))
        if differs := outcomes.wrong(expected, seen):
            wrong[name] = "\n  ".join([f"{name}: {change.about}", *differs])
    held = f"{len(catalogue) - len(wrong)} of {len(catalogue)} predictions held"
    record_property(conftest.MEASURED, held)
    assert not wrong, "\n".join([held, *wrong.values()])


def _committed(root: Path, catalogue: dict[str, Change]) -> tuple[Repository, list[str]]:
    """Return a repository of the changes' environments alone: before and after them, committed."""
    repository = copy(root)
    for folder in ("overlays", "argocd/applications", "argocd/projects"):
        shutil.rmtree(repository / folder)
        (repository / folder).mkdir()
    revisions = []
    for changed in (False, True):
        changes.write(repository, catalogue, changed=changed, under=_under)
        revisions.append(changes.commit(repository, "changed" if changed else "as it was"))
    return repository, revisions


def _under(change: Change) -> dict[str, Any]:
    """Return values that make an environment as small, and its rollouts as short, as may be."""
    sides = change.sides(changed=True)
    values = {key: side.values[key] for side in sides for key in side.values}
    files = {name for side in sides for name in (*side.files.values(), *side.edits) if name}
    named = {key for key, name in ALONE.items() if key in values or name in " ".join(files)}
    others = any(name in " ".join(files) for name in (*OTHERS, "network.yaml"))
    switched = any("enabled" in values.get(key, {}) for key in ALONE)
    is_alone = named and not others and not switched and values.keys() <= ALONE.keys()
    rests = {key: {"enabled": False} for key in (*ALONE, *OTHERS) if is_alone and key not in named}
    quick = {key: {"minReadySeconds": 0} for key in ("besu", *OTHERS)}
    return {**quick, **rests}


def _outcomes(report: Report) -> dict[str, Outcome]:
    """Return what is predicted, by environment; those that are left out do not change at all."""
    found = ((name, one.outcome) for one in report.environments for name in one.names)
    return {name: outcome for name, outcome in found if outcome}


def _sync(cluster: Cluster, revision: str) -> None:
    """Have the environments run as they are before their changes."""
    cluster.remote.take(revision)
    pushed = cluster.remote.push("as it was")
    cluster.sync()
    names = [steps.application(name) for name in steps.environments(cluster)]
    there = "the Applications"
    steps.wait(cluster, lambda found: all(name in found for name in names), there, ALL_S)
    for each in cluster.api.objects("Application", argocd.NAMESPACE):
        if each["metadata"]["name"] in names and "automated" not in each["spec"]["syncPolicy"]:
            steps.begin_sync(cluster, each["metadata"]["name"])
    steps.wait_synced(cluster, names, pushed, ALL_S)
    _wait_for_pods(cluster)


def _settle(cluster: Cluster, names: Iterable[str], revision: str) -> set[str]:
    """Wait until a revision has come to all environments, as far as it does without a person.

    Return those of which the API server refuses it: Argo CD says so once, and later nothing.
    """
    refused, asked = set[str](), list[str]()

    def settled(there: dict[str, Object]) -> bool:
        # Whatever comes of it, this watch sees it.
        if not asked:
            asked.extend(map(steps.application, names))
            steps.refresh(cluster, asked)
        # Nobody looks again by himself.
        steps.refresh(cluster, [name for name in asked if _is_late(there[name])])
        rest = [name for name in names if name not in refused]
        found = {name: there[steps.application(name)] for name in rest}
        refused.update(name for name in rest if _is_refused(found[name], revision))
        return all(
            name in refused
            or _is_at_rest(found[name], revision)
            or _is_at(found[name], revision, PODS)
            for name in rest
        )

    def ended(events: dict[str, Object]) -> bool:
        found = {
            each["metadata"]["name"]: each
            for each in cluster.api.objects("Application", argocd.NAMESPACE)
        }
        full = _full(events.values())
        rest = [steps.application(name) for name in names if name not in refused]
        return all(
            _is_at_rest(found[name], revision)
            or (name in full and _is_at(found[name], revision, PODS))
            for name in rest
        )

    # Otherwise the order is one of chance, in which a sync and the settings that it goes by change.
    steps.wait_synced(cluster, [steps.ROOT], revision, ALL_S)
    steps.wait(cluster, settled, "all changes synced, refused or waiting", ALL_S)
    # Argo CD makes an Event when a sync ends, as a quota does when it refuses a pod.
    said = "the last pods ready, or refused by a quota"
    cluster.api.until("Event", ended, said, timeout_s=ALL_S)
    _wait_for_pods(cluster, _full(cluster.api.objects("Event")))
    return refused


def _full(events: Iterable[Object]) -> set[str]:
    """Return the namespaces in which a quota has refused a pod.

    A StatefulSet's is refused twice: when it is tried again, all that were tried beside it the
    first time have been created, or refused, too.
    """
    return {
        each["metadata"]["namespace"]
        for each in events
        if each["reason"] == "FailedCreate"
        and FULL in each.get("message", "")
        and (each["involvedObject"]["kind"] != "StatefulSet" or each.get("count", 1) > 1)
    }


def _is_refused(application: Object, revision: str) -> bool:
    """Return whether the API server refuses what a revision has of an Application."""
    errors = _errors(application)
    is_about = steps.at(application) == revision and any(REFUSED in error for error in errors)
    return is_about and not _is_late(application)


def _is_late(application: Object) -> bool:
    """Return whether Argo CD could not compare an Application, for want of an answer in time."""
    return any(
        REFUSED not in error or any(words in error for words in LATE)
        for error in _errors(application)
    )


def _errors(application: Object) -> list[str]:
    conditions = steps.status(application, "conditions") or ()
    return [one["message"] for one in conditions if one["type"] == "ComparisonError"]


def _is_at_rest(application: Object, revision: str) -> bool:
    """Return whether nothing more becomes of an Application at a revision by itself."""
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
    """Return whether Argo CD says something of the sync of a revision."""
    synced = steps.status(application, "operationState", "syncResult", "revision")
    return synced == revision and _says(application, words)


def _says(application: Object, words: str) -> bool:
    """Return whether Argo CD says something of a sync."""
    return words in str(steps.status(application, "operationState", "message"))


def _is_failing(application: Object) -> bool:
    """Return whether a sync has failed again and again; also while it is being tried once more."""
    state = steps.status(application, "operationState") or {}
    return state.get("phase") == "Running" and state.get("retryCount", 0) > 1


def _named(applications: Iterable[Object], holds: Callable[[Object], bool]) -> set[str]:
    """Return the environments of whose Applications something holds."""
    names = (each["metadata"]["name"] for each in applications if holds(each))
    return {name.removeprefix(steps.application("")) for name in names}


def _wait_for_pods(cluster: Cluster, full: Iterable[str] = ()) -> None:
    """Wait until all pods are there and ready, also those that autoscalers ask for.

    full: namespaces in which a quota has no room for all.
    """
    api, spaces = cluster.api, {*full}

    def is_whole(workload: Object) -> bool:
        """Return whether there are as many pods as are asked for, none still to be taken away."""
        status = workload.get("status") or {}
        is_known = status.get("observedGeneration") == workload["metadata"]["generation"]
        count = status.get("replicas", 0)
        is_full = workload["metadata"]["namespace"] in spaces
        return bool(is_known and (is_full or count == workload["spec"]["replicas"]))

    scaled, whole = "as many pods as autoscalers ask for", "as many pods as workloads ask for"
    api.until("HorizontalPodAutoscaler", _all(_is_scaled), scaled, timeout_s=ALL_S)
    for kind in ("StatefulSet", "Deployment"):
        api.until(kind, _all(is_whole), whole, timeout_s=ALL_S)
    api.until("Pod", _all(_is_ready), "pods that are ready", timeout_s=ALL_S)


def _all(holds: Callable[[Object], bool]) -> Callable[[Objects], list[bool]]:
    """Return what asks whether something holds of all objects; its answer is true then."""
    return lambda there: [True] if all(map(holds, there.values())) else []


def _is_scaled(autoscaler: Object) -> bool:
    status = autoscaler.get("status") or {}
    wanted = status.get("desiredReplicas", 0)
    least: int = autoscaler["spec"]["minReplicas"]
    return bool(wanted == status.get("currentReplicas") and wanted >= least)


def _is_ready(pod: Object) -> bool:
    return steps.status(pod, "phase") == "Succeeded" or steps.is_ready(pod)


def _states(cluster: Cluster) -> dict[str, State]:
    """Return what is in the environments' namespaces, by environment."""
    spaces = {steps.application(name): name for name in steps.environments(cluster)}
    found = {name: State({}, []) for name in spaces.values()}
    for kind in (*OF_GIT, "Pod"):
        for each in cluster.api.objects(kind):
            metadata = each["metadata"]
            state = found.get(spaces.get(metadata["namespace"], ""))
            if state is None:
                continue
            if kind == "Pod":
                state.pods.append(each)
            elif TRACKED in metadata.get("annotations", {}):
                state.objects[f"{kind}/{metadata['name']}"] = each
    return found


def _seen(before: State, after: State, folder: Path, waits: bool) -> Seen:
    """Return what has become of an environment's pods and objects.

    folder: of the manifests that git has of it now. waits: for a person to confirm.
    """
    was, now = _pods(before), _pods(after)
    come = {name: now.get(name, {}).keys() - was.get(name, {}).keys() for name in was | now}
    gone = {name: was.get(name, {}).keys() - now.get(name, {}).keys() for name in was | now}
    both = [name for name in come if come[name] and gone[name]]
    more = {name: len(come[name]) - len(gone[name]) for name in come}
    git = {f"{one['kind']}/{one['metadata']['name']}" for one in _read(folder)}
    left = frozenset(name for name in after.objects if name not in git)
    return Seen(
        restarted={name: tuple(sorted(now[name][uid] for uid in come[name])) for name in both},
        added={name: count for name, count in more.items() if count > 0},
        removed={name: -count for name, count in more.items() if count < 0},
        pruned=frozenset(before.objects.keys() - after.objects.keys()),
        confirmed=left if waits else frozenset(),
        kept=frozenset() if waits else left,
    )


def _pods(state: State) -> dict[str, dict[str, str]]:
    """Return a pod's name, that of its Deployment where it has one → uids → when it was made."""
    found: dict[str, dict[str, str]] = {}
    for pod in state.pods:
        metadata, owner = pod["metadata"], steps.owner(pod)
        if owner.get("kind") in ("ReplicaSet", "StatefulSet"):
            by_chance = owner["kind"] == "ReplicaSet"
            name = owner["name"].rpartition("-")[0] if by_chance else metadata["name"]
            found.setdefault(name, {})[metadata["uid"]] = metadata["creationTimestamp"]
    return found


def _read(folder: Path) -> Iterator[Object]:
    for file in folder.glob("*.yaml"):
        yield yaml.load(file.read_text("utf-8"), yaml.CSafeLoader)
