"""Every panel of Grafana's dashboards shows something, and what it shows is what it says.

Grafana itself is not run: a panel's queries are, by Prometheus' own engine (promtool), on series as
docs/metrics.md describes them for the objects of the chart's fullest values.
"""

from __future__ import annotations

import itertools
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.core import programs, toolchain
from scripts.kubernetes import promql
from scripts.kubernetes.manifest import Manifest
from scripts.rendering import helm
from tests.conftest import ROOT
from tests.objects import (
    CHART,
    FULL,
    containers,
    of_environment,
    of_kind,
    of_values,
    pod,
)

FILES = sorted(CHART.glob("files/dashboards/*.json"))
NAMES = [file.stem for file in FILES]
DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
NAMESPACE = "sample"
VARIABLES = {"$namespace": NAMESPACE, "$pod": ".+", "$__rate_interval": "4m"}
"""A value for each of Grafana's variables, as it would put it into an expression."""

MOST_BYTES = 1024 * 1024
"""Of a ConfigMap: https://kubernetes.io/docs/concepts/configuration/configmap/"""
MOST_UID = 40
"""Characters: https://grafana.com/docs/grafana/latest/developers/http_api/dashboard/"""
COLUMNS = 24


@dataclass(frozen=True, slots=True)
class Query:
    """An expression of a dashboard, with sample values in place of variables."""

    name: str
    expression: str
    legend: str


@lru_cache
def rendered(environment: str) -> dict[str, dict[str, Any]]:
    """Return the dashboards that an environment's ConfigMaps hold, by the names of their files."""
    found: dict[str, dict[str, Any]] = {}
    for manifest in of_kind(of_environment(environment)[1], "ConfigMap"):
        if manifest.component == "dashboards":
            found |= {key: json.loads(text) for key, text in manifest.object["data"].items()}
    return found


def dashboard(name: str) -> dict[str, Any]:
    return rendered("prod")[f"linea-prod-linea-stack-{name}.json"]


def substituted(text: str) -> str:
    for variable, value in VARIABLES.items():
        text = text.replace(variable, value)
    return text


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries(panel: dict[str, Any]) -> list[Query]:
    return [
        Query(
            f"dashboard:panel_{panel['id']}_{target['refId']}",
            substituted(target["expr"]),
            target["legendFormat"],
        )
        for target in panel.get("targets", [])
    ]


def variables(board: dict[str, Any]) -> Iterator[Query]:
    """Yield the queries that fill the dashboard's variables, as expressions."""
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            text = variable["query"]["query"]
            found = re.fullmatch(r"label_values\((.+), (\w+)\)", text)
            assert found, f"{text} is not label_values(expression, label)"
            expression = f"count by ({found[2]}) ({substituted(found[1])})"
            legend = "{{" + found[2] + "}}"
            yield Query(f"dashboard:variable_{variable['name']}", expression, legend)


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
    if any(re.search(r"_(seconds|seconds_bucket|time|time_sum|timestamp)$", n) for n in names):
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


# Sample series

CHOICES = {
    "action": ["end of minor GC"],
    "area": ["heap", "nonheap"],
    "cause": ["G1 Evacuation Pause"],
    "condition": ["true", "false", "unknown"],
    "created_by_kind": ["StatefulSet"],
    "endpoint": ["http://localhost:8550"],
    "errorType": ["INTERNAL_ERROR", "INVALID_PARAMS"],
    "id": ["G1 Eden Space", "G1 Old Gen"],
    "layer": ["prioritized", "ready", "sparse"],
    "le": ["0.1", "1", "+Inf"],
    "method": ["newPayload", "forkChoiceUpdate"],
    "methodName": ["eth_call", "eth_getLogs", "engine_newPayloadV4"],
    "owner_kind": ["CronJob"],
    "quantile": ["0.2", "0.5", "0.8", "0.95", "0.99", "1.0"],
    "reason": ["OOMKilled", "NONCE_TOO_FAR_IN_FUTURE_FOR_SENDER"],
    "resource": ["cpu", "memory"],
    "role": ["proposer", "non_proposer"],
    "rpcMethod": ["eth_call", "engine_newPayloadV4"],
    "status": ["success", "failure"],
}
"""Values of labels that expressions tell apart; of any other label, its name is the one value."""

KINDS = (
    "container",
    "pod",
    "persistentvolumeclaim",
    "statefulset",
    "deployment",
    "horizontalpodautoscaler",
    "cronjob",
    "job_name",
)
"""Labels that tell what a series of kube-state-metrics or the kubelet is of."""

Labels = dict[str, str]


@lru_cache
def things() -> dict[str, list[Labels]]:
    """Return the labels of what the exporters tell of: pods and containers, sets, claims, Jobs."""
    objects = of_values(FULL)
    found: dict[str, list[Labels]] = {}

    def add(label: str, **labels: str) -> None:
        found.setdefault(label, []).append(labels)

    for manifest in objects:
        if manifest.kind == "StatefulSet":
            add("statefulset", statefulset=manifest.name)
        elif manifest.kind == "Deployment":
            add("deployment", deployment=manifest.name)
        elif manifest.kind == "HorizontalPodAutoscaler":
            add("horizontalpodautoscaler", horizontalpodautoscaler=manifest.name)
        elif manifest.kind == "CronJob":
            add("cronjob", cronjob=manifest.name)
            for time in ("29400000", "29400360"):
                add("job_name", job_name=f"{manifest.name}-{time}", owner_name=manifest.name)
        template = pod(manifest)
        if not template or manifest.kind == "Pod":
            continue
        for ordinal in range(2):
            name = f"{manifest.name}-{ordinal}"
            add("pod", pod=name)
            if manifest.kind == "StatefulSet":
                add("persistentvolumeclaim", persistentvolumeclaim=f"data-{name}")
            for container in containers(template):
                add("container", pod=name, container=container["name"])
                ports = {port["name"] for port in container.get("ports", [])}
                if "metrics" in ports or container["name"] == "maru":
                    exporter = "Maru" if container["name"] == "maru" else "Besu"
                    follows = manifest.component == "besu" and exporter == "Maru"
                    job = f"{manifest.name}-maru" if follows else manifest.name
                    add(exporter, pod=name, container=container["name"], job=job)
    return found


