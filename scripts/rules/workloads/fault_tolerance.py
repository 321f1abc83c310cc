"""Fault tolerance: block production and JSON-RPC survive the loss of a validator, node or zone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from scripts.core import advice, paths
from scripts.kubernetes import minor_version, resilience
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.resilience import ZONE
from scripts.kubernetes.workloads import Workload, picks, selects
from scripts.rules import chart_values
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
"""The components of a validator."""


@rule("docs/capacity.md", outcome=Outcome.RISK)
def missing_zones(objects: Objects) -> Iterator[Problem]:
    """In production, environment.yaml lists the zones if pods must be spread over zones.

    Otherwise other rules can't check whether the pods can be scheduled, and what the loss of a zone
    stops.
    """
    if objects.zones or not objects.is_production:
        return
    for workload in objects.workloads:
        spread = any(
            is_hard(constraint, workload) and constraint.get("topologyKey") == ZONE
            for _, constraint in constraints(workload)
        )
        if spread or resilience.apart(workload, ZONE):
            message = (
                f"pods of {workload.manifest.label} must be in different zones, but "
                f"overlays/{objects.name}/environment.yaml has no zones: validate can't check "
                "whether there are enough"
            )
            fix = (
                "add the zones of the cluster's nodes (label topology.kubernetes.io/zone), for "
                "example zones: [us-east-1a, us-east-1b, us-east-1c]"
            )
            yield Problem(objects.application, (), message, fix)
            return


@rule(_SURVIVAL)
def too_few_schedulable_validators(objects: Objects) -> Iterator[Problem]:
    """Enough validators can be scheduled for the quorum.

    Otherwise the chain never produces a block.
    """
    chain, sequencer, maru = objects.chain, *map(objects.component, _VALIDATORS)
    if chain is None or sequencer is None or maru is None or chain.spare >= 0:
        return
    pairs = min(sequencer.least, maru.least)
    if chain.running < pairs or not pairs:
        return  # reported by unschedulable-maru and zero-replicas
    message = (
        f"a block needs {chain.quorum} of {chain.validators} validators, and only {chain.running} "
        "can run: the chain never produces a block"
    )
    fewer = min(sequencer, maru, key=lambda workload: workload.least)
    fix = _replicas(chain.validators, sequencer, maru)
    yield Problem(fewer.manifest, ("spec", "replicas"), message, fix)


@rule(_SURVIVAL)
def unschedulable_maru(objects: Objects) -> Iterator[Problem]:
    """Each Maru can be scheduled where its sequencer is, if it must be there.

    Otherwise it stays Pending, and its validator is down.
    """
    stranded, (sequencer, maru) = _stranded(objects), map(objects.component, _VALIDATORS)
    if stranded and sequencer and maru and not _selects_nothing(objects, *_VALIDATORS):
        is_zone = resilience.together(maru, sequencer) == ZONE
        place, domain = ("in the zone", "zone") if is_zone else ("on the node", "zone or node")
        message = (
            f"each Maru must be {place} of its sequencer, but a {domain} may run more "
            f"sequencers than Marus: {stranded} of {maru.least} Marus may stay Pending"
        )
        odd, other = (maru, sequencer) if resilience.apart(sequencer, ZONE) else (sequencer, maru)
        fix = (
            f"in the values, write for {odd.manifest.component} the antiAffinity and "
            f"topologySpreadConstraints of {other.manifest.component}"
        )
        yield Problem(odd.manifest, _placing(odd), message, fix)


@rule(_SURVIVAL, outcome=Outcome.RISK)
def no_validator_may_fail(objects: Objects) -> Iterator[Problem]:
    """In production, the chain produces blocks without any one of its validators.

    Otherwise each update, each drained node and each crash stops the chain until it is over.
    """
    chain, (sequencer, maru) = objects.chain, map(objects.component, _VALIDATORS)
    if not objects.is_production or chain is None or chain.spare != 0 or not sequencer or not maru:
        return
    message = (
        f"a block needs {chain.quorum} of {chain.validators} validators, and only {chain.running} "
        "run: the chain stops if any of these is down"
    )
    if chain.validators == 1:
        message = (
            "there is only one validator: the chain stops if its pod, its node or its zone is down"
        )
    fix = 'create a new chain with 4 validators: see "Start over" in docs/network.md'
    if chain.validators > chain.running:
        fix = _replicas(chain.validators, sequencer, maru)
    fewer = min(sequencer, maru, key=lambda workload: workload.least)
    yield Problem(fewer.manifest, ("spec", "replicas"), message, fix)


@rule(_SURVIVAL, outcome=Outcome.RISK)
def chain_stops_with_a_zone(objects: Objects) -> Iterator[Problem]:
    """In production, the chain produces blocks without any one node or zone.

    Otherwise it stops if that node or zone is down. The rule assumes the worst placement that the
    scheduler may choose.
    """
    chain, sequencer = objects.chain, objects.component("sequencer")
    if not objects.is_production or chain is None or sequencer is None or chain.spare < 1:
        return
    most, place = max((chain.zone, "zone"), (chain.node, "node"))
    if most <= chain.spare or _is_split(objects) or _selects_nothing(objects, *_VALIDATORS):
        return
    enough = -(-chain.validators // chain.spare)
    message = (
        f"one {place} may run {most} of {chain.running} validators, and a block needs "
        f"{chain.quorum}: the chain stops if that {place} is down"
    )
    if objects.zones and len(objects.zones) < enough:
        result = (
            f"No block is produced while the {place} with {most} of {chain.running} validators is"
        )
        fix = (
            f"{_in_settings(objects)}, list {enough} zones, if the cluster has them; otherwise add "
            "three-zones, which has six validators, to profiles, or accept the risk: "
            f"{_accepted('chain-stops-with-a-zone', f'{result} down.')}"
        )
        yield Problem(objects.application, ("zones",), message, fix)
        return
    fix = advice.write_values("sequencer.antiAffinity", "hard")
    fix += " and " + advice.write_values("maru.antiAffinity", "hard").without_verb()
    fix += f" in {chart_values.file(objects)}"
    yield Problem(sequencer.manifest, _placing(sequencer), message, fix)


@rule(_SURVIVAL, outcome=Outcome.RISK)
def validator_split_over_zones(objects: Objects) -> Iterator[Problem]:
    """In production, a sequencer and its Maru are in the same zone.

    Otherwise the loss of one zone may stop the sequencer of one validator and the Maru of another,
    which are two validators, and the chain stops.
    """
    maru, chain = objects.component("maru"), objects.chain
    if maru is None or chain is None or _selects_nothing(objects, *_VALIDATORS):
        return
    if _is_split(objects):
        message = (
            f"Maru may be in another zone than its sequencer: if a zone is down, {chain.zone} of "
            f"{chain.validators} validators may be down, and a block needs {chain.quorum}"
        )
        if minor_version.number(objects.kubernetes_version) < _BY_ORDINAL:
            message += (
                f". Kubernetes {objects.kubernetes_version} can't keep them together: affinities "
                f"have matchLabelKeys from 1.{_BY_ORDINAL} on"
            )
            result = "No block is produced while a zone with parts of two validators is down."
            fix = (
                f"upgrade the cluster to Kubernetes 1.{_BY_ORDINAL}, and update kubernetesVersion; "
                f"until then, accept the risk {_in_settings(objects)}: "
                f"{_accepted('validator-split-over-zones', result)}"
            )
            yield Problem(objects.application, ("kubernetesVersion",), message, fix)
            return
        fix = advice.write_values(
            "maru.beside", "zone", f" in {chart_values.file(objects)}"
        ).unless(
            "; if you have set maru.affinity, add instead to its podAffinity: "
            f"{{{REQUIRED}: [{{topologyKey: {ZONE}, labelSelector: "
            "{matchLabels: {app.kubernetes.io/component: sequencer}}, matchLabelKeys: "
            "[apps.kubernetes.io/pod-index]}]}"
        )
        yield Problem(maru.manifest, (*maru.pod_path, "affinity"), message, fix)


@rule(_SURVIVAL, outcome=Outcome.RISK)
def rpc_stops_with_a_zone(objects: Objects) -> Iterator[Problem]:
    """In production, JSON-RPC is available without any one node or zone.

    Otherwise it is unavailable if that node or zone is down. The rule assumes the worst placement
    that the scheduler may choose.
    """
    besu = objects.component("besu")
    if not objects.is_production or besu is None or not besu.least:
        return
    # Of the fewest pods. A scale-down may leave any of them, but seldom all in one zone.
    spread = resilience.spread(replace(besu, most=besu.least), objects.zones)
    if besu.least < 2:
        manifest, path = counted(objects, besu, "minReplicas")
        message = (
            "only one pod of Besu serves JSON-RPC, which is unavailable if the pod, its node or "
            "its zone is down"
        )
        yield Problem(manifest, path, message, advice.write(path[-1], 2))
    elif spread.zone >= spread.pods and spread.pods and not _selects_nothing(objects, "besu"):
        place = "node" if spread.node >= spread.pods else "zone"
        message = (
            f"one {place} may run all {spread.pods} pods of Besu: JSON-RPC is unavailable if that "
            f"{place} is down"
        )
        fix = (
            f"in {chart_values.file(objects)}, write besu.topologySpreadConstraints: "
            f"[{{topologyKey: {ZONE}, maxSkew: 1, whenUnsatisfiable: DoNotSchedule}}]"
        )
        yield Problem(besu.manifest, _placing(besu), message, fix)


_BY_ORDINAL = 31
"""Minor version of Kubernetes from which affinities have matchLabelKeys (KEP-3633)."""


def _in_settings(objects: Objects) -> str:
    return f"in overlays/{objects.name}/environment.yaml"


def _accepted(rule_id: str, consequence: str) -> str:
    """Return the setting by which an environment accepts a risk that its cluster imposes."""
    return f'accepts: [{{rule: {rule_id}, consequence: "{consequence}"}}]'


def _replicas(count: int, *workloads: Workload) -> str:
    """Return a fix: the replicas of those workloads that have fewer."""
    fewer = [workload.manifest.label for workload in workloads if workload.least < count]
    return f"write replicas: {count} for {' and '.join(fewer)}"


def _placing(workload: Workload) -> Where:
    """Return the path of the constraint or anti-affinity that spreads a workload's pods, if any."""
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
    """Yield the required affinities that select no existing pod."""
    for path, term in pod_terms(workload, "podAffinity", REQUIRED):
        if not _selected(objects, term):
            yield path, term


