"""Compare what a change did on a cluster with the prediction of the impact report. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from scripts.impact.effects.prediction import Prediction, RestartedPods


@dataclass(frozen=True, slots=True)
class Seen:
    """What happened to an environment's pods and objects."""

    restarted: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """A replaced pod, or the name of a Deployment → creation times of the new pods, as Kubernetes
    reports them: to the second."""
    added: Mapping[str, int] = field(default_factory=dict)
    """A pod, or the name of a Deployment → number of added pods."""
    removed: Mapping[str, int] = field(default_factory=dict)
    """A pod, or the name of a Deployment → number of removed pods."""
    pruned: frozenset[str] = frozenset()
    confirmed: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()
    is_refused: bool = False
    is_failing: bool = False
    is_short: bool = False


def differences(predicted: Prediction, seen: Seen) -> list[str]:
    """Return where the prediction was wrong, a line each."""
    lines = [
        f"{name}: predicted {expected}, seen {real}"
        for name, expected, real in (
            ("removed", Counter(predicted.removed), Counter(seen.removed)),
            ("pruned", {*predicted.pruned}, {*seen.pruned}),
            ("confirmed", {*predicted.confirmed}, {*seen.confirmed}),
            ("kept", {*predicted.kept}, {*seen.kept}),
            ("is_refused", predicted.is_refused, seen.is_refused),
            ("is_failing", predicted.is_failing, seen.is_failing),
            ("is_short", predicted.is_short, seen.is_short),
            ("restarted", _names(predicted), {*seen.restarted}),
        )
        if expected != real
    ]
    if not _are_added(predicted, Counter(seen.added)):
        expected = f"{predicted.added} and of {predicted.added_some}"
        lines.append(f"added: predicted {expected}, seen {dict(seen.added)}")
    if _names(predicted) == {*seen.restarted}:
        lines += _out_of_order(predicted, seen.restarted)
    return lines


def _names(predicted: Prediction) -> set[str]:
    return {name for workload in predicted.restarted for name in workload.pods}


def _are_added(predicted: Prediction, seen: Counter[str]) -> bool:
    """Return whether all certain pods were added, and the right number of the uncertain ones."""
    certain, uncertain = Counter(predicted.added), predicted.added_some
    rest = seen - certain
    if not certain <= seen or not rest <= Counter(uncertain.pods if uncertain else ()):
        return False
    return not rest if uncertain is None else uncertain.least <= rest.total() <= uncertain.most


def _out_of_order(predicted: Prediction, created: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """Yield the pods that were replaced before the pods they had to wait for.

    A pod is created when the one before is ready, which takes seconds. So if two pods are created
    in the same second, the second one did not wait.
    """
    for workload in predicted.restarted:
        for index, name in enumerate(workload.pods):
            earlier = workload.pods[:index]
            before = sum(max(created[other]) < min(created[name]) for other in earlier)
            if before <= index - workload.at_once:
                yield f"restarted: {name} did not wait for {_at(earlier, created)}"
    waves = sorted({workload.wave for workload in predicted.restarted})
    for wave, later in pairwise(waves):
        first, second = (_of_wave(predicted.restarted, each) for each in (wave, later))
        if max(map(max, map(created.__getitem__, first))) >= min(
            map(min, map(created.__getitem__, second))
        ):
            yield f"restarted: {_at(second, created)} did not wait for {_at(first, created)}"


def _of_wave(restarted: tuple[RestartedPods, ...], wave: int) -> tuple[str, ...]:
    return tuple(name for workload in restarted if workload.wave == wave for name in workload.pods)


def _at(names: tuple[str, ...], created: Mapping[str, tuple[str, ...]]) -> str:
    return ", ".join(f"{name} at {' '.join(created[name])}" for name in names)
