"""What an environment survives, held against every placement that the scheduler may choose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.kubernetes import resilience
from scripts.kubernetes.manifest import Manifest
from scripts.kubernetes.resilience import NODE, ZONE, Chain
from scripts.kubernetes.workloads import workloads
from tests import objects
from tests.conftest import Repository

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"

Place = tuple[int, int]
"""Zone and node in it."""
Placement = tuple[Place | None, ...]
"""By ordinal; None for a pod that waits."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the scheduler must obey for the pods of one workload."""

    apart: str | None = None
    """The topology in which no two may share a domain."""
    over_zones: tuple[int, int] | None = None
    """maxSkew and minDomains."""
    over_nodes: int | None = None
    """maxSkew."""


def workload(name: str, rules: Rules, replicas: int, beside: str | None = None) -> Manifest:
    labels = {"app.kubernetes.io/component": name}
    selector = {"matchLabels": labels}
    affinity: dict[str, Any] = {}
    if rules.apart:
        term = {"topologyKey": rules.apart, "labelSelector": selector}
        affinity["podAntiAffinity"] = {REQUIRED: [term]}
    if beside:
        other = {"matchLabels": {"app.kubernetes.io/component": "sequencer"}}
        keys = ["apps.kubernetes.io/pod-index"]
        term = {"topologyKey": beside, "labelSelector": other, "matchLabelKeys": keys}
        affinity["podAffinity"] = {REQUIRED: [term]}
    constraints = []
    if rules.over_zones:
        skew, domains = rules.over_zones
        constraints.append({"topologyKey": ZONE, "maxSkew": skew, "minDomains": domains})
    if rules.over_nodes:
        constraints.append({"topologyKey": NODE, "maxSkew": rules.over_nodes})
    for constraint in constraints:
        constraint |= {"whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector}
    spec = {"affinity": affinity, "topologySpreadConstraints": constraints}
    return Manifest(
        {
            "kind": "StatefulSet",
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "replicas": replicas,
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        },
        "test",
    )


def may_go(rules: Rules, there: Sequence[Place], to: Place, zones: int, nodes: int) -> bool:
    """Return whether the scheduler may put one more pod there: its filters, one by one."""
    if rules.apart == ZONE and any(zone == to[0] for zone, _ in there):
        return False
    if rules.apart == NODE and to in there:
        return False
    if rules.over_zones:
        skew, needed = rules.over_zones
        counts = [sum(zone == z for zone, _ in there) for z in range(zones)]
        emptiest = min(counts) if zones >= needed else 0
        if counts[to[0]] + 1 - emptiest > skew:
            return False
    if rules.over_nodes:
        each = [there.count((z, n)) for z in range(zones) for n in range(nodes)]
        return there.count(to) + 1 - min(each) <= rules.over_nodes
    return True


def placements(
    pods: int,
    rules: Rules,
    zones: int,
    nodes: int,
    beside: str | None = None,
    others: Placement = (),
) -> set[Placement]:
    """Return every way in which pods that come in any order end up, waiting ones included.

    Of zones, and of nodes in one, that are alike, only the first unused one is tried.
    """
    seen, ends = set[Placement](), set[Placement]()
    left: list[Placement] = [(None,) * pods]
    while left:
        state = left.pop()
        if state in seen:
            continue
        seen.add(state)
        there = [place for place in state if place]
        further = []
        for pod in range(pods):
            if state[pod] is None:
                further += [
                    (*state[:pod], place, *state[pod + 1 :])
                    for place in candidates(there, others, pod, beside, zones, nodes)
                    if may_go(rules, there, place, zones, nodes)
                ]
        left += further
        if not further:
            ends.add(state)
    return ends


def candidates(
    there: Sequence[Place],
    others: Placement,
    pod: int,
    beside: str | None,
    zones: int,
    nodes: int,
) -> Iterator[Place]:
    known = [*there, *(place for place in others if place)]
    other = others[pod] if beside else None
    if beside and other is None:
        return
    if beside == NODE:
        assert other
        yield other
        return
    used = max((zone for zone, _ in known), default=-1)
    for zone in [other[0]] if other else range(min(zones, used + 2)):
        last = max((node for z, node in known if z == zone), default=-1)
        yield from ((zone, node) for node in range(min(nodes, last + 2)))


def masks(placement: Placement, over: str, others: Placement = ()) -> list[frozenset[int]]:
    """Return which ordinals each domain holds, of either placement."""
    domains: dict[Any, set[int]] = {}
    for pod, place in (*enumerate(placement), *enumerate(others)):
        if place:
            domains.setdefault(place[0] if over == ZONE else place, set()).add(pod)
    return [frozenset(), *map(frozenset, domains.values())]


def worst(
    pairs: int, first: Rules, second: Rules, zones: int, nodes: int, beside: str | None
) -> Chain:
    """Return the validators at worst, by trying every placement."""
    running, lost = pairs, {ZONE: 0, NODE: 0}
    sequencers = placements(pairs, first, zones, nodes)
    if beside is None:
        # Each placement of the one goes with each of the other, so any two domains may be one.
        marus = placements(pairs, second, zones, nodes)
        for over in lost:
            one = {mask for placement in sequencers for mask in masks(placement, over)}
            other = {mask for placement in marus for mask in masks(placement, over)}
            lost[over] = max(len(a | b) for a in one for b in other)
        waiting = {frozenset(i for i, at in enumerate(p) if not at) for p in sequencers}
        others = {frozenset(i for i, at in enumerate(p) if not at) for p in marus}
        running -= max(len(a | b) for a in waiting for b in others)
        return Chain(pairs, running, lost[ZONE], lost[NODE])
    for mine in sequencers:
        for theirs in placements(pairs, second, zones, nodes, beside, mine):
            up = {i for i in range(pairs) if mine[i] and theirs[i]}
            running = min(running, len(up))
            for over in lost:
                lost[over] = max(lost[over], *(len(up & m) for m in masks(mine, over, theirs)))
    return Chain(pairs, running, lost[ZONE], lost[NODE])


RULES = st.builds(
    Rules,
    st.sampled_from([None, ZONE, NODE]),
    st.none() | st.tuples(st.integers(1, 2), st.integers(1, 4)),
    st.none() | st.integers(1, 2),
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[int, Rules, Rules, int, str | None]:
    first = draw(RULES)
    second = draw(st.just(first) | RULES)
    beside = draw(st.sampled_from([None, ZONE, NODE]))
    return draw(st.integers(1, 4)), first, second, draw(st.integers(1, 4)), beside


@settings(max_examples=80, deadline=None)
@given(cases())
def test_no_placement_is_worse_than_what_is_said(
    case: tuple[int, Rules, Rules, int, str | None],
) -> None:
    pairs, first, second, zones, beside = case
    manifests = [
        workload("sequencer", first, pairs),
        workload("maru", second, pairs, beside),
    ]
    said = resilience.chain(manifests, [f"zone-{z}" for z in range(zones)])
    assert said is not None
    enough = worst(pairs, first, second, zones, pairs, beside)
    assert said.running <= enough.running
    # As few nodes as there can be make the worst node.
    tried = [enough, worst(pairs, first, second, zones, 1, beside)]
    assert said.zone >= max(found.zone for found in tried)
    assert said.node >= max(found.node for found in tried)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 4),
    st.sampled_from([None, ZONE, NODE]),
    st.none() | st.tuples(st.integers(1, 2), st.integers(1, 4)),
    st.integers(1, 4),
    st.sampled_from([None, ZONE]),
)
def test_what_is_said_is_no_worse_than_the_worst_placement(
    pairs: int, apart: str | None, over: tuple[int, int] | None, zones: int, beside: str | None
) -> None:
    """With one rule for both halves, as the chart has it."""
    rules = Rules(apart) if apart else Rules(None, over)
    manifests = [workload("sequencer", rules, pairs), workload("maru", rules, pairs, beside)]
    said = resilience.chain(manifests, [f"zone-{z}" for z in range(zones)])
    assert said == worst(pairs, rules, rules, zones, pairs, beside)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 4), st.integers(0, 2), st.integers(1, 4), RULES)
