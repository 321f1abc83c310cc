"""Start, stop, kill and restart programs that run together, each with a log."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.core.findings import UsageError

END_S = 5.0
"""Time for a program to stop before it is killed; with watches, the API server takes a minute."""

PORTS_A_BLOCK = 100
BLOCKS = range(20_000, 32_000, PORTS_A_BLOCK)
"""The first port of every block. Outgoing connections use higher ports, so they cannot take a port
between its choice here and its use by a program."""
_guards: list[socket.socket] = []
"""Sockets that reserve the blocks of this process."""


@dataclass(frozen=True, slots=True)
class Program:
    """The command that starts a program."""

    command: Sequence[str | Path]
    environment: Mapping[str, str]
    folder: Path


class Processes:
    """Programs by name, with their logs in one folder; none of them outlives this process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs: dict[str, Program] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self,
        name: str,
        command: Iterable[str | Path],
        environment: Mapping[str, str],
        folder: Path | None = None,
    ) -> None:
        """Start a program, and append its output to its log. Call it in the main thread."""
        self._programs[name] = Program([*command], environment, folder or self._folder)
        self.restart(name)

    def restart(self, name: str) -> None:
        """Start a stopped program again with the same command."""
        program = self._programs[name]
        with self.log(name).open("ab") as log:
            try:
                self._running[name] = subprocess.Popen(
                    [*_bound(), *program.command],
                    cwd=program.folder,
                    env=program.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            except OSError as error:
                raise UsageError(f"cannot start {name}: {error.strerror}") from error

    def end(self, *names: str, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop programs and their children, and wait; SIGKILL simulates a power failure."""
        stopped = [self._running.pop(name) for name in names if name in self._running]
        for process in stopped:
            _signal(process, number)
        for process in stopped:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_S)
            _signal(process, signal.SIGKILL)
            process.wait()

    def close(self) -> None:
        """Stop everything, in reverse order of the starts."""
        names = list(reversed(self._running))
        # The data of etcd and the API server is not needed, and a clean stop waits for watches.
        self.end(*names, number=signal.SIGKILL)

    def log(self, name: str) -> Path:
        """Return the file with a program's output."""
        return self._folder / f"{name}.log"

    def dead(self) -> list[str]:
        """Return the names of the programs that exited unexpectedly."""
        return [name for name, process in self._running.items() if process.poll() is not None]

    def names(self) -> list[str]:
        """Return the names of all programs."""
        return list(self._programs)


def free_ports(count: int) -> list[int]:
    """Return free ports of the loopback interface; each call returns new ones.

    As long as this process lives, no other process on the machine gets them from this function.
    Raises UsageError if there are too few.
    """
    ports = list(itertools.islice(filter(_is_free, _own_ports(os.getpid())), count))
    if len(ports) < count:
        raise UsageError(
            f"only {len(ports)} of {count} needed ports are free from {BLOCKS.start} to"
            f" {BLOCKS.stop}: end other programs that listen there"
        )
    return ports


@functools.cache
def _own_ports(_process: int) -> Iterator[int]:
    """Yield the ports of one block after another, each reserved by this process, not its parent.

    A process reserves a block by binding its first port. The kernel releases it when the process
    ends, in whatever way.
    """
    for first in BLOCKS:
        guard = socket.socket()
        try:
            guard.bind(("127.0.0.1", first))
        except OSError:
            guard.close()
            continue
        _guards.append(guard)
        yield from range(first + 1, first + PORTS_A_BLOCK)


def _is_free(port: int) -> bool:
    with contextlib.suppress(OSError), socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return True
    return False


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to a program and its children, if it still runs."""
    # If it has just ended, macOS does not permit a signal to the zombie.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if process.poll() is None:
            os.killpg(process.pid, number)


def _bound() -> list[str]:
    """Return the start of a command that ends with this process, even if this process is killed.

    It is empty except on Linux: there, programs survive if this process is killed.
    """
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
