"""The chart's values are described and typed, and nothing else is accepted."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from scripts.core import json_schema
from scripts.core.findings import Finding
from scripts.core.yamlio import Document, load
from scripts.documentation import values_table
from scripts.environments.environment import coalesce
from tests.chart.pods import COMPONENT, INSTANCE, NAME, NODES
from tests.conftest import ROOT, Repository
from tests.objects import CHART, FULL, walk

SCHEMA = CHART / "values.schema.json"


def given_values(data: dict[str, Any]) -> list[Finding]:
    """Return what the chart's schema says to values over the defaults."""
    document = Document("values.yaml", data, None)
    return json_schema.check(document, SCHEMA)


VALUES: dict[str, Any] = load(CHART / "values.yaml", ROOT).data
FULLEST: dict[str, Any] = coalesce(VALUES, load(FULL, ROOT).data)

FREE = {
    "affinity", "annotations", "attributes", "commonLabels", "extraContainers",
    "extraVolumes", "hard", "initContainers", "labels", "limits", "nodeSelector",
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


@pytest.mark.parametrize("name", [*NODES, "ethstats", "txSender", "backup"])
def test_people_s_labels_can_t_take_pods_from_their_selector(name: str) -> None:
    for label in (NAME, INSTANCE, COMPONENT):
        assert given_values(put(VALUES, (name, "podLabels"), label, "mine")), label
    assert not given_values(put(VALUES, (name, "podLabels"), "example.com/team", "chain"))


@pytest.mark.parametrize("amount", [1_000_000_000_000, 2**53 - 1, str(10**27)])
def test_a_large_amount_is_valid(amount: int | str) -> None:
    assert not given_values(put(VALUES, ("txSender",), "amount", amount))


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


def test_table_and_schema_have_the_comments_of_the_values(repository: Repository) -> None:
    repository.write("docs/rules.md", (ROOT / "docs/rules.md").read_text("utf-8"))
    assert repository.run("docs", "--check").code == 0
    repository.replace("chart/values.yaml", "# -- Run Maru, the", "# -- Run Maru, a")
    done = repository.run("docs", "--check")
    assert done.code == 1
    assert done.err == (
        "chart/README.md is out of date: run nox -s docs\n"
        "chart/values.schema.json is out of date: run nox -s docs\n"
    )
    assert repository.run("docs").code == 0
    for file in ("chart/README.md", "chart/values.schema.json"):
        assert "Run Maru, a consensus client." in (repository / file).read_text("utf-8")
    assert repository.run("docs", "--check").code == 0
