"""What rules look at: the objects of an environment, and what its cluster has beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from scripts import nodes, yamlio
from scripts.manifest import PODS, Manifest, Where
from scripts.nodes import Node
from scripts.workloads import Workload, mappings, selects, workloads

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Given:
    """What a cluster has for an environment without a manifest of it; environment.yaml says so."""

    objects: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    """Kind → name → keys, of what has keys."""
    node: Mapping[str, str] = field(default_factory=dict)
    """What the smallest node has for pods, as Kubernetes writes amounts; empty where not known."""
    registries: tuple[str, ...] = ()
    """Beginnings of the images' names that may run; none given, and all may."""


@dataclass(frozen=True, slots=True)
class Container:
    """A container of a workload's pods."""

    workload: Workload
    path: Where
    data: Mapping[str, Any]
    first: bool
    """One of initContainers."""

    @property
    def name(self) -> str:
        """Return its name, or nothing where it has none."""
        return str(self.data.get("name", ""))

    def get(self, *path: str | int) -> Any:
        """Return a field of the container; None where there is none."""
        return yamlio.get(self.data, path)


@dataclass(frozen=True)
class Objects:
    """An environment as rules see it: plain data, looked up by kind, name and label."""

    name: str
    namespace: str
    kubernetes_version: str
    """A minor version, like 1.34."""
    zones: tuple[str, ...]
    """Those that its nodes are in; none where they are not known."""
    is_production: bool
    manifests: tuple[Manifest, ...]
    project: Manifest
    application: Manifest
    given: Given = field(default_factory=Given)
    before: tuple[Manifest, ...] | None = None
    """The objects as an earlier revision has them; None where there is nothing to compare with."""

    @cached_property
    def _by_kind(self) -> dict[str, list[Manifest]]:
        found: dict[str, list[Manifest]] = {}
        for manifest in self.manifests:
            found.setdefault(manifest.kind, []).append(manifest)
        return found

    @cached_property
    def _by_name(self) -> dict[tuple[str, str], Manifest]:
        return {(manifest.kind, manifest.name): manifest for manifest in self.manifests}

    def of_kind(self, *kinds: str) -> Sequence[Manifest]:
        """Return the manifests of one or more kinds."""
        return [manifest for kind in kinds for manifest in self._by_kind.get(kind, ())]

    def find(self, kind: str, name: Any) -> Manifest | None:
        """Return the manifest of a kind and name, if there is one."""
        return self._by_name.get((kind, name)) if isinstance(name, str) else None

    def has(self, kind: str, name: str) -> bool:
        """Return whether there is such an object: a manifest, or one that is given."""
        return (kind, name) in self._by_name or name in self.given.objects.get(kind, ())

    @cached_property
    def workloads(self) -> list[Workload]:
        """Return what makes pods."""
        return workloads(self.manifests)

    @cached_property
    def containers(self) -> list[Container]:
        """Return the containers of all pods, of each pod the init containers first."""
        return [one for workload in self.workloads for one in containers(workload)]

    @cached_property
    def nodes(self) -> list[Node]:
        """Return what Besu and Maru run with, in each pod."""
        return nodes.nodes(self.workloads, self.of_kind("ConfigMap"))

    @cached_property
    def programs(self) -> list[Node]:
        """Return one node of each container: what holds for all of its pods."""
        found: dict[tuple[str, Where], Node] = {}
        for node in self.nodes:
            found.setdefault((node.workload.manifest.label, node.container.path), node)
        return list(found.values())

    @cached_property
    def worked_out(self) -> dict[Any, Any]:
        """Return what `once` keeps."""
        return {}

    def selected(self, selector: Any) -> list[Workload]:
        """Return the workloads whose pods a label selector (matchLabels, …) selects."""
        return [one for one in self.workloads if selects(selector, one.labels)]


def pod(workload: Workload) -> tuple[Where, Mapping[str, Any]]:
    """Return the path of a workload's pod spec, and the spec, empty where it is none."""
    path = PODS[workload.manifest.kind.lower()]
    found = workload.get(*path)
    return path, found if isinstance(found, dict) else {}


def containers(workload: Workload) -> Iterator[Container]:
    """Yield the containers of a workload's pods, init containers first."""
    path, spec = pod(workload)
    for kind in ("initContainers", "containers"):
        for index, data in mappings(spec.get(kind)):
            yield Container(workload, (*path, kind, index), data, kind == "initContainers")


def once(function: Callable[[Objects], Iterable[_T]]) -> Callable[[Objects], Sequence[_T]]:
    """Return a function that works out what rules share once for each environment."""

    def of(objects: Objects) -> Sequence[_T]:
        if function not in objects.worked_out:
            objects.worked_out[function] = tuple(function(objects))
        found: Sequence[_T] = objects.worked_out[function]
        return found

    return of
