"""Production on EKS: how workloads are updated, and the zones of their volumes."""

from __future__ import annotations

import re

import pytest
import yaml

from scripts.checks import kubeconform
from tests.chart.eks import PRODUCTION
from tests.conftest import ROOT
from tests.objects import of, of_environment, of_kind, of_values, one, pods

# Updates.


@pytest.mark.parametrize("name", ["dev", *PRODUCTION])
def test_every_workload_says_how_it_is_updated(name: str) -> None:
    for manifest in of_environment(name)[1]:
        spec = manifest.object.get("spec", {})
        if manifest.kind == "StatefulSet":
            assert spec["updateStrategy"]["rollingUpdate"]["partition"] == 0
        elif manifest.kind == "Deployment":
            strategy = spec["strategy"]
            assert strategy["type"] == "Recreate" or (
                strategy["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
            )


def test_the_most_pods_away_are_written_where_the_api_server_keeps_it() -> None:
    for version, wanted in (
        ("1.34", {"partition": 0}),
        ("1.35", {"partition": 0}),
        ("1.36", {"partition": 0}),
        ("1.37", {"partition": 0, "maxUnavailable": 1}),
    ):
        for manifest in of_kind(of_values(None, version), "StatefulSet"):
            assert manifest.object["spec"]["updateStrategy"]["rollingUpdate"] == wanted


def test_a_strategy_by_hand_carries_no_rolling_update() -> None:
    made = of({"maru": {"updateStrategy": {"type": "OnDelete"}}}, "1.37")
    assert one(made, "StatefulSet", "linea-stack-maru")["spec"]["updateStrategy"] == {
        "type": "OnDelete"
    }


def test_production_scales_by_what_falls_again() -> None:
    scaler = one(of_environment("prod")[1], "HorizontalPodAutoscaler", "linea-stack-besu")
    assert [metric["resource"]["name"] for metric in scaler["spec"]["metrics"]] == ["cpu"]


# Zones.


@pytest.mark.parametrize("name", PRODUCTION)
def test_a_volume_comes_to_be_only_in_the_environment_s_zones(name: str) -> None:
    found, manifests = of_environment(name)
    for manifest in of_kind(manifests, "StatefulSet"):
        affinity = manifest.object["spec"]["template"]["spec"]["affinity"]
        required = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        (term,) = required["nodeSelectorTerms"]
        (expression,) = term["matchExpressions"]
        assert expression["key"] == "topology.kubernetes.io/zone"
        assert tuple(expression["values"]) == found.zones


def test_the_storage_classes_in_the_documentation_are_those_of_production() -> None:
    text = (ROOT / "docs" / "eks.md").read_text("utf-8")
    found = [yaml.safe_load(b) for b in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    blocks = [block for block in found if "kind" in block]
    classes = {b["metadata"]["name"]: b for b in blocks if b["kind"] == "StorageClass"}
    manifests = of_environment("prod")[1]
    data = {
        claim["spec"]["storageClassName"]
        for manifest in of_kind(manifests, "StatefulSet")
        for claim in manifest.object["spec"]["volumeClaimTemplates"]
    }
    backup = next(t for w, t in pods(manifests) if w.name == "linea-stack-backup")
    clones = {
        volume["ephemeral"]["volumeClaimTemplate"]["spec"]["storageClassName"]
        for volume in backup["spec"]["volumes"]
        if "ephemeral" in volume
    }
    assert data | clones == classes.keys()
    for name, made in classes.items():
        # Else a volume could come to be in another zone than its pod may run in.
        assert made["volumeBindingMode"] == "WaitForFirstConsumer"
        assert made["parameters"]["encrypted"] == "true"
        assert made["reclaimPolicy"] == ("Retain" if name in data else "Delete")
    assert all(classes[name]["allowVolumeExpansion"] for name in data)
    objects = [block for block in blocks if not block.keys() <= {"ingress", "networkPolicy"}]
    assert not kubeconform.check({"docs": "\n---\n".join(map(yaml.safe_dump, objects))}, "1.34")
