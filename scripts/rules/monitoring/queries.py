"""Queries: alerts and dashboards ask for metrics that there are."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence

from scripts.core import paths
from scripts.kubernetes import promql
from scripts.kubernetes.promql import Matcher, Metric
from scripts.rules.monitoring.expressions import Query, queries
from scripts.rules.monitoring.scrapes import Scrape, scrapes, unscraped
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, once

_DOCS = "https://prometheus.io/docs/prometheus/latest/"


@rule(f"{_DOCS}querying/basics/")
def invalid_promql(objects: Objects) -> Iterator[Problem]:
    """The expressions of rules and dashboards are PromQL.

    The operator refuses a rule that is none, and all others of its object with it; a panel stays
    empty.
    """
    for query in queries(objects):
        try:
            promql.parse(query.text)
        except ValueError as error:
            if query.rule or "$" not in query.text:
                message = f"{query.called} is no PromQL: {str(error).splitlines()[0]}"
                yield Problem(query.manifest, query.path, message, "mend the expression")


@rule("docs/metrics.md", outcome=Outcome.HIDDEN)
def unknown_metric(objects: Objects) -> Iterator[Problem]:
    """The metrics and labels of rules and dashboards are exported, or recorded by another rule.

    An expression over a metric that is not there has no result: an alert on it never fires.
    """
    known = dict(promql.metrics())
    every = frozenset(label for metric in known.values() for label in metric.labels)
    for query in queries(objects):
        record, expression = query.rule.get("record"), query.expression
        if isinstance(record, str):
            own = paths.get(query.rule, ["labels"])
            # Of one that is no PromQL, which is told already, any.
            labels = expression.labels if expression else every
            labels = labels | set(own if isinstance(own, dict) else ())
            known[record] = Metric("gauge", frozenset(labels), ("Prometheus",))
    for query in queries(objects):
        expression = query.expression
        for mistake in dict.fromkeys(promql.mistakes(expression, known) if expression else ()):
            near = difflib.get_close_matches(mistake.word, mistake.known, 1, 0.7)
            fix = f"write {near[0]}" if near else "write one that docs/metrics.md has"
            message = f"{query.called}: {mistake.message}, so it has no result"
            yield Problem(query.manifest, query.path, message, fix)


@rule(f"{_DOCS}querying/basics/#instant-vector-selectors", outcome=Outcome.HIDDEN)
def matcher_matches_nothing(objects: Objects) -> Iterator[Problem]:
    """The namespaces, jobs, pods and objects that rules ask for are those of this environment.

    An alert on those of another stays silent here, or fires here for what is wrong there.
    """
    labels = _labels(objects)
    jobs = _jobs(objects)
    orphans = [s for s in scrapes(objects) if s.job not in _asked(objects)]
    moved = set[str]()
    for query in queries(objects):
        told = set[tuple[str, str]]()
        for matcher, value in _unmatched(query, labels, jobs) if query.rule else ():
            if (matcher.label, matcher.value) in told:
                continue
            told.add((matcher.label, matcher.value))
            scrape = _orphan(orphans, value) if matcher.label == "job" else None
            if scrape:
                if scrape.job not in moved:
                    moved.add(scrape.job)
                    message = (
                        f"{scrape.monitor.label} gives what it scrapes the job {scrape.job}, and "
                        f"rules ask for {value}: they find nothing"
                    )
                    where = (*scrape.path, "relabelings")
                    fix = f"write {value}, as the replacement for targetLabel job"
                    yield Problem(scrape.monitor, where, message, fix)
                continue
            there = sorted(jobs if matcher.label == "job" else labels[matcher.label])
            near = difflib.get_close_matches(value, there, 1)
            message = (
                f'{query.called} asks for {matcher.label} "{value}", and there is none here: it '
                "finds nothing"
            )
            fix = f"write {near[0] if near else there[0] if there else 'one that is here'}"
            yield Problem(query.manifest, query.path, message, fix)


def _labels(objects: Objects) -> dict[str, set[str]]:
    """Return the values that labels have here; of a name with random parts, one that it may be."""
    found: dict[str, set[str]] = {"namespace": {objects.namespace}}
    for label in ("StatefulSet", "Deployment", "CronJob", "HorizontalPodAutoscaler"):
        found[label.lower()] = {manifest.name for manifest in objects.of_kind(label)}
    found["pod"], found["job_name"] = set(), set()
    found["persistentvolumeclaim"] = {m.name for m in objects.of_kind("PersistentVolumeClaim")}
    found["persistentvolumeclaim"] |= set(objects.given.objects.get("PersistentVolumeClaim", ()))
    for workload in objects.workloads:
        name, kind = workload.manifest.name, workload.manifest.kind
        if kind == "StatefulSet":
            pods = {f"{name}-{ordinal}" for ordinal in workload.ordinals() or [0]}
            found["persistentvolumeclaim"] |= {
                f"{claim}-{pod}" for _, claim, _ in workload.claim_templates() for pod in pods
            }
        elif kind == "Deployment":
            pods = {f"{name}-6d4cf56db6-x2k9p"}
        else:
            job = f"{name}-29380320" if kind == "CronJob" else name
            found["job_name"].add(job)
            pods = {f"{job}-x2k9p"}
        found["pod"] |= pods
    return found


def _jobs(objects: Objects) -> set[str]:
    """Return the jobs of what is scraped, and of nodes that should be, which is told elsewhere."""
    lone = {node.workload.manifest.name for node in unscraped(objects)}
    return {s.job for s in scrapes(objects)} | lone | {f"{name}-maru" for name in lone}


@once
def _asked(objects: Objects) -> Iterator[str]:
    """Yield the jobs that rules ask for."""
    for query in queries(objects):
        expression = query.expression if query.rule else None
        for selector in expression.selectors if expression else ():
            for matcher in selector.matchers:
                if matcher.label == "job":
                    yield from alternatives(matcher.value)


def _orphan(orphans: Sequence[Scrape], value: str) -> Scrape | None:
    """Return the scrape that may be meant by a job that there is not: one that no rule asks for."""
    near = difflib.get_close_matches(value, [scrape.job for scrape in orphans], 1)
    for scrape in orphans:
        name = scrape.workload.manifest.name if scrape.workload else ""
        if scrape.job in near or scrape.monitor.patches or value in (name, f"{name}-maru"):
            return scrape
    return None


def _unmatched(
    query: Query, labels: Mapping[str, set[str]], jobs: set[str]
) -> Iterator[tuple[Matcher, str]]:
    """Yield the matchers for what is not there, each with the part of its value."""
    expression = query.expression
    for selector in expression.selectors if expression else ():
        metric = promql.metrics().get(selector.metric)
        of_nodes = metric is None or set(metric.exporters) <= {"Besu", "Maru"}
        # Of the targets in the namespace, which are those of its ServiceMonitors.
        of_nodes = of_nodes or any(m.label == "namespace" for m in selector.matchers)
        for matcher in selector.matchers:
            if matcher.operator not in ("=", "=~"):
                continue
            if matcher.label == "job":
                there, sure = jobs, of_nodes
            else:
                there, sure = labels.get(matcher.label, set()), matcher.label in labels
            is_pattern = matcher.operator == "=~"
            for value in alternatives(matcher.value) if is_pattern else [matcher.value]:
                if there and sure and not _among(value, there):
                    yield matcher, value


def _among(value: str, there: set[str]) -> bool:
    if value in there:
        return True
    try:
        pattern = re.compile(value)
    except re.error:  # the syntax of Go's, which Python does not know
        return True
    return any(pattern.fullmatch(name) for name in there)


_GROUP = re.compile(r"\(([^()|]+(?:\|[^()|]+)+)\)")


def alternatives(pattern: str) -> list[str]:
    """Return what a pattern is one of: a|b, or x-(a|b); itself where that can't be told."""
    if group := _GROUP.search(pattern):
        before, after = pattern[: group.start()], pattern[group.end() :]
        if not after[:1] or after[0] not in "*+?{":
            return [
                one for part in group[1].split("|") for one in alternatives(before + part + after)
            ]
    return pattern.split("|") if "(" not in pattern else [pattern]
