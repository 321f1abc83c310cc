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


def _times(field: str, end: int) -> list[int]:
    """Return the numbers below the end that a field names, in order; none where it can't be read.

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
