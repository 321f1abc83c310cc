"""Production keeps running while nodes are drained, a zone fails, or the load changes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import pytest

from scripts.cluster.api_client import ApiError, Object
from scripts.cluster.cluster import Cluster
from scripts.cluster.git_remote import Remote
from scripts.cluster.nodes import NODES_A_ZONE, ZONE, is_ready
from tests.e2e import steps
from tests.e2e.watching import Watching

Measure = Callable[[str, float], None]

PROD = "linea-prod"
VALIDATORS, QUORUM = 4, 3
"""QBFT needs two thirds of its validators, rounded up."""
BESU, MARU = "linea-stack-besu", "linea-stack-maru-"
HALVES = ("linea-stack-sequencer", "linea-stack-maru")
BUDGETED = (*HALVES, BESU)
"""Production's workloads with several pods and a disruption budget."""
TOO_MANY_REQUESTS = 429
DRAIN_S = 3600.0
"""Time-out of a drain, which waits for the new pods."""

AT_ONCE = {
    "stabilizationWindowSeconds": 0,
    "policies": [{"type": "Pods", "value": 4, "periodSeconds": 1}],
}
SCALED = {
    "besu": {
        "autoscaling": {
            "enabled": True,
            "minReplicas": 1,
            "maxReplicas": 3,
            "behavior": {"scaleUp": AT_ONCE, "scaleDown": AT_ONCE},
        }
    }
}


def whole_validators(pods: dict[str, Object]) -> set[int]:
    """Return the numbers of the validators whose Besu and Maru are both ready."""
    ready = {name for name, pod in pods.items() if steps.is_ready(pod)}
    marus = {int(name.removeprefix(MARU)) for name in ready if name.startswith(MARU)}
    return {number for number in marus if f"linea-stack-sequencer-{number}" in ready}


def no_quorum_or_no_rpc(pods: dict[str, Object], quorum: int = QUORUM) -> str | None:
    whole = whole_validators(pods)
    if len(whole) < quorum:
        return f"only the validators {sorted(whole)} were ready"
    if not any(name.startswith(f"{BESU}-") and steps.is_ready(pod) for name, pod in pods.items()):
        return "no pod answered JSON-RPC"
    return None


@pytest.fixture
def pods(cluster: Cluster) -> Iterator[Counter[str]]:
    """Return the pods with their zones, by namespace/name; at the end, wait until all are back."""
    zones = zones_of(cluster)
    ready = cluster.api.until("Pod", all_ready, "ready pods")
    before = placed(ready.values(), zones)
    yield before
    wait_for(cluster, before)
    steps.wait_synced(cluster)


def all_ready(current: dict[str, Object]) -> dict[str, Object] | None:
    """Return all pods except those of Jobs, if all are ready."""
    pods = {name: pod for name, pod in current.items() if not steps.is_of_a_job(pod)}
    return pods if all(map(steps.is_ready, pods.values())) else None


def zones_of(cluster: Cluster) -> dict[str, str]:
    """Return node → zone."""
    return {each["metadata"]["name"]: each["metadata"]["labels"][ZONE] for each in nodes(cluster)}


def placed(pods: Iterable[Object], zones: dict[str, str]) -> Counter[str]:
    """Return pod, with its zone → number of ready pods."""
    running = (pod for pod in pods if not steps.is_of_a_job(pod) and steps.is_ready(pod))
    return Counter(f"{stable_name(pod)} {zone_of(pod, zones)}" for pod in running)


def zone_of(pod: Object, zones: dict[str, str]) -> str:
    """Return the zone of a pod with a volume; other pods may move to any zone."""
    volumes = pod["spec"].get("volumes", ())
    bound = any("persistentVolumeClaim" in each for each in volumes)
    return zones[pod["spec"]["nodeName"]] if bound else "anywhere"


def stable_name(pod: Object) -> str:
    """Return a name that a pod shares with its replacement."""
    metadata, owner = pod["metadata"], steps.owner(pod)
    name = metadata["name"] if owner.get("kind") == "StatefulSet" else owner.get("name", "")
    return f"{metadata['namespace']}/{name}"


