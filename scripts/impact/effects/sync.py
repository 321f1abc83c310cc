"""Effects on the sync: rejected, pruned and confirmed objects, and changed settings. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.core.findings import Severity
from scripts.impact.compare import difference
from scripts.impact.compare.difference import Change, Item
from scripts.impact.effects.context import POLICY, Context
from scripts.impact.effects.effect import Effect, Risk, listed, verb
from scripts.kubernetes import sync
from scripts.kubernetes.manifest import Where

_NO_SYNC = (
    "Argo CD asks the API server before it syncs; the API server rejects this object, so no sync"
    " starts, and nothing of the change is applied"
)
_FAILING_SYNC = (
    "the API server rejects this new object during the sync; Argo CD retries forever, does not"
    " apply later waves, and prunes nothing"
)

_INTERRUPTS = frozenset(["load-balancer-replaced"])
"""The rules about changes that stop a service for a while, and lose nothing."""


def rejected(context: Context) -> Iterator[Effect]:
    """Yield the objects that the API server rejects, and what that stops."""
    for problems, reason in (
        (context.rejected, _NO_SYNC),
        (context.rejected_in_sync, _FAILING_SYNC),
    ):
        for problem in problems:
            label = problem.manifest.label
            yield Effect(Risk.BLOCKED, problem.message, reason, problem.fix, (label,))


def manual(context: Context) -> Iterator[Effect]:
    """Yield that a person must start the sync, if Argo CD does not sync automatically."""
    if context.changed and not context.is_synced:
        yield Effect(
            Risk.WAITS,
            "nothing of this happens until a person starts a sync",
            "the Application has no automated sync (sync.automated in environment.yaml)",
        )


def rule_problems(context: Context) -> Iterator[Effect]:
    """Yield the other problems that the rules about changes report."""
    for rule, problem in context.problems:
        if problem in context.rejected:
            continue
        risk = Risk.DATA if rule.severity is Severity.ERROR else Risk.CHANGES
        if rule.id in _INTERRUPTS:
            risk = Risk.STOPS
        label = problem.manifest.label
        promise = rule.promise[:1].lower() + rule.promise[1:]
        reason = f"it breaks the rule {rule.id}: {promise}"
        yield Effect(risk, problem.message, reason, problem.fix, (label,))


def created(context: Context) -> Iterator[Effect]:
    """Yield the objects that the sync creates."""
    added = [each.manifest for each in context.changed if each.old is None]
    new = [manifest.label for manifest in added if not sync.is_hook(manifest)]
    if new:
        message = f"{listed(new)} {verb(new, 'is', 'are')} created"
        reason = f"{verb(new, 'it is', 'they are')} new in git"
        yield Effect(Risk.CHANGES, message, reason, "", tuple(new))


def verified(context: Context) -> Iterator[Effect]:
    """Yield the Jobs that run at the end of the sync, and decide whether it succeeds."""
    if not (context.changed and context.is_synced):
        return
    for manifest in context.new.manifests:
        if manifest.kind != "Job" or manifest.annotations.get(sync.HOOK) != "PostSync":
            continue
        longest = manifest.get("spec", "activeDeadlineSeconds")
        limit = f", for at most {longest} s" if isinstance(longest, int) else ""
        message = f"{manifest.label} runs once everything is healthy{limit}, and restarts nothing"
        reason = "it is a hook (PostSync); if it fails, so does the sync, and Argo CD retries it"
        yield Effect(Risk.CHANGES, message, reason, "", (manifest.label,))


def pruned(context: Context) -> Iterator[Effect]:
    """Yield the objects that are removed from git: deleted, to be confirmed, or kept."""
    removed = context.pruned
    if names := removed.confirmed:
        it = verb(names, "it", "they")
        yield Effect(
            Risk.WAITS,
            f"{listed(names)} {verb(names, 'is', 'are')} removed from git, but"
            f" {verb(names, 'stays', 'stay')} in the cluster until a person confirms the deletion;"
            " this sync and all later ones wait for that",
            f"{it} {verb(names, 'holds', 'hold')} data (sync option Prune=confirm); claims and"
            " volumes stay even after the deletion",
            "follow “Confirming a prune” in argocd/README.md",
            names,
        )
    if names := removed.deleted:
        when = "after that is confirmed" if removed.confirmed else "at the end of the sync"
        message = f"{listed(names)} {verb(names, 'is', 'are')} deleted {when}"
        reason = f"{verb(names, 'it is', 'they are')} removed from git (sync option PruneLast)"
        yield Effect(Risk.CHANGES, message, reason, "", names)
    if names := removed.kept:
        are, stay = verb(names, "is", "are"), verb(names, "stays", "stay")
        message = f"{listed(names)} {are} removed from git, but {stay} in the cluster"
        reason = "Argo CD does not prune here; the Application stays OutOfSync"
        yield Effect(Risk.CHANGES, message, reason, "", names)


def settings(context: Context) -> Iterator[Effect]:
    """Yield the changes of the Application and its project."""
    for old, new in (
        (context.old.application, context.new.application),
        (context.old.project, context.new.project),
    ):
        changes = difference.between(old, new).changes if old.object and new.object else ()
        items: dict[tuple[Where, bool], list[str]] = {}
        for change in changes:
            risk, reason = _setting(change)
            if isinstance(change.path[-1], Item) and None in (change.old, change.new):
                key = (change.path[:-1], change.old is None)
                items.setdefault(key, []).append(change.path[-1])
                continue
            message = f"{new.label}: {difference.shown(change.path)} {_becomes(change)}"
            by_hand = _ROOT if change.path[:2] == ("spec", "source") else ""
            yield Effect(risk, message, reason, by_hand, (new.label,))
        for (path, is_new), names in items.items():
            risk, reason = _setting(Change(path, None if is_new else "", "" if is_new else None))
            message = f"{new.label}: {listed(names)} {verb(names, 'is', 'are')}"
            message += f" {'added to' if is_new else 'removed from'} {difference.shown(path)}"
            yield Effect(risk, message, reason, "", (new.label,))


_ROOT = "apply argocd/root.yaml again after the merge: Argo CD does not sync it"

_SETTINGS: dict[tuple[str, ...], tuple[Risk, str]] = {
    ("spec", "destination"): (
        Risk.DATA,
        "Argo CD then syncs elsewhere; existing objects stay where they are, and are not pruned",
    ),
    ("spec", "source"): (Risk.CHANGES, "Argo CD then reads manifests from another place in git"),
    POLICY: (Risk.CHANGES, "this decides what Argo CD does automatically"),
    ("spec", "namespaceResourceWhitelist"): (
        Risk.OPENS,
        "this decides which kinds the project allows",
    ),
    ("spec", "clusterResourceWhitelist"): (
        Risk.OPENS,
        "this decides which kinds the project allows",
    ),
    ("spec", "destinations"): (Risk.OPENS, "this decides where the project may deploy to"),
    ("spec", "sourceRepos"): (
        Risk.OPENS,
        "this decides from which repositories the project may deploy",
    ),
    ("spec", "ignoreDifferences"): (Risk.CHANGES, "Argo CD leaves these fields to others"),
    ("spec", "syncWindows"): (Risk.CHANGES, "this decides when Argo CD may sync"),
    ("spec", "sourceIntegrity"): (Risk.CHANGES, "this decides which commits Argo CD may sync"),
    ("spec", "signatureKeys"): (Risk.CHANGES, "this decides which commits Argo CD may sync"),
    ("spec", "info"): (Risk.CHANGES, "Argo CD's UI shows it"),
    ("spec", "revisionHistoryLimit"): (Risk.CHANGES, "this decides how far back a rollback goes"),
    ("metadata", "labels"): (Risk.CHANGES, "labels select Applications in Argo CD's UI"),
    ("metadata", "annotations"): (Risk.CHANGES, "Argo CD and its notifications read annotations"),
}


def _setting(change: Change) -> tuple[Risk, str]:
    """Return risk and reason of a change in an Application or a project."""
    for path, (risk, reason) in _SETTINGS.items():
        if change.path[: len(path)] == path:
            is_narrower = risk is Risk.OPENS and change.new is None
            return (Risk.CHANGES if is_narrower else risk), reason
    return Risk.CHANGES, "this decides how Argo CD syncs the environment"


def _becomes(change: Change) -> str:
    if change.new is None:
        return f"is removed (old: {difference.compact(change.old)})"
    new = difference.compact(change.new)
    if change.old is None:
        return f"is set to {new}"
    return f"changes from {difference.compact(change.old)} to {new}"
