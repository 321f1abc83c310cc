"""Which metrics and labels a PromQL expression uses, and which of them docs/metrics.md knows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from scripts.core import repository

PAGE = repository.ROOT / "docs" / "metrics.md"
"""The one list of metrics, for people and for rules."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on a label in a selector's braces."""

    label: str
    operator: str
    value: str


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric's name, empty if there are only braces, and its conditions."""

    metric: str
    matchers: tuple[Matcher, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time for which an expression takes a metric."""

    selector: Selector
    seconds: float
    function: str
    """The function that gets the samples of a range; empty for an offset."""


@dataclass(frozen=True, slots=True)
class Metric:
    """What docs/metrics.md says of a metric."""

    type: str
    labels: frozenset[str]
    """Its own, and those of the targets of all who export it."""
    exporters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mistake:
    """A metric or a label that is not known."""

    message: str
    word: str
    known: tuple[str, ...]
    """Those that may be written in its place."""


@dataclass(frozen=True, slots=True)
class Expression:
    """What an expression takes from the database, and what it then asks of it."""

    selectors: tuple[Selector, ...]
    grouped: frozenset[str]
    """Labels that aggregations, matchings and label functions name."""
    created: frozenset[str]
    """Labels that label functions make."""
    windows: tuple[Window, ...]
    """Its ranges and offsets."""

    @property
    def metrics(self) -> frozenset[str]:
        """Return the names of the metrics that it takes."""
        return frozenset(selector.metric for selector in self.selectors)

    @property
    def labels(self) -> frozenset[str]:
        """Return all labels that it names and does not make itself."""
        matched = {m.label for selector in self.selectors for m in selector.matchers}
        return (self.grouped | matched) - self.created


@lru_cache(maxsize=1024)
def parse(text: str) -> Expression:
    """Return what an expression uses. Raises ValueError for what Prometheus would not take."""
    import promql_parser  # only where there are expressions: its import takes a while

    found = _Found()
    # Returning nothing goes on with the walk.
    promql_parser.walk(tree(text), lambda node: _visit(node, found))
    return Expression(
        tuple(found.selectors),
        frozenset(found.grouped),
        frozenset(found.created),
        tuple(found.windows),
    )


_STANDS_FOR_IT = "any-namespace-of-all"
"""Stands for a namespace in an expression. It is no label name, as a namespace is often none."""


@lru_cache(maxsize=1024)
def parse_in(text: str, namespace: str) -> Expression:
    """Return what parse does; expressions that differ only in their namespace are parsed once."""
    without = _without(text, namespace)
    try:
        found = parse(without)
    except ValueError:  # its message has to be about the text itself
        return parse(text)
    if without == text:
        return found

    def back(part: str) -> str:
        return with_namespace(part, namespace)

    return Expression(
        tuple(_with_values(selector, back) for selector in found.selectors),
        frozenset(map(back, found.grouped)),
        frozenset(map(back, found.created)),
        tuple(
            Window(_with_values(window.selector, back), window.seconds, window.function)
            for window in found.windows
        ),
    )


def _with_values(selector: Selector, change: Callable[[str], str]) -> Selector:
    """Return a selector with other values."""
    matchers = (
        Matcher(each.label, each.operator, change(each.value)) for each in selector.matchers
    )
    return Selector(change(selector.metric), tuple(matchers))


def tree_in(text: str, namespace: str) -> Any:
    """Return the syntax tree of an expression, for with_namespace. Raises ValueError."""
    try:
        return tree(_without(text, namespace))
    except ValueError:
        return tree(text)


def with_namespace(part: str, namespace: str) -> str:
    """Return a part of what tree_in returns, as the expression has it."""
    return part.replace(_STANDS_FOR_IT, namespace)


def _without(text: str, namespace: str) -> str:
    """Return an expression with something else instead of a namespace."""
    if _STANDS_FOR_IT in text or not namespace:
        return text
    return text.replace(f'"{namespace}"', f'"{_STANDS_FOR_IT}"')


@lru_cache(maxsize=1024)
def tree(text: str) -> Any:
    """Return the syntax tree of an expression, as promql_parser has it. Raises ValueError."""
    import promql_parser

    return promql_parser.parse(text)


@dataclass(slots=True)
class _Found:
    selectors: list[Selector] = field(default_factory=list)
    grouped: set[str] = field(default_factory=set)
    created: set[str] = field(default_factory=set)
    windows: list[Window] = field(default_factory=list)


def _visit(node: Any, found: _Found) -> None:
    """Note what one part of an expression uses."""
    kind = type(node).__name__
    if kind == "VectorSelector":
        selector = _selector(node)
        found.selectors.append(selector)
        if node.offset and node.offset.total_seconds() > 0:
            found.windows.append(Window(selector, node.offset.total_seconds(), ""))
    elif kind == "AggregateExpr":
        found.grouped.update(node.modifier.labels if node.modifier else ())
        if str(node.op) == "count_values":
            found.created.add(node.param.val)
    elif kind == "BinaryExpr" and node.modifier:
        matching = node.modifier.matching
        found.grouped.update(matching.labels if matching else ())
        found.grouped.update(node.modifier.group_labels or ())
    elif kind == "Call":
        _visit_call(node, found)


def _visit_call(node: Any, found: _Found) -> None:
    for argument in node.args:
        if type(argument).__name__ == "MatrixSelector":
            selector = _selector(argument.vector_selector)
            seconds = argument.range.total_seconds()
            found.windows.append(Window(selector, seconds, node.func.name))
    if node.func.name in ("label_replace", "label_join"):
        texts = [getattr(argument, "val", "") for argument in node.args]
        found.created.add(texts[1])
        read = texts[3:4] if node.func.name == "label_replace" else texts[3:]
        found.grouped.update(set(read) - {""})


_OPERATORS = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}


def _selector(node: Any) -> Selector:
    metric, matchers = node.name or "", []
    for matcher in node.matchers.matchers:
        operator = _OPERATORS[str(matcher.op).rpartition(".")[2]]
        if matcher.name != "__name__":
            matchers.append(Matcher(matcher.name, operator, matcher.value))
        elif operator == "=":
            metric = matcher.value
        else:
            raise ValueError("a metric is selected by a pattern of its name")
    return Selector(metric, tuple(matchers))


def mistakes(expression: Expression, known: Mapping[str, Metric]) -> list[Mistake]:
    """Return what the expression uses that is not known."""
    found = []
    for selector in expression.selectors:
        if selector.metric not in known:
            message = f"no metric is called {selector.metric or '(any name)'}"
            found.append(Mistake(message, selector.metric, tuple(known)))
            continue
        labels = known[selector.metric].labels
        found += [
            Mistake(f"{selector.metric} has no label {m.label}", m.label, tuple(sorted(labels)))
            for m in selector.matchers
            if m.label not in labels
        ]
    there = {label for name in expression.metrics & known.keys() for label in known[name].labels}
    unknown = sorted(expression.grouped - expression.created - there)
    # Of metrics that are not known, neither are the labels.
    unknown = unknown if expression.metrics <= known.keys() else []
    names = tuple(sorted(there))
    return found + [
        Mistake(f"none of its metrics has a label {one}", one, names) for one in unknown
    ]


@lru_cache
def metrics() -> Mapping[str, Metric]:
    """Return the metrics that docs/metrics.md knows, by name."""
    return documented(PAGE.read_text("utf-8"))


def documented(page: str) -> dict[str, Metric]:
    """Return the metrics of the page's tables, by name.

    Its first table tells the labels of each exporter's targets, the others a metric a row.
    Raises ValueError if a metric is listed twice, KeyError where its exporter is not known.
    """
    rows = list(_rows(page))
    targets = {
        row["Exporter"]: frozenset(_quoted(row["Labels of the target"]))
        for row in rows
        if "Labels of the target" in row
    }
    found: dict[str, Metric] = {}
    for row in rows:
        if "Metric" not in row:
            continue
        (name,) = _quoted(row["Metric"])
        if name in found:
            raise ValueError(f"{name} is listed twice")
        exporters = tuple(row["Exporter"].split(", "))
        labels = frozenset(_quoted(row["Labels"])).union(*(targets[one] for one in exporters))
        found[name] = Metric(row["Type"], labels, exporters)
    return found


def _rows(page: str) -> Iterator[dict[str, str]]:
    """Yield the rows of all tables, by the titles of their columns."""
    head: list[str] = []
    for line in page.splitlines():
        if not line.startswith("|"):
            head = []
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])]
        if not head:
            head = cells
        elif not set(line) <= set("|-: "):
            yield dict(zip(head, cells, strict=True))


def _quoted(cell: str) -> list[str]:
    return re.findall(r"`([\w:]+)`", cell)


_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
_PART = re.compile(r"(\d+)(ms|[smhdwy])")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")


def seconds(duration: Any) -> float:
    """Return the seconds of a duration like 1m30s; 0 if it is invalid."""
    text = str(duration)
    if not _DURATION.fullmatch(text):
        return 0
    return sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def duration(seconds: float) -> str:
    """Return the duration of whole seconds, in the largest unit that has no remainder: 90s, 5m."""
    for unit in ("d", "h", "m"):
        if seconds >= _UNITS[unit] and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:.0f}{unit}"
    return f"{seconds:.0f}s"
