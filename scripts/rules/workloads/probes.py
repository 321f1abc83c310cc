"""Probes: they report readiness and hangs of containers, and leave enough time to start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scripts.chain.node_config import BESU, MARU
from scripts.core import advice
from scripts.core.findings import Severity
from scripts.kubernetes import services
from scripts.kubernetes.containers import PROBES, Container
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import whole
from scripts.rules import chart_values
from scripts.rules.pod_templates import called
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects
from scripts.rules.workloads.answering import answering, chain_nodes

_PROBES = (
    "https://kubernetes.io/docs/tasks/configure-pod-container/"
    "configure-liveness-readiness-startup-probes/"
)
_LEAST_START_S = {"startupProbe": 60, "livenessProbe": 300}
"""Time for the JVM to start, and for RocksDB to recover after a kill; more without a startup probe,
because then no one has measured the start."""
_LEAST_LIVENESS_S = 30
"""A JVM may pause for some seconds, for garbage collection or a slow disk."""
_MISSED = {
    "livenessProbe": "if it hangs, the kubelet does not restart it",
    "readinessProbe": "a rolling update goes on to the next pod before this one has caught up",
}
_ANSWERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    BESU: {"rpc": ("/liveness", "/readiness"), "metrics": ("/metrics",)},
    MARU: {"metrics": ("/live", "/ready", "/metrics")},
}
"""The paths that answer an HTTP GET, by API. Maru's API answers more than these."""
_DEFAULTS = {"periodSeconds": 10, "timeoutSeconds": 1, "failureThreshold": 3, "successThreshold": 1}


@rule(_PROBES)
def missing_readiness_probe(objects: Objects) -> Iterator[Problem]:
    """A container that receives connections through a Service has a readiness probe.

    Otherwise the Service sends it connections as soon as it starts, before it listens or has caught
    up: clients get connection errors or old data.
    """
    for container, service in _behind_services(objects).values():
        if not container.get("readinessProbe"):
            message = (
                f"{called(container)} has no readinessProbe: {service.label} sends "
                "it connections before it can answer them"
            )
            path = (*container.path, "readinessProbe")
            fix = _probe_to_add(container, "readinessProbe") or (
                advice.add(
                    "readinessProbe", {"tcpSocket": {"port": _target(service, container)}}
                ).unless("; if the program has a health path, use httpGet instead")
            )
            yield Problem(container.workload.manifest, path, message, fix)


@rule(_PROBES, Severity.WARNING)
def probe_timeout_above_period(objects: Objects) -> Iterator[Problem]:
    """A probe waits no longer for an answer than its period.

    Otherwise a container that hangs is noticed late: the next probe begins only after the time-out.
    """
    for container in objects.containers:
        for kind in PROBES:
            probe = container.get(kind)
            if not isinstance(probe, dict):
                continue
            timeout, period = (
                whole(probe.get(key), _DEFAULTS[key]) for key in ("timeoutSeconds", "periodSeconds")
            )
            if timeout > period:
                message = (
                    f"the {kind} of {called(container)} waits {timeout}s for an answer, but its"
                    f" period is {period}s: a hang is noticed late"
                )
                path = (*container.path, kind, "timeoutSeconds")
                fix = advice.write("timeoutSeconds", period)
                yield Problem(container.workload.manifest, path, message, fix)


