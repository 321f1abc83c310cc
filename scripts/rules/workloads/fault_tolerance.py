"""Fault tolerance: blocks and JSON-RPC go on without a node, a zone or a validator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from scripts.core import paths
from scripts.kubernetes import resilience
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.resilience import ZONE
from scripts.kubernetes.workloads import Workload, picks, selects
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects
from scripts.rules.workloads.placing import (
    PREFERRED,
    REQUIRED,
    constraints,
    counted,
    is_hard,
    pod_terms,
)

_SURVIVAL = "docs/capacity.md"
_VALIDATORS = ("sequencer", "maru")
"""Components that are a validator together."""


@rule("docs/capacity.md", outcome=Outcome.RISK)
def missing_zones(objects: Objects) -> Iterator[Problem]:
    """Production says which zones its nodes are in where pods must be spread over them.

    Else nobody can tell whether the pods find places, and what the loss of a zone takes.
    """
    if objects.zones or not objects.is_production:
        return
    for workload in objects.workloads:
        spread = any(
            is_hard(one, workload) and one.get("topologyKey") == ZONE
            for _, one in constraints(workload)
        )
        if spread or resilience.apart(workload, ZONE):
            message = (
                f"pods of {workload.manifest.label} must be in different zones, and zones is not "
                "given: nobody can tell whether there are enough"
            )
            fix = "write zones: those that the nodes are in, as topology.kubernetes.io/zone says"
            yield Problem(objects.application, (), message, fix)
            return


@rule(_SURVIVAL)
def too_few_schedulable_validators(objects: Objects) -> Iterator[Problem]:
    """As many validators find a place as a block needs.

    Else the chain stands still from the start.
    """
    found, sequencer, maru = objects.chain, *map(objects.component, _VALIDATORS)
    if found is None or sequencer is None or maru is None or found.spare >= 0:
        return
    pairs = min(sequencer.least, maru.least)
    if found.running < pairs or not pairs:
        return  # told where they find no place, and where there are none
    message = (
        f"a block needs {found.quorum} of {found.validators} validators, and {found.running} may "
        "run: the chain never makes one"
    )
    fix = f"write {found.validators} replicas for sequencer and maru, one for each validator"
    fewer = min(sequencer, maru, key=lambda one: one.least)
    yield Problem(fewer.manifest, ("spec", "replicas"), message, fix)


@rule(_SURVIVAL)
def unschedulable_maru(objects: Objects) -> Iterator[Problem]:
    """Every Maru that must be beside its sequencer finds a place there.

    Else it waits as Pending for ever, and its validator is away.
    """
    stranded, (sequencer, maru) = _stranded(objects), map(objects.component, _VALIDATORS)
    if stranded and sequencer and maru and not _is_void(objects, *_VALIDATORS):
        message = (
            f"each Maru must be where its sequencer is, and other rules for Maru than for the "
            f"sequencer may keep {stranded} of {maru.least} from there: they never start"
        )
        fix = "write the same antiAffinity and topologySpreadConstraints for maru and sequencer"
        odd = maru if resilience.apart(sequencer, ZONE) else sequencer
        yield Problem(odd.manifest, _placing(odd), message, fix)


@rule(_SURVIVAL, outcome=Outcome.RISK)
def no_validator_may_fail(objects: Objects) -> Iterator[Problem]:
    """In production blocks go on without one of the validators.

    Else each update, each drained node and each crash stops the chain for as long as it takes.
    """
    found, (sequencer, maru) = objects.chain, map(objects.component, _VALIDATORS)
    if not objects.is_production or found is None or found.spare != 0 or not sequencer or not maru:
        return
    message = (
        f"a block needs {found.quorum} of {found.validators} validators, and {found.running} run "
        "here: the chain stops with any of them"
    )
    if found.validators == 1:
        message = "there is one validator: the chain stops with its pod, its node or its zone"
    fix = "make a network of four validators or more (nox -s network), and run all of them"
    if found.validators > found.running:
        fix = f"write {found.validators} replicas for sequencer and maru"
    fewer = min(sequencer, maru, key=lambda one: one.least)
    yield Problem(fewer.manifest, ("spec", "replicas"), message, fix)


@rule(_SURVIVAL, outcome=Outcome.RISK)
def chain_stops_with_a_zone(objects: Objects) -> Iterator[Problem]:
    """In production blocks go on without any one node and any one zone.

    Else the chain stops with it, wherever the scheduler happens to put the validators.
    """
    found, sequencer = objects.chain, objects.component("sequencer")
    if not objects.is_production or found is None or sequencer is None or found.spare < 1:
        return
    most, place = max((found.zone, "zone"), (found.node, "node"))
    if most <= found.spare or _torn(objects) or _is_void(objects, *_VALIDATORS):
        return
    enough = -(-found.validators // found.spare)
    message = (
        f"one {place} may have {most} of {found.running} validators, and a block needs "
        f"{found.quorum}: the chain stops with it"
    )
    fix = "write antiAffinity: hard for sequencer and maru"
    if objects.zones:
        fix += f", and {enough} zones" if len(objects.zones) < enough else ""
    yield Problem(sequencer.manifest, _placing(sequencer), message, fix)


@rule(_SURVIVAL, outcome=Outcome.RISK)
def validator_split_over_zones(objects: Objects) -> Iterator[Problem]:
    """In production a sequencer and its Maru are in the same zone.

    A validator is both: else the loss of a zone takes a half of one and a half of another, which
    are two, and the chain stops.
    """
    maru, found = objects.component("maru"), objects.chain
    if maru is None or found is None or _is_void(objects, *_VALIDATORS):
        return
    if _torn(objects):
        message = (
            f"nothing keeps a Maru in the zone of its sequencer: one zone may have halves of "
            f"{found.zone} validators, and the chain goes on without {found.spare} only"
        )
        fix = (
            "leave maru.affinity to the chart, or add its podAffinity: to the sequencer, with "
            "matchLabelKeys: [apps.kubernetes.io/pod-index]"
        )
        yield Problem(maru.manifest, (*maru.pod_path, "affinity"), message, fix)


@rule(_SURVIVAL, outcome=Outcome.RISK)
def rpc_stops_with_a_zone(objects: Objects) -> Iterator[Problem]:
    """In production JSON-RPC answers without any one node and any one zone.

    Else it is gone with it, wherever the scheduler happens to put the pods of Besu.
    """
    besu = objects.component("besu")
    if not objects.is_production or besu is None or not besu.least:
        return
    # Not as after a scaling down: that may leave any pods, and seldom leaves all in one zone.
    found = resilience.spread(replace(besu, most=besu.least), objects.zones)
    if besu.least < 2:
        manifest, path = counted(objects, besu, "minReplicas")
        message = "one pod of Besu answers JSON-RPC: none does while it, its node or zone is away"
        yield Problem(manifest, path, message, "write 2 or more")
    elif found.zone >= found.pods and found.pods and not _is_void(objects, "besu"):
        place = "node" if found.node >= found.pods else "zone"
        message = f"one {place} may have all {found.pods} pods of Besu: JSON-RPC is gone with it"
        fix = (
            f"write in besu.topologySpreadConstraints one of {ZONE} with maxSkew: 1 and "
            f"whenUnsatisfiable: DoNotSchedule, in overlays/{objects.name}/values.yaml"
        )
        yield Problem(besu.manifest, _placing(besu), message, fix)


def _placing(workload: Workload) -> Where:
    """Return the path of what spreads a workload's pods, as far as anything does."""
    start, spec = workload.pod_path, workload.pod_spec
    apart = ("affinity", "podAntiAffinity")
    places: tuple[Where, ...] = (
        ("topologySpreadConstraints", 0, "whenUnsatisfiable"),
        (*apart, REQUIRED, 0, "topologyKey"),
        (*apart, PREFERRED, 0, "weight"),
    )
    return (*start, *next((path for path in places if paths.has(spec, path)), ("affinity",)))


