"""The chart's contract with its users: components, ports, names, and what the defaults make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.core.yamlio import load
from scripts.environments import layout
from scripts.environments.environment import coalesce
from scripts.kubernetes.manifest import Manifest
from scripts.rendering import helm
from tests.chart.pods import NODES, ports
from tests.conftest import ROOT
from tests.objects import CHART, FULL, containers, of, of_kind, of_values, one, pods, references


@pytest.fixture(scope="module")
def defaults() -> list[Manifest]:
    return of({})


@pytest.fixture(scope="module")
def full() -> list[Manifest]:
    return of_values(FULL)


def container(manifests: list[Manifest], kind: str, name: str) -> dict[str, Any]:
    """Return the first container of a workload."""
    return dict(one(manifests, kind, name)["spec"]["template"]["spec"]["containers"][0])


def variables(container: dict[str, Any]) -> dict[str, Any]:
    return {variable["name"]: variable.get("value") for variable in container["env"]}


def test_the_chain_s_nodes_are_statefulsets_and_the_rest_deployments(
    defaults: list[Manifest],
) -> None:
    assert {m.name for m in of_kind(defaults, "StatefulSet")} == {
        f"linea-stack-{name}" for name in NODES
    }
    assert {m.name for m in of_kind(defaults, "Deployment")} == {
        "linea-stack-ethstats",
        "linea-stack-tx-sender",
    }


@pytest.mark.parametrize("name", NODES)
def test_a_node_keeps_its_data_on_a_volume(defaults: list[Manifest], name: str) -> None:
    found = one(defaults, "StatefulSet", f"linea-stack-{name}")
    (claim,) = found["spec"]["volumeClaimTemplates"]
    mounts = container(defaults, "StatefulSet", f"linea-stack-{name}")["volumeMounts"]
    assert claim["metadata"]["name"] in {mount["name"] for mount in mounts}
    assert claim["spec"]["resources"]["requests"]["storage"]


@pytest.mark.parametrize("name", NODES)
def test_a_node_tells_its_metrics_on_9545(defaults: list[Manifest], name: str) -> None:
    assert ports(container(defaults, "StatefulSet", f"linea-stack-{name}"))["metrics"] == 9545


@pytest.mark.parametrize("name", ["sequencer", "besu"])
@pytest.mark.parametrize("probe", ["livenessProbe", "readinessProbe"])
def test_sequencer_and_besu_can_be_probed_by_http_on_their_metrics(name: str, probe: str) -> None:
    contract = of_values(CHART / "ci" / "contract-probes-values.yaml")
    found = container(contract, "StatefulSet", f"linea-stack-{name}")
    get = found[probe]["httpGet"]
    assert get["path"] == "/metrics"
    assert ports(found).get(get["port"], get["port"]) == 9545


@pytest.mark.parametrize("name", ["sequencer", "besu"])
@pytest.mark.parametrize("probe", ["startupProbe", "livenessProbe"])
def test_no_client_can_get_a_besu_restarted(
    defaults: list[Manifest], name: str, probe: str
) -> None:
    """Besu closes connections above its limit, so who holds them all starves a probe on 8545."""
    found = container(defaults, "StatefulSet", f"linea-stack-{name}")
    assert found[probe]["httpGet"] == {"path": "/metrics", "port": "metrics"}


@pytest.mark.parametrize("probe", ["livenessProbe", "readinessProbe"])
def test_maru_can_be_probed_by_tcp_on_8080(probe: str) -> None:
    contract = of_values(CHART / "ci" / "contract-probes-values.yaml")
    found = container(contract, "StatefulSet", "linea-stack-maru")
    port = found[probe]["tcpSocket"]["port"]
    assert ports(found).get(port, port) == 8080


def test_besu_is_reached_from_outside_on_8545_and_8546(defaults: list[Manifest]) -> None:
    spec = one(defaults, "Service", "linea-stack-besu")["spec"]
    assert spec["type"] == "LoadBalancer"
    assert {port["name"]: port["port"] for port in spec["ports"]} == {"rpc": 8545, "ws": 8546}


@pytest.mark.parametrize(
    ("service", "affinity"),
    [
        ({}, None),
        ({"type": "ClusterIP"}, "ClientIP"),
        ({"type": "NodePort"}, "ClientIP"),
        ({"type": "ClusterIP", "sessionAffinity": "None"}, None),
        ({"type": "LoadBalancer", "sessionAffinity": "ClientIP"}, "ClientIP"),
    ],
)
def test_a_client_stays_with_one_pod_of_besu_where_it_can(
    service: dict[str, str], affinity: str | None
) -> None:
    made = one(of({"besu": {"service": service}}), "Service", "linea-stack-besu")
    assert made["spec"].get("sessionAffinity") == affinity


def test_ethstats_is_reached_from_outside(defaults: list[Manifest]) -> None:
    assert one(defaults, "Service", "linea-stack-ethstats")["spec"]["type"] == "LoadBalancer"


def test_nodes_with_keys_are_not_reached_from_outside(full: list[Manifest]) -> None:
    for service in of_kind(full, "Service"):
        if service.component in ("sequencer", "maru"):
            assert service.object["spec"].get("type", "ClusterIP") == "ClusterIP"


def test_besu_scales_from_1_to_3_at_70_percent_of_cpu_and_memory(defaults: list[Manifest]) -> None:
    spec = one(defaults, "HorizontalPodAutoscaler", "linea-stack-besu")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 3)
    metrics = {
        metric["resource"]["name"]: metric["resource"]["target"]["averageUtilization"]
        for metric in spec["metrics"]
    }
    assert metrics == {"cpu": 70, "memory": 70}


@pytest.mark.parametrize(
    ("version", "api"), [("1.19", "autoscaling/v2beta2"), ("1.23", "autoscaling/v2")]
)
def test_the_apis_are_those_of_the_cluster_s_version(version: str, api: str) -> None:
    made = of({}, version)
    assert one(made, "HorizontalPodAutoscaler", "linea-stack-besu")["apiVersion"] == api


@pytest.mark.parametrize("name", ["sequencer", "maru"])
def test_the_key_of_a_node_is_read_from_the_secret_of_the_contract(
    defaults: list[Manifest], name: str
) -> None:
    template = one(defaults, "StatefulSet", f"linea-stack-{name}")["spec"]["template"]
    assert ("Secret", f"linea-stack-{name}-p2p-key") in set(references(template))


@pytest.mark.parametrize("name", ["sequencer", "maru"])
def test_the_key_of_a_node_may_be_in_a_secret_of_another_name(name: str) -> None:
    made = of({name: {"p2pKeySecretName": "my-key"}})
    template = one(made, "StatefulSet", f"linea-stack-{name}")["spec"]["template"]
    found = {secret for kind, secret in references(template) if kind == "Secret"}
    assert "my-key" in found
    assert f"linea-stack-{name}-p2p-key" not in found


def test_the_tx_sender_sends_10_wei_every_second_to_besu(defaults: list[Manifest]) -> None:
    found = variables(container(defaults, "Deployment", "linea-stack-tx-sender"))
    assert (found["INTERVAL_SECONDS"], found["AMOUNT_WEI"]) == ("1", "10")
    assert "http://linea-stack-besu:8545" in found.values()


def test_the_tx_sender_takes_its_settings_from_the_values() -> None:
    made = of({"txSender": {"interval": 5, "amount": 1000, "rpc": {"service": "sequencer"}}})
    found = variables(container(made, "Deployment", "linea-stack-tx-sender"))
    assert (found["INTERVAL_SECONDS"], found["AMOUNT_WEI"]) == ("5", "1000")
    assert "http://linea-stack-sequencer:8545" in found.values()


def test_a_large_amount_stays_the_number_it_is() -> None:
    for amount in (1_000_000_000_000, 2**53 - 1, str(10**27)):
        made = of({"txSender": {"amount": amount}})
        found = variables(container(made, "Deployment", "linea-stack-tx-sender"))
        assert found["AMOUNT_WEI"] == str(amount)


def test_the_tx_sender_s_credentials_are_in_the_secret_of_the_contract(
    defaults: list[Manifest],
) -> None:
    template = one(defaults, "Deployment", "linea-stack-tx-sender")["spec"]["template"]
    assert ("Secret", "linea-stack-tx-sender-secrets") in set(references(template))


def test_plain_credentials_become_the_secret_that_the_tx_sender_reads() -> None:
    made = of_values(CHART / "ci" / "plain-values.yaml")
    found = one(made, "Secret", "linea-stack-tx-sender-secrets")
    assert {*found.get("data", {}), *found.get("stringData", {})} == {"privateKey", "toAddress"}


def test_backups_are_off_until_asked_for(defaults: list[Manifest]) -> None:
    assert not of_kind(defaults, "CronJob")


def test_backups_run_every_six_hours_into_the_bucket() -> None:
    storage = {"bucket": "amzn-s3-demo-my-backups", "region": "us-east-1"}
    made = of({"backup": {"enabled": True, "storage": storage}})
    (job,) = of_kind(made, "CronJob")
    assert job.object["spec"]["schedule"] == "0 */6 * * *"
    assert job.object["spec"]["concurrencyPolicy"] == "Forbid"
    (_, template) = next(pods([job]))
    found = [variables(one) for one in containers(template) if "env" in one]
    told = " ".join(str(value) for one in found for value in one.values())
    assert "amzn-s3-demo-my-backups" in told
    assert "us-east-1" in told
    assert ("Secret", "linea-stack-backup-credentials") in set(references(template))


@pytest.mark.parametrize("name", NODES)
def test_metrics_are_scraped_where_the_prometheus_operator_is_told_to(name: str) -> None:
    made = of({"metrics": {"serviceMonitor": {"enabled": True, "namespace": "monitoring"}}})
    monitor = one(made, "ServiceMonitor", f"linea-linea-stack-{name}")
    assert monitor["metadata"]["namespace"] == "monitoring"
    assert monitor["spec"]["namespaceSelector"] == {"matchNames": ["linea"]}
    jobs = [endpoint["relabelings"][0] for endpoint in monitor["spec"]["endpoints"]]
    assert jobs[0] == {"targetLabel": "job", "replacement": f"linea-stack-{name}"}


def test_releases_of_one_name_share_a_namespace_of_monitoring() -> None:
    there = {"enabled": True, "namespace": "monitoring"}
    rules = there | {"runbookUrl": "https://example.com/runbooks"}
    metrics = {"serviceMonitor": there, "prometheusRule": rules, "dashboards": there}
    names = [
        {
            (m.kind, m.name)
            for m in helm.template(CHART, ROOT, {"metrics": metrics}, namespace, "1.34")
            if m.metadata.get("namespace") == "monitoring"
        }
        for namespace in ("linea-a", "linea-b")
    ]
    assert {kind for kind, _ in names[0]} == {"ServiceMonitor", "PrometheusRule", "ConfigMap"}
    assert not names[0] & names[1]


def test_no_servicemonitor_is_made_until_asked_for(defaults: list[Manifest]) -> None:
    assert not of_kind(defaults, "ServiceMonitor")


@pytest.mark.parametrize("name", NODES)
def test_every_node_has_a_disruption_budget(defaults: list[Manifest], name: str) -> None:
    one(defaults, "PodDisruptionBudget", f"linea-stack-{name}")


def test_helm_test_has_a_pod_to_run() -> None:
    texts = helm.command(CHART, {}, "linea", "1.34")
    (pod,) = [
        found
        for text in texts.values()
        for found in yaml.safe_load_all(text)
        if found and found["kind"] == "Pod"
    ]
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True


def test_every_component_can_be_turned_off() -> None:
    off = {name: {"enabled": False} for name in ("sequencer", "maru", "ethstats", "txSender")}
    made = of(off)
    assert {m.component for m, _ in pods(made)} == {"besu"}


def test_nothing_is_left_of_a_component_that_is_off(full: list[Manifest]) -> None:
    values = coalesce(load(FULL, ROOT).data, {"ethstats": {"enabled": False}})
    left = {m.label for m in of(values) if "ethstats" in m.name}
    assert not left
    assert {m.label for m in full if "ethstats" in m.name}


def test_a_change_of_a_configuration_restarts_its_pods(defaults: list[Manifest]) -> None:
    for workload, template in pods(defaults):
        mounted = [name for kind, name in references(template) if kind == "ConfigMap"]
        if any(name.startswith(workload.name) for name in mounted):
            sums = [key for key in template["metadata"]["annotations"] if "checksum" in key]
            assert sums, workload.label


def test_the_license_to_run_starts_at_kubernetes_1_19() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    assert chart["kubeVersion"] == ">=1.19.0-0"
    assert chart["name"] == layout.RELEASE
    assert Path(CHART / "README.md").is_file()
