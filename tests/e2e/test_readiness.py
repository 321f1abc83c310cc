"""Validators are ready by their own script, which stops a commit that cuts them off.

On a cluster of their own, with nothing but production, all pods of validators are asked from their
first start on.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from scripts.cluster.api_client import Object
from scripts.cluster.cluster import Cluster
from scripts.cluster.readiness import ASKED, VALIDATORS, Readiness
from tests.conftest import EXAMPLE, Repository
from tests.e2e import steps
from tests.e2e.conftest import reported
from tests.e2e.test_disruption import QUORUM, whole_validators
from tests.e2e.watching import Watching

NAMESPACE, PROD = "linea-prod", steps.application("prod")
MARUS = [f"linea-stack-maru-{number}" for number in range(4)]
PODS = [*MARUS, *(f"linea-stack-sequencer-{number}" for number in range(4))]


@pytest.fixture(scope="module")
def asked() -> Iterator[Cluster]:
    """Return a cluster whose validators became ready by their script, in their first sync."""
    annotated = {"podAnnotations": {ASKED: "true"}}
    with Cluster(EXAMPLE) as running, reported(running):
        running.remote.take()
        checkout = Repository(running.remote.checkout)
        for name in steps.environments(running):
            if name != "prod":
                shutil.rmtree(checkout / "overlays" / name)
        assert checkout.run("render").code == 0
        steps.change(running.remote, "prod", {"sequencer": annotated, "maru": annotated})
        revision = running.remote.push("only production, asked")
        readiness = Readiness(running.api, NAMESPACE)
        readiness.start()
        try:
            running.sync()
            steps.wait_synced(running, [steps.ROOT, PROD], revision)
            yield running
        finally:
            readiness.close()


def no_quorum(pods: dict[str, Object]) -> str | None:
    whole = whole_validators(pods)
    return None if len(whole) >= QUORUM else f"only the validators {sorted(whole)} were ready"


def uids(cluster: Cluster) -> dict[str, str]:
    """Return name → uid of the validators' pods."""
    pods = cluster.api.objects("Pod", NAMESPACE, VALIDATORS)
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in pods}


def wait_ready(cluster: Cluster, without: dict[str, str]) -> None:
    """Wait until all of them are ready, and none is one of those."""

    def are_ready(pods: dict[str, Object]) -> bool:
        new = {name for name, pod in pods.items() if pod["metadata"]["uid"] != without.get(name)}
        return new == set(PODS) and all(map(steps.is_ready, pods.values()))

    what = "validators that are ready"
    cluster.api.until("Pod", are_ready, what, namespace=NAMESPACE, labels=VALIDATORS)


def test_a_commit_that_breaks_p2p_stops_after_one_validator(asked: Cluster) -> None:
    """Another port for P2P: the first pod dials where nobody is yet, and nobody dials it there."""
    before, checkout = uids(asked), Repository(asked.remote.checkout)
    checkout.replace("chart/files/maru/config.toml", "port = 9000", "port = 9001")
    checkout.replace("chart/templates/_validators.tpl", "/tcp/9000/", "/tcp/9001/")
    steps.change(asked.remote, "prod", {})
    last = MARUS[-1]
    with Watching(asked, "Pod", NAMESPACE, no_quorum):
        broken = asked.remote.push("another port for P2P")
        steps.refresh(asked, [PROD])
        waits = "waiting for healthy state of apps/StatefulSet/linea-stack-maru"
        steps.wait(asked, lambda there: steps.is_waiting(there[PROD], broken, waits), waits)
        asked.api.until(
            "Pod",
            lambda pods: last in pods and cut_off(pods[last], before[last]),
            f"{last} that runs and is not ready",
            namespace=NAMESPACE,
        )
        revert = asked.remote.revert()
        steps.refresh(asked, [PROD])
        seen = f"{PROD} has seen the revert"
        steps.wait(asked, lambda there: steps.at(there[PROD]) == revert, seen)
        assert changed(asked, before) == {last}
        _, end_the_waiting_sync = steps.documented("When a sync waits", "prod")
        steps.run(asked, end_the_waiting_sync)
        steps.wait_synced(asked, [PROD], revert)
        wait_ready(asked, {})
    assert changed(asked, before) == {last}


def changed(cluster: Cluster, before: dict[str, str]) -> set[str]:
    """Return the names of the pods that are others than before."""
    return {name for name, uid in uids(cluster).items() if before[name] != uid}


def cut_off(pod: Object, old: str) -> bool:
    """Return whether a pod is another than the old one, runs, and is not ready."""
    is_new = pod["metadata"]["uid"] != old and "podIP" in pod.get("status", {})
    return is_new and not steps.is_ready(pod)


def test_validators_that_all_start_at_once_become_ready(asked: Cluster) -> None:
    before = uids(asked)
    for name in PODS:
        asked.api.delete("Pod", name, NAMESPACE)
    wait_ready(asked, before)
    steps.wait_synced(asked, [steps.ROOT, PROD])
