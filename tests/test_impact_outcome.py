"""The outcome of a change says what Kubernetes and Argo CD promise, and leaves open what is chance.

The pages that promise it: StatefulSets' “Deployment and Scaling Guarantees” and Argo CD's sync
waves.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.impact import report
from scripts.impact.effects.prediction import Outcome, Restarted
from scripts.impact.effects.quota_room import Some
from scripts.impact.formats import html, text
from scripts.impact.report import Environment
from scripts.rules.snapshot import Objects
from tests import outcomes
from tests.outcomes import Seen
from tests.test_impact_consequences import (
    BESU,
    ETHSTATS,
    MARU,
    NOTE,
    SEQUENCER,
    TEMPLATE,
    Edit,
    changed,
    objects,
    on,
    told,
)

TX_SENDER, SCALER = "Deployment/linea-stack-tx-sender", "HorizontalPodAutoscaler/linea-stack-besu"
WAVE = ("metadata", "annotations", "argocd.argoproj.io/sync-wave")
RUNNING = 12
"""Pods of prod."""


def pods(count: int) -> Edit:
    """Return what writes into the quota of prod how many pods there may be."""
    return on("ResourceQuota/linea-stack", "spec", "hard", to={"pods": str(count)})


def memory(amount: str) -> Edit:
    """Return what writes into the quota of prod how much memory pods may request."""
    return on("ResourceQuota/linea-stack", "spec", "hard", to={"requests.memory": amount})


def replicas(label: str, count: int) -> Edit:
    """Return what writes how many pods a workload has."""
    return on(label, "spec", "replicas", to=count)


def besu(count: int) -> Edit:
    """Return what writes how many pods Besu's autoscaler asks for at the least."""

    def edited(side: Objects) -> Objects:
        least = on(SCALER, "spec", "minReplicas", to=count)
        return on(SCALER, "spec", "maxReplicas", to=9)(least(side))

    return edited


ORDERED = on(BESU, "spec", "podManagementPolicy", to="OrderedReady")
IN_ONE_WAVE = on(ETHSTATS, *WAVE, to="6")
"""Of the dashboard and the TX Sender, the last that are synced."""


def outcome(*edits: Edit, before: Edit = lambda side: side) -> Outcome:
    """Return what becomes of prod."""
    found = changed("prod", *edits, before=before).outcome
    assert found
    return found


def quota(found: Environment) -> list[str]:
    """Return what is said of pods that a quota has no room for."""
    return [one.removeprefix("STOPS: ") for one in told(found) if "the sync waits there" in one]


def test_which_of_the_pods_made_at_once_gets_the_last_room_is_chance() -> None:
    found = changed("prod", besu(4), pods(RUNNING + 1))
    assert found.outcome == Outcome(
        is_refused=False,
        added_some=Some(1, 1, ("linea-stack-besu-2", "linea-stack-besu-3")),
        is_short=True,
    )
    (said,) = quota(found)
    assert said == (
        "StatefulSet/linea-stack-besu: the quota has room for 1 of linea-stack-besu-2 and "
        "linea-stack-besu-3, whichever is created first; the sync waits there"
    )
    whole = report.report("main", "", 1, [found])
    for shown in (text.text(whole), text.markdown(whole), html.page(whole)):
        assert said in " ".join(shown.split())


def test_of_pods_made_one_after_the_other_the_first_get_the_room() -> None:
    found = changed("prod", besu(5), pods(RUNNING + 2), before=ORDERED)
    assert found.outcome == Outcome(
        is_refused=False, added=("linea-stack-besu-2", "linea-stack-besu-3"), is_short=True
    )
    assert quota(found) == [
        (
            "StatefulSet/linea-stack-besu: the quota has no room for linea-stack-besu-4; the sync "
            "waits there"
        )
    ]


def test_of_a_deployment_only_the_number_of_pods_is_known() -> None:
    found = outcome(replicas(ETHSTATS, 4), pods(RUNNING + 2))
    assert (found.added, found.added_some) == (("linea-stack-ethstats",) * 2, None)
    assert found.is_short


