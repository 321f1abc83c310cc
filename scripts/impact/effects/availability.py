"""What becomes of pods, and of what they do: JSON-RPC, blocks, the dashboard, transfers. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from scripts.impact.compare import difference
from scripts.impact.effects.context import Context
from scripts.impact.effects.effect import Consequence, Risk, listed, verb
from scripts.impact.effects.rollout import PAUSED, Rollout
from scripts.kubernetes import resilience, sync
from scripts.kubernetes.manifest import Where, config_maps
from scripts.kubernetes.workloads import selects

_MOST = 3
"""Reasons that are told."""
_MOST_PODS = 6
"""Pods that are named."""
_UNTIL = ", and none of its other pods is replaced before all are there"
"""A StatefulSet's controller creates missing pods first."""
_VALIDATORS = ("sequencer", "maru")
_DONE = {"besu": "JSON-RPC", "ethstats": "the dashboard", "tx-sender": "transfers"}
"""Component → what is missing while it is away."""


def restarts(found: Context) -> Iterator[Consequence]:
    """Yield which pods are replaced, in what order, and what that interrupts."""
    for one in found.rollouts:
        label = one.workload.manifest.label
        if one.waits:
            message = f"pods of {label} keep running as they are: {one.waits}"
            risk = Risk.WAITS if one.waits == PAUSED else Risk.CHANGES
            yield Consequence(risk, message, _reasons(found, one), "", (label,))
        made = found.pods(one)
        if made.restarted:
            stops, interrupted = _interrupted(found, made)
            risk = Risk.STOPS if stops else Risk.RESTARTS
            wave = f"wave {sync.wave_of(one.workload.manifest)}"
            message = f"{label}: {_pods(made)} ({wave}); {interrupted}"
            reason = _reasons(found, made) + _undrained(found, made)
            yield Consequence(risk, message, reason, "", (label,))
        yield from _ended(found, one)
        for names, what in ((one.added, "more"), (one.removed, "fewer")):
            if names and one.pods and one.after:
                count = f"{len(names)} {'pod' if len(names) == 1 else 'pods'} {what}"
                message = f"{label}: {count}, {one.pods} → {one.after}"
                yield Consequence(Risk.CHANGES, message, "its replicas", "", (label,))
    for labels, message in _short(found):
        message = f"{listed(labels)}: {message}; the sync waits there"
        reason = "what a ResourceQuota rejects is tried again for ever, and later waves wait"
        fix = "give the quota room in a commit before, or with this one"
        yield Consequence(Risk.STOPS, message, reason, fix, tuple(labels))


def _short(found: Context) -> Iterator[tuple[Sequence[str], str]]:
    """Yield which workloads a quota has no room for, and what that means for their pods."""
    if not (short := found.short):
        return
    asked = {one.workload.manifest.label: one for one in found.rollouts}
    some = short.some
    chance = [label for label in short.rejected if some and {*asked[label].added} & {*some.pods}]
    stuck = [label for label in short.rejected if asked[label].restarted and asked[label].added]
    if some:
        counted = Counter(some.pods)
        names = [name if count == 1 else f"{count} × {name}" for name, count in counted.items()]
        most = f"{some.least}" if some.least == some.most else f"{some.least} to {some.most}"
        message = f"the quota has room for {most} of {listed(names, _MOST_PODS)}, whichever"
        message += f" {'is' if some.most == 1 else 'are'} created first"
        yield chance, message + (_UNTIL if {*chance} & {*stuck} else "")
    for label in short.rejected:
        if label not in chance:
            message = _missing(asked[label], short.rollouts[label])
            yield [label], message + (_UNTIL if label in stuck else "")


def _missing(asked: Rollout, made: Rollout) -> str:
    """Return which pods of a workload a quota has no room for, where that is no chance."""
    is_named = asked.workload.manifest.kind == "StatefulSet"
    if asked.restarted and not is_named:
        count, every = len(made.restarted), len(asked.restarted)
        stops = f"the rollout stops at {count} of {every}"
        return f"the quota has no room to replace its pods, and {stops}"
    if not asked.added:
        away = listed([name for name in made.removed if name not in asked.removed])
        return f"the quota has no room for {away} once it is ended, and the rollout stops"
    missing, count = asked.added[len(made.added) :], len(asked.added)
    if is_named:
        return f"the quota has no room for {listed(missing, _MOST_PODS)}"
    pods = "its new pod" if count == 1 else f"{len(missing)} of {count} new pods"
    return f"the quota has no room for {pods}"


def _ended(found: Context, one: Rollout) -> Iterator[Consequence]:
    """Yield that a workload's last pods go."""
    label = one.workload.manifest.label
    _, asks, stays = found.prunes
    if one.after or not one.removed or label in stays:
        return
    pods = "its pod goes" if one.pods == 1 else f"its {one.pods} pods go"
    what = _DONE.get(one.workload.manifest.component, "what they do")
    stops = f"{what} {'end' if what == 'transfers' else 'ends'}"
    once = " once a person has confirmed it" if label in asks else ""
    message = f"{label}: {pods}{once}; {stops}"
    is_gone = label in (each.manifest.label for each in found.changed if each.new is None)
    reason = "it is no longer in git" if is_gone else "its replicas"
    yield Consequence(Risk.STOPS, message, reason, "", (label,))


def taken_over(found: Context) -> Iterator[Consequence]:
    """Yield the workloads whose number of pods an autoscaler takes over.

    Seen on a cluster: both happens, as the Application and what it syncs change at once.
    """
    old = {one.manifest.identity: one for one in found.old.workloads}
    for one in found.new.workloads:
        was = old.get(one.manifest.identity)
        counts = [each.get("spec", "replicas") if each else None for each in (was, one)]
        if was and was.least > 1 and counts[0] is not None and counts[1] is None:
            label = one.manifest.label
            message = f"all pods of {label} but one may go, until its autoscaler brings them back"
            reason = "its replicas leave git: Kubernetes takes 1, where that comes before the"
            reason += " Application leaves the field to the autoscaler"
            yield Consequence(Risk.RESTARTS, message, reason, "", (label,))


