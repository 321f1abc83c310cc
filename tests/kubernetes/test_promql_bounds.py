"""Between which numbers the value of an expression is."""

from __future__ import annotations

import math

import pytest

from scripts.kubernetes import promql, promql_bounds
from scripts.kubernetes.promql_bounds import ANY, POSITIVE, SHARE, Bounds

INF = math.inf
METRICS = {
    "up": SHARE,
    "jvm_memory_used_bytes": POSITIVE,
    "jvm_memory_max_bytes": POSITIVE,
    "besu_rpc_errors_count_total": POSITIVE,
    "besu_rpc_request_time_count": POSITIVE,
}


def _metric(name: str) -> Bounds:
    return METRICS.get(name, ANY)


@pytest.mark.parametrize(
    ("expression", "bounds"),
    [
        ("-(2 + 3) * 4", (-20, -20)),
        ("up", SHARE),
        ("unknown", ANY),
        ("sum by (job) (up)", POSITIVE),
        ("count(up)", (1, INF)),
        ("max by (job) (up)", SHARE),
        ("1 - avg(up)", SHARE),
        ("100 * up", (0, 100)),
        ("up / 2", (0, 0.5)),
        ("rate(unknown[5m])", POSITIVE),
        ("deriv(up[5m])", ANY),
        ("max_over_time(up[1h])", SHARE),
        ("count_over_time(up[5m:1m])", (1, 6)),
        ("absent(up)", (1, 1)),
        ("up > bool 2", SHARE),
        ("up > 0", SHARE),
        ("0 < up", SHARE),
        ("up and unknown", SHARE),
        ("up or unknown", ANY),
        ("up unless unknown", SHARE),
        ("jvm_memory_used_bytes / jvm_memory_max_bytes", SHARE),
        ("jvm_memory_max_bytes / jvm_memory_used_bytes", POSITIVE),
        ("100 * jvm_memory_used_bytes / jvm_memory_max_bytes", POSITIVE),
        ("100 * (jvm_memory_used_bytes / jvm_memory_max_bytes)", (0, 100)),
        ("sum(jvm_memory_used_bytes) / sum(jvm_memory_max_bytes > 0)", SHARE),
        (
            "rate(besu_rpc_errors_count_total[5m]) / rate(besu_rpc_request_time_count[5m])",
            SHARE,
        ),
        ("time() - up", (-1, INF)),
        ('label_replace(up, "a", "b", "c", "d")', SHARE),
        ("up % 2", ANY),
        ("up ^ 2", ANY),
        ("unknown / up", ANY),
        ('"text"', ANY),
    ],
)
def test_the_bounds_of_an_expression_are_known(expression: str, bounds: Bounds) -> None:
    assert promql_bounds.of(promql.tree(expression), _metric) == bounds


@pytest.mark.parametrize(
    ("expression", "decided"),
    [
        ("up > 1", ["> 1 never"]),
        ("up >= 0", [">= 0 always"]),
        ("up == 0", []),
        ("up == 2", ["== 2 never"]),
        ("up != 2", ["!= 2 always"]),
        ("up < 0", ["< 0 never"]),
        ("up <= 1", ["<= 1 always"]),
        ("(up > 2) or (up < 2)", ["> 2 never", "< 2 always"]),
        ("up > 2 and up < 2", ["> 2 never"]),
        ("sum(up < 2)", []),
        ("sum(up > 2)", ["> 2 never"]),
        ("max_over_time((up > 2)[5m:])", ["> 2 never"]),
        ("up > bool 2", []),
        ("absent(up) == 1", []),
        ("unknown > 5", []),
        ("1 > bool 2", []),
    ],
)
def test_comparisons_that_are_decided_beforehand_are_found(
    expression: str, decided: list[str]
) -> None:
    found = promql_bounds.decided(promql.tree(expression), _metric)
    told = [f"{one.text} {'always' if one.is_always else 'never'}" for one in found]
    assert told == decided
