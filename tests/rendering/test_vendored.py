"""Charts of others that the chart depends on: rendered from their committed archives, offline."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml

from tests.conftest import Repository

helm_python = pytest.importorskip("helm_python")

TINY = {
    "Chart.yaml": "apiVersion: v2\nname: tiny\nversion: 1.2.3\n",
    "values.yaml": "text: hello\nnamespace: ''\nenabled: true\nkind: ConfigMap\n",
    "values.schema.json": '{"properties": {"text": {"type": "string"}}}',
    "templates/object.yaml": """apiVersion: v1
kind: {{ .Values.kind }}
metadata:
  name: tiny
  {{- with .Values.namespace }}
  namespace: {{ . }}
  {{- end }}
data:
  text: {{ .Values.text | quote }}
""",
    "templates/tests/pod.yaml": """apiVersion: v1
kind: Pod
metadata: {name: tiny-test, annotations: {helm.sh/hook: test}}
spec: {containers: []}
""",
}
ARCHIVE = "chart/charts/tiny-1.2.3.tgz"
RENDERED = "overlays/dev/manifests/configmap-tiny.yaml"
DECLARED = """dependencies:
  - name: tiny
    version: ~1.2.0
    repository: file://{}
    condition: tiny.enabled
    tags: [extras]
"""


@pytest.fixture
def dependent(repository: Repository, tmp_path: Path) -> Repository:
    """Return a repository whose chart depends on a chart, as `helm dependency update` leaves it."""
    for name, text in TINY.items():
        path = tmp_path / "tiny" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    chart = repository / "chart"
    declared = (chart / "Chart.yaml").read_text() + DECLARED.format(tmp_path / "tiny")
    repository.write("chart/Chart.yaml", declared)
    helm_python.dependency_update(chart)
    total = hashlib.sha256((repository / ARCHIVE).read_bytes()).hexdigest()
    repository.write("chart/charts.sha256", f"{total}  charts/tiny-1.2.3.tgz\n")
    schema = json.loads((chart / "values.schema.json").read_text())
    schema["properties"] |= {"tiny": {"type": "object"}, "tags": {"type": "object"}}
    repository.write("chart/values.schema.json", json.dumps(schema))
    return repository


def values(repository: Repository, text: str) -> None:
    repository.write("overlays/dev/values.yaml", text)


def refused(repository: Repository) -> str:
    done = repository.run("render", "dev")
    assert done.code == 1, done
    return done.out


def test_objects_of_a_dependency_are_rendered_like_the_chart_s(dependent: Repository) -> None:
    values(dependent, "tiny: {text: of dev}\n")
    assert dependent.run("render", "dev").code == 0
    text = (dependent / RENDERED).read_text()
    assert ARCHIVE in text.splitlines()[0]
    assert yaml.safe_load(text)["data"] == {"text": "of dev"}
    assert yaml.safe_load(text)["metadata"]["namespace"] == "linea-dev"
    assert not (dependent / "overlays/dev/manifests/pod-tiny-test.yaml").exists()

    values(dependent, "tiny: {text: a, kind: Endpoints}\n")
    dependent.run("render", "dev")
    assert "kind: Endpoints" in (dependent / "argocd/projects/dev.yaml").read_text()


@pytest.mark.parametrize("text", ["tiny: {enabled: false}\n", "tags: {extras: false}\n"])
def test_condition_and_tags_turn_a_dependency_off_in_one_environment_only(
    dependent: Repository, text: str
) -> None:
    if "tags" in text:
        dependent.replace("chart/Chart.yaml", "    condition: tiny.enabled\n", "")
        helm_python.dependency_update(dependent / "chart")
        total = hashlib.sha256((dependent / ARCHIVE).read_bytes()).hexdigest()
        dependent.write("chart/charts.sha256", f"{total}  charts/tiny-1.2.3.tgz\n")
    values(dependent, text)
    assert dependent.run("render", "dev", "staging").code == 0
    assert not (dependent / RENDERED).exists()
    assert (dependent / RENDERED.replace("dev", "staging")).exists()


def test_values_that_the_schema_of_a_dependency_rejects_have_their_line(
    dependent: Repository,
) -> None:
    values(dependent, "ethstats: {enabled: false}\ntiny:\n  text: 3\n")
    said = refused(dependent)
    assert "overlays/dev/values.yaml:3:3" in said
    assert "the schema of the dependency tiny rejects its values: at '/text': got number" in said


def test_objects_in_other_namespaces_are_refused(dependent: Repository) -> None:
    values(dependent, "tiny:\n  namespace: elsewhere\n")
    said = refused(dependent)
    assert "overlays/dev/values.yaml:2:3  error  namespace-not-allowed" in said


def test_a_changed_archive_is_refused(dependent: Repository) -> None:
    archive = dependent / ARCHIVE
    archive.write_bytes(archive.read_bytes() + b"\0")
    said = refused(dependent)
    assert f"{ARCHIVE}  error  invalid-chart" in said
    assert "it is not the reviewed one" in said


def test_a_missing_archive_is_refused(dependent: Repository) -> None:
    (dependent / ARCHIVE).unlink()
    assert "the dependency tiny is missing" in refused(dependent)


def test_an_archive_that_nothing_declares_is_refused(dependent: Repository) -> None:
    other = dependent / "chart/charts/other-1.0.0.tgz"
    other.write_bytes((dependent / ARCHIVE).read_bytes())
    assert "Chart.lock does not list this archive" in refused(dependent)


def test_a_lock_of_other_dependencies_is_refused(dependent: Repository) -> None:
    dependent.replace("chart/Chart.yaml", "~1.2.0", "~1.3.0")
    assert "Chart.lock is not that of Chart.yaml" in refused(dependent)


def test_values_of_a_dependency_need_a_key_in_the_chart_s_schema(dependent: Repository) -> None:
    schema = json.loads((dependent / "chart/values.schema.json").read_text())
    del schema["properties"]["tiny"]
    dependent.write("chart/values.schema.json", json.dumps(schema))
    said = refused(dependent)
    assert "does not know the values of the dependency tiny" in said
    assert 'add "tiny": {"type": "object"} to properties' in said
