"""What rules look at: the objects of an environment, and what its cluster has beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from scripts.chain import node_config
from scripts.chain.node_config import Node
from scripts.core import paths
from scripts.environments.provided import Given
from scripts.kubernetes import (
    autoscalers,
    containers,
    network_policies,
    pod_connections,
    resilience,
    resource_usage,
    services,
    workloads,
)
from scripts.kubernetes.autoscalers import Target
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.services import Backend, ServicePort
from scripts.kubernetes.workloads import Workload, picks

_T = TypeVar("_T")


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
    application_before: Manifest | None = None
    """The Application as that revision has it, where it has one."""
    kubernetes_version_before: str = ""
    """The Kubernetes version that the environment had then; empty where it is not known."""

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
        return [one for one in self.makers if one.manifest.kind not in workloads.OF_THE_CLUSTER]

    @cached_property
    def containers(self) -> list[Container]:
        """Return the containers of all pods, of each pod the init containers first."""
        return [one for workload in self.workloads for one in containers.of(workload)]

    @cached_property
    def nodes(self) -> list[Node]:
        """Return what Besu and Maru run with, in each pod."""
        return node_config.nodes(self.workloads, self.of_kind("ConfigMap"))

    @cached_property
    def programs(self) -> list[Node]:
        """Return one node of each container: what holds for all of its pods."""
        found: dict[tuple[str, Where], Node] = {}
        for node in self.nodes:
            found.setdefault(node.container.place, node)
        return list(found.values())

    def selected(self, selector: Any) -> list[Workload]:
        """Return the workloads of whose pods a label selector (matchLabels, …) selects some."""
        return [one for one in self.makers if picks(selector, one)]

    @cached_property
    def makers(self) -> list[Workload]:
        """Return the workloads, and what makes as many pods as only the cluster knows."""
        return workloads.makers(self.manifests)

    def behind(self, service: Manifest) -> list[Workload]:
        """Return the workloads to whose pods a Service leads."""
        return services.pods(service, self.makers)

    def led_to(self, backend: Backend) -> list[ServicePort]:
        """Return the ports of a Service that an Ingress leads to."""
        service = self.find("Service", backend.service)
        among = services.ports(service) if service else []
        return [port for port in among if backend.is_meant(port)]

    @cached_property
    def _known(self) -> dict[Callable[[Objects], Any], Any]:
        return {}

    def once(self, function: Callable[[Objects], _T]) -> _T:
        """Return what a function says of the objects, which it is asked once."""
        if function not in self._known:
            self._known[function] = function(self)
        found: _T = self._known[function]
        return found

    @cached_property
    def place(self) -> tuple[Any, ...]:
        """Return the cluster and the namespace."""
        return destination(self.application)

    @cached_property
    def old(self) -> tuple[Manifest, ...]:
        """Return the objects as they were, in the same place; none where it is another."""
        earlier = self.application_before
        moved = earlier is not None and destination(earlier) != self.place
        return () if moved else self.before or ()

    @cached_property
    def changed(self) -> list[tuple[Manifest, Manifest]]:
        """Return (old, new) of each object that is there still, and is another than it was."""
        new = {manifest.identity: manifest for manifest in self.manifests}
        pairs = ((was, new.get(was.identity)) for was in self.old)
        return [(was, now) for was, now in pairs if now and was is not now and was != now]

    @cached_property
    def gone(self) -> list[Manifest]:
        """Return the objects that were there and are no longer."""
        new = {manifest.identity for manifest in self.manifests}
        return [was for was in self.old if was.identity not in new]

    @cached_property
    def counted(self) -> resource_usage.Counted:
        """Return what the environment takes at its largest, and its bounds."""
        return resource_usage.count(self.manifests)

    @cached_property
    def chain(self) -> resilience.Chain | None:
        """Return the validators at worst; None where there are none."""
        return resilience.chain(self.manifests, self.zones)

    @cached_property
    def _scaled(self) -> dict[Target, list[Manifest]]:
        found: dict[Target, list[Manifest]] = {}
        for manifest in self.of_kind(autoscalers.KIND):
            found.setdefault(autoscalers.target(manifest), []).append(manifest)
        return found

    def autoscalers(self, manifest: Manifest) -> Sequence[Manifest]:
        """Return the HorizontalPodAutoscalers of an object."""
        return self._scaled.get(autoscalers.as_target(manifest), ())

    def component(self, name: str) -> Workload | None:
        """Return the StatefulSet or Deployment of one of the stack's parts, if there is one."""
        for one in self.workloads:
            kept = one.manifest.kind in ("StatefulSet", "Deployment")
            if kept and one.manifest.component == name:
                return one
        return None

    @cached_property
    def policies(self) -> list[network_policies.Policy]:
        """Return the NetworkPolicies."""
        return network_policies.policies(self.manifests)

    @cached_property
    def parties(self) -> dict[str, network_policies.Party]:
        """Return a pod of each workload, by the label of its manifest."""
        return {one.manifest.label: network_policies.pod(one) for one in self.makers}

    @cached_property
    def isolating(self) -> dict[tuple[str, str], list[network_policies.Policy]]:
        """Return the policies that isolate pods, by direction and the label of their workload."""
        return {
            (direction, label): network_policies.isolating(self.policies, direction, party)
            for direction in network_policies.FIELDS
            for label, party in self.parties.items()
        }

    @cached_property
    def calls(self) -> list[pod_connections.Call]:
        """Return whom pods call, by what they are told."""
        return pod_connections.calls(self.manifests, self.workloads)


def destination(application: Manifest) -> tuple[Any, ...]:
    """Return the cluster and the namespace that an Application brings its objects to."""
    path = ("spec", "destination")
    return tuple(
        paths.get(application.object, (*path, key)) for key in ("server", "name", "namespace")
    )


def once(function: Callable[[Objects], Iterable[_T]]) -> Callable[[Objects], Sequence[_T]]:
    """Return a function that works out what rules share once for each environment."""

    def listed(objects: Objects) -> Sequence[_T]:
        return tuple(function(objects))

    return lambda objects: objects.once(listed)


def spec_of(manifest: Manifest, *path: str | int) -> Any:
    """Return a field of an object's spec; None where there is none."""
    return manifest.get("spec", *path)


def annotation(name: str) -> Where:
    """Return the path of an annotation of an object."""
    return "metadata", "annotations", name


def nearest(value: str, known: Iterable[str], otherwise: str) -> str:
    """Return that the most similar name is to be written, or else what there is to do."""
    import difflib

    near = difflib.get_close_matches(value, list(known), 1)
    return f"write {near[0]}" if near else otherwise
