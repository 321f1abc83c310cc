"""Endpoints: what a node is told to call answers there, and what others call listens."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any
from urllib.parse import urlsplit

from scripts import yamlio
from scripts.manifest import PODS, Manifest, Where
from scripts.nodes import BESU, MARU, File, Node, Setting, listed, look, of_workload
from scripts.rules.objects import Container, Objects, once
from scripts.rules.rule import Problem, rule
from scripts.workloads import Workload, mappings, whole

_ORDINAL = "-N."
"""What the chart's scripts put the pod's ordinal in the place of."""
_NEAR = 0.7
"""How alike a name must be to be taken for a misspelling."""
_LOCAL = ("127.0.0.1", "localhost", "::1")


# What listens


@rule("docs/chain.md")
def port_unlike_program(objects: Objects) -> Iterator[Problem]:
    """A container's port has the number that its program is configured to listen on.

    Else Services, probes and scrapes that use the port by its name reach nothing.
    """
    for node in objects.programs:
        by_name = {api.name: api for api in node.apis}
        for index, port in mappings(node.container.data.get("ports")):
            called = str(port.get("name", ""))
            name = called.removeprefix("maru-") if node.program == MARU else called
            api = by_name.get(name) or by_name.get(name.removesuffix("-udp"))
            number = port.get("containerPort")
            if api is None or api.port is None or number == api.port:
                continue
            own = node.workload.manifest
            told = node.settings.get(api.port_key)
            where = told.called if told else f"{api.port_key}, by default,"
            message = (
                f"port {called} of {node.name} is {number}, and {where} is {api.port}: "
                "nothing listens on the port"
            )
            path: Where = (*node.container.path, "ports", index, "containerPort")
            if told and (told.manifest is own or (told.manifest.patches and not own.patches)):
                yield Problem(told.manifest, told.path, message, f"write {number}")
            else:
                yield Problem(own, path, message, f"write {api.port}")


@rule("https://besu.hyperledger.org/public-networks/how-to/use-besu-api#service-hosts")
def port_closed_to_others(objects: Objects) -> Iterator[Problem]:
    """What a container's port is for is switched on, and listens on the pod's address.

    Besu's APIs are off and on 127.0.0.1 unless told otherwise: then nothing outside of the pod
    reaches them, no probe and no scrape.
    """
    for node in objects.programs:
        names = {
            str(port.get("name", "")).removeprefix("maru-" if node.program == MARU else "")
            for _, port in mappings(node.container.data.get("ports"))
        }
        told = set[str]()
        for api in node.apis:
            off, local = not api.is_on, _is_local(api.host)
            key = api.on_key if off else api.host_key
            if api.name not in names or not (off or local) or key in told:
                continue
            told.add(key)
            setting = node.settings.get(key)
            what = "is off" if off else f"listens on {api.host} alone"
            message = f"{api.name} of {node.name} {what}: nobody reaches its port {api.port}"
            fix = f"write {key} = true" if off else f'write {key} = "0.0.0.0"'
            yield Problem(*_place(node, setting), message, fix)


@rule("https://besu.hyperledger.org/public-networks/how-to/use-besu-api#host-allowlist")
def host_not_allowed(objects: Objects) -> Iterator[Problem]:
    """Besu answers under all names that it is called by.

    Probes come with the pod's address and clients with a Service's name: what is not in the
    allowlist gets 403.
    """
    engines: dict[str, list[_Call]] = {}
    for call in _calls(objects):
        if call.api == "engine":
            engines.setdefault(call.target.pod_of, []).append(call)
    for node in objects.programs:
        if node.program != BESU or not node.is_known:
            continue
        names = {str(port.get("name")) for _, port in mappings(node.container.data.get("ports"))}
        setting = node.settings.get("host-allowlist")
        if "rpc" in names and "*" not in listed(setting):
            had = ", ".join(listed(setting)) or "localhost alone"
            message = (
                f"{node.name} answers to the names {had}: probes, which come with the pod's "
                "address, and clients of its Services get 403"
            )
            yield Problem(*_place(node, setting), message, 'write host-allowlist = ["*"]')
        setting = node.settings.get("engine-host-allowlist")
        allowed = listed(setting) or ["localhost", "127.0.0.1"]
        calls = engines.get(node.workload.manifest.label, ())
        refused = next((call for call in calls if call.host not in allowed), None)
        if refused and "*" not in allowed:
            message = (
                f"the Engine API of {node.name} answers to {', '.join(allowed)}, and "
                f"{refused.node.name} calls it {refused.host}: it gets 403, and no block comes"
            )
            yield Problem(*_place(node, setting), message, 'write engine-host-allowlist = ["*"]')


def _place(node: Node, setting: Setting | None) -> tuple[Manifest, Where]:
    """Return where a setting is, or where it belongs: with the others in the file."""
    if setting:
        return setting.manifest, setting.path
    own = (node.workload.manifest, (*node.container.path, "args"))
    in_files = (s for s in node.settings.values() if s.manifest.kind == "ConfigMap")
    first = next(in_files, None)
    return (first.manifest, first.path) if first else own


def _is_local(host: str) -> bool:
    return host in _LOCAL


# What is called


@dataclass(frozen=True, slots=True)
class _Target:
    """What a host's name leads to."""

    workloads: Sequence[Workload] = ()
    service: Manifest | None = None
    """None for the pod itself."""
    ordinal: int | None = None
    """Of the pod, where the name is one's."""
    missing: str = ""
    """What of the name is not there."""
    near: str = ""
    """A name that is, and may be meant."""

    @property
    def pod_of(self) -> str:
        """Return the label of the only workload; nothing where there is not one."""
        return self.workloads[0].manifest.label if len(self.workloads) == 1 else ""