def _pods(one: Rollout) -> str:
    count = len(one.restarted)
    if one.workload.manifest.kind == "Deployment":
        return "the pod is replaced" if count == 1 else f"{count} pods are replaced"
    ordinals = [name.rpartition("-")[2] for name in one.restarted]
    if count == 1:
        return f"pod {ordinals[0]} restarts"
    order = "one by one" if one.at_once == 1 else f"up to {one.at_once} at once"
    return f"pods {', '.join(ordinals)} restart in this order, {order}"


def _interrupted(found: Context, one: Rollout) -> tuple[bool, str]:
    """Return whether something stops, and what stops or goes on."""
    component, chain = one.workload.manifest.component, found.old.chain
    back = "until it is back" if len(one.restarted) == 1 else "until they are back"
    for_s = f" for {one.least_s} s at least" if one.least_s else f" {back}"
    if component in _VALIDATORS and chain:
        # Those of one wave don't wait for each other.
        wave = sync.wave_of(one.workload.manifest)
        left = chain.running - sum(
            each.at_once
            for each in map(found.pods, found.rollouts)
            if each.workload.manifest.component in _VALIDATORS
            and each.restarted
            and sync.wave_of(each.workload.manifest) == wave
        )
        if left >= chain.quorum:
            most = f"{left} of {chain.validators} validators"
            return False, f"blocks go on with {most}, {chain.quorum} are needed{for_s}"
        return (
            True,
            f"no blocks{for_s}: {max(left, 0)} of {chain.quorum} needed validators are left",
        )
    what = _DONE.get(component, "what they do")
    if one.left < 1:
        return True, f"{what} {'stop' if what == 'transfers' else 'stops'}{for_s}"
    goes = "go on" if what == "transfers" else "goes on"
    if one.left >= one.pods:
        return False, f"{what} {goes}: a new pod is ready before an old one goes"
    return False, f"{what} {goes} with {one.left} of {one.pods}{for_s}"


def _reasons(found: Context, one: Rollout) -> str:
    fields = [each.path[len(one.workload.template) :] for each in one.reasons]
    plain = [difference.shown(path) or "all of it" for path in fields if not _is_checksum(path)]
    if len(plain) < len(fields):
        # Whose contents they are of is what a reader wants to know.
        used = config_maps(one.workload.manifest.object)
        changed = (each.manifest for each in found.all_changed if each.manifest.name in used)
        names = [each.label for each in changed if each.kind == "ConfigMap"]
        plain.insert(0, f"the checksum of {listed(names)}" if names else "a checksum")
    more = f" and {len(plain) - _MOST} more" if len(plain) > _MOST else ""
    return f"the pods' template changes at {', '.join(plain[:_MOST])}{more}"


def _is_checksum(path: Where) -> bool:
    return bool(path) and str(path[-1]).startswith("checksum/")


def _undrained(found: Context, one: Rollout) -> str:
    """Return which budget lets no other pod be evicted while one is replaced; empty for none."""
    for budget in found.new.of_kind("PodDisruptionBudget"):
        spec = budget.object.get("spec")
        spec = spec if isinstance(spec, dict) else {}
        is_its = selects(spec.get("selector"), one.workload.labels)
        if one.after > 1 and is_its and resilience.let_go(spec, one.after) <= one.after - one.left:
            return f"; meanwhile {budget.label} lets no node with such a pod be drained"
    return ""


def unread(found: Context) -> Iterator[Consequence]:
    """Yield the ConfigMaps that change without a restart of the pods that have them."""
    moved = {one.workload.manifest.label for one in found.rollouts if one.restarted}
    used = {
        one.manifest.label: config_maps(one.manifest.object)
        for one in found.new.workloads
        if one.manifest.kind != "CronJob" and one.manifest.label not in moved
    }
    for each in found.changed:
        if each.manifest.kind == "ConfigMap" and each.stays:
            left = [label for label, names in used.items() if each.manifest.name in names]
            if left:
                message = (
                    f"{each.manifest.label} changes and {listed(left)} {verb(left, 'does', 'do')}"
                )
                message += (
                    " not restart: mounted files change within some minutes, what was read stays"
                )
                reason = "nothing in the pods' template changes with it"
                yield Consequence(Risk.CHANGES, message, reason, "", (each.manifest.label,))


def chain(found: Context) -> Iterator[Consequence]:
    """Yield what becomes of the validators, and of what the environment survives."""
    old, new = found.old.chain, found.new.chain
    counts = [
        f"{one.running} of {one.validators} validators run, and a block needs {one.quorum}"
        if one
        else "no validator"
        for one in (old, new)
    ]
    if counts[0] != counts[1]:
        stops = old is not None and (new is None or new.spare < 0)
        risk = Risk.STOPS if stops else Risk.CHANGES
        yield Consequence(risk, f"{counts[1]}; before: {counts[0]}", "QBFT needs two thirds")
    was, now = (
        resilience.words(side.manifests, side.zones).split("; ") for side in (found.old, found.new)
    )
    if was != now:
        before, after = (
            "; ".join(one for one in own if one not in other)
            for own, other in ((was, now), (now, was))
        )
        message = "; no longer: ".join(filter(None, (after, before)))
        message = f"what it survives: {message}" if after else f"no longer: {before}"
        yield Consequence(Risk.CHANGES, message, "replicas, affinities, budgets and zones")
