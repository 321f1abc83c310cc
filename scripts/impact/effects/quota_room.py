"""Predict which new pods a quota has room for. Pure.

https://kubernetes.io/docs/concepts/policy/resource-quotas/: the API server rejects a pod that does
not fit, and its controller retries forever. So the sync waits in that wave, and later ones do not
start.

If several pods compete for room, the first one that is created gets it. The order is certain only
if one pod waits for the other: in a StatefulSet, unless its podManagementPolicy is Parallel.
Workloads of one wave do not wait for each other. Running pods are counted at their minimum, so that
a pod that is reported missing is certainly missing.
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
"""Resources of claims: a pod that replaces another already has its claims."""


@dataclass(frozen=True, slots=True)
class UncertainPods:
    """Pods of which only some are created; chance decides which."""

    least: int
    most: int
    """More than the least only if pods of several sizes compete for room."""
    pods: tuple[str, ...]
    """Pods of a Deployment are listed as its name."""


@dataclass(frozen=True, slots=True)
class Shortage:
    """The first wave in which a quota has no room for a pod."""

    wave: int
    rollouts: Mapping[str, Rollout]
    """Workload's label → what the quota allows of its rollout in this wave: `added` has the pods
    that are certainly created, and `removed` also the pods that cannot be replaced."""
    uncertain: UncertainPods | None
    """Pods that may be created in addition."""
    rejected: tuple[str, ...]
    """Labels of the workloads that might get only some of their pods."""


def hard(objects: Objects) -> Amounts:
    """Return the lowest limit of all quotas for each resource, by the name that shares use."""
    limits: dict[str, Decimal] = {}
    for _, amounts in resource_usage.quotas(objects.manifests):
        for name, amount in amounts.items():
            resource = resource_usage.SAME.get(name, name)
            limits[resource] = min(amount, limits.get(resource, amount))
    return limits


def shortage(old: Objects, new: Objects, rollouts: Sequence[Rollout]) -> Shortage | None:
    """Return the first wave in which a quota has no room for a pod; None if there is none.

    rollouts: in the order of the waves.
    """
    limits = hard(new)
    if not limits:
        return None
    old_sizes, new_sizes = _pod_sizes(old, limits), _pod_sizes(new, limits)
    used = dict.fromkeys(limits, Decimal(0))
    for workload in old.workloads:
        if workload.manifest.kind in ("Deployment", "StatefulSet"):
            _take(used, old_sizes.get(workload.manifest.label, {}), workload.least)
    kept = {workload.manifest.label for workload in new.workloads}
    for wave, group in groupby(rollouts, lambda each: sync.wave_of(each.workload.manifest)):
        # Workloads that are removed from git are deleted after all waves.
        in_wave = {each.workload.manifest.label: each for each in group}
        in_wave = {label: rollout for label, rollout in in_wave.items() if label in kept}
        for label, rollout in in_wave.items():
            _take(used, _freed(rollout, old_sizes.get(label, {})), -len(rollout.removed))
        result = _wave(wave, in_wave, _Room(limits, used), old_sizes, new_sizes)
        if result.rejected:
            return result
    return None


@dataclass(frozen=True, slots=True)
class _Room:
    limits: Amounts
    used: dict[str, Decimal]

    def fits(self, size: Amounts) -> bool:
        """Return whether there is room for a pod; only the resources that it uses count."""
        return all(self.used[name] + amount <= self.limits[name] for name, amount in size.items())

    def take(self, size: Amounts, wanted: int) -> int:
        """Reserve room for pods, and return for how many there was room."""
        count = 0
        while count < wanted and self.fits(size):
            _take(self.used, size, 1)
            count += 1
        return count


def _wave(
    wave: int, rollouts: Mapping[str, Rollout], room: _Room, old_sizes: Mapping[str, Amounts],
    new_sizes: Mapping[str, Amounts],
) -> Shortage:  # fmt: skip
    """Return what the quota allows in a wave, and reserve room for its pods."""
    limited, rejected = dict(rollouts), list[str]()
    # A Deployment in a rollout adds its additional pods as part of the rollout.
    growing = [label for label, one in rollouts.items() if one.added and not _is_rolled(one)]
    counts = [_counts(order, rollouts, room, new_sizes) for order in _orders(growing)]
    uncertain = _uncertain_pods(growing, rollouts, counts)
    for label in growing:
        rollout, certain = rollouts[label], min(count[label] for count in counts)
        _take(room.used, new_sizes.get(label, {}), certain)
        if certain < len(rollout.added):
            # Until all of its pods exist, the controller replaces none of them.
            is_named = rollout.is_ordered or rollout.workload.manifest.kind == "Deployment"
            added = rollout.added[: certain * is_named]
            limited[label] = replace(rollout, added=added, restarted=())
            rejected.append(label)
    for label, rollout in limited.items():
        if rollout.restarted:
            sizes = [_without_claims(each.get(label, {})) for each in (old_sizes, new_sizes)]
            roll = _rolled_out if _is_rolled(rollout) else _replaced
            limited[label], is_complete = roll(rollout, room, *sizes)
            rejected += [] if is_complete else [label]
    return Shortage(wave, limited, uncertain, tuple(rejected))


def _is_rolled(rollout: Rollout) -> bool:
    return bool(rollout.restarted) and rollout.workload.manifest.kind == "Deployment"


def _orders(labels: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the orders in which workloads may take room: each first, and each last."""
    for label in labels:
        others = [other for other in labels if other != label]
        yield [label, *others]
        yield [*others, label]


