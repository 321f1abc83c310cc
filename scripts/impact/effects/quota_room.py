"""Which of the pods that a change makes a quota has room for. Pure.

https://kubernetes.io/docs/concepts/policy/resource-quotas/: the API server rejects a pod that does
not fit, and its controller tries again for ever. So the sync waits in that wave, and no later one
begins.

Where several pods want the same room, it is given to whichever is created first. That is certain
only where one waits for the other: a StatefulSet's, unless its podManagementPolicy is Parallel.
Workloads of one wave don't wait for each other. What runs before is counted as it is at the least,
so that a pod that is reported missing is sure to be missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import groupby

from scripts.impact.effects.rollout import Rollout
from scripts.kubernetes import resource_usage, sync
from scripts.kubernetes.workloads import rolled
from scripts.rules.snapshot import Objects

Amounts = Mapping[str, Decimal]

_CLAIMS = ("requests.storage", "persistentvolumeclaims")
"""What claims take: a pod that replaces another has its claims already."""


@dataclass(frozen=True, slots=True)
class Some:
    """Pods of which so many come; which, is chance."""

    least: int
    most: int
    """More than the least only where pods of several sizes want the same room."""
    pods: tuple[str, ...]
    """Of a Deployment, its name once for each pod."""


@dataclass(frozen=True, slots=True)
class Short:
    """The first wave in which a quota has no room for a pod."""

    wave: int
    rollouts: Mapping[str, Rollout]
    """Workload's label → what comes true of the rollouts of this wave; added are those pods that
    are sure to come, and removed also those that can't be replaced."""
    some: Some | None
    """Of those that may come beside them."""
    rejected: tuple[str, ...]
    """Labels of the workloads that may not get all pods."""


def hard(side: Objects) -> Amounts:
    """Return the least that quotas allow of each resource, by the name that shares have for it."""
    found: dict[str, Decimal] = {}
    for _, amounts in resource_usage.quotas(side.manifests):
        for name, amount in amounts.items():
            resource = resource_usage.SAME.get(name, name)
            found[resource] = min(amount, found.get(resource, amount))
    return found


def short(old: Objects, new: Objects, rollouts: Sequence[Rollout]) -> Short | None:
    """Return the first wave in which a quota has no room for a pod; None where all have.

    rollouts: what becomes of pods, in the order of the waves.
    """
    limits = hard(new)
    if not limits:
        return None
    was, now = _each(old, limits), _each(new, limits)
    used = dict.fromkeys(limits, Decimal(0))
    for workload in old.workloads:
        if workload.manifest.kind in ("Deployment", "StatefulSet"):
            _take(used, was.get(workload.manifest.label, {}), workload.least)
    there = {one.manifest.label for one in new.workloads}
    for wave, group in groupby(rollouts, lambda one: sync.wave_of(one.workload.manifest)):
        # What leaves git is deleted after all waves.
        every = {one.workload.manifest.label: one for one in group}
        every = {label: one for label, one in every.items() if label in there}
        for label, one in every.items():
            _take(used, _freed(one, was.get(label, {})), -len(one.removed))
        found = _wave(wave, every, _Room(limits, used), was, now)
        if found.rejected:
            return found
    return None


@dataclass(frozen=True, slots=True)
class _Room:
    limits: Amounts
    used: dict[str, Decimal]

    def fits(self, each: Amounts) -> bool:
        """Return whether there is room for a pod. One that takes nothing of a resource may come."""
        return all(self.used[name] + amount <= self.limits[name] for name, amount in each.items())

    def take(self, each: Amounts, wanted: int) -> int:
        """Return how many pods find room, which they take."""
        count = 0
        while count < wanted and self.fits(each):
            _take(self.used, each, 1)
            count += 1
        return count


def _wave(
    wave: int, every: Mapping[str, Rollout], room: _Room, was: Mapping[str, Amounts],
    now: Mapping[str, Amounts],
) -> Short:  # fmt: skip
    """Return what comes true of a wave, whose pods then take their room."""
    made, rejected = dict(every), list[str]()
    # A Deployment that is rolled out makes its additional pods in the same go.
    alone = [label for label, one in every.items() if one.added and not _is_rolled(one)]
    counts = [_counts(order, every, room, now) for order in _orders(alone)]
    some = _some(alone, every, counts)
    for label in alone:
        one, sure = every[label], min(count[label] for count in counts)
        _take(room.used, now.get(label, {}), sure)
        if sure < len(one.added):
            # Until all of its pods are there, the controller replaces none of them.
            is_named = one.is_ordered or one.workload.manifest.kind == "Deployment"
            made[label] = replace(one, added=one.added[: sure * is_named], restarted=())
            rejected.append(label)
    for label, one in made.items():
        if one.restarted:
            each = [_without_claims(side.get(label, {})) for side in (was, now)]
            roll = _rolled_out if _is_rolled(one) else _replaced
            made[label], is_whole = roll(one, room, *each)
            rejected += [] if is_whole else [label]
    return Short(wave, made, some, tuple(rejected))