def _void_spreads(objects: Objects, workload: Workload) -> Iterator[tuple[Where, dict[str, Any]]]:
    """Yield the anti-affinities that select no pod, and constraints that select other pods."""
    for kind in (REQUIRED, PREFERRED):
        for path, term in pod_terms(workload, "podAntiAffinity", kind):
            if not _selected(objects, term):
                yield path, term
    for path, constraint in constraints(workload):
        if not selects(constraint.get("labelSelector"), workload.labels):
            yield (*path, "labelSelector"), constraint


def _selects_nothing(objects: Objects, *components: str) -> bool:
    """Return whether affinities of a component select nothing, which other rules report."""
    return any(
        any(terms(objects, workload))
        for workload in map(objects.component, components)
        if workload is not None
        for terms in (_void_affinities, _void_spreads)
    )


def _selected(objects: Objects, term: Mapping[str, Any]) -> bool:
    """Return whether a term selects a pod that always exists."""
    return any(picks(term.get("labelSelector"), w, least=True) for w in objects.workloads)


def _stranded(objects: Objects) -> int:
    """Return how many Marus may not be schedulable where their sequencers are."""
    sequencer, maru = objects.component("sequencer"), objects.component("maru")
    key = resilience.together(maru, sequencer) if maru and sequencer else None
    if maru is None or sequencer is None or key is None:
        return 0
    first = resilience.spread(sequencer, objects.zones)
    return max(0, min(first.pods, maru.least) - resilience.followed(sequencer, maru, first, key))


def _is_split(objects: Objects) -> bool:
    """Return whether a zone is critical only because validators may be split over zones."""
    sequencer, maru, chain = (
        objects.component("sequencer"),
        objects.component("maru"),
        objects.chain,
    )
    if not objects.is_production or not sequencer or not maru or not chain or chain.spare < 1:
        return False
    if chain.zone <= chain.spare or resilience.together(maru, sequencer):
        return False
    first, second = (resilience.spread(w, objects.zones) for w in (sequencer, maru))
    return min(first.zone, second.zone) <= chain.spare
