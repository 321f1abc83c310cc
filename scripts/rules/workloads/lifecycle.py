"""Lifecycle: pods start, are replaced and stop as they must."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from scripts.chain.node_config import BESU, MARU
from scripts.core import paths
from scripts.core.findings import Severity
from scripts.kubernetes import resilience
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.resilience import ZONE
from scripts.kubernetes.workloads import Workload, mappings, scaled, whole
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Container, Objects, containers, pod

_DEPLOYMENTS = "https://kubernetes.io/docs/concepts/workloads/controllers/deployment/"
_STATEFUL = "https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/"
_PODS = "https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/"
_PROBES = (
    "https://kubernetes.io/docs/tasks/configure-pod-container/"
    "configure-liveness-readiness-startup-probes/"
)

_NODES = ("sequencer", "maru", "besu")
"""Components whose pods keep a chain in RocksDB."""

_VALIDATORS = ("sequencer", "maru")

_LEAST_START_S = {"startupProbe": 60, "livenessProbe": 300}
"""For RocksDB to recover after a kill, and the JVM to start beside it; more where no startup probe
says that somebody has thought of it."""

_LEAST_LIVENESS_S = 30
"""A JVM may stop for its garbage, or wait for a slow disk, for some seconds."""

_LEAST_STOP_S = {"sequencer": 60, "besu": 60, "maru": 30}
"""For RocksDB's memory to be written to disk; the chart gives Besu 300 s, and Maru 60."""

_MISSED = {
    "livenessProbe": "where it hangs, nothing starts it again",
    "readinessProbe": "an update goes on to the next pod before it has caught up",
}

_ANSWERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    BESU: {"rpc": ("/liveness", "/readiness"), "metrics": ("/metrics",)},
    MARU: {"metrics": ("/live", "/ready", "/metrics")},
}
"""What they answer by HTTP GET, by API. Maru's API answers more than these."""

_DEFAULT_GRACE_S = 30
_DEFAULTS = {"periodSeconds": 10, "timeoutSeconds": 1, "failureThreshold": 3, "successThreshold": 1}


@rule(_DEPLOYMENTS, outcome=Outcome.REJECTED)
def rollout_of_nothing(objects: Objects) -> Iterator[Problem]:
    """A Deployment's update may add a pod, or take one away.

    With maxSurge and maxUnavailable both 0 it could do neither: Kubernetes refuses it.
    """
    for workload in _of_kind(objects, "Deployment"):
        path: Where = ("spec", "strategy", "rollingUpdate")
        rolling = workload.get(*path)
        if not isinstance(rolling, dict) or not {"maxSurge", "maxUnavailable"} <= rolling.keys():
            continue
        if not any(scaled(rolling[key], 100) for key in ("maxSurge", "maxUnavailable")):
            message = "maxSurge and maxUnavailable are both 0: Kubernetes refuses that"
            fix = "write maxSurge: 1, or type: Recreate where two pods must not run at once"
            yield Problem(workload.manifest, (*path, "maxSurge"), message, fix)


@rule(_STATEFUL, outcome=Outcome.REJECTED)
def strategy_of_two_types(objects: Objects) -> Iterator[Problem]:
    """Only an update of type RollingUpdate has settings in rollingUpdate.

    Else Kubernetes refuses the object.
    """
    for workload in _of_kind(objects, "Deployment", "StatefulSet"):
        path = _strategy(workload)
        type_ = workload.get(*path, "type")
        if type_ in ("OnDelete", "Recreate") and workload.get(*path, "rollingUpdate") is not None:
            message = f"type is {type_}, and rollingUpdate is set: Kubernetes refuses that"
            fix = "write rollingUpdate: null, or type: RollingUpdate"
            yield Problem(workload.manifest, (*path, "type"), message, fix)


@rule(_STATEFUL)
def update_beyond_quorum(objects: Objects) -> Iterator[Problem]:
    """An update takes no more validators away at once than the chain can spare.

    Else each update stops the chain.
    """
    spare = objects.chain.spare if objects.chain else 0
    for workload in _of_kind(objects, "StatefulSet"):
        path = (*_strategy(workload), "rollingUpdate", "maxUnavailable")
        away = workload.get(*path)
        if away is None or workload.manifest.component not in _VALIDATORS:
            continue
        gone = min(scaled(away, workload.least), workload.least)
        if gone > max(1, spare):
            message = (
                f"an update takes {gone} of {workload.least} validators away at once, and the chain"
                f" goes on without {max(0, spare)} only"
            )
            yield Problem(
                workload.manifest, path, message, f"write maxUnavailable: {max(1, spare)}"
            )


