"""What an environment takes at its largest, and that its quota and bounds let it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from scripts.environments.environment import merge
from scripts.kubernetes import resource_usage
from scripts.kubernetes.manifest import Manifest
from scripts.rules.catalogue import RULES
from tests import objects

GIB = 1024**3


def taken(manifests: list[Manifest], resource: str) -> dict[str, Decimal]:
    """Return what each object takes of a resource, its claims together."""
    found: dict[str, Decimal] = {}
    for share in resource_usage.count(manifests).shares:
        if share.resource == resource:
            name = share.label.rpartition("-")[2]
            found[name] = found.get(name, Decimal(0)) + share.total
    return found


BACKUP = {"enabled": True, "storage": {"bucket": "b", "region": "r"}}


def test_what_runs_is_counted_at_its_largest() -> None:
    values: dict[str, Any] = {
        "besu": {"autoscaling": {"minReplicas": 2, "maxReplicas": 5}},
        "backup": BACKUP,
    }
    manifests = objects.of(values)
    assert taken(manifests, "pods") == {
        "besu": 5,
        "maru": 1,
        "sequencer": 1,
        "ethstats": 2,  # in the middle of a rollout
        "sender": 1,  # Recreate
        "backup": 1,
    }
    assert taken(manifests, "requests.cpu")["besu"] == 5 * (1 + Decimal("0.25"))
    assert taken(manifests, "limits.memory")["besu"] == 5 * 5 * GIB
    assert taken(manifests, "requests.memory")["ethstats"] == 2 * GIB // 4
    assert taken(manifests, "persistentvolumeclaims") == {
        "besu": 5,
        "maru": 1,
        "sequencer": 1,
        "backup": 3,
    }
    assert taken(manifests, "requests.storage")["backup"] == 3 * 50 * GIB


def test_pods_of_backups_that_are_done_keep_their_clones_until_they_are_removed() -> None:
    values: dict[str, Any] = {"backup": BACKUP}
    assert taken(objects.of(values), "count/pods")["backup"] == 3
    # Six hours between two is time for one to end and be removed; two hours less is not.
    values["backup"] = BACKUP | {"schedule": "0 */4 * * *"}
    assert taken(objects.of(values), "count/jobs.batch")["backup"] == 2
    assert taken(objects.of(values), "requests.storage")["backup"] == 6 * 50 * GIB
    # To the second: a late begin, the time it has, the end of its pod, and the half hour after it.
    for seconds, jobs in ((21600 - 1200 - 30 - 1800 - 1, 1), (21600 - 1200 - 30 - 1800, 2)):
        values["backup"] = BACKUP | {"timeoutSeconds": seconds}
        assert taken(objects.of(values), "count/jobs.batch")["backup"] == jobs
    values["backup"] = BACKUP | {"schedule": "0 */4 * * *"}
    # A volume of one's own is not cloned.
    values["backup"] |= {"source": {"existingClaim": "mine"}}
    assert "backup" not in taken(objects.of(values), "requests.storage")


@pytest.mark.parametrize(
    ("strategy", "pods"),
    [
        ({"type": "Recreate"}, 4),
        ({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 0}}, 6),
        ({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "30%", "maxUnavailable": 0}}, 6),
        ({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "30%"}}, 5),
        ({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "1%"}}, 5),
        (None, 6),
    ],
)
def test_a_rollout_has_pods_beside_its_replicas(strategy: dict[str, Any] | None, pods: int) -> None:
    spec: dict[str, Any] = {
        "replicas": 4,
        "strategy": strategy,
        "template": {"spec": {"containers": []}},
    }
    made = Manifest({"kind": "Deployment", "metadata": {"name": "x"}, "spec": spec}, "test")
    assert taken([made], "pods") == {"Deployment/x": pods}


def container(cpu: str, **more: Any) -> dict[str, Any]:
    return {"name": "c", "resources": {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}} | more


@pytest.mark.parametrize(
    ("first", "main", "cpu"),
    [
        ([], ["1", "2"], "3"),
        (["4", "5"], ["1", "2"], "5"),
        (["+1", "4"], ["1", "2"], "5"),
        (["4", "+1"], ["1", "2"], "4"),
        (["+3", "+3"], ["1"], "7"),
    ],
)
def test_a_pod_counts_as_the_most_of_what_runs_at_once(
    first: list[str], main: list[str], cpu: str
) -> None:
    inits = [
        container(c.removeprefix("+"), **({"restartPolicy": "Always"} if c[0] == "+" else {}))
        for c in first
    ]
    spec: dict[str, Any] = {"initContainers": inits, "containers": [container(c) for c in main]}
    made = Manifest({"kind": "Pod", "metadata": {"name": "x"}, "spec": spec}, "test")
    assert taken([made], "requests.cpu") == {"Pod/x": Decimal(cpu)}
    spec["overhead"] = {"cpu": "250m"}
    assert taken([made], "limits.cpu") == {"Pod/x": Decimal(cpu) + Decimal("0.25")}


@pytest.mark.parametrize(
    ("spec", "balancers", "ports"),
    [
        ({"type": "ClusterIP"}, 0, 0),
        ({"type": "NodePort"}, 0, 2),
        ({"type": "LoadBalancer"}, 1, 2),
        ({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False}, 1, 0),
    ],
)
def test_services_take_load_balancers_and_node_ports(
    spec: dict[str, Any], balancers: int, ports: int
) -> None:
    spec = spec | {"ports": [{"port": 1}, {"port": 2}]}
    made = [Manifest({"kind": "Service", "metadata": {"name": "x"}, "spec": spec}, "test")]
    assert sum(taken(made, "services.loadbalancers").values()) == balancers
    assert sum(taken(made, "services.nodeports").values()) == ports
    assert sum(taken(made, "services").values()) == 1


def environment(**values: Any) -> list[Manifest]:
    """Return the chart's objects with a quota and bounds that fit, changed by the values."""
    return objects.of(merge({"zones": ["a", "b", "c", "d"]}, values))


