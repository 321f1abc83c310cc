"""What the sync of a change does: what is refused, pruned, asked; its own settings. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.core.findings import Severity
from scripts.impact.compare import difference
from scripts.impact.compare.difference import Change, Item
from scripts.impact.effects.context import POLICY, Context
from scripts.impact.effects.effect import Consequence, Risk, listed, verb
from scripts.kubernetes.manifest import Where

_CONFIRMING = "argocd/README.md, “Confirming a prune”"


def refused(found: Context) -> Iterator[Consequence]:
    """Yield what the API server refuses, and what that holds up."""
    for problems, reason in (
        (
            found.refused,
            "Argo CD asks the API server first: no sync begins, and nothing of the rest comes true",
        ),
        (
            found.failing,
            "the sync fails there, again and again: nothing of later waves comes, or is pruned",
        ),
    ):
        for problem in problems:
            label = problem.manifest.label
            yield Consequence(Risk.BLOCKED, problem.message, reason, problem.fix, (label,))


def by_hand(found: Context) -> Iterator[Consequence]:
    """Yield that a person has to sync, where Argo CD doesn't by itself."""
    if found.changed and not found.is_synced:
        yield Consequence(
            Risk.WAITS,
            "nothing of this happens until a person syncs",
            "the Application has no automated sync (sync.automated in environment.yaml)",
        )


def told(found: Context) -> Iterator[Consequence]:
    """Yield what else the rules about changes say."""
    for rule, problem in found.problems:
        if problem in found.refused:
            continue
        risk = Risk.DATA if rule.severity is Severity.ERROR else Risk.CHANGES
        label = problem.manifest.label
        reason = rule.promise[:1].lower() + rule.promise[1:]
        yield Consequence(risk, problem.message, reason, problem.fix, (label,))


def added(found: Context) -> Iterator[Consequence]:
    """Yield what comes to git."""
    new = [one.manifest.label for one in found.changed if one.old is None]
    if new:
        message = f"{listed(new)} {verb(new, 'is', 'are')} new"
        yield Consequence(Risk.CHANGES, message, "made by the sync", "", tuple(new))


def pruned(found: Context) -> Iterator[Consequence]:
    """Yield what leaves git: what is deleted, what a person must confirm, what stays."""
    goes, asks, stays = found.prunes
    if asks:
        yield Consequence(
            Risk.WAITS,
            f"{listed(asks)} {verb(asks, 'leaves', 'leave')} git and"
            f" {verb(asks, 'stays', 'stay')} until a person confirms; the sync and all later ones"
            " wait so long",
            "Prune=confirm: it holds data; its claims and volumes stay even then",
            _CONFIRMING,
            tuple(asks),
        )
    if goes:
        when = "when that is confirmed" if asks else "at the end of the sync"
        message = f"{listed(goes)} {verb(goes, 'is', 'are')} deleted {when}"
        yield Consequence(Risk.CHANGES, message, "no longer in git (PruneLast)", "", tuple(goes))
    if stays:
        message = f"{listed(stays)} {verb(stays, 'stays', 'stay')} in the cluster"
        reason = "no longer in git, and the Application does not prune: it is OutOfSync"
        yield Consequence(Risk.CHANGES, message, reason, "", tuple(stays))


def settings(found: Context) -> Iterator[Consequence]:
    """Yield what changes in the Application and its project: how, whereto and what is synced."""
    for old, new in (
        (found.old.application, found.new.application),
        (found.old.project, found.new.project),
    ):
        changes = difference.between(old, new).changes if old.object and new.object else ()
        alike: dict[tuple[Where, bool], list[str]] = {}
        for change in changes:
            risk, reason = _setting(change)
            if isinstance(change.path[-1], Item) and None in (change.old, change.new):
                key = (change.path[:-1], change.old is None)
                alike.setdefault(key, []).append(change.path[-1])
                continue
            what = f"{difference.shown(change.path)}: {_shown(change)}"
            yield Consequence(risk, f"{new.label}: {what}", reason, "", (new.label,))
        for (path, is_new), names in alike.items():
            risk, reason = _setting(Change(path, None if is_new else "", "" if is_new else None))
            what = "new" if is_new else "gone"
            message = f"{new.label}: {difference.shown(path)}: {listed(names)}"
            message += f" {verb(names, 'is', 'are')} {what}"
            yield Consequence(risk, message, reason, "", (new.label,))


_SETTINGS: dict[tuple[str, ...], tuple[Risk, str]] = {
    ("spec", "destination"): (
        Risk.DATA,
        "it syncs to another place: what it made stays where it was, and nothing prunes it",
    ),
    ("spec", "source"): (Risk.CHANGES, "it reads another place of git"),
    POLICY: (Risk.CHANGES, "what Argo CD does by itself"),
    ("spec", "namespaceResourceWhitelist"): (Risk.OPENS, "the kinds that the project allows"),
    ("spec", "clusterResourceWhitelist"): (Risk.OPENS, "the kinds that the project allows"),
    ("spec", "destinations"): (Risk.OPENS, "where the project may sync to"),
    ("spec", "sourceRepos"): (Risk.OPENS, "where the project may sync from"),
    ("spec", "ignoreDifferences"): (Risk.CHANGES, "fields that Argo CD leaves to others"),
}


def _setting(change: Change) -> tuple[Risk, str]:
    for path, (risk, reason) in _SETTINGS.items():
        if change.path[: len(path)] == path:
            is_narrower = risk is Risk.OPENS and change.new is None
            return (Risk.CHANGES if is_narrower else risk), reason
    return Risk.CHANGES, "how Argo CD syncs this environment"


def _shown(change: Change) -> str:
    if change.new is None:
        return f"{difference.compact(change.old)} is gone"
    new = difference.compact(change.new)
    return (
        f"{difference.compact(change.old)} → {new}" if change.old is not None else f"{new} is new"
    )
