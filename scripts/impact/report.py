"""What a change does to environments, as plain data for every format. Pure.

Environments to which the same happens are told once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from scripts.impact.effects.effect import Consequence, Risk

if TYPE_CHECKING:
    from scripts.impact.effects.prediction import Outcome

VERSION = 2


@dataclass(frozen=True, slots=True)
class Field:
    """A field that is another."""

    path: str
    """spec.containers[besu].image"""
    old: str | None
    """None where it was not there."""
    new: str | None
    lines: tuple[str, ...] = ()
    """Of a text: its difference, each line with -, + or a space before it."""


@dataclass(frozen=True, slots=True)
class Object:
    """An object that is another, comes, goes, moves to another file or is spelt otherwise."""

    name: str
    """Kind/name."""
    what: str
    """changed, added, removed, moved or spelling."""
    file: str
    moved_from: str
    """The file it was in, where that is another."""
    risk: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Component:
    """A workload in the picture."""

    name: str
    """Kind/name."""
    title: str
    wave: int
    pods: str
    """3, or 3 → 4."""
    mark: str
    """The worst of what happens to it, in lower case; new or gone; empty for nothing."""
    calls: tuple[str, ...]
    """Kind/name of those that its pods connect to."""


@dataclass(frozen=True, slots=True)
class Step:
    """A wave of the sync."""

    wave: int | None
    """None for what is done after all waves: deleting what left git (PruneLast)."""
    objects: tuple[str, ...]
    """In no order that means anything."""
    pods: tuple[tuple[str, ...], ...]
    """Those that are replaced: of each workload, in the order in which they are ended. Workloads
    don't wait for each other."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What happens to one environment, or to several alike."""

    names: tuple[str, ...]
    namespace: str
    """Of the first of them, as all names that are told."""
    what: str
    """changed, new, gone, or spelling, where the cluster sees no difference."""
    summary: tuple[str, ...]
    """Of a new or a gone one, in place of all the rest."""
    consequences: tuple[Consequence, ...]
    objects: tuple[Object, ...]
    components: tuple[Component, ...]
    steps: tuple[Step, ...]
    outcome: Outcome | None
    """None of one that comes or goes."""

    @property
    def worst(self) -> Risk:
        """Return the risk that the reader should know of first."""
        return min((one.risk for one in self.consequences), default=Risk.CHANGES)


@dataclass(frozen=True, slots=True)
class Report:
    """What a change does."""

    against: str
    to: str
    count: int
    """Of all environments, those that stay as they are, too."""
    environments: tuple[Environment, ...]
    inputs: tuple[str, ...] = ()
    """Files that differ, where no output does: it may not have been rendered since."""

    @property
    def changed(self) -> int:
        """Return how many environments differ."""
        return sum(len(one.names) for one in self.environments)


def report(against: str, to: str, count: int, found: Sequence[Environment]) -> Report:
    """Return the report of all environments: the worst first, those that are alike together."""
    alike: dict[str, list[Environment]] = {}
    for one in _renamed(found):
        alike.setdefault(_anonymous(one), []).append(one)
    grouped = [
        replace(same[0], names=tuple(name for one in same for name in one.names))
        for same in alike.values()
    ]
    ordered = sorted(grouped, key=lambda one: (one.worst, one.names))
    return Report(against, to, count, tuple(ordered))


def _anonymous(one: Environment) -> str:
    """Return all that is told of it, without the names that are its own."""
    own = "|".join(re.escape(name) for name in (one.namespace, *one.names) if name)
    return re.sub(rf"(?<![A-Za-z0-9])(?:{own})(?![A-Za-z0-9])", "", repr(one))


def _renamed(found: Sequence[Environment]) -> Iterator[Environment]:
    """Yield environments, a new one with what it means that another had its namespace."""
    gone = {one.namespace: one.names[0] for one in found if one.what == "gone"}
    for one in found:
        if one.what == "new" and (other := gone.get(one.namespace)):
            line = (
                f"it takes over the namespace of {other}, which leaves git: the two Applications"
                f" claim the same objects until a person removes that of {other}, without cascade"
            )
            yield replace(one, summary=(*one.summary, line))
        else:
            yield one


def together(objects: Sequence[Object]) -> list[list[Object]]:
    """Return objects, those of which the same is told together."""
    alike: dict[tuple[str, tuple[Field, ...]], list[Object]] = {}
    for one in objects:
        # Where one was, is its own.
        alike.setdefault((one.moved_from or one.what, one.fields), []).append(one)
    return list(alike.values())


def document(found: Report) -> dict[str, Any]:
    """Return the report as impact.schema.json describes it."""
    environments = []
    for one in found.environments:
        told = [asdict(each) | {"risk": each.risk.name.lower()} for each in one.consequences]
        environments.append(asdict(one) | {"consequences": told})
    return {
        "version": VERSION,
        "against": found.against,
        "to": found.to,
        "count": found.count,
        "environments": environments,
    }
