"""Endpoints: chain nodes call APIs that exist, and listen on the ports of their containers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from scripts.chain.node_config import BESU, MARU, Node, Setting, listed
from scripts.kubernetes import containers, services
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.services import ServicePort
from scripts.kubernetes.volumes import File
from scripts.kubernetes.workloads import Workload, whole
from scripts.rules.chain.targets import ORDINAL, Call, Target, calls, is_local
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects, once

# What listens


@rule("docs/chain.md")
def container_port_mismatch(objects: Objects) -> Iterator[Problem]:
    """A container port has the number and protocol on which its program listens.

    Otherwise Services, probes and scrapes that use the port's name can't connect.
    """
    for node in objects.programs:
        by_name = {api.name: api for api in node.apis}
        for port in node.container.ports():
            name = port.name.removeprefix("maru-") if node.program == MARU else port.name
            api = by_name.get(name) or by_name.get(name.removesuffix("-udp"))
            protocol = "UDP" if name.endswith("-udp") else "TCP"
            if api and port.protocol != protocol:
                message = (
                    f"port {port.name} of {node.name} is declared as {port.protocol}, but the "
                    f"program uses {protocol}: clients of the port can't connect"
                )
                place = (*port.path, "protocol")
                yield Problem(node.workload.manifest, place, message, f"write {protocol}")
                continue
            number = port.number
            if api is None or api.port is None or number == api.port:
                continue
            own = node.workload.manifest
            setting = node.settings.get(api.port_key)
            key = setting.called if setting else api.port_key
            configured = f"{key} is {api.port}" if setting else f"{key} is {api.port} by default"
            message = (
                f"port {port.name} of {node.name} is {number}, but {configured}: "
                f"nothing listens on {number}"
            )
            is_cause = setting and setting.manifest.patches and not own.patches
            if setting and (setting.manifest is own or is_cause):
                yield Problem(setting.manifest, setting.path, message, f"write {number}")
            else:
                yield Problem(own, (*port.path, "containerPort"), message, f"write {api.port}")


@rule("https://besu.hyperledger.org/public-networks/how-to/use-besu-api#service-hosts")
def disabled_or_local_api(objects: Objects) -> Iterator[Problem]:
    """Each API with a container port is enabled, and listens on the pod's IP address.

    By default Besu's APIs are disabled, and listen on 127.0.0.1. Then probes, scrapes and clients
    outside of the pod can't connect.
    """
    for node in objects.programs:
        prefix = "maru-" if node.program == MARU else ""
        names = {port.name.removeprefix(prefix) for port in node.container.ports()}
        reported = set[str]()
        for api in node.apis:
            off, local = not api.is_on, is_local(api.host)
            key = api.on_key if off else api.host_key
            if api.name not in names or not (off or local) or key in reported:
                continue
            reported.add(key)
            setting = node.settings.get(key)
            state = "is disabled" if off else f"listens only on {api.host}"
            message = f"{api.name} of {node.name} {state}: clients can't connect to port {api.port}"
            fix = f"write {key} = true" if off else f'write {key} = "0.0.0.0"'
            yield Problem(*node.place(setting), message, fix)


@rule("https://besu.hyperledger.org/public-networks/how-to/use-besu-api#host-allowlist")
def missing_host_allowlist_entry(objects: Objects) -> Iterator[Problem]:
    """Besu's host allowlists include every host name that clients use.

    Probes use the pod's IP address, and clients a Service's name. If the name is not in the
    list, Besu answers 403.
    """
    engines: dict[str, list[Call]] = {}
    for call in calls(objects):
        if call.api == "engine":
            engines.setdefault(call.target.pod_of, []).append(call)
    for node in objects.programs:
        if node.program != BESU or not node.is_known:
            continue
        names = {port.name for port in node.container.ports()}
        setting = node.settings.get("host-allowlist")
        if "rpc" in names and "*" not in listed(setting):
            hosts = ", ".join(listed(setting)) or "localhost"
            message = (
                f"the host allowlist of {node.name} has only {hosts}: probes, which use the pod's "
                "IP address, and clients of its Services get 403"
            )
            yield Problem(*node.place(setting), message, 'write host-allowlist = ["*"]')
        setting = node.settings.get("engine-host-allowlist")
        allowed = listed(setting) or ["localhost", "127.0.0.1"]
        clients = engines.get(node.workload.manifest.label, ())
        rejected = next((call for call in clients if call.host not in allowed), None)
        if rejected and "*" not in allowed:
            message = (
                f"the Engine API of {node.name} allows only requests to {', '.join(allowed)}, "
                f"but {rejected.node.name} uses the name {rejected.host}: it gets 403, "
                "so Besu neither builds nor imports blocks"
            )
            yield Problem(*node.place(setting), message, 'write engine-host-allowlist = ["*"]')


# What is called


@rule("https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/")
def unknown_endpoint_host(objects: Objects) -> Iterator[Problem]:
    """Hosts that chain nodes and scripts call are Services of this environment, or their pods.

    Otherwise the name does not resolve: a node never connects to that peer, a Maru does not reach
    its sequencer, and a client gets no answer.
    """
    done = set[tuple[int, Where, str]]()
    for call in calls(objects):
        key = (id(call.setting.manifest), call.setting.path, call.target.missing)
        first = whole(call.node.workload.get("spec", "ordinals", "start"), 0)
        if not call.target.missing or key in done or (_by_script(call) and call.ordinal != first):
            continue
        validators = objects.chain.validators if objects.chain else 0
        if call.target.above is not None and call.target.above < validators:
            continue  # there are fewer pods than validators, which another rule reports
        done.add(key)
        message = (
            f"{call.setting.called} has the host {call.host}, but {call.target.missing}: "
            "the name does not resolve"
        )
        near = call.target.near
        other = "write the name of a Service of this environment, or of one of its pods"
        fix = f"write {near}" if near else other
        yield Problem(*_written(call), message, fix, call.host)


@rule("docs/chain.md")
def unknown_endpoint_port(objects: Objects) -> Iterator[Problem]:
    """Ports that chain nodes and scripts call exist on the Service and on the pods behind it.

    Otherwise connections fail: connection refused, or a timeout.
    """
    for call, answers in _answers(objects):
        if answers != "":
            continue
        service, port = call.target.service, call.port
        behind = _right_ports(objects, call)
        has = ", ".join(f"{number} ({name})" for number, name in sorted(behind.items()))
        owner = service.label if service else call.target.pod_of or "the pod"
        message = (
            f"{call.setting.called} has {call.host}:{port}, but {owner} has no port {port}: "
            "connections fail"
        )
        right = [number for number, name in behind.items() if call.api and name == call.api]
        other = f"write one of its ports: {has}" if has else "write another host, or add that port"
        fix = f"write {right[0]}" if right else other
        yield Problem(*_written(call), message, fix, str(call.port))


@rule("docs/chain.md")
def endpoint_of_wrong_api(objects: Objects) -> Iterator[Problem]:
    """Each endpoint is the API that its client needs, not another port of the same pod.

    Otherwise requests fail: the WebSocket port does not answer JSON-RPC over HTTP, and the JSON-RPC
    port does not answer the Engine API.
    """
    for call, answers in _answers(objects):
        if not answers or answers in (call.api, "?") or not call.api:
            continue
        behind = _right_ports(objects, call)
        right = [number for number, name in behind.items() if name == call.api]
        message = (
            f"{call.setting.called} needs the port of {call.api}, but {call.host}:{call.port} is "
            f"the port of {answers}: requests fail"
        )
        fix = f"write port {right[0]}" if right else f"write the port of {call.api}"
        yield Problem(*_written(call), message, fix, str(call.port))


@rule("docs/chain.md")
def sequencer_maru_mismatch(objects: Objects) -> Iterator[Problem]:
    """Each Maru drives the sequencer with its own ordinal, and no other.

    If two Marus drive one sequencer, they make it build on different blocks, and the other
    sequencer's validator is missing from the chain.
    """
    done = set[tuple[int, Where]]()
    for call in calls(objects):
        node, target = call.node, call.target
        key = (id(call.setting.manifest), call.setting.path)
        if call.api not in ("engine", "rpc", "api") or target.service is None or key in done:
            continue
        if isinstance(node, Node) and call.ordinal is None and target.ordinal is not None:
            if len(node.ordinals) > 1:
                done.add(key)
                message = (
                    f"{call.setting.called} makes all {len(node.ordinals)} pods of "
                    f"{node.workload.manifest.label} call pod {target.ordinal} of "
                    f"{target.pod_of}: each must call the pod with its own ordinal"
                )
                fix = "give each pod its own file, for example --config=/config/$(POD_NAME).toml"
                option = node.options.get("config")
                place = (option.manifest, option.path) if option else _written(call)
                yield Problem(*place, message, fix)
            continue
        if not isinstance(node, Node) or call.ordinal is None:
            continue
        if target.ordinal == call.ordinal or not any(w.most > 1 for w in target.workloads):
            continue
        done.add(key)
        other = f"pod {target.ordinal}" if target.ordinal is not None else "any pod"
        message = (
            f"{call.setting.called} makes pod {call.ordinal} of {node.workload.manifest.label} "
            f"call {other} of {target.pod_of or target.service.label}: each must call the pod with "
            "its own ordinal"
        )
        service = target.service.name
        own = f"{_workload_name(target)}-{call.ordinal}.{service}"
        host = own.replace(f"-{call.ordinal}.", ORDINAL) if _by_script(call) else own
        yield Problem(*_written(call), message, f"write {host}")


@rule("https://besu.hyperledger.org/public-networks/how-to/use-engine-api")
def engine_jwt_mismatch(objects: Objects) -> Iterator[Problem]:
    """Each Maru and the Besu that it drives use the same JWT secret for the Engine API.

    Otherwise Besu answers 401 to Maru, and neither builds nor imports blocks.
    """
    reported = set[tuple[str, Where]]()
    for call in calls(objects):
        node = call.node
        if call.api != "engine" or not isinstance(node, Node) or not call.target.workloads:
            continue
        others = [n for n in objects.nodes if n.workload in call.target.workloads]
        other = next((n for n in others if n.program == BESU and n.is_known), None)
        if other is None:
            continue
        jwt = node.settings.get(f"{_table(call.setting)}.jwt-secret-path")
        open_ = str(_value(other, "engine-jwt-disabled")).lower() == "true"
        theirs = None if open_ else other.settings.get("engine-jwt-secret")
        if jwt is None and open_:
            continue
        if jwt is None or theirs is None:
            lacks = node.name if jwt is None else other.name
            has = other.name if jwt is None else node.name
            message = (
                f"{has} has a JWT secret for the Engine API, but {lacks} has none: every call fails"
            )
            fix = (
                "set jwt-secret-path (Maru) and engine-jwt-secret (Besu) to the file with the "
                "shared secret"
            )
            where = call.setting if jwt is None else other.settings.get("engine-jwt-disabled")
            manifest, path = other.place(where)
            if (manifest.label, path) not in reported:
                reported.add((manifest.label, path))
                yield Problem(manifest, path, message, fix)
            continue
        first, second = node.file(str(jwt.value)), other.file(str(theirs.value))
        if first.kind and second.kind and _source(node, first) != _source(other, second):
            message = (
                f"{node.name} reads the JWT secret of the Engine API from {_named(first)}, but "
                f"{other.name}, which it drives, from {_named(second)}: it gets 401, "
                "so Besu neither builds nor imports blocks"
            )
            fix = f"mount {_named(second)}"
            manifest, path = node.workload.manifest, node.volume(first)
            if (manifest.label, path) not in reported:
                reported.add((manifest.label, path))
                yield Problem(manifest, path, message, fix)


@rule("https://besu.hyperledger.org/public-networks/how-to/use-engine-api")
def missing_engine_jwt(objects: Objects) -> Iterator[Problem]:
    """An init container that creates a JWT secret writes it to the path that Besu and Maru read.

    Otherwise the file is missing, and they don't start: CrashLoopBackOff.
    """
    writers = {
        container.workload.manifest.label: (container, (*path, "value"))
        for container in objects.containers
        for path, variable in container.variables()
        if container.is_init and variable.get("name") == "SECRET_FILE"
    }
    for node in objects.programs:
        container, path = writers.get(node.workload.manifest.label, (None, ()))
        written = node.workload.get(*path) if container else None
        for key, setting in node.settings.items():
            if container is None or not key.endswith(("engine-jwt-secret", ".jwt-secret-path")):
                continue
            if written == setting.value or node.file(str(setting.value)).kind != "emptyDir":
                continue
            message = (
                f"{container.name} writes the JWT secret of the Engine API to {written}, but "
                f"{node.name} reads {setting.value}: it does not start"
            )
            yield Problem(container.workload.manifest, path, message, f"write {setting.value}")
            return


def _source(node: Node, file: File) -> tuple[str, ...]:
    """Return what identifies the content of a file; volumes of pods are different ones."""
    own = () if file.kind in ("Secret", "ConfigMap") else (node.workload.manifest.label,)
    return (file.kind, file.name, file.key, *own)


def _named(file: File) -> str:
    key = f"key {file.key}" if file.kind in ("Secret", "ConfigMap") else file.key
    return f"{file.kind}/{file.name} ({key})"


def _table(setting: Setting) -> str:
    """Return the table of a key of Maru's configuration: its dotted name without the last part."""
    return setting.called.rpartition(": ")[2].rpartition(".")[0]


