"""A prediction contains what Kubernetes and Argo CD guarantee, and leaves open what is chance.

The guarantees: “Deployment and Scaling Guarantees” of StatefulSets, and Argo CD's sync waves.
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
from scripts.impact.effects.prediction import Prediction, RestartedPods
from scripts.impact.effects.quota_room import UncertainPods
from scripts.impact.formats import html, text
from scripts.impact.report import EnvironmentImpact
from scripts.rules.snapshot import Objects
from tests.impact import outcomes
from tests.impact.effects.test_all_effects import (
    BESU,
    ETHSTATS,
    MARU,
    NOTE,
    SEQUENCER,
    TEMPLATE,
    Edit,
    changed,
    messages,
    objects,
    on,
)
from tests.impact.outcomes import Seen

TX_SENDER, SCALER = "Deployment/linea-stack-tx-sender", "HorizontalPodAutoscaler/linea-stack-besu"
WAVE = ("metadata", "annotations", "argocd.argoproj.io/sync-wave")
RUNNING = 12
"""Pods of prod."""


def pods(count: int) -> Edit:
    """Return an edit that limits the number of pods in the quota of prod."""
    return on("ResourceQuota/linea-stack", "spec", "hard", to={"pods": str(count)})


def memory(amount: str) -> Edit:
    """Return an edit that limits the requested memory in the quota of prod."""
    return on("ResourceQuota/linea-stack", "spec", "hard", to={"requests.memory": amount})


def replicas(label: str, count: int) -> Edit:
    """Return an edit that sets the number of pods of a workload."""
    return on(label, "spec", "replicas", to=count)


def besu(count: int) -> Edit:
    """Return an edit that sets the minimum of Besu's autoscaler."""

    def edited(environment: Objects) -> Objects:
        minimum = on(SCALER, "spec", "minReplicas", to=count)
        return on(SCALER, "spec", "maxReplicas", to=9)(minimum(environment))

    return edited


ORDERED = on(BESU, "spec", "podManagementPolicy", to="OrderedReady")
IN_ONE_WAVE = on(ETHSTATS, *WAVE, to="6")
"""Puts the dashboard and the TX Sender into the last wave."""


def predicted(*edits: Edit, before: Edit = lambda it: it) -> Prediction:
    """Return the prediction for prod."""
    prediction = changed("prod", *edits, before=before).outcome
    assert prediction
    return prediction


def shortages(impact: EnvironmentImpact) -> list[str]:
    """Return the messages about pods that a quota has no room for."""
    waiting = [line for line in messages(impact) if "the sync waits in this wave" in line]
    return [line.removeprefix("STOPS: ") for line in waiting]


def test_chance_decides_which_of_several_parallel_pods_gets_the_last_room() -> None:
    impact = changed("prod", besu(4), pods(RUNNING + 1))
    assert impact.outcome == Prediction(
        is_refused=False,
        added_some=UncertainPods(1, 1, ("linea-stack-besu-2", "linea-stack-besu-3")),
        is_short=True,
    )
    (message,) = shortages(impact)
    assert message == (
        "StatefulSet/linea-stack-besu: the quota has room for 1 of linea-stack-besu-2 and "
        "linea-stack-besu-3, whichever is created first; the sync waits in this wave"
    )
    whole = report.report("main", "", 1, [impact])
    for shown in (text.text(whole), text.markdown(whole), html.page(whole)):
        assert message in " ".join(shown.split())


def test_the_first_of_several_ordered_pods_get_the_room() -> None:
    impact = changed("prod", besu(5), pods(RUNNING + 2), before=ORDERED)
    assert impact.outcome == Prediction(
        is_refused=False, added=("linea-stack-besu-2", "linea-stack-besu-3"), is_short=True
    )
    assert shortages(impact) == [
        (
            "StatefulSet/linea-stack-besu: the quota has no room for linea-stack-besu-4; the sync "
            "waits in this wave"
        )
    ]


def test_for_a_deployment_only_the_number_of_pods_is_predicted() -> None:
    prediction = predicted(replicas(ETHSTATS, 4), pods(RUNNING + 2))
    assert (prediction.added, prediction.added_some) == (("linea-stack-ethstats",) * 2, None)
    assert prediction.is_short