_MAX_UNAVAILABLE = 37
"""Minor version of Kubernetes from which API servers keep a StatefulSet's maxUnavailable."""


@rule(
    "https://github.com/kubernetes/kubernetes/pull/139466",
    Severity.WARNING,
    outcome=Outcome.HIDDEN,
)
def max_unavailable_dropped(objects: Objects) -> Iterator[Problem]:
    """A StatefulSet has maxUnavailable only where the API server keeps it: from 1.37 on.

    Otherwise the API server drops the field: pods are replaced one at a time, and Argo CD may
    report a difference that no sync ends. 1.35.0 to 1.35.3 kept it, with an error that hits sets
    whose pods don't wait for each other.
    """
    minor = int(objects.kubernetes_version.partition(".")[2])
    for workload in _of_kind(objects, "StatefulSet") if minor < _MAX_UNAVAILABLE else ():
        path = (*_strategy(workload), "rollingUpdate", "maxUnavailable")
        if workload.get(*path) is not None:
            message = (
                f"Kubernetes {objects.kubernetes_version} drops a StatefulSet's maxUnavailable:"
                " pods are replaced one at a time, and Argo CD may report a difference that no"
                " sync ends"
            )
            fix = "remove it; Kubernetes has it from 1.37 on"
            yield Problem(workload.manifest, path, message, fix)


@rule(_STATEFUL, Severity.WARNING)
def update_by_hand(objects: Objects) -> Iterator[Problem]:
    """A change of a StatefulSet reaches its pods by itself.

    With OnDelete what is merged runs only once somebody has deleted each pod, and Argo CD calls it
    synced before.
    """
    for workload in _of_kind(objects, "StatefulSet"):
        path = (*_strategy(workload), "type")
        refused = workload.get(*_strategy(workload), "rollingUpdate") is not None
        if workload.get(*path) == "OnDelete" and not refused:
            message = (
                "pods are replaced only when somebody deletes them: until then the old ones run"
            )
            yield Problem(workload.manifest, path, message, "write type: RollingUpdate")


@rule(f"{_STATEFUL}#partitions")
def update_of_no_pod(objects: Objects) -> Iterator[Problem]:
    """A StatefulSet's partition leaves pods to update.

    From as many as there are pods on, none ever gets what is merged, and Argo CD calls it synced.
    """
    for workload, path, partition in _partitions(objects):
        if partition >= workload.most > 0:
            message = f"partition is {partition} of {workload.most} pods: no pod is updated"
            yield Problem(workload.manifest, path, message, "write partition: 0")


@rule(f"{_STATEFUL}#partitions", Severity.WARNING)
def update_of_some_pods(objects: Objects) -> Iterator[Problem]:
    """A StatefulSet's partition is 0, but while an update is tried on some of the pods.

    Pods below it keep what ran before, also once they are started anew.
    """
    for workload, path, partition in _partitions(objects):
        if 0 < partition < workload.most:
            message = (
                f"partition is {partition} of {workload.most} pods: those with ordinals below it "
                "are not updated"
            )
            fix = "write partition: 0 once the update has proved itself, or waive this until then"
            yield Problem(workload.manifest, path, message, fix)


@rule(f"{_STATEFUL}#parallel-pod-management")
def ordered_validators(objects: Objects) -> Iterator[Problem]:
    """Validators start without waiting for each other.

    A node is ready when it has caught up with the others: after an outage the first would wait for
    those that wait for it, and no block comes.
    """
    for workload in _of_kind(objects, "StatefulSet"):
        path = ("spec", "podManagementPolicy")
        of_chain = workload.manifest.component in _VALIDATORS and workload.most > 1
        if of_chain and workload.get(*path) != "Parallel":
            message = (
                f"each of {workload.most} validators waits until the one before is ready, which may"
                " need those after it: after an outage no block comes"
            )
            yield Problem(workload.manifest, path, message, "write podManagementPolicy: Parallel")