def _value(node: Node, key: str) -> Any:
    setting = node.settings.get(key)
    return setting.value if setting else None


def _written(call: Call) -> tuple[Manifest, Where]:
    """Return the position of the setting with an endpoint."""
    return call.setting.manifest, call.setting.path


def _by_script(call: Call) -> bool:
    return call.setting.called in ("MARU", "EXECUTION")


def _workload_name(target: Target) -> str:
    return target.workloads[0].manifest.name


@once
def _answers(objects: Objects) -> Iterator[tuple[Call, str | None]]:
    """Yield the calls with what listens at their ports: an API, ? for any, "" for nothing.

    None means unknown, or reported by another rule. A call that several pods make comes once.
    """
    done = set[tuple[int, Where, str, int | None, str]]()
    for call in calls(objects):
        key = (id(call.setting.manifest), call.setting.path, _base(call), call.port, call.api)
        if call.port is None or not call.target.workloads or key in done:
            continue
        done.add(key)
        yield call, _answering(objects, call, call.port)


def _base(call: Call) -> str:
    return call.setting.called if _by_script(call) else call.host


def _answering(objects: Objects, call: Call, port: int) -> str | None:
    service = call.target.service
    if service and not services.is_headless(service):
        entry = next((p for p in services.ports(service) if p.number == port), None)
        if entry is None:
            return ""
        number = _number(entry, call.target.workloads)
        if number is None:
            return None
        port = number
    behind = _listening(objects, call.target.workloads)
    if port in behind:
        return behind[port]
    # A program whose configuration is unknown may listen on each port of its container.
    declared = [own.number for w in call.target.workloads for own in containers.ports(w)]
    nodes = [node for node in objects.programs if node.workload in call.target.workloads]
    if not all(node.is_known for node in nodes) or (nodes and port in declared):
        return None  # container-port-mismatch reports that nothing listens there
    return "?" if port in declared else ""


