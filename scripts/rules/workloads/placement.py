"""Placement: there are nodes and zones in which pods may be scheduled."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from scripts.core import advice, paths
from scripts.kubernetes import resilience
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.resilience import NODE, ZONE
from scripts.kubernetes.workloads import Workload, mappings, selects, whole
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects
from scripts.rules.workloads.placing import (
    PREFERRED,
    REQUIRED,
    constraints,
    counted,
    is_hard,
    pod_terms,
)

_SPREAD = "https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/"
_AFFINITY = "https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/"
_TERMS = tuple(
    (kind, strictness)
    for kind in ("podAffinity", "podAntiAffinity")
    for strictness in (REQUIRED, PREFERRED)
)
_KEYS = (NODE, ZONE, "topology.kubernetes.io/region")
"""Each within the next: pods on one node are also in one zone and in one region."""


@rule(_SPREAD)
def more_pods_than_zones(objects: Objects) -> Iterator[Problem]:
    """Pods that must be in different zones have enough zones.

    Otherwise some of them stay Pending, perhaps only when the autoscaler adds them.
    """
    for workload in objects.workloads if objects.zones else ():
        allowed = [zone for zone in objects.zones if resilience.may_be_in(workload, zone)]
        places = len(allowed)
        if not places:
            continue
        if workload.most > places and resilience.apart(workload, ZONE):
            message = (
                f"up to {workload.most} pods must be in different zones, but there "
                f"{_zones(places)} for them: {_pending(workload.most - places)}"
            )
            manifest, field = counted(objects, workload, "maxReplicas")
            fix = (
                f"write {field[-1]}: {places} in {manifest.label}; if you need {workload.most} "
                "pods, add nodes in more zones, and list these in zones of environment.yaml"
            )
            yield Problem(workload.manifest, _apart(workload, ZONE), message, fix)
            continue
        for path, constraint in constraints(workload):
            skew, needed = (
                whole(constraint.get("maxSkew"), 1),
                whole(constraint.get("minDomains"), 1),
            )
            if not is_hard(constraint, workload) or constraint.get("topologyKey") != ZONE:
                continue
            if needed > places and workload.most > skew * places:
                message = (
                    f"minDomains is {needed}, but there {_zones(places)}, so no zone may have more "
                    f"than {skew} of up to {workload.most} pods: "
                    f"{_pending(workload.most - skew * places)}"
                )
                fix = advice.write("minDomains", places)
                yield Problem(workload.manifest, (*path, "minDomains"), message, fix)


@rule(_AFFINITY)
def unknown_zone(objects: Objects) -> Iterator[Problem]:
    """The zones that pods require are zones of the environment.

    Otherwise the zone is misspelled or has no nodes, and the pods stay Pending.
    """
    for workload in objects.workloads if objects.zones else ():
        unknown = [
            (path, zone) for path, zone in _required_zones(workload) if zone not in objects.zones
        ]
        for path, zone in unknown:
            near = difflib.get_close_matches(str(zone), objects.zones, 1)
            message = (
                f"{zone} is not a zone of the environment ({', '.join(objects.zones)}): pods that "
                "require it stay Pending"
            )
            fix = (
                f"write {near[0] if near else 'one of these zones'}; if the cluster has nodes in "
                f"{zone}, add it to zones in overlays/{objects.name}/environment.yaml"
            )
            yield Problem(workload.manifest, path, message, fix)
        if not unknown and not any(resilience.may_be_in(workload, z) for z in objects.zones):
            path = workload.pod_path
            message = (
                f"the required node affinity excludes all zones of the environment "
                f"({', '.join(objects.zones)}): the pods stay Pending"
            )
            fix = (
                f"write {{key: {ZONE}, operator: In, values: [{', '.join(objects.zones)}]}} in "
                "matchExpressions"
            )
            yield Problem(workload.manifest, (*path, "affinity", "nodeAffinity"), message, fix)


@rule("https://kubernetes.io/docs/reference/labels-annotations-taints/")
def unknown_topology_key(objects: Objects) -> Iterator[Problem]:
    """The topologyKey of an affinity or a spread constraint is a label of the nodes.

    Otherwise required affinities and constraints leave the pods Pending, and anti-affinities have
    no effect.
    """
    for workload in objects.workloads:
        terms = [
            (path[:-1], term)
            for kind, field in _TERMS
            for path, term in pod_terms(workload, kind, field)
        ]
        for path, term in (*terms, *constraints(workload)):
            key = str(term.get("topologyKey"))
            near = difflib.get_close_matches(key, _KEYS, 1, 0.9)
            if near and key not in _KEYS:
                message = (
                    f"{workload.manifest.label} has the topologyKey {key}, a label that no node "
                    "has: the pods stay Pending, or are not spread"
                )
                fix = advice.write("topologyKey", near[0])
                yield Problem(workload.manifest, (*path, "topologyKey"), message, fix)


@rule(_AFFINITY + "#inter-pod-affinity-and-anti-affinity")
def contradicting_affinity(objects: Objects) -> Iterator[Problem]:
    """Pods with a required affinity to other pods have no anti-affinity between them.

    Otherwise the pods that are scheduled second stay Pending: an anti-affinity applies in both
    directions.
    """
    for workload in objects.workloads:
        for key in _KEYS:
            for term in resilience.terms(workload, "podAffinity", key):
                for other in objects.selected(term.get("labelSelector")):
                    yield from _kept_away(workload, other, key)


def _kept_away(workload: Workload, other: Workload, key: str) -> Iterator[Problem]:
    """Yield the required anti-affinities between two workloads that must be together."""
    for own, avoided in ((workload, other), (other, workload)):
        wider = _KEYS[_KEYS.index(key) :]
        terms = [term for each in wider for term in resilience.terms(own, "podAntiAffinity", each)]
        for term in terms if own.manifest is not avoided.manifest else ():
            # A term with matchLabelKeys applies only to pods with another ordinal.
            if selects(term.get("labelSelector"), avoided.labels) and "matchLabelKeys" not in term:
                place = {ZONE: "in the zone", NODE: "on the node"}.get(key, "in the region")
                message = (
                    f"the podAntiAffinity of {own.manifest.label} also selects "
                    f"{avoided.manifest.label}, but {workload.manifest.label} must be "
                    f"{place} of {other.manifest.label}: the pods scheduled second stay Pending"
                )
                fix = f"write labelSelector: {{matchLabels: {{{_own_label(own, avoided)}}}}}"
                path = (*own.pod_path, "affinity", "podAntiAffinity")
                yield Problem(own.manifest, path, message, fix)


def _own_label(workload: Workload, other: Workload) -> str:
    """Return a label of a workload's pods that those of another do not have."""
    own = {
        name: value for name, value in workload.labels.items() if other.labels.get(name) != value
    }
    usual = "app.kubernetes.io/component"
    name = usual if usual in own else next(iter(own), usual)
    return f"{name}: {own.get(name, workload.manifest.component)}"


