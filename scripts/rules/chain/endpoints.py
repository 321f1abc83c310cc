"""Endpoints: what a node is told to call answers there, and what others call listens."""

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
    """A container's port has the number that its program is configured to listen on.

    Else Services, probes and scrapes that use the port by its name reach nothing.
    """
    for node in objects.programs:
        by_name = {api.name: api for api in node.apis}
        for port in node.container.ports():
            called = port.name
            name = called.removeprefix("maru-") if node.program == MARU else called
            api = by_name.get(name) or by_name.get(name.removesuffix("-udp"))
            protocol = "UDP" if name.endswith("-udp") else "TCP"
            if api and port.protocol != protocol:
                message = (
                    f"port {called} of {node.name} is for {port.protocol}, and what listens "
                    f"there takes {protocol}: nothing that goes by the port reaches it"
                )
                place = (*port.path, "protocol")
                yield Problem(node.workload.manifest, place, message, f"write {protocol}")
                continue
            number = port.number
            if api is None or api.port is None or number == api.port:
                continue
            own = node.workload.manifest
            told = node.settings.get(api.port_key)
            where = told.called if told else f"{api.port_key}, by default,"
            message = (
                f"port {called} of {node.name} is {number}, and {where} is {api.port}: "
                "nothing listens on the port"
            )
            if told and (told.manifest is own or (told.manifest.patches and not own.patches)):
                yield Problem(told.manifest, told.path, message, f"write {number}")
            else:
                yield Problem(own, (*port.path, "containerPort"), message, f"write {api.port}")


@rule("https://besu.hyperledger.org/public-networks/how-to/use-besu-api#service-hosts")
def disabled_or_local_api(objects: Objects) -> Iterator[Problem]:
    """What a container's port is for is switched on, and listens on the pod's address.

    Besu's APIs are off and on 127.0.0.1 unless told otherwise: then nothing outside of the pod
    reaches them, no probe and no scrape.
    """
    for node in objects.programs:
        prefix = "maru-" if node.program == MARU else ""
        names = {port.name.removeprefix(prefix) for port in node.container.ports()}
        told = set[str]()
        for api in node.apis:
            off, local = not api.is_on, is_local(api.host)
            key = api.on_key if off else api.host_key
            if api.name not in names or not (off or local) or key in told:
                continue
            told.add(key)
            setting = node.settings.get(key)
            what = "is off" if off else f"listens on {api.host} alone"
            message = f"{api.name} of {node.name} {what}: nobody reaches its port {api.port}"
            fix = f"write {key} = true" if off else f'write {key} = "0.0.0.0"'
            yield Problem(*node.place(setting), message, fix)


