"""What listens at the ports that chain nodes and scripts call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scripts.kubernetes import containers, services
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.pod_connections import BY_NAME
from scripts.kubernetes.services import ServicePort
from scripts.kubernetes.workloads import Workload
from scripts.rules.chain.targets import Call, calls
from scripts.rules.snapshot import Objects, once


@once
def answers(objects: Objects) -> Iterator[tuple[Call, str | None]]:
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
    return call.setting.called if by_script(call) else call.host


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
    behind = listening(objects, call.target.workloads)
    if port in behind:
        return behind[port]
    # A program whose configuration is unknown may listen on each port of its container.
    declared = [own.number for w in call.target.workloads for own in containers.ports(w)]
    nodes = [node for node in objects.programs if node.workload in call.target.workloads]
    if not all(node.is_known for node in nodes) or (nodes and port in declared):
        return None  # container-port-mismatch reports that nothing listens there
    return "?" if port in declared else ""


def right_ports(objects: Objects, call: Call) -> dict[int, str]:
    """Return the ports that the call may use: number → name of the API."""
    behind = listening(objects, call.target.workloads)
    service = call.target.service
    if service is None or services.is_headless(service):
        own = {own.number: own.name for w in call.target.workloads for own in containers.ports(w)}
        return behind or own
    right = {}
    for port in services.ports(service):
        number = _number(port, call.target.workloads)
        right[port.number] = behind.get(number or 0, port.name)
    return right


def listening(objects: Objects, among: Sequence[Workload]) -> dict[int, str]:
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


def by_script(call: Call) -> bool:
    """Return whether synced.sh makes a call: it knows the port, and a variable has the host."""
    return call.setting.called in BY_NAME


_NAMES = {
    "rpc": "JSON-RPC API",
    "ws": "WebSocket API",
    "engine": "Engine API",
    "api": "API of Maru",
}


def api_name(api: str) -> str:
    """Return the name of an API as people know it."""
    return f"the {_NAMES.get(api, f'port {api}')}"
