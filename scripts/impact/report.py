"""What a change does to environments, as plain data for every format. Pure.

Environments to which the same happens share one section.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from scripts.core.plain import rebuilt
from scripts.impact.compare import difference
from scripts.impact.compare.difference import Change
from scripts.impact.effects.effect import Effect, Risk

if TYPE_CHECKING:
    from scripts.impact.effects.prediction import Prediction

VERSION = 2

_HASH = re.compile(r"[0-9a-f]{64}")
_LONGEST = 300
"""Characters of a value that are shown."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field that changes."""

    path: str
    """spec.containers[besu].image"""
    old: str | None
    """None if the field was missing."""
    new: str | None
    """None if the field is removed."""
    lines: tuple[str, ...] = ()
    """Of a text: its diff, each line with -, + or a space before it."""


def field_change(change: Change) -> FieldChange:
    """Return a change as reports show it: in one line, and not too long."""
    old, new = (
        None if value is None else _one_line(difference.compact(value))
        for value in (change.old, change.new)
    )
    path = difference.shown(change.path)
    path = f"{path} ({change.note})" if change.note else path
    return FieldChange(path, old, new, change.lines)


def _one_line(text: str) -> str:
    text = text if text.isprintable() else json.dumps(text)
    if _HASH.fullmatch(text):
        return f"{text[:12]}…"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """An object that changes, is added or removed, moves to another file, or differs in form."""

    name: str
    """Kind/name."""
    what: str
    """changed, added, removed, moved or spelling."""
    file: str
    moved_from: str
    """The old file; empty if it is the same."""
    risk: str
    """The worst risk of the effects on it."""
    fields: tuple[FieldChange, ...]


@dataclass(frozen=True, slots=True)
class Component:
    """A workload in the diagram."""

    name: str
    """Kind/name."""
    title: str
    wave: int
    pods: str
    """3, or 3 → 4."""
    mark: str
    """The worst risk of the effects on it, in lower case; new or gone; empty if there is none."""
    calls: tuple[str, ...]
    """Kind/name of the workloads that its pods connect to."""


@dataclass(frozen=True, slots=True)
class Step:
    """A wave of the sync."""

    wave: int | None
    """None for the deletion of objects that are removed from git, after all waves (PruneLast)."""
    objects: tuple[str, ...]
    """Changed objects; their order has no meaning."""
    pods: tuple[tuple[str, ...], ...]
    """Replaced pods of each workload, in the order in which they stop. Workloads do not wait for
    each other."""


@dataclass(frozen=True, slots=True)
class EnvironmentImpact:
    """What happens to one environment, or to several in the same way."""

    names: tuple[str, ...]
    namespace: str
    """Of the first environment, like all other names here."""
    what: str
    """changed, new, gone, moved, or spelling, if the cluster sees no difference."""
    summary: tuple[str, ...]
    """Of a new, removed or moved environment; then there are no components, steps and outcome."""
    effects: tuple[Effect, ...]
    objects: tuple[ObjectChange, ...]
    components: tuple[Component, ...]
    steps: tuple[Step, ...]
    outcome: Prediction | None
    """None for a new, removed or moved environment."""

    @property
    def worst(self) -> Risk:
        """Return the worst risk of its effects."""
        return min((effect.risk for effect in self.effects), default=Risk.CHANGES)


@dataclass(frozen=True, slots=True)
class Report:
    """What a change does."""

    against: str
    """The revision before."""
    to: str
    """The revision after; empty for the working tree."""
    count: int
    """Number of all environments, including unchanged ones."""
    environments: tuple[EnvironmentImpact, ...]
    inputs: tuple[str, ...] = ()
    """Changed files that are not output, if no output changes: perhaps it was not rendered."""

    @property
    def changed(self) -> int:
        """Return the number of changed environments."""
        return sum(len(each.names) for each in self.environments)


def report(against: str, to: str, count: int, impacts: Sequence[EnvironmentImpact]) -> Report:
    """Return the report of all environments: the worst first, equal ones in one section."""
    equal: dict[str, list[EnvironmentImpact]] = {}
    for impact in _with_reused_namespaces(impacts):
        equal.setdefault(_anonymous(impact), []).append(impact)
    merged = [
        replace(group[0], names=tuple(name for impact in group for name in impact.names))
        for group in equal.values()
    ]
    ordered = sorted(merged, key=lambda impact: (impact.worst, impact.names))
    return Report(against, to, count, tuple(ordered))


def _anonymous(impact: EnvironmentImpact) -> str:
    """Return the text of an environment's impact without its own names."""
    own = "|".join(re.escape(name) for name in (impact.namespace, *impact.names) if name)
    return re.sub(rf"(?<![A-Za-z0-9])(?:{own})(?![A-Za-z0-9])", "", repr(impact))


def _with_reused_namespaces(impacts: Sequence[EnvironmentImpact]) -> Iterator[EnvironmentImpact]:
    """Yield environments, with a warning for a new one in the namespace of a removed one."""
    removed = {impact.namespace: impact.names[0] for impact in impacts if impact.what == "gone"}
    for impact in impacts:
        if impact.what == "new" and (other := removed.get(impact.namespace)):
            line = (
                f"it uses the namespace of {other}, which is removed from git: both Applications"
                f" claim the same objects until a person deletes the Application of {other},"
                " without cascading"
            )
            yield replace(impact, summary=(*impact.summary, line))
        else:
            yield impact


def grouped(objects: Sequence[ObjectChange]) -> list[list[ObjectChange]]:
    """Return objects in groups with the same changes."""
    groups: dict[tuple[str, tuple[FieldChange, ...]], list[ObjectChange]] = {}
    for each in objects:
        groups.setdefault((each.moved_from or each.what, each.fields), []).append(each)
    return list(groups.values())


_NAMES = {"effects": "consequences"}
"""The names of fields that are others in impact.schema.json."""


def document(report: Report) -> dict[str, Any]:
    """Return the report in the format of impact.schema.json."""
    environments = []
    for impact in report.environments:
        effects = [asdict(effect) | {"risk": effect.risk.name.lower()} for effect in impact.effects]
        data = asdict(impact) | {"effects": effects}
        environments.append({_NAMES.get(key, key): value for key, value in data.items()})
    return {
        "version": VERSION,
        "against": report.against,
        "to": report.to,
        "count": report.count,
        "environments": environments,
    }


def from_document(environment: Mapping[str, Any]) -> EnvironmentImpact:
    """Return an item of `environments` of a document as it was before.

    Raises LookupError or TypeError for any other data.
    """
    from scripts.impact.effects.prediction import Prediction

    fields = {written: name for name, written in _NAMES.items()}
    data = {fields.get(key, key): value for key, value in environment.items()}
    data["effects"] = [
        {**effect, "risk": Risk[effect["risk"].upper()]} for effect in data["effects"]
    ]
    return rebuilt(EnvironmentImpact, data, Prediction=Prediction)
