"""How many of the pods that a change brings a quota has room for. Pure.

https://kubernetes.io/docs/concepts/policy/resource-quotas/: what does not fit is refused as it is
made, and its controller tries again for ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from scripts import capacity
from scripts.impact.rollout import Rollout
from scripts.rules.objects import Objects

Amounts = Mapping[str, Decimal]


def hard(side: Objects) -> Amounts:
    """Return the least that quotas allow of each resource, by the name that shares have for it."""
    found: dict[str, Decimal] = {}
    for _, amounts in capacity.quotas(side.manifests):
        for name, amount in amounts.items():
            resource = capacity.SAME.get(name, name)
            found[resource] = min(amount, found.get(resource, amount))
    return found


def short(old: Objects, new: Objects, rollouts: Sequence[Rollout]) -> Mapping[str, int]:
    """Return how many of its new pods a workload does not get, by its label, where that is any.

    rollouts: what becomes of pods, in the order of the waves.
    What runs before is counted as it is at the least, so that a pod told of is sure to be missing.
    """
    limits = hard(new)
    if not limits or not any(one.added for one in rollouts):
        return {}
    was, now = _each(old), _each(new)
    used: dict[str, Decimal] = {}
    for workload in old.workloads:
        label = workload.manifest.label
        pods = workload.least if workload.manifest.kind in ("Deployment", "StatefulSet") else 0
        for resource, amount in was.get(label, {}).items():
            used[resource] = used.get(resource, Decimal(0)) + amount * pods
    missing: dict[str, int] = {}
    for one in rollouts:
        label = one.workload.manifest.label
        own = now.get(label, {})
        for index in range(len(one.added)):
            full = [
                resource
                for resource, amount in own.items()
                if resource in limits and used.get(resource, Decimal(0)) + amount > limits[resource]
            ]
            if full:
                missing[label] = len(one.added) - index
                break
            for resource, amount in own.items():
                used[resource] = used.get(resource, Decimal(0)) + amount
    return missing


def _each(side: Objects) -> Mapping[str, Amounts]:
    """Return what one pod of a workload takes, with its claims, by the workload's label."""
    found: dict[str, dict[str, Decimal]] = {}
    for share in side.counted.shares:
        found.setdefault(share.label, {})[share.resource] = share.each
    return found