def _void_affinities(
    objects: Objects, workload: Workload
) -> Iterator[tuple[Where, dict[str, Any]]]:
    """Yield the required affinities to no pod that there is."""
    for path, term in pod_terms(workload, "podAffinity", REQUIRED):
        if not _selected(objects, term):
            yield path, term


def _void_spreads(objects: Objects, workload: Workload) -> Iterator[tuple[Where, dict[str, Any]]]:
    """Yield the anti-affinities to no pod that there is, and the constraints on others' pods."""
    for kind in (REQUIRED, PREFERRED):
        for path, term in pod_terms(workload, "podAntiAffinity", kind):
            if not _selected(objects, term):
                yield path, term
    for path, constraint in constraints(workload):
        if not selects(constraint.get("labelSelector"), workload.labels):
            yield (*path, "labelSelector"), constraint


def _is_void(objects: Objects, *components: str) -> bool:
    """Return whether a part's affinities are told by themselves, as they select nothing."""
    return any(
        any(found(objects, workload))
        for workload in map(objects.component, components)
        if workload is not None
        for found in (_void_affinities, _void_spreads)
    )


def _selected(objects: Objects, term: Mapping[str, Any]) -> bool:
    """Return whether a term is about any pod that is always there."""
    return any(picks(term.get("labelSelector"), one, least=True) for one in objects.workloads)


def _stranded(objects: Objects) -> int:
    """Return how many Marus may find no place beside their sequencers."""
    sequencer, maru = objects.component("sequencer"), objects.component("maru")
    key = resilience.together(maru, sequencer) if maru and sequencer else None
    if maru is None or sequencer is None or key is None:
        return 0
    first = resilience.spread(sequencer, objects.zones)
    return max(0, min(first.pods, maru.least) - resilience.followed(sequencer, maru, first, key))


def _torn(objects: Objects) -> bool:
    """Return whether the chain stops with a zone only because it may have halves of validators."""
    sequencer, maru, found = (
        objects.component("sequencer"),
        objects.component("maru"),
        objects.chain,
    )
    if not objects.is_production or not sequencer or not maru or not found or found.spare < 1:
        return False
    if found.zone <= found.spare or resilience.together(maru, sequencer):
        return False
    first, second = (resilience.spread(one, objects.zones) for one in (sequencer, maru))
    return min(first.zone, second.zone) <= found.spare
