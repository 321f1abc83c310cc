"""What an environment survives, in words, from its manifests and the zones it has: pure.

The worst counts that the scheduler's rules leave open: of all placements that required affinities
and DoNotSchedule constraints allow, the one in which the loss of a node or a zone takes the most.
Each zone is taken to have a node that the pods fit on, and nodes enough. Preferences
(preferredDuring…, ScheduleAnyway) promise nothing, so they count for nothing.
https://kubernetes.io/docs/concepts/scheduling-eviction/, assign-pod-node/ and
topology-spread-constraints/
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.core import paths
from scripts.kubernetes.manifest import Manifest
from scripts.kubernetes.workloads import (
    Workload,
    holds,
    mappings,
    scaled,
    selects,
    whole,
    workloads,
)

ZONE = "topology.kubernetes.io/zone"
NODE = "kubernetes.io/hostname"

_ORDINAL = "apps.kubernetes.io/pod-index"
"""Label that a StatefulSet gives its pods."""

CALLED = {
    "besu": "Besu",
    "ethstats": "EthStats",
    "maru": "Maru",
    "sequencer": "Sequencer",
    "tx-sender": "TX Sender",
}
"""Component → what people call it."""

_LONE = {"ethstats": "dashboard", "tx-sender": "transfers"}
"""Component → what is missing while its pod is down."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Where the pods of a workload may be at worst."""

    pods: int
    """That can be placed."""
    zone: int
    """The most in one zone."""
    node: int
    """The most on one node."""


