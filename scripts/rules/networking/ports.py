"""Ports: a port that a Service leads to, or that a probe asks, is one that the pods have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scripts.kubernetes import containers, services
from scripts.kubernetes.containers import HANDLERS, Container, Port
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.services import ServicePort
from scripts.kubernetes.workloads import Workload
from scripts.rules.networking.port_advice import instead, labels
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_SERVICES = "https://kubernetes.io/docs/concepts/services-networking/service/"
_PROBES = "https://kubernetes.io/docs/concepts/workloads/pods/probes/"
_CONTAINERS = "https://kubernetes.io/docs/concepts/workloads/pods/#pod-networking"
_REFUSED = "a cluster refuses that"


@rule(_SERVICES + "#field-spec-ports")
def unknown_target_port(objects: Objects) -> Iterator[Problem]:
    """A Service's targetPort is a port of the pods that it selects, in name or number and protocol.

    Else connections to it are refused, or it has no endpoints.
    """
    for port, selected in _service_ports(objects):
        service, wanted, protocol = port.service, port.target, port.protocol
        known = [own for one in selected for own in containers.ports(one)]
        if known and not any(own.is_meant(wanted, protocol) for own in known):
            message = (
                f"{service.label} leads to port {wanted} ({protocol}), which no container of"
                f" {labels(selected)} has"
            )
            other = [own for own in known if own.is_meant(wanted, own.protocol)]
            place, fix = port.target_path, instead(wanted, known, protocol)
            if other:
                place, fix = (*port.path, "protocol"), f"write {other[0].protocol}"
            yield Problem(service, place, message, fix)


@rule(_SERVICES + "#field-spec-ports")
def service_port_name_mismatch(objects: Objects) -> Iterator[Problem]:
    """A Service's port that has the name of a port of its pods leads to that one.

    Else who connects to it by that name gets another API, which does not understand them.
    """
    for port, selected in _service_ports(objects):
        known = [own for one in selected for own in containers.ports(one)]
        meant = [own for own in known if own.name and own.name == port.name]
        got = [own for own in known if own.is_meant(port.target, port.protocol)]
        if meant and got and not any(own.number == one.number for own in meant for one in got):
            message = (
                f"the port {meant[0].name} of {port.service.label} leads to {got[0]}, and its pods"
                f" have {meant[0]}, too"
            )
            fix = f"write targetPort: {meant[0].name}"
            yield Problem(port.service, port.target_path, message, fix)


@rule(_SERVICES + "#field-spec-ports")
def service_selects_pods_without_port(objects: Objects) -> Iterator[Problem]:
    """All pods that a Service selects have the ports that it leads to.

    Else a part of the connections go to pods that refuse them.
    """
    told = set[str]()
    for port, selected in _service_ports(objects):
        service = port.service
        have = [one for one in selected if services.answering(port, one)]
        lack = [one for one in selected if one not in have and containers.ports(one)]
        is_named = isinstance(port.target, str)
        lack += [one for one in selected if not containers.ports(one) and is_named]
        if have and lack and service.name not in told:
            told.add(service.name)
            message = (
                f"{service.label} leads to port {port.target} ({port.protocol}) of {labels(have)},"
                f" and selects {labels(lack)}, too, without it"
            )
            fix = "select by a label that only the pods with the port have"
            yield Problem(service, ("spec", "selector"), message, fix)


def _service_ports(objects: Objects) -> Iterator[tuple[ServicePort, list[Workload]]]:
    """Yield the ports of Services that select pods, each with what they select."""
    for service in objects.of_kind("Service"):
        if services.selector(service):
            selected = objects.behind(service)
            yield from ((port, selected) for port in services.ports(service))


@rule(_SERVICES + "#multi-port-services", outcome=Outcome.REJECTED)
def duplicate_service_port(objects: Objects) -> Iterator[Problem]:
    """A Service's ports differ in number or protocol, and each of several has a name of its own.

    The API server refuses anything else, and the sync fails or does not begin.
    """
    for service in objects.of_kind("Service"):
        own = services.ports(service)
        numbers = set[tuple[int, str]]()
        names = set[str]()
        for port in own:
            key, label = (port.number, port.protocol), service.label
            if key in numbers:
                message = f"{label} has port {key[0]} ({key[1]}) twice: {_REFUSED}"
                fix = "write another, or remove it"
                yield Problem(service, (*port.path, "port"), message, fix)
            elif not port.name and len(own) > 1:
                message = f"port {key[0]} of {label} has no name, and is not the only one"
                yield Problem(service, (*port.path, "name"), message, "give it a name")
            elif port.name in names:
                message = f"{label} has two ports named {port.name}: {_REFUSED}"
                yield Problem(service, (*port.path, "name"), message, "give one another name")
            numbers.add(key)
            names.add(port.name)


@rule(_PROBES)
def unknown_probe_port(objects: Objects) -> Iterator[Problem]:
    """The port of a probe or a lifecycle hook is one of the container's.

    Else the probe fails: the container is restarted without end, or never gets requests.
    """
    for workload in objects.makers:
        pod_ports = containers.ports(workload)
        for container in containers.of(workload):
            own = list(container.ports())
            for path, wanted in _asked(container):
                # By number a neighbour is reached, too: they have one address.
                known = own if isinstance(wanted, str) else [*pod_ports, *own]
                if (own or isinstance(wanted, str)) and not any(
                    port.is_meant(wanted, "TCP") for port in known
                ):
                    what = next(part for part in path[len(container.path) :] if part != "lifecycle")
                    message = (
                        f"{what} of the container {container.name} asks port {wanted}, which the"
                        " container does not have: it always fails"
                    )
                    yield Problem(workload.manifest, path, message, instead(wanted, own, "TCP"))


def _asked(container: Container) -> Iterator[tuple[Where, Any]]:
    """Yield the ports that the kubelet asks of a container itself, with their paths."""
    for place in HANDLERS:
        for kind in ("httpGet", "tcpSocket", "grpc"):
            handler = container.get(*place, kind)
            if isinstance(handler, dict) and "port" in handler and not handler.get("host"):
                yield (*container.path, *place, kind, "port"), handler["port"]


@rule(_CONTAINERS)
def duplicate_container_port(objects: Objects) -> Iterator[Problem]:
    """No two containers of a pod have the same port.

    They share one network: the second to listen on it fails, and is restarted without end.
    """
    for workload in objects.makers:
        first: dict[tuple[int, str], Port] = {}
        for port in containers.ports(workload):
            other = first.setdefault((port.number, port.protocol), port)
            if other.container.path != port.container.path:
                message = (
                    f"the containers {other.container.name} and {port.container.name} both have"
                    f" port {port.number} ({port.protocol}), in one network: the second fails"
                )
                fix = "let one of them listen on another port"
                yield Problem(workload.manifest, (*port.path, "containerPort"), message, fix)