@dataclass(frozen=True, slots=True)
class _Call:
    """Something that a container is told to call, and what its name leads to."""

    node: Node | Container
    setting: Setting
    host: str
    port: int | None
    api: str
    """Which is expected there, as its port is called; nothing for anything."""
    ordinal: int | None
    """Of the pod that calls, where the name depends on it."""
    target: _Target


@rule("https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/")
def endpoint_leads_nowhere(objects: Objects) -> Iterator[Problem]:
    """The hosts that nodes are told to call are Services of this environment, or pods behind one.

    A name that nothing resolves is a peer that is never found, a sequencer that is never driven.
    """
    done = set[tuple[int, Where, str]]()
    for call in _calls(objects):
        key = (id(call.setting.manifest), call.setting.path, call.target.missing)
        first = whole(call.node.workload.get("spec", "ordinals", "start"), 0)
        if not call.target.missing or key in done or (_by_script(call) and call.ordinal != first):
            continue
        done.add(key)
        message = f"{call.setting.called} has {call.host}, and {call.target.missing}"
        near = call.target.near
        fix = f"write {near}" if near else "write a Service of this environment, or one of its pods"
        yield Problem(*_written(call), message, fix, call.host)


@rule("docs/chain.md")
def endpoint_on_closed_port(objects: Objects) -> Iterator[Problem]:
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
def endpoint_of_another_api(objects: Objects) -> Iterator[Problem]:
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
def sequencer_of_another_maru(objects: Objects) -> Iterator[Problem]:
    """The Maru and the sequencer of one ordinal belong to each other, and to no other.

    Two Marus that drive one sequencer order it to build on different blocks, and the other
    sequencer's validator is missing.
    """
    done = set[tuple[int, Where]]()
    for call in _calls(objects):
        node, target = call.node, call.target
        key = (id(call.setting.manifest), call.setting.path)
        paired = call.api in ("engine", "rpc", "api") and isinstance(node, Node)
        if not paired or call.ordinal is None or target.service is None or key in done:
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
        fix = f"write {own.replace(f'-{call.ordinal}.', _ORDINAL)}" if _by_script(call) else own
        yield Problem(*_written(call), message, fix if _by_script(call) else f"write {own}")


@rule("https://besu.hyperledger.org/public-networks/how-to/use-engine-api")
def engine_secrets_differ(objects: Objects) -> Iterator[Problem]:
    """Maru and the Besu that it drives have the Engine API's secret from one place.

    With two secrets Besu answers 401 to Maru, and no block comes.
    """
    told = set[tuple[str, Where]]()
    for call in _calls(objects):
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
            manifest, path = _place(other, where)
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


def _written(call: _Call) -> tuple[Manifest, Where]:
    """Return where a call is written."""
    return call.setting.manifest, call.setting.path


def _by_script(call: _Call) -> bool:
    return call.setting.called in ("MARU", "EXECUTION")