@pytest.mark.parametrize("before", [lambda side: side, ORDERED], ids=["parallel", "ordered"])
def test_where_a_quota_has_room_for_all_or_none_nothing_is_chance(before: Edit) -> None:
    names = ("linea-stack-besu-2", "linea-stack-besu-3")
    found = outcome(besu(4), pods(RUNNING + 2), before=before)
    assert (found.added, found.added_some, found.is_short) == (names, None, False)
    found = outcome(besu(4), pods(RUNNING), before=before)
    assert (found.added, found.added_some, found.is_short) == ((), None, True)


def test_of_two_waves_the_first_gets_the_room() -> None:
    found = changed(
        "prod", replicas(ETHSTATS, 2), replicas(TX_SENDER, 2), pods(RUNNING + 1)
    ).outcome
    assert found
    assert (found.added, found.added_some) == (("linea-stack-ethstats",), None)


def test_which_of_two_workloads_in_one_wave_gets_the_room_is_chance() -> None:
    more = replicas(ETHSTATS, 2), replicas(TX_SENDER, 2)
    found = changed("prod", *more, pods(RUNNING + 1), before=IN_ONE_WAVE)
    assert found.outcome
    either = ("linea-stack-ethstats", "linea-stack-tx-sender")
    assert (found.outcome.added, found.outcome.added_some) == ((), Some(1, 1, either))
    assert quota(found) == [
        (
            "Deployment/linea-stack-ethstats and Deployment/linea-stack-tx-sender: the quota has "
            "room for 1 of linea-stack-ethstats and linea-stack-tx-sender, whichever is created "
            "first; the sync waits there"
        )
    ]


def test_what_is_sure_of_two_workloads_in_one_wave_is_said() -> None:
    more = replicas(ETHSTATS, 3), replicas(TX_SENDER, 4)
    found = outcome(*more, pods(RUNNING + 4), before=IN_ONE_WAVE)
    # One of the five does not come, so one of the dashboard's and two of the TX Sender's do.
    assert sorted(found.added) == ["linea-stack-ethstats", *["linea-stack-tx-sender"] * 2]
    assert found.added_some == Some(1, 1, ("linea-stack-ethstats", "linea-stack-tx-sender"))


def test_the_number_is_open_where_pods_of_several_sizes_want_the_same_room() -> None:
    def together(side: Objects) -> Objects:
        return on(BESU, *WAVE, to="4")(side)

    def fits(mebibytes: int) -> bool:
        return not outcome(besu(3), memory(f"{mebibytes}Mi"), before=together).is_short

    # Room for one more of Besu, or for two of the dashboard and most of one of Besu.
    room = memory(f"{bisect_left(range(2**16), True, key=fits)}Mi")
    found = outcome(besu(3), replicas(ETHSTATS, 3), room, before=together)
    names = ("linea-stack-besu-2", "linea-stack-ethstats", "linea-stack-ethstats")
    assert found.added_some
    assert (found.added_some.least, found.added_some.most) == (1, 2)
    assert sorted(found.added_some.pods) == sorted(names)


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    new=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    room=st.integers(0, 12),
)
def test_whatever_pod_is_created_first_the_prediction_holds_and_is_no_wider(
    sizes: tuple[int, int], new: tuple[int, int], room: int
) -> None:
    def sized(side: Objects) -> Objects:
        for label, size in zip(both, sizes, strict=True):
            path = (*TEMPLATE, "spec", "containers", 0, "resources", "requests", "memory")
            side = on(label, *path, to=f"{size * 64}Mi")(side)
        return IN_ONE_WAVE(side)

    both = ETHSTATS, TX_SENDER
    least = {one.manifest.label: one.least for one in sized(objects("prod")).workloads}
    used = sum(
        share.each * least[share.label]
        for share in sized(objects("prod")).counted.shares
        if share.resource == "requests.memory" and share.label.startswith(("Dep", "Stateful"))
    )
    more = [replicas(label, 1 + count) for label, count in zip(both, new, strict=True)]
    predicted = outcome(*more, memory(f"{used + room * 64 * 2**20}"), before=sized)
    waiting = [which for which in (0, 1) for _ in range(new[which])]
    totals = set[int]()
    for order in set(permutations(waiting)):
        added, left = Counter[str](), room
        for which in order:
            if sizes[which] <= left:
                left -= sizes[which]
                added[both[which].partition("/")[2]] += 1
        is_short = added.total() < len(waiting)
        assert not outcomes.wrong(predicted, Seen(added=added, is_short=is_short))
        totals.add(added.total())
    some = predicted.added_some or Some(0, 0, ())
    sure = len(predicted.added)
    assert (sure + some.least, sure + some.most) == (min(totals), max(totals))


