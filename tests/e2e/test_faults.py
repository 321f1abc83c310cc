"""A failure of Argo CD, the API server or git during a sync loses and doubles nothing."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.cluster import argocd
from scripts.cluster.api_client import Object
from scripts.cluster.cluster import Cluster
from scripts.cluster.git_remote import Remote
from tests.e2e import steps

Measure = Callable[[str, float], None]

ENVIRONMENT = "dev"
APPLICATION = steps.application(ENVIRONMENT)
FIRST = "linea-stack-ethstats"
"""The Deployment of the first of the two waves that the tests change."""
KEPT = ("StatefulSet", "Deployment", "Service", "ConfigMap", "PersistentVolumeClaim", "Secret")
"""Kinds whose objects no fault may replace."""


@pytest.fixture(scope="module")
def remote(cluster: Cluster) -> Iterator[Remote]:
    """Return the repository; after the last test, all changes are reverted together."""
    before = cluster.remote.revision()
    yield cluster.remote
    steps.wait_synced(cluster, revision=cluster.remote.return_to(before))


@pytest.fixture
def kept(cluster: Cluster) -> Iterator[None]:
    """Assert at the end that the objects, and the pods with volumes, are still the same ones."""
    before = identities(cluster)
    yield
    assert identities(cluster) == before


def identities(cluster: Cluster) -> dict[str, str]:
    """Return kind, namespace and name of objects that must stay → uid."""
    objects = ((kind, each) for kind in KEPT for each in cluster.api.objects(kind))
    # The claim of a backup belongs to its pod: it may start or end at any time.
    kept = [(kind, each) for kind, each in objects if steps.owner(each).get("kind") != "Pod"]
    pods = cluster.api.objects("Pod")
    kept += [("Pod", pod) for pod in pods if steps.owner(pod).get("kind") == "StatefulSet"]
    kept = [each for each in kept if "deletionTimestamp" not in each[1]["metadata"]]
    return {
        f"{kind} {metadata['namespace']}/{metadata['name']}": metadata["uid"]
        for kind, metadata in ((kind, each["metadata"]) for kind, each in kept)
    }


@pytest.fixture
def changed(request: pytest.FixtureRequest, remote: Remote) -> str:
    """Change two waves of an environment in the checkout; return the value that shows it."""
    text = str(request.node.name)
    variables = [{"name": "TRIED", "value": text}]
    parts = ("ethstats", "txSender")
    steps.change(remote, ENVIRONMENT, {part: {"extraEnv": variables} for part in parts})
    return text


def arrives(cluster: Cluster, remote: Remote, text: str) -> None:
    """Wait until the change is synced, and assert that each of its pods exists once."""
    steps.wait_synced(cluster, [APPLICATION], remote.revision())
    steps.wait_synced(cluster)
    for part in ("ethstats", "tx-sender"):
        (pod,) = steps.pods(cluster, f"linea-{ENVIRONMENT}", part).values()
        variables = pod["spec"]["containers"][0]["env"]
        assert {"name": "TRIED", "value": text} in variables


def kill_in_the_middle(cluster: Cluster, remote: Remote, *names: str) -> None:
    """Push, kill processes in the middle of the sync, and start them again.

    The sync cannot finish before that, because the nodes accept no pod of the first wave.
    """
    revision = remote.push("a change of two waves")
    waits = f"waiting for healthy state of apps/Deployment/{FIRST}"
    with steps.cordoned(cluster):
        steps.refresh(cluster, [APPLICATION])
        steps.wait(
            cluster, lambda there: steps.is_waiting(there[APPLICATION], revision, waits), waits
        )
        try:
            cluster.processes.end(*names, number=signal.SIGKILL)
        finally:
            for name in names:
                cluster.processes.restart(name)
        cluster.plane.connect().close()


def test_a_sync_completes_after_argo_cds_controller_was_killed(
    cluster: Cluster, remote: Remote, changed: str, kept: None, measure: Measure
) -> None:
    kill_in_the_middle(cluster, remote, argocd.CONTROLLER)
    begun = time.monotonic()
    arrives(cluster, remote, changed)
    measure("controller killed in the middle of a sync, to Synced", begun)


def test_a_sync_completes_after_the_api_server_was_killed(
    cluster: Cluster, remote: Remote, changed: str, kept: None, measure: Measure
) -> None:
    kill_in_the_middle(cluster, remote, "kube-apiserver")
    begun = time.monotonic()
    arrives(cluster, remote, changed)
    measure("API server killed in the middle of a sync, to Synced", begun)


def test_a_sync_completes_after_argo_cds_cache_and_repository_server_were_killed(
    cluster: Cluster, remote: Remote, changed: str, kept: None
) -> None:
    kill_in_the_middle(cluster, remote, argocd.CACHE, argocd.REPOSITORIES)
    arrives(cluster, remote, changed)


def test_a_sync_completes_after_the_repository_was_unreachable(
    cluster: Cluster, remote: Remote, changed: str, kept: None
) -> None:
    away = remote.bare.with_suffix(".away")
    remote.bare.rename(away)
    try:
        wait_for_comparison_error(cluster)
    finally:
        away.rename(remote.bare)
    remote.push("a change that was made meanwhile")
    arrives(cluster, remote, changed)


def test_a_sync_completes_after_a_push_in_two_halves(
    cluster: Cluster, remote: Remote, changed: str, kept: None
) -> None:
    revision = remote.commit("in two halves")
    new = [file.relative_to(remote.checkout / ".git") for file in loose_objects(remote)]
    (commit,) = (file for file in new if "".join(file.parts[-2:]) == revision)
    give(remote, commit)
    (remote.bare / "refs" / "heads" / "main").write_text(f"{revision}\n")
    try:
        wait_for_comparison_error(cluster)
    finally:
        for file in new:
            give(remote, file)
    arrives(cluster, remote, changed)


def loose_objects(remote: Remote) -> list[Path]:
    """Return the objects of the checkout that the remote lacks."""
    own, other = (folder / "objects" for folder in (remote.checkout / ".git", remote.bare))
    objects = own.glob("[0-9a-f][0-9a-f]/*")
    return [file for file in objects if not (other / file.relative_to(own)).exists()]


def give(remote: Remote, file: Path) -> None:
    """Copy an object of the checkout to the remote."""
    target = remote.bare / file
    target.parent.mkdir(exist_ok=True)
    shutil.copy(remote.checkout / ".git" / file, target)


def wait_for_comparison_error(cluster: Cluster) -> None:
    """Wait until Argo CD reports that it cannot read the repository."""
    steps.refresh(cluster, [APPLICATION], "hard")

    def is_reported(there: dict[str, Object]) -> bool:
        conditions = steps.status(there[APPLICATION], "conditions") or ()
        return any(each["type"] == "ComparisonError" for each in conditions)

    steps.wait(cluster, is_reported, f"{APPLICATION} has a ComparisonError")
