"""Cron expressions as other programs write them, in the form that Kubernetes reads."""

from __future__ import annotations

import re
from collections.abc import Iterator

_FIELDS = 5
"""Minute, hour, day of the month, month, day of the week."""
_WEEKDAYS = {"7": "0", "1-7": "*", "0-7": "*", "MON-SUN": "*", "SAT-SUN": "SAT,SUN"}
"""A day of the week for which Sunday is 7 or the last day, as Kubernetes writes it."""


def candidates(text: str) -> Iterator[str]:
    """Yield what a cron expression may mean: without seconds, year, time zone and question marks.

    The caller checks whether they are valid.
    """
    fields = text.replace("?", "*").split()
    if fields[:1] and re.match("(CRON_)?TZ=", fields[0]):
        fields = fields[1:]
    if len(fields) > _FIELDS and fields[0].isdecimal():
        fields = fields[1 : _FIELDS + 1]
    if len(fields) == _FIELDS:
        yield " ".join(fields)
        minute, hour, *dates, weekday = fields
        minute, hour = ("0" if minute == "60" else minute), ("0" if hour == "24" else hour)
        weekday = _WEEKDAYS.get(weekday.upper(), weekday)
        yield " ".join((minute, hour, *dates, weekday))
