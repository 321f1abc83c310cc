"""How often a CronJob starts."""

from __future__ import annotations

import pytest

from scripts.kubernetes import cron


@pytest.mark.parametrize(
    ("expression", "seconds"),
    [
        ("0 */6 * * *", 6 * 3600),
        ("0 0,6,18 * * *", 6 * 3600),
        ("30 22,23 * * *", 3600),
        ("*/7 * * * *", 240),  # from minute 56 to the next hour
        ("0 1/9 * * *", 6 * 3600),  # 1, 10, 19, and 1 again
        ("15 3 * * 0", 86400),
        ("0-2 4 * * *", 60),
        ("@hourly", 3600),
        ("@daily", 86400),
        ("@every 5m", 60),
        ("nonsense", 60),
        ("0 0/0 * * *", 60),
    ],
)
def test_the_least_time_between_two_begins_is_known(expression: str, seconds: int) -> None:
    assert cron.interval(expression) == seconds
