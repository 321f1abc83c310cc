"""What a cluster shows once a change is synced: checked on a real one. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scripts import argocd
from scripts.impact.context import Context


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of pods and objects; all empty where nothing does, or no sync begins."""

    is_refused: bool
    """The API server refuses a part, so that Argo CD applies nothing at all."""
    restarted: tuple[str, ...] = ()
    """Pods that are replaced, in their order; of a Deployment, once its name."""
    added: tuple[str, ...] = ()
    """Pods that come, named likewise."""
    removed: tuple[str, ...] = ()
    """Pods that go, named likewise."""
    pruned: tuple[str, ...] = ()
    """Kind/name of the objects that are deleted."""
    confirmed: tuple[str, ...] = ()
    """Kind/name of those that stay until a person confirms: the sync waits for it, and prunes
    nothing before, also of what asks for no confirmation."""
    kept: tuple[str, ...] = ()
    """Kind/name of those that leave git and stay in the cluster."""
    is_failing: bool = False
    """The API server refuses a new object: the waves until its own come, later ones don't."""
    is_short: bool = False
    """A quota has no room for pods that come: the sync waits in their wave, for ever."""


def outcome(found: Context) -> Outcome:
    """Return what becomes of an environment."""
    if found.refused:
        return Outcome(is_refused=True)
    goes, asks, stays = found.prunes
    missing = found.short
    if not found.is_synced:
        return Outcome(is_refused=False, kept=tuple(stays))
    # Argo CD waits for a Deployment that is paused as for one that is not ready.
    held = [one.manifest for one in found.failing]
    held += [
        one.manifest
        for one in found.new.workloads
        if one.manifest.label in missing or one.get("spec", "paused") is True
    ]
    last = min(map(argocd.wave_of, held), default=None)
    if held:
        goes, asks, stays = [], [], [*goes, *asks, *stays]
    elif asks:
        goes, asks = [], [*asks, *goes]
    rollouts = [
        one
        for one in found.rollouts
        if one.workload.manifest.label not in (*asks, *stays)
        and (last is None or argocd.wave_of(one.workload.manifest) <= last)
    ]
    return Outcome(
        is_refused=False,
        restarted=_once(name for one in rollouts for name in one.restarted),
        added=_once(
            name
            for one in rollouts
            for name in one.added[: len(one.added) - missing.get(one.workload.manifest.label, 0)]
        ),
        removed=_once(name for one in rollouts for name in one.removed),
        pruned=tuple(goes),
        confirmed=tuple(asks),
        kept=tuple(stays),
        is_failing=bool(found.failing),
        is_short=bool(missing),
    )


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
