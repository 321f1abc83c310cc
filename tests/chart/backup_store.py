"""Runs the backup scripts against rclone's own S3 server, on volumes like those of stopped pods."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.conftest import ROOT, Run, digest
from tests.optional_tools import tool
from tests.waits import until

SCRIPTS = ROOT / "chart" / "files" / "backup"
BUCKET, PREFIX = "backups", "linea-prod/linea-stack"
BIG = 12 * 1024 * 1024
"""Bytes of a file that is uploaded in three parts of the 5 MiB that the tests set."""
PRIVATE = ("besu/key", "besu/key.pub", "besu/jwt.hex", "maru/private-key")
VERSION = "besu/VERSION_METADATA.json"
OF_ONE_RUN = ("besu/besu.ports", "besu/besu.networks", "besu/database/LOCK", "maru/LOCK", VERSION)
CHAIN, ANOTHER_CHAIN = "1337-0123456789abcdef", "1337-fedcba9876543210"


def write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def fill(volume: Path, *, big: int = BIG) -> None:
    """Make the volume of a stopped Besu pod, with names that shells and S3 trip over."""
    write(volume / "besu/database/CURRENT", b"MANIFEST-000005\n")
    write(volume / "maru/CURRENT", b"MANIFEST-000007\n")
    write(volume / "besu/database/000001.sst", secrets.token_bytes(big))
    write(volume / "maru/000002.sst", secrets.token_bytes(4096))
    for name in (*PRIVATE, *OF_ONE_RUN):
        write(volume / name, secrets.token_hex(32).encode())
    (volume / "lost+found").mkdir()
    (volume / "besu/caches/CODE CACHE").mkdir(parents=True)


def content(volume: Path, *parts: str) -> dict[str, str]:
    """Return what a backup must hold of a volume: the digests of its files and folders."""
    found = {}
    for part in parts or ("besu", "maru"):
        for path in sorted((volume / part).rglob("*")):
            name = path.relative_to(volume).as_posix()
            if name not in PRIVATE + OF_ONE_RUN:
                found[name] = digest(path)
    return found


@dataclass(frozen=True, slots=True)
class Store:
    """An S3 server, and the scripts' environment."""

    folder: Path
    """What the server holds: a folder a bucket."""
    environment: dict[str, str]
    server: subprocess.Popen[bytes]

    @property
    def root(self) -> Path:
        return self.folder / self.environment["BUCKET"] / self.environment["PREFIX"]

    def start(self, script: str, *before: str | Path, **more: str | Path) -> subprocess.Popen[str]:
        """Start a script as the leader of a process group."""
        self.look_again()
        return subprocess.Popen(
            [*before, "sh", SCRIPTS / script],
            env=self.environment | {name: str(value) for name, value in more.items()},
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def look_again(self) -> None:
        """Have the server read its folders again, which the test may have changed."""
        self.server.send_signal(signal.SIGHUP)

    def run(self, script: str, *before: str | Path, **more: str | Path) -> Run:
        return end(self.start(script, *before, **more))

    def backup(self, source: Path, **more: str | Path) -> Run:
        return self.run("backup.sh", SOURCE_DIR=source, **more)

    def restore(self, backup: str, target: Path, **more: str | Path) -> Run:
        target.mkdir(exist_ok=True)
        return self.run("restore.sh", BACKUP=backup, TARGET_DIR=target, **more)

    def made(self, source: Path, **more: str | Path) -> str:
        """Return the time of a new backup."""
        done = self.backup(source, **more)
        assert done.code == 0, done
        assert "warning: " not in done.err, done
        return self.complete()[-1]

    def complete(self) -> list[str]:
        return sorted(mark.parent.name for mark in self.root.glob("2*/SHA256SUMS"))

    def all(self) -> list[str]:
        return sorted(path.name for path in self.root.glob("*"))

    def aged(self, backup: str | Path, days: float, *, marked: bool = True) -> str:
        """Copy a backup as if made so many days ago, and return its time."""
        then = datetime.now(UTC) - timedelta(days=days)
        name = then.strftime("%Y%m%dT%H%M%SZ")
        shutil.copytree(self.root / backup, self.root / name)
        if not marked:
            (self.root / name / "SHA256SUMS").unlink()
        return name


def end(process: subprocess.Popen[str]) -> Run:
    """Return how a script ended; nothing of its process group stays."""
    try:
        out, err = process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return Run(process.returncode, out, err)


def put(backup: Path, name: str, text: str) -> None:
    """Put another file into a backup, or none for an empty text, and list it as backup.sh does."""
    mark = backup / "SHA256SUMS"
    listed = [line for line in mark.read_text().splitlines() if not line.endswith(f"  {name}")]
    if text:
        (backup / name).write_text(text)
        listed.append(f"{digest(backup / name)}  {name}")
    else:
        (backup / name).unlink()
    mark.write_text("".join(f"{line}\n" for line in listed))


def errors(run: Run) -> list[str]:
    return [line for line in run.err.splitlines() if line.startswith("error: ")]


def error(run: Run) -> str:
    """Return the one line that tells what went wrong."""
    assert run.code == 1, run
    (line,) = errors(run)
    assert run.err.rstrip().endswith(line)
    return line


def shells() -> list[str]:
    return ["sh", *(["busybox"] if shutil.which("busybox") else [])]


every_shell = pytest.mark.parametrize("shell", shells(), indirect=True)
"""Where shells and tools may differ: dates, signals, patterns of names."""


@contextlib.contextmanager
def serving(
    folder: Path, environment: dict[str, str], before: tuple[str | Path, ...] = ()
) -> Iterator[Store]:
    """Run an S3 server on a port of its own, with keys made for it."""
    key, secret = secrets.token_hex(8), secrets.token_hex(16)
    log = folder.with_suffix(".log")
    with log.open("w") as output:
        server = subprocess.Popen(
            # Until the server minds SIGHUP, which start sends, it is not to end of it.
            [*before, "nohup", tool("rclone"), "serve", "s3", "--addr", "127.0.0.1:0", folder],
            env=environment
            | {
                "RCLONE_AUTH_KEY": f'"{key},{secret}"',
                "RCLONE_CONFIG": os.devnull,
                "RCLONE_NO_UNICODE_NORMALIZATION": "true",  # S3 does none
            },
            stdout=output,
            stderr=output,
        )
    try:

        def address() -> str:
            assert server.poll() is None, log.read_text()
            found = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
            return found.group() if found else ""

        endpoint = until(address, "the server's address")
        yield Store(
            folder,
            environment
            | {
                "BUCKET": BUCKET,
                "PREFIX": PREFIX,
                "PARTS": "besu maru",
                "CHAIN": CHAIN,
                "RETENTION_DAYS": "30",
                "RETENTION_KEEP": "2",
                "RCLONE_CONFIG_S3_TYPE": "s3",
                "RCLONE_CONFIG_S3_PROVIDER": "Other",
                "RCLONE_CONFIG_S3_ENV_AUTH": "true",
                "RCLONE_CONFIG_S3_REGION": "us-east-1",
                "RCLONE_CONFIG_S3_ENDPOINT": endpoint,
                "AWS_ACCESS_KEY_ID": key,
                "AWS_SECRET_ACCESS_KEY": secret,
                "RCLONE_S3_CHUNK_SIZE": "5Mi",
                "RCLONE_S3_UPLOAD_CUTOFF": "5Mi",
                "RCLONE_RETRIES": "1",
                "RCLONE_LOW_LEVEL_RETRIES": "1",
                # This server fails where two requests make one folder at the same time.
                "RCLONE_TRANSFERS": "1",
            },
            server,
        )
    finally:
        server.kill()
        server.wait()


@contextlib.contextmanager
def empty_store(folder: Path, path: str) -> Iterator[Store]:
    scratch = folder / "scratch"
    (folder / "s3" / BUCKET).mkdir(parents=True)
    scratch.mkdir()
    environment = {"PATH": path, "HOME": str(scratch), "TMPDIR": str(scratch)}
    # A third of rclone's start is Go's collector, and few of these runs need it.
    with serving(folder / "s3", environment | {"GOGC": "off", "GOMEMLIMIT": "256MiB"}) as made:
        yield made


def wait_for_another_second_than(backup: str) -> None:
    while datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ") == backup:
        time.sleep(0.05)


def restored(run: Run) -> str:
    """Return the time of the backup that was restored."""
    assert run.code == 0, run
    found = re.search(r"^restored: .* of s3:.*/(\w+)$", run.out, re.MULTILINE)
    assert found, run
    return found[1]


def assert_untouched(target: Path) -> None:
    """A failed restore leaves the room to the next one."""
    assert list(target.iterdir()) == []


def assert_restorable(store: Store, backup: str, source: Path, target: Path) -> None:
    done = store.restore(backup, target)
    assert done.code == 0, done
    assert content(target) == content(source)
    assert sorted(path.name for path in target.iterdir()) == ["besu", "maru"]


def may_mount() -> bool:
    """Return whether a small file system can be made, which needs no more than a user's rights."""
    command = ["unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/mnt"]
    with contextlib.suppress(FileNotFoundError):
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    return False


def on_a_full_disk(folder: Path, mebibytes: int) -> tuple[str | Path, ...]:
    """Return a command's beginning that gives it a small disk at the folder, or the like of it.

    Where nothing can be mounted, each file may be so large only.
    """
    folder.mkdir(exist_ok=True)
    if may_mount():
        mount = f'mount -t tmpfs -o size={mebibytes}m none "$0" && mkdir -p "$0/{BUCKET}"'
        return ("unshare", "-Urm", "/bin/sh", "-c", f'{mount} && exec "$@"', folder)
    return of_small_files(mebibytes)


def of_small_files(mebibytes: int) -> tuple[str | Path, ...]:
    blocks = mebibytes * 1024 * 2
    return ("/bin/sh", "-c", f'trap "" XFSZ; ulimit -f {blocks}; exec "$@"', "sh")


def flip_a_byte(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(file.stat().st_size // 2)
        (old,) = opened.read(1)
        opened.seek(-1, os.SEEK_CUR)
        opened.write(bytes([old ^ 1]))