def _workload_name(target: _Target) -> str:
    return target.workloads[0].manifest.name


@once
def _calls(objects: Objects) -> Iterator[_Call]:
    """Yield what nodes and scripts are told to call."""
    targets: dict[tuple[str, str], _Target] = {}
    for node, setting, host, port, api, ordinal in _told(objects):
        own = node.workload.manifest.label if _is_local(host) else ""
        if (host, own) not in targets:
            targets[host, own] = _resolved(objects, node.workload, host)
        yield _Call(node, setting, host, port, api, ordinal, targets[host, own])


_Told = tuple[Node | Container, Setting, str, int | None, str, int | None]


def _told(objects: Objects) -> Iterator[_Told]:
    nodes = {(n.workload.manifest.label, n.container.path): n for n in objects.programs}
    for node in objects.nodes:
        alone = node.ordinals[0] if len(node.ordinals) == 1 else None
        for key, setting in node.settings.items():
            if node.program == MARU and key.endswith(".endpoint"):
                url = urlsplit(str(setting.value))
                api = "engine" if "engine" in key else "rpc"
                if url.hostname:
                    yield node, setting, url.hostname, _port(url), api, alone
        for setting, text in node.peers:
            host, port, _ = _peer(text)
            if host and not _is_address(host):
                yield node, setting, host, port, "p2p", None
    for container in objects.containers:
        node_or = nodes.get((container.workload.manifest.label, container.path), container)
        for index, variable in mappings(container.data.get("env")):
            name, value = variable.get("name"), variable.get("value")
            if name == "MARU" and not any(node.program == MARU for node in objects.nodes):
                continue  # its script does without, then
            if isinstance(value, str) and value and name in _VARIABLES:
                path = (*container.path, "env", index, "value")
                setting = Setting(container.workload.manifest, path, str(name), value)
                yield from _of_variable(node_or, setting)


_VARIABLES = ("PEERS", "MARU", "EXECUTION", "RPC_URL", "ETHSTATS_HOST")
"""What the scripts in chart/files call, by the names that they say at their beginnings."""


def _of_variable(node: Node | Container, setting: Setting) -> Iterator[_Told]:
    """Yield what a script is told to call."""
    if setting.called == "PEERS":
        for host in str(setting.value).split():
            yield node, setting, host, None, "", None
    elif setting.called in ("MARU", "EXECUTION"):
        api, port = ("api", 8080) if setting.called == "MARU" else ("rpc", 8545)
        start = whole(node.workload.get("spec", "ordinals", "start"), 0)
        for ordinal in range(start, start + node.workload.least):
            host = str(setting.value).replace(_ORDINAL, f"-{ordinal}.", 1)
            yield node, setting, host, port, api, ordinal
    elif setting.called == "RPC_URL":
        url = urlsplit(str(setting.value))
        if url.hostname:
            api = "ws" if url.scheme in ("ws", "wss") else "rpc"
            yield node, setting, url.hostname, _port(url), api, None
    else:
        url = urlsplit(f"//{setting.value}")
        if url.hostname:
            yield node, setting, url.hostname, _port(url), "", None


def _port(url: Any) -> int | None:
    try:
        found = url.port
    except ValueError:
        return None
    default = {"http": 80, "ws": 80, "https": 443, "wss": 443}.get(url.scheme)
    return found if isinstance(found, int) else default


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _resolved(objects: Objects, workload: Workload, host: str) -> _Target:
    """Return what a name leads to from a pod here; nothing where that is no business of ours."""
    if _is_local(host) or not host:
        return _Target((workload,))
    name, marker, _ = host.rstrip(".").partition(".svc")
    parts = name.split(".")
    if marker or len(parts) > 2:
        if len(parts) < 2 or parts[-1] != objects.namespace:
            return _Target()
        parts = parts[:-1]
    if _is_address(host) or len(parts) > 2:
        return _Target()
    if len(parts) == 2 and parts[1] == objects.namespace:
        parts = parts[:1]
    service = objects.find("Service", parts[-1])
    if service is None:
        return _unknown(objects, parts)
    selector = yamlio.get(service.object, ["spec", "selector"])
    behind = objects.selected({"matchLabels": selector} if isinstance(selector, dict) else None)
    if len(parts) == 1:
        return _Target(behind, service)
    return _of_pod(service, behind, parts[0])


