"""Effects on resources and alerts: CPU, memory, volumes, load balancers. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

from scripts.core import paths
from scripts.impact.effects import quota_room
from scripts.impact.effects.context import Context
from scripts.impact.effects.effect import Effect, Risk, listed, verb
from scripts.kubernetes.manifest import Manifest
from scripts.kubernetes.resource_usage import Claim
from scripts.kubernetes.workloads import mappings
from scripts.rules.snapshot import Objects

_MOST = 6
"""Alerts that are named."""
_MAXIMUM = "autoscalers at their limit, Deployments in a rollout"
_GIB = Decimal(2**30)
_GROUP = "alb.ingress.kubernetes.io/group.name"
_PAID = {
    "requests.cpu": ("CPU", "cores", Decimal(1)),
    "requests.memory": ("memory", "GiB", _GIB),
    "requests.storage": ("volumes", "GiB", _GIB),
    "services.loadbalancers": ("load balancers of Services", "", Decimal(1)),
    "ingresses": ("load balancers of Ingresses", "", Decimal(1)),
}
"""Resource → its name, its unit, and how much one unit is."""


def costs(context: Context) -> Iterator[Effect]:
    """Yield the changes of what costs money, with the limits of quotas."""
    old_totals, new_totals = _totals(context.old), _totals(context.new)
    limits = quota_room.hard(context.new)
    by_risk: dict[Risk, list[str]] = {}
    for resource, (name, unit, size) in _PAID.items():
        old, new = (each.get(resource, Decimal(0)) for each in (old_totals, new_totals))
        if old == new:
            continue
        limit = limits.get(resource)
        amounts = f"{_number(old / size)} → {_number(new / size)}{f' {unit}' if unit else ''}"
        more = f"{'+' if new > old else '−'}{_number(abs(new - old) / size)}"
        quota = f"; quota {_number(limit / size)}" if limit is not None else ""
        risk = Risk.COSTS if new > old else Risk.CHANGES
        if limit is not None and new > limit:
            risk = Risk.STOPS
        by_risk.setdefault(risk, []).append(f"{name} {amounts} ({more}{quota})")
    reason = "requests, replicas, volumes or load balancers change"
    for risk, resources in by_risk.items():
        exceeded = "; the API server rejects what exceeds the quota" if risk is Risk.STOPS else ""
        message = f"maximum use ({_MAXIMUM}): {', '.join(resources)}{exceeded}"
        yield Effect(risk, message, reason)


def used(objects: Objects) -> list[str]:
    """Return what an environment uses at most: 12 cores of CPU, 40 GiB of memory."""
    totals = _totals(objects)
    amounts = []
    for resource, (name, unit, size) in _PAID.items():
        if amount := totals.get(resource):
            number = _number(amount / size)
            amounts.append(f"{number} {unit} of {name}" if unit else f"{number} {name}")
    return amounts


def _totals(objects: Objects) -> Mapping[str, Decimal]:
    totals: dict[str, Decimal] = {}
    for share in objects.counted.shares:
        totals[share.resource] = totals.get(share.resource, Decimal(0)) + share.total
    ingresses = objects.of_kind("Ingress")
    groups = {str(each.annotations.get(_GROUP) or each.name) for each in ingresses}
    return totals | {"ingresses": Decimal(len(groups))}


def _number(amount: Decimal) -> str:
    return f"{amount.quantize(Decimal('0.01')).normalize():f}"


def volumes(context: Context) -> Iterator[Effect]:
    """Yield the volumes that are added, change their size, or stay without a pod."""
    old_claims, new_claims = (
        {claim.manifest.label: claim for claim in each.counted.claims}
        for each in (context.old, context.new)
    )
    for label in dict.fromkeys((*old_claims, *new_claims)):
        old, new = old_claims.get(label), new_claims.get(label)
        is_of_set = (new or old_claims[label]).manifest.kind == "StatefulSet"
        # The API server rejects another size in a StatefulSet; another effect says that.
        if old and new and new.storage != old.storage and not is_of_set:
            yield _resized(label, old, new)
        if is_of_set:
            yield from _pods_volumes(label, old, new)


def _resized(label: str, old: Claim, new: Claim) -> Effect:
    sizes = f"from {_number(old.storage / _GIB)} to {_number(new.storage / _GIB)} GiB"
    if new.manifest.kind == "PersistentVolumeClaim":
        message, reason = f"{label}: its volume changes", "a volume can grow, but never shrink"
    else:
        message, reason = f"{label}: volumes of later pods change", "each pod gets a new volume"
    return Effect(Risk.CHANGES, f"{message} {sizes}", reason, "", (label,))


def _pods_volumes(label: str, old: Claim | None, new: Claim | None) -> Iterator[Effect]:
    """Yield the volumes of a StatefulSet that are added, or stay without a pod."""
    claim = new or old
    assert claim is not None
    size = f"{_number(claim.storage / _GIB)} GiB"
    added = (new.count if new else 0) - (old.count if old else 0)
    if added > 0:
        storage_class = f" of class {claim.storage_class}" if claim.storage_class else ""
        volumes = "volume" if added == 1 else "volumes"
        message = f"{label}: {added} new {volumes} of {size}{storage_class}"
        yield Effect(Risk.CHANGES, message, "each new pod gets its own volume", "", (label,))
    elif added < 0:
        volumes = "1 volume of {} stays" if added == -1 else f"{-added} volumes of {{}} stay"
        message = f"{label}: {volumes.format(size)} without a pod"
        reason = "claims outlive their pods; a later pod with the same ordinal uses its claim again"
        yield Effect(Risk.CHANGES, message, reason, "", (label,))


def alerts(context: Context) -> Iterator[Effect]:
    """Yield new alerts, and alerts with another condition; a rule reports removed alerts."""
    if not context.touches("PrometheusRule"):
        return
    old, new = (_alerts(each.of_kind("PrometheusRule")) for each in (context.old, context.new))
    added = sorted(new.keys() - old.keys())
    modified = sorted(name for name in new.keys() & old.keys() if new[name] != old[name])
    if added:
        message = f"{verb(added, 'new alert', 'new alerts')}: {listed(added, _MOST)}"
        yield Effect(Risk.CHANGES, message, "")
    if modified:
        names = listed(modified, _MOST)
        message = f"{names} {verb(modified, 'fires', 'fire')} under another condition than before"
        reason = f"the expression or duration of the {verb(modified, 'alert', 'alerts')} changes"
        yield Effect(Risk.CHANGES, message, reason)


def _alerts(rules: list[Manifest] | object) -> dict[str, object]:
    conditions: dict[str, object] = {}
    for manifest in rules if isinstance(rules, list) else ():
        for _, group in mappings(paths.get(manifest.object, ("spec", "groups"))):
            for _, rule in mappings(group.get("rules")):
                if "alert" in rule:
                    conditions[str(rule["alert"])] = (rule.get("expr"), rule.get("for"))
    return conditions