ABOUT_BOUNDS = (
    "quota-too-small",
    "missing-request-for-quota",
    "request-above-limit",
    "outside-limit-range",
)


def told(manifests: list[Manifest]) -> list[tuple[str, str, str]]:
    """Return what the rules about quotas, bounds and limits tell."""
    seen = objects.seen(manifests)
    return [
        (rule, problem.manifest.label, problem.message)
        for rule in ABOUT_BOUNDS
        for _, problem in RULES[rule].check([seen])
    ]


def quota(**hard: Any) -> dict[str, Any]:
    return {"enabled": True, "hard": {name.replace("_", "."): v for name, v in hard.items()}}


def bounds(*limits: dict[str, Any]) -> dict[str, Any]:
    return {"enabled": True, "limits": list(limits)}


def test_every_resource_that_production_takes_is_bounded() -> None:
    _, manifests = objects.of_environment("prod")
    hard = objects.one(manifests, "ResourceQuota", "linea-stack")["spec"]["hard"]
    used = {share.resource for share in resource_usage.count(manifests).shares}
    # Of claims, all together are.
    assert not [name for name in used - hard.keys() if "storageclass" not in name]


def test_dev_has_no_quota() -> None:
    _, manifests = objects.of_environment("dev")
    assert not {"ResourceQuota", "LimitRange"} & {m.kind for m in manifests}


@pytest.mark.parametrize(
    ("hard", "message"),
    [
        ({"pods": 7}, "needs 8 (3 by StatefulSet/linea-stack-besu, 2 by Deployment/linea-stack-"),
        ({"requests_cpu": "5500m"}, "needs 5.5"),
        ({"cpu": "5400m"}, "the quota of cpu is 5.4, but the environment at its largest needs 5.5"),
        ({"services_loadbalancers": 1}, "needs 2 (1 by Service/linea-stack-besu, 1 by Service"),
        ({"persistentvolumeclaims": 4}, "needs 5 (3 by StatefulSet/linea-stack-besu"),
        ({"requests_storage": "219Gi"}, "needs 220Gi (3 × 50Gi by StatefulSet/linea-stack-besu"),
    ],
)
def test_a_quota_below_what_is_taken_is_told(hard: dict[str, Any], message: str) -> None:
    found = told(environment(resourceQuota=quota(**hard)))
    enough = message == "needs 5.5"
    assert [rule for rule, _, _ in found] == ([] if enough else ["quota-too-small"])
    assert enough or message in found[0][2]


