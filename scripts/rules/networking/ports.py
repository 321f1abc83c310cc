"""Ports: a port that something connects to is one that it has."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.core import paths
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import Workload, mappings
from scripts.rules.networking.selection import monitored, own_namespace
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Container, Objects, containers, runs

_SERVICES = "https://kubernetes.io/docs/concepts/services-networking/service/"
_INGRESS = "https://kubernetes.io/docs/concepts/services-networking/ingress/"
_POLICIES = "https://kubernetes.io/docs/concepts/services-networking/network-policies/"
_MONITORS = "https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.ServiceMonitor"
_PROBES = "https://kubernetes.io/docs/concepts/workloads/pods/probes/"
_CONTAINERS = "https://kubernetes.io/docs/concepts/workloads/pods/#pod-networking"
_ALB = "https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/ingress/annotations/"
_ACTIONS = "alb.ingress.kubernetes.io/actions."
_REFUSED = "a cluster refuses that"
_HEALTH = "alb.ingress.kubernetes.io/healthcheck-port"


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a container says it has."""

    name: str
    number: Any
    protocol: str
    container: Container
    path: Where

    def __str__(self) -> str:
        """Return it as people write it."""
        return f"{self.name or 'without a name'} ({self.number}/{self.protocol})"


def ports(workload: Workload) -> list[Port]:
    """Return the ports of a workload's pods, while they run."""
    return [port for one in containers(workload) if runs(one) for port in _of_container(one)]


def _of_container(container: Container) -> list[Port]:
    return [
        Port(
            str(data.get("name") or ""),
            data.get("containerPort"),
            str(data.get("protocol", "TCP")),
            container,
            (*container.path, "ports", index),
        )
        for index, data in mappings(container.data.get("ports"))
    ]


def _is(wanted: Any, protocol: str, port: Port) -> bool:
    """Return whether a port is meant by a name or number, and a protocol."""
    return port.protocol == protocol and wanted == (
        port.name if isinstance(wanted, str) else port.number
    )


def _instead(wanted: Any, known: Iterable[Port], protocol: str = "") -> str:
    """Return what to write for a port that is not there, as the kind of text it is."""
    found = [port for port in known if not protocol or port.protocol == protocol]
    listed = list(dict.fromkeys(str(port) for port in found))
    if isinstance(wanted, str):
        near = difflib.get_close_matches(wanted, [port.name for port in found], 1)
        if near:
            return f"write {near[0]}"
    return f"write one that there is: {', '.join(listed)}" if listed else "name a port there first"


@rule(_SERVICES + "#field-spec-ports")
def service_target_port_missing(objects: Objects) -> Iterator[Problem]:
    """A Service's targetPort is a port of the pods that it selects, in name or number and protocol.

    Else connections to it are refused, or it has no endpoints.
    """
    for manifest, path, port, selected in _service_ports(objects):
        wanted, protocol = port.get("targetPort", port.get("port")), port.get("protocol", "TCP")
        known = [own for one in selected for own in ports(one)]
        if known and not any(_is(wanted, protocol, own) for own in known):
            message = (
                f"{manifest.label} leads to port {wanted} ({protocol}), which no container of"
                f" {_labels(selected)} has"
            )
            other = [own for own in known if _is(wanted, own.protocol, own)]
            place, fix = (*path, "targetPort"), _instead(wanted, known, protocol)
            if other:
                place, fix = (*path, "protocol"), f"write {other[0].protocol}"
            elif "targetPort" not in port:
                place = (*path, "port")
            yield Problem(manifest, place, message, fix)


@rule(_SERVICES + "#field-spec-ports")
def service_port_of_another_name(objects: Objects) -> Iterator[Problem]:
    """A Service's port that has the name of a port of its pods leads to that one.

    Else who connects to it by that name gets another API, which does not understand them.
    """
    for manifest, path, port, selected in _service_ports(objects):
        wanted, protocol = port.get("targetPort", port.get("port")), port.get("protocol", "TCP")
        known = [own for one in selected for own in ports(one)]
        meant = [own for own in known if own.name and own.name == port.get("name")]
        got = [own for own in known if _is(wanted, protocol, own)]
        if meant and got and not any(own.number == one.number for own in meant for one in got):
            message = (
                f"the port {meant[0].name} of {manifest.label} leads to {got[0]}, and its pods have"
                f" {meant[0]}, too"
            )
            place = (*path, "targetPort" if "targetPort" in port else "port")
            yield Problem(manifest, place, message, f"write targetPort: {meant[0].name}")


