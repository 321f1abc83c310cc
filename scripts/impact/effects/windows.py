"""Effects on when Argo CD syncs, and on which commits: sync windows and signatures. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scripts.core import paths
from scripts.impact.effects.context import Context
from scripts.impact.effects.effect import Effect, Risk
from scripts.kubernetes import sync_windows
from scripts.kubernetes.sync_windows import Closed
from scripts.rules.snapshot import Objects


def windows(context: Context) -> Iterator[Effect]:
    """Yield how long sync windows hold up a change, and what a change of windows does."""
    old, new = (_closed(of) for of in (context.old, context.new))
    label = context.new.project.label
    if old != new:
        shut = "sync windows no longer hold up Argo CD"
        if new.share:
            shut = f"{label} holds up Argo CD for up to {_shown(new)}"
        yield Effect(
            Risk.CHANGES,
            f"{shut}; before, {_before(old)}",
            "the sync windows (application.syncWindows in environment.yaml) change",
            "",
            (label,),
        )
    elif new.share and context.changed and context.is_synced:
        by_hand = "no one can start a sync by hand in the meantime"
        if _all_manual(context.new):
            by_hand = "people can start a sync by hand in the meantime"
        yield Effect(
            Risk.CHANGES,
            f"the sync of this waits while a sync window blocks it, for up to {_shown(new)}",
            f"{label} has sync windows; {by_hand}",
            "",
            (label,),
        )


def signatures(context: Context) -> Iterator[Effect]:
    """Yield that commits need other signatures."""
    old, new = (_signers(of) for of in (context.old, context.new))
    if old == new:
        return
    project = context.new.project.label
    if not new:
        message = f"{project}: commits no longer need a signature"
        reason = "everyone who can push to the repository can change the cluster"
        yield Effect(Risk.OPENS, message, reason, "", (project,))
        return
    added = [key for key in new if key not in old]
    message = f"{project}: Argo CD syncs only commits that are signed by {', '.join(new)}"
    reason = "any other commit fails with ComparisonError, also the merge of this change"
    step = "first add the keys to Argo CD's keyring (argocd gpg add), and sign this merge"
    risk = Risk.OPENS if old and added else Risk.WAITS
    yield Effect(risk, message, reason, step, (project,))


def _own(of: Objects) -> list[dict[str, Any]]:
    to = paths.get(of.application.object, ["spec", "destination"]) or {}
    place = (of.application.name, str(to.get("server", "")), str(to.get("namespace", "")))
    return sync_windows.of(of.project.get("spec", "syncWindows"), *place)


def _closed(of: Objects) -> Closed:
    own = _own(of)
    return sync_windows.closed(own) if own else Closed(0, 0)


def _all_manual(of: Objects) -> bool:
    return all(window.get("manualSync") for window in _own(of))


def _shown(closed: Closed) -> str:
    return f"{sync_windows.shown(closed.longest_s)} at a time, {closed.share:.0%} of all times"


def _before(closed: Closed) -> str:
    return f"it was up to {_shown(closed)}" if closed.share else "it was never held up"


def _signers(of: Objects) -> list[str]:
    """Return the keys that may sign commits; none if no signature is checked."""
    spec = of.project.get("spec") or {}
    policies = paths.get(spec, ["sourceIntegrity", "git", "policies"])
    if isinstance(policies, list):
        gpg = [paths.get(policy, ["gpg"]) or {} for policy in policies]
        checked = [each for each in gpg if each.get("mode") != "none"]
        return [str(key) for each in checked for key in each.get("keys") or ()]
    keys = spec.get("signatureKeys") or ()
    return [str(paths.get(key, ["keyID"])) for key in keys]
