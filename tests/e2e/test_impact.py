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

from scripts.cluster import argo
from scripts.cluster.api import RESOURCES, Object
from scripts.cluster.cluster import Cluster
from scripts.impact.outcome import Outcome
from scripts.impact.report import Report
from scripts.impact.run import impact
from tests import changes
from tests.changes import Change
from tests.conftest import Repository, copy
from tests.e2e import conftest, steps

ALL_S = 2400.0
"""Far more than all environments take, on two processors that do other work, too."""
pytestmark = [pytest.mark.waits, pytest.mark.timeout(2 * ALL_S)]

LOOKS_EVERY_S = 600
"""No look at git comes by itself: of so many Applications, that would be most of the work."""
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
CONFIRMATION, FAILING = "waiting for pruning confirmation of ", "Retrying attempt "
"""What Argo CD says of a sync that goes on for ever."""
PODS = "waiting for healthy state of "
"""What it says of one whose pods are not ready, yet or ever."""
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
        waiting, failing = _syncing(cluster, CONFIRMATION), _syncing(cluster, FAILING)
        full = _full(cluster.api.objects("Event"))
    wrong = dict[str, str]()
    for name, change in catalogue.items():
        folder = repository / f"overlays/{name}/manifests"
        seen = _seen(before[name], after[name], folder, name in waiting)
        seen = replace(
            seen,
            is_refused=name in refused,
            is_failing=name in failing,
            is_short=steps.application(name) in full,
        )
        expected = predicted.get(name, Outcome(is_refused=False))
        if seen != expected:
            wrong[name] = f"{name}: {change.about}\n  predicted {expected}\n  seen      {seen}"
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
    return {name: _sorted(outcome) for name, outcome in found if outcome}


def _sorted(one: Outcome) -> Outcome:
    """Return an outcome in which only the order of restarts tells something."""
    return replace(
        one,
        added=tuple(sorted(one.added)),
        removed=tuple(sorted(one.removed)),
        pruned=tuple(sorted(one.pruned)),
        confirmed=tuple(sorted(one.confirmed)),
        kept=tuple(sorted(one.kept)),
    )


def _sync(cluster: Cluster, revision: str) -> None:
    """Have the environments run as they are before their changes."""
    cluster.remote.take(revision)
    pushed = cluster.remote.push("as it was")
    cluster.sync()
    names = [steps.application(name) for name in steps.environments(cluster)]
    there = "the Applications"
    steps.wait(cluster, lambda found: all(name in found for name in names), there, ALL_S)
    for each in cluster.api.objects("Application", argo.NAMESPACE):
        if each["metadata"]["name"] in names and "automated" not in each["spec"]["syncPolicy"]:
            steps.begin_sync(cluster, each["metadata"]["name"])
    steps.wait_synced(cluster, names, pushed, ALL_S)
    _wait_for_pods(cluster)


def _settle(cluster: Cluster, names: Iterable[str], revision: str) -> set[str]:
    """Wait until a revision has come to all environments, as far as it does without a person.

    Return those of which the API server refuses it: Argo CD says so once, and later nothing.
    """
    refused = set[str]()

    def settled(there: dict[str, Object]) -> bool:
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
            for each in cluster.api.objects("Application", argo.NAMESPACE)
        }
        rest = {steps.application(name) for name in names if name not in refused}
        rest -= _full(events.values())
        return all(_is_at_rest(found[name], revision) for name in rest)

    # Else the order is one of chance, in which a sync and the settings that it goes by change.
    steps.wait_synced(cluster, [steps.ROOT], revision, ALL_S)
    steps.refresh(cluster, map(steps.application, names))
    steps.wait(cluster, settled, "all changes synced, refused or waiting", ALL_S)
    # Argo CD makes an Event when a sync ends, as a quota does when it refuses a pod.
    said = "the last pods ready, or refused by a quota"
    cluster.api.until("Event", ended, said, timeout_s=ALL_S)
    _wait_for_pods(cluster)
    return refused


def _full(events: Iterable[Object]) -> set[str]:
    """Return the namespaces in which a quota has refused a pod."""
    return {
        each["metadata"]["namespace"]
        for each in events
        if each["reason"] == "FailedCreate" and FULL in each.get("message", "")
    }


def _is_refused(application: Object, revision: str) -> bool:
    """Return whether an Application can't be compared with a revision."""
    conditions = steps.status(application, "conditions") or ()
    return steps.at(application) == revision and any(
        one["type"] == "ComparisonError" for one in conditions
    )


def _is_at_rest(application: Object, revision: str) -> bool:
    """Return whether nothing more becomes of an Application at a revision by itself."""
    if steps.is_synced(application, revision):
        return True
    if steps.at(application) != revision:
        return False
    if steps.status(application, "operationState", "syncResult", "revision") == revision:
        paused = steps.status(application, "health", "status") == "Suspended"
        return paused or any(_is_at(application, revision, one) for one in (CONFIRMATION, FAILING))
    prunes = (application["spec"]["syncPolicy"].get("automated") or {}).get("prune")
    return not prunes and "operation" not in application


def _is_at(application: Object, revision: str, words: str) -> bool:
    """Return whether Argo CD says something of the sync of a revision."""
    synced = steps.status(application, "operationState", "syncResult", "revision")
    return synced == revision and words in str(
        steps.status(application, "operationState", "message")
    )


def _wait_for_pods(cluster: Cluster) -> None:
    """Wait until all pods are there and ready, also those that autoscalers ask for."""
    api = cluster.api
    scaled, ready = "as many pods as autoscalers ask for", "pods that are ready"
    api.until("HorizontalPodAutoscaler", _all(_is_scaled), scaled, timeout_s=ALL_S)
    api.until("Pod", _all(_is_ready), ready, timeout_s=ALL_S)


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


def _syncing(cluster: Cluster, words: str) -> set[str]:
    """Return the environments of whose sync Argo CD says something."""
    return {
        each["metadata"]["name"].removeprefix(steps.application(""))
        for each in cluster.api.objects("Application", argo.NAMESPACE)
        if words in str(steps.status(each, "operationState", "message"))
    }


def _seen(before: State, after: State, folder: Path, waits: bool) -> Outcome:
    """Return what has become of an environment's pods and objects.

    folder: of the manifests that git has of it now. waits: for a person to confirm.
    """
    was, now = _pods(before), _pods(after)
    come = {name: now.get(name, {}).keys() - was.get(name, {}).keys() for name in was | now}
    gone = {name: was.get(name, {}).keys() - now.get(name, {}).keys() for name in was | now}
    both = [name for name in come if come[name] and gone[name]]
    more = {name: len(come[name]) - len(gone[name]) for name in come}
    git = {f"{one['kind']}/{one['metadata']['name']}" for one in _read(folder)}
    left = tuple(sorted(name for name in after.objects if name not in git))
    return Outcome(
        is_refused=False,
        restarted=tuple(sorted(both, key=lambda name: min(now[name][uid] for uid in come[name]))),
        added=tuple(sorted(name for name in more if more[name] > 0)),
        removed=tuple(sorted(name for name in more if more[name] < 0)),
        pruned=tuple(sorted(before.objects.keys() - after.objects.keys())),
        confirmed=left if waits else (),
        kept=() if waits else left,
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