@rule(_SERVICES + "#field-spec-ports")
def service_mixes_pods(objects: Objects) -> Iterator[Problem]:
    """All pods that a Service selects have the ports that it leads to.

    Else a part of the connections go to pods that refuse them.
    """
    told = set[str]()
    for manifest, _, port, selected in _service_ports(objects):
        wanted, protocol = port.get("targetPort", port.get("port")), port.get("protocol", "TCP")
        have = [one for one in selected if any(_is(wanted, protocol, p) for p in ports(one))]
        lack = [one for one in selected if one not in have and ports(one)]
        lack += [one for one in selected if not ports(one) and isinstance(wanted, str)]
        if have and lack and manifest.name not in told:
            told.add(manifest.name)
            message = (
                f"{manifest.label} leads to port {wanted} ({protocol}) of {_labels(have)}, and"
                f" selects {_labels(lack)}, too, without it"
            )
            fix = "select by a label that only the pods with the port have"
            yield Problem(manifest, ("spec", "selector"), message, fix)


def _service_ports(
    objects: Objects,
) -> Iterator[tuple[Manifest, Where, dict[str, Any], list[Workload]]]:
    """Yield the ports of Services that select pods, each with its path and what they select."""
    for manifest in objects.of_kind("Service"):
        selector = paths.get(manifest.object, ["spec", "selector"])
        if isinstance(selector, dict) and selector:
            selected = objects.selected({"matchLabels": selector})
            for index, port in mappings(paths.get(manifest.object, ["spec", "ports"])):
                yield manifest, ("spec", "ports", index), port, selected


def _labels(workloads: Sequence[Workload]) -> str:
    return " and ".join(one.manifest.label for one in workloads)


@rule(_SERVICES + "#multi-port-services", outcome=Outcome.REJECTED)
def service_ports_collide(objects: Objects) -> Iterator[Problem]:
    """A Service's ports differ in number or protocol, and each of several has a name of its own.

    The API server refuses anything else, and the sync fails or does not begin.
    """
    for manifest in objects.of_kind("Service"):
        own = list(mappings(paths.get(manifest.object, ["spec", "ports"])))
        numbers = set[tuple[str, str]]()
        names = set[str]()
        for index, port in own:
            path: Where = ("spec", "ports", index)
            name, key = port.get("name"), (str(port.get("port")), str(port.get("protocol", "TCP")))
            if key in numbers:
                message = f"{manifest.label} has port {key[0]} ({key[1]}) twice: {_REFUSED}"
                yield Problem(manifest, (*path, "port"), message, "write another, or remove it")
            elif name is None and len(own) > 1:
                message = f"port {key[0]} of {manifest.label} has no name, and is not the only one"
                yield Problem(manifest, (*path, "name"), message, "give it a name")
            elif name is not None and str(name) in names:
                message = f"{manifest.label} has two ports named {name}: {_REFUSED}"
                yield Problem(manifest, (*path, "name"), message, "give one another name")
            numbers.add(key)
            names.add(str(name))


@rule(_PROBES)
def probe_port_missing(objects: Objects) -> Iterator[Problem]:
    """The port of a probe or a lifecycle hook is one of the container's.

    Else the probe fails: the container is restarted without end, or never gets requests.
    """
    for workload in objects.makers:
        pod_ports = ports(workload)
        for container in containers(workload):
            own = _of_container(container)
            for path, wanted in _handlers(container):
                # By number a neighbour is reached, too: they have one address.
                known = own if isinstance(wanted, str) else [*pod_ports, *own]
                if (own or isinstance(wanted, str)) and not any(
                    _is(wanted, "TCP", port) for port in known
                ):
                    what = next(part for part in path[len(container.path) :] if part != "lifecycle")
                    message = (
                        f"{what} of the container {container.name} asks port {wanted}, which the"
                        " container does not have: it always fails"
                    )
                    fix = _instead(wanted, own, "TCP")
                    yield Problem(workload.manifest, path, message, fix)


