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
    """The highest ratio."""
    most_s: float | None = None
    most_mib: float | None = None
    """The most memory of the largest process."""

    @property
    def is_reached(self) -> bool:
        """Return whether all of its goals are reached."""
        pairs = (
            (self.ratio, self.goal),
            (self.measure.seconds, self.most_s),
            (self.measure.peak_mib, self.most_mib),
        )
        return all(most is None or (value or 0) < most + 0.005 for value, most in pairs)

    def goals(self) -> str:
        """Return its goals in words, and whether they are reached."""
        most = ((self.goal, ""), (self.most_s, " s"), (self.most_mib, " MiB"))
        goals = [f"{number:g}{unit}" for number, unit in most if number is not None]
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
    return Row(what, measure, of, measure.seconds / other.seconds, goal, most_mib=most_mib)


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
