"""Snapshots: what rules check, the objects of an environment and its provided resources."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from scripts.chain import node_config
from scripts.chain.node_config import Node
from scripts.core import advice, paths
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
    """The objects of an environment as plain data, with lookups by kind, name and label."""

    name: str
    namespace: str
    kubernetes_version: str
    """A minor version, for example 1.34."""
    zones: tuple[str, ...]
    """The zones of its Kubernetes nodes; empty if they are unknown."""
    is_production: bool
    manifests: tuple[Manifest, ...]
    project: Manifest
    application: Manifest
    given: Given = field(default_factory=Given)
    before: tuple[Manifest, ...] | None = None
    """The objects in the base revision; None if there is no base revision."""
    application_before: Manifest | None = None
    """The Application in the base revision; None if it has none."""
    kubernetes_version_before: str = ""
    """The Kubernetes version in the base revision; empty if it is unknown."""

    @cached_property
    def _by_kind(self) -> dict[str, list[Manifest]]:
        by_kind: dict[str, list[Manifest]] = {}
        for manifest in self.manifests:
            by_kind.setdefault(manifest.kind, []).append(manifest)
        return by_kind

    @cached_property
    def _by_name(self) -> dict[tuple[str, str], Manifest]:
        return {(manifest.kind, manifest.name): manifest for manifest in self.manifests}

    def of_kind(self, *kinds: str) -> Sequence[Manifest]:
        """Return the manifests of one or more kinds."""
        return [manifest for kind in kinds for manifest in self._by_kind.get(kind, ())]

    def find(self, kind: str, name: Any) -> Manifest | None:
        """Return the manifest with a kind and name; None if it does not exist."""
        return self._by_name.get((kind, name)) if isinstance(name, str) else None

    def has(self, kind: str, name: str) -> bool:
        """Return whether an object exists, as a manifest or as a provided resource."""
        return (kind, name) in self._by_name or name in self.given.objects.get(kind, ())

    @cached_property
    def workloads(self) -> list[Workload]:
        """Return the workloads with a known number of pods."""
        makers, unknown = self.makers, workloads.OF_THE_CLUSTER
        return [workload for workload in makers if workload.manifest.kind not in unknown]

    @cached_property
    def containers(self) -> list[Container]:
        """Return the containers of all workloads; in each workload, init containers come first."""
        return [own for workload in self.workloads for own in containers.of(workload)]

    @cached_property
    def nodes(self) -> list[Node]:
        """Return the configuration of Besu and Maru in each pod."""
        return node_config.nodes(self.workloads, self.of_kind("ConfigMap"))

    @cached_property
    def programs(self) -> list[Node]:
        """Return the configuration of Besu and Maru in the first pod of each workload."""
        by_container: dict[tuple[str, Where], Node] = {}
        for node in self.nodes:
            by_container.setdefault(node.container.place, node)
        return list(by_container.values())

    def selected(self, selector: Any) -> list[Workload]:
        """Return the workloads with pods that a label selector (matchLabels, …) selects."""
        return [workload for workload in self.makers if picks(selector, workload)]

    @cached_property
    def makers(self) -> list[Workload]:
        """Return all workloads, also those whose number of pods only the cluster knows."""
        return workloads.makers(self.manifests)

    def behind(self, service: Manifest) -> list[Workload]:
        """Return the workloads with pods that a Service selects."""
        return services.pods(service, self.makers)

    def led_to(self, backend: Backend) -> list[ServicePort]:
        """Return the ports of a Service that a backend of an Ingress names."""
        service = self.find("Service", backend.service)
        among = services.ports(service) if service else []
        return [port for port in among if backend.is_meant(port)]

    @cached_property
    def _known(self) -> dict[Callable[[Objects], Any], Any]:
        return {}

    def once(self, function: Callable[[Objects], _T]) -> _T:
        """Return the result of a function on the objects, which is computed once."""
        if function not in self._known:
            self._known[function] = function(self)
        result: _T = self._known[function]
        return result

    @cached_property
    def place(self) -> tuple[Any, ...]:
        """Return the cluster and the namespace."""
        return destination(self.application)

    @cached_property
    def old(self) -> tuple[Manifest, ...]:
        """Return the objects in the base revision; none if the cluster or namespace changed."""
        earlier = self.application_before
        moved = earlier is not None and destination(earlier) != self.place
        return () if moved else self.before or ()

    @cached_property
    def changed(self) -> list[tuple[Manifest, Manifest]]:
        """Return (old, new) of each changed object that both revisions have."""
        new = {manifest.identity: manifest for manifest in self.manifests}
        pairs = ((old, new.get(old.identity)) for old in self.old)
        return [(old, now) for old, now in pairs if now and old is not now and old != now]

    @cached_property
    def gone(self) -> list[Manifest]:
        """Return the objects of the base revision that no longer exist."""
        new = {manifest.identity for manifest in self.manifests}
        return [old for old in self.old if old.identity not in new]

    @cached_property
    def counted(self) -> resource_usage.Counted:
        """Return the resources that the environment uses at most, and its quotas."""
        return resource_usage.count(self.manifests)

    @cached_property
    def chain(self) -> resilience.Chain | None:
        """Return the validators in the worst case; None if there are none."""
        return resilience.chain(self.manifests, self.zones)

    @cached_property
    def _scaled(self) -> dict[Target, list[Manifest]]:
        by_target: dict[Target, list[Manifest]] = {}
        for manifest in self.of_kind(autoscalers.KIND):
            by_target.setdefault(autoscalers.target(manifest), []).append(manifest)
        return by_target

    def autoscalers(self, manifest: Manifest) -> Sequence[Manifest]:
        """Return the HorizontalPodAutoscalers of an object."""
        return self._scaled.get(autoscalers.as_target(manifest), ())

    def component(self, name: str) -> Workload | None:
        """Return the StatefulSet or Deployment of a component; None if it does not exist."""
        for workload in self.workloads:
            is_permanent = workload.manifest.kind in ("StatefulSet", "Deployment")
            if is_permanent and workload.manifest.component == name:
                return workload
        return None

    @cached_property
    def policies(self) -> list[network_policies.Policy]:
        """Return the NetworkPolicies."""
        return network_policies.policies(self.manifests)

    @cached_property
    def parties(self) -> dict[str, network_policies.Party]:
        """Return a pod of each workload, by the label of its manifest."""
        makers = self.makers
        return {workload.manifest.label: network_policies.pod(workload) for workload in makers}

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
        """Return the connections that pods make, by their configuration."""
        return pod_connections.calls(self.manifests, self.workloads)


def destination(application: Manifest) -> tuple[Any, ...]:
    """Return the cluster and the namespace that an Application syncs to."""
    path = ("spec", "destination")
    return tuple(
        paths.get(application.object, (*path, key)) for key in ("server", "name", "namespace")
    )


def once(function: Callable[[Objects], Iterable[_T]]) -> Callable[[Objects], Sequence[_T]]:
    """Return the function with its result cached for each environment, to share among rules."""

    def listed(objects: Objects) -> Sequence[_T]:
        return tuple(function(objects))

    return lambda objects: objects.once(listed)


def spec_of(manifest: Manifest, *path: str | int) -> Any:
    """Return a field of an object's spec; None if it is missing."""
    return manifest.get("spec", *path)


def annotation(name: str) -> Where:
    """Return the path of an annotation of an object."""
    return "metadata", "annotations", name


def nearest(value: str, known: Iterable[str], otherwise: str, whole: Any = None) -> str:
    """Return the fix to write the most similar name; the other fix if none is similar.

    whole: the text at the place of the finding, if the value is a part of it or all of it.
    """
    import difflib

    near = difflib.get_close_matches(value, list(known), 1)
    if not near:
        return otherwise
    return advice.in_text(f"write {near[0]}", whole, value, near[0]).if_slip(value, near[0])