def _is_rolled(one: Rollout) -> bool:
    return bool(one.restarted) and one.workload.manifest.kind == "Deployment"


def _orders(labels: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the orders that matter in which workloads may take room: each first, and each last."""
    for label in labels:
        others = [other for other in labels if other != label]
        yield [label, *others]
        yield [*others, label]


def _counts(
    order: Iterable[str], every: Mapping[str, Rollout], room: _Room, now: Mapping[str, Amounts]
) -> Mapping[str, int]:
    """Return how many pods of each workload come, where they take room in an order."""
    left = _Room(room.limits, dict(room.used))
    return {label: left.take(now.get(label, {}), len(every[label].added)) for label in order}


def _some(
    labels: Iterable[str], every: Mapping[str, Rollout], counts: Sequence[Mapping[str, int]]
) -> Some | None:
    """Return the pods of which nobody knows whether they come."""
    pods, certain = list[str](), dict[str, int]()
    for label in labels:
        one, found = every[label], [count[label] for count in counts]
        if one.workload.manifest.kind == "Deployment" or one.is_ordered:
            certain[label] = min(found)
            pods += one.added[min(found) : max(found)]
        elif min(found) == len(one.added):
            certain[label] = min(found)
        elif max(found):
            certain[label] = 0
            pods += one.added
    totals = [sum(count[label] - sure for label, sure in certain.items()) for count in counts]
    return Some(min(totals), max(totals), tuple(pods)) if pods else None


def _replaced(one: Rollout, room: _Room, was: Amounts, now: Amounts) -> tuple[Rollout, bool]:
    """Return what comes true where a StatefulSet replaces its pods, and whether that is all."""
    back, away = list[str](), list[str]()
    for name in one.restarted:
        _take(room.used, was, -1)
        (back if room.take(now, 1) else away).append(name)
        if len(away) == max(one.at_once, 1):
            break
    return replace(one, restarted=tuple(back), removed=(*one.removed, *away)), not away


def _rolled_out(one: Rollout, room: _Room, was: Amounts, now: Amounts) -> tuple[Rollout, bool]:
    """Return what comes true where a Deployment replaces its pods, and whether that is all."""
    surge, away = rolled(one.workload, one.after)
    if one.workload.get("spec", "strategy", "type") == "Recreate":
        surge, away = 0, one.after
    old, new = one.pods - len(one.removed), 0
    while old or new < one.after:
        if new < one.after and old + new < one.after + surge and room.take(now, 1):
            new += 1
        elif old and old + new > one.after - away:
            _take(room.used, was, -1)
            old -= 1
        else:
            break
    name, more = one.workload.manifest.name, old + new - one.pods
    replaced = min(new, one.pods - old)
    made = replace(
        one,
        restarted=(name,) * replaced,
        added=(name,) * max(more, 0),
        removed=(name,) * max(-more, 0),
    )
    return made, old == 0 and new == one.after


def _take(used: dict[str, Decimal], each: Amounts, count: int) -> None:
    for resource, amount in each.items():
        used[resource] += amount * count


def _freed(one: Rollout, each: Amounts) -> Amounts:
    """Return what a pod gives back that is taken away: a StatefulSet keeps its claims."""
    policy = one.workload.get("spec", "persistentVolumeClaimRetentionPolicy", "whenScaled")
    keeps = one.workload.manifest.kind == "StatefulSet" and policy != "Delete"
    return _without_claims(each) if keeps else each


def _without_claims(each: Amounts) -> Amounts:
    return {name: amount for name, amount in each.items() if not name.endswith(_CLAIMS)}


def _each(side: Objects, limits: Amounts) -> Mapping[str, Amounts]:
    """Return what one pod of a workload takes, with its claims, of what quotas limit, by label."""
    found: dict[str, dict[str, Decimal]] = {}
    for share in side.counted.shares:
        if share.resource in limits:
            own = found.setdefault(share.label, {})
            own[share.resource] = own.get(share.resource, Decimal(0)) + share.each
    return found
