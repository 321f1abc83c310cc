"""How fast the pipeline is, as ratios within one run: `nox -s bench [-- PART [COUNT] …]`.

Environments are generated into a temporary folder; nothing of this repository changes but the
tables in docs/performance.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.bench import parts, programs, table


@dataclass(frozen=True, slots=True)
class Part:
    """A part that can be chosen."""

    measure: Callable[[int, int], list[table.Row]]
    rounds: int
    count: int
    """Environments; 0 for those of this repository."""
    tools: tuple[str, ...]
    title: str


PARTS = {
    "few": Part(parts.few, 5, 0, ("helm4", "helmfile"), "The environments of this repository"),
    "fleet": Part(parts.fleet, 5, 100, ("helm4", "helmfile"), "{count} environments"),
    "thousand": Part(parts.thousand, 1, 1000, (), "{count} environments, once"),
    "policy": Part(parts.policy, 3, 0, ("kube-score", "gitleaks"), "`nox -s policy`"),
    "impact": Part(parts.impact, 3, 100, ("dyff",), "The report of a change, {count} environments"),
    "releases": Part(parts.releases, 3, 100, (), "Releases, {count} environments"),
}


def main(words: Sequence[str]) -> None:
    """Measure the chosen parts, print them, and write their tables."""
    chosen = parse(words)
    needed = [tool for name, _ in chosen for tool in PARTS[name].tools]
    if not {"few", "fleet", "thousand"}.isdisjoint(name for name, _ in chosen):
        needed.append("kubeconform")
    programs.prepare(list(dict.fromkeys(needed)))
    began = time.monotonic()
    missed = []
    for name, count in chosen:
        part = PARTS[name]
        rows = part.measure(part.rounds, count)
        title = part.title.format(count=count)
        title += f", median of {part.rounds}" if part.rounds > 1 else ""
        table.show(title, rows)
        # A table of other environments would not be that of the page.
        if count == part.count:
            table.write(name, title, rows, part.tools)
        missed += [f"{name}: {row.what}" for row in rows if not row.is_reached]
    print(f"\nmeasured in {time.monotonic() - began:.0f} s; tables: docs/performance.md")
    for what in missed:
        print(f"goal not reached: {what}")


def parse(words: Sequence[str]) -> list[tuple[str, int]]:
    """Return the chosen parts with the number of environments of each; all if none is named.

    Raises SystemExit for an unknown word.
    """
    chosen = list[tuple[str, int]]()
    for word in words:
        if word.isdigit() and int(word) and chosen and PARTS[chosen[-1][0]].count:
            chosen[-1] = chosen[-1][0], int(word)
        elif word in PARTS:
            chosen.append((word, PARTS[word].count))
        else:
            known = ", ".join(PARTS)
            raise SystemExit(f"bench: {word} is no part: write {known}, or a number after one")
    return chosen or [(name, part.count) for name, part in PARTS.items()]


if __name__ == "__main__":
    main(sys.argv[1:])