def test_pods_that_go_make_room_for_later_waves_and_not_for_earlier_ones() -> None:
    full = RUNNING + 2
    assert not outcome(besu(2), replicas(ETHSTATS, 3), pods(full), before=besu(4)).is_short
    more = replicas(ETHSTATS, 3)
    assert outcome(besu(4), replicas(ETHSTATS, 1), pods(full), before=more).is_short


def test_the_volumes_of_pods_that_go_keep_their_room() -> None:
    claims = on(
        "ResourceQuota/linea-stack", "spec", "hard", to={"persistentvolumeclaims": str(4 + 4 + 4)}
    )
    shrinks, grows = replicas(MARU, 3), besu(3)
    assert outcome(shrinks, grows, claims, before=besu(2)).is_short is False
    tight = on("ResourceQuota/linea-stack", "spec", "hard", to={"persistentvolumeclaims": "10"})
    assert outcome(shrinks, grows, tight).is_short is True


def test_a_sync_that_fails_in_an_earlier_wave_comes_to_no_quota() -> None:
    def paused(side: Objects) -> Objects:
        return on(MARU, *WAVE, to="5")(on(ETHSTATS, "spec", "paused", to=True)(side))

    short = replicas(MARU, 5), pods(RUNNING)
    assert outcome(*short).is_short
    assert not outcome(*short, on(MARU, *WAVE, to="5"), paused).is_short


def test_a_stateful_set_that_waits_for_room_replaces_none_of_its_pods() -> None:
    image = on(BESU, *NOTE, to="x")
    assert [one.pods for one in outcome(besu(4), image, pods(RUNNING + 2)).restarted] == [
        ("linea-stack-besu-1", "linea-stack-besu-0")
    ]
    found = changed("prod", besu(4), image, pods(RUNNING + 1))
    assert found.outcome
    assert (found.outcome.restarted, found.outcome.is_short) == ((), True)
    assert not [one for one in told(found) if "restart" in one]
    (said,) = quota(found)
    assert "none of its other pods is replaced before all are there" in said


def test_a_deployment_without_room_beside_its_pods_replaces_none() -> None:
    found = changed("prod", on(ETHSTATS, *NOTE, to="x"), pods(RUNNING))
    assert found.outcome == Outcome(is_refused=False, is_short=True)
    assert quota(found) == [
        (
            "Deployment/linea-stack-ethstats: the quota has no room to replace its pods, and the"
            " rollout stops at 0 of 1; the sync waits there"
        )
    ]
    recreated = on(ETHSTATS, "spec", "strategy", to={"type": "Recreate"})
    found = changed("prod", on(ETHSTATS, *NOTE, to="x"), pods(RUNNING), before=recreated)
    assert found.outcome == Outcome(
        is_refused=False, restarted=(Restarted(4, ("linea-stack-ethstats",), 1),)
    )


def test_a_pod_that_a_smaller_quota_has_no_room_for_does_not_come_back() -> None:
    found = changed("prod", on(BESU, *NOTE, to="x"), pods(RUNNING - 1))
    assert found.outcome == Outcome(
        is_refused=False, removed=("linea-stack-besu-1",), is_short=True
    )
    assert quota(found) == [
        (
            "StatefulSet/linea-stack-besu: the quota has no room for linea-stack-besu-1 once it is"
            " ended, and the rollout stops; the sync waits there"
        )
    ]


