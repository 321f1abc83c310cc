"""Every panel of Grafana's dashboards is written as it should be, and each release has its own."""

from __future__ import annotations

import itertools
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.kubernetes import promql
from scripts.kubernetes.manifest import Manifest
from scripts.rendering import helm
from tests.chart.dashboards import (
    DATA_SOURCE,
    FILES,
    NAMES,
    NAMESPACE,
    dashboard,
    panels,
    queries,
    rendered,
)
from tests.conftest import EXAMPLE, ROOT
from tests.objects import CHART, FULL, of_values

MOST_BYTES = 1024 * 1024
"""Of a ConfigMap: https://kubernetes.io/docs/concepts/configuration/configmap/"""
MOST_UID = 40
"""Characters: https://grafana.com/docs/grafana/latest/developers/http_api/dashboard/"""
COLUMNS = 24


def units(expression: str) -> set[str]:
    """Return Grafana's units that fit; empty where the metrics' names don't tell."""
    names = promql.parse(expression).metrics
    is_ratio = "/" in expression
    if any(re.match(r"maru_consensus_block_latency_(bucket|sum)$", name) for name in names):
        return {"ms"}
    if any(name.endswith(("_bytes", "_space_used")) for name in names):
        if not is_ratio:
            return {"bytes"}
        return {"s"} if "deriv(" in expression else {"percentunit"}
    seconds = r"_(seconds|seconds_bucket|time|time_sum|timestamp|expiry)$"
    if any(re.search(seconds, name) for name in names):
        return {"s"}
    if any(name.endswith(("_seconds_sum", "_seconds_total")) for name in names):
        return {"percentunit"} if is_ratio else {"percentunit", "suffix:cores"}
    return set()


def flaws(panel: dict[str, Any]) -> list[str]:
    """Return what is wrong with a panel as it is written, a line each."""
    found = []
    if not panel.get("title"):
        found.append("it has no title")
    if not re.search(r"Good: .+ Bad: .+", panel.get("description", "")):
        found.append("its description does not say what is good and what is bad")
    if panel.get("datasource") != DATA_SOURCE:
        found.append("its data source is not the variable")
    if panel["type"] == "alertlist":
        return found
    unit = panel["fieldConfig"]["defaults"].get("unit")
    if not unit:
        found.append("it has no unit")
    if any(target["datasource"] != DATA_SOURCE for target in panel["targets"]):
        found.append("the data source of a query is not the variable")
    for query in queries(panel):
        expression = promql.parse(query.expression)
        found += [m.message for m in promql.mistakes(expression, promql.metrics())]
        found += [
            f"{selector.metric} is asked for in all namespaces"
            for selector in expression.selectors
            if promql.Matcher("namespace", "=", NAMESPACE) not in selector.matchers
        ]
        fit = units(query.expression)
        if fit and unit not in fit:
            found.append(f"its unit is {unit}, and should be {' or '.join(sorted(fit))}")
        elif not fit and unit in ("s", "ms", "bytes"):
            found.append(f"its unit is {unit}, and its metrics are none of it")
        if not query.legend:
            found.append("a query has no legend")
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_says_what_it_shows_and_asks_for_what_there_is(name: str) -> None:
    found = {panel["title"]: flaws(panel) for panel in panels(dashboard(name))}
    assert {title: told for title, told in found.items() if told} == {}


GOOD: dict[str, Any] = {
    "id": 1,
    "type": "stat",
    "title": "Peers",
    "description": "Good: many. Bad: none.",
    "datasource": DATA_SOURCE,
    "fieldConfig": {"defaults": {"unit": "short"}},
    "targets": [
        {
            "refId": "A",
            "datasource": DATA_SOURCE,
            "expr": 'sum(ethereum_peer_count{namespace="$namespace"})',
            "legendFormat": "peers",
        }
    ],
}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, []),
        ({"title": ""}, ["it has no title"]),
        (
            {"description": "Peers."},
            ["its description does not say what is good and what is bad"],
        ),
        ({"datasource": {"uid": "abc"}}, ["its data source is not the variable"]),
        ({"fieldConfig": {"defaults": {}}}, ["it has no unit"]),
        (
            {"fieldConfig": {"defaults": {"unit": "s"}}},
            ["its unit is s, and its metrics are none of it"],
        ),
        (
            {"expr": "sum(ethereum_peer_count)"},
            ["ethereum_peer_count is asked for in all namespaces"],
        ),
        ({"expr": 'up{namespace=~"$namespace"}'}, ["up is asked for in all namespaces"]),
        ({"expr": 'ups{namespace="$namespace"}'}, ["no metric is called ups"]),
        (
            {"expr": 'process_resident_memory_bytes{namespace="$namespace"}'},
            ["its unit is short, and should be bytes"],
        ),
        ({"legendFormat": ""}, ["a query has no legend"]),
        ({"query": {"uid": "abc"}}, ["the data source of a query is not the variable"]),
    ],
)
def test_a_flaw_of_a_panel_is_found(change: dict[str, Any], told: list[str]) -> None:
    target = dict(GOOD["targets"][0])
    for key in ("expr", "legendFormat"):
        target[key] = change.get(key, target[key])
    target["datasource"] = change.get("query", DATA_SOURCE)
    assert flaws(GOOD | change | {"targets": [target]}) == told


