"""Every panel of Grafana's dashboards shows something, and what it shows is what it says.

Grafana itself is not run: a panel's queries are, by Prometheus' own engine (promtool), on series as
docs/metrics.md describes them for the objects of the chart's fullest values.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.core import programs
from scripts.kubernetes import promql
from tests.chart.dashboards import NAMES, NAMESPACE, Query, dashboard, panels, queries, substituted
from tests.objects import FULL, containers, of_values, pod
from tests.optional_tools import tool


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
    "operation": ["confirmed", "promoted"],
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
    command: list[str | Path] = [tool("promtool"), "test", "rules", "test.yaml"]
    done = programs.run(command, "promtool", 1800, cwd=folder)
    told = done.stdout + done.stderr
    return [line.strip() for line in told.splitlines() if line.strip()] if done.returncode else []


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


def _value(expression: str, samples: dict[str, str], value: float, folder: Path) -> str:
    """Return what promtool says unless an expression has this value after an hour of the series."""
    (folder / "rules.yaml").write_text("groups: []\n", "utf-8")
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": text} for name, text in samples.items()],
        "promql_expr_test": [
            {
                "expr": f"round(max({substituted(expression)}))",
                "eval_time": "1h",
                "exp_samples": [{"labels": "{}", "value": value}],
            }
        ],
    }
    (folder / "test.yaml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": [test]}), "utf-8"
    )
    command: list[str | Path] = [tool("promtool"), "test", "rules", "test.yaml"]
    done = programs.run(command, "promtool", 1800, cwd=folder)
    return done.stdout + done.stderr if done.returncode else ""


def _expression(title: str, legend: str) -> str:
    panel = next(one for one in panels(dashboard("execution")) if one["title"] == title)
    return next(str(one["expr"]) for one in panel["targets"] if one["legendFormat"] == legend)


@pytest.mark.parametrize(
    ("operations", "value"),
    [
        # Besu counts a confirmed transaction twice, here two a second.
        ({"confirmed": "0+240x60"}, 2),
        ({"confirmed": "0+240x60", "dropped": "0+60x60"}, 3),
        ({"dropped": "0+60x60"}, 1),
    ],
)
def test_a_confirmed_transaction_leaves_the_pool_once(
    operations: dict[str, str], value: float, tmp_path: Path
) -> None:
    name = "besu_transaction_pool_removed_total"
    samples = {
        f'{name}{{namespace="{NAMESPACE}",pod="besu-0",operation="{operation}"}}': text
        for operation, text in operations.items()
    }
    expression = _expression("In, out, rejected", "out")
    assert _value(expression, samples, value, tmp_path) == ""


def test_a_node_whose_maru_sends_it_nothing_is_behind_its_peers(tmp_path: Path) -> None:
    heights = {"sequencer-0": 117, "besu-0": 100}
    samples = {
        f'{metric}{{namespace="{NAMESPACE}",pod="{pod}"}}': f"{height}x60"
        for metric in ("ethereum_blockchain_height", "ethereum_best_known_block_number")
        for pod, height in heights.items()
    }
    expression = _expression("Behind the best block that any node knows", "{{pod}}")
    assert _value(expression, samples, 17, tmp_path) == ""
