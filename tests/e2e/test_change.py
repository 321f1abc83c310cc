"""A merge comes to the cluster, what left git goes, and what breaks is seen and taken back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from scripts.cluster import argocd
from scripts.cluster.api_client import Object
from scripts.cluster.cluster import Cluster
from scripts.cluster.git_remote import Remote
from tests.conftest import Repository
from tests.e2e import steps

NAMESPACE, DEV = "linea-dev", "linea-dev"
ETHSTATS, BESU, SEQUENCER = "linea-stack-ethstats", "linea-stack-besu", "linea-stack-sequencer"
APPROVED = "argocd.argoproj.io/deletion-approved"

Measure = Callable[[str, float], None]


def test_a_merge_brings_images_and_configs_and_prunes_what_left_git(
    cluster: Cluster, remote: Remote, measure: Measure
) -> None:
    checkout, before = Repository(remote.checkout), steps.pods(cluster, NAMESPACE, "besu")
    config = checkout / "chart/files/besu/config.toml"
    config.write_text(config.read_text("utf-8") + "# Changed by a test.\n", "utf-8")
    values = {
        "ethstats": {"image": {"tag": "v0.0.2"}},
        "maru": {"podDisruptionBudget": {"enabled": False}},
    }
    steps.change(remote, "dev", values)
    revision, begun = remote.push("an image, a config, one object less"), time.monotonic()
    steps.wait_synced(cluster, [DEV], revision)
    measure("commit to Synced, told by a webhook", begun)
    assert images(cluster, "ethstats") == ["ethereumex/eth-stats-dashboard:v0.0.2"]
    assert_restarted_with_its_config(cluster, before)
    assert not cluster.api.find("PodDisruptionBudget", "linea-stack-maru", NAMESPACE)

    revision, begun = remote.revert(), time.monotonic()
    synced = f"{DEV} synced without being told of {revision}"
    steps.wait(cluster, lambda there: steps.is_synced(there[DEV], revision), synced)
    measure(f"commit to Synced, found by a look every {argocd.LOOKS_EVERY_S} s", begun)
    assert images(cluster, "ethstats") == ["ethereumex/eth-stats-dashboard:v0.0.1"]
    assert cluster.api.find("PodDisruptionBudget", "linea-stack-maru", NAMESPACE)


def assert_restarted_with_its_config(cluster: Cluster, before: dict[str, Object]) -> None:
    """Assert that Besu's ConfigMap is the changed one, and that no pod has begun before it."""
    config = cluster.api.get("ConfigMap", f"{BESU}-config", NAMESPACE)
    assert "Changed by a test." in config["data"]["config.toml"]
    now = steps.pods(cluster, NAMESPACE, "besu")
    assert len(now) == len(before)
    assert not now.keys() & before.keys(), "a pod still runs with the old configuration"


def test_an_image_that_is_missing_stops_nothing_and_a_revert_repairs(
    cluster: Cluster, remote: Remote, measure: Measure
) -> None:
    old = steps.pods(cluster, NAMESPACE, "ethstats")
    steps.change(remote, "dev", {"ethstats": {"image": {"tag": "v0.0.2-missing"}}})
    broken = remote.push("an image that is missing")
    steps.refresh(cluster, [DEV])
    waits = f"waiting for healthy state of apps/Deployment/{ETHSTATS}"
    steps.wait(cluster, lambda there: steps.is_waiting(there[DEV], broken, waits), waits)
    unhealthy = f"{DEV} Progressing"
    steps.wait(cluster, lambda there: health(there[DEV]) == "Progressing", unhealthy)
    cluster.api.until(
        "Pod",
        lambda pods: any(reason(pod) == "ImagePullBackOff" for pod in pods.values()),
        "a pod that says ImagePullBackOff",
        namespace=NAMESPACE,
    )
    assert_all_ready(cluster, "ethstats", old)

    revert = remote.revert()
    steps.refresh(cluster, [DEV])
    seen = f"{DEV} has seen the revert"
    steps.wait(cluster, lambda there: steps.at(there[DEV]) == revert, seen)
    where_it_stands, end_the_waiting_sync = steps.documented("When a sync waits", "dev")
    # Nothing but a person ends the wait: the revert has been seen, and isn't synced.
    assert steps.run(cluster, where_it_stands).split("\n")[:2] == [broken, waits]
    begun = time.monotonic()
    steps.run(cluster, end_the_waiting_sync)
    steps.wait_synced(cluster, [DEV], revert)
    measure("waiting sync ended to revert Synced", begun)
    assert_all_ready(cluster, "ethstats", old)


