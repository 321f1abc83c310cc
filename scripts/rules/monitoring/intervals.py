"""Intervals: expressions get enough samples, at the pace at which Prometheus scrapes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from scripts.chain import block_time
from scripts.core import advice
from scripts.core.findings import Severity
from scripts.kubernetes import monitors, promql
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.promql import Selector, Window
from scripts.kubernetes.workloads import mappings
from scripts.rules.monitoring.expressions import Query, queries
from scripts.rules.monitoring.scrapes import scrapes
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, once

_RATE = "https://www.robustperception.io/what-range-should-i-use-with-rate/"
_STALENESS = "https://prometheus.io/docs/prometheus/latest/querying/basics/#staleness"

_LOOKBACK_S = 300
"""Prometheus' --query.lookback-delta: an older sample counts as missing."""
_USUAL_S = 30
"""The interval of ServiceMonitors in chart/values.yaml."""
_LONG_S = 60
"""A longer interval is the cause, and otherwise the expression is."""
_HEIGHTS = {"ethereum_blockchain_height", "maru_metadata_cl_block_height"}
_NEED_TWO = {
    "changes",
    "delta",
    "deriv",
    "double_exponential_smoothing",
    "holt_winters",
    "idelta",
    "increase",
    "irate",
    "predict_linear",
    "rate",
    "resets",
}
"""Functions that compare the samples of a range, and have no result for a single one."""


@dataclass(frozen=True, slots=True)
class _Source:
    """What scrapes a job: an endpoint of a ServiceMonitor, or a Probe."""

    manifest: Manifest
    path: Where
    interval: str
    job: str

    @property
    def seconds(self) -> float:
        return promql.seconds(self.interval)

    @property
    def pace(self) -> str:
        """Return how often it scrapes, in words."""
        return f"{self.manifest.label} scrapes every {self.interval}"


@rule(_RATE, outcome=Outcome.HIDDEN)
def range_shorter_than_two_scrapes(objects: Objects) -> Iterator[Problem]:
    """Ranges in the expressions of rules and dashboards have at least two samples.

    Otherwise rate, increase and the like have no result: alerts on them never fire, and panels stay
    empty.
    """
    effect = "the range has fewer than two samples, so the expression has no result"
    yield from _short(objects, lambda samples: samples < 2, effect)


@rule(_RATE, Severity.WARNING, outcome=Outcome.RISK)
def range_shorter_than_four_scrapes(objects: Objects) -> Iterator[Problem]:
    """Ranges in the expressions of rules and dashboards have at least four samples.

    With fewer, a late scrape or one that fails is enough for rate, increase and the like to have no
    result.
    """
    effect = "with fewer than four samples, one failed scrape is enough for it to have no result"
    yield from _short(objects, lambda samples: 2 <= samples < 4, effect)


def _short(objects: Objects, is_bad: Callable[[float], bool], effect: str) -> Iterator[Problem]:
    """Yield the ranges with a bad number of samples: for each cause, the shortest one."""

    def is_wrong(window: Window, source: _Source) -> bool:
        return window.function in _NEED_TWO and is_bad(window.seconds / source.seconds)

    for query, window, source in _worst(objects, is_wrong):
        length = promql.duration(window.seconds)
        message = (
            f"{source.pace}, and {query.called} uses {window.function} over {length}: {effect}"
        )
        enough = promql.duration(_enough(objects, query, window, source))
        if source.seconds > _LONG_S:
            shorter = f"{min(_USUAL_S, int(window.seconds / 4))}s"
            fix = advice.write("interval", shorter).unless(
                f"; for a longer one, write ranges of {enough} or more in the expressions"
            )
            yield Problem(source.manifest, source.path, message, fix)
        else:
            right = advice.in_text(f"write a range of [{enough}]", *_range(query, window, enough))
            yield Problem(query.manifest, query.path, message, right)


def _enough(objects: Objects, query: Query, window: Window, source: _Source) -> float:
    """Return a range with four samples of all that feeds an expression, in seconds.

    An alert on changes needs a range longer than its `for`, too: alert-duration-exceeds-range.
    """
    feeding = [source, *_feeding(objects, window.selector)]
    usual = [4 * one.seconds for one in feeding if one is source or one.seconds <= _LONG_S]
    if window.function in ("changes", "resets"):
        usual.append(2 * promql.seconds(query.rule.get("for", "")))
    return max(usual)


