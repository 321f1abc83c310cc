"""Scraped ports: monitors scrape ports that there are, and each once."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

from scripts.kubernetes import containers, monitors, services
from scripts.kubernetes.containers import Port
from scripts.kubernetes.manifest import Manifest, Where
from scripts.rules.networking.selection import monitored
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_MONITORS = "https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.ServiceMonitor"


@rule(_MONITORS, outcome=Outcome.HIDDEN)
def unknown_monitor_port(objects: Objects) -> Iterator[Problem]:
    """An endpoint of a ServiceMonitor or a PodMonitor is a port of what it selects.

    Else Prometheus scrapes nothing there, and alerts on those metrics never fire.
    """
    for manifest in objects.of_kind(*monitors.KINDS):
        selected = monitored(objects, manifest)
        for path, endpoint in monitors.endpoints(manifest) if selected else ():
            field, names = _offered(objects, manifest, endpoint, selected)
            wanted = endpoint.get(field)
            if wanted in names:
                continue
            if wanted is None:
                message = f"an endpoint of {manifest.label} has no port: nothing is scraped"
                fix = f"write port: {' or '.join(map(str, names))}"
                yield Problem(manifest, path, message, fix)
                continue
            labels = " or ".join(one.label for one in selected)
            message = f"{manifest.label} scrapes the port {wanted}, which is no port of {labels}"
            near = difflib.get_close_matches(str(wanted), [str(name) for name in names], 1)
            fix = f"write {near[0] if near else ' or '.join(map(str, names))}"
            yield Problem(manifest, (*path, field), message, fix)


def _offered(
    objects: Objects, monitor: Manifest, endpoint: dict[str, Any], selected: Sequence[Manifest]
) -> tuple[str, list[int | str]]:
    """Return which field of an endpoint names its port, and what it may be."""
    found: list[int | str]
    if monitor.kind == "ServiceMonitor" and "port" in endpoint:
        found = [port.name for one in selected for port in services.ports(one)]
    else:
        behind = [port for one in selected for port in _ports_behind(objects, one)]
        wanted = endpoint.get("targetPort", endpoint.get("portNumber"))
        by_number = "port" not in endpoint and isinstance(wanted, int)
        found = [port.number if by_number else port.name for port in behind]
    fields = ("port", "targetPort", "portNumber")
    field = next((name for name in fields if name in endpoint), "port")
    return field, list(dict.fromkeys(name for name in found if name))


@rule(_MONITORS)
def port_scraped_twice(objects: Objects) -> Iterator[Problem]:
    """A port is scraped once.

    Twice, its metrics are there under two names: sums are double, and alerts come twice.
    """
    first: dict[tuple[Any, ...], str] = {}
    for manifest in objects.of_kind(*monitors.KINDS):
        told, own = False, set[tuple[Any, ...]]()
        for path, endpoint in monitors.endpoints(manifest):
            query = (str(endpoint.get("path", "/metrics")), str(endpoint.get("params")))
            for source, place, port in _scraped(objects, manifest, endpoint):
                label = port.container.workload.manifest.label
                by = manifest.label
                by += f" through {source.label}" if manifest.kind == "ServiceMonitor" else ""
                key = (label, port.number, *query)
                twice = key in first
                other = first.setdefault(key, by)
                if twice and not told:
                    told = True
                    message = f"port {port.number} of {label} is scraped by {other}, and by {by}"
                    fix = "remove the endpoint, or the port of one of the Services"
                    through_another = key in own and by != other
                    at = (source, place) if through_another else (manifest, path)
                    yield Problem(*at, message, fix)
                own.add(key)


def _scraped(
    objects: Objects, monitor: Manifest, endpoint: dict[str, Any]
) -> Iterator[tuple[Manifest, Where, Port]]:
    """Yield the pods' ports that an endpoint scrapes, each with the place they are found by."""
    for one in monitored(objects, monitor):
        wanted: list[tuple[Where, Any]]
        wanted = [(("spec", "ports"), endpoint.get("port", endpoint.get("targetPort")))]
        if monitor.kind == "ServiceMonitor" and "port" in endpoint:
            wanted = [(port.path, port.target) for port in monitors.meant(endpoint, one)]
        for port in _ports_behind(objects, one):
            for place, name in wanted:
                if port.is_meant(name, "TCP"):
                    yield one, place, port


def _ports_behind(objects: Objects, manifest: Manifest) -> list[Port]:
    """Return the ports of a workload's pods, or of those that a Service selects."""
    if manifest.kind == "Service":
        found = objects.behind(manifest)
    else:
        found = [one for one in objects.makers if one.manifest is manifest]
    return [port for one in found for port in containers.ports(one)]
