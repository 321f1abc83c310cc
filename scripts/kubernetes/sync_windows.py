"""Sync windows of Argo CD: whether a project ever lets an Application sync by itself.

As pkg/apis/application/v1alpha1/types.go of argoproj/argo-cd v3.5.1 has it: an active window of the
kind deny blocks the sync. If there are windows of the kind allow, one of them must be active.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
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
            reason = f"it starts again at the latest {shown(schedule.longest)} later, and lasts"
            reason += f" {shown(duration)}, so it is always active"
            whole = ("spec", "syncWindows", index)
            removed = Fix("remove the window", [Change(Action.REMOVE, whole, is_whole=True)])
            found.append(Blocked(index, "duration", reason, removed))
    if allowing and not opening:
        reason = "it is the only window of the kind allow, and it is never active"
        if len(allowing) > 1:
            reason = "it is never active, nor is another window of the kind allow"
        fix = 'write days that exist in schedule, for example "0 3 1 * *", and duration: 1h or more'
        found.append(Blocked(allowing[0], "schedule", reason, fix))
    own = of(windows, application, server, namespace)
    if not found and len(own) > 1 and closed(own).is_always:
        last = own[-1]
        reason = f"together, the {len(own)} windows leave no time at which it may sync"
        if allowing:
            reason += ": those of the kind allow are active only while one of the kind deny is"
        fix = "shorten a window of the kind deny"
        fix += ", or move one of the kind allow" if allowing else ""
        found.append(Blocked(_index(windows, last), "duration", reason, fix))
    return found


def _index(windows: Any, window: dict[str, Any]) -> int:
    return next(index for index, each in mappings(windows) if each is window)


def of(windows: Any, application: str, server: str, namespace: str) -> list[dict[str, Any]]:
    """Return the valid windows that are about an Application."""
    return [
        window
        for index, window in mappings(windows)
        if _times(index, window)[1] and is_about(window, application, server, namespace)
    ]


@dataclass(frozen=True, slots=True)
class Closed:
    """When windows block automatic syncs."""

    longest_s: int
    """The longest time without a sync, in seconds; 0 if there is none."""
    share: float
    """The share of all times, from 0 to 1."""

    @property
    def is_always(self) -> bool:
        """Return whether there is no time for a sync."""
        return self.share >= 1


_BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
_WEEKLY, _YEARLY = timedelta(days=28), timedelta(days=2 * 366)
"""For how long windows are simulated: such that repeat every week, and others."""

_Span = tuple[int, int]
"""Seconds since _BEGIN: the first, and the first one after it."""


def closed(windows: Sequence[dict[str, Any]]) -> Closed:
    """Return when valid windows of an Application block automatic syncs.

    Argo CD shifts each schedule by the present offset of its time zone; here it is that of January.
    """
    is_weekly = all(str(each["schedule"]).split()[2:4] == ["*", "*"] for each in windows)
    end = _BEGIN + (_WEEKLY if is_weekly else _YEARLY)
    whole = [(0, int((end - _BEGIN).total_seconds()))]
    denied = _union(_spans(each, end) for each in windows if each["kind"] == "deny")
    allowing = [each for each in windows if each["kind"] == "allow"]
    allowed = _union(_spans(each, end) for each in allowing) if allowing else whole
    shut = _union([denied, _without(whole, allowed)])
    lengths = [after - first for first, after in shut]
    return Closed(max(lengths, default=0), sum(lengths) / whole[0][1])


def _spans(window: dict[str, Any], end: datetime) -> list[_Span]:
    """Return the times at which a window is active, up to an end."""
    seconds = cron.duration(str(window["duration"]))
    schedule, last = str(window["schedule"]), int((end - _BEGIN).total_seconds())
    often = cron.read(schedule)
    if not often.longest or seconds <= 0:
        return []
    if seconds >= often.longest:
        return [(0, last)]
    offset = _offset(str(window.get("timeZone") or "UTC"))
    begin = _BEGIN - timedelta(seconds=seconds) + offset
    starts = cron.starts(schedule, begin, end + offset)
    firsts = (int((start - offset - _BEGIN).total_seconds()) for start in starts)
    return [(max(0, first), min(last, int(first + seconds))) for first in firsts]


def _offset(name: str) -> timedelta:
    """Return the offset of a time zone in January; none if it is unknown."""
    from zoneinfo import ZoneInfo

    try:
        return _BEGIN.astimezone(ZoneInfo(name)).utcoffset() or timedelta()
    except (KeyError, OSError, ValueError):
        return timedelta()


@cache
def time_zones() -> frozenset[str]:
    """Return the names of time zones; none on a machine without the time zone database."""
    from zoneinfo import available_timezones

    return frozenset(available_timezones())


def _union(parts: Iterable[Iterable[_Span]]) -> list[_Span]:
    joined = list[_Span]()
    for first, after in sorted(span for part in parts for span in part if span[0] < span[1]):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(after, joined[-1][1]))
        else:
            joined.append((first, after))
    return joined


def _without(spans: Iterable[_Span], removed: Iterable[_Span]) -> list[_Span]:
    """Return one whole span without others that are inside it, sorted and apart."""
    left, (begin, end) = list[_Span](), next(iter(spans))
    for first, after in removed:
        left.append((begin, first))
        begin = after
    return [*left, (begin, end)]


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
    if str(window.get("schedule") or "").startswith("@"):
        reason = f"schedule is {window['schedule']}, and Argo CD reads only five fields here"
        return Blocked(index, "schedule", reason, advice.write("schedule", "0 0 * * *")), None
    try:
        schedule = cron.read(str(window.get("schedule") or ""))
    except ValueError as error:
        advised = 'write a cron expression such as schedule: "0 22 * * *"'
        return Blocked(index, "schedule", f"schedule is invalid: {error}", advised), None
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


def shown(seconds: float) -> str:
    """Return a time in hours and minutes, like 1h30m."""
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
