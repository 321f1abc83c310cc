"""Scraping: the metrics of all nodes are scraped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scripts.kubernetes import containers, monitors, promql
from scripts.kubernetes.workloads import Workload
from scripts.rules.monitoring.scrapes import scrapes, unscraped
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects


@rule("docs/monitoring.md", outcome=Outcome.HIDDEN)
def scrape_of_wrong_port(objects: Objects) -> Iterator[Problem]:
    """What a ServiceMonitor scrapes is the port and path that a node gives metrics on.

    Else there are no series, and alerts that need them stay silent.
    """
    for scrape in scrapes(objects):
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


@rule("docs/monitoring.md", outcome=Outcome.RISK)
def missing_scrape(objects: Objects) -> Iterator[Problem]:
    """Where there are alerts on nodes, the metrics of each node are scraped.

    Else nothing tells when one that is not stands still.
    """
    rules = objects.of_kind("PrometheusRule")
    if rules and not objects.of_kind("ServiceMonitor"):
        message = f"nothing is scraped: the alerts of {rules[0].label} and others stay silent"
        fix = "write metrics.serviceMonitor.enabled: true"
        yield Problem(rules[0], ("metadata", "name"), message, fix)
        return
    for node in unscraped(objects):
        message = (
            f"no ServiceMonitor scrapes {node.name}: alerts on it stay silent, whatever happens"
        )
        fix = "make one that selects its Service, with the port of its metrics"
        yield Problem(node.workload.manifest, ("metadata", "name"), message, fix)


def _named(workload: Workload | None, numbers: Mapping[int | None, Any]) -> set[str]:
    found = containers.ports(workload) if workload else ()
    return {port.name for port in found if port.number in numbers}


@rule(
    "https://github.com/prometheus-operator/prometheus-operator/blob/main/Documentation/api-reference/api.md"
)
def scrape_timeout_above_interval(objects: Objects) -> Iterator[Problem]:
    """A scrape is given up before the next one begins.

    The operator refuses a ServiceMonitor whose scrapeTimeout is longer than its interval: nothing
    of it is scraped.
    """
    for monitor in objects.of_kind(*monitors.KINDS):
        for path, endpoint in monitors.endpoints(monitor):
            every, patience = endpoint.get("interval"), endpoint.get("scrapeTimeout")
            if promql.seconds(every) and promql.seconds(patience) > promql.seconds(every):
                message = (
                    f"{monitor.label} waits {patience} for what it scrapes each {every}: "
                    "the operator refuses it, and nothing is scraped"
                )
                fix = f"write no more than {every}, as 10s"
                yield Problem(monitor, (*path, "scrapeTimeout"), message, fix)