def _unknown(objects: Objects, parts: Sequence[str]) -> _Target:
    """Return that there is no such Service here, where one can be sure that it is one's own."""
    if objects.has("Service", parts[-1]):
        return _Target()
    near = _nearest(parts[-1], [manifest.name for manifest in objects.of_kind("Service")])
    if len(parts) == 2 and not near:  # a Service of another namespace
        return _Target()
    pod = f"{parts[0]}." if len(parts) == 2 else ""
    missing = f"there is no Service {parts[-1]} here"
    return _Target(missing=missing, near=f"{pod}{near}" if near else "")


def _nearest(name: str, names: Sequence[str]) -> str:
    """Return the name that is alike, apart from what all begin with; nothing where none is."""
    same = commonprefix([*names, name])  # noqa: RUF071 - of names, which are no paths
    found = difflib.get_close_matches(name[len(same) :], [n[len(same) :] for n in names], 1, _NEAR)
    return f"{same}{found[0]}" if found else ""


def _of_pod(service: Manifest, behind: Sequence[Workload], name: str) -> _Target:
    """Return the pod of a headless Service."""
    base, _, ordinal = name.rpartition("-")
    last = ""
    for workload in behind:
        manifest = workload.manifest
        if manifest.kind != "StatefulSet" or workload.get("spec", "serviceName") != service.name:
            continue
        if workload.most < 1:
            return _Target()
        start = whole(workload.get("spec", "ordinals", "start"), 0)
        end = start + workload.most
        last = f"{manifest.name}-{end - 1}"
        if base == manifest.name and ordinal.isdecimal() and start <= int(ordinal) < end:
            return _Target((workload,), service, int(ordinal))
    there = f": its pods end with {last}" if last else ""
    missing = f"{service.label} has no pod {name}{there}"
    return _Target(missing=missing, near=f"{last}.{service.name}" if last else "")


@once
def _answers(objects: Objects) -> Iterator[tuple[_Call, str | None]]:
    """Yield the calls with what is at their ports: an API's name, ? for any, nothing, or None.

    None where that is not known, or told elsewhere. A call that is made from many pods, once.
    """
    done = set[tuple[int, Where, str, int | None, str]]()
    for call in _calls(objects):
        key = (id(call.setting.manifest), call.setting.path, _base(call), call.port, call.api)
        if call.port is None or not call.target.workloads or key in done:
            continue
        done.add(key)
        yield call, _answering(objects, call, call.port)


def _base(call: _Call) -> str:
    return call.setting.called if _by_script(call) else call.host


def _answering(objects: Objects, call: _Call, port: int) -> str | None:
    service = call.target.service
    if service and yamlio.get(service.object, ["spec", "clusterIP"]) != "None":
        entry = next((p for _, p in _service_ports(service) if p.get("port") == port), None)
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
    declared = [p.get("containerPort") for w in call.target.workloads for p in _ports(w)]
    nodes = [node for node in objects.programs if node.workload in call.target.workloads]
    if not all(node.is_known for node in nodes) or (nodes and port in declared):
        return None  # that it does not listen there, is told of the port
    return "?" if port in declared else ""


def _right_ports(objects: Objects, call: _Call) -> dict[int, str]:
    """Return the ports that may be written, with what is there."""
    behind = _listening(objects, call.target.workloads)
    service = call.target.service
    if service is None or yamlio.get(service.object, ["spec", "clusterIP"]) == "None":
        own = {
            p.get("containerPort"): str(p.get("name"))
            for w in call.target.workloads
            for p in _ports(w)
        }
        return behind or {n: name for n, name in own.items() if isinstance(n, int)}
    found = {}
    for _, entry in _service_ports(service):
        number, port = _number(entry, call.target.workloads), entry.get("port")
        if isinstance(port, int):
            found[port] = behind.get(number or 0, str(entry.get("name")))
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


def _service_ports(service: Manifest) -> Iterator[tuple[int, Mapping[str, Any]]]:
    yield from mappings(yamlio.get(service.object, ["spec", "ports"]))


def _ports(workload: Workload) -> Iterator[Mapping[str, Any]]:
    path = PODS[workload.manifest.kind.lower()]
    for _, container in mappings(workload.get(*path, "containers")):
        for _, port in mappings(container.get("ports")):
            yield port


