"""What the chart and the profiles make of the environments of the example."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.environments.environment import coalesce
from tests.chart.pods import COMPONENT, NODES, labels_of_pods, matches
from tests.objects import ENVIRONMENTS, of_environment, of_kind, one, walk


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_no_environment_has_a_secret_in_git(name: str) -> None:
    assert not of_kind(of_environment(name)[1], "Secret")


def test_dev_is_reached_by_load_balancers_from_known_addresses_only() -> None:
    _, made = of_environment("dev")
    for name in ("besu", "ethstats"):
        spec = one(made, "Service", f"linea-stack-{name}")["spec"]
        assert spec["type"] == "LoadBalancer"
        assert spec["loadBalancerSourceRanges"]
    assert not of_kind(made, "Ingress")


def test_dev_runs_one_pod_of_each() -> None:
    _, made = of_environment("dev")
    for kind in ("StatefulSet", "Deployment"):
        assert {m.object["spec"]["replicas"] for m in of_kind(made, kind)} == {1}


@pytest.mark.parametrize("name", ["staging", "prod"])
def test_staging_and_prod_are_reached_through_ingresses_only(name: str) -> None:
    _, made = of_environment(name)
    assert {m.name for m in of_kind(made, "Ingress")} == {
        "linea-stack-besu-rpc",
        "linea-stack-besu-ws",
    }
    assert {m.object["spec"].get("type") for m in of_kind(made, "Service")} <= {None, "ClusterIP"}


@pytest.mark.parametrize("name", ["staging", "prod"])
def test_only_a_public_besu_starts_from_the_latest_backup_and_a_drill_proves_one(name: str) -> None:
    _, made = of_environment(name)
    for node in NODES:
        spec = one(made, "StatefulSet", f"linea-stack-{node}")["spec"]["template"]["spec"]
        starting = [c["env"] for c in spec.get("initContainers", []) if c["name"] == "restore"]
        assert [{"name": "BACKUP", "value": "latest"} in env for env in starting] == (
            [True] if node == "besu" else []
        )
    drill = one(made, "CronJob", "linea-stack-restore-drill")["spec"]["jobTemplate"]["spec"]
    (container,) = drill["template"]["spec"]["containers"]
    for variable in ({"name": "BACKUP", "value": "latest"}, {"name": "IF_NONE", "value": "fail"}):
        assert variable in container["env"]
    (volume,) = [v for v in drill["template"]["spec"]["volumes"] if "ephemeral" in v]
    assert volume["name"] in [m["name"] for m in container["volumeMounts"]]


@pytest.mark.parametrize("name", ["staging", "prod"])
def test_staging_and_prod_forbid_all_connections_that_are_not_asked_for(name: str) -> None:
    _, made = of_environment(name)
    deny = one(made, "NetworkPolicy", "linea-stack-default-deny")["spec"]
    assert set(deny["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in deny
    for labels in labels_of_pods(made):
        assert matches(deny["podSelector"].get("matchLabels", {}), labels)
    guarded = {m.component for m in of_kind(made, "NetworkPolicy")}
    assert {labels[COMPONENT] for labels in labels_of_pods(made)} <= guarded


@pytest.mark.parametrize("name", ["staging", "prod"])
@pytest.mark.parametrize("node", NODES)
def test_pods_of_staging_and_prod_are_spread_over_zones(name: str, node: str) -> None:
    _, made = of_environment(name)
    spec = one(made, "StatefulSet", f"linea-stack-{node}")["spec"]["template"]["spec"]
    terms = (
        spec.get("affinity", {})
        .get("podAntiAffinity", {})
        .get("requiredDuringSchedulingIgnoredDuringExecution", [])
    )
    spread = [
        constraint
        for constraint in spec.get("topologySpreadConstraints", [])
        if constraint["whenUnsatisfiable"] == "DoNotSchedule"
    ]
    keys = {term["topologyKey"] for term in [*terms, *spread]}
    assert "topology.kubernetes.io/zone" in keys


def test_the_public_besu_of_prod_survives_the_loss_of_one_pod() -> None:
    _, made = of_environment("prod")
    assert one(made, "HorizontalPodAutoscaler", "linea-stack-besu")["spec"]["minReplicas"] >= 2


def test_staging_has_the_objects_of_prod() -> None:
    names = [{m.file_name for m in of_environment(name)[1]} for name in ("staging", "prod")]
    assert names[0] == names[1]


def test_an_overlay_says_nothing_that_its_layers_say_already() -> None:
    for name in ENVIRONMENTS:
        found, _ = of_environment(name)
        below: dict[str, Any] = found.layers[0].data
        for layer in found.layers[1:]:
            for path, value in walk(layer.data or {}):
                if isinstance(value, dict | list):
                    continue
                there: Any = below
                for part in path:
                    inside = isinstance(there, dict) and part in there
                    there = there[part] if inside else object()
                assert there != value or layer.file.startswith("base/"), (layer.file, path)
            below = coalesce(below, layer.data or {})
