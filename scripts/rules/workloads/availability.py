"""Availability: pods find places, nodes can be drained, blocks and JSON-RPC go on."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from scripts.core import paths
from scripts.core.findings import Severity
from scripts.kubernetes import resilience
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.resilience import ZONE
from scripts.kubernetes.workloads import Workload, mappings, selects, whole
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, picks, pod

_SPREAD = "https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/"
_AFFINITY = "https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/"
_BUDGETS = "https://kubernetes.io/docs/tasks/run-application/configure-pdb/"
_SCALING = "https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/"
_SURVIVAL = "docs/capacity.md"

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"

_TERMS = tuple(
    (kind, strictness)
    for kind in ("podAffinity", "podAntiAffinity")
    for strictness in (_REQUIRED, _PREFERRED)
)
_KEYS = (ZONE, "kubernetes.io/hostname", "topology.kubernetes.io/region")

_VALIDATORS = ("sequencer", "maru")
"""Components that are a validator together."""


@rule(_SPREAD)
def more_pods_than_places(objects: Objects) -> Iterator[Problem]:
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
            fix = f"write {places} pods at most, {_PREFERRED} for antiAffinity, or more zones"
            yield Problem(workload.manifest, _apart(workload, ZONE), message, fix)
            continue
        for path, constraint in _constraints(workload):
            skew, needed = (
                whole(constraint.get("maxSkew"), 1),
                whole(constraint.get("minDomains"), 1),
            )
            if not _is_hard(constraint, workload) or constraint.get("topologyKey") != ZONE:
                continue
            if needed > places and workload.most > skew * places:
                message = (
                    f"{told}: while they are in fewer than {needed} zones (minDomains), none may "
                    f"have more than {skew}, so {workload.most - skew * places} wait for ever"
                )
                fix = f"write minDomains: {places} or less, or more zones"
                yield Problem(workload.manifest, (*path, "minDomains"), message, fix)


@rule(_AFFINITY)
def zone_without_nodes(objects: Objects) -> Iterator[Problem]:
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
            path, _ = pod(workload)
            message = f"none of {', '.join(objects.zones)} is left to the pods: they never start"
            fix = "let the required node affinity allow one of them"
            yield Problem(workload.manifest, (*path, "affinity", "nodeAffinity"), message, fix)


@rule("https://kubernetes.io/docs/reference/labels-annotations-taints/")
def topology_key_misspelt(objects: Objects) -> Iterator[Problem]:
    """The topologyKey of an affinity or a spread is a label of nodes.

    With one that no node has, pods that must be somewhere wait as Pending, and nothing is kept
    apart.
    """
    for workload in objects.workloads:
        terms = [
            (path[:-1], term)
            for kind, field in _TERMS
            for path, term in _pod_terms(workload, kind, field)
        ]
        for path, term in (*terms, *_constraints(workload)):
            key = str(term.get("topologyKey"))
            near = difflib.get_close_matches(key, _KEYS, 1, 0.9)
            if near and key not in _KEYS:
                message = (
                    f"no node has the label {key}, by which {workload.manifest.label} is placed"
                )
                yield Problem(
                    workload.manifest, (*path, "topologyKey"), message, f"write {near[0]}"
                )


@rule("docs/chain.md")
def ethstats_more_than_once(objects: Objects) -> Iterator[Problem]:
    """EthStats has one pod.

    It keeps what nodes report in memory: of two, each knows some of the nodes, and the page shows
    now these and now those.
    """
    found = objects.component("ethstats")
    if found is not None and found.most > 1:
        message = f"there may be {found.most} pods of EthStats, each with a part of the nodes"
        yield Problem(*_counted(objects, found, "maxReplicas"), message, "write 1")


@rule("docs/capacity.md")
def zones_not_said(objects: Objects) -> Iterator[Problem]:
    """Production says which zones its nodes are in where pods must be spread over them.

    Else nobody can tell whether the pods find places, and what the loss of a zone takes.
    """
    if objects.zones or not objects.is_production:
        return
    for workload in objects.workloads:
        spread = any(
            _is_hard(one, workload) and one.get("topologyKey") == ZONE
            for _, one in _constraints(workload)
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
def blocks_never_come(objects: Objects) -> Iterator[Problem]:
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
def maru_away_from_its_sequencer(objects: Objects) -> Iterator[Problem]:
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


@rule(_SURVIVAL)
def chain_needs_every_validator(objects: Objects) -> Iterator[Problem]:
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


@rule(_SURVIVAL)
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
    if objects.zones and len(objects.zones) < enough:
        fix = f"{_MORE_ZONES}, or write {enough} zones; {_accept('chain-stops-with-a-zone')}"
        yield Problem(objects.application, ("zones",), message, fix)
        return
    fix = "write antiAffinity: hard for sequencer and maru"
    yield Problem(sequencer.manifest, _placing(sequencer), message, fix)


@rule(_SURVIVAL)
def validator_in_two_zones(objects: Objects) -> Iterator[Problem]:
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
        if _minor(objects.kubernetes_version) < _BY_ORDINAL:
            message += f": Kubernetes {objects.kubernetes_version} can't compare pods' ordinals"
            fix = f"upgrade the cluster to 1.{_BY_ORDINAL}; {_accept('validator-in-two-zones')}"
            yield Problem(objects.application, ("kubernetesVersion",), message, fix)
            return
        fix = (
            "write maru.beside: zone, or add its podAffinity to maru.affinity: to the sequencer, "
            "with matchLabelKeys: [apps.kubernetes.io/pod-index]"
        )
        yield Problem(maru.manifest, (*pod(maru)[0], "affinity"), message, fix)


@rule(_SURVIVAL)
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
        manifest, path = _counted(objects, besu, "minReplicas")
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


@rule(_BUDGETS)
def drain_never_ends(objects: Objects) -> Iterator[Problem]:
    """A PodDisruptionBudget lets a pod go when all are well.

    Else no node with one of them can be drained: upgrades of nodes wait, then kill the pods.
    """
    for manifest, spec, own in _budgets(objects):
        pods = sum(one.least for one in own)
        if pods and resilience.let_go(spec, pods) < 1:
            field = "maxUnavailable" if "maxUnavailable" in spec else "minAvailable"
            message = (
                f"{field} is {spec[field]} of {pods} pods, so none may go: no node with one of "
                "them can be drained"
            )
            fix = "write maxUnavailable: 1"
            yield Problem(manifest, ("spec", field), message, fix)


@rule(_BUDGETS)
def budget_beyond_quorum(objects: Objects) -> Iterator[Problem]:
    """A PodDisruptionBudget lets no more validators go at once than the chain can spare.

    Else two nodes that are drained together stop it.
    """
    spare = objects.chain.spare if objects.chain else 0
    for manifest, spec, own in _budgets(objects):
        pods = sum(one.least for one in own if one.manifest.component in _VALIDATORS)
        gone = min(resilience.let_go(spec, pods), pods)
        if pods > 1 and gone > max(1, spare):
            field = "minAvailable" if "minAvailable" in spec else "maxUnavailable"
            message = (
                f"the budget lets {gone} of {pods} validators go at once, and the chain goes on "
                f"without {max(0, spare)} only"
            )
            yield Problem(
                manifest, ("spec", field), message, f"write maxUnavailable: {max(1, spare)}"
            )


@rule(_BUDGETS)
def no_budget(objects: Objects) -> Iterator[Problem]:
    """In production a PodDisruptionBudget selects the pods of what has several.

    Else an upgrade of the nodes may take all of them at once.
    """
    if not objects.is_production:
        return
    kept = {id(one) for _, _, own in _budgets(objects) for one in own}
    if not all(own for _, _, own in _budgets(objects)):
        return  # the budget that is meant selects nothing, which is told
    for workload in objects.workloads:
        if workload.least > 1 and id(workload) not in kept and workload.manifest.kind != "Job":
            message = (
                f"no PodDisruptionBudget selects the {workload.least} pods: drains may take all of "
                "them at once"
            )
            fix = "write podDisruptionBudget: {enabled: true, maxUnavailable: 1}"
            yield Problem(*_counted(objects, workload, "minReplicas"), message, fix)


@rule(_BUDGETS)
def budget_of_nothing(objects: Objects) -> Iterator[Problem]:
    """A PodDisruptionBudget keeps one of several pods.

    Else drains may take all of them at once, as if it were not there.
    """
    for manifest, spec, own in _budgets(objects):
        pods = sum(one.least for one in own)
        of_chain = any(one.manifest.component in _VALIDATORS for one in own)
        if pods > 1 and resilience.let_go(spec, pods) >= pods and not of_chain:
            field = "maxUnavailable" if "maxUnavailable" in spec else "minAvailable"
            message = (
                f"{field} is {spec.get(field)} of {pods} pods: drains may take all of them at once"
            )
            yield Problem(manifest, ("spec", field), message, "write maxUnavailable: 1")


@rule(_BUDGETS + "#unhealthy-pod-eviction-policy", Severity.WARNING)
def budget_keeps_broken_pods(objects: Objects) -> Iterator[Problem]:
    """A PodDisruptionBudget lets pods go that are not ready anyway.

    Kubernetes' default keeps them where others are away, too: a node with a pod that never becomes
    ready can't be drained, and an upgrade of the cluster stops there.
    """
    # The field is there from 1.27 on.
    there = int(objects.kubernetes_version.partition(".")[2]) >= 27
    for manifest, spec, own in _budgets(objects) if there else ():
        if own and spec.get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
            message = "pods that are not ready hold up drains, as those do that serve"
            path = ("spec", "unhealthyPodEvictionPolicy")
            fix = "write unhealthyPodEvictionPolicy: AlwaysAllow"
            yield Problem(manifest, path, message, fix)


@rule(_AFFINITY + "#inter-pod-affinity-and-anti-affinity")
def affinity_against_itself(objects: Objects) -> Iterator[Problem]:
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
                path = (*pod(own)[0], "affinity", "podAntiAffinity")
                yield Problem(own.manifest, path, message, fix)


@rule(
    "https://kubernetes.io/docs/tasks/run-application/configure-pdb/#specifying-a-poddisruptionbudget",
    outcome=Outcome.REJECTED,
)
def budget_with_two_bounds(objects: Objects) -> Iterator[Problem]:
    """A PodDisruptionBudget says minAvailable or maxUnavailable, not both.

    Else Kubernetes refuses it.
    """
    for manifest, spec, _ in _budgets(objects):
        if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
            message = "minAvailable and maxUnavailable are both set: Kubernetes refuses that"
            yield Problem(
                manifest, ("spec", "minAvailable"), message, "keep maxUnavailable: 1 only"
            )


@rule(_SCALING, outcome=Outcome.REJECTED)
def autoscaler_bounds_crossed(objects: Objects) -> Iterator[Problem]:
    """An autoscaler's minReplicas is no more than its maxReplicas.

    Else Kubernetes refuses it.
    """
    for manifest in objects.of_kind("HorizontalPodAutoscaler"):
        least = whole(paths.get(manifest.object, ("spec", "minReplicas")), 1)
        most = whole(paths.get(manifest.object, ("spec", "maxReplicas")), least)
        if least > most:
            message = f"minReplicas is {least}, and maxReplicas {most}: Kubernetes refuses that"
            fix = f"write minReplicas: {most} or less, or maxReplicas: {least} or more"
            yield Problem(manifest, ("spec", "minReplicas"), message, fix)


@rule(_SCALING)
def replicas_outside_autoscaler(objects: Objects) -> Iterator[Problem]:
    """Replicas of what an autoscaler scales are within its bounds, or left to it.

    Else whatever applies them starts or stops pods that the autoscaler then stops or starts again.
    """
    for workload in objects.workloads:
        replicas = workload.get("spec", "replicas")
        scalers = objects.autoscalers.get((workload.manifest.kind, workload.manifest.name), ())
        if not scalers or not isinstance(replicas, int):
            continue
        if not workload.least <= replicas <= workload.most:
            message = (
                f"replicas is {replicas}, and {scalers[0].label} keeps {workload.least} to "
                f"{workload.most} pods: each undoes what the other did"
            )
            fix = "leave replicas out: the autoscaler owns it"
            yield Problem(workload.manifest, ("spec", "replicas"), message, fix)


@rule("https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/")
def no_replicas(objects: Objects) -> Iterator[Problem]:
    """What is in an environment runs there.

    With no replicas everything is there but the pods, and nothing else says that it is off.
    """
    for workload in objects.workloads:
        if workload.manifest.kind in ("Deployment", "StatefulSet") and not workload.least:
            name = workload.manifest.component or workload.manifest.name
            manifest, path = _counted(objects, workload, "minReplicas")
            message = f"there are 0 pods of {name}, and its Service, volumes and alerts stay"
            yield Problem(manifest, path, message, f"write 1 or more, or {name}.enabled: false")


_MORE_ZONES = "add the profile three-zones, with six validators"

_BY_ORDINAL = 31
"""The minor version of Kubernetes from which on affinities have matchLabelKeys (KEP-3633)."""


def _accept(rule_id: str) -> str:
    """Return the advice for a risk that the cluster imposes, so that no date ends it."""
    return f"if the cluster can't have that, accept it: accepts with rule: {rule_id}"


def _minor(version: str) -> int:
    return int(version.partition(".")[2])


def _placing(workload: Workload) -> Where:
    """Return the path of what spreads a workload's pods, as far as anything does."""
    start, spec = pod(workload)
    apart = ("affinity", "podAntiAffinity")
    places: tuple[Where, ...] = (
        ("topologySpreadConstraints", 0, "whenUnsatisfiable"),
        (*apart, _REQUIRED, 0, "topologyKey"),
        (*apart, _PREFERRED, 0, "weight"),
    )
    return (*start, *next((path for path in places if paths.has(spec, path)), ("affinity",)))


