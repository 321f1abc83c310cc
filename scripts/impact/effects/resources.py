"""What a change takes and gives back: CPU, memory, volumes, load balancers; alerts. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

from scripts.core import paths
from scripts.impact.effects import quota_room
from scripts.impact.effects.context import Context
from scripts.impact.effects.effect import Consequence, Risk, listed, verb
from scripts.kubernetes.manifest import Manifest
from scripts.kubernetes.workloads import mappings
from scripts.rules.snapshot import Objects

_MOST = 6
"""Alerts that are named."""
_GIB = Decimal(2**30)
_GROUP = "alb.ingress.kubernetes.io/group.name"
_PAID = {
    "requests.cpu": ("CPU", "cores", Decimal(1)),
    "requests.memory": ("memory", "GiB", _GIB),
    "requests.storage": ("volumes", "GiB", _GIB),
    "services.loadbalancers": ("load balancers of Services", "", Decimal(1)),
    "ingresses": ("load balancers of Ingresses", "", Decimal(1)),
}
"""Resource → what people call it, its unit, and how much of it one unit is."""


def costs(found: Context) -> Iterator[Consequence]:
    """Yield what is paid for, before and after, beside the room that a quota leaves."""
    was, now = (_totals(side) for side in (found.old, found.new))
    hard = quota_room.hard(found.new)
    told: dict[Risk, list[str]] = {}
    for resource, (name, unit, one) in _PAID.items():
        old, new = was.get(resource, Decimal(0)), now.get(resource, Decimal(0))
        if old == new:
            continue
        limit = hard.get(resource)
        is_over = limit is not None and new > limit
        left = f" of {_number(limit / one)} in the quota" if limit is not None else ""
        more = "+" if new > old else "−"
        words = f"{name} {_number(old / one)} → {_number(new / one)}{f' {unit}' if unit else ''}"
        words += f"{left} ({more}{_number(abs(new - old) / one)})"
        risk = Risk.STOPS if is_over else Risk.COSTS if new > old else Risk.CHANGES
        told.setdefault(risk, []).append(words)
    for risk, every in told.items():
        beyond = "; what goes beyond the quota is not made" if risk is Risk.STOPS else ""
        yield Consequence(risk, f"{', '.join(every)}{beyond}", "at the environment's largest")


def taken(side: Objects) -> list[str]:
    """Return what is paid for at an environment's largest: 12 cores of CPU, 40 GiB of memory."""
    totals = _totals(side)
    told = []
    for resource, (name, unit, one) in _PAID.items():
        if amount := totals.get(resource):
            number = _number(amount / one)
            told.append(f"{number} {unit} of {name}" if unit else f"{number} {name}")
    return told


def _totals(side: Objects) -> Mapping[str, Decimal]:
    found: dict[str, Decimal] = {}
    for share in side.counted.shares:
        found[share.resource] = found.get(share.resource, Decimal(0)) + share.total
    groups = {str(one.annotations.get(_GROUP) or one.name) for one in side.of_kind("Ingress")}
    return found | {"ingresses": Decimal(len(groups))}


def _number(amount: Decimal) -> str:
    return f"{amount.quantize(Decimal('0.01')).normalize():f}"


def volumes(found: Context) -> Iterator[Consequence]:
    """Yield the volumes that come, grow, or stay behind."""
    was, now = (
        {c.manifest.label: c for c in side.counted.claims} for side in (found.old, found.new)
    )
    for label in dict.fromkeys((*was, *now)):
        old, new = was.get(label), now.get(label)
        before, after = old.count if old else 0, new.count if new else 0
        one = new or old
        assert one is not None
        size = f"{_number(one.storage / _GIB)} GiB"
        kind = f" of class {one.storage_class}" if one.storage_class else ""
        # That of a StatefulSet can't: what is refused is told of already.
        if old and new and new.storage != old.storage and one.manifest.kind != "StatefulSet":
            is_kept = one.manifest.kind == "PersistentVolumeClaim"
            whose = "its volume" if is_kept else "the volume of its later pods"
            message = f"{label}: {whose}: {_number(old.storage / _GIB)} → {size}"
            reason = "it never shrinks again" if is_kept else "made anew for each pod"
            yield Consequence(Risk.CHANGES, message, reason, "", (label,))
        if one.manifest.kind != "StatefulSet":
            continue
        if after > before:
            count = after - before
            message = (
                f"{label}: {count} new {'volume' if count == 1 else 'volumes'} of {size}{kind}"
            )
            yield Consequence(Risk.CHANGES, message, "one for each pod", "", (label,))
        elif after < before:
            count = before - after
            stay = "volume of {} stays" if count == 1 else "volumes of {} stay"
            message = f"{label}: {count} {stay.format(size)} behind"
            reason = "claims outlive their pods; a later pod of that ordinal takes its own again"
            yield Consequence(Risk.CHANGES, message, reason, "", (label,))


def alerts(found: Context) -> Iterator[Consequence]:
    """Yield the alerts that are new or mean something else; rules tell which are gone."""
    if not found.touches("PrometheusRule"):
        return
    was, now = (_alerts(side.of_kind("PrometheusRule")) for side in (found.old, found.new))
    new = sorted(now.keys() - was.keys())
    other = sorted(name for name in now.keys() & was.keys() if now[name] != was[name])
    if new:
        yield Consequence(
            Risk.CHANGES, f"{verb(new, 'a new alert', 'new alerts')}: {listed(new, _MOST)}", ""
        )
    if other:
        message = (
            f"{listed(other, _MOST)} {verb(other, 'fires', 'fire')} on something else than before"
        )
        yield Consequence(Risk.CHANGES, message, "its expression or duration")


def _alerts(rules: list[Manifest] | object) -> dict[str, object]:
    found: dict[str, object] = {}
    for manifest in rules if isinstance(rules, list) else ():
        for _, group in mappings(paths.get(manifest.object, ("spec", "groups"))):
            for _, one in mappings(group.get("rules")):
                if "alert" in one:
                    found[str(one["alert"])] = (one.get("expr"), one.get("for"))
    return found
