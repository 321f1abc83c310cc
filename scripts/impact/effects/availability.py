"""Effects on pods and on what they serve: JSON-RPC, blocks, the dashboard, transfers. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from scripts.chain.version import Release, release
from scripts.core import paths
from scripts.impact.compare import difference
from scripts.impact.effects.context import Context
from scripts.impact.effects.effect import Effect, Risk, listed, verb
from scripts.impact.effects.rollout import PAUSED, Rollout
from scripts.kubernetes import resilience, sync
from scripts.kubernetes.manifest import PODS, Manifest, Where, config_maps
from scripts.kubernetes.workloads import Workload, mappings, picks

_MOST = 3
"""Fields that a reason names."""
_MOST_PODS = 6
"""Pods that are named."""
_UNTIL = ", and none of its other pods restarts until all of them exist"
"""A StatefulSet's controller creates missing pods first."""
_VALIDATORS = ("sequencer", "maru")
_SERVICE = {"besu": "JSON-RPC", "ethstats": "the dashboard", "tx-sender": "transfers"}
"""Component → what it serves."""
_OTHER_SERVICE = "its work"


def restarts(context: Context) -> Iterator[Effect]:
    """Yield which pods are replaced, added and removed, in what order, and what that interrupts."""
    for rollout in context.rollouts:
        label = rollout.workload.manifest.label
        if rollout.waits:
            risk = Risk.WAITS if rollout.waits == PAUSED else Risk.CHANGES
            message = f"{label}: {rollout.waits}"
            yield Effect(risk, message, _template_changes(context, rollout), "", (label,))
        limited = context.limited(rollout)
        if limited.restarted:
            stops, interrupted = _interrupted(context, limited)
            risk = Risk.STOPS if stops else Risk.RESTARTS
            wave = f"wave {sync.wave_of(rollout.workload.manifest)}"
            message = f"{label}: {_restarted_pods(limited)} ({wave}); {interrupted}"
            reason = _template_changes(context, limited) + _blocked_drains(context, limited)
            yield Effect(risk, message, reason, "", (label,))
        yield from _last_pods_removed(context, rollout)
        for names, adds in ((rollout.added, "adds"), (rollout.removed, "removes")):
            if names and rollout.pods and rollout.after:
                count = f"{len(names)} {'pod' if len(names) == 1 else 'pods'}"
                message = f"{label}: {adds} {count}, {rollout.pods} → {rollout.after}"
                reason = "its replicas, or its autoscaler's minReplicas, change"
                yield Effect(Risk.CHANGES, message, reason, "", (label,))
    yield from _quota_shortages(context)


def one_way(context: Context) -> Iterator[Effect]:
    """Yield which workloads get a newer Besu, after which an older one does not start."""
    for each in context.changed:
        if not each.old or not each.new or each.new.kind != "StatefulSet":
            continue
        before, after = _besu(each.old), _besu(each.new)
        keeps_data = paths.get(each.new.object, ("spec", "volumeClaimTemplates"))
        if keeps_data and before and after and before.is_older_than(after):
            label = each.new.label
            message = (
                f"{label}: a git revert alone can't bring Besu back from {after.shown} to "
                f"{before.shown}"
            )
            reason = "an older Besu does not start with data that a newer one has opened"
            procedure = "first make a backup, and upgrade only one pod: docs/upgrades.md"
            yield Effect(Risk.RESTARTS, message, reason, procedure, (label,))


def _besu(manifest: Manifest) -> Release | None:
    """Return the version of Besu in the pods of a StatefulSet."""
    containers = paths.get(manifest.object, (*PODS["statefulset"], "containers"))
    found = (release(container.get("image")) for _, container in mappings(containers))
    return next((version for version in found if version and version.name == "besu"), None)


def _quota_shortages(context: Context) -> Iterator[Effect]:
    """Yield which workloads a quota has no room for, and what that means for their pods."""
    for labels, message in _shortages(context):
        message = f"{listed(labels)}: {message}; the sync waits in this wave"
        reason = (
            "the API server rejects pods beyond a ResourceQuota; their controllers retry forever,"
            " and later waves do not start"
        )
        procedure = "raise the quota in this commit, or in one before it"
        yield Effect(Risk.STOPS, message, reason, procedure, tuple(labels))