def test_a_field_that_cannot_change_is_told_before_the_merge_and_changes_nothing_after(
    cluster: Cluster, remote: Remote
) -> None:
    checkout = Repository(remote.checkout)
    values = {
        "sequencer": {"persistence": {"size": "20Gi"}},
        "ethstats": {"image": {"tag": "v0.0.2"}},
    }
    steps.change(remote, "dev", values)
    found = checkout.run("validate", "dev", "--against", "HEAD")
    assert found.code == 1
    (told,) = (line for line in found.out.splitlines() if " error " in line)
    assert told.startswith("overlays/dev/values.yaml:"), found.out
    assert f"volume-claim-template-changed  StatefulSet/{SEQUENCER} in dev" in told

    old = {part: steps.pods(cluster, NAMESPACE, part) for part in ("sequencer", "ethstats")}
    refused = remote.push("a larger claim, merged all the same")
    steps.refresh(cluster, [DEV])
    said = steps.wait(
        cluster, lambda there: comparison_error(there[DEV], refused), "the API server's refusal"
    )
    assert f'StatefulSet.apps "{SEQUENCER}" is invalid' in said
    assert "Forbidden: updates to statefulset spec for fields other than" in said
    for part, pods in old.items():
        assert_all_ready(cluster, part, pods)
    steps.wait_synced(cluster, [DEV], remote.revert())


@pytest.fixture
def approvals(cluster: Cluster) -> Iterator[None]:
    """Take the approval away in the end; an old one approves of nothing, but is a change."""
    yield
    body = {"metadata": {"annotations": {APPROVED: None}}}
    cluster.api.patch("Application", DEV, body, argocd.NAMESPACE)


@pytest.mark.usefixtures("approvals")
def test_what_holds_data_goes_when_a_person_confirms_and_comes_back_with_its_volume(
    cluster: Cluster, remote: Remote
) -> None:
    claim = the_claim(cluster)
    pods = steps.pods(cluster, NAMESPACE, "besu")
    steps.change(remote, "dev", {"besu": {"enabled": False}})
    revision = remote.push("no Besu")
    steps.refresh(cluster, [DEV])
    waits = f"waiting for pruning confirmation of apps/StatefulSet/{BESU}"
    steps.wait(cluster, lambda there: steps.is_waiting(there[DEV], revision, waits), waits)
    assert_all_ready(cluster, "besu", pods)
    assert cluster.api.find("Service", BESU, NAMESPACE), "what serves the pods is pruned already"

    (confirm,) = steps.documented("Confirming a prune", "dev")
    steps.run(cluster, confirm)
    steps.wait_synced(cluster, [DEV], revision)
    left = [kind for kind in ("StatefulSet", "Service") if cluster.api.find(kind, BESU, NAMESPACE)]
    assert not left, f"still there: {left}"
    assert the_claim(cluster) == claim

    steps.wait_synced(cluster, [DEV], remote.revert())
    (pod,) = steps.pods(cluster, NAMESPACE, "besu").values()
    claims = [one["persistentVolumeClaim"]["claimName"] for one in volumes(pod)]
    assert claims == [claim[0]]
    assert the_claim(cluster) == claim


def images(cluster: Cluster, component: str) -> list[str]:
    """Return the images that a component's pods run, each once."""
    pods = steps.pods(cluster, NAMESPACE, component).values()
    return sorted({one["image"] for pod in pods for one in pod["spec"]["containers"]})


def assert_all_ready(cluster: Cluster, component: str, pods: dict[str, Object]) -> None:
    """Assert that pods which were there are the same, and ready."""
    there = steps.pods(cluster, NAMESPACE, component)
    assert pods, f"no pod of {component} was there"
    assert pods.keys() <= there.keys(), f"pods of {component} are gone"
    assert all(steps.is_ready(there[uid]) for uid in pods), f"pods of {component} aren't ready"


def reason(pod: Object) -> str:
    """Return why the first container of a pod waits."""
    for container in steps.status(pod, "containerStatuses") or ():
        return str(container["state"].get("waiting", {}).get("reason", ""))
    return ""


def health(application: Object) -> str:
    """Return an Application's health."""
    return str(steps.status(application, "health", "status"))


def comparison_error(application: Object, revision: str) -> str:
    """Return why an Application can't be compared with a revision."""
    for one in steps.status(application, "conditions") or ():
        if one["type"] == "ComparisonError" and steps.at(application) == revision:
            assert steps.status(application, "sync", "status") == "Unknown"
            return str(one["message"])
    return ""


def volumes(pod: Object) -> list[Object]:
    """Return a pod's volumes that are claims."""
    return [one for one in pod["spec"]["volumes"] if "persistentVolumeClaim" in one]


def the_claim(cluster: Cluster) -> tuple[str, str, str]:
    """Return the name, uid and volume of the claim of dev's Besu."""
    name = f"data-{BESU}-0"
    claim = cluster.api.get("PersistentVolumeClaim", name, NAMESPACE)
    return name, claim["metadata"]["uid"], claim["spec"]["volumeName"]