def _number(entry: Mapping[str, Any], among: Sequence[Workload]) -> int | None:
    """Return the container's port that a Service's leads to; None where it has no such name."""
    target = entry.get("targetPort", entry.get("port"))
    if isinstance(target, int):
        return target
    for workload in among:
        for port in _ports(workload):
            if port.get("name") == target and isinstance(port.get("containerPort"), int):
                return int(port["containerPort"])
    return None


# Peers


_ENODE = re.compile(r"enode://([0-9a-fA-F]+)@\[?([^]@:/?]+)\]?:(\d+)")
_MULTIADDRESS = re.compile(r"/(?:dns|dns4|dns6|ip4|ip6)/([^/]+)/(?:tcp|udp)/(\d+)(?:/p2p/(\w+))?")


def _peer(text: str) -> tuple[str, int | None, str]:
    """Return host, port and id of a peer; empty where it is written otherwise."""
    if found := _ENODE.match(text):
        return found[2], int(found[3]), found[1].lower()
    if found := _MULTIADDRESS.match(text):
        return found[1], int(found[2]), found[3] or ""
    return "", None, ""


@rule("docs/chain.md")
def peers_with_one_id(objects: Objects) -> Iterator[Problem]:
    """Each peer that a node is told of has an id of its own.

    The id is made from the node's key: one of two with the same is never connected to.
    """
    done = set[str]()
    for node in objects.nodes:
        seen: dict[str, str] = {}
        for setting, text in node.peers:
            host, _, id_ = _peer(text)
            if not id_ or id_ in done or seen.setdefault(id_, host) == host:
                continue
            done.add(id_)
            message = f"{setting.called} has one id for {seen[id_]} and {host}: {id_[:16]}…"
            fix = "write each node's own, as nox -s network prints them"
            yield Problem(setting.manifest, setting.path, message, fix)


@rule("docs/chain.md")
def validator_not_among_peers(objects: Objects) -> Iterator[Problem]:
    """Who is told of one validator's pod is told of all of them.

    A validator that nobody calls is late or missing when the others make blocks.
    """
    wanted: dict[str, list[str]] = {BESU: [], MARU: []}
    listed_by = list[tuple[Node, set[str]]]()
    for node in objects.nodes:
        names = set[str]()
        for _, text in node.peers:
            target = _resolved(objects, node.workload, _peer(text)[0])
            if target.ordinal is not None and target.service is not None:
                every = _pods(target.workloads[0], target.service)
                names.add(f"{_workload_name(target)}-{target.ordinal}.{target.service.name}")
                wanted[node.program] += [one for one in every if one not in wanted[node.program]]
        listed_by.append((node, names))
    done = set[tuple[int, Where]]()
    for node, names in listed_by:
        setting = _list_of_peers(node)
        missing = [name for name in wanted[node.program] if name not in names]
        if setting is None or not missing or (id(setting.manifest), setting.path) in done:
            continue
        if missing == [f"{node.pod}.{node.workload.get('spec', 'serviceName')}"]:
            continue  # itself
        done.add((id(setting.manifest), setting.path))
        message = f"{setting.called} of {node.name} lacks {', '.join(missing)}: it never calls them"
        fix = "list all validators, each with its own id"
        yield Problem(setting.manifest, setting.path, message, fix)


def _list_of_peers(node: Node) -> Setting | None:
    if node.program == MARU:
        return node.settings.get("p2p.static-peers")
    return node.static_nodes


def _pods(workload: Workload, service: Manifest) -> list[str]:
    start = whole(workload.get("spec", "ordinals", "start"), 0)
    ordinals = range(start, start + workload.least)
    return [f"{workload.manifest.name}-{number}.{service.name}" for number in ordinals]


@rule("docs/chain.md")
def peer_makes_up_its_key(objects: Objects) -> Iterator[Problem]:
    """What is called by an id has the key that the id is made from, of a Secret.

    Else it makes up another at its start: nobody who looks for the id finds it, and no validator's
    signature counts.
    """
    called = {
        (node.program, target.pod_of)
        for node in objects.programs
        for _, text in node.peers
        if (target := _resolved(objects, node.workload, _peer(text)[0])).ordinal is not None
    }
    for node in objects.programs:
        key = "node-private-key-file" if node.program == BESU else "persistence.private-key-path"
        setting = node.settings.get(key)
        file = node.file(str(setting.value)) if setting else None
        known = node.is_known and (node.program, node.workload.manifest.label) in called
        if not known or (file and file.kind in ("Secret", "projected", "csi", "")):
            continue
        where = (
            f"has its key at {setting.value}, which is no Secret" if setting else "is given none"
        )
        message = f"{node.name} {where}: it makes one up, and is not what others look for"
        fix = f"write {key} with the path at which its key is mounted"
        args = (node.workload.manifest, (*node.container.path, "args"))
        yield Problem(*(_place(node, setting) if setting else args), message, fix)


