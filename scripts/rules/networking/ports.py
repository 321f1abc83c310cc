"""Ports: Services and probes use ports that the containers have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from scripts.core import advice
from scripts.kubernetes import containers, services
from scripts.kubernetes.containers import HANDLERS, Container, Port
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.services import ServicePort
from scripts.kubernetes.workloads import Workload
from scripts.rules.networking.port_advice import instead, labels
from scripts.rules.pod_templates import called
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_SERVICES = "https://kubernetes.io/docs/concepts/services-networking/service/"
_PROBES = "https://kubernetes.io/docs/concepts/workloads/pods/probes/"
_CONTAINERS = "https://kubernetes.io/docs/concepts/workloads/pods/#pod-networking"
_COMPONENT = "app.kubernetes.io/component"
_REJECTED = "the API server rejects it"


@rule(_SERVICES + "#field-spec-ports")
def unknown_target_port(objects: Objects) -> Iterator[Problem]:
    """Every targetPort of a Service is a port of the pods it selects, with the same protocol.

    Otherwise clients of the Service get "connection refused", or the Service has no endpoints.
    """
    for port, selected in _service_ports(objects):
        service, wanted, protocol = port.service, port.target, port.protocol
        known = [own for workload in selected for own in containers.ports(workload)]
        if known and not any(own.is_meant(wanted, protocol) for own in known):
            message = (
                f"{service.label} forwards to port {wanted} ({protocol}), but no container of"
                f" {labels(selected)} has that port: connections fail"
            )
            other = [own for own in known if own.is_meant(wanted, own.protocol)]
            place = port.target_path
            fix = instead("targetPort", "clients need", wanted, known, protocol)
            if other:
                place, fix = (*port.path, "protocol"), advice.write("protocol", other[0].protocol)
            yield Problem(service, place, message, fix)


@rule(_SERVICES + "#field-spec-ports")
def service_port_name_mismatch(objects: Objects) -> Iterator[Problem]:
    """A Service port with the same name as a port of its pods forwards to that port.

    Otherwise clients that connect by this name reach another API, and their requests fail.
    """
    for port, selected in _service_ports(objects):
        known = [own for workload in selected for own in containers.ports(workload)]
        expected = [own for own in known if own.name and own.name == port.name]
        actual = [own for own in known if own.is_meant(port.target, port.protocol)]
        if expected and actual and not {p.number for p in expected} & {p.number for p in actual}:
            name = expected[0].name
            message = (
                f"port {name} of {port.service.label} forwards to the container port {actual[0]},"
                f" not to the container port {expected[0]}: clients reach the wrong API"
            )
            yield Problem(port.service, port.target_path, message, advice.write("targetPort", name))


@rule(_SERVICES + "#field-spec-ports")
def service_selects_pods_without_port(objects: Objects) -> Iterator[Problem]:
    """All pods that a Service selects have the ports that it forwards to.

    Otherwise some connections go to pods that do not listen there: "connection refused".
    """
    reported = set[str]()
    for port, selected in _service_ports(objects):
        service = port.service
        have = [workload for workload in selected if services.answering(port, workload)]
        without = [workload for workload in selected if workload not in have]
        lack = [workload for workload in without if containers.ports(workload)]
        is_named = isinstance(port.target, str)
        lack += [one for one in selected if not containers.ports(one) and is_named]
        if have and lack and service.name not in reported:
            reported.add(service.name)
            message = (
                f"{service.label} forwards to port {port.target} ({port.protocol}) of"
                f" {labels(have)}, but also selects the pods of {labels(lack)}, which do not have"
                " that port: connections to them fail"
            )
            yield Problem(service, ("spec", "selector"), message, _narrower(service, have, lack))


def _narrower(service: Manifest, have: Sequence[Workload], lack: Sequence[Workload]) -> str:
    """Return the fix for a selector of a Service whose port not all selected pods have."""
    meant = (workload for workload in have if workload.component == service.component)
    workload = next(meant, have[0])
    own = [
        (key, value)
        for key, value in workload.labels.items()
        if all(other.labels.get(key) != value for other in lack)
    ]
    # First the component, by which the chart selects.
    for key, value in sorted(own, key=lambda item: item[0] != _COMPONENT):
        return f"add {key}: {value} to the selector"
    fix = f"add a label to the pods of {workload.manifest.label} and to the selector, for example"
    return f"{fix} {_COMPONENT}: {workload.manifest.name}"


def _service_ports(objects: Objects) -> Iterator[tuple[ServicePort, list[Workload]]]:
    """Yield the ports of Services with a selector, each with the selected workloads."""
    for service in objects.of_kind("Service"):
        if services.selector(service):
            selected = objects.behind(service)
            yield from ((port, selected) for port in services.ports(service))


@rule(_SERVICES + "#multi-port-services", outcome=Outcome.REJECTED)
def duplicate_service_port(objects: Objects) -> Iterator[Problem]:
    """The ports of a Service differ in number or protocol; if there are several, each has a name.

    Otherwise the API server rejects the Service, so the sync fails or does not begin.
    """
    for service in objects.of_kind("Service"):
        own = services.ports(service)
        numbers = set[tuple[int, str]]()
        names = set[str]()
        for port in own:
            key, label = (port.number, port.protocol), service.label
            if key in numbers:
                message = f"{label} has port {key[0]} ({key[1]}) twice: {_REJECTED}"
                fix = "remove one of the two; if clients need both, write another port, for example"
                fix += f" port: {key[0] + 1}"
                yield Problem(service, (*port.path, "port"), message, fix)
            elif not port.name and len(own) > 1:
                message = (
                    f"port {key[0]} of {label} has no name, but the Service has several ports:"
                    f" {_REJECTED}"
                )
                fix = f"write a name that no other port of the Service has, {_example(port)}"
                yield Problem(service, (*port.path, "name"), message, fix)
            elif port.name in names:
                message = f"{label} has two ports with the name {port.name}: {_REJECTED}"
                fix = f"write a name that no other port of the Service has, {_example(port)}"
                yield Problem(service, (*port.path, "name"), message, fix)
            numbers.add(key)
            names.add(port.name)


def _example(port: ServicePort) -> str:
    """Return an example for the name of a port, which is different for each port."""
    return f"for example name: {port.protocol.lower()}-{port.number}"


_EFFECTS = {
    "startupProbe": "the probe always fails, and the container restarts again and again",
    "livenessProbe": "the probe always fails, and the container restarts again and again",
    "readinessProbe": "the probe always fails, and the pod never becomes ready",
    "postStart": "the hook always fails, and the container restarts again and again",
    "preStop": "the hook always fails, and the container stops without waiting for it",
}


@rule(_PROBES)
def unknown_probe_port(objects: Objects) -> Iterator[Problem]:
    """The port of a probe or lifecycle hook is a port of its container.

    Otherwise the probe always fails: the container restarts again and again, or never gets ready.
    """
    for workload in objects.makers:
        pod_ports = containers.ports(workload)
        for container in containers.of(workload):
            own = list(container.ports())
            for path, wanted in _handler_ports(container):
                # A number may belong to another container of the pod: they share one address.
                known = own if isinstance(wanted, str) else [*pod_ports, *own]
                if (own or isinstance(wanted, str)) and not any(
                    port.is_meant(wanted, "TCP") for port in known
                ):
                    inner = path[len(container.path) :]
                    handler = next(part for part in inner if part != "lifecycle")
                    message = (
                        f"{handler} of {called(container)} uses port {wanted}, which"
                        f" the container does not have: {_EFFECTS[str(handler)]}"
                    )
                    use = "answers the " + ("probe" if "Probe" in str(handler) else "hook")
                    fix = instead("port", use, wanted, own, "TCP")
                    yield Problem(workload.manifest, path, message, fix)


def _handler_ports(container: Container) -> Iterator[tuple[Where, Any]]:
    """Yield the ports that the kubelet connects to in a container, with their paths."""
    for place in HANDLERS:
        for kind in ("httpGet", "tcpSocket", "grpc"):
            handler = container.get(*place, kind)
            if isinstance(handler, dict) and "port" in handler and not handler.get("host"):
                yield (*container.path, *place, kind, "port"), handler["port"]


@rule(_CONTAINERS)
def duplicate_container_port(objects: Objects) -> Iterator[Problem]:
    """No two containers of a pod have the same port.

    Otherwise the second to listen on it fails with "address already in use" and restarts again and
    again: the containers of a pod share one network.
    """
    for workload in objects.makers:
        first: dict[tuple[int, str], Port] = {}
        for port in containers.ports(workload):
            other = first.setdefault((port.number, port.protocol), port)
            if other.container.path != port.container.path:
                message = (
                    f"{called(other.container)} and {called(port.container)} both have"
                    f" port {port.number} ({port.protocol}), but share one network: the second to"
                    ' listen fails with "address already in use"'
                )
                fix = f"configure another port for {called(port.container)}, and write it in"
                fix += " containerPort"
                yield Problem(workload.manifest, (*port.path, "containerPort"), message, fix)