@pytest.mark.parametrize("before", [lambda it: it, ORDERED], ids=["parallel", "ordered"])
def test_nothing_is_chance_if_a_quota_has_room_for_all_pods_or_none(before: Edit) -> None:
    names = ("linea-stack-besu-2", "linea-stack-besu-3")
    all_fit = predicted(besu(4), pods(RUNNING + 2), before=before)
    assert (all_fit.added, all_fit.added_some, all_fit.is_short) == (names, None, False)
    none_fits = predicted(besu(4), pods(RUNNING), before=before)
    assert (none_fits.added, none_fits.added_some, none_fits.is_short) == ((), None, True)


def test_an_earlier_wave_gets_the_room() -> None:
    more = replicas(ETHSTATS, 2), replicas(TX_SENDER, 2)
    prediction = predicted(*more, pods(RUNNING + 1))
    assert (prediction.added, prediction.added_some) == (("linea-stack-ethstats",), None)


def test_chance_decides_which_of_two_workloads_in_one_wave_gets_the_room() -> None:
    more = replicas(ETHSTATS, 2), replicas(TX_SENDER, 2)
    impact = changed("prod", *more, pods(RUNNING + 1), before=IN_ONE_WAVE)
    assert impact.outcome
    either = ("linea-stack-ethstats", "linea-stack-tx-sender")
    assert (impact.outcome.added, impact.outcome.added_some) == ((), UncertainPods(1, 1, either))
    assert shortages(impact) == [
        (
            "Deployment/linea-stack-ethstats and Deployment/linea-stack-tx-sender: the quota has "
            "room for 1 of linea-stack-ethstats and linea-stack-tx-sender, whichever is created "
            "first; the sync waits in this wave"
        )
    ]


def test_certain_pods_of_two_workloads_in_one_wave_are_predicted() -> None:
    more = replicas(ETHSTATS, 3), replicas(TX_SENDER, 4)
    prediction = predicted(*more, pods(RUNNING + 4), before=IN_ONE_WAVE)
    # One of five is not created, so at least one of the dashboard's and two of the TX Sender's are.
    assert sorted(prediction.added) == ["linea-stack-ethstats", *["linea-stack-tx-sender"] * 2]
    assert prediction.added_some == UncertainPods(
        1, 1, ("linea-stack-ethstats", "linea-stack-tx-sender")
    )


def test_the_number_is_open_if_pods_of_several_sizes_compete_for_room() -> None:
    in_one_wave = on(BESU, *WAVE, to="4")

    def fits(mebibytes: int) -> bool:
        return not predicted(besu(3), memory(f"{mebibytes}Mi"), before=in_one_wave).is_short

    # Room for one more pod of Besu, or for two of the dashboard and almost one of Besu.
    room = memory(f"{bisect_left(range(2**16), True, key=fits)}Mi")
    uncertain = predicted(besu(3), replicas(ETHSTATS, 3), room, before=in_one_wave).added_some
    names = ("linea-stack-besu-2", "linea-stack-ethstats", "linea-stack-ethstats")
    assert uncertain
    assert (uncertain.least, uncertain.most) == (1, 2)
    assert sorted(uncertain.pods) == sorted(names)


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    new=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    room=st.integers(0, 12),
)
def test_the_prediction_is_correct_and_tight_for_every_order_of_pods(
    sizes: tuple[int, int], new: tuple[int, int], room: int
) -> None:
    def sized(environment: Objects) -> Objects:
        for label, size in zip(both, sizes, strict=True):
            path = (*TEMPLATE, "spec", "containers", 0, "resources", "requests", "memory")
            environment = on(label, *path, to=f"{size * 64}Mi")(environment)
        return IN_ONE_WAVE(environment)

    both = ETHSTATS, TX_SENDER
    workloads = sized(objects("prod")).workloads
    least = {workload.manifest.label: workload.least for workload in workloads}
    used = sum(
        share.each * least[share.label]
        for share in sized(objects("prod")).counted.shares
        if share.resource == "requests.memory" and share.label.startswith(("Dep", "Stateful"))
    )
    more = [replicas(label, 1 + count) for label, count in zip(both, new, strict=True)]
    prediction = predicted(*more, memory(f"{used + room * 64 * 2**20}"), before=sized)
    waiting = [which for which in (0, 1) for _ in range(new[which])]
    totals = set[int]()
    for order in set(permutations(waiting)):
        added, left = Counter[str](), room
        for which in order:
            if sizes[which] <= left:
                left -= sizes[which]
                added[both[which].partition("/")[2]] += 1
        is_short = added.total() < len(waiting)
        assert not outcomes.differences(prediction, Seen(added=added, is_short=is_short))
        totals.add(added.total())
    uncertain = prediction.added_some or UncertainPods(0, 0, ())
    certain = len(prediction.added)
    assert (certain + uncertain.least, certain + uncertain.most) == (min(totals), max(totals))


