"""What selectors mean: the peers of NetworkPolicies, what monitors scrape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scripts.core import paths
from scripts.kubernetes import monitors
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import mappings
from scripts.rules.snapshot import Objects

_NAMESPACE = "kubernetes.io/metadata.name"


def peers(manifest: Manifest) -> Iterator[tuple[Where, dict[str, Any]]]:
    """Yield the peers of a NetworkPolicy's rules, each with its path."""
    for direction, side in (("ingress", "from"), ("egress", "to")):
        for index, allowed in mappings(paths.get(manifest.object, ["spec", direction])):
            for place, peer in mappings(allowed.get(side)):
                yield ("spec", direction, index, side, place), peer


def own_namespace(objects: Objects, selector: Any) -> bool:
    """Return whether a peer's namespaceSelector means the environment's namespace alone."""
    if selector is None:
        return True
    labels = selector.get("matchLabels") if isinstance(selector, dict) else None
    return isinstance(labels, dict) and labels.get(_NAMESPACE) == objects.namespace


def monitored(objects: Objects, monitor: Manifest) -> list[Manifest]:
    """Return the Services that a ServiceMonitor, the workloads that a PodMonitor selects."""
    if monitor.kind == "ServiceMonitor":
        return monitors.monitored(monitor, objects.of_kind("Service"), objects.namespace)
    if not monitors.looks_in(monitor, objects.namespace):
        return []
    return [one.manifest for one in objects.selected(monitor.get("spec", "selector"))]