@rule("docs/chain.md")
def readiness_of_another_host(objects: Objects) -> Iterator[Problem]:
    """The readiness of a node asks the other half of it where that is.

    Its script asks the pod itself where it is told of no host: nobody answers there, and the pod is
    never ready.
    """
    here = {(node.workload.manifest.label, node.program) for node in objects.nodes}
    for node in objects.programs:
        script = yamlio.get(node.container.data, ["readinessProbe", "exec", "command", 1])
        name, other = ("EXECUTION", BESU) if node.program == MARU else ("MARU", MARU)
        label = node.workload.manifest.label
        if not str(script).endswith("/synced.sh") or name in node.variables:
            continue
        if (label, other) not in here:
            message = (
                f"the readiness of {node.name} asks for {other} in its own pod, which has none"
            )
            path = (*node.container.path, "env")
            fix = f"give it {name}, the host of its {other}, with N for the ordinal"
            yield Problem(node.workload.manifest, path, message, fix)


# Files and variables


_FILES = {
    BESU: ("node-private-key-file", "engine-jwt-secret", "static-nodes-file"),
    MARU: ("persistence.private-key-path",),
}
_OPTIONS = ("config-file", "genesis-file", "maru-genesis-file", "config")
_SHELLS = ("sh", "bash")
_LOG4J = "-Dlog4j2.configurationFile="


@rule("https://kubernetes.io/docs/concepts/storage/volumes/")
def file_not_mounted(objects: Objects) -> Iterator[Problem]:
    """The files that a container's arguments and configuration name are mounted in it.

    Else it does not start; Maru makes up a key of its own, and is no validator.
    """
    done = set[tuple[str, Where, str]]()
    for node in objects.nodes:
        for setting in _files(node):
            for path in str(setting.value).split(","):
                file = node.file(path)
                key = (node.workload.manifest.label, node.container.path, path)
                if _is_there(setting, file) or key in done:
                    continue
                done.add(key)
                told = _not_there(setting, path, file, node.name)
                if file.kind:  # its volume has no such item
                    where = node.volume(file)
                    told = Problem(node.workload.manifest, where, told.message, told.fix)
                yield told
    for container in objects.containers:
        for where, script in _scripts(container):
            file = _look(objects, container, script)
            if file.kind and file.is_there is not False:
                continue
            setting = Setting(container.workload.manifest, where, "the command", script)
            yield _not_there(setting, script, file, container.name)


def _files(node: Node) -> Iterator[Setting]:
    """Yield the settings that name files."""
    for key, setting in node.settings.items():
        if key in _FILES[node.program] or key.endswith(".jwt-secret-path"):
            yield setting
    for name in _OPTIONS:
        if name in node.options:
            yield node.options[name]
    for path, word in node.container.words():
        if word.startswith(_LOG4J):
            value = node.expanded(word.removeprefix(_LOG4J))
            yield Setting(node.workload.manifest, path, _LOG4J[:-1], value)
    if "KEY_FILE" in node.variables:
        yield node.variables["KEY_FILE"]


def _is_there(setting: Setting, file: File) -> bool:
    if not file.kind:
        return False
    # What a ConfigMap here lacks of these, the configurations' check tells; of keys, chain's rules.
    told = file.kind == "ConfigMap" and setting.called.removeprefix("--") in _OPTIONS
    inner = file.mounted.inner if file.mounted else ""
    told = told or (file.kind == "Secret" and ("key" in setting.called.lower()))
    return told or file.is_there is not False or (inner == "." and "key" in setting.called)


def _not_there(setting: Setting, path: str, file: File, who: str) -> Problem:
    if file.kind:
        message = f"{setting.called} of {who} is {path}: {file.kind}/{file.name} has no {file.key}"
        fix = "write a file that is there, or add it to the volume's items"
    else:
        message = f"{setting.called} of {who} is {path}, and no volume is mounted there"
        fix = "write the path of a mounted file, or mount its volume there"
    return Problem(setting.manifest, setting.path, message, fix)