def _right_ports(objects: Objects, call: Call) -> dict[int, str]:
    """Return the ports that the call may use: number → name of the API."""
    behind = _listening(objects, call.target.workloads)
    service = call.target.service
    if service is None or services.is_headless(service):
        own = {own.number: own.name for w in call.target.workloads for own in containers.ports(w)}
        return behind or own
    right = {}
    for port in services.ports(service):
        number = _number(port, call.target.workloads)
        right[port.number] = behind.get(number or 0, port.name)
    return right


def _listening(objects: Objects, among: Sequence[Workload]) -> dict[int, str]:
    """Return the ports on which the nodes of workloads listen: number → name of the API."""
    return {
        api.port: api.name
        for node in objects.programs
        if node.workload in among
        for api in reversed(node.apis)
        if api.port is not None and api.name != "p2p-udp"
    }


def _number(port: ServicePort, among: Sequence[Workload]) -> int | None:
    """Return the pods' port to which a Service's port leads; None if the pods don't have it."""
    numbers = (services.reached(port, workload) for workload in among)
    return next((number for number in numbers if number), None)


@rule("https://besu.hyperledger.org/public-networks/how-to/use-besu-api/json-rpc#readiness")
def invalid_health_check(objects: Objects) -> Iterator[Problem]:
    """Load balancer health checks of Besu use /liveness or /readiness on the JSON-RPC port.

    On other ports and paths Besu answers 404 or not at all: all targets are unhealthy, and clients
    get 503.
    """
    for ingress in objects.of_kind("Ingress"):
        notes = ingress.annotations
        port, path = str(notes.get(_CHECK_PORT, "")), str(notes.get(_CHECK_PATH, ""))
        behind = _listening(objects, _behind_ingress(objects, ingress))
        rpc = next((number for number, name in behind.items() if name == "rpc"), None)
        if rpc is None:
            continue
        if port.isdecimal() and behind.get(int(port)) != "rpc":
            message = (
                f"the health check of {ingress.label} uses port {port}, where Besu "
                f"has {behind.get(int(port), 'nothing')}: all targets are unhealthy, and clients "
                "get 503"
            )
            where = ("metadata", "annotations", _CHECK_PORT)
            yield Problem(ingress, where, message, f"write '{rpc}', the JSON-RPC port")
        elif path and path.partition("?")[0] not in _HEALTH:
            message = (
                f"the health check of {ingress.label} uses the path {path}, which Besu does not "
                "have: all targets are unhealthy, and clients get 503"
            )
            where = ("metadata", "annotations", _CHECK_PATH)
            yield Problem(ingress, where, message, f"write {' or '.join(_HEALTH)}")


