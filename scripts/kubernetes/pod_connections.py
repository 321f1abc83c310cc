"""Whom pods call, by their configuration: manifests → calls. Pure.

The configuration is a pod's arguments, its variables, and the files of its ConfigMaps.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from scripts.kubernetes import containers, services, volumes
from scripts.kubernetes.manifest import Manifest
from scripts.kubernetes.workloads import Workload

_ADDRESS = re.compile(
    r"/(?:dns[46]?|ip4)/(?P<peer>[a-z0-9.-]+)/tcp/(?P<peer_port>\d{1,5})"
    r"|(?:(?P<scheme>[a-z]+)://(?:[^\s@/\"']*@)?)?"
    r"(?<![A-Za-z0-9.-])(?P<host>[a-z0-9][a-z0-9.-]*)(?::(?P<port>\d{1,5}))?(?![A-Za-z0-9.-])"
)
_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
BY_NAME = ("MARU", "EXECUTION")
"""Variables with a host alone: the script that reads them has the port."""
_ORDINAL = "-N."
"""What synced.sh replaces with the pod's ordinal."""
_ENDPOINT = "RCLONE_CONFIG_S3_ENDPOINT"
"""A bucket that has none is Amazon's."""
_LOCAL = re.compile(r"localhost|0\.0\.0\.0|127\.[0-9.]+")


@dataclass(frozen=True, slots=True)
class Call:
    """A pod of one workload connects to a port."""

    source: Workload
    host: str
    """As the source has it."""
    port: int
    """As the pods have it that answer, where these are known."""
    targets: tuple[Workload, ...]
    """Whose pods answer; none if that is elsewhere."""
    namespace: str = ""
    """Of the Service, where that is another; empty outside of the cluster."""

    @property
    def is_by_name(self) -> bool:
        """Return whether the source must ask for the address first."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return True
        return False


def calls(manifests: Sequence[Manifest], workloads: Iterable[Workload]) -> list[Call]:
    """Return the calls of workloads, each once."""
    by_name = {m.name: m for m in manifests if m.kind == "Service"}
    maps = {m.name: m for m in manifests if m.kind == "ConfigMap"}
    pods = list(workloads)
    found: dict[tuple[str, str, int], Call] = {}
    for workload in pods:
        for host, port, is_sure in _told(workload, maps):
            call = _call(workload, host, port, by_name, pods)
            if call and (call.targets or is_sure):
                found.setdefault((workload.manifest.label, host, port), call)
    return list(found.values())


def _call(
    source: Workload,
    host: str,
    port: int,
    by_name: Mapping[str, Manifest],
    pods: Sequence[Workload],
) -> Call | None:
    """Return a call; None where a Service of the environment leads to nothing that answers."""
    service, namespace, is_outside = _service(host, source.manifest.namespace, by_name)
    if is_outside:
        return Call(source, host, port, ())
    if service is None:
        return Call(source, host, port, (), namespace)
    targets = tuple(services.pods(service, pods))
    numbers = {number for pod in targets for number in _numbers(service, port, pod)}
    if not numbers:
        return None
    return Call(source, host, min(numbers), targets)


def _service(
    host: str, own: str, services: Mapping[str, Manifest]
) -> tuple[Manifest | None, str, bool]:
    """Return the Service of a host's name, else its namespace, and whether it is outside."""
    parts = host.split(".")
    for index in (0, 1):
        # A Service, or one of its pods.
        after = parts[index + 1 :]
        if index < len(parts) and parts[index] in services and after[:1] in ([], [own]):
            return services[parts[index]], own, False
    if "svc" in parts[2:4]:
        return None, parts[parts.index("svc", 2) - 1], False
    is_name_and_namespace = len(parts) == 2 and not parts[1].isdecimal()
    return None, parts[-1] if is_name_and_namespace else "", not is_name_and_namespace


def _numbers(service: Manifest, port: int, pod: Workload) -> set[int]:
    """Return the port of a pod that a Service's port leads to, if it is one that the pod has."""
    meant = (one for one in services.ports(service) if (one.number, one.protocol) == (port, "TCP"))
    numbers = {services.reached(one, pod) for one in meant}
    if services.is_headless(service):
        numbers = {port}
    own = {one.number for one in containers.ports(pod) if one.protocol == "TCP"}
    return own & numbers


def _told(workload: Workload, maps: Mapping[str, Manifest]) -> Iterator[tuple[str, int, bool]]:
    """Yield the hosts and ports in a pod's configuration, and whether each is certainly called."""
    files = list(_files(workload, maps))
    for name, text in files:
        yield from _addresses(text, name.endswith((".toml", ".json")))
    for container in containers.of(workload):
        variables = {
            str(item.get("name")): item["value"]
            for _, item in container.variables()
            if isinstance(item.get("value"), str)
        }
        for text in (*(word for _, word in container.words()), *variables.values()):
            yield from _addresses(text, True)
        if variables.get("RCLONE_CONFIG_S3_TYPE") == "s3" and not variables.get(_ENDPOINT):
            region = variables.get("RCLONE_CONFIG_S3_REGION", "")
            yield ".".join(filter(None, ["s3", region, "amazonaws.com"])), _PORTS["https"], True
        for name in BY_NAME:
            if name in variables:
                default = rf"{name}_PORT:-(\d+)"
                ports = {p for _, text in files for p in re.findall(default, text)}
                for port in {variables.get(f"{name}_PORT", p) for p in ports}:
                    yield variables[name].replace(_ORDINAL, "-0."), _number(port), False


def _files(workload: Workload, maps: Mapping[str, Manifest]) -> Iterator[tuple[str, str]]:
    """Yield the files of a pod's ConfigMaps: key and text."""
    known = {("ConfigMap", name): volumes.keys(manifest) for name, manifest in maps.items()}
    for _, volume in workload.volumes():
        for source in volumes.sources(volume):
            manifest = maps.get(source.name) if source.kind == "ConfigMap" else None
            for key in (source.files(known) or {}).values() if manifest else ():
                text = manifest.get("data", key) if manifest else None
                if isinstance(text, str):
                    yield key, text


@lru_cache
def _addresses(text: str, is_sure: bool) -> tuple[tuple[str, int, bool], ...]:
    """Return the hosts and ports in a text; those without a scheme are not certainly called."""
    found = dict[tuple[str, int, bool], None]()
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            continue
        for match in _ADDRESS.finditer(line):
            host, scheme = match["peer"] or match["host"], match["scheme"]
            port = match["peer_port"] or match["port"] or _PORTS.get(scheme, 0)
            if _number(port) and not _LOCAL.fullmatch(host) and not host.isdecimal():
                found[host, _number(port), is_sure and bool(scheme or match["peer"])] = None
    return tuple(found)


def _number(port: str | int) -> int:
    return int(port) if str(port).isdecimal() and int(port) < 2**16 else 0