def sets(metric: promql.Metric, exporter: str) -> Iterator[Labels]:
    """Yield the labels of a metric's sample series by one exporter."""
    told = exporter if exporter in things() else next((k for k in KINDS if k in metric.labels), "")
    for thing in things().get(told, [{}]):
        own = sorted(metric.labels - thing.keys() - {"namespace"})
        for values in itertools.product(*(CHOICES.get(label, [label]) for label in own)):
            yield {"namespace": NAMESPACE, **thing, **dict(zip(own, values, strict=True))}


def samples(name: str, metric: promql.Metric, labels: Labels) -> str:
    """Return the values of a series, in promtool's notation, a minute apart."""
    if name == "jvm_memory_max_bytes" and labels.get("id") == "G1 Eden Space":
        return "-1x120"
    if metric.type == "counter":
        return "0+60x120"
    if metric.type == "histogram":
        return f"0+{CHOICES['le'].index(labels['le']) + 1}x120"
    if name.endswith("_available_bytes"):
        return "1000000-100x120"
    return "100+1x120"


@lru_cache
def series() -> list[dict[str, str]]:
    found: dict[str, str] = {}
    for name, metric in promql.metrics().items():
        for exporter in metric.exporters:
            for labels in sets(metric, exporter):
                if exporter == "Besu" and name.startswith("jvm_memory_"):
                    labels.pop("id", None)
                inside = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
                found[f"{name}{{{inside}}}"] = samples(name, metric, labels)
    return [{"series": name, "values": values} for name, values in found.items()]


def evaluated(asked: list[Query], folder: Path) -> list[str]:
    """Return what is wrong with the results of the queries on the sample series.

    Each query is a recording rule, whose result must have a number, and must have the labels of
    the legend and be told apart by them.
    """
    checks = []
    for query in asked:
        labels = re.findall(r"\{\{(\w+)\}\}", query.legend)
        by = f"count by ({', '.join(labels)}) ({query.name})"
        checks.append((f"count({query.name} == {query.name}) > bool 0", 1))
        checks.append((f"count({query.name}) - count({by})", 0))
        checks += [(f'count({query.name}{{{label}=""}}) or vector(0)', 0) for label in labels]
    rules = [{"record": query.name, "expr": query.expression} for query in asked]
    (folder / "rules.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), "utf-8"
    )
    test = {
        "interval": "1m",
        "input_series": series(),
        "promql_expr_test": [
            {"expr": expr, "eval_time": "2h", "exp_samples": [{"labels": "{}", "value": value}]}
            for expr, value in checks
        ],
    }
    given = {"rule_files": ["rules.yaml"], "evaluation_interval": "30m", "tests": [test]}
    (folder / "test.yaml").write_text(yaml.safe_dump(given), "utf-8")
    command: list[str | Path] = [toolchain.tool("promtool"), "test", "rules", "test.yaml"]
    done = programs.run(command, "promtool", 1800, cwd=folder)
    told = done.stdout + done.stderr
    return [line.strip() for line in told.splitlines() if line.strip()] if done.returncode else []


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_says_what_it_shows_and_asks_for_what_there_is(name: str) -> None:
    found = {panel["title"]: flaws(panel) for panel in panels(dashboard(name))}
    assert {title: told for title, told in found.items() if told} == {}


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_and_variable_shows_something(name: str, tmp_path: Path) -> None:
    board = dashboard(name)
    asked = [query for panel in panels(board) for query in queries(panel)]
    assert evaluated([*asked, *variables(board)], tmp_path) == []


@pytest.mark.parametrize(
    ("expression", "legend", "told"),
    [
        ("up * on (instance) ethereum_peer_limit", "{{instance}}", "duplicate series"),
        ('up{namespace="other"}', "{{pod}}", "count("),
        ('up - on (pod) kube_pod_info{pod="other"}', "{{pod}}", "count("),
        ("0 * up / 0", "{{job}} {{pod}} {{container}}", "== dashboard:it"),
        ("sum by (pod) (ethereum_peer_count)", "{{pod}} {{container}}", "it{container="),
        ("ethereum_peer_count", "{{container}}", "- count(count by (container)"),
        ("sum(ethereum_peer_count", "peers", "unclosed left parenthesis"),
    ],
)
def test_a_query_that_shows_nothing_or_the_wrong_thing_is_found(
    expression: str, legend: str, told: str, tmp_path: Path
) -> None:
    found = evaluated([Query("dashboard:it", expression, legend)], tmp_path)
    assert any(told in line for line in found), found


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
        ROOT / f"overlays/prod/manifests/configmap-linea-stack-dashboard-{name}.yaml"
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