def _counts(
    order: Iterable[str],
    rollouts: Mapping[str, Rollout],
    room: _Room,
    sizes: Mapping[str, Amounts],
) -> Mapping[str, int]:
    """Return how many pods each workload gets if the workloads take room in an order."""
    copy = _Room(room.limits, dict(room.used))
    return {label: copy.take(sizes.get(label, {}), len(rollouts[label].added)) for label in order}


def _uncertain_pods(
    labels: Iterable[str], rollouts: Mapping[str, Rollout], counts: Sequence[Mapping[str, int]]
) -> UncertainPods | None:
    """Return the pods that chance decides about.

    counts: how many pods each workload gets, for each order.
    """
    pods, certain = list[str](), dict[str, int]()
    for label in labels:
        rollout, possible = rollouts[label], [count[label] for count in counts]
        least, most = min(possible), max(possible)
        if rollout.workload.manifest.kind == "Deployment" or rollout.is_ordered:
            certain[label] = least
            pods += rollout.added[least:most]
        elif least == len(rollout.added):
            certain[label] = least
        elif most:
            certain[label] = 0
            pods += rollout.added
    totals = [sum(count[label] - sure for label, sure in certain.items()) for count in counts]
    return UncertainPods(min(totals), max(totals), tuple(pods)) if pods else None


def _replaced(
    rollout: Rollout, room: _Room, old_size: Amounts, new_size: Amounts
) -> tuple[Rollout, bool]:
    """Return what the quota allows of a StatefulSet's restart, and whether that is all."""
    replaced, missing = list[str](), list[str]()
    for name in rollout.restarted:
        _take(room.used, old_size, -1)
        (replaced if room.take(new_size, 1) else missing).append(name)
        if len(missing) == max(rollout.at_once, 1):
            break
    removed = (*rollout.removed, *missing)
    return replace(rollout, restarted=tuple(replaced), removed=removed), not missing


def _rolled_out(
    rollout: Rollout, room: _Room, old_size: Amounts, new_size: Amounts
) -> tuple[Rollout, bool]:
    """Return what the quota allows of a Deployment's rollout, and whether that is all."""
    wanted = rollout.after
    surge, unavailable = rolled(rollout.workload, wanted)
    if rollout.workload.get("spec", "strategy", "type") == "Recreate":
        surge, unavailable = 0, wanted
    old, new = rollout.pods - len(rollout.removed), 0
    while old or new < wanted:
        if new < wanted and old + new < wanted + surge and room.take(new_size, 1):
            new += 1
        elif old and old + new > wanted - unavailable:
            _take(room.used, old_size, -1)
            old -= 1
        else:
            break
    name, more = rollout.workload.manifest.name, old + new - rollout.pods
    replaced = min(new, rollout.pods - old)
    limited = replace(
        rollout,
        restarted=(name,) * replaced,
        added=(name,) * max(more, 0),
        removed=(name,) * max(-more, 0),
    )
    return limited, old == 0 and new == wanted


def _take(used: dict[str, Decimal], size: Amounts, count: int) -> None:
    for resource, amount in size.items():
        used[resource] += amount * count


def _freed(rollout: Rollout, size: Amounts) -> Amounts:
    """Return what a removed pod frees: a StatefulSet keeps its claims."""
    policy = rollout.workload.get("spec", "persistentVolumeClaimRetentionPolicy", "whenScaled")
    keeps = rollout.workload.manifest.kind == "StatefulSet" and policy != "Delete"
    return _without_claims(size) if keeps else size


def _without_claims(size: Amounts) -> Amounts:
    return {name: amount for name, amount in size.items() if not name.endswith(_CLAIMS)}


def _pod_sizes(objects: Objects, limits: Amounts) -> Mapping[str, Amounts]:
    """Return workload's label → what one pod and its claims use of the limited resources."""
    sizes: dict[str, dict[str, Decimal]] = {}
    for share in objects.counted.shares:
        if share.resource in limits:
            size = sizes.setdefault(share.label, {})
            size[share.resource] = size.get(share.resource, Decimal(0)) + share.each
    return sizes
