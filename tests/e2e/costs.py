"""What tests cost: seconds, and the processor seconds of each program that ran meanwhile."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

TESTS, OTHERS = "the tests", "others"
"""This process, and programs that ended between two looks: git, kubectl, render."""
SHOWN = 5
"""Number of programs that a line names."""
LEAST_S = 0.5
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")

Cost = dict[str, float]
"""Program → processor seconds; under the empty name, seconds."""


@dataclass
class Meter:
    """Measures what is spent from one `take` to the next, by looking then, and before programs end.

    Where there is no /proc, it shows only the sum of programs that have ended.
    """

    _spent: Cost = field(default_factory=dict)
    _seen: dict[int, float] = field(default_factory=dict)
    """Process → its processor seconds at the last look."""
    _total: float = 0.0
    _at: float = field(default_factory=time.monotonic)

    def take(self) -> Cost:
        """Return what has been spent since the last time."""
        self.look()
        spent, self._spent = self._spent, {}
        return spent

    def look(self) -> None:
        """Note what each program has spent until now; call it before programs end."""
        own, ended = time.process_time(), _seconds_of_ended()
        running = dict(_descendants(os.getpid()))
        spent = defaultdict[str, float](float)
        for process, (name, seconds) in running.items():
            spent[name] += max(0.0, seconds - self._seen.get(process, 0.0))
        total = own + ended + sum(seconds for _, seconds in running.values())
        spent[TESTS] = own - self._seen.get(os.getpid(), 0.0)
        spent[OTHERS] = max(0.0, total - self._total - sum(spent.values()))
        now = time.monotonic()
        _add(self._spent, {"": now - self._at, **spent})
        self._seen = {process: seconds for process, (_, seconds) in running.items()}
        self._seen[os.getpid()] = own
        self._total, self._at = total, now


def _seconds_of_ended() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _descendants(process: int) -> Iterator[tuple[int, tuple[str, float]]]:
    """Yield the processes below one, with their programs and processor seconds."""
    running: dict[int, tuple[int, str, float]] = {}
    for each in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            fields = (each / "stat").read_text().rpartition(")")[2].split()
            seconds = sum(map(int, fields[11:15])) / TICKS_A_SECOND
            running[int(each.name)] = int(fields[1]), _program(each), seconds
    for number, (parent, name, seconds) in running.items():
        above = parent
        while above in running and above != process:
            above = running[above][0]
        if above == process:
            yield number, (name, seconds)


def _program(process: Path) -> str:
    """Return the name of a process's program, without version and digest."""
    environment = (process / "environ").read_bytes().split(b"\0")
    prefix = b"ARGOCD_BINARY_NAME="
    argo_cd = [each for each in environment if each.startswith(prefix)]
    if argo_cd:
        return argo_cd[0].removeprefix(prefix).decode()
    first = (process / "cmdline").read_bytes().split(b"\0")[0].decode("utf-8", "replace")
    words = Path(first).name.split("-")
    digits = (n for n, word in enumerate(words) if word.lstrip("v")[:1].isdigit())
    return "-".join(words[: next(digits, len(words))]) or "python"


def summary(costs: Iterable[tuple[str, Cost]]) -> Iterator[str]:
    """Yield a line for each name, and one for all; costs: name → cost, in any order."""
    sums, whole = defaultdict[str, Cost](dict), Cost()
    for name, cost in costs:
        _add(sums[name], cost)
        _add(whole, cost)
    for name, each in sorted(sums.items(), key=lambda it: -it[1][""]):
        yield f"{name}: {_line(each)}"
    yield f"all, in turn: {_line(whole)}"


def _add(total: Cost, cost: Cost) -> None:
    for name, seconds in cost.items():
        total[name] = total.get(name, 0.0) + seconds


def _line(cost: Mapping[str, float]) -> str:
    spent = {name: seconds for name, seconds in cost.items() if name}
    most = sorted(spent.items(), key=lambda it: -it[1])[:SHOWN]
    named = ", ".join(f"{name} {seconds:.0f}" for name, seconds in most if seconds >= LEAST_S)
    total = f"{cost['']:.0f} s, processor {sum(spent.values()):.0f} s"
    return f"{total} ({named})" if named else total