def test_pods_that_are_left_of_more_are_where_the_worst_placement_has_them(
    least: int, more: int, zones: int, rules: Rules
) -> None:
    made = workload("besu", rules, least)
    scaler = {
        "kind": "HorizontalPodAutoscaler",
        "spec": {
            "scaleTargetRef": {"kind": "StatefulSet", "name": "besu"},
            "minReplicas": least,
            "maxReplicas": least + more,
        },
    }
    (besu,) = workloads([made, Manifest(scaler, "test")])
    said = resilience.spread(besu, [f"zone-{z}" for z in range(zones)])
    for nodes in (1, least + more):
        for placement in placements(least + more, rules, zones, nodes):
            left = placement[:least]
            assert said.zone >= max(map(len, masks(left, ZONE)))
            assert said.node >= max(map(len, masks(left, NODE)))


@pytest.mark.parametrize(
    ("validators", "quorum"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 4), (6, 4), (7, 5), (10, 7)]
)
def test_the_quorum_is_besus(validators: int, quorum: int) -> None:
    # BftHelpersTest.java at 25.11.0.
    assert Chain(validators, validators, 0, 0).quorum == quorum


@pytest.mark.parametrize("skew", [1, 2, 3])
@pytest.mark.parametrize("zones", [1, 2, 3])
@pytest.mark.parametrize("pods", [1, 3, 4, 6])
def test_a_spread_lets_as_many_into_one_zone_as_said(pods: int, zones: int, skew: int) -> None:
    tried = placements(pods, Rules(over_zones=(skew, 1)), zones, 1)
    assert resilience.packed(pods, skew, zones) == max(
        len(mask) for placement in tried for mask in masks(placement, ZONE)
    )