def _range(query: Query, window: Window, length: str) -> tuple[str, str, str]:
    """Return an expression, a range in it, and another one."""
    found = re.findall(r"\[[0-9a-z]+\]", query.text)
    same = (one for one in found if promql.seconds(one[1:-1]) == window.seconds)
    return query.text, next(same, "[]"), f"[{length}]"


@rule(_STALENESS)
def offset_shorter_than_scrape(objects: Objects) -> Iterator[Problem]:
    """An offset in the expression of a rule is at least the interval between two scrapes.

    Otherwise the expression compares a sample with itself: an alert on a value that stands still
    fires for one that moves.
    """
    for query, window, source in _worst(
        objects, lambda window, source: not window.function and window.seconds < source.seconds
    ):
        length = promql.duration(window.seconds)
        message = (
            f"{source.pace}, and {query.called} compares with the value of {length} before, which "
            "may be the same sample"
        )
        fix: str = f"write offset {promql.duration(2 * source.seconds)}"
        if source.seconds > _LONG_S:
            fix = advice.write("interval", f"{_USUAL_S}s")
            yield Problem(source.manifest, source.path, message, fix)
        else:
            yield Problem(query.manifest, query.path, message, fix)


def _worst(
    objects: Objects, is_wrong: Callable[[Window, _Source], bool]
) -> list[tuple[Query, Window, _Source]]:
    """Return a wrong window of each cause: of a long interval, or of an expression.

    Those of rules come before those of dashboards, and short ones before long ones.
    """
    worst: dict[tuple[str, Where], tuple[Query, Window, _Source]] = {}
    wrong = [one for one in _taken(objects) if is_wrong(one[1], one[2])]
    for query, window, source in sorted(wrong, key=lambda one: (not one[0].rule, one[1].seconds)):
        of = source if source.seconds > _LONG_S else query
        worst.setdefault((of.manifest.label, of.path), (query, window, source))
    return list(worst.values())


@rule(_STALENESS, outcome=Outcome.HIDDEN)
def scrape_interval_above_lookback(objects: Objects) -> Iterator[Problem]:
    """Prometheus scrapes each target more often than every 5 minutes.

    It ignores samples that are older. So between two scrapes there are no metrics: alerts on them
    do not fire, and those on missing metrics do.
    """
    places = [
        (monitor, (*path, "interval"), endpoint.get("interval"))
        for monitor in objects.of_kind(*monitors.KINDS)
        for path, endpoint in monitors.endpoints(monitor)
    ]
    places += [
        (probe, ("spec", "interval"), probe.get("spec", "interval"))
        for probe in objects.of_kind("Probe")
    ]
    for manifest, path, interval in places:
        if promql.seconds(interval) >= _LOOKBACK_S:
            message = (
                f"{manifest.label} scrapes every {interval}, but Prometheus uses a sample for only "
                "5m: the metrics are missing between two scrapes, and alerts on their rate over 5m "
                "never fire"
            )
            usual = "60s" if manifest.kind == "Probe" else f"{_USUAL_S}s"
            yield Problem(manifest, path, message, advice.write("interval", usual))


@rule(_STALENESS, Severity.WARNING, outcome=Outcome.RISK)
def alert_duration_below_scrape_interval(objects: Objects) -> Iterator[Problem]:
    """An alert's duration (`for`) is at least the interval at which its metrics are scraped.

    Otherwise a single sample is enough for the alert, as without `for`.
    """
    reported = set[tuple[str, Where]]()
    for query, selector, source in _selected(objects):
        lasting = promql.seconds(query.rule.get("for", ""))
        if not query.rule.get("alert") or not 0 < lasting < source.seconds:
            continue
        is_long = source.seconds > _LONG_S
        of = source if is_long else query
        if (of.manifest.label, of.path) in reported:
            continue
        reported.add((of.manifest.label, of.path))
        message = (
            f"{source.pace}, and {query.called} waits for {query.rule['for']}: a single sample of "
            f"{selector.metric} is enough for the alert"
        )
        if is_long:
            shorter = min(_USUAL_S, int(lasting))
            fix = advice.write("interval", f"{shorter}s")
            yield Problem(source.manifest, source.path, message, fix)
        else:
            fix = advice.write("for", promql.duration(2 * source.seconds))
            yield Problem(query.manifest, (*query.path[:-1], "for"), message, fix)