def _handlers(container: Container) -> Iterator[tuple[Where, Any]]:
    """Yield the ports that the kubelet asks of a container itself, with their paths."""
    places: list[Where] = [("livenessProbe",), ("readinessProbe",), ("startupProbe",)]
    places += [("lifecycle", "postStart"), ("lifecycle", "preStop")]
    for place in places:
        for kind in ("httpGet", "tcpSocket", "grpc"):
            handler = container.get(*place, kind)
            if isinstance(handler, dict) and "port" in handler and not handler.get("host"):
                yield (*container.path, *place, kind, "port"), handler["port"]


@rule(_CONTAINERS)
def container_ports_collide(objects: Objects) -> Iterator[Problem]:
    """No two containers of a pod have the same port.

    They share one network: the second to listen on it fails, and is restarted without end.
    """
    for workload in objects.makers:
        first: dict[tuple[str, str], Port] = {}
        for port in ports(workload):
            other = first.setdefault((str(port.number), port.protocol), port)
            if other.container.path != port.container.path:
                message = (
                    f"the containers {other.container.name} and {port.container.name} both have"
                    f" port {port.number} ({port.protocol}), in one network: the second fails"
                )
                fix = "let one of them listen on another port"
                yield Problem(workload.manifest, (*port.path, "containerPort"), message, fix)


@rule(_MONITORS)
def monitor_port_missing(objects: Objects) -> Iterator[Problem]:
    """An endpoint of a ServiceMonitor or a PodMonitor is a port of what it selects.

    Else Prometheus scrapes nothing there, and alerts on those metrics never fire.
    """
    for manifest in objects.of_kind("ServiceMonitor", "PodMonitor"):
        selected = monitored(objects, manifest)
        for path, endpoint in _endpoints(manifest) if selected else ():
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
) -> tuple[str, list[Any]]:
    """Return which field of an endpoint names its port, and what it may be."""
    if monitor.kind == "ServiceMonitor" and "port" in endpoint:
        found = [
            port.get("name")
            for one in selected
            for _, port in mappings(paths.get(one.object, ["spec", "ports"]))
        ]
    else:
        behind = [port for one in selected for port in _ports_behind(objects, one)]
        wanted = endpoint.get("targetPort", endpoint.get("portNumber"))
        by_number = "port" not in endpoint and isinstance(wanted, int)
        found = [port.number if by_number else port.name for port in behind]
    fields = ("port", "targetPort", "portNumber")
    field = next((name for name in fields if name in endpoint), "port")
    return field, list(
        dict.fromkeys(name for name in found if name and isinstance(name, str | int))
    )


@rule(_MONITORS)
def port_scraped_twice(objects: Objects) -> Iterator[Problem]:
    """A port is scraped once.

    Twice, its metrics are there under two names: sums are double, and alerts come twice.
    """
    first: dict[tuple[Any, ...], str] = {}
    for manifest in objects.of_kind("ServiceMonitor", "PodMonitor"):
        told, own = False, set[tuple[Any, ...]]()
        for path, endpoint in _endpoints(manifest):
            query = (str(endpoint.get("path", "/metrics")), str(endpoint.get("params")))
            for source, place, port in _scraped(objects, manifest, endpoint):
                label = port.container.workload.manifest.label
                by = manifest.label
                by += f" through {source.label}" if manifest.kind == "ServiceMonitor" else ""
                key = (label, str(port.number), *query)
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


def _endpoints(monitor: Manifest) -> Iterator[tuple[Where, dict[str, Any]]]:
    field = "podMetricsEndpoints" if monitor.kind == "PodMonitor" else "endpoints"
    for index, endpoint in mappings(paths.get(monitor.object, ["spec", field])):
        yield ("spec", field, index), endpoint