ZONES = ["a", "b", "c", "d"]


def said(zones: Sequence[str], first: Rules, pairs: int = 4, beside: str | None = ZONE) -> str:
    made = [workload("sequencer", first, pairs), workload("maru", first, pairs, beside)]
    return resilience.words(made, zones).partition("; ")[0]


def test_prod_goes_on_without_a_validator_a_node_and_a_zone() -> None:
    found, manifests = objects.of_environment("prod")
    assert resilience.words(manifests, found.zones) == (
        "blocks continue if any 1 of 4 validators, any node or any of the 4 zones is lost; "
        "JSON-RPC continues if any node or any zone is lost; "
        "EthStats and TX Sender have one pod each: no dashboard, no transfers until another has "
        "started; nodes can be drained one at a time"
    )


def test_dev_has_one_of_each() -> None:
    found, manifests = objects.of_environment("dev")
    text = resilience.words(manifests, found.zones)
    assert text.startswith("one validator: blocks stop while its pod, node or zone is down; one B")
    assert "no JSON-RPC while its pod, node or zone is down" in text


def test_four_validators_in_three_zones_stop_with_the_zone_that_has_two() -> None:
    text = said(ZONES[:3], Rules(over_zones=(1, 1)))
    assert text == (
        "blocks continue if any 1 of 4 validators is lost, but a node or zone may run 2 of them: "
        "its loss stops blocks"
    )
    # On different nodes, it is the zone alone.
    text = said(ZONES[:3], Rules(NODE, (1, 1)), beside=NODE)
    assert text == (
        "blocks continue if any 1 of 4 validators or any node is lost, but a zone may run 2 of "
        "them: its loss stops blocks"
    )


def test_halves_that_nothing_keeps_together_make_a_zone_take_two_validators() -> None:
    assert "a node or zone may run 2" in said(ZONES, Rules(ZONE), beside=None)


def test_validators_that_find_no_zone_are_not_counted() -> None:
    text = said(ZONES[:3], Rules(ZONE))
    assert text.startswith("blocks need all 3 validators that run here")
    text = said(ZONES[:2], Rules(ZONE))
    assert text.startswith("blocks may never come: a block needs 3 of 4 validators, and as few")


