"""Validators are ready by their own script, which stops a commit that cuts them off."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scripts.cluster.api_client import Object
from scripts.cluster.cluster import Cluster
from scripts.cluster.git_remote import Remote
from scripts.cluster.readiness import ASKED, Readiness
from tests.conftest import Repository
from tests.e2e import steps
from tests.e2e.test_disruption import QUORUM, VALIDATORS, whole_validators
from tests.e2e.watching import Watching

NAMESPACE, PROD = "linea-prod", "linea-prod"
MARUS = [f"linea-stack-maru-{number}" for number in range(VALIDATORS)]
LABELS = "app.kubernetes.io/component=maru"


@pytest.fixture
def asked(cluster: Cluster, remote: Remote) -> Iterator[None]:
    """Have the validators of prod asked by their own script instead of being ready at once."""
    steps.change(remote, "prod", {"maru": {"podAnnotations": {ASKED: "true"}}})
    revision = remote.push("validators are asked")
    readiness = Readiness(cluster.api, NAMESPACE)
    readiness.start()
    try:
        with Watching(cluster, "Pod", NAMESPACE, no_quorum):
            steps.wait_synced(cluster, [PROD], revision)
        yield
    finally:
        readiness.close()


def no_quorum(pods: dict[str, Object]) -> str | None:
    whole = whole_validators(pods)
    return None if len(whole) >= QUORUM else f"only the validators {sorted(whole)} were ready"


def uids(cluster: Cluster) -> dict[str, str]:
    """Return name → uid of the validators' Marus."""
    pods = cluster.api.objects("Pod", NAMESPACE, LABELS)
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in pods}


def wait_ready(cluster: Cluster, without: dict[str, str]) -> None:
    """Wait until all of them are ready, and none is one of those."""

    def are_ready(pods: dict[str, Object]) -> bool:
        new = {name for name, pod in pods.items() if pod["metadata"]["uid"] != without.get(name)}
        return new == set(MARUS) and all(map(steps.is_ready, pods.values()))

    what = "validators that are ready"
    cluster.api.until("Pod", are_ready, what, namespace=NAMESPACE, labels=LABELS)


@pytest.mark.usefixtures("asked")
def test_a_commit_that_breaks_p2p_stops_after_one_validator(
    cluster: Cluster, remote: Remote
) -> None:
    """Another port for P2P: the first pod dials where nobody is yet, and nobody dials it there."""
    before, checkout = uids(cluster), Repository(remote.checkout)
    for file, old, new in (
        ("chart/files/maru/config.toml", "port = 9000", "port = 9001"),
        ("chart/templates/_validators.tpl", "/tcp/9000/", "/tcp/9001/"),
    ):
        text = (checkout / file).read_text("utf-8")
        assert old in text
        (checkout / file).write_text(text.replace(old, new), "utf-8")
    steps.change(remote, "prod", {})
    with Watching(cluster, "Pod", NAMESPACE, no_quorum):
        broken = remote.push("another port for P2P")
        steps.refresh(cluster, [PROD])
        waits = "waiting for healthy state of apps/StatefulSet/linea-stack-maru"
        steps.wait(cluster, lambda there: steps.is_waiting(there[PROD], broken, waits), waits)
        last = MARUS[-1]
        cluster.api.until(
            "Pod",
            lambda pods: last in pods and cut_off(pods[last], before[last]),
            f"{last} that runs and is not ready",
            namespace=NAMESPACE,
            labels=LABELS,
        )
        revert = remote.revert()
        steps.refresh(cluster, [PROD])
        steps.wait(
            cluster, lambda there: steps.at(there[PROD]) == revert, f"{PROD} has seen the revert"
        )
        now = uids(cluster)
        assert {name for name in MARUS if now[name] != before[name]} == {last}
        _, end_the_waiting_sync = steps.documented("When a sync waits", "prod")
        steps.run(cluster, end_the_waiting_sync)
        steps.wait_synced(cluster, [PROD], revert)
        wait_ready(cluster, {})
    after = uids(cluster)
    assert {name for name in MARUS if after[name] != before[name]} == {last}


def cut_off(pod: Object, old: str) -> bool:
    """Return whether a pod is another than the old one, runs, and is not ready."""
    is_new = pod["metadata"]["uid"] != old and "podIP" in pod.get("status", {})
    return is_new and not steps.is_ready(pod)


@pytest.mark.usefixtures("asked")
def test_validators_that_all_start_at_once_become_ready(cluster: Cluster) -> None:
    before = uids(cluster)
    for name in MARUS:
        cluster.api.delete("Pod", name, NAMESPACE)
    wait_ready(cluster, before)
    steps.wait_synced(cluster, [PROD])
