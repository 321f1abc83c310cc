"""What comes of a change in one environment, each with its reason; the worst first. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from scripts.impact import access, delivery, resources, running
from scripts.impact.consequence import Consequence
from scripts.impact.context import Context

FAMILIES: Sequence[Callable[[Context], Iterator[Consequence]]] = (
    delivery.refused,
    delivery.by_hand,
    delivery.told,
    delivery.added,
    delivery.pruned,
    running.restarts,
    running.taken_over,
    running.unread,
    running.chain,
    resources.volumes,
    access.connections,
    access.exposure,
    access.permissions,
    resources.costs,
    resources.alerts,
    delivery.settings,
)


def consequences(found: Context) -> list[Consequence]:
    """Return what comes of a change, the worst first."""
    every = [one for family in FAMILIES for one in family(found)]
    return sorted(dict.fromkeys(every), key=lambda one: one.risk)
