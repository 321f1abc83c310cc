"""Scraping: Prometheus scrapes the metrics of all chain nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

from scripts.core import advice
from scripts.core.edits import Action
from scripts.core.findings import Severity
from scripts.core.fixes import Change, Fix
from scripts.kubernetes import containers, monitors, promql
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import Workload
from scripts.rules import chart_values
from scripts.rules.monitoring.scrapes import scrapes, unscraped
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_USUAL_TIMEOUT = "10s"


@rule("docs/monitoring.md", outcome=Outcome.HIDDEN)
def scrape_of_wrong_port(objects: Objects) -> Iterator[Problem]:
    """ServiceMonitors scrape the port and path on which chain nodes have metrics.

    Otherwise Prometheus gets no metrics of the node, and alerts that need them never fire.
    """
    for scrape in scrapes(objects):
        port, where = scrape.data.get("port"), scrape.path
        label = scrape.monitor.label
        nodes = [n for n in objects.nodes if n.workload == scrape.workload]
        metrics = {api.port: n for n in nodes for api in n.apis if api.name == "metrics"}
        if not nodes or scrape.number is None or not all(node.is_known for node in nodes):
            continue
        if scrape.number not in metrics:
            numbers = " and ".join(f"port {number}" for number in metrics)
            message = (
                f"{label} scrapes port {port} ({scrape.number}), but the metrics are on "
                f"{numbers}: Prometheus gets no metrics"
            )
            scraped = {s.number for s in scrapes(objects) if s.workload == scrape.workload}
            right = _named(scrape.workload, metrics.keys() - scraped)
            right = right or _named(scrape.workload, metrics)
            fix = f"add the port to the container and to {scrape.service and scrape.service.label}"
            fix = f"write port: {' or '.join(right)}" if right else f"{fix}, and write its name"
            yield Problem(scrape.monitor, (*where, "port"), message, fix)
        elif scrape.data.get("path", "/metrics") != "/metrics":
            path = scrape.data.get("path")
            message = (
                f"{label} scrapes the path {path} of port {port}, but the metrics are at /metrics: "
                "Prometheus gets no metrics"
            )
            yield Problem(
                scrape.monitor, (*where, "path"), message, advice.write("path", "/metrics")
            )


@rule("docs/monitoring.md", outcome=Outcome.RISK)
def missing_scrape(objects: Objects) -> Iterator[Problem]:
    """Prometheus scrapes the metrics of each chain node, if there are alerts on them.

    Otherwise no alert fires when a node that is not scraped stops.
    """
    rules = objects.of_kind("PrometheusRule")
    if rules and not objects.of_kind("ServiceMonitor"):
        message = (
            "there is no ServiceMonitor, so Prometheus has no metrics of the chain nodes: alerts on"
            " these metrics never fire"
        )
        fix: str = advice.write_values("metrics.serviceMonitor.enabled", True)
        yield Problem(rules[0], ("metadata", "name"), message, fix)
        return
    for node in unscraped(objects):
        label = node.workload.manifest.label
        message = (
            f"no ServiceMonitor scrapes the container {node.container_name} of {label}: alerts on "
            "its metrics never fire"
        )
        numbers = {api.port: api for api in node.apis if api.name == "metrics"}
        port = next(iter(_named(node.workload, numbers)), "the name of the metrics port")
        own = [scrape.monitor for scrape in scrapes(objects) if scrape.workload == node.workload]
        fix = f"add an endpoint with port: {port} to "
        fix += own[0].label if own else f"a ServiceMonitor that selects the Service of {label}"
        yield Problem(node.workload.manifest, ("metadata", "name"), message, fix)


def _named(workload: Workload | None, numbers: Collection[int | None]) -> list[str]:
    """Return the names of ports of a workload's containers, by their numbers."""
    ports = containers.ports(workload) if workload else ()
    return sorted({port.name for port in ports if port.number in numbers and port.name})


@rule(
    "https://github.com/prometheus-operator/prometheus-operator/blob/main/Documentation/api-reference/api.md"
)
def scrape_timeout_above_interval(objects: Objects) -> Iterator[Problem]:
    """A scrape times out before the next one begins.

    The Prometheus operator rejects a ServiceMonitor, PodMonitor or Probe whose scrapeTimeout is
    longer than its interval, so nothing of it is scraped.
    """
    every: list[tuple[Manifest, Where, Any]] = [
        (monitor, path, endpoint)
        for monitor in objects.of_kind(*monitors.KINDS)
        for path, endpoint in monitors.endpoints(monitor)
    ]
    every += [(probe, ("spec",), probe.get("spec")) for probe in objects.of_kind("Probe")]
    for monitor, path, endpoint in every:
        if isinstance(endpoint, dict):
            interval, timeout = endpoint.get("interval"), endpoint.get("scrapeTimeout")
            if promql.seconds(interval) and promql.seconds(timeout) > promql.seconds(interval):
                message = (
                    f"scrapeTimeout of {monitor.label} is {timeout}, longer than the interval of "
                    f"{interval}: the Prometheus operator rejects {monitor.label}, and nothing is "
                    "scraped"
                )
                usual = promql.seconds(_USUAL_TIMEOUT) <= promql.seconds(interval)
                fix = advice.write("scrapeTimeout", _USUAL_TIMEOUT if usual else interval)
                yield Problem(monitor, (*path, "scrapeTimeout"), message, fix)