def test_removed_pods_make_room_for_later_waves_but_not_for_earlier_ones() -> None:
    full = RUNNING + 2
    assert not predicted(besu(2), replicas(ETHSTATS, 3), pods(full), before=besu(4)).is_short
    more = replicas(ETHSTATS, 3)
    assert predicted(besu(4), replicas(ETHSTATS, 1), pods(full), before=more).is_short


def test_volumes_of_removed_pods_still_use_the_quota() -> None:
    claims = on(
        "ResourceQuota/linea-stack", "spec", "hard", to={"persistentvolumeclaims": str(4 + 4 + 4)}
    )
    shrinks, grows = replicas(MARU, 3), besu(3)
    assert predicted(shrinks, grows, claims, before=besu(2)).is_short is False
    tight = on("ResourceQuota/linea-stack", "spec", "hard", to={"persistentvolumeclaims": "10"})
    assert predicted(shrinks, grows, tight).is_short is True


def test_a_sync_that_waits_in_an_earlier_wave_does_not_reach_the_quota() -> None:
    def paused(environment: Objects) -> Objects:
        return on(MARU, *WAVE, to="5")(on(ETHSTATS, "spec", "paused", to=True)(environment))

    short = replicas(MARU, 5), pods(RUNNING)
    assert predicted(*short).is_short
    assert not predicted(*short, on(MARU, *WAVE, to="5"), paused).is_short


def test_a_statefulset_that_waits_for_room_replaces_none_of_its_pods() -> None:
    image = on(BESU, *NOTE, to="x")
    with_room = predicted(besu(4), image, pods(RUNNING + 2))
    assert [workload.pods for workload in with_room.restarted] == [
        ("linea-stack-besu-1", "linea-stack-besu-0")
    ]
    impact = changed("prod", besu(4), image, pods(RUNNING + 1))
    assert impact.outcome
    assert (impact.outcome.restarted, impact.outcome.is_short) == ((), True)
    assert not [line for line in messages(impact) if "restart in this order" in line]
    (message,) = shortages(impact)
    assert "none of its other pods restarts until all of them exist" in message


def test_a_deployment_without_room_for_a_new_pod_replaces_none() -> None:
    impact = changed("prod", on(ETHSTATS, *NOTE, to="x"), pods(RUNNING))
    assert impact.outcome == Prediction(is_refused=False, is_short=True)
    assert shortages(impact) == [
        (
            "Deployment/linea-stack-ethstats: the quota has no room for new pods, so the rollout"
            " stops at 0 of 1; the sync waits in this wave"
        )
    ]
    recreated = on(ETHSTATS, "spec", "strategy", to={"type": "Recreate"})
    impact = changed("prod", on(ETHSTATS, *NOTE, to="x"), pods(RUNNING), before=recreated)
    assert impact.outcome == Prediction(
        is_refused=False, restarted=(RestartedPods(4, ("linea-stack-ethstats",), 1),)
    )


def test_a_stopped_pod_is_not_created_again_if_the_quota_is_smaller_now() -> None:
    impact = changed("prod", on(BESU, *NOTE, to="x"), pods(RUNNING - 1))
    assert impact.outcome == Prediction(
        is_refused=False, removed=("linea-stack-besu-1",), is_short=True
    )
    assert shortages(impact) == [
        (
            "StatefulSet/linea-stack-besu: the quota has no room to create linea-stack-besu-1"
            " again, so the rollout stops; the sync waits in this wave"
        )
    ]


def test_waves_restart_in_order_and_workloads_of_a_wave_in_parallel() -> None:
    notes = [on(label, *NOTE, to="x") for label in (BESU, ETHSTATS, TX_SENDER)]
    pair = ("linea-stack-besu-1", "linea-stack-besu-0")
    ethstats, tx_sender = ("linea-stack-ethstats",), ("linea-stack-tx-sender",)
    apart = changed("prod", *notes)
    assert apart.outcome
    assert apart.outcome.restarted == (
        RestartedPods(3, pair, 1), RestartedPods(4, ethstats, 1), RestartedPods(6, tx_sender, 1),
    )  # fmt: skip
    assert [step.pods for step in apart.steps] == [(pair,), (ethstats,), (tx_sender,)]
    together = changed("prod", *notes, before=IN_ONE_WAVE)
    assert together.outcome
    assert {workload.wave for workload in together.outcome.restarted} == {3, 6}
    assert [step.pods for step in together.steps] == [(pair,), (ethstats, tx_sender)]
    shown = text.text(report.report("main", "", 1, [together]))
    assert "wave 6: linea-stack-ethstats; at the same time linea-stack-tx-sender" in shown