@rule("https://besu.hyperledger.org/public-networks/how-to/use-besu-api#host-allowlist")
def missing_host_allowlist_entry(objects: Objects) -> Iterator[Problem]:
    """Besu answers under all names that it is called by.

    Probes come with the pod's address and clients with a Service's name: what is not in the
    allowlist gets 403.
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
            had = ", ".join(listed(setting)) or "localhost alone"
            message = (
                f"{node.name} answers to the names {had}: probes, which come with the pod's "
                "address, and clients of its Services get 403"
            )
            yield Problem(*node.place(setting), message, 'write host-allowlist = ["*"]')
        setting = node.settings.get("engine-host-allowlist")
        allowed = listed(setting) or ["localhost", "127.0.0.1"]
        among = engines.get(node.workload.manifest.label, ())
        refused = next((call for call in among if call.host not in allowed), None)
        if refused and "*" not in allowed:
            message = (
                f"the Engine API of {node.name} answers to {', '.join(allowed)}, and "
                f"{refused.node.name} calls it {refused.host}: it gets 403, and no block comes"
            )
            yield Problem(*node.place(setting), message, 'write engine-host-allowlist = ["*"]')


# What is called


@rule("https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/")
def unknown_endpoint_host(objects: Objects) -> Iterator[Problem]:
    """The hosts that nodes are told to call are Services of this environment, or pods behind one.

    A name that nothing resolves is a peer that is never found, a sequencer that is never driven.
    """
    done = set[tuple[int, Where, str]]()
    for call in calls(objects):
        key = (id(call.setting.manifest), call.setting.path, call.target.missing)
        first = whole(call.node.workload.get("spec", "ordinals", "start"), 0)
        if not call.target.missing or key in done or (_by_script(call) and call.ordinal != first):
            continue
        validators = objects.chain.validators if objects.chain else 0
        if call.target.above is not None and call.target.above < validators:
            continue  # there are too few pods, of which the chain's rules tell
        done.add(key)
        message = f"{call.setting.called} has {call.host}, and {call.target.missing}"
        near = call.target.near
        fix = f"write {near}" if near else "write a Service of this environment, or one of its pods"
        yield Problem(*_written(call), message, fix, call.host)


@rule("docs/chain.md")
def unknown_endpoint_port(objects: Objects) -> Iterator[Problem]:
    """What a node is told to call listens on that port, and a Service in between has it.

    Else the connection is refused, or waits until it times out.
    """
    for call, answers in _answers(objects):
        if answers != "":
            continue
        service, port = call.target.service, call.port
        behind = _right_ports(objects, call)
        has = ", ".join(f"{number} ({name})" for number, name in sorted(behind.items()))
        who = service.label if service else call.target.pod_of or "the pod"
        message = f"{call.setting.called} has {call.host}:{port}, and {who} has no port {port}"
        right = [number for number, name in behind.items() if call.api and name == call.api]
        fix = f"write {right[0]}" if right else f"write one that it has: {has or 'none'}"
        yield Problem(*_written(call), message, fix, str(call.port))


@rule("docs/chain.md")
def endpoint_of_wrong_api(objects: Objects) -> Iterator[Problem]:
    """What a node is told to call is the API that it wants, not another port of the same pod.

    JSON-RPC over HTTP gets no answer on the port for WebSockets, nor the Engine API on JSON-RPC's.
    """
    for call, answers in _answers(objects):
        if not answers or answers in (call.api, "?") or not call.api:
            continue
        behind = _right_ports(objects, call)
        right = [number for number, name in behind.items() if name == call.api]
        message = (
            f"{call.setting.called} is to lead to {call.api}, and {call.host}:{call.port} is "
            f"{answers}"
        )
        fix = f"write port {right[0]}" if right else f"write the port of {call.api}"
        yield Problem(*_written(call), message, fix, str(call.port))


@rule("docs/chain.md")
def sequencer_maru_mismatch(objects: Objects) -> Iterator[Problem]:
    """The Maru and the sequencer of one ordinal belong to each other, and to no other.

    Two Marus that drive one sequencer order it to build on different blocks, and the other
    sequencer's validator is missing.
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
                    f"{call.setting.called} leads all {len(node.ordinals)} pods of "
                    f"{node.workload.manifest.label} to pod {target.ordinal} of {target.pod_of}: "
                    "each has that of its own ordinal"
                )
                fix = "give each pod a file of its own, by $(POD_NAME) in its arguments"
                option = node.options.get("config")
                place = (option.manifest, option.path) if option else _written(call)
                yield Problem(*place, message, fix)
            continue
        if not isinstance(node, Node) or call.ordinal is None:
            continue
        if target.ordinal == call.ordinal or not any(w.most > 1 for w in target.workloads):
            continue
        done.add(key)
        leads = f"pod {target.ordinal}" if target.ordinal is not None else "any pod"
        message = (
            f"{call.setting.called} leads pod {call.ordinal} of {node.workload.manifest.label} to "
            f"{leads} of {target.pod_of or target.service.label}: each has that of its own ordinal"
        )
        service = target.service.name
        own = f"{_workload_name(target)}-{call.ordinal}.{service}"
        fix = f"write {own.replace(f'-{call.ordinal}.', ORDINAL)}" if _by_script(call) else own
        yield Problem(*_written(call), message, fix if _by_script(call) else f"write {own}")


@rule("https://besu.hyperledger.org/public-networks/how-to/use-engine-api")
def engine_jwt_mismatch(objects: Objects) -> Iterator[Problem]:
    """Maru and the Besu that it drives have the Engine API's secret from one place.

    With two secrets Besu answers 401 to Maru, and no block comes.
    """
    told = set[tuple[str, Where]]()
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
            message = f"{has} has a secret for the Engine API, and {lacks} none: no call succeeds"
            fix = "name the file with the shared secret in both"
            where = call.setting if jwt is None else other.settings.get("engine-jwt-disabled")
            manifest, path = other.place(where)
            if (manifest.label, path) not in told:
                told.add((manifest.label, path))
                yield Problem(manifest, path, message, fix)
            continue
        first, second = node.file(str(jwt.value)), other.file(str(theirs.value))
        if first.kind and second.kind and _held(node, first) != _held(other, second):
            message = (
                f"{node.name} has the Engine API's secret from {_named(first)}, and {other.name}, "
                f"which it drives, from {_named(second)}: it gets 401, and no block comes"
            )
            fix = f"take it from {_named(second)}"
            manifest, path = node.workload.manifest, node.volume(first)
            if (manifest.label, path) not in told:
                told.add((manifest.label, path))
                yield Problem(manifest, path, message, fix)


@rule("https://besu.hyperledger.org/public-networks/how-to/use-engine-api")
def missing_engine_jwt(objects: Objects) -> Iterator[Problem]:
    """What makes a pod's own secret for the Engine API writes it where the pod's nodes read it.

    Else they find no file, and do not start.
    """
    made = {
        container.workload.manifest.label: (container, (*path, "value"))
        for container in objects.containers
        for path, variable in container.variables()
        if container.is_init and variable.get("name") == "SECRET_FILE"
    }
    for node in objects.programs:
        container, path = made.get(node.workload.manifest.label, (None, ()))
        written = node.workload.get(*path) if container else None
        for key, setting in node.settings.items():
            if container is None or not key.endswith(("engine-jwt-secret", ".jwt-secret-path")):
                continue
            if written == setting.value or node.file(str(setting.value)).kind != "emptyDir":
                continue
            message = (
                f"{container.name} writes the Engine API's secret to {written}, and {node.name} "
                f"reads {setting.value}: it does not start"
            )
            yield Problem(container.workload.manifest, path, message, f"write {setting.value}")
            return


