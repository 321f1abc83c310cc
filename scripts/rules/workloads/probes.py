"""Probes: Kubernetes is told when a container is ready, and when it hangs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scripts.chain.node_config import BESU, MARU
from scripts.core.findings import Severity
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import whole
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects
from scripts.rules.workloads.answering import answering, of_nodes

_PROBES = (
    "https://kubernetes.io/docs/tasks/configure-pod-container/"
    "configure-liveness-readiness-startup-probes/"
)
_LEAST_START_S = {"startupProbe": 60, "livenessProbe": 300}
"""For RocksDB to recover after a kill, and the JVM to start beside it; more where no startup probe
says that somebody has thought of it."""
_LEAST_LIVENESS_S = 30
"""A JVM may stop for its garbage, or wait for a slow disk, for some seconds."""
_MISSED = {
    "livenessProbe": "where it hangs, nothing starts it again",
    "readinessProbe": "an update goes on to the next pod before it has caught up",
}
_ANSWERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    BESU: {"rpc": ("/liveness", "/readiness"), "metrics": ("/metrics",)},
    MARU: {"metrics": ("/live", "/ready", "/metrics")},
}
"""What they answer by HTTP GET, by API. Maru's API answers more than these."""
_DEFAULTS = {"periodSeconds": 10, "timeoutSeconds": 1, "failureThreshold": 3, "successThreshold": 1}


@rule(_PROBES)
def missing_readiness_probe(objects: Objects) -> Iterator[Problem]:
    """Who answers a Service has a readiness probe.

    Else it is sent connections from its first moment on, before it listens or has caught up.
    """
    for container, service in _answered(objects).values():
        if not container.get("readinessProbe"):
            message = (
                f"the container {container.name} answers {service.label} and has no readinessProbe:"
                " it is sent connections before it can take them"
            )
            path = (*container.path, "readinessProbe")
            fix = "write a readinessProbe, an httpGet or a tcpSocket on that port"
            yield Problem(container.workload.manifest, path, message, fix)


@rule(_PROBES)
def chain_node_without_probe(objects: Objects) -> Iterator[Problem]:
    """Sequencers, Marus and Besus have a liveness and a readiness probe.

    Without the first nothing starts one again that hangs; without the second an update goes on to
    the next while the last still catches up.
    """
    answered = _answered(objects)
    for container in of_nodes(objects):
        for kind, missed in _MISSED.items():
            told = kind == "readinessProbe" and container.place in answered
            if container.get(kind) or told:
                continue
            message = f"the container {container.name} has no {kind}: {missed}"
            fix = f"write a {kind}, as chart/values.yaml has one for it"
            yield Problem(container.workload.manifest, (*container.path, kind), message, fix)


@rule("docs/chain.md")
def probe_path_of_wrong_api(objects: Objects) -> Iterator[Problem]:
    """An httpGet probe of Besu or Maru asks for what that port of it answers.

    Else it always fails, and the container is restarted without end, or never gets requests; or it
    is answered whatever state the node is in.
    """
    for node in objects.programs:
        answers = _ANSWERS[node.program]
        own = {port.name: port.number for port in node.container.ports()}
        behind = {api.port: api.name for api in node.apis if api.name != "p2p-udp"}
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = node.container.get(kind, "httpGet")
            port = asked.get("port") if isinstance(asked, dict) else None
            number = own.get(port) if isinstance(port, str) else port
            api = behind.get(number) if isinstance(number, int) else None
            if api is None:
                continue
            query = str(asked.get("path", "/"))
            file = query.partition("?")[0]
            allowed = answers.get(api, ())
            path: Where = (*node.container.path, kind, "httpGet")
            manifest = node.workload.manifest
            if file not in allowed and file != "/":
                message = (
                    f"{kind} of {node.name} asks port {port} for {file}, which is not answered"
                    " there: it always fails"
                )
                right = [name for name in answers if file in answers[name]] or list(answers)[:1]
                if file not in answers[right[0]]:
                    there = allowed or answers[right[0]]
                    fix = f"write {' or '.join(there)}"
                    fix += "" if allowed else f", and the port of {right[0]}"
                    yield Problem(manifest, (*path, "path"), message, fix)
                else:
                    number = next((n for n, name in behind.items() if name == right[0]), right[0])
                    names = [name for name, value in own.items() if value == number]
                    fix = f"write port: {names[0] if names else number}"
                    yield Problem(manifest, (*path, "port"), message, fix)
            elif kind == "readinessProbe" and file == "/liveness":
                message = (
                    f"readinessProbe of {node.name} asks for {file}: it is ready before it has"
                    " peers or has caught up"
                )
                yield Problem(manifest, (*path, "path"), message, "write /readiness")


