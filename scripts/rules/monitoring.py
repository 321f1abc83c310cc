"""Monitoring: metrics are scraped, and alerts and dashboards ask for what is there."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from scripts.chain.node_config import Node
from scripts.core import paths, repository
from scripts.core.findings import Severity
from scripts.kubernetes import promql
from scripts.kubernetes.manifest import PODS, Manifest, Where
from scripts.kubernetes.promql import Expression, Matcher, Metric
from scripts.kubernetes.workloads import Workload, mappings, selects
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects, once

_RUNBOOKS = repository.ROOT / "docs" / "runbooks"
_PAGES = "/docs/runbooks/"
_DOCS = "https://prometheus.io/docs/prometheus/latest/"


# Scraping


@dataclass(frozen=True, slots=True)
class _Scrape:
    """An endpoint of a ServiceMonitor, and a Service that it selects."""

    monitor: Manifest
    index: int
    data: Mapping[str, Any]
    service: Manifest | None
    """None where the monitor selects none that has such a port."""
    workload: Workload | None
    number: int | None
    """Of the container's port that it leads to."""

    @property
    def job(self) -> str:
        """Return the label job of what it scrapes."""
        for _, change in mappings(self.data.get("relabelings")):
            if change.get("targetLabel") == "job":
                return str(change.get("replacement", ""))
        return self.service.name if self.service else ""

    @property
    def path(self) -> Where:
        """Return its path in the monitor."""
        return ("spec", "endpoints", self.index)


@rule("docs/monitoring.md")
def scrape_without_metrics(objects: Objects) -> Iterator[Problem]:
    """What a ServiceMonitor scrapes is the port and path that a node gives metrics on.

    Else there are no series, and alerts that need them stay silent.
    """
    for scrape in _scrapes(objects):
        port, where = scrape.data.get("port"), scrape.path
        label = scrape.monitor.label
        nodes = [n for n in objects.nodes if n.workload == scrape.workload]
        metrics = {api.port: n for n in nodes for api in n.apis if api.name == "metrics"}
        if not nodes or scrape.number is None or not all(node.is_known for node in nodes):
            continue
        if scrape.number not in metrics:
            told = ", ".join(f"{number} of {n.container_name}" for number, n in metrics.items())
            message = (
                f"{label} scrapes {port}, which is {scrape.number}, and metrics are on {told}: "
                "there are no series"
            )
            right = sorted(_named(scrape.workload, metrics))
            fix = f"write {' or '.join(right)}" if right else "write the port of the metrics"
            yield Problem(scrape.monitor, (*where, "port"), message, fix)
        elif scrape.data.get("path", "/metrics") != "/metrics":
            path = scrape.data.get("path")
            message = f"{label} scrapes {path} of {port}, and metrics are at /metrics"
            yield Problem(scrape.monitor, (*where, "path"), message, "write /metrics")


@rule("docs/monitoring.md")
def node_not_scraped(objects: Objects) -> Iterator[Problem]:
    """Where there are alerts on nodes, the metrics of each node are scraped.

    Else nothing tells when one that is not stands still.
    """
    rules = objects.of_kind("PrometheusRule")
    if rules and not objects.of_kind("ServiceMonitor"):
        message = f"nothing is scraped: the alerts of {rules[0].label} and others stay silent"
        fix = "write metrics.serviceMonitor.enabled: true"
        yield Problem(rules[0], ("metadata", "name"), message, fix)
        return
    for node in _unscraped(objects):
        message = (
            f"no ServiceMonitor scrapes {node.name}: alerts on it stay silent, whatever happens"
        )
        fix = "make one that selects its Service, with the port of its metrics"
        yield Problem(node.workload.manifest, ("metadata", "name"), message, fix)


@once
def _unscraped(objects: Objects) -> Iterator[Node]:
    """Yield nodes that nothing scrapes, where there is monitoring at all."""
    if not objects.of_kind("ServiceMonitor", "PrometheusRule"):
        return
    scrapes = _scrapes(objects)
    if any(scrape.service is None for scrape in scrapes):
        return  # a monitor that selects nothing, or no port, is told of with the references
    for node in objects.programs:
        ports = [
            port.get("containerPort") for _, port in mappings(node.container.data.get("ports"))
        ]
        ports += [api.port for api in node.apis if api.name == "metrics"]
        own = [scrape for scrape in scrapes if scrape.workload == node.workload]
        if not any(scrape.number in ports for scrape in own):
            yield node


