"""Find all effects of a change on one environment, each with its reason. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from scripts.impact.effects import access, availability, resources, sync, windows
from scripts.impact.effects.context import Context
from scripts.impact.effects.effect import Effect

FAMILIES: Sequence[Callable[[Context], Iterator[Effect]]] = (
    sync.rejected,
    sync.manual,
    sync.rule_problems,
    sync.created,
    sync.pruned,
    sync.verified,
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
    windows.windows,
    windows.signatures,
    sync.settings,
)


OF_MOVE: Sequence[Callable[[Context], Iterator[Effect]]] = (
    sync.manual,
    sync.rule_problems,
    sync.settings,
)
"""What counts if an environment moves: no object has an old state at the new place."""


def all_effects(context: Context) -> list[Effect]:
    """Return the effects of a change, the worst first."""
    return _sorted(context, FAMILIES)


def effects_of_move(context: Context) -> list[Effect]:
    """Return the effects of a move to another namespace or cluster, the worst first."""
    return _sorted(context, OF_MOVE)


def _sorted(
    context: Context, families: Sequence[Callable[[Context], Iterator[Effect]]]
) -> list[Effect]:
    effects = [effect for family in families for effect in family(context)]
    return sorted(dict.fromkeys(effects), key=lambda effect: effect.risk)
