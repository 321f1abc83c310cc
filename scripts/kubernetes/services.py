"""Where Services and Ingresses lead: to pods, and to which ports of these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from scripts.core import paths
from scripts.kubernetes import containers
from scripts.kubernetes.containers import Port
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import Workload, mappings, picks, whole


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port of a Service, with what the API server fills in (SetDefaults_Service)."""

    service: Manifest
    path: Where
    name: str
    """Nothing where it has none."""
    number: int
    protocol: str
    target: int | str
    """Number or name of the pods' port."""

    @property
    def target_path(self) -> Where:
        """Return the path of what says to which port it leads."""
        is_written = paths.has(self.service.object, (*self.path, "targetPort"))
        return (*self.path, "targetPort" if is_written else "port")


def ports(service: Manifest) -> list[ServicePort]:
    """Return the ports of a Service."""
    return [
        ServicePort(
            service,
            ("spec", "ports", index),
            str(port.get("name") or ""),
            whole(port.get("port"), 0),
            containers.protocol(port),
            _target(port),
        )
        for index, port in mappings(service.get("spec", "ports"))
    ]


def _target(port: Mapping[str, Any]) -> int | str:
    """Return where a port of a Service leads: to its own number where it says nothing, 0 or ""."""
    said = port.get("targetPort")
    named = said if isinstance(said, str) else whole(said, 0)
    return named or whole(port.get("port"), 0)


def is_headless(service: Manifest) -> bool:
    """Return whether a Service has no address, and its name leads to the pods' own."""
    return bool(service.get("spec", "clusterIP") == "None")


def selector(service: Manifest) -> dict[str, Any] | None:
    """Return a label selector of the pods that a Service leads to; None if it selects none.

    The controllers give no endpoints to one without labels, or of type ExternalName.
    """
    labels = service.get("spec", "selector")
    if not isinstance(labels, dict) or not labels:
        return None
    return None if service.get("spec", "type") == "ExternalName" else {"matchLabels": labels}


def pods(service: Manifest, among: Iterable[Workload]) -> list[Workload]:
    """Return the workloads to whose pods a Service leads."""
    wanted = selector(service)
    return [one for one in among if picks(wanted, one)] if wanted else []


def reached(port: ServicePort, workload: Workload) -> int | None:
    """Return the port number of the pods that a Service's port leads to; None if they have none.

    A number is taken as it is, whatever the containers say; a name is one of a running container's,
    with the same protocol: FindPort in Kubernetes' pkg/api/v1/pod/util.go.
    """
    if isinstance(port.target, int):
        return port.target
    found = answering(port, workload)
    return found.number if found else None


def answering(port: ServicePort, workload: Workload) -> Port | None:
    """Return the port that containers say they have, and that a Service's leads to."""
    own = containers.ports(workload)
    return next((one for one in own if one.is_meant(port.target, port.protocol)), None)


@dataclass(frozen=True, slots=True)
class Backend:
    """Where an Ingress leads requests of a path, or those of none of its paths."""

    ingress: Manifest
    path: Where
    """Of the backend."""
    rule: Mapping[str, Any]
    """The item of rules; empty for the default backend."""
    of: Mapping[str, Any]
    """The item of paths; empty for the default backend."""
    data: Mapping[str, Any]

    @property
    def host(self) -> str:
        """Return the host that it is for; nothing for every host."""
        return str(self.rule.get("host") or "")

    @property
    def url(self) -> str:
        """Return the path in an address that it is for."""
        return str(self.of.get("path") or "/")

    @property
    def service(self) -> str:
        """Return the name of the Service; empty if it leads to another object."""
        return str(paths.get(self.data, ("service", "name")) or "")

    @property
    def port(self) -> int | str | None:
        """Return the name or the number of the Service's port."""
        name = paths.get(self.data, ("service", "port", "name"))
        number = paths.get(self.data, ("service", "port", "number"))
        said = name if name is not None else number
        return said if isinstance(said, int | str) else None

    def is_meant(self, port: ServicePort) -> bool:
        """Return whether it leads to a port of its Service."""
        return self.port == (port.name if isinstance(self.port, str) else port.number)


def rules(ingress: Manifest) -> list[tuple[Where, dict[str, Any]]]:
    """Return the rules of an Ingress, each with its path."""
    return [
        (("spec", "rules", index), rule) for index, rule in mappings(ingress.get("spec", "rules"))
    ]


def backends(ingress: Manifest) -> list[Backend]:
    """Return where an Ingress leads: its default backend, and that of each of its paths."""
    nothing: dict[str, Any] = {}
    found = list[Backend]()
    default = ingress.get("spec", "defaultBackend")
    if isinstance(default, dict):
        found.append(Backend(ingress, ("spec", "defaultBackend"), nothing, nothing, default))
    for path, rule in rules(ingress):
        for index, one in mappings(paths.get(rule, ("http", "paths"))):
            place = (*path, "http", "paths", index, "backend")
            if isinstance(one.get("backend"), dict):
                found.append(Backend(ingress, place, rule, one, one["backend"]))
    return found