@once
def _scrapes(objects: Objects) -> Iterator[_Scrape]:
    for monitor in objects.of_kind("ServiceMonitor"):
        services = _services(objects, monitor)
        for index, endpoint in mappings(paths.get(monitor.object, ["spec", "endpoints"])):
            found = False
            for service in services:
                for _, port in mappings(paths.get(service.object, ["spec", "ports"])):
                    if port.get("name") != endpoint.get("port"):
                        continue
                    found = True
                    for workload in _behind(objects, service):
                        target = port.get("targetPort", port.get("port"))
                        number = _number(workload, target)
                        yield _Scrape(monitor, index, endpoint, service, workload, number)
            if not found and isinstance(endpoint.get("port"), str):
                yield _Scrape(monitor, index, endpoint, None, None, None)


def _services(objects: Objects, monitor: Manifest) -> list[Manifest]:
    """Return the Services that a ServiceMonitor selects."""
    spec = paths.get(monitor.object, ["spec"])
    names = paths.get(spec, ["namespaceSelector", "matchNames"])
    everywhere = paths.get(spec, ["namespaceSelector", "any"]) is True
    among = names if isinstance(names, list) and names else [monitor.namespace or objects.namespace]
    if not everywhere and objects.namespace not in among:
        return []
    selector = paths.get(spec, ["selector"])
    return [
        service
        for service in objects.of_kind("Service")
        if isinstance(labels := service.metadata.get("labels") or {}, dict)
        and selects(selector, labels)
    ]


def _behind(objects: Objects, service: Manifest) -> list[Workload]:
    selector = paths.get(service.object, ["spec", "selector"])
    return objects.selected({"matchLabels": selector} if isinstance(selector, dict) else None)


def _ports(workload: Workload) -> Iterator[Mapping[str, Any]]:
    path = PODS[workload.manifest.kind.lower()]
    for _, container in mappings(workload.get(*path, "containers")):
        for _, port in mappings(container.get("ports")):
            yield port


def _number(workload: Workload, target: Any) -> int | None:
    """Return the number of a container's port."""
    if isinstance(target, int):
        return target
    numbers = (port.get("containerPort") for port in _ports(workload) if port.get("name") == target)
    return next((number for number in numbers if isinstance(number, int)), None)


def _named(workload: Workload | None, numbers: Mapping[int | None, Any]) -> set[str]:
    found = _ports(workload) if workload else ()
    return {str(port.get("name")) for port in found if port.get("containerPort") in numbers}


# Rules


@dataclass(frozen=True, slots=True)
class _Query:
    """An expression in a rule or a dashboard."""

    manifest: Manifest
    path: Where
    called: str
    """As people call what it is part of."""
    text: str
    rule: Mapping[str, Any]
    """Empty for a dashboard's."""

    @property
    def expression(self) -> Expression | None:
        """Return what it uses; None where it is no PromQL."""
        try:
            return promql.parse(self.text)
        except ValueError:
            return None


@rule(f"{_DOCS}querying/basics/")
def query_is_no_promql(objects: Objects) -> Iterator[Problem]:
    """The expressions of rules and dashboards are PromQL.

    The operator refuses a rule that is none, and all others of its object with it; a panel stays
    empty.
    """
    for query in _queries(objects):
        try:
            promql.parse(query.text)
        except ValueError as error:
            if query.rule or "$" not in query.text:
                message = f"{query.called} is no PromQL: {str(error).splitlines()[0]}"
                yield Problem(query.manifest, query.path, message, "mend the expression")


@rule("docs/metrics.md")
def metric_unknown(objects: Objects) -> Iterator[Problem]:
    """The metrics and labels of rules and dashboards are exported, or recorded by another rule.

    An expression over a metric that is not there has no result: an alert on it never fires.
    """
    known = dict(promql.metrics())
    every = frozenset(label for metric in known.values() for label in metric.labels)
    for query in _queries(objects):
        record, expression = query.rule.get("record"), query.expression
        if isinstance(record, str):
            own = paths.get(query.rule, ["labels"])
            # Of one that is no PromQL, which is told already, any.
            labels = expression.labels if expression else every
            labels = labels | set(own if isinstance(own, dict) else ())
            known[record] = Metric("gauge", frozenset(labels), ("Prometheus",))
    for query in _queries(objects):
        expression = query.expression
        for mistake in dict.fromkeys(promql.mistakes(expression, known) if expression else ()):
            near = difflib.get_close_matches(mistake.word, mistake.known, 1, 0.7)
            fix = f"write {near[0]}" if near else "write one that docs/metrics.md has"
            message = f"{query.called}: {mistake.message}, so it has no result"
            yield Problem(query.manifest, query.path, message, fix)


