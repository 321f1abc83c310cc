"""Predict what a cluster shows once a change is synced; tests compare it with a real one. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from scripts.impact.effects.context import Context
from scripts.impact.effects.quota_room import UncertainPods
from scripts.kubernetes import sync


@dataclass(frozen=True, slots=True)
class RestartedPods:
    """The replaced pods of one workload."""

    wave: int
    """Pods of a wave are all replaced before those of a later one; within a wave, workloads do not
    wait for each other."""
    pods: tuple[str, ...]
    """In the order in which they stop; for a Deployment, whose pods have random names, its name
    once."""
    at_once: int
    """A pod stops when fewer than this number of the pods before it are down."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What happens to pods and objects; all empty if nothing happens, or no sync starts.

    It contains what Argo CD and Kubernetes guarantee, and leaves out what is chance. Except in
    `restarted`, the order of items has no meaning.
    """

    is_refused: bool
    """The API server rejects an object, so that Argo CD applies nothing."""
    restarted: tuple[RestartedPods, ...] = ()
    """Replaced pods."""
    added: tuple[str, ...] = ()
    """Pods that are certainly created; pods of a Deployment are listed as its name."""
    added_some: UncertainPods | None = None
    """Pods of which only some are created in addition, because a quota has no room for all."""
    removed: tuple[str, ...] = ()
    """Removed pods, named like the added ones."""
    pruned: tuple[str, ...] = ()
    """Kind/name of the deleted objects."""
    confirmed: tuple[str, ...] = ()
    """Kind/name of the objects that stay until a person confirms their deletion. The sync waits for
    that, and prunes nothing before, not even objects that need no confirmation."""
    kept: tuple[str, ...] = ()
    """Kind/name of the objects that are removed from git and stay in the cluster."""
    is_failing: bool = False
    """The API server rejects a new object: later waves than its own are not applied."""
    is_short: bool = False
    """A quota has no room for a pod: the sync waits in its wave forever."""


def prediction(context: Context) -> Prediction:
    """Return what happens to an environment."""
    if context.rejected:
        return Prediction(is_refused=True)
    pruned, confirmed, kept = (
        context.pruned.deleted,
        context.pruned.confirmed,
        context.pruned.kept,
    )
    if not context.is_synced:
        return Prediction(is_refused=False, kept=kept)
    failing = min(
        (sync.wave_of(problem.manifest) for problem in context.rejected_in_sync), default=None
    )
    shortage = context.shortage
    last = _last_wave(context, failing)
    if last is not None:
        pruned, confirmed, kept = (), (), (*pruned, *confirmed, *kept)
    elif confirmed:
        pruned, confirmed = (), (*confirmed, *pruned)
    if shortage and shortage.wave != last:
        shortage = None
    rollouts = [
        context.limited(rollout)
        for rollout in context.rollouts
        if rollout.workload.manifest.label not in (*confirmed, *kept)
        and (last is None or sync.wave_of(rollout.workload.manifest) <= last)
    ]
    return Prediction(
        is_refused=False,
        restarted=tuple(
            RestartedPods(
                wave=sync.wave_of(rollout.workload.manifest),
                pods=tuple(dict.fromkeys(rollout.restarted)),
                at_once=rollout.at_once if rollout.workload.manifest.kind == "StatefulSet" else 1,
            )
            for rollout in rollouts
            if rollout.restarted
        ),
        added=tuple(name for rollout in rollouts for name in rollout.added),
        added_some=shortage.uncertain if shortage else None,
        removed=tuple(name for rollout in rollouts for name in rollout.removed),
        pruned=pruned,
        confirmed=confirmed,
        kept=kept,
        is_failing=failing is not None and failing == last,
        is_short=shortage is not None,
    )


def _last_wave(context: Context, failing: int | None) -> int | None:
    """Return the wave in which the sync fails or waits forever; None if it completes.

    failing: the first wave with an object that the API server rejects.
    """
    # Argo CD waits for a paused Deployment as for one that is not ready.
    workloads = context.new.workloads
    waves = [sync.wave_of(w.manifest) for w in workloads if w.get("spec", "paused") is True]
    waves += [context.shortage.wave] if context.shortage else []
    waves += [] if failing is None else [failing]
    return min(waves, default=None)
