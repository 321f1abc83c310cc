"""Argo CD makes the cluster equal to git: root, projects, Applications, objects, in waves."""

from __future__ import annotations

from typing import Any

from scripts.cluster import argocd
from scripts.cluster.api_client import Object
from scripts.cluster.cluster import Cluster
from tests.e2e import steps
from tests.e2e.conftest import FirstSync

RESYNCS = 3


def test_everything_is_synced_and_healthy(cluster: Cluster) -> None:
    steps.wait_synced(cluster)
    for environment in steps.environments(cluster):
        application = cluster.api.get("Application", f"linea-{environment}", argocd.NAMESPACE)
        assert application["spec"]["project"] == f"linea-{environment}"
        assert steps.live(cluster, environment).keys() <= steps.resources(application).keys()


def test_a_wave_starts_when_the_one_before_is_ready(first_sync: FirstSync) -> None:
    for environment, (objects, pods) in first_sync.items():
        assert pods, f"{environment} has no pods"
        early = steps.too_early(objects.values(), pods)
        assert not early, f"{environment}: {early}"


def test_another_refresh_or_sync_changes_nothing(cluster: Cluster) -> None:
    names = [steps.application(each) for each in steps.environments(cluster)]
    steps.wait_synced(cluster)
    before = states(cluster)
    for number in range(1, RESYNCS + 1):
        drift = refresh(cluster, names)
        assert not drift, f"refresh {number} sees drift: {drift}"
    for name in names:
        steps.begin_sync(cluster, name)
    for name in names:
        steps.end_of_sync(cluster, name)
    steps.wait_synced(cluster)
    after = states(cluster)
    changed = [name for name in before if before[name] != after.get(name)]
    assert not changed, f"changed by refreshes and syncs alone: {changed}"


def refresh(cluster: Cluster, names: list[str]) -> list[str]:
    """Refresh Applications without Argo CD's cache, and return what is out of sync meanwhile."""
    applications = cluster.api.objects("Application", argocd.NAMESPACE)
    times = {each["metadata"]["name"]: steps.status(each, "reconciledAt") for each in applications}
    drift: set[str] = set()
    steps.refresh(cluster, names, "hard")

    def all_refreshed(current: dict[str, Object]) -> bool:
        for name in names:
            drift.update(out_of_sync(current[name]))
        return all(is_refreshed(current[name], times[name]) for name in names)

    steps.wait(cluster, all_refreshed, "a refresh of all Applications")
    return sorted(drift)


def is_refreshed(application: Object, last: str) -> bool:
    """Return whether a requested refresh is done, and its time differs from the last one."""
    is_requested = "argocd.argoproj.io/refresh" in application["metadata"].get("annotations", {})
    return not is_requested and steps.status(application, "reconciledAt") != last


def out_of_sync(application: Object) -> list[str]:
    """Return what is not Synced: the Application and its objects."""
    name, sync = application["metadata"]["name"], steps.status(application, "sync", "status")
    lines = [f"{name}: {sync}"] if sync != "Synced" else []
    for label, resource in steps.resources(application).items():
        if resource.get("status") != "Synced":
            lines.append(f"{name} {label}: {resource.get('status')}")
    return lines


def states(cluster: Cluster) -> dict[str, Any]:
    """Return the written state of the objects in git, by environment and Kind/name."""
    return {
        f"{environment} {name}": written(each)
        for environment in steps.environments(cluster)
        for name, each in steps.live(cluster, environment).items()
    }


def written(each: Object) -> Any:
    """Return a value that changes when somebody writes to an object, except to its status.

    If an object has no status, every write counts. The replicas of an autoscaler's target may
    change.
    """
    metadata = each["metadata"]
    if each["kind"] == "StatefulSet" and metadata["name"] == "linea-stack-besu":
        return {**each["spec"], "replicas": 0}, metadata["annotations"], metadata["labels"]
    if "generation" in metadata:
        return metadata["uid"], metadata["generation"]
    if "status" in each:
        return metadata["uid"], each["spec"]
    return metadata["uid"], metadata["resourceVersion"]
