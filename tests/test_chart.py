"""What a user of the chart relies on."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from scripts.core import json_schema
from scripts.core.findings import Finding
from scripts.core.yamlio import Document, load
from scripts.documentation import values_table
from scripts.environments import layout
from scripts.environments.environment import coalesce
from scripts.kubernetes.manifest import Manifest
from scripts.rendering import helm
from tests.conftest import ROOT, Repository
from tests.objects import (
    CHART,
    ENVIRONMENTS,
    FULL,
    SETS,
    containers,
    of,
    of_environment,
    of_kind,
    of_values,
    one,
    pods,
    references,
    walk,
)

SCHEMA = CHART / "values.schema.json"
NAME = "app.kubernetes.io/name"
INSTANCE = "app.kubernetes.io/instance"
COMPONENT = "app.kubernetes.io/component"

NODES = ("sequencer", "maru", "besu")


@pytest.fixture(params=[*ENVIRONMENTS, *SETS], ids=lambda s: getattr(s, "stem", s) or "defaults")
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    """Return the objects of each environment, of each example of values, and of the defaults."""
    if isinstance(request.param, str):
        return of_environment(request.param)[1]
    return of_values(request.param)


@pytest.fixture(scope="module")
def defaults() -> list[Manifest]:
    return of({})


@pytest.fixture(scope="module")
def full() -> list[Manifest]:
    return of_values(FULL)


def container(manifests: list[Manifest], kind: str, name: str) -> dict[str, Any]:
    """Return the first container of a workload."""
    return dict(one(manifests, kind, name)["spec"]["template"]["spec"]["containers"][0])


def ports(container: dict[str, Any]) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container["ports"]}


def variables(container: dict[str, Any]) -> dict[str, Any]:
    return {variable["name"]: variable.get("value") for variable in container["env"]}


# The contract: components, ports, names, defaults


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
    made = of({"txSender": {"amount": 1_000_000_000_000}})
    found = variables(container(made, "Deployment", "linea-stack-tx-sender"))
    assert found["AMOUNT_WEI"] == "1000000000000"


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
    monitor = one(made, "ServiceMonitor", f"linea-stack-{name}")
    assert monitor["metadata"]["namespace"] == "monitoring"
    assert monitor["spec"]["namespaceSelector"] == {"matchNames": ["linea"]}


def test_no_servicemonitor_is_made_until_asked_for(defaults: list[Manifest]) -> None:
    assert not of_kind(defaults, "ServiceMonitor")


# Every pod, in every environment and example


def test_no_pod_has_a_token_for_the_api_server(manifests: list[Manifest]) -> None:
    for workload, template in pods(manifests):
        assert template["spec"]["automountServiceAccountToken"] is False, workload.label


def test_every_container_says_what_it_needs_and_what_it_may_take(manifests: list[Manifest]) -> None:
    for workload, template in pods(manifests):
        for one_ in containers(template):
            for kind in ("requests", "limits"):
                assert one_["resources"][kind].keys() >= {"cpu", "memory"}, workload.label


def test_every_image_has_a_version(manifests: list[Manifest]) -> None:
    for workload, template in pods(manifests):
        for one_ in containers(template):
            image, _, digest = one_["image"].partition("@")
            tag = image.rpartition("/")[2].partition(":")[2]
            assert digest.startswith("sha256:") or tag not in ("", "latest"), workload.label


def test_every_long_running_container_is_probed(manifests: list[Manifest]) -> None:
    for workload, template in pods(manifests):
        if workload.kind in ("StatefulSet", "Deployment") and workload.component != "tx-sender":
            main = template["spec"]["containers"][0]
            assert {"startupProbe", "livenessProbe", "readinessProbe"} <= main.keys(), (
                workload.label
            )


def test_a_probe_s_port_is_one_of_the_container(manifests: list[Manifest]) -> None:
    for workload, template in pods(manifests):
        for one_ in containers(template):
            known = ports(one_) if "ports" in one_ else {}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                for way in ("httpGet", "tcpSocket"):
                    port = one_.get(probe, {}).get(way, {}).get("port")
                    assert port is None or port in known or port in known.values(), workload.label


def test_every_volume_is_used_and_every_mount_has_one(manifests: list[Manifest]) -> None:
    for workload, template in pods(manifests):
        claims = workload.object["spec"].get("volumeClaimTemplates", [])
        there = {volume["name"] for volume in template["spec"].get("volumes", [])}
        there |= {claim["metadata"]["name"] for claim in claims}
        used = {
            mount["name"] for one_ in containers(template) for mount in one_.get("volumeMounts", [])
        }
        assert there == used, workload.label


# What points at what


POD_NAME = "statefulset.kubernetes.io/pod-name"


def matches(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def labels_of_pods(manifests: list[Manifest]) -> list[dict[str, str]]:
    return [template["metadata"]["labels"] for _, template in pods(manifests)]


def test_a_workload_selects_its_own_pods_and_nobody_else_s(manifests: list[Manifest]) -> None:
    for workload, template in pods(manifests):
        if "selector" not in workload.object["spec"]:
            continue
        selector = workload.object["spec"]["selector"]["matchLabels"]
        assert matches(selector, template["metadata"]["labels"]), workload.label
        assert sum(matches(selector, labels) for labels in labels_of_pods(manifests)) == 1
        assert selector.keys() == {NAME, INSTANCE, COMPONENT}, "a selector can't change any more"


def test_a_service_leads_to_ports_of_pods(manifests: list[Manifest]) -> None:
    for service in of_kind(manifests, "Service"):
        spec = service.object["spec"]
        # The StatefulSet's controller names each pod in a label of its own.
        of_template = {k: v for k, v in spec["selector"].items() if k != POD_NAME}
        found = [
            template
            for _, template in pods(manifests)
            if matches(of_template, template["metadata"]["labels"])
        ]
        assert len(found) == 1, service.label
        known = {
            name: port
            for one_ in containers(found[0])
            if "ports" in one_
            for name, port in ports(one_).items()
        }
        for port in spec["ports"]:
            target = port.get("targetPort", port["port"])
            assert target in known or target in known.values(), (service.label, target)


def test_an_ingress_leads_to_a_service(manifests: list[Manifest]) -> None:
    services = {m.name: m.object["spec"]["ports"] for m in of_kind(manifests, "Service")}
    for ingress in of_kind(manifests, "Ingress"):
        for rule in ingress.object["spec"]["rules"]:
            assert rule["host"]
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                names = {port["name"] for port in services[backend["name"]]}
                numbers = {port["port"] for port in services[backend["name"]]}
                port = backend["port"]
                assert port.get("name") in names or port.get("number") in numbers, ingress.label


def test_a_servicemonitor_finds_one_service_with_its_port(manifests: list[Manifest]) -> None:
    for monitor in of_kind(manifests, "ServiceMonitor"):
        selector = monitor.object["spec"]["selector"]["matchLabels"]
        wanted = {endpoint["port"] for endpoint in monitor.object["spec"]["endpoints"]}
        found = [
            service
            for service in of_kind(manifests, "Service")
            if matches(selector, service.metadata["labels"])
            and wanted & {port["name"] for port in service.object["spec"]["ports"]}
        ]
        assert len(found) == 1, (monitor.label, [service.label for service in found])


def test_a_disruption_budget_guards_pods_and_lets_a_node_be_drained(
    manifests: list[Manifest],
) -> None:
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        spec = budget.object["spec"]
        selector = spec["selector"]["matchLabels"]
        assert sum(matches(selector, labels) for labels in labels_of_pods(manifests)) == 1
        assert spec.get("maxUnavailable") not in (0, "0", "0%"), budget.label
        assert ("maxUnavailable" in spec) != ("minAvailable" in spec), budget.label


@pytest.mark.parametrize("name", NODES)
def test_every_node_has_a_disruption_budget(defaults: list[Manifest], name: str) -> None:
    one(defaults, "PodDisruptionBudget", f"linea-stack-{name}")


def test_an_autoscaler_scales_a_workload_that_is_there(manifests: list[Manifest]) -> None:
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler"):
        target = scaler.object["spec"]["scaleTargetRef"]
        assert one(manifests, target["kind"], target["name"])["apiVersion"] == target["apiVersion"]


def test_what_a_pod_refers_to_is_rendered_or_made_by_hand(manifests: list[Manifest]) -> None:
    there = {(m.kind, m.name) for m in manifests}
    by_hand = {("ConfigMap", "linea-stack-genesis"), ("ServiceAccount", "default")}
    for workload, template in pods(manifests):
        for kind, name in references(template):
            if kind not in ("Secret", "PersistentVolumeClaim"):
                assert (kind, name) in there | by_hand, (workload.label, kind, name)


def test_every_object_has_the_labels_that_tell_whose_it_is(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        labels = manifest.metadata["labels"]
        wanted = {NAME, INSTANCE, "app.kubernetes.io/managed-by", "app.kubernetes.io/part-of"}
        assert wanted <= labels.keys(), manifest.label


@pytest.mark.parametrize("name", [*NODES, "ethstats", "txSender", "backup"])
def test_people_s_labels_can_t_take_pods_from_their_selector(name: str) -> None:
    for label in (NAME, INSTANCE, COMPONENT):
        assert given_values(put(VALUES, (name, "podLabels"), label, "mine")), label
    assert not given_values(put(VALUES, (name, "podLabels"), "example.com/team", "chain"))


def test_no_hook_and_no_test_pod_is_rendered(manifests: list[Manifest]) -> None:
    assert not of_kind(manifests, "Pod")
    for manifest in manifests:
        assert not [key for key in manifest.metadata.get("annotations") or {} if "hook" in key]


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


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_no_environment_has_a_secret_in_git(name: str) -> None:
    assert not of_kind(of_environment(name)[1], "Secret")


# What each environment promises


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
        "linea-stack-ethstats",
    }
    assert {m.object["spec"].get("type") for m in of_kind(made, "Service")} <= {None, "ClusterIP"}


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


# The values: described, typed, and nothing else accepted


def given_values(data: dict[str, Any]) -> list[Finding]:
    """Return what the chart's schema says to values over the defaults."""
    document = Document("values.yaml", data, None)
    return json_schema.check(document, SCHEMA)