def _shortages(context: Context) -> Iterator[tuple[Sequence[str], str]]:
    """Yield workloads that a quota has no room for, with the missing pods."""
    if not (shortage := context.shortage):
        return
    wanted = {rollout.workload.manifest.label: rollout for rollout in context.rollouts}
    uncertain = shortage.uncertain
    by_chance = [
        label
        for label in shortage.rejected
        if uncertain and {*wanted[label].added} & {*uncertain.pods}
    ]
    stuck = [
        label for label in shortage.rejected if wanted[label].restarted and wanted[label].added
    ]
    if uncertain:
        pods = [
            name if count == 1 else f"{count} × {name}"
            for name, count in Counter(uncertain.pods).items()
        ]
        least, most = uncertain.least, uncertain.most
        number = f"{least}" if least == most else f"{least} to {most}"
        message = f"the quota has room for {number} of {listed(pods, _MOST_PODS)}, whichever"
        message += f" {'is' if most == 1 else 'are'} created first"
        yield by_chance, message + (_UNTIL if {*by_chance} & {*stuck} else "")
    for label in shortage.rejected:
        if label not in by_chance:
            message = _missing_pods(wanted[label], shortage.rollouts[label])
            yield [label], message + (_UNTIL if label in stuck else "")


def _missing_pods(wanted: Rollout, limited: Rollout) -> str:
    """Return which pods of a workload a quota has no room for, if that is certain."""
    is_set = wanted.workload.manifest.kind == "StatefulSet"
    if wanted.restarted and not is_set:
        count, total = len(limited.restarted), len(wanted.restarted)
        return f"the quota has no room for new pods, so the rollout stops at {count} of {total}"
    if not wanted.added:
        missing = listed([name for name in limited.removed if name not in wanted.removed])
        return f"the quota has no room to create {missing} again, so the rollout stops"
    missing_pods, count = wanted.added[len(limited.added) :], len(wanted.added)
    if is_set:
        return f"the quota has no room for {listed(missing_pods, _MOST_PODS)}"
    pods = "its new pod" if count == 1 else f"{len(missing_pods)} of {count} new pods"
    return f"the quota has no room for {pods}"


def _last_pods_removed(context: Context, rollout: Rollout) -> Iterator[Effect]:
    """Yield that a workload's last pods are removed."""
    manifest = rollout.workload.manifest
    if rollout.after or not rollout.removed or manifest.label in context.pruned.kept:
        return
    pods = "its only pod is" if rollout.pods == 1 else f"its {rollout.pods} pods are"
    service = _SERVICE.get(manifest.component, _OTHER_SERVICE)
    ends = f"{service} {_verb_of(service, 'end', 'ends')}"
    when = " once a person confirms it" if manifest.label in context.pruned.confirmed else ""
    message = f"{manifest.label}: {pods} removed{when}; {ends}"
    removed = (each.manifest.label for each in context.changed if each.new is None)
    is_gone = manifest.label in removed
    reason = "it is removed from git" if is_gone else "it has 0 replicas"
    yield Effect(Risk.STOPS, message, reason, "", (manifest.label,))


def taken_over(context: Context) -> Iterator[Effect]:
    """Yield the workloads whose number of pods an autoscaler takes over.

    On a real cluster, both happens: the sync changes the Application and its objects in any order.
    """
    old = {workload.manifest.identity: workload for workload in context.old.workloads}
    for workload in context.new.workloads:
        before = old.get(workload.manifest.identity)
        if before and before.least > 1 and _loses_replicas(before, workload):
            label = workload.manifest.label
            message = f"{label}: may shrink to 1 pod until its autoscaler adds pods again"
            reason = (
                "its replicas are removed from git; if that is applied before the Application"
                " leaves the field to the autoscaler, Kubernetes sets 1"
            )
            yield Effect(Risk.RESTARTS, message, reason, "", (label,))


def _loses_replicas(old: Workload, new: Workload) -> bool:
    return old.get("spec", "replicas") is not None and new.get("spec", "replicas") is None


def _restarted_pods(rollout: Rollout) -> str:
    count = len(rollout.restarted)
    if rollout.workload.manifest.kind == "Deployment":
        return "1 pod is replaced" if count == 1 else f"{count} pods are replaced"
    ordinals = [name.rpartition("-")[2] for name in rollout.restarted]
    if count == 1:
        return f"pod {ordinals[0]} restarts"
    order = "one at a time" if rollout.at_once == 1 else f"up to {rollout.at_once} at a time"
    return f"pods {', '.join(ordinals)} restart in this order, {order}"


def _interrupted(context: Context, rollout: Rollout) -> tuple[bool, str]:
    """Return whether something stops, and what stops or continues."""
    component, chain = rollout.workload.manifest.component, context.old.chain
    until = "until the new pod is ready"
    if len(rollout.restarted) > 1:
        until = "until the new pods are ready"
    duration = f"for at least {rollout.least_s} s" if rollout.least_s else until
    if component in _VALIDATORS and chain:
        running = chain.running - _validators_down(context, rollout)
        if running >= chain.quorum:
            validators = f"{running} of {chain.validators} validators ({chain.quorum} needed)"
            return False, f"blocks continue with {validators} {duration}"
        left = f"{max(running, 0)} of the {chain.quorum} needed validators run"
        return True, f"no blocks {duration}: only {left}"
    service = _SERVICE.get(component, _OTHER_SERVICE)
    if rollout.left < 1:
        return True, f"{service} {_verb_of(service, 'stop', 'stops')} {duration}"
    continues = f"{service} {_verb_of(service, 'continue', 'continues')}"
    if rollout.left >= rollout.pods:
        return False, f"{continues}: each new pod is ready before an old one stops"
    return False, f"{continues} with {rollout.left} of {rollout.pods} pods {duration}"


