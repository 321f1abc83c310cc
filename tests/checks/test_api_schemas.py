"""Every Kubernetes version that can be had accepts what the chart makes for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.checks import api_schemas, kubeconform
from scripts.checks.kubeconform import InvalidField
from scripts.core import yamlio
from scripts.environments.environment import merge
from scripts.rendering import helm
from tests.conftest import ROOT

CHART = ROOT / "chart"
FULL = CHART / "ci" / "full-values.yaml"
FULL_BEFORE_1_21 = CHART / "ci" / "full-values-pre-1.21.yaml"


def values(*files: Path) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for file in files:
        merged = merge(merged, yaml.safe_load(file.read_text("utf-8")) or {})
    return merged


def problems(version: str, given: dict[str, Any]) -> list[InvalidField]:
    made = helm.template(CHART, ROOT, given, "linea", version)
    return kubeconform.check({m.file_name: yamlio.dump(m.object) for m in made}, version)


def test_every_version_from_1_19_on_is_pinned() -> None:
    minors = [int(version.partition(".")[2]) for version in api_schemas.versions()]
    assert minors == list(range(19, max(minors) + 1))
    assert max(minors) >= 37


@pytest.mark.parametrize("version", api_schemas.versions())
def test_a_version_takes_the_charts_default_and_fullest_values(version: str) -> None:
    old = int(version.partition(".")[2]) < 21
    fullest = values(FULL, FULL_BEFORE_1_21) if old else values(FULL)
    assert problems(version, {}) == []
    assert problems(version, fullest) == []


def test_the_values_in_ci_turn_on_every_template() -> None:
    # The fullest, and the two other ways to come by Secrets and credentials.
    files = (FULL, FULL.with_name("plain-values.yaml"), FULL.with_name("eks-values.yaml"))
    made = {
        manifest.template
        for file in files
        for manifest in helm.template(CHART, ROOT, values(file), "x", "1.34")
    }
    templates = {
        path.relative_to(ROOT).as_posix()
        for path in CHART.glob("templates/**/*.yaml")
        if "templates/tests/" not in path.as_posix()
    }
    assert templates <= made


@pytest.mark.parametrize(
    ("change", "path", "told"),
    [
        ({"spec": {"replicas": "2"}}, ("spec", "replicas"), "want integer"),
        ({"spec": {"replica": 2}}, ("spec",), "'replica' not allowed"),
        ({"kind": "Deploymint"}, ("apiVersion",), "no kind Deploymint"),
        ({"apiVersion": "apps/v1beta1"}, ("apiVersion",), "no kind Deployment in apps/v1beta1"),
        ({"metadata": {"name": 3}}, ("metadata", "name"), "want"),
        (
            {"spec": {"template": {"spec": {"volumes": [{"emptyDir": {"sizeLimit": "1Gb"}}]}}}},
            ("spec", "template", "spec", "volumes", 0, "emptyDir", "sizeLimit"),
            "not a quantity",
        ),
    ],
)
def test_what_the_api_server_would_refuse_is_refused(
    change: dict[str, Any], path: tuple[str | int, ...], told: str
) -> None:
    sound = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "a"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "a", "image": "a"}]},
            },
        },
    }
    assert kubeconform.check({"a": yamlio.dump(sound)}, "1.34") == []
    found = kubeconform.check({"a": yamlio.dump(merge(sound, change))}, "1.34")
    assert [problem.path for problem in found if told in problem.message] == [path], found


FIRST = "spec.template.spec.containers[0]"
CONTAINER = ("spec", "template", "spec", "containers", 0)


@pytest.mark.parametrize(
    ("path", "message", "sentences"),
    [
        (
            CONTAINER,
            "additional properties 'comand' not allowed",
            (
                f"a StatefulSet of Kubernetes 1.34 has no field {FIRST}.comand",
                "write command",
            ),
        ),
        (
            CONTAINER,
            "additional properties 'limits' not allowed",
            (
                f"a StatefulSet of Kubernetes 1.34 has no field {FIRST}.limits",
                f"did you mean {FIRST}.resources.limits? Move it below {FIRST}.resources",
            ),
        ),
        (
            CONTAINER,
            "missing property 'name'",
            (
                f"{FIRST}.name is missing: the API server rejects the object",
                f"add the container's name to {FIRST}, for example name: debug",
            ),
        ),
        (
            ("spec", "replicas"),
            "got string, want integer",
            ('spec.replicas is the string "2", not a whole number', "write 2 without quotes"),
        ),
        (
            ("metadata", "labels", "team"),
            "'a b' is not a valid label value",
            (
                "Kubernetes 1.34 rejects metadata.labels.team: 'a b' is not a valid label value",
                "write at most 63 letters, digits, -, _ and ., for example team-a",
            ),
        ),
    ],
)
def test_messages_about_what_kubernetes_rejects_are_sentences(
    path: tuple[str | int, ...], message: str, sentences: tuple[str, str]
) -> None:
    container = {"image": "a", "comand": ["b"], "limits": {"cpu": "1"}}
    found = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "a", "labels": {"team": "a b"}},
        "spec": {"replicas": "2", "template": {"spec": {"containers": [container]}}},
    }
    problem = InvalidField("a.yaml", "StatefulSet", "a", path, message)
    assert kubeconform.sentences(problem, found, "1.34") == sentences


def test_a_message_does_not_show_the_value_of_a_secret() -> None:
    found = {"apiVersion": "v1", "kind": "Secret", "stringData": {"a": 12345}}
    problem = InvalidField("a.yaml", "Secret", "a", ("stringData", "a"), "got number, want string")
    message, fix = kubeconform.sentences(problem, found, "1.34")
    assert message == "stringData.a is a number, not a string"
    assert fix == "write it in quotes"


@pytest.mark.parametrize(
    ("kind", "api_version"),
    [
        ("Application", "argoproj.io/v1alpha1"),
        ("AppProject", "argoproj.io/v1alpha1"),
        ("ServiceMonitor", "monitoring.coreos.com/v1"),
        ("PrometheusRule", "monitoring.coreos.com/v1"),
        ("ExternalSecret", "external-secrets.io/v1"),
        ("VolumeSnapshot", "snapshot.storage.k8s.io/v1"),
    ],
)
def test_custom_resources_are_checked_field_by_field(kind: str, api_version: str) -> None:
    text = yamlio.dump(
        {"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}, "spec": {"no": 1}}
    )
    found = kubeconform.check({"a": text}, "1.34")
    assert any("'no' not allowed" in problem.message for problem in found), found