@pytest.mark.parametrize("name", NAMES)
def test_panels_stand_side_by_side_and_not_on_each_other(name: str) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard(name)["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS
        for x, y in itertools.product(range(place["w"]), range(place["h"])):
            cell = (place["x"] + x, place["y"] + y)
            assert cell not in taken, f"{panel['title']} is on {taken[cell]}"
            taken[cell] = panel["title"]
    ids = [panel["id"] for panel in dashboard(name)["panels"]]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("title", "option"),
    [
        ("WebSockets", "rpc-ws-max-active-connections"),
        ("HTTP connections", "rpc-http-max-active-connections"),
    ],
)
def test_the_limit_of_connections_is_that_of_besu_s_configuration(title: str, option: str) -> None:
    limit = tomllib.loads((CHART / "files/besu/config.toml").read_text("utf-8"))[option]
    found = [panel for panel in panels(dashboard("rpc")) if panel["title"] == title]
    assert len(found) == 2
    for panel in found:
        assert f"({limit} a pod)" in panel["description"]
        if panel["type"] == "timeseries":
            assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]["value"] == limit


def test_the_first_thing_to_see_is_whether_the_chain_makes_blocks() -> None:
    first = min(panels(dashboard("overview")), key=lambda p: (p["gridPos"]["y"], p["gridPos"]["x"]))
    assert first["title"] == "Blocks per minute"


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_is_for_its_release_and_links_lead_to_others_of_it(name: str) -> None:
    board = dashboard(name)
    assert board["schemaVersion"] >= 39  # Grafana 11
    assert board["title"].startswith("linea-prod / ")
    by_name = {variable["name"]: variable for variable in board["templating"]["list"]}
    assert by_name["datasource"]["query"] == "prometheus"
    assert by_name["namespace"]["current"]["value"] == "linea-prod"
    assert [link["tags"] for link in board["links"]] == [["linea", "linea-prod"]]
    assert board["tags"] == ["linea", "linea-prod"]
    uids = {other["uid"] for other in rendered("prod").values()}
    linked = re.findall(r'"/d/([^?"]+)', json.dumps(board))
    assert set(linked) <= uids
    assert bool(linked) == (name == "overview")


def identities(manifests: list[Manifest]) -> list[str]:
    """Return all by which Grafana, its sidecar and Kubernetes tell dashboards apart."""
    found = []
    for manifest in manifests:
        if manifest.component == "dashboards":
            ((file, text),) = manifest.object["data"].items()
            uid = json.loads(text)["uid"]
            assert len(uid) <= MOST_UID
            assert re.fullmatch(r"[\w-]+", uid)
            found += [uid, file, f"{manifest.metadata.get('namespace')}/{manifest.name}"]
    return found


def test_environments_that_share_a_grafana_overwrite_nothing_of_each_other() -> None:
    values: dict[str, Any] = {
        "metrics": {"dashboards": {"enabled": True, "namespace": "monitoring"}}
    }
    found = []
    for namespace, fullname in (("linea-prod", ""), ("linea-staging", ""), ("a" * 63, "b" * 40)):
        given = values | {"fullnameOverride": fullname}
        found += identities(helm.template(CHART, ROOT, given, namespace, "1.34"))
    assert len(found) == len(NAMES) * 3 * 3
    assert len(found) == len(set(found))


def test_dashboards_for_all_releases_name_none_but_start_with_their_own() -> None:
    values = {"metrics": {"dashboards": {"enabled": True, "shared": True}}}
    manifests = helm.template(CHART, ROOT, values, "linea-prod", "1.34")
    found = [m for m in manifests if m.component == "dashboards"]
    assert len(found) == len(NAMES)
    for manifest in found:
        (text,) = manifest.object["data"].values()
        board = json.loads(text)
        assert board["title"].startswith("Linea / ")
        assert board["tags"] == ["linea", "shared"]
        assert [link["tags"] for link in board["links"]] == [["linea", "shared"]]
        by_name = {variable["name"]: variable for variable in board["templating"]["list"]}
        assert by_name["namespace"]["current"]["value"] == "linea-prod"
        assert text.count("linea-prod") == 2, "something else is about one namespace only"


def test_dev_has_no_dashboards() -> None:
    assert rendered("dev") == {}


def test_a_sidecar_finds_the_dashboards_by_their_label_and_folder() -> None:
    found = [m for m in of_values(FULL) if m.component == "dashboards"]
    assert len(found) == len(NAMES)
    for manifest in found:
        assert manifest.metadata["labels"]["grafana_dashboard"] == "1"
        assert manifest.metadata["annotations"] == {"grafana_folder": "Linea"}
        assert manifest.metadata["namespace"] == "monitoring"


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_a_file_is_as_the_page_says_that_it_is_to_be_written(file: Path) -> None:
    text = file.read_text("ascii")
    data = json.loads(text)
    assert text == json.dumps(data, indent=2, sort_keys=True) + "\n"
    assert data["uid"] == f"linea-stack-{file.stem}"
    assert data["id"] is None
    # Helm writes the release's own in their place, wherever they stand.
    assert set(re.findall(r"linea-stack-(\w+)", text)) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_is_rendered_line_by_line(name: str) -> None:
    file = next(file for file in FILES if file.stem == name).read_text("utf-8")
    made = (
        EXAMPLE / f"overlays/prod/manifests/configmap-linea-stack-dashboard-{name}.yaml"
    ).read_text("utf-8")
    text = yaml.safe_load(made)["data"][f"linea-prod-linea-stack-{name}.json"]
    assert len(made) < MOST_BYTES
    assert len(made.splitlines()) > len(file.splitlines())
    changed = [
        (old, new)
        for old, new in zip(file.splitlines(), text.splitlines(), strict=True)
        if old != new
    ]
    assert changed
    assert all("linea-stack-" in old or "RELEASE_NAMESPACE" in old for old, _ in changed)
    assert all("RELEASE_NAMESPACE" not in new for _, new in changed)
