"""Backends: an Ingress leads to Services and ports that there are."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from scripts.core import paths
from scripts.kubernetes import containers, services
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.services import Backend
from scripts.rules.networking.port_advice import instead
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_INGRESS = "https://kubernetes.io/docs/concepts/services-networking/ingress/"
_ALB = "https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/ingress/annotations/"
_ACTIONS = "alb.ingress.kubernetes.io/actions."
_HEALTH = "alb.ingress.kubernetes.io/healthcheck-port"
_REFUSED = "a cluster refuses that"


@rule(_INGRESS + "#the-ingress-resource")
def unknown_ingress_backend(objects: Objects) -> Iterator[Problem]:
    """An Ingress leads to a Service that is there, and to one of its ports.

    Else who asks for its host gets an error, or what the load balancer says of its own.
    """
    for ingress in objects.of_kind("Ingress"):
        told = set[str]()
        for backend in services.backends(ingress):
            problem = _backend(objects, backend)
            if problem and problem.message not in told:
                told.add(problem.message)
                yield problem


def _backend(objects: Objects, backend: Backend) -> Problem | None:
    """Return what is wrong with where an Ingress leads, if it is."""
    ingress, path, name, port = backend.ingress, backend.path, backend.service, backend.port
    if "resource" in backend.data:
        kind, called = (
            str(paths.get(backend.data, ["resource", field])) for field in ("kind", "name")
        )
        if objects.has(kind, called):
            return None
        message = f"{ingress.label} leads to {kind}/{called}, which is not there"
        fix = "write the name of an object of this environment, or a service"
        return Problem(ingress, (*path, "resource", "name"), message, fix)
    if port == "use-annotation" and f"{_ACTIONS}{name}" in ingress.annotations:
        return None
    service = objects.find("Service", name)
    if service is None:
        names = [one.name for one in objects.of_kind("Service")]
        near = difflib.get_close_matches(name, names, 1)
        message = f"{ingress.label} leads to Service/{name}, which is not there"
        fix = f"write {near[0] if near else ' or '.join(names)}"
        return Problem(ingress, (*path, "service", "name"), message, fix)
    if objects.led_to(backend):
        return None
    is_named = isinstance(port, str)
    known = [str(one.name if is_named else one.number) for one in services.ports(service)]
    message = f"{ingress.label} leads to port {port} of {service.label}, which it does not have"
    near = difflib.get_close_matches(str(port), known, 1)
    fix = f"write {near[0] if near else ' or '.join(known)}"
    place = (*path, "service", "port", "name" if is_named else "number")
    return Problem(ingress, place, message, fix)


@rule(_INGRESS + "#ingress-rules", outcome=Outcome.REJECTED)
def ingress_rule_without_paths(objects: Objects) -> Iterator[Problem]:
    """A rule of an Ingress has a path.

    The API server refuses one with an empty list of them, and the sync fails or does not begin.
    """
    for manifest in objects.of_kind("Ingress"):
        for place, one in services.rules(manifest):
            if isinstance(one.get("http"), dict) and not one["http"].get("paths"):
                message = (
                    f"{manifest.label} has no path for {one.get('host', 'any host')}: {_REFUSED}"
                )
                fix = "write one with pathType and backend"
                yield Problem(manifest, (*place, "http"), message, fix)


@rule(_ALB + "#healthcheck-port")
def unknown_health_check_port(objects: Objects) -> Iterator[Problem]:
    """The port by which a load balancer looks after pods is a port of those pods.

    Else it takes all of them for dead, and answers every request with an error.
    """
    path: Where = ("metadata", "annotations", _HEALTH)
    for manifest in objects.of_kind("Ingress", "Service"):
        wanted = manifest.annotations.get(_HEALTH)
        led_to = [manifest] if manifest.kind == "Service" else _services(objects, manifest)
        behind = [workload for one in led_to for workload in objects.behind(one)]
        known = [port for workload in behind for port in containers.ports(workload)]
        if not isinstance(wanted, str) or wanted == "traffic-port" or not known:
            continue
        number = int(wanted) if wanted.isdecimal() else wanted
        if not any(port.is_meant(number, "TCP") for port in known):
            label = " and ".join(one.label for one in led_to)
            message = (
                f"the load balancer of {manifest.label} asks port {wanted}, which no pod of"
                f" {label} has"
            )
            yield Problem(manifest, path, message, instead(wanted, known, "TCP"))


def _services(objects: Objects, ingress: Manifest) -> list[Manifest]:
    names = {backend.service for backend in services.backends(ingress)}
    found = [objects.find("Service", name) for name in sorted(names)]
    return [one for one in found if one]
