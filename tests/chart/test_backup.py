"""A backup is complete and holds no key, and whatever goes wrong hurts no earlier one.

The scripts that the chart ships run against rclone's own S3 server, by each shell there is.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chart.backup_store import (
    BUCKET,
    CHAIN,
    OF_ONE_RUN,
    PRIVATE,
    Store,
    assert_restorable,
    assert_untouched,
    error,
    every_shell,
    flip_a_byte,
    on_a_full_disk,
    serving,
    wait_for_another_second_than,
)
from tests.chart.interrupted_requests import between, stopped
from tests.conftest import Run

UPLOAD_OF_BIG = b"partNumber=2"
UPLOAD_OF_LIST = b"/FOLDERS"
"""Of what comes after all files."""


def test_sha256sum_alone_can_check_a_backup(store: Store, small: Path) -> None:
    folder = store.root / store.made(small)
    assert (folder / "CHAIN").read_text() == f"{CHAIN}\n"
    check = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    assert subprocess.run(check, cwd=folder, check=False).returncode == 0
    assert (folder / "FOLDERS").read_text().splitlines() == [
        *("besu", "besu/caches", "besu/caches/CODE CACHE", "besu/database", "maru")
    ]


def test_keys_leave_neither_the_volume_nor_the_environment(store: Store, small: Path) -> None:
    secret = [(small / name).read_bytes() for name in PRIVATE]
    secret.append(store.environment["AWS_SECRET_ACCESS_KEY"].encode())
    done = store.backup(small)
    stored = [path for path in store.folder.rglob("*") if path.is_file()]
    assert len(stored) > 4
    told = [path.read_bytes() for path in stored] + [(done.out + done.err).encode()]
    assert not any(key in text for key in secret for text in told)
    names = {path.name for path in stored}
    assert not names & {Path(name).name for name in (*PRIVATE, *OF_ONE_RUN)}


def test_parts_grow_where_a_file_would_have_more_than_s3_allows(
    store: Store, source: Path, target: Path
) -> None:
    # As for a file of more than 10000 x 16 MiB, with numbers that a test can have.
    with between(store, b"\0never\0", lambda: True) as proxy:
        backup = store.made(
            source, RCLONE_CONFIG_S3_ENDPOINT=proxy.endpoint, RCLONE_S3_MAX_UPLOAD_PARTS="2"
        )
        assert any(b"partNumber=2" in one for one in proxy.seen)
        assert not any(b"partNumber=3" in one for one in proxy.seen)
    assert_restorable(store, backup, source, target)


@every_shell
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda v: shutil.rmtree(v / "besu"), "besu is not a data folder of Besu"),
        (lambda v: (v / "besu/database/CURRENT").unlink(), "has no file database/CURRENT"),
        (lambda v: shutil.rmtree(v / "maru"), "maru is not a data folder of Maru"),
        (lambda v: (v / "maru/link").symlink_to("CURRENT"), "neither a file nor a folder"),
        (lambda v: (v / "maru/a\nb").write_text(""), "a name with a control character"),
    ],
)
def test_a_source_that_cant_be_copied_is_refused(
    store: Store, small: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(small)
    assert message in error(store.backup(small))
    assert store.all() == []


WRONG: list[tuple[dict[str, str], str]] = [
    ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "rejects the credentials"),
    ({"AWS_ACCESS_KEY_ID": "wrong"}, "rejects the credentials"),
    ({"BUCKET": "missing"}, "the bucket missing does not exist"),
    ({"RCLONE_CONFIG_S3_ENDPOINT": "http://127.0.0.1:1"}, "can't be reached"),
    ({"BUCKET": ""}, "BUCKET is not set"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG)
def test_s3_that_cant_be_used_is_told_and_changes_nothing(
    store: Store, backup: str, small: Path, target: Path, wrong: dict[str, str], message: str
) -> None:
    assert message in error(store.backup(small, **wrong))
    assert message in error(store.restore(backup, target, **wrong))
    assert message in error(store.restore("latest", target, **wrong))
    assert_untouched(target)
    assert store.all() == [backup]
    assert_restorable(store, backup, small, target)


def test_an_upload_that_is_cut_marks_nothing(
    store: Store, big_backup: str, source: Path, target: Path
) -> None:
    earlier = store.aged(big_backup, 1)
    shutil.rmtree(store.root / big_backup)
    with between(store, UPLOAD_OF_BIG, lambda: False) as proxy:
        done = store.backup(source, RCLONE_CONFIG_S3_ENDPOINT=proxy.endpoint)
    assert re.search(r"the upload failed: .*(was cut|can't be reached)", error(done))
    assert "is not complete and won't be used; earlier ones are unchanged" in error(done)
    assert store.complete() == [earlier]
    assert_restorable(store, earlier, source, target)


@every_shell
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("at", [UPLOAD_OF_BIG, UPLOAD_OF_LIST])
def test_a_backup_that_is_stopped_marks_nothing(
    store: Store, source: Path, target: Path, by: signal.Signals, at: bytes
) -> None:
    done = stopped(store, at, by, "backup.sh", SOURCE_DIR=source)
    if by == signal.SIGTERM:
        assert "interrupted by a signal; the backup" in error(done)
    assert store.complete() == []
    # rclone may begin with the big file: then nothing is there yet.
    assert len(store.all()) in ((1,) if at == UPLOAD_OF_LIST else (0, 1))
    for torn in store.all():
        assert "is not complete: its upload never ended" in error(store.restore(torn, target))
        assert_untouched(target)
        wait_for_another_second_than(torn)
    assert_restorable(store, store.made(source), source, target)


def test_what_s3_holds_is_read_back_before_the_mark(store: Store, source: Path) -> None:
    todo = [flip_a_byte]

    def flip() -> bool:
        (held,) = store.root.glob("*/data/besu/database/000001.sst")
        while todo:
            todo.pop()(held)
        return True

    # The list of folders is uploaded last before the reading.
    with between(store, UPLOAD_OF_LIST, flip) as proxy:
        done = store.backup(source, RCLONE_CONFIG_S3_ENDPOINT=proxy.endpoint)
    assert "data/besu/database/000001.sst has changed" in error(done)
    assert store.complete() == []


def test_a_full_disk_of_the_server_is_told(store: Store, source: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    (full / BUCKET).mkdir(parents=True)
    plain = {name: store.environment[name] for name in ("PATH", "HOME", "TMPDIR")}
    with serving(full, plain, on_a_full_disk(full, 6)) as other:
        whole = other.backup(source, RCLONE_S3_UPLOAD_CUTOFF="100Mi")
        wait_for_another_second_than(whole_time(whole))
        parts = other.backup(source)
        for done in (whole, parts):
            assert "disk is full" in error(done)
        gone = other.restore(whole_time(whole), tmp_path / "target")
        assert "is not complete" in error(gone) or "there is no complete backup" in error(gone)


def whole_time(run: Run) -> str:
    found = re.search(r"\d{8}T\d{6}Z", run.out)
    assert found
    return found.group()