@rule("https://kubernetes.io/docs/concepts/storage/persistent-volumes/#access-modes")
def rollout_waits_for_its_volume(objects: Objects) -> Iterator[Problem]:
    """A Deployment whose pods share a volume of one node replaces them by Recreate.

    Else the new pod may be on another node, and waits for the volume of the old one, which stays
    until the new one is ready.
    """
    for workload in _of_kind(objects, "Deployment"):
        strategy = ("spec", "strategy", "type")
        if workload.get(*strategy) == "Recreate" or not _surge(workload):
            continue
        path, spec = pod(workload)
        for index, volume in mappings(spec.get("volumes")):
            name = paths.get(volume, ("persistentVolumeClaim", "claimName"))
            claim = objects.find("PersistentVolumeClaim", name)
            modes = paths.get(claim.object, ("spec", "accessModes")) if claim else None
            if not isinstance(modes, list) or not modes:
                continue
            if all(mode in ("ReadWriteOnce", "ReadWriteOncePod") for mode in modes):
                message = (
                    f"the new pod of an update waits for {name}, which is {modes[0]} and the old "
                    "pod's: the update never ends"
                )
                fix = "write strategy: {type: Recreate}"
                yield Problem(workload.manifest, (*path, "volumes", index), message, fix)


@rule(_DEPLOYMENTS)
def surge_without_a_place(objects: Objects) -> Iterator[Problem]:
    """Where a Deployment's pods must be in different zones, an update has a zone for the new one.

    Else that waits for the place of an old one, which stays until the new one is ready.
    """
    for workload in _of_kind(objects, "Deployment") if objects.zones else ():
        places = sum(resilience.may_be_in(workload, zone) for zone in objects.zones)
        rolls = workload.get("spec", "strategy", "type") != "Recreate" and not _away(workload)
        if rolls and resilience.apart(workload, ZONE) and workload.most == places:
            message = (
                f"{workload.most} pods must be in different ones of {places} zones, and an update "
                "adds one before it takes one away: it never ends"
            )
            fix = "write maxSurge: 0 and maxUnavailable: 1"
            path = ("spec", "strategy", "rollingUpdate", "maxUnavailable")
            yield Problem(workload.manifest, path, message, fix)


@rule(_DEPLOYMENTS, outcome=Outcome.REJECTED)
def progress_deadline_too_short(objects: Objects) -> Iterator[Problem]:
    """A Deployment's progressDeadlineSeconds is more than its minReadySeconds.

    Else Kubernetes refuses it.
    """
    for workload in _of_kind(objects, "Deployment"):
        ready = whole(workload.get("spec", "minReadySeconds"), 0)
        deadline = whole(workload.get("spec", "progressDeadlineSeconds"), 600)
        if deadline <= ready:
            message = (
                f"minReadySeconds is {ready}, and progressDeadlineSeconds {deadline}: Kubernetes "
                "refuses that"
            )
            field = "minReadySeconds" if deadline == 600 else "progressDeadlineSeconds"
            fix = f"write progressDeadlineSeconds: {ready + 600}, or fewer minReadySeconds"
            yield Problem(workload.manifest, ("spec", field), message, fix)


@rule(_PROBES)
def service_without_readiness(objects: Objects) -> Iterator[Problem]:
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
def node_without_probe(objects: Objects) -> Iterator[Problem]:
    """Sequencers, Marus and Besus have a liveness and a readiness probe.

    Without the first nothing starts one again that hangs; without the second an update goes on to
    the next while the last still catches up.
    """
    answered = _answered(objects)
    for container in _of_nodes(objects):
        for kind, missed in _MISSED.items():
            told = kind == "readinessProbe" and _place(container) in answered
            if container.get(kind) or told:
                continue
            message = f"the container {container.name} has no {kind}: {missed}"
            fix = f"write a {kind}, as chart/values.yaml has one for it"
            yield Problem(container.workload.manifest, (*container.path, kind), message, fix)


@rule("docs/chain.md")
def probe_of_another_api(objects: Objects) -> Iterator[Problem]:
    """An httpGet probe of Besu or Maru asks for what that port of it answers.

    Else it always fails, and the container is restarted without end, or never gets requests; or it
    is answered whatever state the node is in.
    """
    for node in objects.programs:
        answers = _ANSWERS[node.program]
        found = _ports(node.container.data)
        own = {str(port.get("name")): port.get("containerPort") for port in found}
        behind = {api.port: api.name for api in node.apis if api.name != "p2p-udp"}
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = paths.get(node.container.data, (kind, "httpGet"))
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


@rule("docs/chain.md", Severity.WARNING)
def liveness_by_a_port_of_clients(objects: Objects) -> Iterator[Problem]:
    """The liveness probe of a Besu asks a port that no client takes up.

    Besu closes connections to JSON-RPC and WebSocket above a limit. Otherwise whoever holds so many
    gets the node restarted, again and again.
    """
    for node in objects.programs:
        own = {str(p.get("name")): p.get("containerPort") for p in _ports(node.container.data)}
        shared = {api.port for api in node.apis if api.name in ("rpc", "ws")}
        path: Where = ("livenessProbe", "httpGet", "port")
        port = paths.get(node.container.data, path)
        number = own.get(port) if isinstance(port, str) else port
        if node.program == BESU and number in shared:
            message = (
                f"the livenessProbe of {node.name} asks port {port}: clients who hold all its"
                " connections get the node restarted"
            )
            fix = "write path: /metrics and port: metrics"
            yield Problem(node.workload.manifest, (*node.container.path, *path), message, fix)