def _validators_down(context: Context, rollout: Rollout) -> int:
    """Return how many validators may be down at once: workloads of a wave restart in parallel."""
    wave = sync.wave_of(rollout.workload.manifest)
    return sum(
        each.at_once
        for each in map(context.limited, context.rollouts)
        if each.workload.manifest.component in _VALIDATORS
        and each.restarted
        and sync.wave_of(each.workload.manifest) == wave
    )


def _verb_of(service: str, plural: str, singular: str) -> str:
    return plural if service == "transfers" else singular


def _template_changes(context: Context, rollout: Rollout) -> str:
    """Return which fields of the pod template change."""
    start = len(rollout.workload.template)
    paths = [change.path[start:] for change in rollout.reasons]
    fields = [difference.shown(path) or "all of it" for path in paths if not _is_checksum(path)]
    if len(fields) < len(paths):
        # A reader wants to know which ConfigMap changes, not that its checksum does.
        used = config_maps(rollout.workload.manifest.object)
        changed = (each.manifest for each in context.all_changed if each.manifest.name in used)
        names = [each.label for each in changed if each.kind == "ConfigMap"]
        fields.insert(0, f"the checksum of {listed(names)}" if names else "a checksum")
    more = f" and {len(fields) - _MOST} more fields" if len(fields) > _MOST else ""
    return f"its pod template changes: {', '.join(fields[:_MOST])}{more}"


def _is_checksum(path: Where) -> bool:
    return bool(path) and str(path[-1]).startswith("checksum/")


def _blocked_drains(context: Context, rollout: Rollout) -> str:
    """Return which budget blocks the eviction of other pods meanwhile; empty if none does."""
    for budget in context.new.of_kind("PodDisruptionBudget"):
        spec = budget.object.get("spec")
        spec = spec if isinstance(spec, dict) else {}
        is_selected = picks(spec.get("selector"), rollout.workload)
        down = rollout.after - rollout.left
        if rollout.after > 1 and is_selected and resilience.let_go(spec, rollout.after) <= down:
            return f"; meanwhile {budget.label} blocks draining nodes with its pods"
    return ""


def unread(context: Context) -> Iterator[Effect]:
    """Yield the ConfigMaps that change without a restart of the pods that use them."""
    restarted = {each.workload.manifest.label for each in context.rollouts if each.restarted}
    used = {
        workload.manifest.label: config_maps(workload.manifest.object)
        for workload in context.new.workloads
        if workload.manifest.kind != "CronJob" and workload.manifest.label not in restarted
    }
    for each in context.changed:
        manifest = each.manifest
        if manifest.kind == "ConfigMap" and each.is_modified:
            users = [label for label, names in used.items() if manifest.name in names]
            if users:
                message = (
                    f"{manifest.label} changes, but {listed(users)} {verb(users, 'does', 'do')} not"
                    " restart: mounted files change within minutes, but programs keep what they"
                    " have read"
                )
                reason = "the pod template has nothing that changes with it, such as a checksum"
                yield Effect(Risk.CHANGES, message, reason, "", (manifest.label,))


def chain(context: Context) -> Iterator[Effect]:
    """Yield what changes for the validators, and in what the environment survives."""
    old, new = context.old.chain, context.new.chain
    counts = [_validators(each) for each in (old, new)]
    if counts[0] != counts[1]:
        stops = old is not None and (new is None or new.spare < 0)
        risk = Risk.STOPS if stops else Risk.CHANGES
        reason = "QBFT needs two thirds of the validators for a block"
        yield Effect(risk, f"{counts[1]} (before: {counts[0]})", reason)
    parts = [
        resilience.words(each.manifests, each.zones).split("; ")
        for each in (context.old, context.new)
    ]
    if parts[0] != parts[1]:
        before, after = (
            "; ".join(part for part in own if part not in other)
            for own, other in ((parts[0], parts[1]), (parts[1], parts[0]))
        )
        if before and after:
            message = f"resilience: now “{after}”, before “{before}”"
        else:
            message = (
                f"resilience: now also “{after}”" if after else f"resilience: no longer “{before}”"
            )
        reason = "replicas, affinities, disruption budgets or zones change"
        yield Effect(Risk.CHANGES, message, reason)


def _validators(chain: resilience.Chain | None) -> str:
    if not chain:
        return "no validator runs"
    return f"{chain.running} of {chain.validators} validators run, {chain.quorum} are needed"
