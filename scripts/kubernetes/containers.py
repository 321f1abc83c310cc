"""The containers of pods: their ports, words, variables and mounts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scripts.core import paths
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import Workload, makers, mappings, whole

REFERENCE = re.compile(r"\$(\$|\(([-._a-zA-Z][-._a-zA-Z0-9]*)\))")
"""$(NAME) in a container's texts; or $$, which stands for a $."""

PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
HANDLERS: tuple[Where, ...] = (
    *((probe,) for probe in PROBES),
    ("lifecycle", "postStart"),
    ("lifecycle", "preStop"),
)
"""Where a container says what the kubelet asks or runs."""

_POD_NAME = "metadata.name"

_KEYS = {"configMapKeyRef": "ConfigMap", "secretKeyRef": "Secret"}
_OBJECTS = {"configMapRef": "ConfigMap", "secretRef": "Secret"}
"""Fields of env and envFrom → kind of the object that they name."""


@dataclass(frozen=True, slots=True)
class Container:
    """A container of a workload's pods."""

    workload: Workload
    path: Where
    data: Mapping[str, Any]
    is_init: bool
    """One of initContainers."""

    @property
    def name(self) -> str:
        """Return its name, or an empty text."""
        return str(self.data.get("name", ""))

    @property
    def place(self) -> tuple[str, Where]:
        """Return what no other container has: its workload's label, and its path there."""
        return self.workload.manifest.label, self.path

    @property
    def image(self) -> str:
        """Return the last part of the image's name: besu of hyperledger/besu:25.11.0."""
        return re.split("[:@]", str(self.data.get("image", "")).rpartition("/")[2])[0]

    @property
    def is_sidecar(self) -> bool:
        """Return whether it begins before the others, and goes on beside them: KEP-753."""
        return self.is_init and self.data.get("restartPolicy") == "Always"

    @property
    def runs(self) -> bool:
        """Return whether it runs as long as its pod does."""
        return not self.is_init or self.is_sidecar

    def get(self, *path: str | int) -> Any:
        """Return a field of the container; None if there is none."""
        return paths.get(self.data, path)

    def words(self) -> list[tuple[Where, str]]:
        """Return command and arguments, each with its path."""
        return [
            ((*self.path, field, index), word)
            for field in ("command", "args")
            for index, word in enumerate(listed(self.data.get(field)))
            if isinstance(word, str)
        ]

    def variables(self) -> Iterator[tuple[Where, dict[str, Any]]]:
        """Yield the items of env, each with its path."""
        for index, variable in mappings(self.data.get("env")):
            yield (*self.path, "env", index), variable

    def env_sources(self) -> Iterator[EnvSource]:
        """Yield the ConfigMaps and Secrets that it reads variables from, first those of env."""
        for path, variable in self.variables():
            for field, kind in _KEYS.items():
                data = paths.get(variable, ("valueFrom", field))
                if isinstance(data, dict):
                    yield EnvSource((*path, "valueFrom", field), kind, data, None)
        for index, item in mappings(self.data.get("envFrom")):
            for field, kind in _OBJECTS.items():
                if isinstance(data := item.get(field), dict):
                    path, prefix = (*self.path, "envFrom", index, field), item.get("prefix")
                    yield EnvSource(path, kind, data, str(prefix or ""))

    def mounts(self) -> Iterator[tuple[Where, dict[str, Any]]]:
        """Yield what it mounts, files and devices, each with its path."""
        for kind in ("volumeMounts", "volumeDevices"):
            for index, mount in mappings(self.data.get(kind)):
                yield (*self.path, kind, index), mount

    def ports(self) -> Iterator[Port]:
        """Yield the ports that it says it has."""
        for index, port in mappings(self.data.get("ports")):
            number = whole(port.get("containerPort"), 0)
            path = (*self.path, "ports", index)
            yield Port(str(port.get("name") or ""), number, protocol(port), self, path)