@rule(f"{_DOCS}querying/basics/#instant-vector-selectors")
def matcher_matches_nothing(objects: Objects) -> Iterator[Problem]:
    """The namespaces, jobs, pods and objects that rules ask for are those of this environment.

    An alert on those of another stays silent here, or fires here for what is wrong there.
    """
    labels = _labels(objects)
    jobs = _jobs(objects)
    orphans = [s for s in _scrapes(objects) if s.job not in _asked(objects)]
    moved = set[str]()
    for query in _queries(objects):
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


@rule(f"{_DOCS}configuration/alerting_rules/")
def alert_without_severity(objects: Objects) -> Iterator[Problem]:
    """An alert says how bad it is: severity critical or warning.

    Alertmanager sends alerts by that label: one without goes to nobody in particular.
    """
    for query, name in _alerts(objects):
        severity = paths.get(query.rule, ["labels", "severity"])
        if severity not in ("critical", "warning"):
            is_ = f"has the severity {severity}" if severity else "has no severity"
            message = f"the alert {name} {is_}: who is to be called by it is not known"
            path = (*query.path[:-1], "labels", "severity")
            yield Problem(query.manifest, path, message, "write critical or warning")


@rule(f"{_DOCS}configuration/alerting_rules/", Severity.WARNING)
def alert_without_duration(objects: Objects) -> Iterator[Problem]:
    """An alert waits (for) before it fires.

    Else one late scrape, or one restart of a pod, calls people.
    """
    for query, name in _alerts(objects):
        if str(query.rule.get("for", "0s")).rstrip("smhdwy") in ("", "0"):
            message = f"the alert {name} fires at once: one late scrape is enough"
            yield Problem(query.manifest, (*query.path[:-1], "for"), message, "write 1m or more")


@rule("docs/monitoring.md")
def alert_without_runbook(objects: Objects) -> Iterator[Problem]:
    """An alert leads to its page of docs/runbooks.

    Who is called at night else has nothing but its name.
    """
    for query, name in _alerts(objects):
        url = paths.get(query.rule, ["annotations", "runbook_url"])
        path = (*query.path[:-1], "annotations", "runbook_url")
        page = str(url).partition(_PAGES)[2] if url else ""
        if not url:
            message, fix = f"the alert {name} has no runbook_url", "write the address of its page"
        elif page and page not in _pages():
            near = difflib.get_close_matches(page, _pages(), 1)
            message = f"the alert {name} leads to docs/runbooks/{page}, which is not there"
            fix = f"write {near[0]}" if near else "write that page, or lead to one that is there"
        else:
            continue
        yield Problem(query.manifest, path, message, fix)


@rule(f"{_DOCS}configuration/alerting_rules/")
def alert_twice(objects: Objects) -> Iterator[Problem]:
    """No two alerts have one name and one severity.

    Alertmanager takes them for one: it tells what one of them says, and a silence is for both.
    """
    seen = set[tuple[str, Any]]()
    for query, name in _alerts(objects):
        key = (name, str(paths.get(query.rule, ["labels"])))
        if key in seen:
            message = f"there are two alerts {name} with the same labels: they look like one"
            path = (*query.path[:-1], "alert")
            yield Problem(query.manifest, path, message, "give one another name, or remove it")
        seen.add(key)


@rule(
    "https://github.com/prometheus-operator/prometheus-operator/blob/main/Documentation/api-reference/api.md"
)
def scrape_outlasts_its_interval(objects: Objects) -> Iterator[Problem]:
    """A scrape is given up before the next one begins.

    The operator refuses a ServiceMonitor whose scrapeTimeout is longer than its interval: nothing
    of it is scraped.
    """
    for monitor in objects.of_kind("ServiceMonitor", "PodMonitor"):
        for field in ("endpoints", "podMetricsEndpoints"):
            for index, endpoint in mappings(paths.get(monitor.object, ["spec", field])):
                every, patience = endpoint.get("interval"), endpoint.get("scrapeTimeout")
                if promql.seconds(every) and promql.seconds(patience) > promql.seconds(every):
                    message = (
                        f"{monitor.label} waits {patience} for what it scrapes each {every}: "
                        "the operator refuses it, and nothing is scraped"
                    )
                    path = ("spec", field, index, "scrapeTimeout")
                    yield Problem(monitor, path, message, f"write no more than {every}, as 10s")


