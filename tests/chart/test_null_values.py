"""A null in the values removes the chart's default: it does without it, or one message says so.

A key whose keys below are commented out is null, too.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

import pytest

from scripts.core import json_schema
from scripts.core.findings import Finding
from scripts.core.yamlio import Document, load
from scripts.environments.environment import coalesce, merge
from tests import optional_tools
from tests.conftest import EXAMPLE, ROOT, Repository
from tests.objects import CHART, FULL, of, walk

Path = tuple[str, ...]

SCHEMA = CHART / "values.schema.json"
VALUES: dict[str, Any] = load(CHART / "values.yaml", ROOT).data
FULLEST: dict[str, Any] = load(FULL, ROOT).data

OF_PODS = {
    "affinity", "extraArgs", "extraContainers", "extraEnv", "extraVolumeMounts", "extraVolumes",
    "fsGroup", "imagePullSecrets", "initContainers", "nodeSelector", "podAnnotations", "podLabels",
    "priorityClassName", "runAsGroup", "runAsUser", "tolerations", "topologySpreadConstraints",
}  # fmt: skip
"""What a pod can do without; a profile may set it."""

PARTS = ("startupProbe", "livenessProbe", "readinessProbe", "podDisruptionBudget")
"""What an object can do without."""

OF_KUBERNETES = {"resources", "behavior", "labels", "updateStrategy"}
"""Keys whose keys below go into an object as they are: a null leaves one out."""


def paths() -> Iterator[Path]:
    """Yield the path of each of the chart's values."""
    for path, _ in walk(VALUES):
        if path and all(isinstance(part, str) for part in path):
            yield tuple(map(str, path))


def may_be_null(path: Path) -> bool:
    """Return whether the chart does without the value."""
    inside = OF_KUBERNETES & {*path[:-1]}
    return path[-1] in OF_PODS.union(PARTS) or bool(
        inside and path[-2:] != ("updateStrategy", "type")
    )


def null(path: Path) -> dict[str, Any]:
    """Return values in which only the path is set, to null."""
    *above, last = path
    values: dict[str, Any] = {last: None}
    for part in reversed(above):
        values = {part: values}
    return values


def said(values: dict[str, Any]) -> list[Finding]:
    """Return what the chart's schema says of values over the defaults."""
    return json_schema.check(Document("values.yaml", coalesce(VALUES, values), None), SCHEMA)


REQUIRED = [path for path in paths() if not may_be_null(path)]
NULLABLE = [path for path in paths() if may_be_null(path)]


def test_most_values_have_a_path() -> None:
    assert len(REQUIRED) > 300
    assert len(NULLABLE) > 50


def test_a_null_that_the_chart_cannot_do_without_is_one_message() -> None:
    """If this fails, name the key in `definitions.complete` of chart/values.schema.json."""
    wrong = {}
    for path in REQUIRED:
        found = [(finding.rule, finding.message) for finding in said(null(path))]
        if found != [("missing-key", f"{'.'.join(path)} is missing")]:
            wrong[".".join(path)] = found
    assert wrong == {}


@pytest.mark.parametrize("path", NULLABLE, ids=".".join)
def test_a_null_that_the_chart_can_do_without_leaves_none_in_a_manifest(path: Path) -> None:
    for manifest in of(merge(FULLEST, null(path))):
        nulls = [at for at, value in walk(manifest.object) if value is None]
        assert nulls == [], manifest.label


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_null_is_left_out(part: str) -> None:
    assert of({"sequencer": {part: None}}) != of({})
    for manifest in of({"sequencer": {part: None}}):
        if manifest.component == "sequencer":
            assert manifest.kind.lower() != part.lower()
            assert part not in [str(at[-1]) for at, _ in walk(manifest.object) if at]


@pytest.mark.parametrize("tool", ["helm3", "helm4"])
@pytest.mark.parametrize("path", [("besu",), ("besu", "persistence"), ("zones",)], ids=".".join)
def test_helm_itself_names_the_key(path: Path, tool: str, tmp_path: FilePath) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(json.dumps(null(path)), "utf-8")
    call = [str(optional_tools.tool(tool)), "template", str(CHART), f"--values={file}"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode
    assert f"missing property '{path[-1]}'" in done.stderr


def test_a_file_of_values_alone_is_valid_for_an_editor() -> None:
    files = [*CHART.glob("ci/*-values.yaml"), *EXAMPLE.glob("overlays/*/values.yaml")]
    for file in files:
        assert json_schema.check(load(file, ROOT), SCHEMA) == [], file


BELOW = "which removes its keys"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (
            "besu:\n  persistence:\n    # size: 100Gi\n",
            "2:3",
            f"besu.persistence is empty, {BELOW} (enabled, size, storageClassName, accessModes)",
        ),
        (
            "sequencer:\n",
            "1:1",
            f"sequencer is empty, {BELOW} (enabled, replicas, image, p2pKeySecretName, …)",
        ),
        (
            "maru:\n  image:\n    tag:\n",
            "3:5",
            "maru.image.tag is empty, which removes its default",
        ),
        # Set by a profile of dev.
        (
            "besu:\n  service:\n    type: null\n",
            "3:5",
            "besu.service.type is empty, which removes its default",
        ),
    ],
)
def test_the_line_of_the_environment_is_named(
    text: str, line: str, message: str, repository: Repository
) -> None:
    repository.write("overlays/dev/values.yaml", text)
    done = repository.run("render", "dev")
    told = f"overlays/dev/values.yaml:{line}  error  null-removes-defaults\n  {message}\n"
    assert done.code == 1
    fix = r"  → write .*; for the default, remove the line\n1 error\n"
    assert re.fullmatch(re.escape(told) + fix, done.out)