def _scraped(
    objects: Objects, monitor: Manifest, endpoint: dict[str, Any]
) -> Iterator[tuple[Manifest, Where, Port]]:
    """Yield the pods' ports that an endpoint scrapes, each with the place they are found by."""
    for one in monitored(objects, monitor):
        wanted: list[tuple[Where, Any]]
        wanted = [(("spec", "ports"), endpoint.get("port", endpoint.get("targetPort")))]
        if monitor.kind == "ServiceMonitor" and "port" in endpoint:
            wanted = [
                (("spec", "ports", index), port.get("targetPort", port.get("port")))
                for index, port in mappings(paths.get(one.object, ["spec", "ports"]))
                if port.get("name") == endpoint["port"]
            ]
        for port in _ports_behind(objects, one):
            for place, name in wanted:
                if _is(name, "TCP", port):
                    yield one, place, port


def _ports_behind(objects: Objects, manifest: Manifest) -> list[Port]:
    """Return the ports of a workload's pods, or of those that a Service selects."""
    if manifest.kind == "Service":
        selector = paths.get(manifest.object, ["spec", "selector"])
        found = objects.selected({"matchLabels": selector}) if selector else []
    else:
        found = [one for one in objects.makers if one.manifest is manifest]
    return [port for one in found for port in ports(one)]


@rule(_POLICIES)
def policy_port_missing(objects: Objects) -> Iterator[Problem]:
    """A port that a NetworkPolicy lets through is a port of the pods that it leads to.

    Else it opens nothing that anybody listens on: connections to the right port time out.
    """
    for manifest in objects.of_kind("NetworkPolicy"):
        own = objects.selected(paths.get(manifest.object, ["spec", "podSelector"]))
        for direction, side in (("ingress", "from"), ("egress", "to")):
            for index, allowed in mappings(paths.get(manifest.object, ["spec", direction])):
                to = own if direction == "ingress" else _peers(objects, allowed.get(side))
                known = [port for one in to for port in ports(one)]
                for place, port in mappings(allowed.get("ports")) if known else ():
                    path = ("spec", direction, index, "ports", place)
                    yield from _policy_port(manifest, path, port, to, known)


def _policy_port(
    manifest: Manifest,
    path: Where,
    port: dict[str, Any],
    to: Sequence[Workload],
    known: Sequence[Port],
) -> Iterator[Problem]:
    wanted, protocol, end = port.get("port"), port.get("protocol", "TCP"), port.get("endPort")
    if wanted is None or any(_is(wanted, protocol, own) for own in known):
        return
    if isinstance(end, int) and isinstance(wanted, int):
        numbers = (own.number for own in known if own.protocol == protocol)
        if any(isinstance(number, int) and wanted <= number <= end for number in numbers):
            return
    other = [own for own in known if _is(wanted, own.protocol, own)]
    message = (
        f"{manifest.label} lets port {wanted} ({protocol}) through, which no container of"
        f" {_labels(to)} has"
    )
    if other:
        yield Problem(manifest, (*path, "protocol"), message, f"write {other[0].protocol}")
    else:
        yield Problem(manifest, (*path, "port"), message, _instead(wanted, known, protocol))


def _peers(objects: Objects, peers: Any) -> list[Workload]:
    """Return the workloads that peers are; none where there may be others that we do not know."""
    found = list[Workload]()
    for _, peer in mappings(peers):
        inside = own_namespace(objects, peer.get("namespaceSelector"))
        if not inside or not isinstance(peer.get("podSelector"), dict):
            return []
        found += objects.selected(peer["podSelector"])
    return found


@rule(_INGRESS + "#the-ingress-resource")
def ingress_leads_nowhere(objects: Objects) -> Iterator[Problem]:
    """An Ingress leads to a Service that is there, and to one of its ports.

    Else who asks for its host gets an error, or what the load balancer says of its own.
    """
    for manifest in objects.of_kind("Ingress"):
        told = set[str]()
        for path, backend in _backends(manifest):
            problem = _backend(objects, manifest, path, backend)
            if problem and problem.message not in told:
                told.add(problem.message)
                yield problem


