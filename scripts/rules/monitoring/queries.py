"""Queries: rules and dashboards use existing metrics and labels."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence

from scripts.core import advice, paths
from scripts.kubernetes import promql
from scripts.kubernetes.promql import Matcher, Metric
from scripts.rules.monitoring.expressions import Query, queries
from scripts.rules.monitoring.scrapes import Scrape, scrapes, unscraped
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, once

_DOCS = "https://prometheus.io/docs/prometheus/latest/"
_FEW = 4
"""Up to this number of values, all are listed if none is similar."""
_SAME = 0.85
"""How similar a metric or label must be to be taken for the one that was meant."""


@rule(f"{_DOCS}querying/basics/")
def invalid_promql(objects: Objects) -> Iterator[Problem]:
    """The expressions of rules and dashboards are valid PromQL.

    Otherwise the Prometheus operator rejects the PrometheusRule with all of its rules, or the panel
    stays empty.
    """
    for query in queries(objects):
        try:
            promql.parse_in(query.text, query.namespace)
        except ValueError as error:
            if query.rule or "$" not in _TEXT.sub("", query.text):
                effect = (
                    f"Prometheus loads no rule of {query.manifest.label}"
                    if query.rule
                    else "the panel stays empty"
                )
                message = (
                    f"the expression of {query.called} is not valid PromQL "
                    f"({str(error).splitlines()[0]}): {effect}"
                )
                yield Problem(query.manifest, query.path, message, _syntax_fix(str(error)))


_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
"""A text in an expression, where a variable of Grafana does not matter for the syntax."""
_HINTS = {
    "expected type matrix": "add a range to the metric, for example [5m]",
    "unclosed left parenthesis": "add the missing )",
    "unexpected right parenthesis": "remove the extra )",
    "inside brackets": "add the missing ]",
    "in label matching, expected string": "write the value of the label in double quotes",
    "unknown function": "write the name of a PromQL function, for example rate",
}
"""Words in the parser's error → how to fix the expression."""


def _syntax_fix(error: str) -> str:
    """Return the fix for an expression that the parser rejects."""
    hints = (hint for words, hint in _HINTS.items() if words in error)
    return next(hints, f"correct the expression as {_DOCS}querying/basics/ describes")


@rule("docs/metrics.md", outcome=Outcome.HIDDEN)
def unknown_metric(objects: Objects) -> Iterator[Problem]:
    """The metrics and labels of rules and dashboards are exported, or recorded by another rule.

    Otherwise the expression has no result: an alert never fires, and a panel stays empty.
    """
    known = dict(promql.metrics())
    every = frozenset(label for metric in known.values() for label in metric.labels)
    for query in queries(objects):
        record, expression = query.rule.get("record"), query.expression
        if isinstance(record, str):
            own = paths.get(query.rule, ["labels"])
            # If it is not valid PromQL, which another rule reports, it may have any label.
            labels = expression.labels if expression else every
            labels = labels | set(own if isinstance(own, dict) else ())
            known[record] = Metric("gauge", frozenset(labels), ("Prometheus",))
    for query in queries(objects):
        expression = query.expression
        for mistake in dict.fromkeys(promql.mistakes(expression, known) if expression else ()):
            near = difflib.get_close_matches(mistake.word, mistake.known, 1, _SAME)
            fix: str = "write a metric or label that docs/metrics.md lists"
            if near:
                fix = advice.in_text(f"write {near[0]}", query.text, mistake.word, near[0])
            elif similar := difflib.get_close_matches(mistake.word, mistake.known, 3, 0.7):
                fix += f", such as {' or '.join(similar)}"
            message = f"the expression of {query.called} has no result: {mistake.message}"
            yield Problem(query.manifest, query.path, message, fix)


@rule(f"{_DOCS}querying/basics/#instant-vector-selectors", outcome=Outcome.HIDDEN)
def matcher_matches_nothing(objects: Objects) -> Iterator[Problem]:
    """Rules select namespaces, jobs, pods and objects of this environment.

    Otherwise an alert never fires, or it fires for problems of another environment.
    """
    labels = _labels(objects)
    jobs = _jobs(objects)
    unused = [s for s in scrapes(objects) if s.job not in _selected_jobs(objects)]
    moved = set[str]()
    for query in queries(objects):
        reported = set[tuple[str, str]]()
        for matcher, value in _unmatched(query, labels, jobs) if query.rule else ():
            if (matcher.label, matcher.value) in reported:
                continue
            reported.add((matcher.label, matcher.value))
            scrape = _meant(unused, value) if matcher.label == "job" else None
            if scrape:
                if scrape.job not in moved:
                    moved.add(scrape.job)
                    message = (
                        f"metrics of {scrape.monitor.label} have the label job={scrape.job}, but "
                        f"rules select job={value}: they match nothing"
                    )
                    where = (*scrape.path, "relabelings")
                    fix = f"write the relabeling {{targetLabel: job, replacement: {value}}}"
                    yield Problem(scrape.monitor, where, message, fix)
                continue
            existing = sorted(jobs if matcher.label == "job" else labels[matcher.label])
            message = (
                f"{query.called} selects {matcher.label}={value}, which does not exist in "
                f"{objects.name}: its expression has no result"
            )
            fix = f"instead of {value}, write {_suggested(matcher, value, existing)}"
            yield Problem(query.manifest, query.path, message, fix)