@rule("docs/monitoring.md")
def alert_of_another_quorum(objects: Objects) -> Iterator[Problem]:
    """Alerts that count validators compare with the chain's: a block's quorum, or all of them.

    With the number of another chain they call nobody before this one stands still.
    """
    chain = objects.chain
    maru = objects.component("maru")
    if chain is None or maru is None:
        return
    known = {chain.quorum, chain.validators}
    counted = f'statefulset="{maru.manifest.name}"'
    for query, name in _alerts(objects):
        if "replicas_ready" not in query.text or counted not in query.text:
            continue
        found = _COMPARED.search(query.text)
        if found and int(found[2]) not in known:
            message = (
                f"the alert {name} compares the validators that are ready with {found[2]}, and "
                f"of {chain.validators} a block needs {chain.quorum}"
            )
            fix = f"write {chain.quorum}, or {chain.validators} to tell of the first that is away"
            yield Problem(query.manifest, query.path, message, fix)


_COMPARED = re.compile(r"(<|<=|==|>|>=|!=)\s*(\d+)\s*$")


@lru_cache
def _pages() -> list[str]:
    return sorted(path.name for path in _RUNBOOKS.glob("*.md"))


def _alerts(objects: Objects) -> Iterator[tuple[_Query, str]]:
    for query in _queries(objects):
        if isinstance(query.rule.get("alert"), str):
            yield query, query.rule["alert"]


@once
def _queries(objects: Objects) -> Iterator[_Query]:
    for manifest in objects.of_kind("PrometheusRule"):
        for group, data in mappings(paths.get(manifest.object, ["spec", "groups"])):
            for index, found in mappings(data.get("rules")):
                if isinstance(found.get("expr"), str):
                    path = ("spec", "groups", group, "rules", index, "expr")
                    called = str(found.get("alert") or found.get("record"))
                    yield _Query(manifest, path, called, found["expr"], found)
    for manifest in objects.of_kind("ConfigMap"):
        held = manifest.object.get("data")
        for key, text in held.items() if isinstance(held, dict) else ():
            if isinstance(text, str) and str(key).endswith(".json") and '"panels"' in text:
                for title, expression in _of_dashboard(text):
                    yield _Query(manifest, ("data", key), f"{key}, {title}", expression, {})


_DURATION = re.compile(r"\$(?:__(?:rate_)?interval|__range|\{__(?:rate_)?interval\}|\{__range\})")


@lru_cache(maxsize=64)
def _of_dashboard(text: str) -> tuple[tuple[str, str], ...]:
    """Return titles and expressions of a dashboard's panels."""
    try:
        left = [json.loads(text)]
    except ValueError:
        return ()
    found = list(_of_variables(left[0]))
    while left:
        for _, panel in mappings(paths.get(left.pop(), ["panels"])):
            left.append(panel)
            for _, target in mappings(panel.get("targets")):
                if isinstance(target.get("expr"), str):
                    expression = _DURATION.sub("5m", target["expr"])
                    found.append((str(panel.get("title")), expression))
    return tuple(found)


_LABEL_VALUES = re.compile(r"label_values\((.+),\s*(\w+)\s*\)")


def _of_variables(dashboard: Any) -> Iterator[tuple[str, str]]:
    """Yield names and expressions of a dashboard's variables: each takes a label's values."""
    for _, variable in mappings(paths.get(dashboard, ["templating", "list"])):
        query = variable.get("query")
        text = query.get("query") if isinstance(query, dict) else query
        found = _LABEL_VALUES.fullmatch(str(text).strip())
        if found:
            yield f"${variable.get('name')}", f"count by ({found[2]}) ({found[1]})"


# What matchers may ask for


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
            pods = {f"{name}-{ordinal}" for ordinal in range(max(workload.most, 1))}
            templates = workload.get("spec", "volumeClaimTemplates")
            found["persistentvolumeclaim"] |= {
                f"{paths.get(template, ['metadata', 'name'])}-{pod}"
                for _, template in mappings(templates)
                for pod in pods
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
    unscraped = {node.workload.manifest.name for node in _unscraped(objects)}
    return {s.job for s in _scrapes(objects)} | unscraped | {f"{name}-maru" for name in unscraped}


@once
def _asked(objects: Objects) -> Iterator[str]:
    """Yield the jobs that rules ask for."""
    for query in _queries(objects):
        expression = query.expression if query.rule else None
        for selector in expression.selectors if expression else ():
            for matcher in selector.matchers:
                if matcher.label == "job":
                    yield from alternatives(matcher.value)


def _orphan(orphans: Sequence[_Scrape], value: str) -> _Scrape | None:
    """Return the scrape that may be meant by a job that there is not: one that no rule asks for."""
    near = difflib.get_close_matches(value, [scrape.job for scrape in orphans], 1)
    for scrape in orphans:
        name = scrape.workload.manifest.name if scrape.workload else ""
        if scrape.job in near or scrape.monitor.patches or value in (name, f"{name}-maru"):
            return scrape
    return None


def _unmatched(
    query: _Query, labels: Mapping[str, set[str]], jobs: set[str]
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