def test_marus_that_may_not_follow_their_sequencers_are_not_counted() -> None:
    made = [workload("sequencer", Rules(), 4), workload("maru", Rules(ZONE), 4, ZONE)]
    text = resilience.words(made, ZONES)
    assert text.startswith("blocks may never come: a block needs 3 of 4 validators, and as few")


def test_validators_elsewhere_count_for_the_quorum() -> None:
    genesis = '{"config": {"0": {"validatorSet": ["0x1", "0x2", "0x3", "0x4"]}}}'
    config_map = Manifest({"kind": "ConfigMap", "data": {"maru.json": genesis}}, "test")
    made = [workload("sequencer", Rules(ZONE), 3), workload("maru", Rules(ZONE), 3, ZONE)]
    assert said(ZONES, Rules(ZONE), 3).startswith("blocks continue if any 1 of 3 validators")
    text = resilience.words([*made, config_map], ZONES)
    assert text.startswith("blocks need all 3 validators that run here")


def test_pods_that_are_bound_to_one_zone_are_lost_with_it() -> None:
    values: dict[str, Any] = {
        "zones": ZONES,
        "besu": {
            "replicas": 3,
            "autoscaling": {"enabled": False},
            "nodeSelector": {ZONE: "a"},
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule"}
                for key in (ZONE, NODE)
            ],
        },
    }
    text = resilience.words(objects.of(values), ZONES)
    assert "JSON-RPC continues if any 2 of 3 pods are lost, but a node or zone may run" in text
    del values["besu"]["nodeSelector"]
    text = resilience.words(objects.of(values), ZONES)
    assert "JSON-RPC continues if any node or any zone is lost" in text


def test_a_preference_promises_nothing() -> None:
    values = {"besu": {"replicas": 3, "autoscaling": {"enabled": False}, "antiAffinity": "soft"}}
    text = resilience.words(objects.of(values), ZONES)
    assert "JSON-RPC continues if any 2 of 3 pods are lost, but a node or zone may run" in text


@pytest.mark.parametrize(
    ("budget", "drained"),
    [
        ({"maxUnavailable": 1}, True),
        ({"maxUnavailable": 0}, False),
        ({"maxUnavailable": "1%"}, True),
        ({"minAvailable": 2}, True),
        ({"minAvailable": 3}, False),
        ({"minAvailable": "67%"}, False),
        ({"minAvailable": "66%"}, True),
    ],
)
def test_a_budget_that_lets_none_go_holds_up_drains(budget: dict[str, Any], drained: bool) -> None:
    made = workload("besu", Rules(), 3)
    spec = budget | {"selector": {"matchLabels": made.metadata["labels"]}}
    metadata = {"name": "besu", "labels": made.metadata["labels"]}
    pdb = Manifest({"kind": "PodDisruptionBudget", "metadata": metadata, "spec": spec}, "test")
    text = resilience.words([made, pdb], ZONES).rpartition("; ")[2]
    assert text == (
        "nodes can be drained one at a time"
        if drained
        else "no node with a pod of Besu can be drained"
    )


def test_validate_says_it_once_for_environments_that_are_alike(repository: Repository) -> None:
    text = repository.run("validate").out
    said = text.partition("valid: dev, prod, staging\n")[2]
    assert said.startswith("dev: one validator")
    assert "\nprod, staging: blocks continue if any 1 of 4 validators" in said
    assert max(map(len, said.splitlines())) <= 100


@pytest.mark.parametrize(("validators", "lost"), [(4, 2), (6, 2), (9, 3)])
def test_validators_of_the_profile_three_zones_share_a_zone_evenly(
    validators: int, lost: int
) -> None:
    """Marus have no spread of their own: they follow their sequencers."""
    manifests = [
        workload("sequencer", Rules(None, (1, 3)), validators),
        workload("maru", Rules(None), validators, ZONE),
    ]
    found = resilience.chain(manifests, ["a", "b", "c"])
    assert found == Chain(validators, validators, lost, lost)
    assert (found.zone <= found.spare) is (validators % 3 == 0)