def _held(node: Node, file: File) -> tuple[str, ...]:
    own = () if file.kind in ("Secret", "ConfigMap") else (node.workload.manifest.label,)
    return (file.kind, file.name, file.key, *own)


def _named(file: File) -> str:
    return f"{file.kind}/{file.name}, {file.key}"


def _table(setting: Setting) -> str:
    """Return the table of a key of Maru's configuration: of its dotted name, all but the last."""
    return setting.called.rpartition(": ")[2].rpartition(".")[0]


def _value(node: Node, key: str) -> Any:
    found = node.settings.get(key)
    return found.value if found else None


def _written(call: Call) -> tuple[Manifest, Where]:
    """Return where a call is written."""
    return call.setting.manifest, call.setting.path


def _by_script(call: Call) -> bool:
    return call.setting.called in ("MARU", "EXECUTION")


def _workload_name(target: Target) -> str:
    return target.workloads[0].manifest.name


@once
def _answers(objects: Objects) -> Iterator[tuple[Call, str | None]]:
    """Yield the calls with what is at their ports: an API's name, ? for any, nothing, or None.

    None where that is not known, or told elsewhere. A call that is made from many pods, once.
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
    # What no configuration tells of may listen wherever its container says.
    declared = [own.number for w in call.target.workloads for own in containers.ports(w)]
    nodes = [node for node in objects.programs if node.workload in call.target.workloads]
    if not all(node.is_known for node in nodes) or (nodes and port in declared):
        return None  # that it does not listen there, is told of the port
    return "?" if port in declared else ""


def _right_ports(objects: Objects, call: Call) -> dict[int, str]:
    """Return the ports that may be written, with what is there."""
    behind = _listening(objects, call.target.workloads)
    service = call.target.service
    if service is None or services.is_headless(service):
        own = {own.number: own.name for w in call.target.workloads for own in containers.ports(w)}
        return behind or own
    found = {}
    for port in services.ports(service):
        number = _number(port, call.target.workloads)
        found[port.number] = behind.get(number or 0, port.name)
    return found


def _listening(objects: Objects, among: Sequence[Workload]) -> dict[int, str]:
    """Return on which ports the nodes of workloads listen, with what is there."""
    return {
        api.port: api.name
        for node in objects.programs
        if node.workload in among
        for api in reversed(node.apis)
        if api.port is not None and api.name != "p2p-udp"
    }


def _number(port: ServicePort, among: Sequence[Workload]) -> int | None:
    """Return the pods' port that a Service's leads to; None where none has such a name."""
    found = (services.reached(port, workload) for workload in among)
    return next((number for number in found if number), None)


@rule("https://besu.hyperledger.org/public-networks/how-to/use-besu-api/json-rpc#readiness")
def invalid_health_check(objects: Objects) -> Iterator[Problem]:
    """A load balancer asks Besu for its health where Besu tells it: /liveness or /readiness of RPC.

    Elsewhere Besu answers nothing, or 404: all targets are unhealthy, and clients get 503.
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
                f"{ingress.label} has its targets' health from port {port}, where Besu has "
                f"{behind.get(int(port), 'nothing')}: all are unhealthy, and clients get 503"
            )
            where = ("metadata", "annotations", _CHECK_PORT)
            yield Problem(ingress, where, message, f"write '{rpc}', the port of JSON-RPC")
        elif path and path.partition("?")[0] not in _HEALTH:
            message = (
                f"{ingress.label} has its targets' health from {path}, which Besu does not have: "
                "all are unhealthy, and clients get 503"
            )
            where = ("metadata", "annotations", _CHECK_PATH)
            yield Problem(ingress, where, message, f"write {' or '.join(_HEALTH)}")


_CHECK_PORT = "alb.ingress.kubernetes.io/healthcheck-port"
_CHECK_PATH = "alb.ingress.kubernetes.io/healthcheck-path"
_HEALTH = ("/liveness", "/readiness")


def _behind_ingress(objects: Objects, ingress: Manifest) -> list[Workload]:
    """Return the workloads behind the Services of an Ingress."""
    led_to = (objects.find("Service", one.service) for one in services.backends(ingress))
    return [workload for service in led_to if service for workload in objects.behind(service)]


@rule("chart/templates/ethstats/deployment.yaml")
def port_variable_mismatch(objects: Objects) -> Iterator[Problem]:
    """A container has the port that its variable PORT tells its program to listen on.

    Else Services and probes that use the port reach nothing.
    """
    for container in objects.containers:
        numbers = [port.number for port in container.ports() if port.protocol == "TCP"]
        for path, variable in container.variables():
            told = str(variable.get("value"))
            if variable.get("name") != "PORT" or not told.isdecimal() or len(numbers) != 1:
                continue
            if int(told) not in numbers:
                label = container.workload.manifest.label
                message = (
                    f"PORT of {container.name} of {label} is {told}, and its port is {numbers[0]}: "
                    "nothing listens there"
                )
                fix = f"write '{numbers[0]}'"
                yield Problem(container.workload.manifest, (*path, "value"), message, fix)
