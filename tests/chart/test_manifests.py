"""Every object, of each environment and example of values: its pods, and what refers to what."""

from __future__ import annotations

import pytest

from scripts.kubernetes.manifest import Manifest
from tests.chart.pods import COMPONENT, INSTANCE, NAME, labels_of_pods, matches, ports
from tests.objects import (
    ENVIRONMENTS,
    SETS,
    containers,
    of_environment,
    of_kind,
    of_values,
    one,
    pods,
    references,
)


@pytest.fixture(params=[*ENVIRONMENTS, *SETS], ids=lambda s: getattr(s, "stem", s) or "defaults")
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    """Return the objects of each environment, of each example of values, and of the defaults."""
    if isinstance(request.param, str):
        return of_environment(request.param)[1]
    return of_values(request.param)


# Pods


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


def test_no_load_balancer_asks_for_an_affinity_that_aws_rejects(manifests: list[Manifest]) -> None:
    for service in of_kind(manifests, "Service"):
        if service.object["spec"].get("type") == "LoadBalancer":
            assert service.object["spec"].get("sessionAffinity", "None") == "None", service.label


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


def test_no_hook_but_the_check_of_the_chain_and_no_test_pod_is_rendered(
    manifests: list[Manifest],
) -> None:
    assert not of_kind(manifests, "Pod")
    hooks = [m.label for m in manifests if any("hook" in key for key in m.annotations)]
    assert hooks in ([], ["Job/linea-stack-verify"])
