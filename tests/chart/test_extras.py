"""Containers, volumes, labels, users and logs of people's own, and chains without volumes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scripts.core.findings import UserError
from scripts.kubernetes.manifest import Manifest
from tests.objects import FULL, containers, of, of_kind, of_values, one, pods, walk

PARTS = {
    "sequencer": "sequencer",
    "maru": "maru",
    "besu": "besu",
    "ethstats": "ethstats",
    "txSender": "tx-sender",
}
"""Key of a workload's values → its component, and its main container."""
EXTRA = {
    "extraContainers": [{"name": "beside", "image": "example/beside:1"}],
    "initContainers": [
        {"name": "before", "image": "example/before:1", "securityContext": {"runAsUser": 7}}
    ],
    "extraVolumes": [{"name": "scratch", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
    "priorityClassName": "linea",
}
OFF = {part: {"persistence": {"enabled": False}} for part in ("sequencer", "maru", "besu")}


def spec(manifests: list[Manifest], component: str) -> dict[str, Any]:
    (found,) = (t["spec"] for m, t in pods(manifests) if m.component == component)
    return found  # type: ignore[no-any-return]


@pytest.mark.parametrize("part", PARTS)
def test_every_workload_takes_containers_volumes_and_a_priority(part: str) -> None:
    pod = spec(of({part: EXTRA}), PARTS[part])
    main, *_, beside = pod["containers"]
    assert main["name"] == PARTS[part]
    assert {"name": "scratch", "mountPath": "/scratch"} in main["volumeMounts"]
    assert beside["name"] == "beside"
    assert beside["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["initContainers"][-1]["securityContext"] == {"runAsUser": 7}
    assert {"name": "scratch", "emptyDir": {}} in pod["volumes"]
    assert pod["priorityClassName"] == "linea"


def test_all_pods_that_use_backups_have_the_volumes_of_backups() -> None:
    manifests = of_values(FULL)
    for component in ("backup", "restore-drill", "besu", "maru", "sequencer"):
        pod = spec(manifests, component)
        assert "certificates" in {volume["name"] for volume in pod["volumes"]}, component
        assert any(
            "certificates" in {mount["name"] for mount in each.get("volumeMounts", ())}
            for each in containers({"spec": pod})
        )


def test_labels_of_all_objects_are_in_no_selector_and_no_claim() -> None:
    manifests = of_values(FULL)
    own = ("example.com/owner", "platform")
    for manifest in manifests:
        has_it = own in manifest.labels.items()
        assert has_it == (manifest.kind != "ExternalSecret"), manifest.label
        for path, part in walk(manifest.object):
            kept = {"selector", "matchLabels", "podSelector", "volumeClaimTemplate"}
            if kept & set(path) or "volumeClaimTemplates" in path:
                assert not isinstance(part, dict) or own[0] not in part, (manifest.label, path)
    for workload, template in pods(manifests):
        assert own in template["metadata"]["labels"].items(), workload.label


def test_a_label_of_all_objects_may_also_be_one_of_a_kind() -> None:
    values = {
        "commonLabels": {"release": "all", "team": "chain"},
        "metrics": {"serviceMonitor": {"enabled": True, "labels": {"release": "monitoring"}}},
        "besu": {"podLabels": {"team": "rpc"}},
    }
    manifests = of(values)
    for monitor in of_kind(manifests, "ServiceMonitor"):
        assert monitor.labels["release"] == "monitoring"
    (besu,) = (t for m, t in pods(manifests) if m.component == "besu")
    assert besu["metadata"]["labels"]["team"] == "rpc"


def test_the_user_is_a_value_and_null_leaves_it_to_the_cluster() -> None:
    for _, template in pods(of({"podSecurityContext": {"runAsUser": 5000, "fsGroup": 6000}})):
        context = template["spec"]["securityContext"]
        assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (
            5000,
            1000,
            6000,
        )
    nothing = dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"))
    for _, template in pods(of({"podSecurityContext": nothing})):
        context = template["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True
        assert not context.keys() & nothing.keys()


def test_without_volumes_the_data_is_an_empty_dir_and_nothing_asks_for_a_claim() -> None:
    manifests = of(OFF)
    for component in ("sequencer", "maru", "besu"):
        stateful = one(manifests, "StatefulSet", f"linea-stack-{component}")
        assert "volumeClaimTemplates" not in stateful["spec"]
        assert {"name": "data", "emptyDir": {}} in spec(manifests, component)["volumes"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sequencer": OFF["sequencer"]}, "one half of a validator"),
        ({k: OFF[k] for k in ("sequencer", "maru")}, "Besu would stay on the old one"),
        (
            OFF | {"restore": {"backup": "20260102T030405Z"}},
            "every restart would take the validator back",
        ),
        (OFF | {"backup": {"enabled": True}}, "backups clone a volume of besu"),
    ],
)
def test_a_chain_that_only_some_nodes_would_lose_is_refused(
    values: dict[str, Any], message: str
) -> None:
    storage = {"storage": {"bucket": "backups", "region": "us-east-1"}}
    backup = {"backup": {**storage, **values.get("backup", {})}}
    with pytest.raises(UserError, match=message):
        of(values | backup)


def test_load_balancers_have_a_class_and_a_policy_where_the_api_has_them() -> None:
    own = {"loadBalancerClass": "service.k8s.aws/nlb", "externalTrafficPolicy": "Local"}
    values = {"besu": {"service": own, "p2pService": own | {"enabled": True}}}
    for name in ("besu", "besu-p2p"):
        service = one(of(values), "Service", f"linea-stack-{name}")["spec"]
        assert own.items() <= service.items()
    old = one(of(values, "1.21"), "Service", "linea-stack-besu")["spec"]
    assert "loadBalancerClass" not in old
    inside = {"besu": {"service": own | {"type": "ClusterIP"}}}
    assert not own.keys() & one(of(inside), "Service", "linea-stack-besu")["spec"].keys()


def test_logs_have_a_level_and_a_format() -> None:
    log = {"log": {"level": "WARN", "format": "json"}}
    manifests = of({"sequencer": log, "maru": log, "besu": log | {"follower": log}})
    for component in ("sequencer", "besu"):
        data = one(manifests, "ConfigMap", f"linea-stack-{component}-config")["data"]
        assert 'logging = "WARN"' in data["config.toml"].splitlines()
        variables = {
            each["name"]: each for each in spec(manifests, component)["containers"][0]["env"]
        }
        file = variables["LOG4J_CONFIGURATION_FILE"]["value"]
        assert '"message"' in data[file.removeprefix("/config/")]
    for component in ("maru", "besu"):
        text = one(manifests, "ConfigMap", f"linea-stack-{component}-config")["data"]["log4j2.xml"]
        assert 'level="WARN"' in text
        assert "%enc{%m}{JSON}" in text
    plain = json.dumps([m.object for m in of({})])
    assert "LOG4J_CONFIGURATION_FILE" not in plain
    assert "logging =" not in plain