@rule(_PROBES, Severity.WARNING)
def slow_probe(objects: Objects) -> Iterator[Problem]:
    """A probe notices within an hour that a container hangs, and readiness within ten minutes.

    Otherwise a Service sends requests to a container that can't answer them, for so long.
    """
    for container in objects.containers:
        for kind, most in (("livenessProbe", 3600), ("readinessProbe", 600)):
            probe = container.get(kind)
            if not isinstance(probe, dict):
                continue
            period, failures = (
                whole(probe.get(key), _DEFAULTS[key])
                for key in ("periodSeconds", "failureThreshold")
            )
            if period * failures > most:
                message = (
                    f"the {kind} of {called(container)} fails {failures} times, {period}s apart,"
                    f" before it counts: a hang is noticed only after {period * failures}s"
                )
                path = (*container.path, kind, "periodSeconds")
                fix = advice.write("periodSeconds", max(1, min(20, most // failures)))
                yield Problem(container.workload.manifest, path, message, fix)


@rule(_PROBES)
def chain_node_without_probe(objects: Objects) -> Iterator[Problem]:
    """The containers of sequencer, Maru and Besu have a liveness and a readiness probe.

    Without a liveness probe, the kubelet does not restart a node that hangs. Without a readiness
    probe, a rolling update stops the next pod while the previous one still catches up.
    """
    behind_services = _behind_services(objects)
    for container in chain_nodes(objects):
        for kind, missed in _MISSED.items():
            # missing-readiness-probe reports these.
            is_reported = kind == "readinessProbe" and container.place in behind_services
            if container.get(kind) or is_reported:
                continue
            message = f"{called(container)} has no {kind}: {missed}"
            fix = _probe_to_add(container, kind)
            yield Problem(container.workload.manifest, (*container.path, kind), message, fix)


def _probe_to_add(container: Container, kind: str) -> str:
    """Return a fix: a probe like the chart's; empty if the chart has none for the container."""
    component = container.workload.manifest.component
    if component not in ("sequencer", "maru", "besu", "ethstats"):
        return ""
    section = chart_values.section(container) or component
    return f"add a {kind} with the settings of {section}.{kind} in chart/values.yaml"


def _target(service: Manifest, container: Container) -> int | str:
    """Return the port of a container to which a Service leads, by its name if it has one."""
    targets = (services.answering(port, container.workload) for port in services.ports(service))
    found = next(one for one in targets if one and one.container.path == container.path)
    return found.name or found.number


@rule("docs/chain.md")
def probe_path_of_wrong_api(objects: Objects) -> Iterator[Problem]:
    """An httpGet probe of Besu or Maru requests a path that its port serves.

    Otherwise the probe always fails: the container restarts again and again, or never becomes
    ready. A readiness probe on /liveness succeeds even if the node has not caught up.
    """
    for node in objects.programs:
        answers = _ANSWERS[node.program]
        own = {port.name: port.number for port in node.container.ports()}
        behind = {api.port: api.name for api in node.apis if api.name != "p2p-udp"}
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            request = node.container.get(kind, "httpGet")
            port = request.get("port") if isinstance(request, dict) else None
            number = own.get(port) if isinstance(port, str) else port
            api = behind.get(number) if isinstance(number, int) else None
            if api is None:
                continue
            url_path = str(request.get("path", "/")).partition("?")[0]
            served = answers.get(api, ())
            path: Where = (*node.container.path, kind, "httpGet")
            manifest = node.workload.manifest
            if url_path not in served and url_path != "/":
                message = (
                    f"the {kind} of the container {node.name} requests {url_path} on the port "
                    f"{port}, which does not serve that path: the probe always fails"
                )
                right = [name for name in answers if url_path in answers[name]]
                right = right or list(answers)[:1]
                number = next((n for n, name in behind.items() if name == right[0]), right[0])
                names = [name for name, value in own.items() if value == number]
                on_port = advice.write("port", names[0] if names else number)
                if url_path not in answers[right[0]]:
                    fix = advice.write("path", _path_of(kind, served or answers[right[0]]))
                    fix = fix if served else fix + ", and " + on_port.without_verb()
                    yield Problem(manifest, (*path, "path"), message, fix)
                else:
                    yield Problem(manifest, (*path, "port"), message, on_port)
            elif kind == "readinessProbe" and url_path == "/liveness":
                message = (
                    f"the readinessProbe of the container {node.name} requests {url_path}: the pod "
                    "becomes ready before the node has peers and has caught up"
                )
                yield Problem(
                    manifest, (*path, "path"), message, advice.write("path", "/readiness")
                )


def _path_of(kind: str, served: tuple[str, ...]) -> str:
    """Return the path for a kind of probe, of those that a port serves."""
    ready = [path for path in served if path in ("/readiness", "/ready")]
    return ready[0] if ready and kind == "readinessProbe" else served[0]


@rule("docs/chain.md", Severity.WARNING)
def liveness_probe_on_client_port(objects: Objects) -> Iterator[Problem]:
    """The liveness probe of a Besu uses a port to which no clients connect.

    Besu limits the connections to JSON-RPC and to WebSocket. If clients hold all of them, the probe
    fails, and the kubelet restarts the node again and again.
    """
    for node in objects.programs:
        own = {port.name: port.number for port in node.container.ports()}
        shared = {api.port for api in node.apis if api.name in ("rpc", "ws")}
        path: Where = ("livenessProbe", "httpGet", "port")
        port = node.container.get(*path)
        number = own.get(port) if isinstance(port, str) else port
        if node.program == BESU and number in shared:
            message = (
                f"the livenessProbe of the container {node.name} uses port {port}: if clients hold "
                "all connections to this port, the kubelet restarts the node"
            )
            metrics = "{path: /metrics, port: metrics}"
            value, field = f"livenessProbe: {metrics}", f"livenessProbe.httpGet: {metrics}"
            fix = chart_values.field(objects, node.container, value, field)
            yield Problem(node.workload.manifest, (*node.container.path, *path), message, fix)


@rule(_PROBES, outcome=Outcome.RISK)
def liveness_probe_too_strict(objects: Objects) -> Iterator[Problem]:
    """A liveness probe allows several failures, and for a chain node half a minute of them.

    Otherwise one slow answer restarts a container that is only busy, which makes it slower.
    """
    nodes = {container.place for container in chain_nodes(objects)}
    for container in objects.containers:
        probe = container.get("livenessProbe")
        if not isinstance(probe, dict):
            continue
        failures, seconds = _number(probe, "failureThreshold"), _patience(probe)
        if failures == 1 or (container.place in nodes and seconds < _LEAST_LIVENESS_S):
            field = "failureThreshold" if failures < 3 else "periodSeconds"
            message = (
                f"the livenessProbe restarts {called(container)} after {failures} "
                f"{'failure' if failures == 1 else 'failures'} ({seconds} s): a short pause of the "
                "program is enough for a restart"
            )
            period = _number(probe, "periodSeconds")
            fix = advice.write("failureThreshold", max(3, -(-_LEAST_LIVENESS_S // max(period, 1))))
            path = (*container.path, "livenessProbe", field)
            yield Problem(container.workload.manifest, path, message, fix)


@rule(_PROBES)
def startup_probe_too_short(objects: Objects) -> Iterator[Problem]:
    """A startup probe gives the containers of sequencer, Maru and Besu at least a minute to start.

    Otherwise the kubelet kills the container while RocksDB recovers from an earlier kill, and the
    pod ends in CrashLoopBackOff.
    """
    for container in chain_nodes(objects):
        kind = "startupProbe" if container.get("startupProbe") else "livenessProbe"
        probe = container.get(kind)
        if not isinstance(probe, dict):
            continue
        seconds = whole(probe.get("initialDelaySeconds"), 0) + _patience(probe)
        # liveness-probe-too-strict reports these.
        too_strict = kind == "livenessProbe" and _patience(probe) < _LEAST_LIVENESS_S
        if seconds >= _LEAST_START_S[kind] or too_strict:
            continue
        message = (
            f"the {kind} gives {called(container)} {seconds} s to start: it is killed while RocksDB"
            " recovers its database"
        )
        fix = _probe_to_add(container, "startupProbe")
        path: Where = (*container.path, "startupProbe")
        if kind == "startupProbe":
            fix = advice.write("failureThreshold", 600 // _number(probe, "periodSeconds"))
            path = (*path, "failureThreshold")
        yield Problem(container.workload.manifest, path, message, fix)


@rule(_PROBES, outcome=Outcome.REJECTED)
def invalid_success_threshold(objects: Objects) -> Iterator[Problem]:
    """The successThreshold of a liveness or startup probe is 1.

    Otherwise the API server rejects the object, so the sync fails or does not begin.
    """
    for container in objects.containers:
        for kind in ("livenessProbe", "startupProbe"):
            needed = container.get(kind, "successThreshold")
            if isinstance(needed, int) and needed > 1:
                message = (
                    f"successThreshold of the {kind} is {needed}, and only 1 is valid: the API "
                    "server rejects the object, so the sync fails"
                )
                path = (*container.path, kind, "successThreshold")
                fix = advice.write("successThreshold", 1)
                yield Problem(container.workload.manifest, path, message, fix)


@rule(_PROBES, Severity.WARNING, outcome=Outcome.HIDDEN)
def invalid_probe_number(objects: Objects) -> Iterator[Problem]:
    """The periods, timeouts and thresholds of a probe are at least 1.

    Otherwise the value has no effect: the API server replaces 0 by the default.
    """
    for container in objects.containers:
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            for field, default in _DEFAULTS.items():
                value = container.get(kind, field)
                if isinstance(value, int) and not isinstance(value, bool) and value == 0:
                    message = (
                        f"{field} of the {kind} is 0: the API server replaces 0 by the default, "
                        f"{default}"
                    )
                    path = (*container.path, kind, field)
                    fix = advice.write(field, default).unless(", or another number from 1 on")
                    yield Problem(container.workload.manifest, path, message, fix)


def _behind_services(objects: Objects) -> dict[tuple[str, Where], tuple[Container, Manifest]]:
    """Return the containers behind Services, by their place, each with the first Service."""
    found: dict[tuple[str, Where], tuple[Container, Manifest]] = {}
    for service in objects.of_kind("Service"):
        # A Service that publishes addresses of unready pods is for discovery.
        if service.get("spec", "publishNotReadyAddresses") is not True:
            for container in answering(objects, service):
                found.setdefault(container.place, (container, service))
    return found


def _number(probe: Mapping[str, Any], field: str) -> int:
    """Return a number of a probe; the default for 0, as the API server does."""
    return whole(probe.get(field), 0) or _DEFAULTS[field]


def _patience(probe: Mapping[str, Any]) -> int:
    """Return how many seconds a probe may fail before the kubelet acts."""
    return _number(probe, "periodSeconds") * _number(probe, "failureThreshold")