def _zones(count: int) -> str:
    return "one zone" if count == 1 else f"{count} zones"


def _constraints(workload: Workload) -> Iterator[tuple[Where, dict[str, Any]]]:
    """Yield the spread constraints of a workload's pods, each with its path."""
    path, spec = pod(workload)
    for index, constraint in mappings(spec.get("topologySpreadConstraints")):
        yield (*path, "topologySpreadConstraints", index), constraint


def _is_hard(constraint: Mapping[str, Any], workload: Workload) -> bool:
    """Return whether pods wait rather than break a constraint, which is about them."""
    return constraint.get("whenUnsatisfiable") == "DoNotSchedule" and selects(
        constraint.get("labelSelector"), workload.labels
    )


def _pod_terms(
    workload: Workload, affinity: str, kind: str
) -> Iterator[tuple[Where, dict[str, Any]]]:
    """Yield the terms about pods of the same namespace, each with its selector's path."""
    start, spec = pod(workload)
    path: Where = (*start, "affinity", affinity, kind)
    for index, item in mappings(paths.get(spec, ("affinity", affinity, kind))):
        inner = ("podAffinityTerm",) if kind == _PREFERRED else ()
        term = paths.get(item, inner)
        if isinstance(term, dict) and not term.keys() & {"namespaces", "namespaceSelector"}:
            yield (*path, index, *inner, "labelSelector"), term


