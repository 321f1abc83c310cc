"""A merge reaches the cluster, prunes removed objects, and can be reverted if it breaks."""

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
from tests.e2e.conftest import POLL_S

NAMESPACE, DEV = "linea-dev", "linea-dev"
ETHSTATS, BESU, SEQUENCER = "linea-stack-ethstats", "linea-stack-besu", "linea-stack-sequencer"
APPROVED = "argocd.argoproj.io/deletion-approved"

Measure = Callable[[str, float], None]


def test_a_merge_applies_images_and_configs_and_prunes_removed_objects(
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
    measure("commit to Synced, with a webhook", begun)
    assert images(cluster, "ethstats") == ["ethereumex/eth-stats-dashboard:v0.0.2"]
    assert_restarted_with_its_config(cluster, before)
    assert not cluster.api.find("PodDisruptionBudget", "linea-stack-maru", NAMESPACE)

    revision, begun = remote.revert(), time.monotonic()
    synced = f"{DEV} synced to {revision} without a webhook"
    steps.wait(cluster, lambda there: steps.is_synced(there[DEV], revision), synced)
    measure(f"commit to Synced, with polling every {POLL_S} s", begun)
    assert images(cluster, "ethstats") == ["ethereumex/eth-stats-dashboard:v0.0.1"]
    assert cluster.api.find("PodDisruptionBudget", "linea-stack-maru", NAMESPACE)


def assert_restarted_with_its_config(cluster: Cluster, before: dict[str, Object]) -> None:
    """Assert that Besu's ConfigMap is the changed one, and that all pods are new."""
    config = cluster.api.get("ConfigMap", f"{BESU}-config", NAMESPACE)
    assert "Changed by a test." in config["data"]["config.toml"]
    after = steps.pods(cluster, NAMESPACE, "besu")
    assert len(after) == len(before)
    assert not after.keys() & before.keys(), "a pod still runs with the old configuration"


def test_a_missing_image_interrupts_nothing_and_a_revert_repairs_it(
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
        "a pod with ImagePullBackOff",
        namespace=NAMESPACE,
    )
    assert_all_ready(cluster, "ethstats", old)

    revert = remote.revert()
    steps.refresh(cluster, [DEV])
    seen = f"{DEV} has seen the revert"
    steps.wait(cluster, lambda there: steps.at(there[DEV]) == revert, seen)
    where_it_stands, end_the_waiting_sync = steps.documented("When a sync waits", "dev")
    # Only a person can end the wait: Argo CD sees the revert, but does not sync it.
    assert steps.run(cluster, where_it_stands).split("\n")[:2] == [broken, waits]
    begun = time.monotonic()
    steps.run(cluster, end_the_waiting_sync)
    steps.wait_synced(cluster, [DEV], revert)
    measure("waiting sync terminated to revert Synced", begun)
    assert_all_ready(cluster, "ethstats", old)


def test_an_immutable_field_is_reported_before_the_merge_and_changes_nothing_after_it(
    cluster: Cluster, remote: Remote
) -> None:
    checkout = Repository(remote.checkout)
    values = {
        "sequencer": {"persistence": {"size": "20Gi"}},
        "ethstats": {"image": {"tag": "v0.0.2"}},
    }
    steps.change(remote, "dev", values)
    done = checkout.run("validate", "dev", "--against", "HEAD")
    assert done.code == 1
    (error,) = (line for line in done.out.splitlines() if " error " in line)
    assert error.startswith("overlays/dev/values.yaml:"), done.out
    assert f"volume-claim-template-changed  StatefulSet/{SEQUENCER} in dev" in error

    old = {part: steps.pods(cluster, NAMESPACE, part) for part in ("sequencer", "ethstats")}
    rejected = remote.push("a larger claim, merged all the same")
    steps.refresh(cluster, [DEV])
    message = steps.wait(
        cluster, lambda there: comparison_error(there[DEV], rejected), "the API server's error"
    )
    assert f'StatefulSet.apps "{SEQUENCER}" is invalid' in message
    assert "Forbidden: updates to statefulset spec for fields other than" in message
    for part, pods in old.items():
        assert_all_ready(cluster, part, pods)
    steps.wait_synced(cluster, [DEV], remote.revert())


@pytest.fixture
def approvals(cluster: Cluster) -> Iterator[None]:
    """Remove the approval at the end; an old one approves nothing, but would be a difference."""
    yield
    body = {"metadata": {"annotations": {APPROVED: None}}}
    cluster.api.patch("Application", DEV, body, argocd.NAMESPACE)


@pytest.mark.usefixtures("approvals")
def test_an_object_with_data_is_pruned_after_confirmation_and_restored_with_its_volume(
    cluster: Cluster, remote: Remote
) -> None:
    claim = the_claim(cluster)
    pods = steps.pods(cluster, NAMESPACE, "besu")
    to_sequencer = {"rpc": {"service": "sequencer"}}
    steps.change(remote, "dev", {"besu": {"enabled": False}, "txSender": to_sequencer})
    revision = remote.push("no Besu")
    steps.refresh(cluster, [DEV])
    waits = f"waiting for pruning confirmation of apps/StatefulSet/{BESU}"
    steps.wait(cluster, lambda there: steps.is_waiting(there[DEV], revision, waits), waits)
    assert_all_ready(cluster, "besu", pods)
    assert cluster.api.find("Service", BESU, NAMESPACE), "pruned before the confirmation"

    (confirm,) = steps.documented("Confirming a prune", "dev")
    steps.run(cluster, confirm)
    steps.wait_synced(cluster, [DEV], revision)
    rest = [kind for kind in ("StatefulSet", "Service") if cluster.api.find(kind, BESU, NAMESPACE)]
    assert not rest, f"not pruned: {rest}"
    assert the_claim(cluster) == claim

    steps.wait_synced(cluster, [DEV], remote.revert())
    (pod,) = steps.pods(cluster, NAMESPACE, "besu").values()
    claims = [volume["persistentVolumeClaim"]["claimName"] for volume in volumes(pod)]
    assert claims == [claim[0]]
    assert the_claim(cluster) == claim


def images(cluster: Cluster, component: str) -> list[str]:
    """Return the images that a component's pods run, without duplicates."""
    pods = steps.pods(cluster, NAMESPACE, component).values()
    return sorted({it["image"] for pod in pods for it in pod["spec"]["containers"]})


def assert_all_ready(cluster: Cluster, component: str, pods: dict[str, Object]) -> None:
    """Assert that the same pods still exist and are ready."""
    current = steps.pods(cluster, NAMESPACE, component)
    assert pods, f"{component} had no pods"
    assert pods.keys() <= current.keys(), f"pods of {component} were replaced"
    assert all(steps.is_ready(current[uid]) for uid in pods), f"pods of {component} are not ready"


def reason(pod: Object) -> str:
    """Return why the first container of a pod waits."""
    for container in steps.status(pod, "containerStatuses") or ():
        return str(container["state"].get("waiting", {}).get("reason", ""))
    return ""


def health(application: Object) -> str:
    """Return an Application's health."""
    return str(steps.status(application, "health", "status"))


def comparison_error(application: Object, revision: str) -> str:
    """Return why Argo CD cannot compare an Application with a revision."""
    for condition in steps.status(application, "conditions") or ():
        if condition["type"] == "ComparisonError" and steps.at(application) == revision:
            assert steps.status(application, "sync", "status") == "Unknown"
            return str(condition["message"])
    return ""


def volumes(pod: Object) -> list[Object]:
    """Return a pod's volumes that are claims."""
    return [volume for volume in pod["spec"]["volumes"] if "persistentVolumeClaim" in volume]


def the_claim(cluster: Cluster) -> tuple[str, str, str]:
    """Return the name, uid and volume of the claim of dev's Besu."""
    name = f"data-{BESU}-0"
    claim = cluster.api.get("PersistentVolumeClaim", name, NAMESPACE)
    return name, claim["metadata"]["uid"], claim["spec"]["volumeName"]