VALUES: dict[str, Any] = load(CHART / "values.yaml", ROOT).data
FULLEST: dict[str, Any] = coalesce(VALUES, load(FULL, ROOT).data)

FREE = {
    "affinity", "annotations", "attributes", "hard", "labels", "limits", "nodeSelector",
    "podAnnotations", "podLabels", "podSelector", "matchLabels", "requests", "rpcFrom", "scaleDown",
    "scaleUp",
    "topologySpreadConstraints", "ethstatsFrom", "namespaceSelector", "valueFrom",
}  # fmt: skip
"""Mappings with keys of people's own, or of Kubernetes, whose schema looks into them instead."""


def mappings(data: Any) -> list[tuple[str | int, ...]]:
    """Return the paths of the chart's own mappings."""
    return [
        path
        for path, value in walk(data)
        if isinstance(value, dict) and not FREE.intersection(map(str, path))
    ]


def put(data: Any, path: tuple[str | int, ...], key: str | int, value: Any) -> Any:
    changed = copy.deepcopy(data)
    place = changed
    for part in path:
        place = place[part]
    place[key] = value
    return changed


def test_the_defaults_and_the_fullest_values_are_valid() -> None:
    assert given_values(VALUES) == []
    assert given_values(FULLEST) == []


@pytest.mark.parametrize(
    "path", mappings(FULLEST), ids=lambda path: ".".join(map(str, path)) or "root"
)
def test_an_unknown_key_is_refused_at_every_level(path: tuple[str | int, ...]) -> None:
    found = given_values(put(FULLEST, path, "unheardOf", "x"))
    assert any(f.rule == "unknown-key" and "unheardOf" in f.message for f in found), found