@dataclass(frozen=True, slots=True)
class EnvSource:
    """A ConfigMap or a Secret that a container reads one variable from, or all."""

    path: Where
    """The path of the reference: it ends in secretKeyRef, or in secretRef."""
    kind: str
    data: Mapping[str, Any]
    """The reference itself."""
    prefix: str | None
    """The prefix of all its keys in the names of variables; None if it is read for one variable."""

    @property
    def name(self) -> str:
        """Return the name of the object; empty if it is missing."""
        return str(self.data.get("name") or "")

    @property
    def key(self) -> str:
        """Return the key that is read; empty if all are."""
        return str(self.data.get("key") or "") if self.prefix is None else ""

    @property
    def is_optional(self) -> bool:
        """Return whether the pod starts without it."""
        return self.data.get("optional") is True


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a container says it has."""

    name: str
    """Nothing where it has none."""
    number: int
    protocol: str
    container: Container
    path: Where

    def __str__(self) -> str:
        """Return it as people write it."""
        return f"{self.name or 'without a name'} ({self.number}/{self.protocol})"

    def is_meant(self, wanted: Any, protocol: str) -> bool:
        """Return whether it is meant by a name or a number, and a protocol."""
        own = self.name if isinstance(wanted, str) else self.number
        return self.protocol == protocol and bool(wanted == own) and wanted != ""


def protocol(port: Mapping[str, Any]) -> str:
    """Return the protocol of a port in an object; TCP where it says none."""
    return str(port.get("protocol") or "TCP")


def of(workload: Workload) -> Iterator[Container]:
    """Yield the containers of a workload's pods, init containers first."""
    for kind in ("initContainers", "containers"):
        for index, data in mappings(workload.pod_spec.get(kind)):
            path = (*workload.pod_path, kind, index)
            yield Container(workload, path, data, kind == "initContainers")


def of_object(manifest: Manifest) -> Iterator[Container]:
    """Yield the containers of the pods that an object makes; none if it makes no pods."""
    for workload in makers([manifest]):
        yield from of(workload)


def running(workload: Workload) -> list[Container]:
    """Return the containers that run as long as the pod does, sidecars last.

    In this order a port's name is looked up: FindPort in Kubernetes' pkg/api/v1/pod/util.go.
    """
    return sorted((one for one in of(workload) if one.runs), key=lambda one: one.is_init)


def ports(workload: Workload) -> list[Port]:
    """Return the ports of a workload's pods, while they run."""
    return [port for container in running(workload) for port in container.ports()]


def listed(value: Any) -> list[Any]:
    """Return a list; empty if the value is not one, which the schemas' layer reports."""
    return value if isinstance(value, list) else []


def values(container: Container, pod: str) -> dict[str, str]:
    """Return the variables of a container of a pod whose values are known: texts, and its name."""
    found = {}
    for _, variable in container.variables():
        name, value = variable.get("name"), known_value(variable)
        if isinstance(name, str) and value is not None:
            found[name] = value
        elif isinstance(name, str) and is_pod_name(variable):
            found[name] = pod
    return found


def known_value(variable: Mapping[str, Any]) -> str | None:
    """Return a variable's value, where it is a text that refers to no other."""
    value = variable.get("value")
    if isinstance(value, str) and not references(value):
        return expanded(value, {})
    return None


def is_pod_name(variable: Mapping[str, Any]) -> bool:
    """Return whether a variable is the pod's name."""
    return bool(paths.get(variable, ("valueFrom", "fieldRef", "fieldPath")) == _POD_NAME)


def references(text: str) -> set[str]:
    """Return the variables that a text of a container refers to."""
    return {name for _, name in REFERENCE.findall(text) if name}


def expanded(text: str, known: Mapping[str, str]) -> str:
    """Return a text as Kubernetes gives it to a container; a $(VARIABLE) not known stays.

    k8s.io/kubernetes/third_party/forked/golang/expansion
    """

    def value(found: re.Match[str]) -> str:
        return known.get(found[2], found[0]) if found[2] else "$"

    return REFERENCE.sub(value, text) if "$" in text else text