_CHECK_PORT = "alb.ingress.kubernetes.io/healthcheck-port"
_CHECK_PATH = "alb.ingress.kubernetes.io/healthcheck-path"
_HEALTH = ("/liveness", "/readiness")


def _behind_ingress(objects: Objects, ingress: Manifest) -> list[Workload]:
    """Return the workloads behind the Services of an Ingress."""
    backends = (objects.find("Service", backend.service) for backend in services.backends(ingress))
    return [workload for service in backends if service for workload in objects.behind(service)]


@rule("chart/templates/ethstats/deployment.yaml")
def port_variable_mismatch(objects: Objects) -> Iterator[Problem]:
    """A container's port is the value of its environment variable PORT, if it has one.

    The program listens on PORT. On another port Services and probes can't connect.
    """
    for container in objects.containers:
        numbers = [port.number for port in container.ports() if port.protocol == "TCP"]
        for path, variable in container.variables():
            value = str(variable.get("value"))
            if variable.get("name") != "PORT" or not value.isdecimal() or len(numbers) != 1:
                continue
            if int(value) not in numbers:
                label = container.workload.manifest.label
                message = (
                    f"PORT of {container.name} of {label} is {value}, but its container port is "
                    f"{numbers[0]}: nothing listens on {numbers[0]}"
                )
                fix = f"write '{numbers[0]}'"
                yield Problem(container.workload.manifest, (*path, "value"), message, fix)
