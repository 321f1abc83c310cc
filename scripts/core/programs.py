"""Run other programs to their end: with a time-out, and without leaving their children behind."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from scripts.core import process_lifetime
from scripts.core.findings import UsageError

QUERY_TIMEOUT_S = 600
"""Of a program that only answers a question."""


def run(
    command: Sequence[str | Path],
    making: str,
    timeout_s: float,
    *,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    given: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; it is killed with its children where it takes too long.

    making: what it is for, in the UsageError that a missing program or the time-out becomes.
    given: what it reads on its standard input.
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
    """Run a program as `run` does; it is killed with its children when this process ends, too.

    That holds however this process ends: by a SIGKILL, too. It takes a shell's start more.
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
        raise UsageError(f"{making}: {command[0]} can't be started: {error.strerror}") from error
    try:
        yield process
    finally:
        if process.poll() is None:
            # Its own session: a Ctrl-C here does not reach the compilers it started.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
        with process:  # waits for its end, and closes what it wrote to
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
        message = f"{making}: {Path(command[0]).name} did not end within {timeout_s:.0f} s"
        raise UsageError(message) from None
    # Names of files may be any bytes, and what git has may have any ends of lines.
    told = (stream.decode("utf-8", "surrogateescape") for stream in (stdout, stderr))
    return subprocess.CompletedProcess(command, process.returncode, *told)