@rule(_PROBES, outcome=Outcome.RISK)
def liveness_probe_too_strict(objects: Objects) -> Iterator[Problem]:
    """A liveness probe fails several times, and a node's for half a minute, before a restart.

    Else one slow answer restarts what is only busy, which makes it slower.
    """
    nodes = {one.place for one in of_nodes(objects)}
    for container in objects.containers:
        probe = container.get("livenessProbe")
        if not isinstance(probe, dict):
            continue
        failures, seconds = _number(probe, "failureThreshold"), _patience(probe)
        if failures == 1 or (container.place in nodes and seconds < _LEAST_LIVENESS_S):
            field = "failureThreshold" if failures < 3 else "periodSeconds"
            message = (
                f"the container {container.name} is restarted after {failures} failed "
                f"{'try' if failures == 1 else 'tries'}, {seconds} s: a pause restarts it"
            )
            period = _number(probe, "periodSeconds")
            fix = f"write failureThreshold: {max(3, -(-_LEAST_LIVENESS_S // max(period, 1)))}"
            path = (*container.path, "livenessProbe", field)
            yield Problem(container.workload.manifest, path, message, fix)


@rule(_PROBES)
def startup_probe_too_short(objects: Objects) -> Iterator[Problem]:
    """Sequencers, Marus and Besus have a minute and more to start, by a startup probe.

    Else RocksDB's recovery after a kill is killed, again and again.
    """
    for container in of_nodes(objects):
        kind = "startupProbe" if container.get("startupProbe") else "livenessProbe"
        probe = container.get(kind)
        if not isinstance(probe, dict):
            continue
        seconds = whole(probe.get("initialDelaySeconds"), 0) + _patience(probe)
        # A liveness probe that is hasty is told by itself.
        hasty = kind == "livenessProbe" and _patience(probe) < _LEAST_LIVENESS_S
        if seconds >= _LEAST_START_S[kind] or hasty:
            continue
        by = "" if kind == "startupProbe" else " by its livenessProbe"
        message = (
            f"the container {container.name} has {seconds} s to start{by}: what recovers a "
            "database is killed before it is done"
        )
        fix = "write a startupProbe, as chart/values.yaml has one for it"
        path: Where = (*container.path, "startupProbe")
        if kind == "startupProbe":
            fix = f"write failureThreshold: {600 // _number(probe, 'periodSeconds')}"
            path = (*path, "failureThreshold")
        yield Problem(container.workload.manifest, path, message, fix)


@rule(_PROBES, outcome=Outcome.REJECTED)
def invalid_success_threshold(objects: Objects) -> Iterator[Problem]:
    """A liveness or startup probe has a successThreshold of 1.

    Else Kubernetes refuses the object.
    """
    for container in objects.containers:
        for kind in ("livenessProbe", "startupProbe"):
            needed = container.get(kind, "successThreshold")
            if isinstance(needed, int) and needed > 1:
                message = f"successThreshold is {needed}: of a {kind} Kubernetes takes 1 only"
                path = (*container.path, kind, "successThreshold")
                yield Problem(
                    container.workload.manifest, path, message, "write successThreshold: 1"
                )


@rule(_PROBES, Severity.WARNING, outcome=Outcome.HIDDEN)
def invalid_probe_number(objects: Objects) -> Iterator[Problem]:
    """The numbers of a probe are 1 and more.

    Kubernetes takes a 0 for a number that is not given, and puts its default there.
    """
    for container in objects.containers:
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            for field, default in _DEFAULTS.items():
                value = container.get(kind, field)
                if isinstance(value, int) and not isinstance(value, bool) and value == 0:
                    message = f"{field} is 0, which Kubernetes takes for its default, {default}"
                    path = (*container.path, kind, field)
                    yield Problem(
                        container.workload.manifest, path, message, f"write {field}: {default}"
                    )


def _answered(objects: Objects) -> dict[tuple[str, Where], tuple[Container, Manifest]]:
    """Return the containers that Services lead to, each with one of those, by their places."""
    found: dict[tuple[str, Where], tuple[Container, Manifest]] = {}
    for service in objects.of_kind("Service"):
        # One that names pods that are not ready is for finding them.
        if service.get("spec", "publishNotReadyAddresses") is not True:
            for container in answering(objects, service):
                found.setdefault(container.place, (container, service))
    return found


def _number(probe: Mapping[str, Any], field: str) -> int:
    """Return a number of a probe, for 0 the default as Kubernetes does."""
    return whole(probe.get(field), 0) or _DEFAULTS[field]


def _patience(probe: Mapping[str, Any]) -> int:
    """Return for how many seconds a probe may fail."""
    return _number(probe, "periodSeconds") * _number(probe, "failureThreshold")
