"""What people change by hand is healed, what isn't git's to bring is refused, the rest reported."""

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


# Argo CD heals an Application ever more slowly the more often it must: so each drift has its own.


def test_a_deleted_service_comes_back(cluster: Cluster, measure: Measure) -> None:
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
    assert len(now.keys() & before.keys()) >= 3, "more pods were replaced than one"


def test_an_edited_configmap_says_what_git_says(cluster: Cluster, measure: Measure) -> None:
    name, namespace = "linea-stack-maru-config", "linea-prod"
    git = cluster.api.get("ConfigMap", name, namespace)["data"]
    begun = time.monotonic()
    edit = {"data": dict.fromkeys(git, "edited by hand")}
    cluster.api.patch("ConfigMap", name, edit, namespace)
    healed(cluster, "ConfigMap", namespace, lambda there: there[name]["data"] == git)
    measure("drift to healed: ConfigMap edited", begun)
    steps.wait_synced(cluster)


def test_what_the_project_forbids_stops_the_commit_and_is_named(
    cluster: Cluster, remote: Remote
) -> None:
    for name, manifest in {**FORBIDDEN, "configmap-allowed": ALLOWED}.items():
        file = remote.checkout / "overlays" / "dev" / "manifests" / f"{name}.yaml"
        file.write_text(manifest, "utf-8")
    revision = remote.push("what the project forbids")
    steps.refresh(cluster, [DEV])
    said = steps.wait(
        cluster, lambda there: refusal(there[DEV], revision), "a sync that is refused"
    )
    assert "resource rbac.authorization.k8s.io:Role is not permitted in project linea-dev" in said
    assert "namespace default is not permitted in project 'linea-dev'" in said
    made = [what for what in FROM_THE_COMMIT if not cluster.plane.kubectl("get", *what.split())[0]]
    assert not made, f"made of a commit that is refused: {made}"
    steps.wait_synced(cluster, [DEV], remote.revert())


@pytest.fixture
def made_by_hand(cluster: Cluster) -> Iterator[str]:
    """Make a ConfigMap in dev's namespace; return its uid."""
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": BY_HAND}}
    yield str(cluster.api.create("ConfigMap", body, DEV)["metadata"]["uid"])
    if cluster.api.find("ConfigMap", BY_HAND, DEV):
        cluster.api.delete("ConfigMap", BY_HAND, DEV)
    steps.refresh(cluster, [DEV])
    none = f"no warning of {DEV}"
    steps.wait(cluster, lambda there: not orphans(there[DEV]), none)


def test_what_people_add_is_reported_and_stays(cluster: Cluster, made_by_hand: str) -> None:
    steps.refresh(cluster, [DEV])
    said = steps.wait(cluster, lambda there: orphans(there[DEV]), "a warning of an orphan")
    assert said == "Application has 1 orphaned resources"
    # A sync is when it would be deleted.
    steps.begin_sync(cluster, DEV)
    sync_at = steps.end_of_sync(cluster, DEV)
    there = cluster.api.get("ConfigMap", BY_HAND, DEV)
    assert there["metadata"]["uid"] == made_by_hand, f"deleted by the sync at {sync_at}"


def healed(cluster: Cluster, kind: str, namespace: str, check: Check) -> None:
    """Wait until a watch of the kind shows what is right."""
    what = f"{kind} of {namespace} healed"
    cluster.api.until(kind, check, what, namespace=namespace)


def refusal(application: Object, revision: str) -> str:
    """Return what the sync to a revision says of tasks that are not valid."""
    state = steps.status(application, "operationState") or {}
    message = str(state.get("message"))
    is_of_it = (state.get("syncResult") or {}).get("revision") == revision
    return message if is_of_it and "are not valid" in message else ""


def orphans(application: Object) -> str:
    """Return what an Application says of objects in its namespace that git doesn't know."""
    for one in steps.status(application, "conditions") or ():
        if one["type"] == "OrphanedResourceWarning":
            return str(one["message"])
    return ""
