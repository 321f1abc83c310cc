"""Scraped ports: monitors scrape existing ports, and each port once."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

from scripts.core import advice
from scripts.core.sentences import joined
from scripts.kubernetes import containers, monitors, services
from scripts.kubernetes.containers import Port
from scripts.kubernetes.manifest import Manifest, Where
from scripts.rules.networking.selection import monitored
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_MONITORS = "https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.ServiceMonitor"


@rule(_MONITORS, outcome=Outcome.HIDDEN)
def unknown_monitor_port(objects: Objects) -> Iterator[Problem]:
    """Every endpoint of a ServiceMonitor or PodMonitor is a port of what the monitor selects.

    Otherwise Prometheus scrapes nothing there, and alerts on those metrics never fire.
    """
    for manifest in objects.of_kind(*monitors.KINDS):
        selected = monitored(objects, manifest)
        for path, endpoint in monitors.endpoints(manifest) if selected else ():
            field, names = _offered(objects, manifest, endpoint, selected)
            wanted = endpoint.get(field)
            if wanted in names:
                continue
            if wanted is None:
                message = (
                    f"an endpoint of {manifest.label} has no port: Prometheus scrapes nothing there"
                )
                fix = _instead(field, "", names)
                yield Problem(manifest, path, message, fix)
                continue
            labels = joined([target.label for target in selected], "or")
            message = (
                f"{manifest.label} scrapes port {wanted}, but no port of {labels} has that"
                f" {'number' if isinstance(wanted, int) else 'name'}: its metrics are missing"
            )
            yield Problem(manifest, (*path, field), message, _instead(field, wanted, names))


def _instead(field: str, wanted: Any, names: Sequence[int | str]) -> str:
    """Return the fix for an unknown port of an endpoint."""
    known = [str(name) for name in names]
    near = difflib.get_close_matches(str(wanted), known, 1)
    # The chart calls ports with metrics so.
    likely = near or [name for name in known if name == "metrics"] or known
    if near or not likely[1:]:
        right = "".join(likely[:1])
        return advice.write(field, next((name for name in names if str(name) == right), right))
    return f"write in {field} the port that serves metrics: {joined(known, 'or')}"


def _offered(
    objects: Objects, monitor: Manifest, endpoint: dict[str, Any], selected: Sequence[Manifest]
) -> tuple[str, list[int | str]]:
    """Return the field of an endpoint that names its port, and the valid values."""
    values: list[int | str]
    if monitor.kind == "ServiceMonitor" and "port" in endpoint:
        values = [port.name for service in selected for port in services.ports(service)]
    else:
        behind = [port for target in selected for port in _ports_behind(objects, target)]
        wanted = endpoint.get("targetPort", endpoint.get("portNumber"))
        by_number = "port" not in endpoint and isinstance(wanted, int)
        values = [port.number if by_number else port.name for port in behind]
    fields = ("port", "targetPort", "portNumber")
    field = next((name for name in fields if name in endpoint), "port")
    return field, list(dict.fromkeys(value for value in values if value))


@rule(_MONITORS)
def port_scraped_twice(objects: Objects) -> Iterator[Problem]:
    """A port is scraped only once.

    Otherwise each of its metrics has two series: sums are doubled, and alerts fire twice.
    """
    first: dict[tuple[Any, ...], str] = {}
    for manifest in objects.of_kind(*monitors.KINDS):
        is_reported, own = False, set[tuple[Any, ...]]()
        for path, endpoint in monitors.endpoints(manifest):
            query = (str(endpoint.get("path", "/metrics")), str(endpoint.get("params")))
            for source, place, port in _scraped(objects, manifest, endpoint):
                label = port.container.workload.manifest.label
                by = manifest.label
                by += f" through {source.label}" if manifest.kind == "ServiceMonitor" else ""
                key = (label, port.number, *query)
                twice = key in first
                other = first.setdefault(key, by)
                if twice and not is_reported:
                    is_reported = True
                    message = (
                        f"port {port.number} of {label} is scraped both by {other} and by {by}:"
                        " sums count its metrics twice"
                    )
                    through_another = key in own and by != other
                    at = (source, place) if through_another else (manifest, path)
                    yield Problem(*at, message, _once(manifest, source, through_another))
                own.add(key)


def _once(monitor: Manifest, source: Manifest, through_another: bool) -> str:
    """Return the fix for a port that is scraped twice.

    through_another: the same monitor scrapes it through two Services.
    """
    if through_another:
        return f"remove this port from {source.label}"
    is_only = len(list(monitors.endpoints(monitor))) == 1
    return f"remove {monitor.label}" if is_only else f"remove this endpoint from {monitor.label}"


def _scraped(
    objects: Objects, monitor: Manifest, endpoint: dict[str, Any]
) -> Iterator[tuple[Manifest, Where, Port]]:
    """Yield the pods' ports that an endpoint scrapes, each with the field that selects it."""
    for target in monitored(objects, monitor):
        wanted: list[tuple[Where, Any]]
        wanted = [(("spec", "ports"), endpoint.get("port", endpoint.get("targetPort")))]
        if monitor.kind == "ServiceMonitor" and "port" in endpoint:
            wanted = [(port.path, port.target) for port in monitors.meant(endpoint, target)]
        for port in _ports_behind(objects, target):
            for place, name in wanted:
                if port.is_meant(name, "TCP"):
                    yield target, place, port


def _ports_behind(objects: Objects, manifest: Manifest) -> list[Port]:
    """Return the ports of a workload's pods, or of the pods that a Service selects."""
    if manifest.kind == "Service":
        workloads = objects.behind(manifest)
    else:
        workloads = [workload for workload in objects.makers if workload.manifest is manifest]
    return [port for workload in workloads for port in containers.ports(workload)]