def _void_affinities(
    objects: Objects, workload: Workload
) -> Iterator[tuple[Where, dict[str, Any]]]:
    """Yield the required affinities to no pod that there is."""
    for path, term in _pod_terms(workload, "podAffinity", _REQUIRED):
        if not _selected(objects, term):
            yield path, term


def _void_spreads(objects: Objects, workload: Workload) -> Iterator[tuple[Where, dict[str, Any]]]:
    """Yield the anti-affinities to no pod that there is, and the constraints on others' pods."""
    for kind in (_REQUIRED, _PREFERRED):
        for path, term in _pod_terms(workload, "podAntiAffinity", kind):
            if not _selected(objects, term):
                yield path, term
    for path, constraint in _constraints(workload):
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


def _apart(workload: Workload, key: str) -> Where:
    """Return the path of what forbids two pods in one domain."""
    for path, term in _pod_terms(workload, "podAntiAffinity", _REQUIRED):
        if term.get("topologyKey") == key and selects(term.get("labelSelector"), workload.labels):
            return (*path[:-1], "topologyKey")
    return (*pod(workload)[0], "affinity")


def _asked(workload: Workload) -> Iterator[tuple[Where, Any]]:
    """Yield the zones that pods must be in, each with its path."""
    start, spec = pod(workload)
    selected = paths.get(spec, ("nodeSelector", ZONE))
    if selected is not None:
        yield (*start, "nodeSelector", ZONE), selected
    inner = ("affinity", "nodeAffinity", _REQUIRED, "nodeSelectorTerms")
    for index, term in mappings(paths.get(spec, inner)):
        for number, expression in mappings(term.get("matchExpressions")):
            values = expression.get("values")
            if expression.get("key") != ZONE or expression.get("operator") != "In":
                continue
            for place, value in enumerate(values if isinstance(values, list) else ()):
                path: Where = (*start, *inner, index, "matchExpressions", number, "values", place)
                yield path, value


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


def _budgets(objects: Objects) -> Iterator[tuple[Manifest, dict[str, Any], list[Workload]]]:
    """Yield the PodDisruptionBudgets, each with its spec and with what it selects."""
    for manifest in objects.of_kind("PodDisruptionBudget"):
        spec = manifest.object.get("spec")
        if isinstance(spec, dict):
            yield manifest, spec, objects.selected(spec.get("selector"))


def _counted(objects: Objects, workload: Workload, bound: str) -> tuple[Manifest, Where]:
    """Return where the number of pods is said: by the autoscaler, or by the workload."""
    scalers = objects.autoscalers.get((workload.manifest.kind, workload.manifest.name))
    return (scalers[0], ("spec", bound)) if scalers else (workload.manifest, ("spec", "replicas"))
