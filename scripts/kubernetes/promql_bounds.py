"""Between which numbers the value of a PromQL expression is, and which comparisons never hold."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Bounds = tuple[float, float]
"""The least and the greatest value that is possible."""
MetricBounds = Callable[[str], Bounds]

ANY: Bounds = (-math.inf, math.inf)
POSITIVE: Bounds = (0, math.inf)
SHARE: Bounds = (0, 1)

_COMPARED = {">", "<", ">=", "<=", "==", "!="}
_ADDED = {"+": operator.add, "-": operator.sub, "*": operator.mul}
_SAME = {"min", "max", "avg", "quantile", "topk", "bottomk", "limitk", "limit_ratio"}
_KEPT = {
    "avg_over_time",
    "label_join",
    "label_replace",
    "last_over_time",
    "max_over_time",
    "min_over_time",
    "scalar",
    "sort",
    "sort_desc",
    "vector",
}
"""Functions whose result is within the bounds of their first argument."""
_NOT_NEGATIVE = {"changes", "increase", "irate", "rate", "resets", "time"}
_PART_OF_WHOLE = (
    (r"(used|available|free|usage)", r"(max|capacity|limit|size|total)"),
    (r"(error|fail)", r"(request|count|total)"),
)
"""Words in the names of two metrics, of which the first is never greater than the second."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison whose result is known in advance."""

    text: str
    value: Bounds
    """Of its left side."""
    limit: Bounds
    """Of its right side."""
    is_always: bool
    """Whether it always holds; otherwise it never does."""


def of(node: Any, metric: MetricBounds) -> Bounds:
    """Return the bounds of a node of a syntax tree.

    metric: returns the bounds of a metric by its name.
    """
    kind = type(node).__name__
    if kind == "NumberLiteral":
        return node.val, node.val
    if kind in ("ParenExpr", "SubqueryExpr"):
        return of(node.expr, metric)
    if kind == "UnaryExpr":
        low, high = of(node.expr, metric)
        return -high, -low
    if kind == "VectorSelector":
        return metric(node.name or "")
    if kind == "MatrixSelector":
        return metric(node.vector_selector.name or "")
    if kind == "AggregateExpr":
        return _of_aggregation(str(node.op), of(node.expr, metric))
    if kind == "Call":
        return _of_call(node, metric)
    return _of_binary(node, metric) if kind == "BinaryExpr" else ANY


def _of_aggregation(name: str, inner: Bounds) -> Bounds:
    if name in _SAME:
        return inner
    if name == "sum":
        return (0 if inner[0] >= 0 else -math.inf), (0 if inner[1] <= 0 else math.inf)
    return (1, math.inf) if name in ("count", "count_values") else ANY


def _of_call(node: Any, metric: MetricBounds) -> Bounds:
    name = node.func.name
    if name in _NOT_NEGATIVE:
        return POSITIVE
    if name in ("absent", "absent_over_time"):
        return 1, 1
    if name == "count_over_time":
        taken = node.args[0]
        step = getattr(taken, "step", None)
        # A subquery has one sample for each step, and one at its begin.
        return 1, (taken.range // step + 1 if step else math.inf)
    if name in _KEPT and node.args:
        return of(node.args[0], metric)
    return ANY


def _of_binary(node: Any, metric: MetricBounds) -> Bounds:
    name = str(node.op)
    left, right = of(node.lhs, metric), of(node.rhs, metric)
    if name in _COMPARED:
        if node.modifier and node.modifier.return_bool:
            return SHARE
        return right if _is_number(node.lhs) else left
    if name in ("and", "unless"):
        return left
    if name == "or":
        return min(left[0], right[0]), max(left[1], right[1])
    if name in _ADDED:
        results = [_ADDED[name](one, other) for one in left for other in right]
        return ANY if any(map(math.isnan, results)) else (min(results), max(results))
    if name == "/":
        if _is_number(node.rhs) and right[0] > 0:
            return left[0] / right[0], left[1] / right[0]
        if _is_part_of_whole(node):
            return SHARE
        return POSITIVE if left[0] >= 0 and right[0] >= 0 else ANY
    return ANY


def _is_number(node: Any) -> bool:
    kind = type(node).__name__
    if kind in ("ParenExpr", "UnaryExpr"):
        return _is_number(node.expr)
    if kind == "BinaryExpr":
        return _is_number(node.lhs) and _is_number(node.rhs)
    return kind == "NumberLiteral"


def _metrics(node: Any) -> list[str]:
    """Return the metrics that a node takes."""
    return re.findall(r"([a-zA-Z_:][\w:]*)\{", str(node))


def _is_scaled(node: Any) -> bool:
    """Return whether a node computes with its metrics, as 100 * x does."""
    kind = type(node).__name__
    if kind == "BinaryExpr":
        inner = _is_scaled(node.lhs) or _is_scaled(node.rhs)
        return inner or str(node.op) in (*_ADDED, "/", "%", "^")
    if kind == "Call":
        return any(_is_scaled(argument) for argument in node.args)
    return kind == "UnaryExpr" or (hasattr(node, "expr") and _is_scaled(node.expr))


def _is_part_of_whole(node: Any) -> bool:
    """Return whether a division is that of a part by its whole, by the names of their metrics."""
    parts, wholes = set(_metrics(node.lhs)), set(_metrics(node.rhs))
    if len(parts) != 1 or len(wholes) != 1 or _is_scaled(node.lhs) or _is_scaled(node.rhs):
        return False
    (part,), (whole,) = parts, wholes
    is_alike = part.split("_")[:2] == whole.split("_")[:2]
    return is_alike and any(re.search(p, part) and re.search(w, whole) for p, w in _PART_OF_WHOLE)


def decided(node: Any, metric: MetricBounds, is_outermost: bool = True) -> Iterator[Comparison]:
    """Yield the comparisons that never hold, and the outermost ones that always do.

    metric: returns the bounds of a metric by its name.
    """
    kind = type(node).__name__
    if kind == "ParenExpr":
        yield from decided(node.expr, metric, is_outermost)
    elif kind == "BinaryExpr":
        name = str(node.op)
        is_bool = bool(node.modifier and node.modifier.return_bool)
        if name in _COMPARED and not is_bool:
            yield from _decided(node, name, metric, is_outermost)
        is_branch = is_outermost and name == "or"
        for side in (node.lhs, node.rhs):
            yield from decided(side, metric, is_branch)
    elif kind in ("AggregateExpr", "SubqueryExpr"):
        yield from decided(node.expr, metric, is_outermost=False)
    elif kind == "Call":
        for argument in node.args:
            yield from decided(argument, metric, is_outermost=False)


def _decided(
    node: Any, name: str, metric: MetricBounds, is_outermost: bool
) -> Iterator[Comparison]:
    left, right = of(node.lhs, metric), of(node.rhs, metric)
    if left[0] == left[1] or _is_number(node.lhs):
        return  # a number, or absent(), whose only value is 1
    always, never = {
        ">": (left[0] > right[1], left[1] <= right[0]),
        ">=": (left[0] >= right[1], left[1] < right[0]),
        "<": (left[1] < right[0], left[0] >= right[1]),
        "<=": (left[1] <= right[0], left[0] > right[1]),
        "==": (False, left[1] < right[0] or left[0] > right[1]),
        "!=": (left[1] < right[0] or left[0] > right[1], False),
    }[name]
    if never or (always and is_outermost):
        yield Comparison(f"{name} {node.rhs}", left, right, is_always=not never)
