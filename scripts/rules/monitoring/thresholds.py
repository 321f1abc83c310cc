"""Thresholds: alerts compare with values that their metrics can have, and at the right time."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from scripts.core import advice
from scripts.core.findings import Severity
from scripts.core.fixes import Fix
from scripts.kubernetes import cron, promql, promql_bounds
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.promql_bounds import ANY, POSITIVE, SHARE, Bounds, Comparison
from scripts.kubernetes.workloads import whole
from scripts.rules.monitoring.expressions import Query, queries
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, once

_DOCS = "https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/"

_SWITCHES = {
    "argocd_app_info",
    "besu_synchronizer_in_sync",
    "externalsecret_status_condition",
    "kube_cronjob_spec_suspend",
    "kube_job_failed",
    "kube_pod_container_status_last_terminated_reason",
    "kube_pod_init_container_status_running",
    "kube_pod_status_phase",
    "probe_success",
    "up",
}
"""Metrics that are 0 or 1: docs/metrics.md."""
_LAST_SUCCESS = "kube_cronjob_status_last_successful_time"
_MOST_INTERVALS = 24
"""An alert that waits for more missed starts is more likely a mistake in the unit."""
_LIMITS = {
    "backup": ("metrics.prometheusRule.backupMaxAgeSeconds", 50400),
    "restore-drill": ("metrics.prometheusRule.restoreDrillMaxAgeSeconds", 1296000),
}
"""Component of a CronJob → the value with the limit of its alert, and the chart's default."""


@rule(_DOCS)
def impossible_alert_threshold(objects: Objects) -> Iterator[Problem]:
    """Alerts compare with values that the expression can reach, but does not always have.

    Otherwise the alert never fires, or always does: for example, a ratio is from 0 to 1, and never
    above 92.
    """
    bounds = _bounds(objects)
    for query in queries(objects):
        name = query.rule.get("alert")
        tree = _tree(query)
        if not isinstance(name, str) or tree is None:
            continue
        for known in promql_bounds.decided(tree, lambda metric: bounds.get(metric, ANY)):
            found = replace(known, text=promql.with_namespace(known.text, query.namespace))
            low, high = found.value
            range_ = f"from {low:g} to {high:g}" if high < math.inf else f"{low:g} or more"
            effect = "always fires" if found.is_always else "never fires"
            message = (
                f'the alert {name} compares with "{found.text}", but the value is {range_}: it '
                f"{effect}"
            )
            yield Problem(query.manifest, query.path, message, _better(query, found))


def _better(query: Query, found: Comparison) -> str:
    """Return how to write a comparison that never or always holds."""
    (low, high), (limit, _) = found.value, found.limit
    operator, expression = found.text.split()[0], query.expression
    is_switch = expression is not None and bool(expression.metrics & _SWITCHES)
    if found.value == SHARE and not is_switch and 1 < limit <= 100:
        right = f"{operator} {limit / 100:g}"
        words = f"write {right}: the value is a ratio, not a percentage"
        return advice.in_text(words, query.text, found.text, right)
    least, most = f"{low:g}", f"{min(high, low + 1):g}"
    example = f"{operator} {most if operator in ('<', '>=', '!=') else least}"
    return f"write a limit that the value can pass, for example {example}"


@once
def _known(objects: Objects) -> Iterator[tuple[str, Bounds]]:
    """Yield the bounds of the metrics in docs/metrics.md, and then those of recorded series."""
    known: dict[str, Bounds] = {
        name: SHARE if name in _SWITCHES else POSITIVE for name in promql.metrics()
    }
    for query in queries(objects):
        record, tree = query.rule.get("record"), _tree(query)
        if isinstance(record, str) and tree is not None:
            of_names = SHARE if "ratio" in record else ANY
            found = promql_bounds.of(tree, lambda metric: known.get(metric, ANY))
            known[record] = max(found[0], of_names[0]), min(found[1], of_names[1])
    yield from known.items()


def _bounds(objects: Objects) -> dict[str, Bounds]:
    return dict(_known(objects))


def _tree(query: Query) -> Any:
    try:
        return promql.tree_in(query.text, query.namespace)
    except ValueError:
        return None


@rule(_DOCS)
def alert_limit_below_schedule(objects: Objects) -> Iterator[Problem]:
    """The alert on a CronJob's last success waits longer than the time between two of its starts.

    Otherwise it fires before each start, although all is well, until someone silences it.
    """
    for query, manifest, limit in _ages(objects):
        between, longest = _times(manifest)
        if between and limit <= between:
            message = (
                f"the alert {query.rule['alert']} fires {limit:.0f} s after the last success of "
                f"{manifest.label}, which starts only every {between} s: it fires before each start"
            )
            fix = _limit(query, manifest, 2 * between + longest)
            if limit == _LIMITS.get(manifest.component, ("", 0))[1]:
                often = f"; if {manifest.label} should run more often, change its schedule"
                fix = fix.unless(often)
                yield Problem(manifest, ("spec", "schedule"), message, fix)
            else:
                yield Problem(query.manifest, query.path, message, fix)


@rule(_DOCS, Severity.WARNING, outcome=Outcome.RISK)
def alert_limit_far_above_schedule(objects: Objects) -> Iterator[Problem]:
    """The alert on a CronJob's last success fires before many of its starts have failed.

    Otherwise the last backup is very old when someone hears of it.
    """
    for query, manifest, limit in _ages(objects):
        between, longest = _times(manifest)
        if between and limit > _MOST_INTERVALS * between + longest:
            message = (
                f"the alert {query.rule['alert']} fires only {limit:.0f} s after the last success "
                f"of {manifest.label}, which starts every {between} s: {limit // between:.0f} "
                "starts may fail before anyone hears of it"
            )
            fix = _limit(query, manifest, 2 * between + longest)
            yield Problem(query.manifest, query.path, message, fix)


def _ages(objects: Objects) -> Iterator[tuple[Query, Manifest, float]]:
    """Yield the alerts on the time since a CronJob's last success, with the CronJob and limit."""
    for query in queries(objects):
        tree = _tree(query) if query.rule.get("alert") and _LAST_SUCCESS in query.text else None
        if tree is None or type(tree).__name__ != "BinaryExpr":
            continue
        if str(tree.op) not in (">", ">="):
            continue
        if not re.match(r"time\(\) -", str(tree.lhs)):
            continue
        limit = promql_bounds.of(tree.rhs, lambda _: ANY)
        expression = query.expression
        for manifest in objects.of_kind("CronJob") if limit[0] == limit[1] else ():
            if expression and any(
                (m.label, m.operator, m.value) == ("cronjob", "=", manifest.name)
                for selector in expression.selectors
                for m in selector.matchers
            ):
                yield query, manifest, limit[0]


def _times(manifest: Manifest) -> tuple[int, int]:
    """Return the longest time between two starts of a CronJob, 0 if there is none, and of a Job."""
    path: Where = ("spec", "jobTemplate", "spec", "activeDeadlineSeconds")
    try:
        between = cron.read(str(manifest.get("spec", "schedule"))).longest
    except ValueError:
        between = 0
    return between, whole(manifest.get(*path), 0)


def _limit(query: Query, manifest: Manifest, seconds: int) -> Fix:
    """Return how to write the limit of the alert on a CronJob."""
    is_ours = query.manifest.template.startswith("chart/") and manifest.component in _LIMITS
    if is_ours:
        return advice.write_values(_LIMITS[manifest.component][0], seconds)
    return Fix(f"write > {seconds} in the expression of the alert")
