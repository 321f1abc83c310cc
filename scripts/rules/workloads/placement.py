"""Placement: pods find nodes and zones that they may be in."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from scripts.core import paths
from scripts.kubernetes import resilience
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.resilience import ZONE
from scripts.kubernetes.workloads import Workload, mappings, selects, whole
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects
from scripts.rules.workloads.placing import PREFERRED, REQUIRED, constraints, is_hard, pod_terms

_SPREAD = "https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/"
_AFFINITY = "https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/"
_TERMS = tuple(
    (kind, strictness)
    for kind in ("podAffinity", "podAntiAffinity")
    for strictness in (REQUIRED, PREFERRED)
)
_KEYS = (ZONE, "kubernetes.io/hostname", "topology.kubernetes.io/region")


@rule(_SPREAD)
def more_pods_than_zones(objects: Objects) -> Iterator[Problem]:
    """Where pods must be in different zones, there are zones enough for all of them.

    Else some wait as Pending for ever, or from the day on which the autoscaler asks for them.
    """
    for workload in objects.workloads if objects.zones else ():
        allowed = [zone for zone in objects.zones if resilience.may_be_in(workload, zone)]
        places = len(allowed)
        if not places:
            continue
        told = f"there may be {workload.most} pods, and {_zones(places)} that they may be in"
        if workload.most > places and resilience.apart(workload, ZONE):
            message = (
                f"{told}: no two may be in the same, so {workload.most - places} wait for ever"
            )
            fix = f"write {places} pods at most, {PREFERRED} for antiAffinity, or more zones"
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
                    f"{told}: while they are in fewer than {needed} zones (minDomains), none may "
                    f"have more than {skew}, so {workload.most - skew * places} wait for ever"
                )
                fix = f"write minDomains: {places} or less, or more zones"
                yield Problem(workload.manifest, (*path, "minDomains"), message, fix)


@rule(_AFFINITY)
def unknown_zone(objects: Objects) -> Iterator[Problem]:
    """Pods are sent to zones that the environment has nodes in.

    Else the zone is a misspelt one, and pods that must be there wait as Pending for ever.
    """
    for workload in objects.workloads if objects.zones else ():
        unknown = [(path, zone) for path, zone in _asked(workload) if zone not in objects.zones]
        for path, zone in unknown:
            near = difflib.get_close_matches(str(zone), objects.zones, 1)
            message = (
                f"{zone} is none of the environment's zones ({', '.join(objects.zones)}): pods "
                "that must be there never start"
            )
            fix = (
                f"write {near[0] if near else ' or '.join(objects.zones)}, or add it to zones in "
                f"overlays/{objects.name}/environment.yaml, if nodes are there"
            )
            yield Problem(workload.manifest, path, message, fix)
        if not unknown and not any(resilience.may_be_in(workload, z) for z in objects.zones):
            path = workload.pod_path
            message = f"none of {', '.join(objects.zones)} is left to the pods: they never start"
            fix = "let the required node affinity allow one of them"
            yield Problem(workload.manifest, (*path, "affinity", "nodeAffinity"), message, fix)


@rule("https://kubernetes.io/docs/reference/labels-annotations-taints/")
def unknown_topology_key(objects: Objects) -> Iterator[Problem]:
    """The topologyKey of an affinity or a spread is a label of nodes.

    With one that no node has, pods that must be somewhere wait as Pending, and nothing is kept
    apart.
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
                    f"no node has the label {key}, by which {workload.manifest.label} is placed"
                )
                yield Problem(
                    workload.manifest, (*path, "topologyKey"), message, f"write {near[0]}"
                )


@rule(_AFFINITY + "#inter-pod-affinity-and-anti-affinity")
def contradicting_affinity(objects: Objects) -> Iterator[Problem]:
    """Pods that must be beside others are not kept away from those, by either's rules.

    An anti-affinity holds in both directions: the pods that come second stay Pending for ever.
    """
    for workload in objects.workloads:
        for key in _KEYS:
            for term in resilience.terms(workload, "podAffinity", key):
                for other in objects.selected(term.get("labelSelector")):
                    yield from _kept_away(workload, other, key)


def _kept_away(workload: Workload, other: Workload, key: str) -> Iterator[Problem]:
    """Yield the terms that keep away from each other what an affinity wants together."""
    for own, kept in ((workload, other), (other, workload)):
        terms = list(resilience.terms(own, "podAntiAffinity", key))
        for term in terms if own.manifest is not kept.manifest else ():
            # Terms by ordinal keep away from the pods of other ordinals only.
            if selects(term.get("labelSelector"), kept.labels) and "matchLabelKeys" not in term:
                message = (
                    f"{own.manifest.label} keeps away from the pods of {kept.manifest.label}, and "
                    f"{workload.manifest.label} must be beside {other.manifest.label}: its pods "
                    "stay Pending"
                )
                fix = "let labelSelector of podAntiAffinity select its own component alone"
                path = (*own.pod_path, "affinity", "podAntiAffinity")
                yield Problem(own.manifest, path, message, fix)


def _zones(count: int) -> str:
    return "one zone" if count == 1 else f"{count} zones"


def _apart(workload: Workload, key: str) -> Where:
    """Return the path of what forbids two pods in one domain."""
    for path, term in pod_terms(workload, "podAntiAffinity", REQUIRED):
        if term.get("topologyKey") == key and selects(term.get("labelSelector"), workload.labels):
            return (*path[:-1], "topologyKey")
    return (*workload.pod_path, "affinity")


def _asked(workload: Workload) -> Iterator[tuple[Where, Any]]:
    """Yield the zones that pods must be in, each with its path."""
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
