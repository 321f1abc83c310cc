"""Backups restore byte for byte, and a restore that fails hurts neither a backup nor a volume."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chart.backup_store import (
    BUCKET,
    PREFIX,
    Store,
    assert_restorable,
    assert_untouched,
    content,
    error,
    every_shell,
    flip_a_byte,
    may_mount,
    of_small_files,
    on_a_full_disk,
    restored,
    write,
)
from tests.chart.interrupted_requests import stopped


def fill_with_odd_names(volume: Path) -> None:
    names = ["-rf", " lead", "trail ", "a\\b", 'it\'s "so"', "$(id) `id` ;&|", "*?[x]{y}", "%2F%00"]
    names += ["é", "e\u0301", "\N{FISH}", ".hidden", "..", "empty", "key", "x" * 200]
    for name in names:
        write(volume / "besu" / "odd" / f"{name}.d" / name.replace("..", "..."), name.encode())
    (volume / "besu/odd/empty.d/empty").write_bytes(b"")
    (volume / "maru/an empty folder/and one in it").mkdir(parents=True)
    for number in range(1000):
        write(volume / f"besu/database/{number:06}.log", str(number).encode())


@every_shell
def test_a_restore_gives_every_byte_and_folder_back(
    store: Store, source: Path, target: Path
) -> None:
    fill_with_odd_names(source)
    backup = store.made(source)
    done = store.restore(backup, target)
    assert done.code == 0, done
    assert content(target) == content(source)
    assert len(content(target)) > 1000
    assert "maru/an empty folder/and one in it" in content(target)
    assert sorted(path.name for path in target.iterdir()) == ["besu", "maru"]


def test_a_volume_that_is_too_small_is_told_before_the_download(
    store: Store, big_backup: str, target: Path
) -> None:
    before = on_a_full_disk(target, 6)
    done = store.run("restore.sh", *before, BACKUP=big_backup, TARGET_DIR=target)
    assert ("too small" if may_mount() else "the disk is full") in error(done)
    assert_untouched(target)


def test_a_volume_that_gets_full_is_left_empty(
    store: Store, big_backup: str, source: Path, target: Path
) -> None:
    done = store.run("restore.sh", *of_small_files(6), BACKUP=big_backup, TARGET_DIR=target)
    assert "the download failed: the disk is full" in error(done)
    assert_untouched(target)
    assert_restorable(store, big_backup, source, target)


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def truncate_to_a_line(file: Path) -> None:
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[1:]))


@pytest.mark.parametrize(
    ("damage", "file", "message"),
    [
        (flip_a_byte, "data/besu/database/000001.sst", "000001.sst has changed"),
        (truncate, "data/besu/database/000001.sst", "000001.sst has changed"),
        (Path.unlink, "data/besu/database/000001.sst", "000001.sst is missing"),
        (Path.touch, "data/maru/added", "data/maru/added was added"),
        (Path.unlink, "FOLDERS", "FOLDERS is missing"),
        (flip_a_byte, "FOLDERS", "FOLDERS has changed"),
        (Path.unlink, "CHAIN", "CHAIN is missing"),
        (flip_a_byte, "CHAIN", "CHAIN has changed"),
        (lambda f: f.write_text("garbage\n"), "SHA256SUMS", "SHA256SUMS of"),
        (lambda f: f.write_text(""), "SHA256SUMS", "SHA256SUMS of"),
        (truncate_to_a_line, "SHA256SUMS", "was added"),
        (flip_a_byte, "SHA256SUMS", "damaged"),
    ],
)
def test_a_damaged_backup_is_refused_and_an_earlier_one_is_not(
    store: Store,
    backup: str,
    small: Path,
    target: Path,
    damage: Callable[[Path], None],
    file: str,
    message: str,
) -> None:
    earlier = store.aged(backup, 1)
    damage(store.root / backup / file)
    done = store.restore(backup, target)
    assert message in error(done)
    assert "damaged" in error(done)
    assert_untouched(target)
    assert_restorable(store, earlier, small, target)


@every_shell
def test_a_backup_that_is_not_there_is_told_with_those_that_are(
    store: Store, small: Path, target: Path
) -> None:
    assert "Complete backups: none" in error(store.restore("20200101T000000Z", target))
    backup = store.made(small)
    torn = store.aged(backup, 2, marked=False)
    assert f"Complete backups: {backup}" in error(store.restore("20200101T000000Z", target))
    assert f"Complete backups: {backup}" in error(store.restore(torn, target))
    assert "must be latest, or a time like" in error(store.restore("../../etc", target))
    assert_untouched(target)


def test_the_second_restore_changes_nothing(
    store: Store, backup: str, small: Path, target: Path
) -> None:
    assert_restorable(store, backup, small, target)
    (target / "maru" / "000002.sst").write_bytes(b"newer than the backup")
    there = content(target)
    done = store.restore(backup, target)
    assert done.code == 0
    assert "nothing to restore: there is already data" in done.out
    assert content(target) == there


@pytest.mark.parametrize("name", ["besu/database/CURRENT", "maru/CURRENT", "besu/.hidden"])
def test_data_is_never_overwritten_whatever_s3_says(store: Store, target: Path, name: str) -> None:
    write(target / name, b"mine")
    done = store.restore("20200101T000000Z", target, RCLONE_CONFIG_S3_ENDPOINT="http://127.0.0.1:1")
    assert done.code == 0
    assert "there is already data" in done.out
    assert [path for path in target.rglob("*") if path.is_file()] == [target / name]


@every_shell
def test_a_volume_gets_only_the_parts_it_has(store: Store, small: Path, target: Path) -> None:
    backup = store.made(small)
    (target / "besu").mkdir()
    (target / "lost+found").mkdir()
    assert store.restore(backup, target, PARTS="besu").code == 0
    assert content(target, "besu") == content(small, "besu")
    assert sorted(path.name for path in target.iterdir()) == ["besu", "lost+found"]
    assert store.restore(backup, target / "m", PARTS="maru").code == 0
    assert content(target / "m", "maru") == content(small, "maru")
    assert "x is neither" in error(store.restore(backup, target / "x", PARTS="x"))


@every_shell
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
def test_a_download_that_is_stopped_can_be_repeated(
    store: Store, source: Path, target: Path, by: signal.Signals
) -> None:
    backup = store.made(source)
    big = f"GET /{BUCKET}/{PREFIX}/{backup}/data/besu/database/000001.sst".encode()
    done = stopped(store, big, by, "restore.sh", BACKUP=backup, TARGET_DIR=target)
    if by == signal.SIGTERM:
        assert "interrupted by a signal; nothing was restored" in error(done)
        assert_untouched(target)
    assert not (target / "besu").exists()
    assert not (target / "maru").exists()
    assert_restorable(store, backup, source, target)


class Killed:
    """Restores that are killed before their nth step: a program that changes the volume."""

    STEPS = ("mv", "rm", "rmdir", "sync")

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.count = store, folder / "count"
        self.path = f"{folder}:{store.environment['PATH']}"
        folder.mkdir()
        for name in self.STEPS:
            real = shutil.which(name, path=store.environment["PATH"])
            (folder / name).write_text(
                f'#!/bin/sh\nstep=$(($(cat "{self.count}") + 1))\necho $step >"{self.count}"\n'
                f'[ $step != "$STEP" ] || kill -9 0\nexec "{real}" "$@"\n'
            )
            (folder / name).chmod(0o755)

    def restore(self, step: int, backup: str, target: Path) -> int:
        self.count.write_text("0")
        target.mkdir()
        return self.store.restore(backup, target, PATH=self.path, STEP=str(step)).code


def test_a_restore_that_is_killed_at_any_step_can_be_repeated(
    store: Store, backup: str, small: Path, tmp_path: Path
) -> None:
    killed = Killed(store, tmp_path / "killed")
    other = store.aged(backup, 1)
    halves, others, latest = 0, set(), set()
    for step in range(1, 100):
        target, copy = tmp_path / f"volume {step}", tmp_path / f"copy {step}"
        code = killed.restore(step, "latest", target)
        there = {part: content(target, part) for part in ("besu", "maru")}
        for part, files in there.items():
            assert files in ({}, content(small, part)), step
        if code == 0:
            break
        assert code == -signal.SIGKILL, step
        shutil.copytree(target, copy)
        # A newer one is complete by now: what was begun comes first.
        newer = store.aged(backup, -1)
        half = shutil.copytree(target, tmp_path / f"half {step}")
        done = store.restore("latest", half)
        assert content(half) == content(small), step
        latest.add(restored(done) if "\nrestored: " in done.out else "")
        if any(there.values()) and not all(there.values()):
            assert restored(done) == backup, step
        shutil.rmtree(store.root / newer)
        assert_restorable(store, backup, small, target)
        # Another backup is asked for now: parts of two are never mixed.
        done = store.restore(other, copy)
        if done.code:
            assert f"is partly restored from {backup}" in error(done), step
            halves += 1
            assert_restorable(store, backup, small, copy)
        else:
            others.add("restored: besu maru" in done.out)
            assert content(copy) == content(small), step
    assert content(target) == content(small)
    assert step > 6
    assert halves
    assert others == {True, False}
    assert len(latest) == 3
