"""When a CronJob starts its Jobs: cron expression → seconds between two starts.

Kubernetes reads a schedule with robfig/cron (ParseStandard in parser.go of v3.0.1, which go.mod of
Kubernetes 1.34 and 1.37 names). cronsim 2.8 computes the dates, but as Debian's cron does, so the
terms in which the two differ are first written in a form that both read alike. The tests compare
the results with those of robfig/cron itself: tools/cron.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400

_BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
_LEAP_YEARS = timedelta(days=4 * 365 + 61)
"""From the first day of a leap year to the first of March in the next leap year."""
_WEEKS = timedelta(days=15)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The seconds between two starts; 0 if there is no start at all."""

    shortest: int
    longest: int


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    first: int
    last: int
    names: tuple[str, ...] = ()
    """The names of the values, from the first on."""


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 6, _DAYS),
)
_NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_TERM = re.compile(r"(?:([*?])(?:-[^/]*)?|([+\w]+)(?:-([+\w]+))?)(?:/\+?([0-9]+))?", re.ASCII)
_EVERY = "@every "
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")


@lru_cache(maxsize=256)
def read(schedule: str) -> Schedule:
    """Return how often a schedule starts a Job.

    Raises ValueError with the reason if the API server rejects the schedule.
    """
    if "TZ" in schedule:
        raise ValueError("its time zone belongs in the field timeZone")
    if schedule.startswith(_EVERY):
        seconds = max(1, int(duration(schedule.removeprefix(_EVERY).strip())))
        return Schedule(seconds, seconds)
    plain = _normalized(schedule)
    return _simulated(plain) if plain else Schedule(0, 0)


def starts(schedule: str, begin: datetime, end: datetime) -> Iterator[datetime]:
    """Yield the starts of a schedule of five fields between two times in its time zone.

    Raises ValueError as `read` does.
    """
    from cronsim import CronSim, CronSimError

    plain = _normalized(schedule)
    if not plain:
        return
    try:
        simulation = CronSim(" ".join(plain), begin - timedelta(seconds=1))
    except CronSimError:  # no month has the day
        return
    for start in simulation:
        if start >= end:
            return
        yield start


def _normalized(schedule: str) -> list[str]:
    """Return the fields as robfig/cron and cronsim both read them; none if one has no value."""
    fields = _NAMED.get(schedule, schedule).split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"it has {len(fields)} fields, not {len(_FIELDS)}")
    plain = [_plain(text, field) for text, field in zip(fields, _FIELDS, strict=True)]
    *_, by_month, _, by_week = plain
    if not by_month and by_week != "*":
        plain[2] = "*"
    elif not by_week and by_month != "*":
        plain[4] = "*"
    return plain if all(plain) else []


def is_valid(schedule: str) -> bool:
    """Return whether the API server accepts a schedule."""
    try:
        read(schedule)
    except ValueError:
        return False
    return True


def interval(schedule: str) -> int:
    """Return the least seconds between two starts: a minute, the least of all, if it is invalid."""
    try:
        return read(schedule).shortest or int(_LEAP_YEARS.total_seconds())
    except ValueError:
        return MINUTE_S


def duration(text: str) -> float:
    """Return the seconds of a duration as Go's time.ParseDuration reads it."""
    number = text.removeprefix("-").removeprefix("+")
    parts = list(_PART.finditer(number))
    if number != "0" and (not parts or "".join(part[0] for part in parts) != number):
        raise ValueError(f'"{text}" is not a duration such as 1h30m')
    seconds = sum(float(part[1]) * _UNITS_S[part[2]] for part in parts)
    return -seconds if text.startswith("-") else seconds


def _plain(text: str, field: _Field) -> str:
    """Return a field as robfig/cron and cronsim both read it; empty if it has no value at all.

    Of the two fields for days, one with a star, or without a value, leaves the choice to the other
    one. Otherwise a Job starts on the days of both.
    """
    terms = [_term(term, field) for term in text.split(",") if term]
    return "*" if "*" in terms else ",".join(terms)


def _term(text: str, field: _Field) -> str:
    match = _TERM.fullmatch(text)
    if match is None:
        raise ValueError(f'"{text}" is not a valid {field.name}')
    star, first, last, step = match.groups()
    begin = field.first if star else _number(first, field)
    end = begin if last is None else _number(last, field)
    if star or (step and last is None):
        end = field.last
    if begin > end:
        raise ValueError(f'in "{text}", {begin} is after {end}')
    if step and int(step) == 0:
        raise ValueError(f'the step of "{text}" is 0')
    if star and int(step or 1) == 1:
        return "*"
    # cronsim takes 7 for Sunday, and a range of one value with a step for all later ones.
    values = range(begin, end + 1, int(step or 1))
    return ",".join(map(str, values))


def _number(text: str, field: _Field) -> int:
    """Return the number that a value of a field means."""
    if text.lower() in field.names:
        return field.first + field.names.index(text.lower())
    number = int(text) if re.fullmatch(r"\+?[0-9]+", text) else -1
    if not field.first <= number <= field.last:
        known = f"{field.first} to {field.last}"
        raise ValueError(f'"{text}" is not a valid {field.name}: write {known}')
    return number


def _simulated(fields: list[str]) -> Schedule:
    """Return how often a schedule of plain fields starts a Job."""
    from cronsim import CronSim, CronSimError  # only where there are CronJobs

    minute, hour, *days = fields
    try:
        simulation = CronSim(" ".join(("0 0", *days)), _BEGIN - timedelta(seconds=1))
    except CronSimError:  # no month has the day
        return Schedule(0, 0)
    # Weeks repeat after one week, other dates after the next leap year.
    is_weekly = days[:2] == ["*", "*"]
    between = list(_days(simulation, _BEGIN + (_WEEKS if is_weekly else _LEAP_YEARS)))
    if not between:
        return Schedule(0, 0)
    of_day = CronSim(f"{minute} {hour} * * *", _BEGIN)
    times = sorted(h * HOUR_S + m * MINUTE_S for h in of_day.hours for m in of_day.minutes)
    within = [after - before for before, after in pairwise(times)]
    overnight = times[0] - times[-1]
    shortest = min(*within, min(between) + overnight) if within else min(between) + overnight
    return Schedule(shortest, max(*within, max(between) + overnight) if within else max(between))


def _days(starts: Iterator[datetime], end: datetime) -> Iterator[int]:
    """Yield the seconds between a day with starts and the next such day, up to a date."""
    previous = None
    for day in starts:
        if day >= end:
            return
        if previous is not None:
            yield int((day - previous).total_seconds())
        previous = day
