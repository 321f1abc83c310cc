"""Programs that run together: started, ended, killed and started again, all with logs."""

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
"""What a program has to end by itself; the API server takes a minute where there are watches."""

PORTS_A_BLOCK = 100
BLOCKS = range(20_000, 32_000, PORTS_A_BLOCK)
"""The first port of every block. Outgoing connections have higher ports, so none of them takes one
that was found for a program before the program does."""
_guards: list[socket.socket] = []
"""They hold this process's blocks."""


@dataclass(frozen=True, slots=True)
class Program:
    """How a program is started."""

    command: Sequence[str | Path]
    environment: Mapping[str, str]
    folder: Path


class Processes:
    """Programs of one folder, by name; none of them outlives this process."""

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
        """Start a program; its output is appended to its log. Call it in the main thread."""
        self._programs[name] = Program([*command], environment, folder or self._folder)
        self.restart(name)

    def restart(self, name: str) -> None:
        """Start a program that has ended, as it was started before."""
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
                raise UsageError(f"{name} can't be started: {error.strerror}") from error

    def end(self, *names: str, number: signal.Signals = signal.SIGTERM) -> None:
        """End programs with their children, and wait for that; SIGKILL: as a loss of power does."""
        ended = [self._running.pop(name) for name in names if name in self._running]
        for process in ended:
            _signal(process, number)
        for process in ended:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_S)
            _signal(process, signal.SIGKILL)
            process.wait()

    def close(self) -> None:
        """End everything, the last that was started first."""
        names = list(reversed(self._running))
        # etcd and the API server lose nothing that anybody wants, and would wait for their watches.
        self.end(*names, number=signal.SIGKILL)

    def log(self, name: str) -> Path:
        """Return the file of a program's output."""
        return self._folder / f"{name}.log"

    def dead(self) -> list[str]:
        """Return the names of those that have ended by themselves."""
        return [name for name, process in self._running.items() if process.poll() is not None]

    def names(self) -> list[str]:
        """Return the names of all that have been started."""
        return list(self._programs)


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback interface that nobody listens on, at each call other ones.

    No other process on the machine gets one of them while this one lives, whoever's it is. Raises
    UsageError if there are not enough.
    """
    found = list(itertools.islice(filter(_is_free, _own_ports(os.getpid())), count))
    if len(found) < count:
        raise UsageError(f"no {count} ports are free from {BLOCKS.start} to {BLOCKS.stop}")
    return found


@functools.cache
def _own_ports(_process: int) -> Iterator[int]:
    """Return the ports of one block after the other, each owned by this process, not a parent.

    A process owns a block if it has bound the block's first port. The kernel unbinds it when the
    process ends, however it does.
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
    with contextlib.suppress(OSError), socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tried.bind(("127.0.0.1", port))
        return True
    return False


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to a program and its children, if it still runs."""
    # Where it has just ended: macOS permits no signal to what only waits for its parent.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if process.poll() is None:
            os.killpg(process.pid, number)


def _bound() -> list[str]:
    """Return what begins a command whose program ends with this process, even where it is killed.

    Elsewhere than on Linux, only what ends this process in order ends the programs.
    """
    found = shutil.which("setpriv") if sys.platform == "linux" else None
    return [found, "--pdeathsig", "KILL", "--"] if found else []
