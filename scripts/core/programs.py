"""Run other programs with a time-out, without leaving child processes behind."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from scripts.core import process_lifetime
from scripts.core.findings import UsageError

QUERY_TIMEOUT_S = 600
"""The time-out for programs that only answer a query."""


def run(
    command: Sequence[str | Path],
    making: str,
    timeout_s: float,
    *,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    given: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a program until it ends; on a time-out, kill it and its children.

    making: what it is for, as the message of a UsageError begins. given: its standard input.
    Raises UsageError if the program can't be started, or on a time-out.
    """
    with _started(command, making, cwd, environment, subprocess.PIPE) as process:
        return _finished(process, command, making, timeout_s, given.encode())


def run_bound(
    command: Sequence[str | Path],
    making: str,
    timeout_s: float,
    *,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program as `run` does, and also kill it and its children when this process ends.

    That includes an end by SIGKILL. It costs the start of a shell.
    """
    reading, writing = os.pipe()
    try:
        bound = process_lifetime.until_end_of_stdin(command)
        with _started(bound, making, cwd, environment, reading) as process:
            return _finished(process, command, making, timeout_s, None)
    finally:
        os.close(reading)
        os.close(writing)


@contextlib.contextmanager
def _started(
    command: Sequence[str | Path],
    making: str,
    cwd: Path,
    environment: Mapping[str, str] | None,
    stdin: int,
) -> Iterator[subprocess.Popen[bytes]]:
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise UsageError(f"{making}: cannot start {command[0]}: {error.strerror}") from error
    try:
        yield process
    finally:
        if process.poll() is None:
            # It is in another session, so a Ctrl-C here does not reach it and its children.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
        with process:  # waits until it has ended, and closes its pipes
            pass


def _finished(
    process: subprocess.Popen[bytes],
    command: Sequence[str | Path],
    making: str,
    timeout_s: float,
    given: bytes | None,
) -> subprocess.CompletedProcess[str]:
    try:
        stdout, stderr = process.communicate(given, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        message = f"{making}: {Path(command[0]).name} did not finish within {timeout_s:.0f} s"
        raise UsageError(message) from None
    # Bytes, not text: file names may be any bytes, and line ends must stay as they are.
    texts = (stream.decode("utf-8", "surrogateescape") for stream in (stdout, stderr))
    return subprocess.CompletedProcess(command, process.returncode, *texts)
