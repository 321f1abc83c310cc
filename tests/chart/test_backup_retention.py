"""Retention removes old backups, never the newest, and never what is not a backup."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.chart.backup_store import Store, assert_restorable, error, every_shell
from tests.chart.interrupted_requests import between


@pytest.mark.parametrize("setting", ["DAYS", "KEEP", "DAILY", "WEEKLY"])
def test_a_retention_that_is_no_number_is_refused(store: Store, small: Path, setting: str) -> None:
    done = store.backup(small, **{f"RETENTION_{setting}": "-1"})
    assert "must be whole numbers, not -1" in error(done)


@every_shell
def test_retention_removes_what_is_old_and_keeps_the_newest(store: Store, small: Path) -> None:
    first = store.made(small, RETENTION_DAYS="0")
    ages = (2.0, 29.9, 30.1, 31.0, 400.0)
    young, month, late, later, last = (store.aged(first, age) for age in ages)
    fresh, torn = (store.aged(first, age, marked=False) for age in (0.9, 1.1))
    (store.root / "of someone else").mkdir()
    (store.root / "of someone else" / "SHA256SUMS").write_text("")
    shutil.rmtree(store.root / first)

    def kept(days: str, keep: str) -> set[str]:
        new = store.made(small, RETENTION_DAYS=days, RETENTION_KEEP=keep)
        left = set(store.all()) - {"of someone else"}
        assert new in left
        shutil.rmtree(store.root / new)
        assert (store.root / "of someone else" / "SHA256SUMS").exists()
        return left - {new}

    assert torn in store.all()
    assert kept("0", "0") == {fresh, young, month, late, later, last}
    assert kept("30", "5") == {fresh, young, month, late, later}
    assert kept("30", "4") == {fresh, young, month, late}
    assert kept("30", "3") == {fresh, young, month}
    assert kept("1", "0") == {fresh}


def ago(days: float) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).strftime("%Y%m%dT%H%M%SZ")


def in_tiers(times: list[str], daily: int, weekly: int) -> set[str]:
    """Return those of some times that are the last of a young day or week, given newest first."""
    kept = dict[tuple[str, int], str]()
    for name in times:
        made = datetime.strptime(name, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        for kind, days, count in (("day", 1, daily), ("week", 7, weekly)):
            period = (kind, int(made.timestamp()) // (days * 86400))
            kept.setdefault(period, name if name > ago(days * count) else "")
    return set(kept.values()) - {""}


@every_shell
def test_tiers_of_retention_keep_the_last_of_each_day_and_week(store: Store, small: Path) -> None:
    first = store.made(small)
    hours = [1, 5, 20, 26, 40, 75, *(24 * day + 3 for day in (5, 6, 8, 9, 16, 17, 30, 54, 60, 200))]
    times = [store.aged(first, (hour + 0.5) / 24) for hour in hours]
    shutil.rmtree(store.root / first)

    def kept(keep: int, days: int, daily: int, weekly: int) -> tuple[str, set[str]]:
        tiers = {"RETENTION_DAILY": str(daily), "RETENTION_WEEKLY": str(weekly)}
        new = store.made(small, RETENTION_KEEP=str(keep), RETENTION_DAYS=str(days), **tiers)
        left = set(store.all())
        shutil.rmtree(store.root / new)
        return new, left

    new, left = kept(1, 0, 0, 0)
    assert left == {new, *times}
    new, left = kept(4, 0, 7, 9)
    assert left == in_tiers([new, *times], 7, 9) | {new, *times[:3]}
    assert len({new, *times[:3]}) < len(left) < len(times)
    times = sorted(left - {new}, reverse=True)
    new, left = kept(1, 20, 0, 9)
    young = {time for time in in_tiers([new, *times], 0, 9) if time >= ago(20)}
    assert left == young | {new}
    assert 2 < len(left) < len(times)


def test_a_retention_that_fails_is_told_and_is_no_failed_backup(
    store: Store, backup: str, small: Path, target: Path
) -> None:
    old = store.aged(backup, 40)
    shutil.rmtree(store.root / backup)
    with between(store, b"DELETE /", lambda: False) as proxy:
        done = store.backup(small, RETENTION_KEEP="1", RCLONE_CONFIG_S3_ENDPOINT=proxy.endpoint)
    assert done.code == 0
    assert re.search(
        r"^warning: .* older ones were not all removed: .* S3 at", done.err, re.MULTILINE
    )
    assert len(store.complete()) == 2
    assert_restorable(store, old, small, target)


def test_a_backup_that_is_half_removed_looks_incomplete(
    store: Store, backup: str, small: Path
) -> None:
    old = store.aged(backup, 40)
    shutil.rmtree(store.root / backup)
    # The first object is removed, and then S3 is gone.
    deletions = iter([True])
    with between(store, b"DELETE /", lambda: next(deletions, False)) as proxy:
        store.backup(small, RETENTION_KEEP="1", RCLONE_CONFIG_S3_ENDPOINT=proxy.endpoint)
    assert old in store.all()
    assert old not in store.complete()
