"""`nox -s cluster` leaves nothing behind, however it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import EXAMPLE, ROOT
from tests.waits import until

HANG_S = 900.0
ENDED = "stopped; the cluster is deleted"


@pytest.fixture
def session(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Start the command with a temporary folder of its own, and wait until its programs run."""
    with begun(tmp_path) as process:
        yield process


@contextlib.contextmanager
def begun(folder: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts", "--repository", str(EXAMPLE), "cluster"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert "are running after" in process.stdout.readline(), "the cluster's first line"
        yield process
    finally:
        process.kill()
        process.communicate()


def programs(folder: Path) -> list[str]:
    """Return the commands of the processes whose command or folder is below a folder."""
    commands = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_text().replace("\0", " ")
            if str(folder) in f"{command} {(process / 'cwd').readlink()}":
                commands.append(command)
    return commands


def ended(folder: Path) -> None:
    """Wait until the kernel has ended the killed programs."""
    until(lambda: not programs(folder), "no program runs", lambda: programs(folder))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_behind(
    session: subprocess.Popen[str], tmp_path: Path, number: signal.Signals
) -> None:
    assert len(programs(tmp_path)) > 5
    session.send_signal(number)
    output, _ = session.communicate(timeout=HANG_S)
    assert ENDED in output
    assert session.returncode == 0
    ended(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_after_a_kill_its_programs_end_and_the_next_start_removes_its_folder(
    session: subprocess.Popen[str], tmp_path: Path
) -> None:
    session.kill()
    session.wait()
    ended(tmp_path)
    (left,) = tmp_path.iterdir()
    with begun(tmp_path) as other:
        assert not left.exists()
        other.terminate()
        other.communicate(timeout=HANG_S)
    assert list(tmp_path.iterdir()) == []