def test_waves_restart_one_after_the_other_and_workloads_of_a_wave_at_the_same_time() -> None:
    notes = [on(label, *NOTE, to="x") for label in (BESU, ETHSTATS, TX_SENDER)]
    pair = ("linea-stack-besu-1", "linea-stack-besu-0")
    one, other = ("linea-stack-ethstats",), ("linea-stack-tx-sender",)
    apart = changed("prod", *notes)
    assert apart.outcome
    assert apart.outcome.restarted == (
        Restarted(3, pair, 1), Restarted(4, one, 1), Restarted(6, other, 1),
    )  # fmt: skip
    assert [step.pods for step in apart.steps] == [(pair,), (one,), (other,)]
    together = changed("prod", *notes, before=IN_ONE_WAVE)
    assert together.outcome
    assert {found.wave for found in together.outcome.restarted} == {3, 6}
    assert [step.pods for step in together.steps] == [(pair,), (one, other)]
    shown = text.text(report.report("main", "", 1, [together]))
    assert "wave 6: linea-stack-ethstats; at the same time linea-stack-tx-sender" in shown


def test_validators_of_one_wave_may_be_away_at_the_same_time() -> None:
    notes = [on(label, *NOTE, to="x") for label in (SEQUENCER, MARU)]
    apart, together = (
        [line for line in told(changed("prod", *notes, before=before)) if "one by one" in line]
        for before in (lambda side: side, on(MARU, *WAVE, to="1"))
    )
    assert ["3 of 4 validators, 3 are needed" in line for line in apart] == [True, True]
    assert ["2 of 3 needed validators are left" in line for line in together] == [True, True]


@pytest.mark.parametrize(
    ("version", "most", "at_once"),
    [
        ("1.34", 2, 1),
        ("1.35", 2, 2),
        ("1.35", "50%", 2),
        ("1.35", "49%", 1),
        ("1.35", "1%", 1),
        ("1.35", 9, 4),
    ],
)
def test_as_many_pods_are_away_at_once_as_the_cluster_allows(
    version: str, most: int | str, at_once: int
) -> None:
    def before(side: Objects) -> Objects:
        path = ("spec", "updateStrategy", "rollingUpdate", "maxUnavailable")
        return on(MARU, *path, to=most)(replace(side, kubernetes_version=version))

    found = changed("prod", on(MARU, *NOTE, to="x"), before=before)
    names = tuple(f"linea-stack-maru-{ordinal}" for ordinal in (3, 2, 1, 0))
    assert found.outcome
    assert found.outcome.restarted == (Restarted(2, names, at_once),)
    words = "one by one" if at_once == 1 else f"up to {at_once} at once"
    assert any(f"pods 3, 2, 1, 0 restart in this order, {words}" in line for line in told(found))


AT = [(f"2026-01-01T00:00:{second:02}Z",) for second in range(10)]
"""When pods may have been made."""
ROLLED = Outcome(is_refused=False, restarted=(Restarted(3, ("b-1", "b-0"), 1),))
WAVES = replace(ROLLED, restarted=(*ROLLED.restarted, Restarted(4, ("e",), 1)))
BESIDE = replace(ROLLED, restarted=(*ROLLED.restarted, Restarted(3, ("e",), 1)))
PAIRS = replace(ROLLED, restarted=(Restarted(3, ("b-3", "b-2", "b-1", "b-0"), 2),))
SHORT = Outcome(is_refused=False, added=("e",), added_some=Some(1, 1, ("b-1", "b-2")))
OPEN = Outcome(is_refused=False, added_some=Some(1, 2, ("b-1", "e", "e")))


