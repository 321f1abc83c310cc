"""How often a CronJob begins: cron expression → seconds."""

from __future__ import annotations

import re

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400

_PART = re.compile(r"(?:[*?]|([0-9]+)(?:-([0-9]+))?)(?:/([0-9]+))?")


def interval(schedule: str) -> int:
    """Return the least seconds between two begins, at most a day.

    Every day is taken for one on which it begins, so the real interval is never shorter. Where the
    form is not known here, it is a minute: cron has nothing shorter
    (https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#schedule-syntax).
    """
    if schedule.startswith("@"):
        return {"@hourly": HOUR_S}.get(schedule, MINUTE_S if "every" in schedule else DAY_S)
    fields = schedule.split()
    minutes = _times(fields[0], 60) if len(fields) == 5 else []
    hours = _times(fields[1], 24) if len(fields) == 5 else []
    begins = [hour * HOUR_S + minute * MINUTE_S for hour in hours for minute in minutes]
    if not begins:
        return MINUTE_S
    following = [*begins[1:], begins[0] + DAY_S]
    return min(after - before for before, after in zip(begins, following, strict=True))


_DAYS = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
"""Of the months, January being 1, in the longest year."""


def comes(schedule: str) -> bool:
    """Return whether there is a day that a schedule names; where it can't be read, there may be."""
    fields = schedule.split()
    if len(fields) != 5 or fields[4] not in ("*", "?"):
        return True  # a day of the week is enough
    days, months = _times(fields[2], 32), _times(fields[3], 13)
    named = [month for month in months if month]
    least = min((day for day in days if day), default=0)
    return not days or not named or any(least <= _DAYS[month] for month in named)


def _times(field: str, end: int) -> list[int]:
    """Return the numbers below the end that a field names, in order; none if it can't be read.

    A step after a single number goes on to the end, as in the library that Kubernetes uses:
    robfig/cron v3, parser.go.
    """
    found = set[int]()
    for part in field.split(","):
        form = _PART.fullmatch(part)
        if form is None or form[3] == "0":
            return []
        first = int(form[1] or 0)
        last = int(form[2]) if form[2] else end - 1 if form[1] is None or form[3] else first
        found.update(range(first, min(last, end - 1) + 1, int(form[3] or 1)))
    return sorted(found)
