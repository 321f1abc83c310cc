"""Whether what was seen of a change on a cluster is what the impact report predicted. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from scripts.impact.effects.prediction import Outcome, Restarted


@dataclass(frozen=True, slots=True)
class Seen:
    """What has become of an environment's pods and objects."""

    restarted: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """A pod that was replaced, of a Deployment its name → when the new ones were made: as
    Kubernetes says it, to the second."""
    added: Mapping[str, int] = field(default_factory=dict)
    """A pod, of a Deployment its name → how many more there are."""
    removed: Mapping[str, int] = field(default_factory=dict)
    """Likewise, how many fewer there are."""
    pruned: frozenset[str] = frozenset()
    confirmed: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()
    is_refused: bool = False
    is_failing: bool = False
    is_short: bool = False


def wrong(predicted: Outcome, seen: Seen) -> list[str]:
    """Return what was seen otherwise than predicted, a line each."""
    found = [
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
        said = f"{predicted.added} and of {predicted.added_some}"
        found.append(f"added: predicted {said}, seen {dict(seen.added)}")
    if _names(predicted) == {*seen.restarted}:
        found += _out_of_order(predicted, seen.restarted)
    return found


def _names(predicted: Outcome) -> set[str]:
    return {name for one in predicted.restarted for name in one.pods}


def _are_added(predicted: Outcome, seen: Counter[str]) -> bool:
    """Return whether those came that are sure to come, and of the rest as many as may."""
    sure, some = Counter(predicted.added), predicted.added_some
    rest = seen - sure
    if not sure <= seen or not rest <= Counter(some.pods if some else ()):
        return False
    return not rest if some is None else some.least <= rest.total() <= some.most


def _out_of_order(predicted: Outcome, made: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """Yield where pods were replaced earlier than what they had to wait for.

    A pod is made anew when the one before is ready, which takes seconds: what comes in one second
    has not waited.
    """
    for one in predicted.restarted:
        for index, name in enumerate(one.pods):
            before = sum(max(made[other]) < min(made[name]) for other in one.pods[:index])
            if before <= index - one.at_once:
                yield f"restarted: {name} did not wait for {_at(one.pods[:index], made)}"
    waves = sorted({one.wave for one in predicted.restarted})
    for wave, later in pairwise(waves):
        first, second = (_of_wave(predicted.restarted, each) for each in (wave, later))
        if max(map(max, map(made.__getitem__, first))) >= min(
            map(min, map(made.__getitem__, second))
        ):
            yield f"restarted: {_at(second, made)} did not wait for {_at(first, made)}"


def _of_wave(every: tuple[Restarted, ...], wave: int) -> tuple[str, ...]:
    return tuple(name for one in every if one.wave == wave for name in one.pods)


def _at(names: tuple[str, ...], made: Mapping[str, tuple[str, ...]]) -> str:
    return ", ".join(f"{name} at {' '.join(made[name])}" for name in names)
