"""Endpoints: chain nodes call APIs that exist, and listen on the ports of their containers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scripts.chain.node_config import BESU, MARU, Node, Setting, listed
from scripts.core import advice
from scripts.kubernetes import services
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.volumes import File
from scripts.kubernetes.workloads import Workload, whole
from scripts.rules.chain.listening import answers, api_name, by_script, listening, right_ports
from scripts.rules.chain.settings import named, write
from scripts.rules.chain.targets import ORDINAL, Call, Target, calls, is_local, resolved
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects

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
                    f"port {port.name} of the container {node.name} is declared as "
                    f"{port.protocol}, but {node.program} uses {protocol} there: clients can't "
                    "connect"
                )
                place = (*port.path, "protocol")
                fix: str = advice.write("protocol", protocol)
                yield Problem(node.workload.manifest, place, message, fix)
                continue
            number = port.number
            if api is None or api.port is None or number == api.port:
                continue
            own = node.workload.manifest
            setting = node.settings.get(api.port_key)
            key = named(setting) if setting else api.port_key
            configured = f"{key} is {api.port}" if setting else f"{key} is {api.port} by default"
            message = (
                f"port {port.name} of the container {node.name} is {number}, but {configured}: "
                f"nothing listens on {number}"
            )
            is_cause = setting and setting.manifest.patches and not own.patches
            if setting and (setting.manifest is own or is_cause):
                fix = write(node, setting, api.port_key, number)
                yield Problem(setting.manifest, setting.path, message, fix)
            else:
                fix = advice.write("containerPort", api.port)
                yield Problem(own, (*port.path, "containerPort"), message, fix)


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
            value = "false" if off else api.host
            message = (
                f"{named(setting) if setting else key} of the container {node.name} is {value}"
                f"{'' if setting else ' by default'}: clients outside of the pod can't connect to "
                f"port {api.port} ({api.name})"
            )
            fix = write(node, setting, key, True if off else "0.0.0.0")  # noqa: S104 - all of a pod
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
                f"host-allowlist of the container {node.name} has only {hosts}: probes, which "
                "use the pod's IP address, and clients of its Services get 403"
            )
            fix = write(node, setting, "host-allowlist", ["*"])
            yield Problem(*node.place(setting), message, fix)
        setting = node.settings.get("engine-host-allowlist")
        allowed = listed(setting) or ["localhost", "127.0.0.1"]
        clients = engines.get(node.workload.manifest.label, ())
        rejected = next((call for call in clients if call.host not in allowed), None)
        if rejected and "*" not in allowed:
            message = (
                f"engine-host-allowlist of the container {node.name} has only "
                f"{', '.join(allowed)}, but the container {rejected.node.name} calls "
                f"{rejected.host}: Maru gets 403, so Besu neither builds nor imports blocks"
            )
            fix = write(node, setting, "engine-host-allowlist", ["*"])
            yield Problem(*node.place(setting), message, fix)


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
        if not call.target.missing or key in done or (by_script(call) and call.ordinal != first):
            continue
        validators = objects.chain.validators if objects.chain else 0
        if call.target.above is not None and call.target.above < validators:
            continue  # there are fewer pods than validators, which another rule reports
        done.add(key)
        message = (
            f"{named(call.setting)} names the host {call.host}, but {call.target.missing}: "
            "the name does not resolve"
        )
        yield Problem(*_written(call), message, _other_host(objects, call), call.host)


def _other_host(objects: Objects, call: Call) -> str:
    """Return how to fix a host that does not resolve."""
    near = call.target.near
    if call.target.above is not None and (call.api == "p2p" or call.setting.called == "PEERS"):
        return f"remove {call.host}: there is no such pod"
    if call.target.above is not None and call.ordinal is not None:
        pod, _, service = near.partition(".")
        own = f"{pod.rpartition('-')[0]}-{call.ordinal}.{service}"
        near = near if resolved(objects, call.node.workload, own).missing else own
    if near:
        whole = call.setting.manifest.get(*call.setting.path)
        return advice.in_text(f"write the host {near}", whole, call.host, near)
    every = sorted(objects.of_kind("Service"), key=services.is_headless)
    names = [
        service.name
        for service in every
        if call.api in listening(objects, objects.behind(service)).values()
    ]
    if names:
        return f"write the host of a Service with {api_name(call.api)}, for example {names[0]}"
    return f"write the host of one of the Services {', '.join(one.name for one in every)}"


@rule("docs/chain.md")
def unknown_endpoint_port(objects: Objects) -> Iterator[Problem]:
    """Ports that chain nodes and scripts call exist on the Service and on the pods behind it.

    Otherwise connections fail: connection refused, or a timeout.
    """
    for call, heard in answers(objects):
        if heard != "":
            continue
        service, port = call.target.service, call.port
        behind = right_ports(objects, call)
        has = ", ".join(f"{number} ({name})" for number, name in sorted(behind.items()))
        owner = service.label if service else call.target.pod_of or "the pod"
        message = (
            f"{named(call.setting)} calls {call.host}:{port}, but {owner} has no port {port}: "
            "connections fail"
        )
        right = [number for number, name in behind.items() if call.api and name == call.api]
        every = "port" if len(behind) == 1 else "one of the ports"
        other = f"write {every} {has}" if has else "write another host"
        fix = _right_port(objects, call, right[0]) if right else other
        yield Problem(*_written(call), message, fix, str(call.port))


@rule("docs/chain.md")
def endpoint_of_wrong_api(objects: Objects) -> Iterator[Problem]:
    """Each endpoint is the API that its client needs, not another port of the same pod.

    Otherwise requests fail: the WebSocket port does not answer JSON-RPC over HTTP, and the JSON-RPC
    port does not answer the Engine API.
    """
    for call, heard in answers(objects):
        if not heard or heard in (call.api, "?") or not call.api:
            continue
        behind = right_ports(objects, call)
        right = [number for number, name in behind.items() if name == call.api]
        message = (
            f"{named(call.setting)} needs {api_name(call.api)}, but {call.host}:{call.port} is "
            f"{api_name(heard)}: requests fail"
        )
        other = f"write the host and port of {api_name(call.api)}"
        fix = _right_port(objects, call, right[0]) if right else other
        yield Problem(*_written(call), message, fix, str(call.port))


def _right_port(objects: Objects, call: Call, right: int) -> str:
    """Return how to make a call reach an API; the port is fixed in synced.sh."""
    if not by_script(call):
        whole = call.setting.manifest.get(*call.setting.path)
        return advice.in_text(f"write port {right}", whole, f":{call.port}", f":{right}")
    keys = [
        api.port_key
        for node in objects.programs
        for api in (node.apis if node.workload in call.target.workloads else ())
        if api.name == call.api
    ]
    return f"write {keys[0]} = {call.port} for {call.target.pod_of}: synced.sh calls that port"


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
                    f"{named(call.setting)} makes all {len(node.ordinals)} pods of "
                    f"{node.workload.manifest.label} call pod {target.ordinal} of "
                    f"{target.pod_of}: {_ONE_EACH}"
                )
                option = node.options.get("config")
                place = (option.manifest, option.path) if option else _written(call)
                yield Problem(*place, message, _file_for_each(node, call, option))
            continue
        if not isinstance(node, Node) or call.ordinal is None:
            continue
        if target.ordinal == call.ordinal or not any(w.most > 1 for w in target.workloads):
            continue
        done.add(key)
        other = f"pod {target.ordinal}" if target.ordinal is not None else "any pod"
        message = (
            f"{named(call.setting)} makes pod {call.ordinal} of {node.workload.manifest.label} "
            f"call {other} of {target.pod_of or target.service.label}: {_ONE_EACH}"
        )
        service = target.service.name
        own = f"{_workload_name(target)}-{call.ordinal}.{service}"
        whole = call.setting.manifest.get(*call.setting.path)
        fix: str = advice.in_text(f"write the host {own}", whole, call.host, own)
        if by_script(call):
            host = own.replace(f"-{call.ordinal}.", ORDINAL)
            fix = f"write the host {host}: synced.sh replaces N by the pod's ordinal"
        yield Problem(*_written(call), message, fix)


_ONE_EACH = (
    "each pod must call the one with its own ordinal, because each Maru drives one sequencer"
)


def _file_for_each(node: Node, call: Call, option: Setting | None) -> str:
    """Return how to give each pod its own file with its endpoint."""
    file = call.setting.called.partition(": ")[0]
    own = "$(POD_NAME).toml"
    if option and file.removesuffix(".toml") in node.pods:
        return f"write --config={str(option.value).replace(file, own)}"
    return f"move the endpoint to a file for each pod, and add /config/{own} to --config"


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
            problem = _without_jwt(node, other, call.setting)
            if (problem.manifest.label, problem.path) not in reported:
                reported.add((problem.manifest.label, problem.path))
                yield problem
            continue
        first, second = node.file(str(jwt.value)), other.file(str(theirs.value))
        if first.kind and second.kind and _source(node, first) != _source(other, second):
            message = (
                f"the container {node.name} reads the JWT secret of the Engine API from "
                f"{_named(first)}, but the container {other.name}, which it calls, from "
                f"{_named(second)}: Maru gets 401, so Besu neither builds nor imports blocks"
            )
            fix = f"mount {_named(second)} in both containers"
            if first.kind == second.kind == "Secret" and first.key == second.key:
                fix = advice.write("secretName", second.name, above=("secret",))
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
                f"SECRET_FILE of the init container {container.name} is {written}, but the "
                f"container {node.name} reads the JWT secret of the Engine API from "
                f"{setting.value}: {node.program} does not start"
            )
            fix = advice.write("value", setting.value) + " for the variable SECRET_FILE"
            yield Problem(container.workload.manifest, path, message, fix)
            return


def _without_jwt(maru: Node, besu: Node, endpoint: Setting) -> Problem:
    """Return what is wrong if only one of Maru and Besu has a JWT secret for the Engine API."""
    off, theirs = (besu.settings.get(f"engine-jwt-{key}") for key in ("disabled", "secret"))
    jwt = maru.settings.get(f"{_table(endpoint)}.jwt-secret-path")
    if jwt is None:
        message = (
            f"{named(endpoint)} has no jwt-secret-path beside it, but the container {besu.name} "
            "requires a JWT: all calls of its Engine API get 401"
        )
        path = theirs.value if theirs else ""
        same = _source(maru, maru.file(str(path))) == _source(besu, besu.file(str(path)))
        shown = f'"{path}"' if same else f"the path of the secret of the container {besu.name}"
        fix = f"add jwt-secret-path = {shown} to {_table(endpoint)}"
        return Problem(endpoint.manifest, endpoint.path, message, fix)
    if theirs and off:
        message = (
            f"{named(off)} is true for the container {besu.name}, but the container {maru.name} "
            "has a JWT secret: anyone who reaches the Engine API controls the chain"
        )
        return Problem(off.manifest, off.path, message, f"remove {named(off)}")
    message = (
        f"the container {besu.name} has no engine-jwt-secret, but the container {maru.name} has a "
        "JWT secret for its Engine API: all calls get 401"
    )
    fix = write(besu, None, "engine-jwt-secret", str(jwt.value))
    fix += f", and mount {_named(maru.file(str(jwt.value)))} there"
    return Problem(*besu.place(off), message, fix)


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


def _workload_name(target: Target) -> str:
    return target.workloads[0].manifest.name


@rule("https://besu.hyperledger.org/public-networks/how-to/use-besu-api/json-rpc#readiness")
def invalid_health_check(objects: Objects) -> Iterator[Problem]:
    """Load balancer health checks of Besu use /liveness or /readiness on the JSON-RPC port.

    On other ports and paths Besu answers 404 or not at all: all targets are unhealthy, and clients
    get 503.
    """
    for ingress in objects.of_kind("Ingress"):
        notes = ingress.annotations
        port, path = str(notes.get(_CHECK_PORT, "")), str(notes.get(_CHECK_PATH, ""))
        behind = listening(objects, _behind_ingress(objects, ingress))
        rpc = next((number for number, name in behind.items() if name == "rpc"), None)
        if rpc is None:
            continue
        if port.isdecimal() and behind.get(int(port)) != "rpc":
            api = behind.get(int(port))
            other = f"Besu's port {api}" if api else "no port of Besu"
            message = (
                f"the health check of {ingress.label} uses port {port}, which is {other}: all "
                "targets are unhealthy, and clients get 503"
            )
            where = ("metadata", "annotations", _CHECK_PORT)
            fix = advice.write(_CHECK_PORT, str(rpc)) + ", the port of Besu's JSON-RPC API"
            yield Problem(ingress, where, message, fix)
        elif path and path.partition("?")[0] not in _HEALTH:
            message = (
                f"the health check of {ingress.label} uses the path {path}, which Besu does not "
                "have: all targets are unhealthy, and clients get 503"
            )
            where = ("metadata", "annotations", _CHECK_PATH)
            yield Problem(ingress, where, message, advice.write(_CHECK_PATH, _HEALTH[0]))


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
                    f"the variable PORT of the container {container.name} of {label} is {value}, "
                    f"but its containerPort is {numbers[0]}: nothing listens on {numbers[0]}"
                )
                fix = advice.write("value", str(numbers[0])) + " for the variable PORT"
                yield Problem(container.workload.manifest, (*path, "value"), message, fix)