def _suggested(matcher: Matcher, value: str, existing: list[str]) -> str:
    """Return what to write instead of an alternative of a matcher that matches nothing."""
    near = difflib.get_close_matches(value, existing, 1, _SAME)
    if not near and len(existing) <= _FEW:
        return ("one of " if existing[1:] else "") + ", ".join(existing)
    near = near or difflib.get_close_matches(value, existing, 1) or existing[:1]
    return f"a pattern that matches {near[0]}" if matcher.operator == "=~" else near[0]


def _labels(objects: Objects) -> dict[str, set[str]]:
    """Return the values of labels in this environment, with samples of generated names."""
    namespaces = ("namespace", "exported_namespace", "dest_namespace")
    values: dict[str, set[str]] = {label: {objects.namespace} for label in namespaces}
    for label in ("StatefulSet", "Deployment", "CronJob", "HorizontalPodAutoscaler"):
        values[label.lower()] = {manifest.name for manifest in objects.of_kind(label)}
    values["pod"], values["job_name"] = set(), set()
    values["persistentvolumeclaim"] = {m.name for m in objects.of_kind("PersistentVolumeClaim")}
    values["persistentvolumeclaim"] |= set(objects.given.objects.get("PersistentVolumeClaim", ()))
    for workload in objects.workloads:
        name, kind = workload.manifest.name, workload.manifest.kind
        if kind == "StatefulSet":
            pods = set(workload.pod_names() or [f"{name}-0"])
            values["persistentvolumeclaim"] |= {
                f"{claim}-{pod}" for _, claim, _ in workload.claim_templates() for pod in pods
            }
        elif kind == "Deployment":
            pods = {f"{name}-6d4cf56db6-x2k9p"}
        else:
            job = f"{name}-29380320" if kind == "CronJob" else name
            values["job_name"].add(job)
            pods = {f"{job}-x2k9p"}
        values["pod"] |= pods
    return values


def _jobs(objects: Objects) -> set[str]:
    """Return the jobs of scrapes and Probes, and those of nodes whose scrapes are missing."""
    missing = {node.workload.manifest.name for node in unscraped(objects)}
    probed = {str(probe.get("spec", "jobName")) for probe in objects.of_kind("Probe")}
    scraped = {scrape.job for scrape in scrapes(objects)}
    return scraped | probed | missing | {f"{name}-maru" for name in missing}


@once
def _selected_jobs(objects: Objects) -> Iterator[str]:
    """Yield the jobs that rules select."""
    for query in queries(objects):
        expression = query.expression if query.rule else None
        for selector in expression.selectors if expression else ():
            for matcher in selector.matchers:
                if matcher.label == "job":
                    yield from alternatives(matcher.value)


def _meant(unused: Sequence[Scrape], value: str) -> Scrape | None:
    """Return the scrape that an unknown job may mean, of those that no rule selects."""
    near = difflib.get_close_matches(value, [scrape.job for scrape in unused], 1)
    for scrape in unused:
        name = scrape.workload.manifest.name if scrape.workload else ""
        if scrape.job in near or scrape.monitor.patches or value in (name, f"{name}-maru"):
            return scrape
    return None


def _unmatched(
    query: Query, labels: Mapping[str, set[str]], jobs: set[str]
) -> Iterator[tuple[Matcher, str]]:
    """Yield the matchers that match nothing, each with the alternative of its value."""
    expression = query.expression
    for selector in expression.selectors if expression else ():
        metric = promql.metrics().get(selector.metric)
        of_nodes = metric is None or set(metric.exporters) <= {"Besu", "Maru"}
        # All targets in the namespace are those of its ServiceMonitors.
        of_nodes = of_nodes or any(m.label == "namespace" for m in selector.matchers)
        for matcher in selector.matchers:
            if matcher.operator not in ("=", "=~"):
                continue
            if matcher.label == "job":
                existing, is_known = jobs, of_nodes
            else:
                existing, is_known = labels.get(matcher.label, set()), matcher.label in labels
            is_pattern = matcher.operator == "=~"
            for value in alternatives(matcher.value) if is_pattern else [matcher.value]:
                if existing and is_known and not _matches(value, existing):
                    yield matcher, value


def _matches(value: str, existing: set[str]) -> bool:
    if value in existing:
        return True
    try:
        pattern = re.compile(value)
    except re.error:  # a syntax of Go that Python does not have
        return True
    return any(pattern.fullmatch(name) for name in existing)


_GROUP = re.compile(r"\(([^()|]+(?:\|[^()|]+)+)\)")


def alternatives(pattern: str) -> list[str]:
    """Return the alternatives of a pattern, such as a|b or x-(a|b); itself if they are unknown."""
    if group := _GROUP.search(pattern):
        before, after = pattern[: group.start()], pattern[group.end() :]
        if not after[:1] or after[0] not in "*+?{":
            return [
                value
                for part in group[1].split("|")
                for value in alternatives(before + part + after)
            ]
    return pattern.split("|") if "(" not in pattern else [pattern]
