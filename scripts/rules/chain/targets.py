"""The hosts that chain nodes and scripts call, and what the names lead to."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any
from urllib.parse import urlsplit

from scripts.chain.node_config import MARU, Node, Setting
from scripts.chain.peer_address import peer_of
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Manifest
from scripts.kubernetes.pod_connections import BY_NAME
from scripts.kubernetes.workloads import Workload, whole
from scripts.rules.snapshot import Objects, once

ORDINAL = "-N."
"""The part of a host name that the chart's scripts replace by the pod's ordinal."""
_NEAR = 0.7
"""How similar two names are if one is a misspelling of the other."""
_LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Target:
    """What a host name leads to."""

    workloads: Sequence[Workload] = ()
    service: Manifest | None = None
    """None if it is the pod itself."""
    ordinal: int | None = None
    """The pod's ordinal, if the name is that of a single pod."""
    missing: str = ""
    """Why the name does not resolve; empty if it does."""
    near: str = ""
    """An existing name that may be meant."""
    above: int | None = None
    """The pod's number, counted from 0, if the workload has fewer pods."""

    @property
    def pod_of(self) -> str:
        """Return the label of the only workload; empty if there are none or several."""
        return self.workloads[0].manifest.label if len(self.workloads) == 1 else ""


@dataclass(frozen=True, slots=True)
class Call:
    """An endpoint that a container calls, and what its host leads to."""

    node: Node | Container
    setting: Setting
    host: str
    port: int | None
    api: str
    """The name of the port that it needs; empty for any."""
    ordinal: int | None
    """The ordinal of the calling pod, if the host depends on it."""
    target: Target


@once
def calls(objects: Objects) -> Iterator[Call]:
    """Yield the endpoints that chain nodes and scripts call."""
    for node, setting, host, port, api, ordinal in _endpoints(objects):
        target = resolved(objects, node.workload, host)
        yield Call(node, setting, host, port, api, ordinal, target)


_Endpoint = tuple[Node | Container, Setting, str, int | None, str, int | None]


def _endpoints(objects: Objects) -> Iterator[_Endpoint]:
    nodes = {node.container.place: node for node in objects.programs}
    for node in objects.nodes:
        alone = node.ordinals[0] if len(node.ordinals) == 1 else None
        for key, setting in node.settings.items():
            if node.program == MARU and key.endswith(".endpoint"):
                url = urlsplit(str(setting.value))
                api = "engine" if "engine" in key else "rpc"
                if url.hostname:
                    yield node, setting, url.hostname, _port(url), api, alone
        for setting, text in node.peers:
            host, port, _ = peer_of(text)
            if host and not is_address(host):
                yield node, setting, host, port, "p2p", None
    for container in objects.containers:
        node_or = nodes.get(container.place, container)
        for path, variable in container.variables():
            name, value = variable.get("name"), variable.get("value")
            if name == "MARU" and not any(node.program == MARU for node in objects.nodes):
                continue  # its script does not need Maru then
            if isinstance(value, str) and value and name in _VARIABLES:
                manifest = container.workload.manifest
                setting = Setting(manifest, (*path, "value"), str(name), value)
                yield from _of_variable(node_or, setting)


_VARIABLES = ("PEERS", *BY_NAME, "RPC_URL", "ETHSTATS_HOST")
"""The environment variables with hosts that the scripts in chart/files call."""


def _of_variable(node: Node | Container, setting: Setting) -> Iterator[_Endpoint]:
    """Yield the endpoints in a script's environment variable."""
    if setting.called == "PEERS":
        for host in str(setting.value).split():
            yield node, setting, host, None, "", None
    elif setting.called in BY_NAME:
        api, port = ("api", 8080) if setting.called == "MARU" else ("rpc", 8545)
        for ordinal in node.workload.ordinals(least=True):
            host = str(setting.value).replace(ORDINAL, f"-{ordinal}.", 1)
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
        port = url.port
    except ValueError:
        return None
    default = {"http": 80, "ws": 80, "https": 443, "wss": 443}.get(url.scheme)
    return port if isinstance(port, int) else default


def is_address(host: str) -> bool:
    """Return whether a host is an IP address, and not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def resolved(objects: Objects, workload: Workload, host: str) -> Target:
    """Return what a name leads to from a pod; empty if that is elsewhere."""
    known, key = objects.once(_known), (host, workload.manifest.label if is_local(host) else "")
    if key not in known:
        known[key] = _resolved(objects, workload, host)
    return known[key]


def _known(_: Objects) -> dict[tuple[str, str], Target]:
    return {}


def _resolved(objects: Objects, workload: Workload, host: str) -> Target:
    if is_local(host) or not host:
        return Target((workload,))
    name, marker, _ = host.rstrip(".").partition(".svc")
    parts = name.split(".")
    if marker or len(parts) > 2:
        if len(parts) < 2 or parts[-1] != objects.namespace:
            return Target()
        parts = parts[:-1]
    if is_address(host) or len(parts) > 2:
        return Target()
    if len(parts) == 2 and parts[1] == objects.namespace:
        parts = parts[:1]
    service = objects.find("Service", parts[-1])
    if service is None:
        return _unknown(objects, parts)
    behind = objects.behind(service)
    if len(parts) == 1:
        return Target(behind, service)
    return _of_pod(service, behind, parts[0])


def _unknown(objects: Objects, parts: Sequence[str]) -> Target:
    """Return a target that does not resolve, if the name must be one of this environment."""
    if objects.has("Service", parts[-1]):
        return Target()
    near = _nearest(parts[-1], [manifest.name for manifest in objects.of_kind("Service")])
    if len(parts) == 2 and not near:  # a Service of another namespace
        return Target()
    pod = f"{parts[0]}." if len(parts) == 2 else ""
    missing = f"this environment has no Service {parts[-1]}"
    return Target(missing=missing, near=f"{pod}{near}" if near else "")


def _nearest(name: str, names: Sequence[str]) -> str:
    """Return the most similar name, compared without the common prefix; empty if none is."""
    same = commonprefix([*names, name])  # noqa: RUF071 - these are names, not paths
    near = difflib.get_close_matches(name[len(same) :], [n[len(same) :] for n in names], 1, _NEAR)
    return f"{same}{near[0]}" if near else ""


def _of_pod(service: Manifest, behind: Sequence[Workload], name: str) -> Target:
    """Return the pod of a headless Service."""
    base, _, ordinal = name.rpartition("-")
    last, above = "", None
    for workload in behind:
        manifest = workload.manifest
        if manifest.kind != "StatefulSet" or workload.get("spec", "serviceName") != service.name:
            continue
        if workload.most < 1:
            return Target()
        start = whole(workload.get("spec", "ordinals", "start"), 0)
        end = start + workload.most
        last = f"{manifest.name}-{end - 1}"
        if base == manifest.name and ordinal.isdecimal() and start <= int(ordinal):
            if int(ordinal) < end:
                return Target((workload,), service, int(ordinal))
            above = int(ordinal) - start
    existing = f" (its last pod is {last})" if last else ""
    missing = f"{service.label} has no pod {name}{existing}"
    near = f"{last}.{service.name}" if last else ""
    return Target(missing=missing, near=near, above=above)


def is_local(host: str) -> bool:
    """Return whether a host is the pod itself."""
    return host in _LOCAL
