"""How often a CronJob starts, judged by the library with which Kubernetes reads schedules."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest

from scripts.core.toolchain import tool
from scripts.kubernetes import cron
from scripts.kubernetes.cron import Schedule

HOUR, DAY = cron.HOUR_S, cron.DAY_S


@pytest.mark.parametrize(
    ("expression", "shortest", "longest"),
    [
        ("0 */6 * * *", 6 * HOUR, 6 * HOUR),
        ("0 0,6,18 * * *", 6 * HOUR, 12 * HOUR),
        ("30 22,23 * * *", HOUR, 23 * HOUR),
        ("*/7 * * * *", 240, 420),  # from minute 56 to the next hour
        ("0 1/9 * * *", 6 * HOUR, 9 * HOUR),  # 1, 10, 19, and 1 again
        ("15 3 * * 0", 7 * DAY, 7 * DAY),
        ("15 3 * * MON-fri", DAY, 3 * DAY),
        ("0 0 1 * *", 28 * DAY, 31 * DAY),
        ("0 0 29 2 *", 1461 * DAY, 1461 * DAY),
        ("0 0 31 4 *", 0, 0),
        ("0 0 31 feb,APR,9 *", 0, 0),
        ("0 0 31 2 MON", 7 * DAY, 350 * DAY),  # each Monday in February
        ("0 0 */2 * 1", DAY, 2 * DAY),  # an odd day, or a Monday
        ("0 0 */1 * 1", 7 * DAY, 7 * DAY),  # all days have a star: only the Mondays
        ("? ? ? ? ?", 60, 60),
        ("0-2 4 * * *", 60, DAY - 120),
        (", * * * *", 0, 0),
        ("0 0 , * 1", 7 * DAY, 7 * DAY),
        ("0 0 , * *", 0, 0),
        ("@hourly", HOUR, HOUR),
        ("@daily", DAY, DAY),
        ("@weekly", 7 * DAY, 7 * DAY),
        ("@every 5m", 300, 300),
        ("@every 1h30m0.5s", 5400, 5400),
        ("@every 1ms", 1, 1),
    ],
)
def test_the_time_between_two_starts_is_known(expression: str, shortest: int, longest: int) -> None:
    assert cron.read(expression) == Schedule(shortest, longest)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "nonsense",
        "0 0/0 * * *",
        "0 24 * * *",
        "60 * * * *",
        "0 0 0 * *",
        "0 0 * 13 *",
        "0 0 * * 7",
        "0 0 * * FRI-SUN",
        "0 22-4 * * *",
        "0 0 * * 1#2",
        "0 0 L * *",
        "0 0 * mai *",
        "0 0 * * * *",
        "0 0 * *",
        "@fortnightly",
        "@every hour",
        "CRON_TZ=UTC 0 0 * * *",
        "1.5 * * * *",
        "-1 * * * *",
        "1-2-3 * * * *",
        "1/2/3 * * * *",
    ],
)
def test_a_schedule_that_the_api_server_rejects_is_invalid(expression: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        cron.read(expression)
    assert cron.interval(expression) == cron.MINUTE_S


def _judged(expressions: Sequence[str]) -> list[dict[str, Any]]:
    """Return what robfig/cron says of schedules."""
    done = subprocess.run(
        [tool("cron")],
        input="".join(f"{expression}\n" for expression in expressions),
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


_NAMES = (("mon", "SUN", "Fri", "sat"), ("jan", "DEC", "Feb", "nov"))


def _random(chance: random.Random) -> str:
    """Return a schedule, often an invalid one; most of them use every part of the syntax."""
    if chance.random() < 0.05:
        return chance.choice(
            ["@every 90s", "@every 2h", "@every -1h", "@midnight", "@weekly", "@x"]
        )
    fields = []
    for first, last in ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6)):

        def value(first: int = first, last: int = last) -> str:
            if last in (6, 12) and chance.random() < 0.3:
                return chance.choice(_NAMES[last == 12])
            outside = chance.random() < 0.01
            return str(last + 1 if outside else chance.randint(first, last)).zfill(
                chance.choice((1, 1, 2))
            )

        terms = []
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            ends = sorted([value(), value()], key=lambda one: (len(one), one))
            base = chance.choice(("*", "*", "*", "?", value(), value(), "-".join(ends), "*-3", ""))
            step = chance.choice(("", "", "", f"/{chance.randint(0, last + 2)}", "/1", "/+2"))
            terms.append(base + (step if base else ""))
        fields.append(",".join(terms) or ",")
    return " ".join(fields)


def test_schedules_are_read_as_kubernetes_reads_them() -> None:
    chance = random.Random(34)
    expressions = [_random(chance) for _ in range(600)]
    wrong, valid = [], 0
    for expression, judged in zip(expressions, _judged(expressions), strict=True):
        try:
            found = cron.read(expression)
        except ValueError as reason:
            if "error" not in judged:
                wrong.append(f"{expression}: valid, not {reason}")
            continue
        valid += 1
        if "error" in judged or not _agrees(found, judged):
            wrong.append(f"{expression}: {judged}, not {found}")
    assert not wrong
    assert valid > 100


def _agrees(found: Schedule, judged: dict[str, Any]) -> bool:
    """Return whether a schedule has the times between starts that robfig/cron gives it."""
    if len(judged["starts"]) < 2:
        return not judged["starts"] if found == Schedule(0, 0) else bool(judged["starts"])
    least, most = judged["shortest"], judged["longest"]
    if judged["all"]:
        return found == Schedule(least, most)
    return bool(found.shortest <= least and most <= found.longest)