@rule("docs/monitoring.md", Severity.WARNING, outcome=Outcome.RISK)
def inconsistent_monitoring_labels(objects: Objects) -> Iterator[Problem]:
    """All objects for the Prometheus operator have one label in common, or no labels.

    A Prometheus that selects objects by a label silently ignores all others. It would have the
    metrics without the alerts, or the alerts without the metrics.
    """
    every = objects.of_kind(*monitors.KINDS, "Probe", "PrometheusRule")
    counts = Counter(pair for manifest in every for pair in _selected_by(manifest))
    if not counts or max(counts.values()) == len(every):
        return
    (label, value), _ = counts.most_common(1)[0]
    example = next(manifest for manifest in every if (label, value) in _selected_by(manifest))
    reported = set[tuple[str, frozenset[tuple[str, str]]]]()
    for manifest in every:
        own = _selected_by(manifest)
        if (label, value) in own or (manifest.kind, own) in reported:
            continue
        reported.add((manifest.kind, own))
        message = (
            f"{manifest.label} lacks the label {label}: {value} of {example.label}: a Prometheus "
            f"that selects objects by this label ignores {manifest.label}"
        )
        key = _LABELS.get(manifest.kind)
        if key and chart_values.is_from_values(manifest):
            change = Change(Action.WRITE, (*key.split("."), label), value)
            words = f"add {label}: {value} to {key} in {chart_values.file(objects)}"
            fix = Fix(words, (), [change])
        else:
            labels = f"metadata.labels of {manifest.label}"
            fix = advice.add([label], value, above=("labels",), to=labels)
        yield Problem(manifest, ("metadata", "labels"), message, fix)


_LABELS = {
    "Probe": "metrics.probe.labels",
    "PrometheusRule": "metrics.prometheusRule.labels",
    "ServiceMonitor": "metrics.serviceMonitor.labels",
}
"""Kind → the value with the labels of the chart's objects of this kind."""
_OURS = ("app.kubernetes.io/", "helm.sh/", "argocd.argoproj.io/")


def _selected_by(manifest: Manifest) -> frozenset[tuple[str, str]]:
    """Return the labels by which a Prometheus may select an object: not those of the chart."""
    labels = manifest.labels.items()
    return frozenset((k, str(v)) for k, v in labels if v is not None and not k.startswith(_OURS))


@rule("https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.Probe")
def probe_labels_another_namespace(objects: Objects) -> Iterator[Problem]:
    """The label namespace of a Probe's metrics is the environment's namespace.

    Alerts select by it. With another namespace, they never fire, or fire for another environment.
    """
    path = ("spec", "targets", "staticConfig", "labels", "namespace")
    for manifest in objects.of_kind("Probe"):
        namespace = manifest.get(*path)
        if namespace is not None and namespace != objects.namespace:
            message = (
                f"{manifest.label} labels its metrics with the namespace {namespace}, but the"
                f" environment's is {objects.namespace}: its alerts never fire"
            )
            fix = advice.write("namespace", objects.namespace)
            yield Problem(manifest, path, message, fix)


@rule(
    "https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.NamespaceSelector",
    outcome=Outcome.RISK,
)
def monitor_selects_all_namespaces(objects: Objects) -> Iterator[Problem]:
    """A monitor selects Services or pods of its own namespace, or of named ones.

    Otherwise Prometheus also scrapes other environments, which have the same labels, under this
    one's jobs: each target is scraped twice, and alerts count the nodes of both chains.
    """
    for manifest in objects.of_kind("ServiceMonitor", "PodMonitor"):
        if manifest.get("spec", "namespaceSelector", "any") is True:
            message = (
                f"{manifest.label} selects in all namespaces: it also scrapes the nodes of other"
                " environments, and their metrics are mixed up with this one's"
            )
            fix = advice.remove("namespaceSelector", ("spec", "namespaceSelector"))
            path = ("spec", "namespaceSelector", "any")
            yield Problem(manifest, path, message, str(fix))
