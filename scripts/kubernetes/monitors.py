"""What ServiceMonitors and PodMonitors scrape.

https://prometheus-operator.dev/docs/api-reference/api/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from scripts.kubernetes import services
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.services import ServicePort
from scripts.kubernetes.workloads import mappings, selects

KINDS = ("ServiceMonitor", "PodMonitor")


def endpoints(monitor: Manifest) -> Iterator[tuple[Where, dict[str, Any]]]:
    """Yield the endpoints of a monitor, each with its path."""
    field = "podMetricsEndpoints" if monitor.kind == "PodMonitor" else "endpoints"
    for index, endpoint in mappings(monitor.get("spec", field)):
        yield ("spec", field, index), endpoint


def namespaces(monitor: Manifest, own: str) -> list[str]:
    """Return the namespaces that a monitor names, else its own."""
    named = monitor.get("spec", "namespaceSelector", "matchNames")
    found = [str(name) for name in named] if isinstance(named, list) else []
    return found or [monitor.namespace or own]


def looks_in(monitor: Manifest, namespace: str) -> bool:
    """Return whether a monitor of a namespace, or of another, looks in that namespace."""
    everywhere = monitor.get("spec", "namespaceSelector", "any") is True
    return everywhere or namespace in namespaces(monitor, namespace)


def monitored(monitor: Manifest, among: Iterable[Manifest], namespace: str) -> list[Manifest]:
    """Return the Services of a namespace that a ServiceMonitor selects."""
    if not looks_in(monitor, namespace):
        return []
    selector = monitor.get("spec", "selector")
    return [service for service in among if selects(selector, service.labels)]


def meant(endpoint: dict[str, Any], service: Manifest) -> list[ServicePort]:
    """Return the ports of a Service that an endpoint names."""
    name = endpoint.get("port")
    return [port for port in services.ports(service) if name and port.name == name]