def _zones(count: int) -> str:
    return "is only one zone" if count == 1 else f"are only {count} zones"


def _pending(count: int) -> str:
    return "1 pod stays Pending" if count == 1 else f"{count} pods stay Pending"


def _apart(workload: Workload, key: str) -> Where:
    """Return the path of the anti-affinity that forbids two pods in one domain."""
    for path, term in pod_terms(workload, "podAntiAffinity", REQUIRED):
        if term.get("topologyKey") == key and selects(term.get("labelSelector"), workload.labels):
            return (*path[:-1], "topologyKey")
    return (*workload.pod_path, "affinity")


def _required_zones(workload: Workload) -> Iterator[tuple[Where, Any]]:
    """Yield the zones that pods require, each with its path."""
    start, spec = workload.pod_path, workload.pod_spec
    selected = paths.get(spec, ("nodeSelector", ZONE))
    if selected is not None:
        yield (*start, "nodeSelector", ZONE), selected
    inner = ("affinity", "nodeAffinity", REQUIRED, "nodeSelectorTerms")
    for index, term in mappings(paths.get(spec, inner)):
        for number, expression in mappings(term.get("matchExpressions")):
            values = expression.get("values")
            if expression.get("key") != ZONE or expression.get("operator") != "In":
                continue
            for place, value in enumerate(values if isinstance(values, list) else ()):
                path: Where = (*start, *inner, index, "matchExpressions", number, "values", place)
                yield path, value