def test_validators_of_one_wave_may_be_down_at_the_same_time() -> None:
    notes = [on(label, *NOTE, to="x") for label in (SEQUENCER, MARU)]
    apart, together = (
        [
            line
            for line in messages(changed("prod", *notes, before=before))
            if "one at a time" in line
        ]
        for before in (lambda it: it, on(MARU, *WAVE, to="1"))
    )
    assert ["3 of 4 validators (3 needed)" in line for line in apart] == [True, True]
    assert ["only 2 of the 3 needed validators" in line for line in together] == [True, True]


@pytest.mark.parametrize(
    ("version", "most", "at_once"),
    [
        ("1.34", 2, 1),
        ("1.36", 2, 1),
        ("1.37", 2, 2),
        ("1.37", "50%", 2),
        ("1.37", "49%", 1),
        ("1.37", "1%", 1),
        ("1.37", 9, 4),
    ],
)
def test_the_kubernetes_version_decides_whether_max_unavailable_counts(
    version: str, most: int | str, at_once: int
) -> None:
    def before(environment: Objects) -> Objects:
        path = ("spec", "updateStrategy", "rollingUpdate", "maxUnavailable")
        return on(MARU, *path, to=most)(replace(environment, kubernetes_version=version))

    impact = changed("prod", on(MARU, *NOTE, to="x"), before=before)
    names = tuple(f"linea-stack-maru-{ordinal}" for ordinal in (3, 2, 1, 0))
    assert impact.outcome
    assert impact.outcome.restarted == (RestartedPods(2, names, at_once),)
    order = "one at a time" if at_once == 1 else f"up to {at_once} at a time"
    restart = f"pods 3, 2, 1, 0 restart in this order, {order}"
    assert any(restart in line for line in messages(impact))


AT = [(f"2026-01-01T00:00:{second:02}Z",) for second in range(10)]
"""Possible creation times of pods."""
ROLLED = Prediction(is_refused=False, restarted=(RestartedPods(3, ("b-1", "b-0"), 1),))
WAVES = replace(ROLLED, restarted=(*ROLLED.restarted, RestartedPods(4, ("e",), 1)))
BESIDE = replace(ROLLED, restarted=(*ROLLED.restarted, RestartedPods(3, ("e",), 1)))
PAIRS = replace(ROLLED, restarted=(RestartedPods(3, ("b-3", "b-2", "b-1", "b-0"), 2),))
SHORT = Prediction(is_refused=False, added=("e",), added_some=UncertainPods(1, 1, ("b-1", "b-2")))
OPEN = Prediction(is_refused=False, added_some=UncertainPods(1, 2, ("b-1", "e", "e")))


@pytest.mark.parametrize(
    ("prediction", "seen"),
    [
        (Prediction(is_refused=False), Seen()),
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
        (Prediction(is_refused=False, removed=("e", "e", "b-2")), Seen(removed={"e": 2, "b-2": 1})),
    ],
)
def test_a_correct_prediction_has_no_differences(prediction: Prediction, seen: Seen) -> None:
    assert not outcomes.differences(prediction, seen)


@pytest.mark.parametrize(
    ("prediction", "seen", "field"),
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
        (Prediction(is_refused=False, added=("e",)), Seen(added={"e": 2}), "added"),
        (Prediction(is_refused=False, removed=("e",)), Seen(removed={"e": 2}), "removed"),
        (Prediction(is_refused=False, pruned=("A/b",)), Seen(), "pruned"),
        (Prediction(is_refused=False, confirmed=("A/b",)), Seen(kept=frozenset({"A/b"})), "kept"),
        (Prediction(is_refused=True), Seen(), "is_refused"),
        (Prediction(is_refused=False, is_failing=True), Seen(), "is_failing"),
        (Prediction(is_refused=False), Seen(is_short=True), "is_short"),
    ],
)
def test_a_wrong_prediction_has_a_difference(
    prediction: Prediction, seen: Seen, field: str
) -> None:
    lines = outcomes.differences(prediction, seen)
    assert field in [line.partition(":")[0] for line in lines]