def _scripts(container: Container) -> Iterator[tuple[Where, str]]:
    """Yield the scripts that shells of a container run: its command, and those of its probes."""
    commands: list[Where] = [("command",)]
    probes = ("livenessProbe", "readinessProbe", "startupProbe")
    commands += [(probe, "exec", "command") for probe in probes]
    for path in commands:
        words = container.get(*path)
        if not isinstance(words, list) or len(words) < 2:
            continue
        shell, script = str(words[0]).rpartition("/")[2], str(words[1])
        if shell in _SHELLS and script.startswith("/"):
            yield (*container.path, *path, 1), script


def _look(objects: Objects, container: Container, path: str) -> File:
    workload = container.workload
    field = "initContainers" if container.first else "containers"
    own = next(c for c in of_workload(workload, field) if c.path == container.path)
    pod = f"{workload.manifest.name}-{whole(workload.get('spec', 'ordinals', 'start'), 0)}"
    config_maps = {manifest.name: manifest for manifest in objects.of_kind("ConfigMap")}
    return look(workload, own, path, pod, config_maps)


_REQUIRED = re.compile(r"\$\{([A-Z_]+)(:?)\?")
"""${NAME:?} of a shell: it must not be empty either; ${NAME?}: it must be there."""
_NEEDED = re.compile(r"^\s*need ([A-Z_ ]+)$", re.MULTILINE)


@rule("https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html#tag_19_06_02")
def script_lacks_variable(objects: Objects) -> Iterator[Problem]:
    """A script finds the variables in its container that it can't do without.

    It ends at once else: the container restarts for ever, or a backup is never made.
    """
    for container in objects.containers:
        given = {
            str(variable.get("name")): variable.get("value", "?" if "valueFrom" in variable else "")
            for _, variable in mappings(container.data.get("env"))
        }
        if container.get("envFrom"):
            continue
        command = [s for path, s in _scripts(container) if path[-2:] == ("command", 1)]
        for script in command[:1]:
            text = _text(objects, _look(objects, container, script))
            missing = [name for name in _required(text, given) if not given.get(name)]
            if missing:
                names = " and ".join(missing)
                message = f"{script} of {container.name} can't do without {names}: it fails at once"
                fix = f"give the container {names}, as the script says at its beginning"
                yield Problem(container.workload.manifest, (*container.path, "env"), message, fix)


def _required(text: str, given: Mapping[str, Any]) -> list[str]:
    found = [name for name, colon in _REQUIRED.findall(text) if colon or name not in given]
    found += [name for names in _NEEDED.findall(text) for name in names.split()]
    return list(dict.fromkeys(found))


def _text(objects: Objects, file: File) -> str:
    manifest = objects.find("ConfigMap", file.name) if file.kind == "ConfigMap" else None
    found = yamlio.get(manifest.object, ["data", file.key]) if manifest else None
    return found if isinstance(found, str) else ""


@rule("docs/chain.md")
def ethstats_secrets_differ(objects: Objects) -> Iterator[Problem]:
    """Nodes report to EthStats with the secret that it knows.

    With another, it turns them away, and its page stays empty.
    """
    server = {
        _reference(variable)
        for container in objects.containers
        for _, variable in mappings(container.data.get("env"))
        if variable.get("name") == "WS_SECRET"
    } - {None}
    for container in objects.containers:
        for index, variable in mappings(container.data.get("env")):
            own = _reference(variable) if variable.get("name") == "ETHSTATS_SECRET" else None
            if own is None or len(server) != 1 or own in server:
                continue
            (known,) = server
            message = (
                f"{container.name} of {container.workload.manifest.label} reports to EthStats with "
                f"the secret {own}, and EthStats knows {known}: it is turned away"
            )
            path = (*container.path, "env", index, "valueFrom", "secretKeyRef", "name")
            fix = "write the Secret and the key that EthStats has"
            yield Problem(container.workload.manifest, path, message, fix)


def _reference(variable: Mapping[str, Any]) -> str | None:
    """Return Secret/key of a variable."""
    found = yamlio.get(variable, ["valueFrom", "secretKeyRef"])
    return f"{found.get('name')}/{found.get('key')}" if isinstance(found, dict) else None
