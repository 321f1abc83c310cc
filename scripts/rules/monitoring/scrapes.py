"""What ServiceMonitors scrape, and which nodes none does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scripts.chain.node_config import Node
from scripts.kubernetes import monitors, services
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import Workload, mappings
from scripts.rules.snapshot import Objects, once


@dataclass(frozen=True, slots=True)
class Scrape:
    """An endpoint of a ServiceMonitor, and a Service that it selects."""

    monitor: Manifest
    path: Where
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


@once
def unscraped(objects: Objects) -> Iterator[Node]:
    """Yield nodes that nothing scrapes, where there is monitoring at all."""
    if not objects.of_kind("ServiceMonitor", "PrometheusRule"):
        return
    every = scrapes(objects)
    if any(scrape.service is None for scrape in every):
        return  # a monitor that selects nothing, or no port, is told of with the references
    for node in objects.programs:
        ports = [port.number for port in node.container.ports()]
        ports += [api.port for api in node.apis if api.name == "metrics" and api.port]
        own = [scrape for scrape in every if scrape.workload == node.workload]
        if not any(scrape.number in ports for scrape in own):
            yield node


@once
def scrapes(objects: Objects) -> Iterator[Scrape]:
    """Yield what ServiceMonitors scrape: each endpoint with each Service that has its port."""
    for monitor in objects.of_kind("ServiceMonitor"):
        among = monitors.monitored(monitor, objects.of_kind("Service"), objects.namespace)
        for path, endpoint in monitors.endpoints(monitor):
            ports = [port for one in among for port in monitors.meant(endpoint, one)]
            for port in ports:
                for workload in objects.behind(port.service):
                    number = services.reached(port, workload)
                    yield Scrape(monitor, path, endpoint, port.service, workload, number)
            if not ports and isinstance(endpoint.get("port"), str):
                yield Scrape(monitor, path, endpoint, None, None, None)
