"""Find all effects of a change on one environment, each with its reason. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from scripts.impact.effects import access, availability, resources, sync
from scripts.impact.effects.context import Context
from scripts.impact.effects.effect import Effect

FAMILIES: Sequence[Callable[[Context], Iterator[Effect]]] = (
    sync.rejected,
    sync.manual,
    sync.rule_problems,
    sync.created,
    sync.pruned,
    availability.restarts,
    availability.one_way,
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


def all_effects(context: Context) -> list[Effect]:
    """Return the effects of a change, the worst first."""
    effects = [effect for family in FAMILIES for effect in family(context)]
    return sorted(dict.fromkeys(effects), key=lambda effect: effect.risk)
