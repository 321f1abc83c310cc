"""Sync windows of Argo CD: whether a project ever lets an Application sync by itself.

As pkg/apis/application/v1alpha1/types.go of argoproj/argo-cd v3.5.1 has it: an active window of the
kind deny blocks the sync. If there are windows of the kind allow, one of them must be active.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from scripts.core import advice
from scripts.core.edits import Action
from scripts.core.fixes import Change, Fix
from scripts.kubernetes import cron
from scripts.kubernetes.workloads import mappings

_KINDS = ("allow", "deny")


@dataclass(frozen=True, slots=True)
class Blocked:
    """A window that keeps an Application from ever syncing, or the whole project from working."""

    index: int
    field: str
    reason: str
    fix: str


def blocked(windows: Any, application: str, server: str, namespace: str) -> list[Blocked]:
    """Return the windows of a project that are invalid, or by which an Application never syncs."""
    found, allowing, opening = list[Blocked](), list[int](), False
    for index, window in mappings(windows):
        problem, times = _times(index, window)
        if problem:
            found.append(problem)
        if times is None or not is_about(window, application, server, namespace):
            continue
        duration, schedule = times
        if window.get("kind") == "allow":
            allowing.append(index)
            opening |= bool(schedule.shortest) and duration > 0
        elif schedule.longest and duration >= schedule.longest:
            reason = f"it starts again at the latest {_shown(schedule.longest)} later, and lasts"
            reason += f" {_shown(duration)}, so it is always active"
            whole = ("spec", "syncWindows", index)
            removed = Fix("remove the window", [Change(Action.REMOVE, whole, is_whole=True)])
            found.append(Blocked(index, "duration", reason, removed))
    if allowing and not opening:
        reason = "it is the only window of the kind allow, and it is never active"
        if len(allowing) > 1:
            reason = "it is never active, nor is another window of the kind allow"
        fix = 'write days that exist in schedule, for example "0 3 1 * *", and duration: 1h or more'
        found.append(Blocked(allowing[0], "schedule", reason, fix))
    return found


def _times(
    index: int, window: dict[str, Any]
) -> tuple[Blocked | None, tuple[float, cron.Schedule] | None]:
    """Return what is wrong with a window, or its duration in seconds and its schedule."""
    if window.get("kind") not in _KINDS:
        reason = f"kind is {window.get('kind')}, and Argo CD knows only allow and deny"
        return Blocked(index, "kind", reason, advice.write("kind", "deny")), None
    try:
        duration = cron.duration(str(window.get("duration") or ""))
    except ValueError as error:
        return Blocked(index, "duration", str(error), advice.write("duration", "1h")), None
    try:
        schedule = cron.read(str(window.get("schedule") or ""))
    except ValueError as error:
        fix = 'write a cron expression such as schedule: "0 22 * * *"'
        return Blocked(index, "schedule", f"schedule is invalid: {error}", fix), None
    return None, (duration, schedule)


def is_about(window: dict[str, Any], application: str, server: str, namespace: str) -> bool:
    """Return whether a window is about an Application."""
    conditions = [
        any(glob(str(pattern), value) for pattern in window[field])
        for field, value in (
            ("applications", application),
            ("clusters", server),
            ("namespaces", namespace),
        )
        if isinstance(window.get(field), list) and window[field]
    ]
    return bool(conditions) and (all if window.get("andOperator") else any)(conditions)


def _shown(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}h" if not rest else f"{hours}h{rest // 60}m" if hours else f"{rest // 60}m"


def glob(pattern: str, text: str) -> bool:
    """Return whether a pattern of Argo CD matches: github.com/gobwas/glob without separators."""
    try:
        return re.fullmatch(_expression(pattern), text, re.DOTALL) is not None
    except re.error:  # Argo CD ignores a pattern that it can't read
        return False


_TOKEN = re.compile(r"\\(.)|(\*+)|(\?)|\[(!?)([^]]*)\]|([{},])|(.)", re.DOTALL)


def _expression(pattern: str) -> str:
    parts, depth = list[str](), 0
    for token in _TOKEN.finditer(pattern):
        escaped, many, one, negated, chosen, brace, plain = token.groups()
        if chosen is not None:
            inner = chosen.replace("\\", "\\\\").replace("^", "\\^")
            parts.append(f"[{'^' if negated else ''}{inner}]")
        elif many or one:
            parts.append(".*" if many else ".")
        elif brace == "{":
            depth += 1
            parts.append("(?:")
        elif brace == "}" and depth:
            depth -= 1
            parts.append(")")
        elif brace == "," and depth:
            parts.append("|")
        else:
            parts.append(re.escape(escaped or brace or plain))
    return "".join(parts)