@rule(_INGRESS + "#ingress-rules", outcome=Outcome.REJECTED)
def ingress_rule_without_paths(objects: Objects) -> Iterator[Problem]:
    """A rule of an Ingress has a path.

    The API server refuses one with an empty list of them, and the sync fails or does not begin.
    """
    for manifest in objects.of_kind("Ingress"):
        for index, one in mappings(paths.get(manifest.object, ["spec", "rules"])):
            if "http" in one and not paths.get(one, ["http", "paths"]):
                message = (
                    f"{manifest.label} has no path for {one.get('host', 'any host')}: {_REFUSED}"
                )
                path: Where = ("spec", "rules", index, "http")
                yield Problem(manifest, path, message, "write one with pathType and backend")


def _backends(manifest: Manifest) -> Iterator[tuple[Where, dict[str, Any]]]:
    default = paths.get(manifest.object, ["spec", "defaultBackend"])
    if isinstance(default, dict):
        yield ("spec", "defaultBackend"), default
    for index, one in mappings(paths.get(manifest.object, ["spec", "rules"])):
        for place, path in mappings(paths.get(one, ["http", "paths"])):
            if isinstance(path.get("backend"), dict):
                yield ("spec", "rules", index, "http", "paths", place, "backend"), path["backend"]


def _backend(
    objects: Objects, manifest: Manifest, path: Where, backend: dict[str, Any]
) -> Problem | None:
    """Return what is wrong with where an Ingress leads, if it is."""
    name, port = (paths.get(backend, ["service", field]) for field in ("name", "port"))
    port = port if isinstance(port, dict) else {}
    if "resource" in backend:
        kind, name = (str(paths.get(backend, ["resource", field])) for field in ("kind", "name"))
        if objects.has(kind, name):
            return None
        message = f"{manifest.label} leads to {kind}/{name}, which is not there"
        fix = "write the name of an object of this environment, or a service"
        return Problem(manifest, (*path, "resource", "name"), message, fix)
    if port.get("name") == "use-annotation":
        annotations = manifest.metadata.get("annotations")
        if isinstance(annotations, dict) and f"{_ACTIONS}{name}" in annotations:
            return None
    service = objects.find("Service", name)
    if service is None:
        names = [one.name for one in objects.of_kind("Service")]
        near = difflib.get_close_matches(str(name), names, 1)
        message = f"{manifest.label} leads to Service/{name}, which is not there"
        fix = f"write {near[0] if near else ' or '.join(names)}"
        return Problem(manifest, (*path, "service", "name"), message, fix)
    field = "name" if "name" in port else "number"
    own = [one for _, one in mappings(paths.get(service.object, ["spec", "ports"]))]
    known = [one.get("name" if field == "name" else "port") for one in own]
    wanted = port.get(field)
    if wanted in known:
        return None
    message = f"{manifest.label} leads to port {wanted} of {service.label}, which it does not have"
    near = difflib.get_close_matches(str(wanted), map(str, known), 1)
    fix = f"write {near[0] if near else ' or '.join(map(str, known))}"
    return Problem(manifest, (*path, "service", "port", field), message, fix)


@rule(_ALB + "#healthcheck-port")
def load_balancer_asks_missing_port(objects: Objects) -> Iterator[Problem]:
    """The port by which a load balancer looks after pods is a port of those pods.

    Else it takes all of them for dead, and answers every request with an error.
    """
    path: Where = ("metadata", "annotations", _HEALTH)
    for manifest in objects.of_kind("Ingress", "Service"):
        wanted = paths.get(manifest.object, path)
        services = [manifest] if manifest.kind == "Service" else _services(objects, manifest)
        known = [port for one in services for port in _ports_behind(objects, one)]
        if not isinstance(wanted, str) or wanted == "traffic-port" or not known:
            continue
        number = int(wanted) if wanted.isdecimal() else wanted
        if not any(_is(number, "TCP", port) for port in known):
            label = " and ".join(one.label for one in services)
            message = (
                f"the load balancer of {manifest.label} asks port {wanted}, which no pod of"
                f" {label} has"
            )
            yield Problem(manifest, path, message, _instead(wanted, known, "TCP"))


def _services(objects: Objects, ingress: Manifest) -> list[Manifest]:
    names = {str(paths.get(one, ["service", "name"])) for _, one in _backends(ingress)}
    found = [objects.find("Service", name) for name in sorted(names)]
    return [one for one in found if one]