@dataclass(frozen=True, slots=True)
class Chain:
    """The validators of an environment at worst: each a sequencer and the Maru that drives it."""

    validators: int
    """Of the chain, as far as the environment knows."""
    running: int
    zone: int
    """The most that the loss of one zone takes."""
    node: int
    """The most that the loss of one node takes."""

    @property
    def quorum(self) -> int:
        """Return how many a block needs: two thirds, rounded up.

        calculateRequiredValidatorQuorum in Besu's BftHelpers.java, which Maru asks
        (QbftFinalStateAdapter.kt). It is about validators that are down, not about those that lie.
        """
        return -(-2 * self.validators // 3)

    @property
    def spare(self) -> int:
        """Return how many may be down while blocks go on; negative if there are too few."""
        return self.running - self.quorum


def words(manifests: Sequence[Manifest], zones: Sequence[str]) -> str:
    """Return what an environment survives, in one sentence.

    zones: those that its nodes are in; none if they are not known.
    """
    found = workloads(manifests)
    by_component = {workload.manifest.component: workload for workload in found}
    parts = [
        _of_chain(chain(manifests, zones), zones),
        *_of_rpc(by_component.get("besu"), zones),
        *_of_lone(by_component),
        _of_drains(manifests, found),
    ]
    return "; ".join(parts)


def chain(manifests: Sequence[Manifest], zones: Sequence[str]) -> Chain | None:
    """Return the validators at worst; None if there are none."""
    by_component = {
        workload.manifest.component: workload
        for workload in workloads(manifests)
        if workload.manifest.kind == "StatefulSet"
    }
    sequencer, maru = by_component.get("sequencer"), by_component.get("maru")
    if not sequencer or not maru:
        return None
    pairs = min(sequencer.least, maru.least)
    first, second = spread(sequencer, zones), spread(maru, zones)
    kept = together(maru, sequencer)
    if kept is None:
        running = max(0, first.pods + second.pods - pairs)
        in_a_zone = min(pairs, first.zone + second.zone)
        on_a_node = min(in_a_zone, first.node + second.node)
    else:
        running = followed(sequencer, maru, first, kept)
        in_a_zone = min(first.zone, second.zone)
        both = first.node + second.node
        on_a_node = min(in_a_zone, min(first.node, second.node) if kept == NODE else both)
    validators = max(pairs, _validators(manifests))
    return Chain(validators, min(running, pairs), in_a_zone, on_a_node)


def spread(workload: Workload, zones: Sequence[str]) -> Spread:
    """Return where a workload's pods may be at worst, also after it was scaled down."""
    # Scaling down takes the highest ordinals, wherever they are.
    least, most = workload.least, workload.most
    allowed = [zone for zone in zones if may_be_in(workload, zone)]
    in_a_zone = min(most, *_bounds(workload, ZONE, len(allowed) if zones else None, most))
    # At least a node in every zone; a spread over more of them is only better.
    on_a_node = min(in_a_zone, *_bounds(workload, NODE, None, most, len(allowed)))
    placed = min(least, in_a_zone * len(allowed)) if zones else least
    return Spread(placed, min(placed, in_a_zone), min(placed, on_a_node))


def packed(pods: int, skew: int, domains: int) -> int:
    """Return the most pods that one domain can have, with at most skew more than the emptiest.

    With m in one, each other has at least m - skew: m + (domains - 1)(m - skew) ≤ pods.
    """
    return min(pods, max(skew, (pods + (domains - 1) * skew) // domains))


def _bounds(
    workload: Workload, key: str, domains: int | None, pods: int, at_least: int = 1
) -> Iterator[int]:
    """Yield how many pods there may be in one domain, by each rule; domains: None for unknown."""
    yield pods
    if apart(workload, key):
        yield 1
    for skew, needed in constraints(workload, key):
        if domains is None:
            yield packed(pods, skew, max(needed, at_least, 1))
        elif needed > domains:
            # Then the emptiest counts as having none.
            yield min(pods, skew)
        else:
            yield packed(pods, skew, max(domains, 1))


def apart(workload: Workload, key: str) -> bool:
    """Return whether no two of the pods may be in one domain."""
    return any(
        not term.keys() & {"matchLabelKeys", "mismatchLabelKeys"}
        and selects(term.get("labelSelector"), workload.labels)
        for term in terms(workload, "podAntiAffinity", key)
    )


def constraints(workload: Workload, key: str) -> Iterator[tuple[int, int]]:
    """Yield maxSkew and minDomains of what spreads the pods over the key's domains, for sure."""
    for _, constraint in mappings(workload.pod_spec.get("topologySpreadConstraints")):
        if (
            constraint.get("topologyKey") == key
            and constraint.get("whenUnsatisfiable") == "DoNotSchedule"
            and not constraint.get("matchLabelKeys")
            and selects(constraint.get("labelSelector"), workload.labels)
        ):
            yield whole(constraint.get("maxSkew"), 1), whole(constraint.get("minDomains"), 1)


def together(maru: Workload, sequencer: Workload) -> str | None:
    """Return the topology in which each Maru is kept beside the sequencer of its ordinal."""
    for key in (NODE, ZONE):
        for term in terms(maru, "podAffinity", key):
            keys = term.get("matchLabelKeys")
            is_by_ordinal = isinstance(keys, list) and _ORDINAL in keys
            if is_by_ordinal and selects(term.get("labelSelector"), sequencer.labels):
                return key
    return None


def followed(sequencer: Workload, maru: Workload, first: Spread, key: str) -> int:
    """Return how many Marus find a place where their sequencers are, at worst.

    All, if rules for both are the same. Otherwise a domain may have more sequencers than the Marus'
    own rules let into it, and the Marus beyond that wait for ever.
    """
    bounds = [first.pods]
    for over in (ZONE, NODE) if key == NODE else (ZONE,):
        own = apart(maru, over), sorted(constraints(maru, over))
        if own == (apart(sequencer, over), sorted(constraints(sequencer, over))):
            continue
        beside = first.zone if over == ZONE else first.node
        room = min([beside, *([1] if own[0] else []), *(skew for skew, _ in own[1])])
        full, rest = divmod(first.pods, max(beside, 1))
        bounds.append(full * min(beside, room) + min(rest, room))
    return min(bounds)


def terms(workload: Workload, affinity: str, key: str) -> Iterator[dict[str, Any]]:
    """Yield the required terms over a topology, for pods of the same namespace."""
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    for _, term in mappings(paths.get(workload.pod_spec, ["affinity", affinity, required])):
        elsewhere = term.keys() & {"namespaces", "namespaceSelector"}
        if term.get("topologyKey") == key and not elsewhere:
            yield term


def may_be_in(workload: Workload, zone: str) -> bool:
    """Return whether the pods' own choice of nodes leaves a zone to them."""
    spec, labels = workload.pod_spec, {ZONE: zone}
    if paths.get(spec, ["nodeSelector", ZONE]) not in (None, zone):
        return False
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    path = ["affinity", "nodeAffinity", required, "nodeSelectorTerms"]
    choices = [term for _, term in mappings(paths.get(spec, path))]
    return not choices or any(
        all(
            holds(expression, labels)
            for _, expression in mappings(term.get("matchExpressions"))
            if expression.get("key") == ZONE
        )
        for term in choices
    )


def _validators(manifests: Iterable[Manifest]) -> int:
    """Return the size of the largest set of validators in Maru's genesis; 0 if there is none."""
    sizes = [0]
    for manifest in manifests:
        text = paths.get(manifest.object, ["data", "maru.json"])
        if manifest.kind != "ConfigMap" or not isinstance(text, str):
            continue
        try:
            forks = paths.get(json.loads(text), ["config"])
        except ValueError:
            continue
        for fork in forks.values() if isinstance(forks, dict) else ():
            chosen = paths.get(fork, ["validatorSet"])
            sizes.append(len(chosen) if isinstance(chosen, list) else 0)
    return max(sizes)


def _of_chain(found: Chain | None, zones: Sequence[str]) -> str:
    if found is None:
        return "no validator"
    if found.spare < 0:
        return (
            f"blocks may never come: a block needs {found.quorum} of {found.validators} validators,"
            f" and as few as {found.running} may run"
        )
    if found.validators == 1:
        return "one validator: blocks stop while its pod, node or zone is down"
    if not found.spare:
        return (
            f"blocks need all {found.running} validators that run here: they stop while the pod, "
            "the node or the zone of one of them is down"
        )
    there = "" if found.running == found.validators else " that run"
    text = f"blocks continue if any {found.spare} of {found.running} validators{there}"
    lost = f"{_are(found.spare)} lost, but"
    if found.node > found.spare:
        where = f"a node or zone may run {found.node} of them"
        return f"{text} {lost} {where}: its loss stops blocks"
    if found.zone > found.spare:
        where = f"a zone may run {found.zone} of them"
        return f"{text} or any node {lost} {where}: its loss stops blocks"
    number = f" of the {len(zones)} zones" if zones else " zone"
    return f"{text}, any node or any{number} {_are(found.spare)} lost"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _of_rpc(besu: Workload | None, zones: Sequence[str]) -> Iterator[str]:
    if besu is None:
        return
    found, all_pods = spread(besu, zones), "may run all pods: its loss stops JSON-RPC"
    if found.pods < 2:
        yield "one Besu: no JSON-RPC while its pod, node or zone is down"
    elif found.zone < found.pods:
        yield "JSON-RPC continues if any node or any zone is lost"
    elif found.node < found.pods:
        yield f"JSON-RPC continues if any node is lost, but a zone {all_pods}"
    else:
        lost = f"any {found.pods - 1} of {found.pods} pods {_are(found.pods - 1)} lost"
        yield f"JSON-RPC continues if {lost}, but a node or zone {all_pods}"


def _of_lone(by_component: Mapping[str, Workload]) -> Iterator[str]:
    lone = [
        (CALLED[component], what)
        for component, what in _LONE.items()
        if component in by_component and by_component[component].least == 1
    ]
    if lone:
        called = " and ".join(name for name, _ in lone)
        missing = ", ".join(f"no {what}" for _, what in lone)
        pods = "have one pod each" if len(lone) > 1 else "has one pod"
        yield f"{called} {pods}: {missing} until another has started"


def _of_drains(manifests: Iterable[Manifest], found: Sequence[Workload]) -> str:
    """Return whether nodes can be drained: no budget lets go of none where all pods are well."""
    held = []
    for manifest in manifests:
        if manifest.kind != "PodDisruptionBudget":
            continue
        spec = manifest.object.get("spec")
        spec = spec if isinstance(spec, dict) else {}
        own = [w for w in found if selects(spec.get("selector"), w.labels)]
        if own and let_go(spec, sum(w.least for w in own)) < 1:
            held.append(CALLED.get(manifest.component, manifest.label))
    if held:
        return f"no node with a pod of {' or '.join(held)} can be drained"
    return "nodes can be drained one at a time"


def let_go(spec: Mapping[str, Any], pods: int) -> int:
    """Return how many pods a budget lets go at once; it rounds percentages up (disruption.go)."""
    if "maxUnavailable" in spec:
        return scaled(spec["maxUnavailable"], pods)
    return pods - scaled(spec.get("minAvailable", 0), pods)