def test_a_quota_of_a_class_counts_the_claims_of_that_class() -> None:
    fast = {"storageClassName": "fast", "size": "70Gi"}
    name = "fast.storageclass.storage.k8s.io/requests.storage"
    wanted = {"maru": {"persistence": fast}, "resourceQuota": {"enabled": True, "hard": {}}}
    assert not told(environment(**merge(wanted, {"resourceQuota": {"hard": {name: "70Gi"}}})))
    (found,) = told(environment(**merge(wanted, {"resourceQuota": {"hard": {name: "69Gi"}}})))
    assert "needs 70Gi (70Gi by StatefulSet/linea-stack-maru" in found[2]


def test_a_container_that_does_not_say_what_a_quota_demands_is_refused() -> None:
    bare = {"ethstats": {"resources": {"limits": None}}, "besu": {"resources": {"limits": None}}}
    wanted = bare | {"resourceQuota": quota(limits_memory="99Gi")}
    assert [label for _, label, _ in told(environment(**wanted))] == [
        "StatefulSet/linea-stack-besu",
        "Deployment/linea-stack-ethstats",
    ]
    # A default helps, and so does a max, which is a default; a quota of storage demands nothing.
    for field in ("default", "max"):
        given = bounds({"type": "Container", field: {"memory": "8Gi"}})
        assert not told(environment(**wanted, limitRange=given))
    assert not told(environment(**bare, resourceQuota=quota(limits_ephemeral_storage="99Gi")))
    # A limit is a request, too.
    none = {"ethstats": {"resources": {"requests": None}}}
    assert not told(environment(**none, resourceQuota=quota(requests_memory="99Gi")))


def test_defaults_are_counted() -> None:
    wanted = {
        "ethstats": {"resources": {"limits": None, "requests": None}},
        "limitRange": bounds(
            {"type": "Container", "default": {"cpu": "3"}, "defaultRequest": {"cpu": "700m"}}
        ),
    }
    manifests = environment(**wanted)
    assert taken(manifests, "limits.cpu")["ethstats"] == 6
    assert taken(manifests, "requests.cpu")["ethstats"] == Decimal("1.4")


@pytest.mark.parametrize(
    ("limit", "labels"),
    [
        ({"type": "Container", "max": {"memory": "4Gi"}}, []),
        ({"type": "Container", "max": {"memory": "4095Mi"}}, ["besu", "sequencer"]),
        ({"type": "Container", "min": {"cpu": "60m"}}, ["besu", "sender"]),
        ({"type": "Pod", "max": {"memory": "4Gi"}}, ["besu"]),
        ({"type": "PersistentVolumeClaim", "max": {"storage": "49Gi"}}, ["besu", "sequencer"]),
        ({"type": "PersistentVolumeClaim", "min": {"storage": "21Gi"}}, ["maru"]),
    ],
)
def test_what_is_outside_a_limit_range_is_told(limit: dict[str, Any], labels: list[str]) -> None:
    found = told(environment(limitRange=bounds(limit)))
    assert {rule for rule, _, _ in found} <= {"outside-limit-range"}
    assert [label.rpartition("-")[2] for _, label, _ in found] == labels


def test_a_pod_needs_what_a_bound_of_pods_is_about() -> None:
    limit = {"type": "Pod", "max": {"cpu": "8"}}
    given = {"ethstats": {"resources": {"limits": None}}, "limitRange": bounds(limit)}
    (found,) = told(environment(**given))
    assert found[1] == "Deployment/linea-stack-ethstats"
    assert found[2] == (
        "no container of the pod has limits.cpu, and LimitRange/linea-stack has a max of cpu per "
        "pod: the API server rejects the pod"
    )


def test_a_request_above_its_limit_is_told() -> None:
    given = {"maru": {"resources": {"requests": {"memory": "3Gi"}}}}
    (found,) = told(environment(**given))
    assert found[:2] == ("request-above-limit", "StatefulSet/linea-stack-maru")
    assert found[2] == (
        "the container maru requests 3Gi of memory, above its limit of 2Gi: the API server rejects "
        "the object, so the sync fails"
    )


def test_a_quota_of_some_pods_is_left_alone() -> None:
    manifests = environment(resourceQuota=quota(pods=1))
    assert told(manifests)
    for manifest in manifests:
        if manifest.kind == "ResourceQuota":
            manifest.object["spec"]["scopes"] = ["Terminating"]
    assert not told(manifests)
