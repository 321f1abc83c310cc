"""A new folder is a new environment; only a person removes it from the cluster."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator

import pytest

from scripts.cluster import argocd
from scripts.cluster.api_client import Object
from scripts.cluster.cluster import Cluster
from scripts.cluster.git_remote import Remote
from tests.conftest import Repository
from tests.e2e import steps

Measure = Callable[[str, float], None]


@pytest.fixture
def qa(cluster: Cluster, remote: Remote) -> Iterator[Repository]:
    """Return a checkout for an environment qa; at the end, remove all of it."""
    before = remote.revision()
    yield Repository(remote.checkout)
    shutil.rmtree(remote.checkout / ".secrets", ignore_errors=True)
    revision = remote.return_to(before)
    steps.refresh(cluster, [steps.ROOT])
    steps.wait(cluster, lambda there: steps.at(there[steps.ROOT]) == revision, "root without qa")
    for kind in ("Application", "AppProject"):
        if cluster.api.find(kind, "linea-qa", argocd.NAMESPACE):
            no_finalizers = {"metadata": {"finalizers": None}}
            cluster.api.patch(kind, "linea-qa", no_finalizers, argocd.NAMESPACE)
            cluster.api.delete(kind, "linea-qa", argocd.NAMESPACE)
    if cluster.api.find("Namespace", "linea-qa"):
        cluster.api.delete("Namespace", "linea-qa")
    gone = "namespace linea-qa gone"
    cluster.api.until("Namespace", without("linea-qa"), gone)
    for volume in cluster.api.objects("PersistentVolume"):
        if volume["spec"]["claimRef"]["namespace"] == "linea-qa":
            cluster.api.delete("PersistentVolume", volume["metadata"]["name"])


def test_a_folder_creates_an_environment_and_only_a_person_removes_it(
    cluster: Cluster, remote: Remote, qa: Repository, measure: Measure
) -> None:
    environment = "name: qa\nprofiles: [development]\nnamespace: linea-qa\n"
    qa.write("overlays/qa/environment.yaml", environment)
    for command in (["network", "qa"], ["render"], ["validate", "qa"]):
        done = qa.run(*command)
        assert not done.code, f"{command}: {done.out}{done.err}"
    revision, begun = remote.push("an environment"), time.monotonic()
    steps.wait_synced(cluster, [steps.ROOT, "linea-qa"], revision)
    measure("commit to Synced, a new environment", begun)
    created = steps.live(cluster, "qa")
    assert not steps.too_early(created.values(), cluster.api.objects("Pod", "linea-qa"))

    shutil.rmtree(qa / "overlays/qa")
    assert not qa.run("render").code
    revision = remote.push("no such environment")
    steps.refresh(cluster, [steps.ROOT, "linea-qa"])
    asks = "linea-root OutOfSync, linea-qa Unknown"
    steps.wait(cluster, lambda there: asks_for_removal(there, revision), asks)
    assert {kind for kind, count in left(cluster, created).items() if count} == kinds(created)
    (commands,) = steps.documented("Removing an environment from its cluster", "qa")
    remove, wait_and_remove_project = commands.split("kubectl -n argocd wait", 1)
    begun = time.monotonic()
    steps.run(cluster, remove)
    cluster.api.until("Pod", lambda there: not there, "no pod", namespace="linea-qa")
    # Without this, Argo CD refreshes within half a minute.
    steps.refresh(cluster, ["linea-qa"])
    steps.run(cluster, f"kubectl -n argocd wait{wait_and_remove_project}")
    measure("environment deleted to gone", begun)
    assert not any(left(cluster, created).values()), left(cluster, created)
    assert not cluster.api.find("AppProject", "linea-qa", argocd.NAMESPACE)
    assert len(cluster.api.objects("PersistentVolumeClaim", "linea-qa")) == 3
    steps.wait_synced(cluster, [steps.ROOT], revision)


def asks_for_removal(there: dict[str, Object], revision: str) -> bool:
    """Return whether the root and the Application show that an environment is removed from git."""
    root, application = there[steps.ROOT], there["linea-qa"]
    out_of_sync = steps.status(root, "sync", "status") == "OutOfSync" and steps.at(root) == revision
    return out_of_sync and steps.status(application, "sync", "status") == "Unknown"


def kinds(objects: dict[str, Object]) -> set[str]:
    """Return the kinds of objects."""
    return {each["kind"] for each in objects.values()}


def left(cluster: Cluster, created: dict[str, Object]) -> dict[str, int]:
    """Return kind → number of objects that git created in linea-qa and that still exist."""
    counts = dict.fromkeys(kinds(created), 0)
    for kind in counts:
        names = {each["metadata"]["name"] for each in cluster.api.objects(kind, "linea-qa")}
        counts[kind] = sum(f"{kind}/{name}" in created for name in names)
    return counts


def without(name: str) -> Callable[[dict[str, Object]], bool]:
    """Return a function that says whether no object has a name."""
    return lambda there: name not in there
