"""What selectors mean: the peers of NetworkPolicies, what monitors scrape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scripts.core import paths
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import mappings, selects
from scripts.rules.snapshot import Objects

_NAMESPACE = "kubernetes.io/metadata.name"
_SELECTOR: Where = ("spec", "selector")


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
    selector = paths.get(monitor.object, _SELECTOR)
    if not looks_here(objects, monitor):
        return []
    if monitor.kind == "PodMonitor":
        return [one.manifest for one in objects.selected(selector)]
    return [one for one in objects.of_kind("Service") if selects(selector, labels(one))]


def looks_here(objects: Objects, monitor: Manifest) -> bool:
    """Return whether a monitor looks in the environment's namespace."""
    if paths.get(monitor.object, ["spec", "namespaceSelector", "any"]) is True:
        return True
    return objects.namespace in namespaces(objects, monitor)


def namespaces(objects: Objects, monitor: Manifest) -> list[str]:
    """Return the namespaces that a monitor names, else its own."""
    named = paths.get(monitor.object, ["spec", "namespaceSelector", "matchNames"])
    found = [str(name) for name in named] if isinstance(named, list) else []
    return found or [monitor.namespace or objects.namespace]


def labels(manifest: Manifest) -> dict[str, Any]:
    """Return the labels of an object."""
    found = manifest.metadata.get("labels")
    return found if isinstance(found, dict) else {}
