"""What comes of a change in one environment, each with its reason; the worst first. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from scripts.impact.effects import access, availability, resources, sync
from scripts.impact.effects.context import Context
from scripts.impact.effects.effect import Consequence

FAMILIES: Sequence[Callable[[Context], Iterator[Consequence]]] = (
    sync.refused,
    sync.by_hand,
    sync.told,
    sync.added,
    sync.pruned,
    availability.restarts,
    availability.taken_over,
    availability.unread,
    availability.chain,
    resources.volumes,
    access.connections,
    access.exposure,
    access.permissions,
    resources.costs,
    resources.alerts,
    sync.settings,
)


def consequences(found: Context) -> list[Consequence]:
    """Return what comes of a change, the worst first."""
    every = [one for family in FAMILIES for one in family(found)]
    return sorted(dict.fromkeys(every), key=lambda one: one.risk)