@rule(_STALENESS, outcome=Outcome.HIDDEN)
def rule_interval_above_lookback(objects: Objects) -> Iterator[Problem]:
    """Prometheus evaluates each group of rules more often than every 5 minutes.

    It ignores samples that are older. So the series that the group records are missing between two
    evaluations, and alerts fire late.
    """
    for manifest in objects.of_kind("PrometheusRule"):
        for index, group in mappings(manifest.get("spec", "groups")):
            interval = group.get("interval")
            if promql.seconds(interval) >= _LOOKBACK_S:
                message = (
                    f"the rules of the group {group.get('name')} are evaluated every {interval}, "
                    "but Prometheus uses a sample for only 5m: what they record is missing in "
                    "between, and alerts fire late"
                )
                path: Where = ("spec", "groups", index, "interval")
                yield Problem(manifest, path, message, advice.write("interval", "30s"))


@rule("docs/monitoring.md")
def alert_faster_than_blocks(objects: Objects) -> Iterator[Problem]:
    """Alerts on a chain that stands still wait for more than two blocks.

    Otherwise they also fire for a chain that makes each block in time.
    """
    between = block_time.seconds_between(objects.programs)
    for query in queries(objects):
        expression = query.expression if query.rule.get("alert") else None
        for window in expression.windows if expression else ():
            is_height = window.selector.metric in _HEIGHTS and not window.function
            if is_height and window.seconds < 2 * between:
                message = (
                    f"{query.called} compares with the height of {promql.duration(window.seconds)} "
                    f"before, but a block comes only every {between} s: it also fires if all is "
                    "well"
                )
                fix = f"write offset {promql.duration(4 * between)} in the expression of the alert"
                template = query.manifest.template
                fix += f", in {template}" if template.startswith("chart/") else ""
                yield Problem(query.manifest, query.path, message, fix)
                break


@once
def _sources(objects: Objects) -> Iterator[_Source]:
    """Yield what scrapes a job at a known interval that is not above the lookback."""
    every = [
        _Source(one.monitor, (*one.path, "interval"), str(one.data.get("interval", "")), one.job)
        for one in scrapes(objects)
    ]
    for probe in objects.of_kind("Probe"):
        interval, job = probe.get("spec", "interval"), str(probe.get("spec", "jobName"))
        every.append(_Source(probe, ("spec", "interval"), str(interval or ""), job))
    seen = set[tuple[str, Where, str]]()
    for source in every:
        key = (source.manifest.label, source.path, source.job)
        if key not in seen and 0 < source.seconds < _LOOKBACK_S:
            seen.add(key)
            yield source


def _selected(objects: Objects) -> Iterator[tuple[Query, Selector, _Source]]:
    """Yield what expressions select, with what scrapes it."""
    for query in queries(objects):
        expression = query.expression
        for selector in expression.selectors if expression else ():
            for source in _feeding(objects, selector):
                yield query, selector, source


@once
def _taken(objects: Objects) -> Iterator[tuple[Query, Window, _Source]]:
    """Yield the ranges and offsets of expressions, with what scrapes their metrics."""
    for query in queries(objects):
        expression = query.expression
        for window in expression.windows if expression else ():
            for source in _feeding(objects, window.selector):
                yield query, window, source


def _feeding(objects: Objects, selector: Selector) -> Sequence[_Source]:
    """Return what scrapes the metrics of a selector."""
    known = objects.once(_fed)
    if selector not in known:
        known[selector] = [one for one in _sources(objects) if _feeds(one, selector)]
    return known[selector]


def _fed(_: Objects) -> dict[Selector, list[_Source]]:
    return {}


def _feeds(source: _Source, selector: Selector) -> bool:
    """Return whether a selector selects metrics of a source."""
    metric = promql.metrics().get(selector.metric)
    if metric is None:  # recorded by a rule
        return False
    matchers = [m for m in selector.matchers if m.label == "job" and m.operator in ("=", "=~")]
    if not matchers or any("$" in matcher.value for matcher in matchers):
        return source.manifest.kind != "Probe" and set(metric.exporters) <= {"Besu", "Maru"}
    return all(
        source.job == m.value or (m.operator == "=~" and _fits(m.value, source.job))
        for m in matchers
    )


def _fits(pattern: str, job: str) -> bool:
    try:
        return re.fullmatch(pattern, job) is not None
    except re.error:  # a syntax of Go that Python does not have
        return False
