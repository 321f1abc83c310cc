"""A renamed environment keeps its pods, and one that Argo CD lets go of keeps running."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator

import pytest

from scripts.cluster import argocd
from scripts.cluster.api_client import Object
from scripts.cluster.cluster import Cluster
from scripts.cluster.git_remote import Remote
from tests.conftest import Repository, Run
from tests.e2e import steps

Measure = Callable[[str, float], None]

OLD, NEW, NAMESPACE = "qa", "quality", "linea-qa"
LINKS = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: links
  annotations: {argocd.argoproj.io/sync-wave: "7"}
data: {explorer: https://explorer.linea.example.com}
"""
TRACKING = "argocd.argoproj.io/tracking-id"


@pytest.fixture
def checkout(cluster: Cluster, remote: Remote) -> Iterator[Repository]:
    """Return a checkout for an environment; at the end, remove what is left of it."""
    before = remote.revision()
    yield Repository(remote.checkout)
    revision = remote.return_to(before)
    steps.refresh(cluster, [steps.ROOT])
    steps.wait(cluster, lambda there: steps.at(there[steps.ROOT]) == revision, "root without qa")
    for name in map(steps.application, (OLD, NEW)):
        for kind in ("Application", "AppProject"):
            if cluster.api.find(kind, name, argocd.NAMESPACE):
                body = {"metadata": {"finalizers": None}}
                cluster.api.patch(kind, name, body, argocd.NAMESPACE)
                cluster.api.delete(kind, name, argocd.NAMESPACE)
    if cluster.api.find("Namespace", NAMESPACE):
        cluster.api.delete("Namespace", NAMESPACE)
    cluster.api.until("Namespace", lambda there: NAMESPACE not in there, f"{NAMESPACE} gone")
    for volume in cluster.api.objects("PersistentVolume"):
        if volume["spec"]["claimRef"]["namespace"] == NAMESPACE:
            cluster.api.delete("PersistentVolume", volume["metadata"]["name"])


def test_a_renamed_environment_keeps_its_pods_and_so_does_one_that_is_let_go(
    cluster: Cluster, remote: Remote, checkout: Repository, measure: Measure
) -> None:
    like = steps.environments(cluster)[0]
    made(checkout.run("new", OLD, "--like", like, "--namespace", NAMESPACE))
    checkout.write("overlays/qa/objects/links.yaml", LINKS)
    made(checkout.run("render", OLD))
    steps.wait_synced(cluster, [steps.ROOT, "linea-qa"], remote.push("a new environment"))
    objects, pods = identities(steps.live(cluster, OLD).values()), running(cluster)
    assert pods
    assert "ConfigMap/links" in {label for label, _ in objects}

    said = made(checkout.run("rename", OLD, NEW))
    revision, begun = remote.push("another name"), time.monotonic()
    steps.refresh(cluster, [steps.ROOT, "linea-qa"])
    steps.wait(cluster, lambda there: is_refused(there.get("linea-quality")), "shared objects")
    (commands,) = steps.documented("Renaming an environment", OLD)
    assert [line for line in commands.splitlines() if line not in said] == []
    steps.run(cluster, f"cd {remote.checkout}\n{commands}")
    steps.wait_synced(cluster, ["linea-quality"], revision)
    measure("an environment renamed to Synced", begun)
    assert running(cluster) == pods
    live = steps.live(cluster, NEW)
    assert identities(live.values()) == objects
    owners = {each["metadata"]["annotations"][TRACKING].partition(":")[0] for each in live.values()}
    assert owners == {"linea-quality"}
    for kind in ("Application", "AppProject"):
        assert not cluster.api.find(kind, "linea-qa", argocd.NAMESPACE)

    made(checkout.run("validate", NEW, "--against", "HEAD^"))

    shutil.rmtree(checkout / "overlays/quality/objects")
    made(checkout.run("render"))
    steps.wait_synced(cluster, ["linea-quality"], remote.push("no object of its own"))
    assert not cluster.api.find("ConfigMap", "links", NAMESPACE)
    objects = {each for each in objects if each[0] != "ConfigMap/links"}

    shutil.rmtree(checkout / "overlays/quality")
    made(checkout.run("render"))
    revision = remote.push("no such environment")
    steps.refresh(cluster, [steps.ROOT])
    removed = "linea-root without quality"
    steps.wait(cluster, lambda there: steps.at(there[steps.ROOT]) == revision, removed)
    (commands,) = steps.documented("Keeping the objects of a removed environment", OLD)
    steps.run(cluster, commands.replace("linea-qa", "linea-quality"))
    for kind in ("Application", "AppProject"):
        assert not cluster.api.find(kind, "linea-quality", argocd.NAMESPACE)
    for label, uid in objects:
        kind, _, name = label.partition("/")
        assert cluster.api.get(kind, name, NAMESPACE)["metadata"]["uid"] == uid, label
    assert running(cluster) == pods


def made(run: Run) -> str:
    """Return what a command printed; it must have succeeded."""
    assert not run.code, f"{run.out}{run.err}"
    return run.out


def running(cluster: Cluster) -> set[tuple[str, str, int]]:
    """Return name, uid and restarts of the pods of the environment, without those of Jobs."""
    return {
        (pod["metadata"]["name"], pod["metadata"]["uid"], restarts(pod))
        for pod in cluster.api.objects("Pod", NAMESPACE)
        if not steps.is_of_a_job(pod)
    }


def restarts(pod: Object) -> int:
    statuses = steps.status(pod, "containerStatuses") or ()
    return sum(each["restartCount"] for each in statuses)


def identities(objects: Iterable[Object]) -> set[tuple[str, str]]:
    """Return Kind/name and uid of objects."""
    return {
        (f"{each['kind']}/{each['metadata']['name']}", each["metadata"]["uid"]) for each in objects
    }


def is_refused(application: Object | None) -> bool:
    """Return whether Argo CD syncs nothing, because another Application has the objects."""
    conditions = steps.status(application, "conditions") or ()
    return any(each["type"] == "SharedResourceWarning" for each in conditions)