@rule(_PROBES)
def liveness_too_hasty(objects: Objects) -> Iterator[Problem]:
    """A liveness probe fails several times, and a node's for half a minute, before a restart.

    Else one slow answer restarts what is only busy, which makes it slower.
    """
    nodes = {_place(one) for one in _of_nodes(objects)}
    for container in objects.containers:
        probe = container.get("livenessProbe")
        if not isinstance(probe, dict):
            continue
        failures, seconds = _number(probe, "failureThreshold"), _patience(probe)
        if failures == 1 or (_place(container) in nodes and seconds < _LEAST_LIVENESS_S):
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
def start_too_short(objects: Objects) -> Iterator[Problem]:
    """Sequencers, Marus and Besus have a minute and more to start, by a startup probe.

    Else RocksDB's recovery after a kill is killed, again and again.
    """
    for container in _of_nodes(objects):
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
def probe_refused(objects: Objects) -> Iterator[Problem]:
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


@rule(_PROBES, Severity.WARNING)
def probe_number_ignored(objects: Objects) -> Iterator[Problem]:
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


@rule("https://docs.aws.amazon.com/eks/latest/best-practices/load-balancing.html")
def stop_before_load_balancer(objects: Objects) -> Iterator[Problem]:
    """In production a container goes on for some seconds while load balancers still call it.

    The load balancer learns late that a pod is going: until then its requests get errors.
    """
    for container, service in _balanced(objects) if objects.is_production else ():
        if not container.get("lifecycle", "preStop"):
            message = (
                f"the container {container.name} stops while the load balancer of {service.label}"
                " still sends it requests"
            )
            path = (*container.path, "lifecycle", "preStop")
            fix = "write lifecycle: {preStop: {sleep: {seconds: 20}}}"
            yield Problem(container.workload.manifest, path, message, fix)


def _balanced(objects: Objects) -> Iterator[tuple[Container, Manifest]]:
    """Yield the containers that load balancers of AWS know by their pods' addresses."""
    names = set[str]()
    for ingress in objects.of_kind("Ingress"):
        annotations = ingress.metadata.get("annotations")
        target = paths.get(annotations, ("alb.ingress.kubernetes.io/target-type",))
        rules = paths.get(ingress.object, ("spec", "rules"))
        for _, one in mappings(rules) if target == "ip" else ():
            for _, path in mappings(paths.get(one, ("http", "paths"))):
                names.add(str(paths.get(path, ("backend", "service", "name"))))
    for name in sorted(names):
        service = objects.find("Service", name)
        spec = service.object.get("spec") if service else None
        selector = paths.get(spec, ("selector",))
        if service and isinstance(spec, dict) and selector:
            for workload in objects.selected({"matchLabels": selector}):
                yield from ((one, service) for one in _answering(workload, spec))


@rule(f"{_PODS}#pod-termination")
def stop_cut_short(objects: Objects) -> Iterator[Problem]:
    """A pod's preStop hook ends before its terminationGracePeriodSeconds are over.

    Else the container is killed in it, before it is even told to stop.
    """
    for container in objects.containers:
        path, seconds = _sleep(container)
        grace = _grace(container.workload)
        if seconds and seconds >= grace:
            message = (
                f"the container {container.name} sleeps for {seconds:f} s before it stops, and its "
                f"pod has {grace} s: it is killed without having stopped"
            )
            fix = f"write fewer seconds, or terminationGracePeriodSeconds: {int(seconds) + 30}"
            yield Problem(container.workload.manifest, path, message, fix)


@rule(f"{_PODS}#pod-termination")
def stop_too_short(objects: Objects) -> Iterator[Problem]:
    """Besus have a minute and Marus half a minute and more for a clean stop.

    Else each update kills them while they write RocksDB's memory to disk, and each start begins
    with a recovery.
    """
    told = set[str]()
    for container in _of_nodes(objects):
        workload = container.workload
        _, seconds = _sleep(container)
        left, enough = _grace(workload) - seconds, _LEAST_STOP_S[workload.manifest.component]
        cut_short = seconds and left <= 0
        if left >= enough or cut_short or workload.manifest.label in told:
            continue
        told.add(workload.manifest.label)
        after = f" after its preStop hook of {seconds:f} s" if seconds else ""
        usual = (60 if workload.manifest.component == "maru" else 300) + int(seconds)
        message = (
            f"the container {container.name} has {left:f} s to stop{after}: it is killed while it "
            "writes its database"
        )
        path = (*pod(workload)[0], "terminationGracePeriodSeconds")
        yield Problem(
            workload.manifest, path, message, f"write terminationGracePeriodSeconds: {usual}"
        )