@pytest.mark.parametrize(
    ("predicted", "seen"),
    [
        (Outcome(is_refused=False), Seen()),
        (ROLLED, Seen(restarted={"b-1": AT[0], "b-0": AT[3]})),
        (WAVES, Seen(restarted={"b-1": AT[0], "b-0": AT[3], "e": (*AT[5], *AT[7])})),
        *(
            (BESIDE, Seen(restarted={"b-1": AT[2], "b-0": AT[5], "e": AT[second]}))
            for second in range(8)
        ),
        (PAIRS, Seen(restarted={"b-3": AT[1], "b-2": AT[0], "b-1": AT[3], "b-0": AT[3]})),
        (PAIRS, Seen(restarted={"b-3": AT[0], "b-2": AT[3], "b-1": AT[3], "b-0": AT[5]})),
        (SHORT, Seen(added={"e": 1, "b-1": 1})),
        (SHORT, Seen(added={"e": 1, "b-2": 1})),
        (OPEN, Seen(added={"b-1": 1})),
        (OPEN, Seen(added={"e": 2})),
        (OPEN, Seen(added={"e": 1, "b-1": 1})),
        (Outcome(is_refused=False, removed=("e", "e", "b-2")), Seen(removed={"e": 2, "b-2": 1})),
    ],
)
def test_what_was_seen_is_what_was_predicted(predicted: Outcome, seen: Seen) -> None:
    assert not outcomes.wrong(predicted, seen)


@pytest.mark.parametrize(
    ("predicted", "seen", "field"),
    [
        (ROLLED, Seen(restarted={"b-1": AT[3], "b-0": AT[0]}), "restarted"),
        (ROLLED, Seen(restarted={"b-1": AT[3], "b-0": AT[3]}), "restarted"),
        (ROLLED, Seen(restarted={"b-1": AT[3]}), "restarted"),
        (ROLLED, Seen(restarted={"b-1": AT[0], "b-0": AT[3], "e": AT[5]}), "restarted"),
        (WAVES, Seen(restarted={"b-1": AT[0], "b-0": AT[3], "e": AT[3]}), "restarted"),
        (WAVES, Seen(restarted={"b-1": AT[0], "b-0": AT[3], "e": (*AT[1], *AT[5])}), "restarted"),
        (BESIDE, Seen(restarted={"b-1": AT[3], "b-0": AT[0], "e": AT[5]}), "restarted"),
        (
            PAIRS,
            Seen(restarted={"b-3": AT[0], "b-2": AT[0], "b-1": AT[0], "b-0": AT[3]}),
            "restarted",
        ),
        (SHORT, Seen(added={"e": 1}), "added"),
        (SHORT, Seen(added={"b-1": 1}), "added"),
        (SHORT, Seen(added={"e": 1, "b-1": 1, "b-2": 1}), "added"),
        (SHORT, Seen(added={"e": 1, "b-3": 1}), "added"),
        (SHORT, Seen(added={"e": 2, "b-1": 1}), "added"),
        (OPEN, Seen(), "added"),
        (OPEN, Seen(added={"e": 2, "b-1": 1}), "added"),
        (OPEN, Seen(added={"e": 3}), "added"),
        (Outcome(is_refused=False, added=("e",)), Seen(added={"e": 2}), "added"),
        (Outcome(is_refused=False, removed=("e",)), Seen(removed={"e": 2}), "removed"),
        (Outcome(is_refused=False, pruned=("A/b",)), Seen(), "pruned"),
        (Outcome(is_refused=False, confirmed=("A/b",)), Seen(kept=frozenset({"A/b"})), "kept"),
        (Outcome(is_refused=True), Seen(), "is_refused"),
        (Outcome(is_refused=False, is_failing=True), Seen(), "is_failing"),
        (Outcome(is_refused=False), Seen(is_short=True), "is_short"),
    ],
)
def test_what_was_seen_otherwise_is_wrong(predicted: Outcome, seen: Seen, field: str) -> None:
    assert field in [line.partition(":")[0] for line in outcomes.wrong(predicted, seen)]