def nodes(cluster: Cluster) -> list[Object]:
    return cluster.api.objects("Node")


def wait_for(cluster: Cluster, wanted: Counter[str]) -> None:
    """Wait until all nodes accept pods, and all pods are ready in the zones of their volumes."""
    cluster.api.until("Node", lambda there: all(map(is_ready, there.values())), "ready nodes")
    zones = zones_of(cluster)
    cluster.api.until(
        "Pod",
        lambda there: placed(there.values(), zones) == wanted,
        "all pods as before",
    )


def test_draining_each_node_in_turn_keeps_quorum_and_json_rpc(
    cluster: Cluster, pods: Counter[str], measure: Measure
) -> None:
    begun, drained = time.monotonic(), 0
    with Watching(cluster, "Pod", PROD, no_quorum_or_no_rpc) as watching:
        for node in nodes(cluster):
            name = node["metadata"]["name"]
            try:
                drain = ("drain", name, "--delete-emptydir-data")
                code, _, errors = cluster.plane.kubectl(*drain, timeout_s=DRAIN_S)
            finally:
                cluster.plane.kubectl("uncordon", name)
            assert code == 0, errors
            wait_for(cluster, pods)
            drained += 1
    assert drained == NODES_A_ZONE * len(cluster.zones)
    assert watching.states > VALIDATORS, "no pod changed"
    measure(f"{drained} nodes drained, one at a time", begun)


@pytest.mark.usefixtures("pods")
def test_no_second_pod_is_evicted_while_one_is_down(cluster: Cluster) -> None:
    wait_for_budgets(cluster)
    with steps.cordoned(cluster), Watching(cluster, "Pod", PROD, no_quorum_or_no_rpc):
        for workload in BUDGETED:
            evict(cluster, f"{workload}-0")
            with pytest.raises(ApiError, match="violate the pod's disruption budget") as error:
                evict(cluster, f"{workload}-1")
            assert error.value.status == TOO_MANY_REQUESTS


@pytest.mark.usefixtures("pods")
def test_a_second_drain_waits_until_the_validator_of_the_first_is_whole_again(
    cluster: Cluster,
) -> None:
    """The nodes are those of a sequencer and of another validator's Maru.

    If both were alone there, no budget would hold up the second drain, and two would be incomplete.
    """
    wait_for_budgets(cluster)
    first, second = (validators_beside(cluster, f"{name}-{n}") for n, name in enumerate(HALVES))
    assert not first & second
    with steps.cordoned(cluster), Watching(cluster, "Pod", PROD, no_quorum_or_no_rpc):
        for pod in sorted(first):
            evict(cluster, pod)
        for pod in sorted(second):
            with pytest.raises(ApiError, match="violate the pod's disruption budget"):
                evict(cluster, pod)


def validators_beside(cluster: Cluster, name: str) -> set[str]:
    """Return the names of the validators' pods on the node of one of them."""
    nodes = {
        it["metadata"]["name"]: it["spec"]["nodeName"] for it in cluster.api.objects("Pod", PROD)
    }
    return {it for it in nodes if it.startswith(HALVES) and nodes[it] == nodes[name]}


def wait_for_budgets(cluster: Cluster) -> None:
    cluster.api.until(
        "PodDisruptionBudget",
        lambda there: all(allows_one(there[workload]) for workload in BUDGETED),
        "budgets that allow an eviction",
        namespace=PROD,
    )


def allows_one(budget: Object) -> bool:
    """Return whether a budget is up to date and allows an eviction."""
    is_current = steps.status(budget, "observedGeneration") == budget["metadata"]["generation"]
    return is_current and bool(steps.status(budget, "disruptionsAllowed"))


def evict(cluster: Cluster, pod: str) -> None:
    """Evict one of production's pods, as a drain does. Raises ApiError."""
    metadata = {"name": pod, "namespace": PROD}
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    cluster.api.create("Pod", body, PROD, "eviction")


