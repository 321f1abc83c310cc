"""The table of what was measured: on the terminal, and in docs/performance.md."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scripts.documentation import marked
from tests.bench import fleets, programs
from tests.bench.measuring import ROOT, Measure

PAGE = ROOT / "docs" / "performance.md"


@dataclass(frozen=True, slots=True)
class Row:
    """One line: what was measured, and how it compares."""

    what: str
    measure: Measure
    of: str = ""
    """What the ratio compares with."""
    ratio: float | None = None
    goal: float | None = None
    """The highest ratio, or without one the most seconds."""
    most_mib: float | None = None
    """The most memory of the largest process."""

    @property
    def is_reached(self) -> bool:
        """Return whether all of its goals are reached."""
        value = self.measure.seconds if self.ratio is None else self.ratio
        is_small = self.most_mib is None or self.measure.peak_mib <= self.most_mib
        return is_small and (self.goal is None or round(value, 2) <= self.goal)

    def goals(self) -> str:
        """Return its goals in words, and whether they are reached."""
        unit = " s" if self.ratio is None else ""
        goals = [] if self.goal is None else [f"{self.goal:g}{unit}"]
        goals += [] if self.most_mib is None else [f"{self.most_mib:g} MiB"]
        return f"{', '.join(goals)} {'✓' if self.is_reached else '✗'}" if goals else ""


def compared(
    what: str,
    measure: Measure,
    of: str,
    other: Measure,
    goal: float | None = None,
    most_mib: float | None = None,
) -> Row:
    """Return the row of a measure beside another one."""
    return Row(what, measure, of, measure.seconds / other.seconds, goal, most_mib)


def show(title: str, rows: Sequence[Row]) -> None:
    """Print a part."""
    print(f"\n{title}")
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:6.2f} of {row.of}"
        numbers = f"{row.measure.seconds:8.2f} s {row.measure.peak_mib:6.0f} MiB"
        goals = f"  (at most {row.goals()})" if row.goals() else ""
        print(f"{row.what:52}{numbers}  {ratio}{goals}", flush=True)


def write(part: str, title: str, rows: Sequence[Row], tools: Sequence[str]) -> None:
    """Write a part into the page, between its marks."""
    marked.update(PAGE, part, "\n".join(_lines(title, rows, tools)) + "\n", check=False)


def _lines(title: str, rows: Sequence[Row], tools: Sequence[str]) -> Iterator[str]:
    yield f"{title}."
    yield ""
    yield "| What | Time | Processors busy | Largest process | Ratio | Goal: at most |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        measure = row.measure
        ratio = "" if row.ratio is None else f"{row.ratio:.2f} of {row.of}"
        busy, peak = f"{measure.processor_s:.2f} s", f"{measure.peak_mib:.0f} MiB"
        cells = row.what, f"{measure.seconds:.2f} s", busy, peak, ratio, row.goals()
        yield f"| {' | '.join(cells)} |"
    yield ""
    python = f"Python {platform.python_version()}"
    others = f", {programs.versions(tools)}" if tools else ""
    yield f"Measured at {fleets.revision()} on {programs.machine()}, {python}{others}."
