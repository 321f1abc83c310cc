"""What tests of rules and dashboards know about an expression is so."""

from __future__ import annotations

import re
from typing import Any

import pytest

from scripts.kubernetes import promql
from scripts.kubernetes.promql import Matcher, Metric, Selector


@pytest.mark.parametrize(
    ("text", "metrics", "labels"),
    [
        ("up", {"up"}, set()),
        ("up{}", {"up"}, set()),
        ("{__name__='up', job=`a`}", {"up"}, {"job"}),
        ('{"up", "job"="a"}', {"up"}, {"job"}),
        ('rate(a_total{pod=~"x{1,2}|by(y)"}[5m])', {"a_total"}, {"pod"}),
        (r'a{b="\"} + c{d=\"e"} / f', {"a", "f"}, {"b"}),
        ("a{b='it\\'s, {c}',} # + d{e=\"f\"}\n- g", {"a", "g"}, {"b"}),
        ("sum by (a, b) (c)", {"c"}, {"a", "b"}),
        ("SUM(c) BY (a)", {"c"}, {"a"}),
        ("sum without(a) (c) > bool 1e3", {"c"}, {"a"}),
        ("topk(3, rate(a[1h30m:30s] offset -5m @ start()))", {"a"}, set()),
        ("a * on (b) group_left (c, d) e", {"a", "e"}, {"b", "c", "d"}),
        ("a * ignoring(b) group_right e unless on() f or vector(-Inf)", {"a", "e", "f"}, {"b"}),
        ("histogram_quantile(0.9, sum by (le) (rate(a_bucket[5m])))", {"a_bucket"}, {"le"}),
        ("count(count)", {"count"}, set()),
        ("sum and min == rate", {"sum", "min", "rate"}, set()),
        ("job:a:rate5m / job:b:rate5m", {"job:a:rate5m", "job:b:rate5m"}, set()),
        ('label_replace(a, "b", "$1", "c", "(.*)")', {"a"}, {"c"}),
        ('sum by (b) (label_join(a{d="x,y"}, "b", "-", "c", "e"))', {"a"}, {"c", "d", "e"}),
        ('label_replace(a, "b", "it", "", "")', {"a"}, set()),
        ('count_values by (c) ("b", a)', {"a"}, {"c"}),
        ('count_values("b", a)', {"a"}, set()),
        ("predict_linear(a[6h], 4 * 3600) < 0x1F", {"a"}, set()),
        ("time() - a > 5m", {"a"}, set()),
        (".5 * a ^ 2.", {"a"}, set()),
    ],
)
def test_metrics_and_labels_of_an_expression_are_found(
    text: str, metrics: set[str], labels: set[str]
) -> None:
    found = promql.parse(text)
    assert found.metrics == metrics
    assert found.labels == labels


def test_each_selector_keeps_its_own_conditions() -> None:
    assert promql.parse('a{b="1", c!~"2|3"} / a').selectors == (
        Selector("a", (Matcher("b", "=", "1"), Matcher("c", "!~", "2|3"))),
        Selector("a", ()),
    )


@pytest.mark.parametrize(
    "text", ["a{b='c'", 'a{b="c}', "rate(a[5m)", "a $b", "rate(a)", "of(a)", '{__name__=~"a.*"}']
)
def test_what_prometheus_would_not_take_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|unterminated|unknown|by a pattern"):
        promql.parse(text)


PAGE = """
| Exporter | Job | Labels of the target |
|---|---|---|
| Besu | `x`, `y` | `job` `pod` |
| kubelet | any | `node` |

| Metric | Type | Labels | Exporter | Meaning |
|---|---|---|---|---|
| `a_total` | counter | `code` | Besu | its `text` and a \\| |
| `b_bucket` | histogram | `le` | Besu, kubelet | |

The row `x` is in no table.

| Metric | Type | Labels | Exporter | Meaning |
|---|---|---|---|---|
| `c` | gauge | | kubelet | |
"""
KNOWN = {
    "a_total": Metric("counter", frozenset({"job", "pod", "code"}), ("Besu",)),
    "b_bucket": Metric("histogram", frozenset({"job", "pod", "le", "node"}), ("Besu", "kubelet")),
    "c": Metric("gauge", frozenset({"node"}), ("kubelet",)),
}


def test_a_page_s_tables_of_metrics_are_read() -> None:
    assert promql.documented(PAGE) == KNOWN


def test_a_metric_is_documented_once() -> None:
    with pytest.raises(ValueError, match="c is listed twice"):
        promql.documented(PAGE + "| `c` | gauge | | kubelet | again |\n")


def test_an_exporter_whose_labels_nobody_tells_is_refused() -> None:
    with pytest.raises(KeyError, match="Maru"):
        promql.documented(PAGE + "| `d` | gauge | | Maru | |\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('sum by (code) (a_total{pod="x"}) / on() c', []),
        ("a_totals", ["no metric is called a_totals"]),
        ('{pod="x"}', ["no metric is called (any name)"]),
        ('a_total{node="x"} + c', ["a_total has no label node"]),
        ('c{pod="x"} + on (pod) a_total', ["c has no label pod"]),
        ("sum by (le) (a_total)", ["none of its metrics has a label le"]),
        ('sum by (le) (label_replace(a_total, "le", "$1", "pod", "(.*)"))', []),
    ],
)
def test_what_the_page_does_not_know_is_told(text: str, told: list[str]) -> None:
    assert [m.message for m in promql.mistakes(promql.parse(text), KNOWN)] == told


@pytest.mark.parametrize(
    "text",
    [
        'up{namespace="linea-prod", job!="a"} offset 5m > 1',
        'sum by (pod) (rate(a{namespace="linea-prod"}[5m]))',
        'label_replace(up, "linea-prod", "$1", "b", "c")',
        'count_values("linea-prod", up)',
        "up{job='\"linea-prod\"'}",
        'up{job="\\"linea-prod"}',
        "sum(up)",
    ],
)
@pytest.mark.parametrize("namespace", ["linea-prod", "sum", "up", "pod", ""])
def test_an_expression_is_the_same_with_its_namespace_taken_out(text: str, namespace: str) -> None:
    text = text.replace("linea-prod", namespace or "linea-prod")
    try:
        expected: Any = (promql.parse(text), str(promql.tree(text)))
    except ValueError as error:
        with pytest.raises(ValueError, match=re.escape(str(error))):
            promql.parse_in(text, namespace)
        return
    tree = promql.with_namespace(str(promql.tree_in(text, namespace)), namespace)
    assert (promql.parse_in(text, namespace), tree) == expected


def test_expressions_of_several_namespaces_are_parsed_once() -> None:
    promql.parse.cache_clear()
    for namespace in ("a", "b", "c"):
        promql.parse_in(f'max(up{{namespace="{namespace}"}})', namespace)
    assert promql.parse.cache_info().misses == 1
