"""Which line of the inputs decides a field of a rendered object: found out by experiment.

Templates are programs, so no bookkeeping can say where a field comes from. Helm in-process renders
in milliseconds, so we ask it: change one value, render again, look whether the field moved. Only
done where something is already known to be wrong.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonpointer

from scripts.core import paths, yamlio
from scripts.core.findings import Finding, UserError
from scripts.environments import patches
from scripts.environments.environment import Environment, merge
from scripts.kubernetes.manifest import Manifest
from scripts.rendering import helm

_TEMPLATES = "chart/"
"""How the path of what makes an object begins."""

MOST_EXPERIMENTS = 400

_NAME = ["metadata", "name"]

_SAID: dict[tuple[str, ...], tuple[str, ...]] = {
    ("kubernetesVersion",): ("kubernetesVersion",),
    ("spec", "destination", "namespace"): ("namespace",),
    ("spec", "destination"): ("cluster",),
    ("spec", "source", "repoURL"): ("repository", "url"),
    ("spec", "source", "targetRevision"): ("repository", "revision"),
    ("spec", "syncPolicy", "automated"): ("sync",),
}
"""Field of an Application → field of environment.yaml that says it; the first has no object."""

ValuePath = list[str | int]


Place = tuple[str, int, int]
"""File, line and column."""

Field = tuple[Manifest, Sequence[str | int]]
"""An object as it is rendered, and a path in it."""


def of_field(
    root: Path,
    environment: Environment,
    manifest: Manifest,
    path: Sequence[str | int],
    part: str = "",
) -> Place:
    """Return file, line and column of the input that decides the field at the path.

    part: the part of the field that is meant, where several values make it together.
    That is the patch that touches it, else the strongest values file that sets it, else (nothing
    of people's decides it) the template, with line 0. Of an object that is gone since, it is the
    value that brings it back.
    """
    return of_fields(root, environment, [(manifest, path)], part)[0]


def of_fields(
    root: Path,
    environment: Environment,
    fields: Sequence[Field],
    part: str = "",
) -> list[Place]:
    """Return for each field what of_field does, by the experiments that a single one takes."""
    patched = [
        _patched(environment, manifest, path) or _said(root, environment, manifest, path)
        for manifest, path in fields
    ]
    left = {index for index, place in enumerate(patched) if place is None}
    # No value moves what no template makes: the Application, or an object that is gone.
    moved = {i: fields[i] for i in left if fields[i][0].template.startswith(_TEMPLATES)}
    leaves = _movers(root, environment, moved, part)
    places = list[Place]()
    for index, (place, (manifest, _)) in enumerate(zip(patched, fields, strict=True)):
        if place is None and index in leaves:
            document, inside = environment.locate(leaves[index])
            place = (document.file, *document.position(inside))
        places.append(place or (manifest.template, 0, 0))
    return places


def _movers(
    root: Path,
    environment: Environment,
    fields: Mapping[int, Field],
    part: str,
) -> dict[int, ValuePath]:
    """Return for each field, as far as there is one, the value that moves it.

    Of several, that is one which the field shows, or is the part of it that is meant.
    """
    if not fields:
        return {}
    defaults = environment.layers[0].data or {}
    values = merge(defaults, environment.values)
    shown = {index: paths.get(manifest.object, path) for index, (manifest, path) in fields.items()}

    leaves = list(_leaves(values, []))
    is_said = bool(part) and any(str(value) == part for _, value in leaves)

    def likely(value: Any) -> frozenset[int]:
        if is_said:
            return frozenset(fields) if str(value) == part else frozenset()
        return frozenset(
            index
            for index, field in shown.items()
            if (isinstance(value, bool) if index in gone else _alike(value, field))
        )

    look, start = _looking(root, environment, values, fields.values())
    gone = {index for index, (manifest, _) in fields.items() if _key(manifest) not in start}

    experiments = [(leaf, value, likely(value)) for leaf, value in leaves]
    said = environment.values
    # People's own first: the chart has more values than there are experiments.
    experiments.sort(key=lambda tried: (not tried[2], not paths.has(said, tried[0])))
    untried = {i: sum(i in about for *_, about in experiments) for i in fields}
    found, without = dict[int, ValuePath](), list[tuple[ValuePath, Any, Any]]()
    for leaf, value, about in experiments[:MOST_EXPERIMENTS]:
        # A null has taken its default away.
        other = paths.get(defaults, leaf) if value is None else _other(value)
        changed = _with(values, leaf, other)
        after = look(changed)
        for index in list(untried):
            manifest, path = fields[index]
            moved = after is not None and _moved(start, after, _key(manifest), path)
            untried[index] -= index in about
            if moved and (index in about or index not in found):
                found[index] = leaf
            if (moved and index in about) or (index in found and not untried[index]):
                del untried[index]
        if not untried:
            break
        if after is None and about:
            without.append((leaf, value, changed))
    for leaf, value, changed in without:
        left = {index: field for index, field in fields.items() if index not in found}
        own = {i: (m, path) for i, (m, path) in left.items() if m.component == leaf[0]}
        # Where a chart wants two alike, as the replicas of two components, they move together only.
        twins = [other for other, said in leaves if other[-1] == leaf[-1] and said == value]
        if own and twins != [leaf]:
            changed = values
            for twin in twins:
                changed = _with(changed, twin, _other(value))
            after = look(changed)
            for index, (manifest, path) in own.items():
                # Where the chart wants a third one alike, a name and a value are all that is known.
                namesake = leaf[-1:] == [*path[-1:]] and value == shown[index]
                if namesake if after is None else _moved(start, after, _key(manifest), path):
                    found[index] = leaf
    return found


def _moved(
    start: Mapping[tuple[str, str], Any],
    after: Mapping[tuple[str, str], Any],
    key: tuple[str, str],
    path: Sequence[str | int],
) -> bool:
    """Return whether an experiment changed the field, or brought back an object that is gone.

    An object whose name changed is another one after the experiment, of the same kind.
    """
    if key not in start or key not in after:
        back = key not in start and key in after
        return back or (list(path) == _NAME and _of_kind(start, key) == _of_kind(after, key) > 0)
    return bool(paths.get(start[key], path) != paths.get(after[key], path))


def _key(manifest: Manifest) -> tuple[str, str]:
    return manifest.kind, manifest.name


def _of_kind(objects: Mapping[tuple[str, str], Any], key: tuple[str, str]) -> int:
    return sum(kind == key[0] for kind, _ in objects)


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
        changed = _with(values, leaf, paths.get(defaults, leaf))
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


def _template(
    root: Path,
    environment: Environment,
    values: dict[str, Any],
    only: frozenset[str] = frozenset(),
) -> list[Manifest]:
    version = environment.kubernetes_version
    return helm.template(root / "chart", root, values, environment.namespace, version, only)


def _covers(touched: Sequence[str], path: Sequence[str | int]) -> bool:
    own = [str(part) for part in path]
    return own[: len(touched)] == list(touched) or list(touched)[: len(own)] == own


def _patched(
    environment: Environment, manifest: Manifest, path: Sequence[str | int]
) -> Place | None:
    """Return the last operation of a patch that touches the field, if there is one."""
    for patch in reversed(environment.patches):
        if patch.document.file not in manifest.patches:
            continue
        for index in reversed(range(len(patch.operations))):
            operation = patch.operations[index]
            touched = _touched(manifest, operation, path)
            if operation["op"] != "test" and _covers(touched, path):
                return (patch.document.file, *patch.document.position(["patch", index]))
    return None


def _touched(
    manifest: Manifest, operation: Mapping[str, Any], path: Sequence[str | int]
) -> list[str]:
    """Return the path of an operation, with its index for an item added to the list of the path."""
    touched: list[str] = jsonpointer.JsonPointer(operation["path"]).parts
    item = path[: len(touched)]
    if touched[-1:] == ["-"] and paths.get(manifest.object, item) == operation.get("value"):
        return [*touched[:-1], *(str(part) for part in item[-1:])]
    return touched


def _said(
    root: Path, environment: Environment, manifest: Manifest, path: Sequence[str | int]
) -> Place | None:
    """Return where environment.yaml says a field of the AppProject or Application, if it does."""
    if manifest.template != environment.document.file:
        return None
    for made, said in _SAID.items():
        if tuple(path[: len(made)]) == made:
            own = (*said, *path[len(made) :])
            base = yamlio.load(root / "base" / "environment.yaml", root)
            inherited = not paths.has(environment.document.data, said[:1])
            document = base if inherited and paths.has(base.data, said) else environment.document
            return (document.file, *document.position(own))
    return None


_Objects = dict[tuple[str, str], Any]
"""Objects by kind and name."""


def _looking(
    root: Path, environment: Environment, values: dict[str, Any], fields: Iterable[Field]
) -> tuple[Callable[[dict[str, Any]], _Objects | None], _Objects]:
    """Return what makes objects of values, None where these break the chart, and what it has made.

    Of the fields' own templates, in a fifth of the time and whatever else the values would break,
    where these tell of the fields what the whole chart does.
    """

    def objects(
        given: dict[str, Any], within: Environment, only: frozenset[str]
    ) -> _Objects | None:
        try:
            return _by_key(_made(root, within, given, only))
        except UserError:
            return None

    def whole(given: dict[str, Any]) -> _Objects | None:
        return objects(given, environment, frozenset())

    def own(given: dict[str, Any]) -> _Objects | None:
        found = objects(given, narrow, only)
        return found if found is None or keys <= found.keys() else whole(given)

    try:
        made = _made(root, environment, values)
    except UserError:
        made = []
    start, keys = _by_key(made), {_key(manifest) for manifest, _ in fields}
    only = frozenset(manifest.template for manifest in made if _key(manifest) in keys)
    alone = _by_key(manifest for manifest in made if manifest.template in only)
    on_them = (patch for patch in environment.patches if (patch.kind, patch.name) in alone)
    narrow = replace(environment, patches=tuple(on_them))
    # What is gone may be of any template, and a template may read another one's text.
    is_told = keys <= start.keys() and objects(values, narrow, only) == alone
    return (own if is_told else whole), start


def _made(
    root: Path, environment: Environment, values: dict[str, Any], only: frozenset[str] = frozenset()
) -> list[Manifest]:
    return patches.apply(_template(root, environment, values, only), environment.patches)


def _by_key(made: Iterable[Manifest]) -> _Objects:
    return {_key(manifest): manifest.object for manifest in made}


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
    if isinstance(value, list):
        return ["x"]
    # A text of JSON stays one: templates read the genesis.
    return f"{value}\n" if str(value).startswith("{") else f"{value or ''}x"


def _with(data: Any, path: Sequence[str | int], value: Any) -> Any:
    """Return the data with a value at the path; all that is not above it is shared."""
    if not path:
        return value
    changed = copy.copy(data)
    changed[path[0]] = _with(data[path[0]] if path[1:] else None, path[1:], value)
    return changed