def _of_kind(objects: Objects, *kinds: str) -> Iterator[Workload]:
    return (one for one in objects.workloads if one.manifest.kind in kinds)


def _strategy(workload: Workload) -> Where:
    return "spec", "strategy" if workload.manifest.kind == "Deployment" else "updateStrategy"


def _partitions(objects: Objects) -> Iterator[tuple[Workload, Where, int]]:
    for workload in _of_kind(objects, "StatefulSet"):
        path = (*_strategy(workload), "rollingUpdate", "partition")
        yield workload, path, whole(workload.get(*path), 0)


def _surge(workload: Workload) -> int:
    """Return how many pods an update has above the replicas."""
    said = workload.get("spec", "strategy", "rollingUpdate", "maxSurge")
    return scaled("25%" if said is None else said, workload.most)


def _away(workload: Workload) -> int:
    """Return how many pods an update takes away before there are others."""
    said = workload.get("spec", "strategy", "rollingUpdate", "maxUnavailable")
    return scaled("25%" if said is None else said, workload.most, up=False)


def _of_nodes(objects: Objects) -> Iterator[Container]:
    """Yield the containers that keep a chain; what runs before them keeps nothing."""
    for container in objects.containers:
        manifest = container.workload.manifest
        of_stack = manifest.kind in ("StatefulSet", "Deployment") and manifest.component in _NODES
        if of_stack and not container.first:
            yield container


def _ports(container: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [port for _, port in mappings(container.get("ports"))]


def _place(container: Container) -> tuple[str, Where]:
    return container.workload.manifest.label, container.path


def _answered(objects: Objects) -> dict[tuple[str, Where], tuple[Container, Manifest]]:
    """Return the containers that Services lead to, each with one of those, by their places."""
    found: dict[tuple[str, Where], tuple[Container, Manifest]] = {}
    for service in objects.of_kind("Service"):
        spec = service.object.get("spec")
        # One that names pods that are not ready is for finding them.
        if not isinstance(spec, dict) or spec.get("publishNotReadyAddresses") is True:
            continue
        selector = spec.get("selector")
        for workload in objects.selected({"matchLabels": selector}) if selector else ():
            for container in _answering(workload, spec):
                found.setdefault(_place(container), (container, service))
    return found


def _answering(workload: Workload, service: Mapping[str, Any]) -> Iterator[Container]:
    """Yield the containers that have a port which a Service leads to."""
    ports = [port for _, port in mappings(service.get("ports"))]
    targets = [port.get("targetPort") or port.get("port") for port in ports]
    for container in containers(workload):
        own = [port for _, port in mappings(container.get("ports"))]
        known = [value for port in own for value in (port.get("name"), port.get("containerPort"))]
        if not container.first and any(target in known for target in targets):
            yield container


def _number(probe: Mapping[str, Any], field: str) -> int:
    """Return a number of a probe, for 0 the default as Kubernetes does."""
    return whole(probe.get(field), 0) or _DEFAULTS[field]


def _patience(probe: Mapping[str, Any]) -> int:
    """Return for how many seconds a probe may fail."""
    return _number(probe, "periodSeconds") * _number(probe, "failureThreshold")


def _grace(workload: Workload) -> int:
    return whole(pod(workload)[1].get("terminationGracePeriodSeconds"), _DEFAULT_GRACE_S)


_SLEEP = re.compile(r"\bsleep ([0-9]+(?:\.[0-9]+)?)\b")


def _sleep(container: Container) -> tuple[Where, Decimal]:
    """Return how long a preStop hook sleeps, and where that is said."""
    path: Where = (*container.path, "lifecycle", "preStop")
    seconds = container.get("lifecycle", "preStop", "sleep", "seconds")
    if isinstance(seconds, int):
        return (*path, "sleep", "seconds"), Decimal(seconds)
    command = container.get("lifecycle", "preStop", "exec", "command")
    words = " ".join(map(str, command)) if isinstance(command, list) else ""
    found = _SLEEP.search(words)
    return (*path, "exec", "command"), Decimal(found[1]) if found else Decimal(0)
