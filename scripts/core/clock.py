"""The clock of all checks that depend on the time, and until when their results hold.

A fork that is ahead becomes active, and a waiver expires, without any change of a file. So who
keeps findings asks here when to check again.
"""

from __future__ import annotations

import math
import time
from datetime import UTC, date, datetime, timedelta

_next = math.inf


def has_passed(at: float) -> bool:
    """Return whether a time, in seconds since 1970, is now or in the past."""
    global _next
    passed = at <= time.time()
    if not passed:
        _next = min(_next, at)
    return passed


def today() -> date:
    """Return the present day in UTC."""
    return datetime.now(UTC).date()


def is_over(day: date, today: date) -> bool:
    """Return whether a day is over in UTC on the present one."""
    global _next
    over = day < today
    if not over and day != date.max:
        end = datetime.combine(day + timedelta(1), datetime.min.time(), UTC)
        _next = min(_next, end.timestamp())
    return over


def start() -> None:
    """Forget what has been asked so far."""
    global _next
    _next = math.inf


def holds_until() -> float:
    """Return when the first answer since start() changes, in seconds since 1970; or infinity."""
    return _next