def test_the_failure_of_a_zone_keeps_quorum_and_json_rpc(
    cluster: Cluster, pods: Counter[str], measure: Measure
) -> None:
    zones = zones_of(cluster)
    lost, elsewhere = zone_to_lose(cluster, zones)
    begun = time.monotonic()
    try:
        with Watching(cluster, "Pod", PROD, no_quorum_or_no_rpc):
            cluster.nodes.lose(lost)
            cluster.api.until("Node", lambda there: is_lost(there, lost), "loss")
            whole = cluster.api.until("Pod", three_validators, "three validators", namespace=PROD)
            measure("failure of a zone to its validator not ready", begun)
            assert len(whole) == QUORUM
    finally:
        begun = time.monotonic()
        cluster.nodes.bring_back(lost)
    cluster.api.until(
        "Pod",
        lambda there: len(whole_validators(there)) == VALIDATORS,
        "four validators",
        namespace=PROD,
    )
    measure("end of the failure to four validators", begun)
    current = {pod["metadata"]["uid"] for pod in cluster.api.objects("Pod")}
    replaced = sorted(name for name, uid in elsewhere.items() if uid not in current)
    assert not replaced, f"pods of other zones were replaced: {replaced}"


def zone_to_lose(cluster: Cluster, zones: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Return the zone with most of production's pods, and the pods of all environments elsewhere.

    The latter as namespace/name → uid.
    """
    pods = [pod for pod in cluster.api.objects("Pod") if not steps.is_of_a_job(pod)]
    own = Counter(
        zones[pod["spec"]["nodeName"]] for pod in pods if pod["metadata"]["namespace"] == PROD
    )
    lost = max(own, key=lambda zone: own[zone])
    elsewhere = (pod["metadata"] for pod in pods if zones[pod["spec"]["nodeName"]] != lost)
    return lost, {f"{each['namespace']}/{each['name']}": each["uid"] for each in elsewhere}


def is_lost(there: dict[str, Object], zone: str) -> bool:
    return not any(
        is_ready(node) for node in there.values() if node["metadata"]["labels"][ZONE] == zone
    )


def three_validators(there: dict[str, Object]) -> set[int] | None:
    whole = whole_validators(there)
    return whole if len(whole) < VALIDATORS else None


def test_an_autoscaler_scales_up_and_down_and_argo_cd_ignores_it(
    cluster: Cluster, remote: Remote, measure: Measure
) -> None:
    application, space, load = steps.application("dev"), "linea-dev", cluster.stand_ins.load
    steps.change(remote, "dev", SCALED)
    steps.wait_synced(cluster, [application], remote.push("scale Besu"))

    def drift(there: dict[str, Object]) -> str | None:
        return is_out_of_sync(there[application])

    def has(replicas: int) -> Callable[[dict[str, Object]], bool]:
        return lambda there: has_ready(there[BESU], replicas)

    try:
        with Watching(cluster, "Application", "argocd", drift):
            for share, replicas in ((2.0, 3), (0.1, 1)):
                begun = time.monotonic()
                load[f"{space}/{BESU}"] = share
                cluster.api.until(
                    "StatefulSet",
                    has(replicas),
                    f"{replicas} pods of {BESU}",
                    namespace=space,
                )
                steps.refresh(cluster, [application])
                steps.wait_synced(cluster, [application], remote.revision())
                measure(f"autoscaler: {replicas} pods after the load changed", begun)
    finally:
        load.clear()


def has_ready(workload: Object, replicas: int) -> bool:
    wanted: int = workload["spec"]["replicas"]
    counts = [steps.status(workload, name) for name in ("replicas", "readyReplicas")]
    return wanted == replicas and counts == [replicas, replicas]


def is_out_of_sync(application: Object) -> str | None:
    if steps.status(application, "sync", "status") == "OutOfSync":
        return f"Argo CD saw drift while the autoscaler scaled: {steps.resources(application)}"
    return None
