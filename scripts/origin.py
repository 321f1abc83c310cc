"""Which line of the inputs decides a field of a rendered object: found out by experiment.

Templates are programs, so no bookkeeping can say where a field comes from. Helm in-process renders
in milliseconds, so we ask it: change one value, render again, look whether the field moved. Only
done where something is already known to be wrong.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonpointer

from scripts import helm, patches, yamlio
from scripts.environment import Environment, merge
from scripts.findings import Finding, UserError
from scripts.manifest import Manifest

MOST_EXPERIMENTS = 400

ValuePath = list[str | int]


def of_field(
    root: Path,
    environment: Environment,
    manifest: Manifest,
    path: Sequence[str | int],
    part: str = "",
) -> tuple[str, int, int]:
    """Return file, line and column of the input that decides the field at the path.

    part: the part of the field that is meant, where several values make it together.
    That is the patch that touches it, else the strongest values file that sets it, else (nothing
    of people's decides it) the template, with line 0.
    """
    if patched := _patched(environment, manifest, path):
        return patched
    defaults = environment.layers[0].data or {}
    values = merge(defaults, environment.values)
    before = yamlio.get(manifest.object, path)
    leaves = sorted(
        _leaves(values, []),
        key=lambda leaf: (not (part and leaf[1] == part), not _alike(leaf[1], before)),
    )
    start = _field(root, environment, values, manifest, path)
    for leaf, value in leaves[:MOST_EXPERIMENTS]:
        changed = copy.deepcopy(values)
        # A null has taken its default away.
        _set(changed, leaf, yamlio.get(defaults, leaf) if value is None else _other(value))
        after = _field(root, environment, changed, manifest, path)
        if after != start and after is not _UNKNOWN:
            document, inside = environment.locate(leaf)
            return (document.file, *document.position(inside))
    return manifest.template, 0, 0


def of_fields(
    root: Path, environment: Environment, fields: Sequence[tuple[Manifest, tuple[str | int, ...]]]
) -> list[tuple[str, int, int]]:
    """Return for each field what of_field does, by the experiments that a single one takes."""
    places = [_patched(environment, manifest, path) for manifest, path in fields]
    left = [index for index, place in enumerate(places) if place is None]
    if not left:
        return [place for place in places if place]
    defaults = environment.layers[0].data or {}
    values = merge(defaults, environment.values)
    before = [yamlio.get(manifest.object, path) for manifest, path in fields]
    start = _objects(root, environment, values)
    moved = dict[int, list[tuple[bool, ValuePath]]]()
    for leaf, value in list(_leaves(values, []))[:MOST_EXPERIMENTS]:
        changed = copy.deepcopy(values)
        _set(changed, leaf, yamlio.get(defaults, leaf) if value is None else _other(value))
        after = _objects(root, environment, changed)
        for index in left:
            manifest, path = fields[index]
            key = manifest.kind, manifest.name
            if key not in start or key not in after:
                continue
            if yamlio.get(start[key], path) != yamlio.get(after[key], path):
                moved.setdefault(index, []).append((not _alike(value, before[index]), leaf))
    for index in left:
        places[index] = fields[index][0].template, 0, 0
        if index in moved:
            _, leaf = min(moved[index], key=lambda found: found[0])
            document, inside = environment.locate(leaf)
            places[index] = (document.file, *document.position(inside))
    return [place for place in places if place]


def of_failure(root: Path, environment: Environment, failure: Finding) -> Finding:
    """Return a template's failure as a finding on the value that provokes it.

    That is the value that, with the chart's default in its place, makes the failure go away: those
    that it names are tried first, then those of stronger files. Where no single one does, it is one
    that the failure names; where it names none, the finding stays as it is.
    """
    defaults = environment.layers[0].data or {}
    values = environment.values
    files = [environment.document.file, *(layer.file for layer in environment.layers)]
    leaves = [(leaf, environment.locate(leaf)) for leaf, _ in _leaves(values, [])]

    def is_named(leaf: ValuePath) -> bool:
        return re.search(rf"(?<!\S){re.escape(_dotted(leaf))}(?!\S)", failure.message) is not None

    # A switch makes every failure of what it switches go away, and is seldom what is wrong.
    leaves.sort(
        key=lambda found: (
            not is_named(found[0]),
            found[0][-1] == "enabled",
            -files.index(found[1][0].file),
        )
    )
    for leaf, _ in leaves[:MOST_EXPERIMENTS]:
        changed = copy.deepcopy(values)
        _set(changed, leaf, yamlio.get(defaults, leaf))
        if not _fails(root, environment, changed):
            return _provoked(environment, failure, leaf)
    named = [leaf for leaf, _ in leaves if is_named(leaf)]
    return _provoked(environment, failure, named[0]) if named else failure


def _provoked(environment: Environment, failure: Finding, leaf: ValuePath) -> Finding:
    document, inside = environment.locate(leaf)
    fix = f"change {_dotted(leaf)}, which makes {failure.file} fail"
    return document.finding(failure.rule, inside, failure.message, fix)


def _dotted(leaf: ValuePath) -> str:
    return ".".join(map(str, leaf))


def _fails(root: Path, environment: Environment, values: dict[str, Any]) -> bool:
    try:
        _template(root, environment, values)
    except UserError:
        return True
    return False


def _template(root: Path, environment: Environment, values: dict[str, Any]) -> list[Manifest]:
    return helm.template(
        root / "chart", root, values, environment.namespace, environment.kubernetes_version
    )


def _covers(touched: Sequence[str], path: Sequence[str | int]) -> bool:
    own = [str(part) for part in path]
    return own[: len(touched)] == list(touched) or list(touched)[: len(own)] == own


def _patched(
    environment: Environment, manifest: Manifest, path: Sequence[str | int]
) -> tuple[str, int, int] | None:
    """Return the last operation of a patch that touches the field, if there is one."""
    for patch in reversed(environment.patches):
        if patch.document.file not in manifest.patches:
            continue
        for index in reversed(range(len(patch.operations))):
            operation = patch.operations[index]
            touched = jsonpointer.JsonPointer(operation["path"]).parts
            if operation["op"] != "test" and _covers(touched, path):
                return (patch.document.file, *patch.document.position(["patch", index]))
    return None


def _objects(
    root: Path, environment: Environment, values: dict[str, Any]
) -> dict[tuple[str, str], Any]:
    """Return the objects by kind and name, none where the values break the chart."""
    try:
        made = patches.apply(_template(root, environment, values), environment.patches)
    except UserError:
        return {}
    return {(manifest.kind, manifest.name): manifest.object for manifest in made}


_UNKNOWN = object()
"""Where an experiment breaks the chart or takes the whole object away, it tells nothing."""


def _field(
    root: Path,
    environment: Environment,
    values: dict[str, Any],
    manifest: Manifest,
    path: Sequence[str | int],
) -> Any:
    try:
        made = patches.apply(_template(root, environment, values), environment.patches)
    except UserError:
        return _UNKNOWN
    for other in made:
        if (other.kind, other.name) == (manifest.kind, manifest.name):
            return yamlio.get(other.object, path)
    return _UNKNOWN


def _leaves(values: Any, path: ValuePath) -> Iterator[tuple[ValuePath, Any]]:
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from _leaves(value, [*path, key])
    elif isinstance(values, list) and values:
        for index, value in enumerate(values):
            yield from _leaves(value, [*path, index])
    else:
        yield path, values


def _alike(value: Any, field: Any) -> bool:
    return value not in (None, "", {}, []) and str(value) in str(field)


def _other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, dict):
        return {"experiment": "x"}
    return ["x"] if isinstance(value, list) else f"{value or ''}x"


def _set(data: Any, path: ValuePath, value: Any) -> None:
    for part in path[:-1]:
        data = data[part]
    data[path[-1]] = value
