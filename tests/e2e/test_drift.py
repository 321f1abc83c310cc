"""Manual changes are reverted, forbidden objects are rejected, and added objects are reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from scripts.cluster.api_client import Object
from scripts.cluster.cluster import Cluster
from scripts.cluster.git_remote import Remote
from tests.e2e import steps

DEV = "linea-dev"
BY_HAND = "made-by-hand"
FORBIDDEN = {
    "role-x": """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: x, namespace: linea-dev}
rules: []
""",
    "configmap-elsewhere": """
apiVersion: v1
kind: ConfigMap
metadata: {name: elsewhere, namespace: default}
""",
}
ALLOWED = """
apiVersion: v1
kind: ConfigMap
metadata: {name: beside-them, namespace: linea-dev}
"""
FROM_THE_COMMIT = (
    "role/x --namespace=linea-dev",
    "configmap/elsewhere --namespace=default",
    "configmap/beside-them --namespace=linea-dev",
)

Measure = Callable[[str, float], None]
Check = Callable[[dict[str, Object]], object]


# Argo CD heals an Application more slowly each time, so each test uses another one.


def test_a_deleted_service_is_restored(cluster: Cluster, measure: Measure) -> None:
    name = "linea-stack-besu"
    old = cluster.api.get("Service", name, DEV)["metadata"]["uid"]
    begun = time.monotonic()
    cluster.api.delete("Service", name, DEV)

    def is_back(there: dict[str, Object]) -> object:
        service = there.get(name)
        return (
            service
            and service["metadata"]["uid"] != old
            and steps.status(service, "loadBalancer", "ingress")
        )

    healed(cluster, "Service", DEV, is_back)
    measure("drift to healed: Service deleted", begun)
    steps.wait_synced(cluster)


def test_a_scaled_statefulset_gets_its_replicas_back(cluster: Cluster, measure: Measure) -> None:
    name, namespace = "linea-stack-sequencer", "linea-staging"
    before = steps.pods(cluster, namespace, "sequencer")
    begun = time.monotonic()
    cluster.api.patch("StatefulSet", name, {"spec": {"replicas": 3}}, namespace)

    def is_whole(there: dict[str, Object]) -> object:
        each = there[name]
        return (
            each["spec"]["replicas"] == 4
            and steps.status(each, "readyReplicas") == 4
            and steps.status(each, "observedGeneration") == each["metadata"]["generation"]
        )

    healed(cluster, "StatefulSet", namespace, is_whole)
    measure("drift to healed: StatefulSet scaled", begun)
    steps.wait_synced(cluster)
    now = steps.pods(cluster, namespace, "sequencer")
    assert len(now.keys() & before.keys()) >= 3, "more than one pod was replaced"


def test_an_edited_configmap_is_restored(cluster: Cluster, measure: Measure) -> None:
    name, namespace = "linea-stack-maru-config", "linea-prod"
    git = cluster.api.get("ConfigMap", name, namespace)["data"]
    begun = time.monotonic()
    edit = {"data": dict.fromkeys(git, "edited by hand")}
    cluster.api.patch("ConfigMap", name, edit, namespace)
    healed(cluster, "ConfigMap", namespace, lambda there: there[name]["data"] == git)
    measure("drift to healed: ConfigMap edited", begun)
    steps.wait_synced(cluster)


def test_a_forbidden_object_stops_the_commit_and_is_named(cluster: Cluster, remote: Remote) -> None:
    for name, manifest in {**FORBIDDEN, "configmap-allowed": ALLOWED}.items():
        file = remote.checkout / "overlays" / "dev" / "manifests" / f"{name}.yaml"
        file.write_text(manifest, "utf-8")
    revision = remote.push("objects that the project forbids")
    steps.refresh(cluster, [DEV])
    message = steps.wait(
        cluster, lambda there: sync_error(there[DEV], revision), "a sync that fails"
    )
    role = "resource rbac.authorization.k8s.io:Role is not permitted in project linea-dev"
    assert role in message
    assert "namespace default is not permitted in project 'linea-dev'" in message
    created = [it for it in FROM_THE_COMMIT if not cluster.plane.kubectl("get", *it.split())[0]]
    assert not created, f"created although the commit is rejected: {created}"
    steps.wait_synced(cluster, [DEV], remote.revert())


@pytest.fixture
def made_by_hand(cluster: Cluster) -> Iterator[str]:
    """Create a ConfigMap in dev's namespace, and return its uid."""
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": BY_HAND}}
    yield str(cluster.api.create("ConfigMap", body, DEV)["metadata"]["uid"])
    if cluster.api.find("ConfigMap", BY_HAND, DEV):
        cluster.api.delete("ConfigMap", BY_HAND, DEV)
    steps.refresh(cluster, [DEV])
    no_warning = f"no warning about {DEV}"
    steps.wait(cluster, lambda there: not orphans(there[DEV]), no_warning)


def test_an_object_added_by_hand_is_reported_and_stays(cluster: Cluster, made_by_hand: str) -> None:
    steps.refresh(cluster, [DEV])
    warning = steps.wait(cluster, lambda there: orphans(there[DEV]), "a warning about orphans")
    assert warning == "Application has 1 orphaned resources"
    # If anything deletes it, it is a sync.
    steps.begin_sync(cluster, DEV)
    sync_at = steps.end_of_sync(cluster, DEV)
    config_map = cluster.api.get("ConfigMap", BY_HAND, DEV)
    assert config_map["metadata"]["uid"] == made_by_hand, f"deleted by the sync at {sync_at}"


def healed(cluster: Cluster, kind: str, namespace: str, check: Check) -> None:
    """Wait until the objects of a kind pass a check."""
    what = f"{kind} of {namespace} healed"
    cluster.api.until(kind, check, what, namespace=namespace)


def sync_error(application: Object, revision: str) -> str:
    """Return the error of the sync to a revision about invalid tasks; empty if there is none."""
    state = steps.status(application, "operationState") or {}
    message = str(state.get("message"))
    is_about = (state.get("syncResult") or {}).get("revision") == revision
    return message if is_about and "are not valid" in message else ""


def orphans(application: Object) -> str:
    """Return the warning of an Application about objects in its namespace that are not in git."""
    for condition in steps.status(application, "conditions") or ():
        if condition["type"] == "OrphanedResourceWarning":
            return str(condition["message"])
    return ""
