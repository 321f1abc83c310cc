"""Backends: Ingresses route requests to existing Services and ports."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from scripts.core import advice, paths
from scripts.core.sentences import joined
from scripts.kubernetes import containers, services
from scripts.kubernetes.containers import Port
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.services import Backend
from scripts.kubernetes.workloads import Workload
from scripts.rules.networking.port_advice import instead
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_INGRESS = "https://kubernetes.io/docs/concepts/services-networking/ingress/"
_ALB = "https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/ingress/annotations/"
_ACTIONS = "alb.ingress.kubernetes.io/actions."
_EXAMPLE = "service: {name: linea-stack-besu, port: {name: rpc}}"
_TARGET_TYPE = "alb.ingress.kubernetes.io/target-type"
_HEALTH = "alb.ingress.kubernetes.io/healthcheck-port"


@rule(_INGRESS + "#the-ingress-resource")
def unknown_ingress_backend(objects: Objects) -> Iterator[Problem]:
    """Every backend of an Ingress is an existing Service and one of its ports.

    Otherwise requests for the host get an error 503 from the load balancer.
    """
    for ingress in objects.of_kind("Ingress"):
        reported = set[str]()
        for backend in services.backends(ingress):
            problem = _backend(objects, backend)
            if problem and problem.message not in reported:
                reported.add(problem.message)
                yield problem


def _backend(objects: Objects, backend: Backend) -> Problem | None:
    """Return the problem of a backend, if it has one."""
    ingress, path, name, port = backend.ingress, backend.path, backend.service, backend.port
    if "resource" in backend.data:
        kind, resource = (
            str(paths.get(backend.data, ["resource", field])) for field in ("kind", "name")
        )
        if objects.has(kind, resource):
            return None
        message = (
            f"{ingress.label} routes requests to {kind}/{resource}, which does not exist: they get"
            " an error"
        )
        fix = f"replace resource with the Service that should answer, for example {_EXAMPLE}; if"
        fix += f" {kind}/{resource} is meant, add its manifest to the chart"
        return Problem(ingress, (*path, "resource", "name"), message, fix)
    if port == "use-annotation" and f"{_ACTIONS}{name}" in ingress.annotations:
        return None
    service = objects.find("Service", name)
    if service is None:
        names = [manifest.name for manifest in objects.of_kind("Service")]
        near = difflib.get_close_matches(name, names, 1)
        message = (
            f"{ingress.label} routes requests to Service/{name}, which does not exist: they get an"
            " error 503"
        )
        fix = f"write in name the Service that should answer: {joined(names, 'or')}"
        if near:
            fix = advice.write("name", near[0])
        return Problem(ingress, (*path, "service", "name"), message, fix)
    if objects.led_to(backend):
        return None
    is_named = isinstance(port, str)
    known = [str(own.name if is_named else own.number) for own in services.ports(service)]
    message = (
        f"{ingress.label} routes requests to port {port} of {service.label}, which the Service does"
        " not have: they get an error 503"
    )
    near = difflib.get_close_matches(str(port), known, 1)
    field = "name" if is_named else "number"
    fix = f"write in port.{field} the port that should answer: {joined(known, 'or')}"
    if near or len(known) == 1:
        right = (near or known)[0]
        fix = advice.write("port", {field: right if is_named else int(right)})
    place = (*path, "service", "port", field)
    return Problem(ingress, place, message, fix)


@rule(_INGRESS + "#ingress-rules", outcome=Outcome.REJECTED)
def ingress_rule_without_paths(objects: Objects) -> Iterator[Problem]:
    """Every http rule of an Ingress has a path.

    Otherwise the API server rejects the Ingress, so the sync fails or does not begin.
    """
    for manifest in objects.of_kind("Ingress"):
        for place, route in services.rules(manifest):
            if isinstance(route.get("http"), dict) and not route["http"].get("paths"):
                message = (
                    f"{manifest.label} has no path for {route.get('host', 'any host')}: the API"
                    " server rejects it"
                )
                fix = "add a path to the Service that should answer, for example paths: [{path: /,"
                fix += f" pathType: Prefix, backend: {{{_EXAMPLE}}}}}]"
                yield Problem(manifest, (*place, "http"), message, fix)


@rule(_ALB + "#healthcheck-port")
def unknown_health_check_port(objects: Objects) -> Iterator[Problem]:
    """The health check port of a load balancer is a port of the pods behind it.

    Otherwise every health check fails: the pods get no requests, or never count as ready.
    """
    path: Where = ("metadata", "annotations", _HEALTH)
    for manifest in objects.of_kind("Ingress", "Service"):
        wanted = manifest.annotations.get(_HEALTH)
        targets = [manifest] if manifest.kind == "Service" else _services(objects, manifest)
        behind = [workload for service in targets for workload in objects.behind(service)]
        known = [port for workload in behind for port in containers.ports(workload)]
        if not isinstance(wanted, str) or wanted == "traffic-port" or not known:
            continue
        number = int(wanted) if wanted.isdecimal() else wanted
        label = joined([service.label for service in targets])
        if not any(port.is_meant(number, "TCP") for port in known):
            message = (
                f"the load balancer of {manifest.label} checks the health of pods on port"
                f" {wanted}, but no pod of {label} has that port: every health check fails"
            )
            yield Problem(manifest, path, message, _health_check(wanted, behind, known))
        elif isinstance(number, str) and _is_named_twice(manifest, targets, wanted):
            message = (
                f"the load balancer of {manifest.label} checks the health of pods on port"
                f" {wanted}, but the targetPort of {label} is a name, too: the AWS Load Balancer"
                " Controller rejects that for targets of type ip"
            )
            yield Problem(manifest, path, message, _health_check(wanted, behind, known))


def _is_named_twice(manifest: Manifest, targets: Sequence[Manifest], wanted: str) -> bool:
    """Return whether a health check names a port of Services that itself names one of the pods."""
    types = [each.annotations.get(_TARGET_TYPE) for each in (*targets, manifest)]
    ports = [port for service in targets for port in services.ports(service)]
    named = [port for port in ports if port.name == wanted]
    return "ip" in types and not any(isinstance(port.target, int) for port in named)


def _health_check(wanted: str, behind: Sequence[Workload], known: Sequence[Port]) -> str:
    """Return the fix for an unknown port: the port of the readiness probes, or the known ports."""
    probed = {
        port.number
        for workload in behind
        for container in containers.running(workload)
        for port in container.ports()
        if port.is_meant(container.get("readinessProbe", "httpGet", "port"), "TCP")
    }
    if len(probed) == 1:
        return advice.write(_HEALTH, str(probed.pop())) + ", the port of the readiness probe"
    number = int(wanted) if wanted.isdecimal() else wanted
    # The fix is a number, but an annotation is a string.
    return str(instead(_HEALTH, "answers the health check", number, known, "TCP")) + ", in quotes"


def _services(objects: Objects, ingress: Manifest) -> list[Manifest]:
    """Return the Services among the backends of an Ingress."""
    names = {backend.service for backend in services.backends(ingress)}
    found = [objects.find("Service", name) for name in sorted(names)]
    return [service for service in found if service]
