"""Run commands and measure them: time, processor time, and the largest process."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PROCESSES = os.cpu_count() or 1
MEMORY = Path("/dev/shm")
"""Where there is one, files are written here: a disk takes as long for a file of ours as of the
others', and from day to day between 20 and 400 µs, which would be all that one sees."""
FREE_B = 8 << 30
"""What must be free there; otherwise files are written to the temporary folder."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One command's cost."""

    seconds: float
    peak_mib: float
    """The largest single process."""
    processor_s: float = 0.0
    """What it kept processors busy for, with its children; another load does not change it."""

    def __add__(self, other: Measure) -> Measure:
        """Return the cost of two commands, one after the other."""
        return Measure(
            self.seconds + other.seconds,
            max(self.peak_mib, other.peak_mib),
            self.processor_s + other.processor_s,
        )


def run(command: Sequence[str | Path], cwd: Path = ROOT, codes: Sequence[int] = (0,)) -> Measure:
    """Run a command to its end and return what it cost; raises SystemExit where it fails.

    codes: those with which it has done its work.
    """
    began = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(
            command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=errors
        ) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        if process.returncode not in codes:
            errors.seek(0)
            shown = " ".join(map(str, command))
            raise SystemExit(f"{shown}: exit code {process.returncode}: {errors.read().decode()}")
    return Measure(seconds, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime)


def many(commands: Sequence[Callable[[], Measure]]) -> Measure:
    """Return the cost of commands that run side by side, as many as there are processors."""
    began = time.perf_counter()
    with ThreadPoolExecutor(PROCESSES) as pool:
        each = list(pool.map(lambda command: command(), commands))
    return Measure(
        time.perf_counter() - began,
        max(one.peak_mib for one in each),
        sum(one.processor_s for one in each),
    )


def median(measures: Sequence[Measure]) -> Measure:
    """Return the median times and the highest peak."""
    return Measure(
        statistics.median(m.seconds for m in measures),
        max(m.peak_mib for m in measures),
        statistics.median(m.processor_s for m in measures),
    )


@contextmanager
def folder() -> Iterator[Path]:
    """Yield a temporary folder, in memory if there is enough."""
    state = os.statvfs(MEMORY) if MEMORY.is_dir() else None
    is_enough = state is not None and state.f_bavail * state.f_frsize > FREE_B
    with tempfile.TemporaryDirectory(dir=MEMORY if is_enough else None) as temporary:
        yield Path(temporary)