LEAVES = [
    path
    for path, value in walk(VALUES)
    if path and not isinstance(value, dict) and not FREE.intersection(map(str, path))
]


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(path=st.sampled_from(LEAVES), wrong=st.sampled_from([{"x": {}}, [[["x"]]], "\x00"]))
def test_a_value_of_a_wrong_type_is_refused_everywhere(
    path: tuple[str | int, ...], wrong: Any
) -> None:
    now: Any = VALUES
    for part in path:
        now = now[part]
    if type(now) is type(wrong):
        return
    assert given_values(put(VALUES, path[:-1], path[-1], wrong)), (path, wrong)


def test_every_default_has_a_description() -> None:
    text = (CHART / "values.yaml").read_text("utf-8")
    data, lines = YAML(typ="rt").load(text), text.splitlines()

    def undescribed(node: CommentedMap, above: str) -> Iterator[str]:
        for key, value in node.items():
            if values_table._description(lines, node.lc.key(key)[0]):
                continue
            if isinstance(value, CommentedMap):
                yield from undescribed(value, f"{above}{key}.")
            else:
                yield f"{above}{key}"

    assert list(undescribed(data, "")) == []


def test_every_default_is_in_the_schema_under_its_name() -> None:
    document = json_schema.read(SCHEMA)

    def resolved(node: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in node:
            found: Any = document
            for part in node["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            node = found
        return node

    def missing(node: dict[str, Any], data: Any, above: str) -> Iterator[str]:
        known = resolved(node).get("properties")
        if known is None or not isinstance(data, dict):
            return
        for key, value in data.items():
            if key not in known:
                yield f"{above}{key}"
            else:
                yield from missing(known[key], value, f"{above}{key}.")

    assert list(missing(document, VALUES, "")) == []


def test_a_default_is_there_for_every_value_that_the_schema_knows() -> None:
    known = set(json_schema.read(SCHEMA)["properties"]) - {"global"}
    assert known == set(VALUES)
    for name in known:
        inside = json_schema.read(SCHEMA)["properties"][name].get("properties")
        if inside is not None:
            assert set(inside) == set(VALUES[name]), name


def test_the_table_of_values_is_that_of_the_values(repository: Repository) -> None:
    repository.write("docs/rules.md", (ROOT / "docs/rules.md").read_text("utf-8"))
    assert repository.run("docs", "--check").code == 0
    repository.replace("chart/values.yaml", "# -- Image\n", "# -- The image\n")
    done = repository.run("docs", "--check")
    assert (done.code, done.err) == (1, "chart/README.md is out of date: run nox -s docs\n")
    assert repository.run("docs").code == 0
    assert "The image" in (repository / "chart/README.md").read_text("utf-8")
    assert repository.run("docs", "--check").code == 0


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
