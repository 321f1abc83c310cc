"""What a cluster shows once a change is synced: checked on a real one. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from scripts.impact.effects.context import Context
from scripts.impact.effects.quota_room import Some
from scripts.kubernetes import sync


@dataclass(frozen=True, slots=True)
class Restarted:
    """The pods of one workload that are replaced."""

    wave: int
    """Those of a wave are all replaced before those of a later one; within a wave, workloads don't
    wait for each other."""
    pods: tuple[str, ...]
    """In the order in which they are ended; of a Deployment, whose pods have no names of their own,
    once its name."""
    at_once: int
    """A pod is ended when fewer than so many of those before it are away."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of pods and objects; all empty where nothing does, or no sync begins.

    It says what Argo CD and Kubernetes promise, and nothing about what is chance: but for what it
    says of `restarted`, no order means anything.
    """

    is_refused: bool
    """The API server refuses a part, so that Argo CD applies nothing at all."""
    restarted: tuple[Restarted, ...] = ()
    """Pods that are replaced."""
    added: tuple[str, ...] = ()
    """Pods that are sure to come; of a Deployment, its name once for each."""
    added_some: Some | None = None
    """Pods of which only some come beside them: a quota has no room for all."""
    removed: tuple[str, ...] = ()
    """Pods that go, named as those that come."""
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
    """A quota has no room for a pod: the sync waits in its wave, for ever."""


def outcome(found: Context) -> Outcome:
    """Return what becomes of an environment."""
    if found.refused:
        return Outcome(is_refused=True)
    goes, asks, stays = found.prunes
    if not found.is_synced:
        return Outcome(is_refused=False, kept=tuple(stays))
    failing = min((sync.wave_of(one.manifest) for one in found.failing), default=None)
    short = found.short
    # Argo CD waits for a Deployment that is paused as for one that is not ready.
    paused = [one.manifest for one in found.new.workloads if one.get("spec", "paused") is True]
    held = [*map(sync.wave_of, paused), *([short.wave] if short else [])]
    last = min([*held, *([] if failing is None else [failing])], default=None)
    if last is not None:
        goes, asks, stays = [], [], [*goes, *asks, *stays]
    elif asks:
        goes, asks = [], [*asks, *goes]
    if short and short.wave != last:
        short = None
    rollouts = [
        found.pods(one)
        for one in found.rollouts
        if one.workload.manifest.label not in (*asks, *stays)
        and (last is None or sync.wave_of(one.workload.manifest) <= last)
    ]
    return Outcome(
        is_refused=False,
        restarted=tuple(
            Restarted(
                wave=sync.wave_of(one.workload.manifest),
                pods=tuple(dict.fromkeys(one.restarted)),
                at_once=one.at_once if one.workload.manifest.kind == "StatefulSet" else 1,
            )
            for one in rollouts
            if one.restarted
        ),
        added=tuple(name for one in rollouts for name in one.added),
        added_some=short.some if short else None,
        removed=tuple(name for one in rollouts for name in one.removed),
        pruned=tuple(goes),
        confirmed=tuple(asks),
        kept=tuple(stays),
        is_failing=failing is not None and failing == last,
        is_short=short is not None,
    )
