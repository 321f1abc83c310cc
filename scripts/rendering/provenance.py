"""Find the line of the inputs that decides a field of a rendered object, by experiments.

Templates are programs, so nothing records where a field comes from. Helm renders in milliseconds
inside this process, so an experiment changes a value, renders, and checks whether the field
changed. This runs only for findings.
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
from scripts.environments import image_lock, own_objects, patches
from scripts.environments.environment import Environment, merge
from scripts.kubernetes.manifest import Manifest
from scripts.rendering import chart_changes, chart_lines, helm

_TEMPLATES = "chart/"
"""The beginning of the path of a template."""

MOST_EXPERIMENTS = 400

_NAME = ["metadata", "name"]

SETTINGS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("kubernetesVersion",): ("kubernetesVersion",),
    ("zones",): ("zones",),
    ("metadata", "name"): ("name",),
    ("spec", "destination", "namespace"): ("namespace",),
    ("spec", "destination"): ("cluster",),
    ("spec", "source", "repoURL"): ("repository", "url"),
    ("spec", "source", "targetRevision"): ("repository", "revision"),
    ("spec", "syncPolicy", "automated"): ("sync",),
    ("spec", "syncPolicy", "retry"): ("application", "retry"),
    ("spec", "info"): ("application", "info"),
    ("spec", "revisionHistoryLimit"): ("application", "revisionHistoryLimit"),
    ("spec", "signatureKeys"): ("application", "signatureKeys"),
    ("spec", "sourceIntegrity"): ("application", "sourceIntegrity"),
    ("spec", "syncWindows"): ("application", "syncWindows"),
    ("metadata", "annotations"): ("application", "annotations"),
    ("metadata", "labels"): ("application", "labels"),
}
"""Field of an Application or AppProject → field of environment.yaml that decides it.

The first two are fields of environment.yaml itself."""

ValuePath = list[str | int]

Place = tuple[str, int, int]
"""File, line and column."""

Field = tuple[Manifest, Sequence[str | int]]
"""A rendered object, and a path in it."""

_Objects = dict[tuple[str, str], Any]
"""Objects by kind and name."""


def of_field(
    root: Path,
    environment: Environment,
    manifest: Manifest,
    path: Sequence[str | int],
    part: str = "",
) -> Place:
    """Return the file, line and column of the input that decides the field at the path.

    This is the first that exists of: the patch that changes the field; the file in which people
    wrote the object; the strongest values file that sets it; the template, with line 0. For an
    object that was removed, it is the value that brings it back.
    part: the relevant part of the field, if several values form it.
    """
    return of_fields(root, environment, [(manifest, path)], [part])[0]


def of_fields(
    root: Path,
    environment: Environment,
    fields: Sequence[Field],
    parts: Sequence[str] = (),
) -> list[Place]:
    """Return the position for each field, as of_field does, with one set of experiments for all.

    parts: of each field, the relevant part; empty for none.
    """
    parts = parts or [""] * len(fields)
    places = [
        _locked(root, part)
        or _patched(environment, manifest, path)
        or _setting(root, environment, manifest, path)
        or _of_all_objects(root, environment, manifest, path)
        or _written(environment, manifest, path)
        or chart_changes.place(root, environment, manifest, path)
        for (manifest, path), part in zip(fields, parts, strict=True)
    ]
    # Values decide only objects of templates, not an Application or a file written by hand.
    undecided = {
        index: field
        for index, field in enumerate(fields)
        if places[index] is None and field[0].template.startswith(_TEMPLATES)
    }
    for index, leaf in deciding_values(root, environment, undecided, parts).items():
        document, inside = environment.locate(leaf)
        places[index] = (document.file, *document.position(inside))
    return [
        place
        or chart_lines.place(root, environment, manifest, path, part)
        or (environment.shown(manifest.template), 0, 0)
        for place, (manifest, path), part in zip(places, fields, parts, strict=True)
    ]


def _locked(root: Path, part: str) -> Place | None:
    """Return the position of an image's digest in base/images.yaml, if it is there."""
    if not part.startswith("sha256:"):
        return None
    lock = image_lock.load(root)
    name = next((name for name, digest in (lock.data or {}).items() if digest == part), None)
    return None if name is None else (lock.file, *lock.position([name]))


def deciding_values(
    root: Path,
    environment: Environment,
    fields: Mapping[int, Field],
    parts: Sequence[str],
) -> dict[int, ValuePath]:
    """Return the path of the value that decides each field, if there is one.

    If several do, prefer one that equals the field's part, or that the field contains.
    """
    if not fields:
        return {}
    defaults = environment.layers[0].data or {}
    values = merge(defaults, environment.values)
    contents = {i: paths.get(manifest.object, path) for i, (manifest, path) in fields.items()}

    leaves = list(_leaves(values, []))
    texts = {str(value) for _, value in leaves}
    exact = {index: parts[index] for index in fields if parts[index] and parts[index] in texts}

    def candidates(value: Any) -> frozenset[int]:
        """Return the fields that the value probably decides."""
        return frozenset(index for index in fields if may_decide(value, index))

    def may_decide(value: Any, index: int) -> bool:
        if index in exact:
            return str(value) == exact[index]
        if index in removed:
            return isinstance(value, bool)
        return _contains(contents[index], value)

    render, before = _renderer(root, environment, values, fields.values())
    removed = {index for index, (manifest, _) in fields.items() if _key(manifest) not in before}

    experiments = [(leaf, value, candidates(value)) for leaf, value in leaves]
    own_values = environment.values
    # The chart's values come last: there are more than MOST_EXPERIMENTS.
    experiments.sort(key=lambda each: (not each[2], not paths.has(own_values, each[0])))
    untried = {i: sum(i in likely for *_, likely in experiments) for i in fields}
    deciding, invalid = dict[int, ValuePath](), list[tuple[ValuePath, Any]]()
    for leaf, value, likely in experiments[:MOST_EXPERIMENTS]:
        # A null has removed the default: restore it.
        others = [paths.get(defaults, leaf)] if value is None else _others(value)
        renderings = (render(_with(values, leaf, other)) for other in others)
        after = next((objects for objects in renderings if objects is not None), None)
        for index in list(untried):
            manifest, path = fields[index]
            changed = after is not None and _changed(before, after, _key(manifest), path)
            if changed and after is not None and not paths.has(own_values, leaf):
                changed = chart_lines.is_another(before, after, _key(manifest), path)
            untried[index] -= index in likely
            if changed and (index in likely or index not in deciding):
                deciding[index] = leaf
            if (changed and index in likely) or (index in deciding and not untried[index]):
                del untried[index]
        if not untried:
            break
        if after is None and likely:
            invalid.append((leaf, value))
    undecided = {index: field for index, field in fields.items() if index not in deciding}
    return deciding | _deciding_with_equals(render, before, values, invalid, undecided)


def _deciding_with_equals(
    render: Callable[[dict[str, Any]], _Objects | None],
    before: _Objects,
    values: dict[str, Any],
    invalid: Sequence[tuple[ValuePath, Any]],
    fields: Mapping[int, Field],
) -> dict[int, ValuePath]:
    """Return the path of the value that decides each field, if it can only change with others.

    A chart may require two equal values, such as the replicas of two components: change both.
    invalid: the values, with their paths, that the chart did not accept when changed alone.
    """
    leaves, deciding = list(_leaves(values, [])), dict[int, ValuePath]()
    for leaf, value in invalid:
        own = {
            index: (manifest, path)
            for index, (manifest, path) in fields.items()
            if index not in deciding and manifest.component == leaf[0]
        }
        equal = [other for other, same in leaves if other[-1] == leaf[-1] and same == value]
        if not own or equal == [leaf]:
            continue
        changed_values = values
        for each in equal:
            changed_values = _with(changed_values, each, _other(value))
        after = render(changed_values)
        for index, (manifest, path) in own.items():
            # If it requires more equal values, the same name and value must be enough.
            content = paths.get(manifest.object, path)
            is_alike = leaf[-1:] == [*path[-1:]] and value == content
            if is_alike if after is None else _changed(before, after, _key(manifest), path):
                deciding[index] = leaf
    return deciding


def _changed(
    before: _Objects,
    after: _Objects,
    key: tuple[str, str],
    path: Sequence[str | int],
) -> bool:
    """Return whether an experiment changed the field, or brought back an object that was removed.

    If it changed the name, the object has another key, and there are as many of its kind.
    """
    if key not in before or key not in after:
        is_back = key not in before and key in after
        is_renamed = list(path) == _NAME and _of_kind(before, key) == _of_kind(after, key) > 0
        return is_back or is_renamed
    return bool(paths.get(before[key], path) != paths.get(after[key], path))


def _key(manifest: Manifest) -> tuple[str, str]:
    return manifest.kind, manifest.name


def _of_kind(objects: Mapping[tuple[str, str], Any], key: tuple[str, str]) -> int:
    return sum(kind == key[0] for kind, _ in objects)


def of_failure(root: Path, environment: Environment, failure: Finding) -> Finding:
    """Return a template's failure as a finding on the value that causes it.

    This is the value without which the template does not fail, with the chart's default instead.
    Values that the message names are tried first, then those of stronger files. If there is no
    such value, it is the first that the message names; if it names none, the finding stays as it
    is.
    """
    if failure.fix == helm.CORRECT or failure.rule != "template-error":
        broken = chart_changes.of_failure(root, environment, failure)
        if broken:
            return broken
    defaults = environment.layers[0].data or {}
    values = environment.values
    files = [environment.document.file, *(layer.file for layer in environment.layers)]
    leaves = [(leaf, environment.locate(leaf)) for leaf, _ in _leaves(values, [])]

    def is_named(leaf: ValuePath) -> bool:
        text = f"{failure.message} {failure.fix}"
        return re.search(rf"(?<!\S){re.escape(_dotted(leaf))}(?!\S)", text) is not None

    # `enabled` comes late: it removes every failure of a component, and is rarely its cause.
    leaves.sort(
        key=lambda each: (
            not is_named(each[0]),
            each[0][-1] == "enabled",
            -files.index(each[1][0].file),
        )
    )
    for leaf, _ in leaves[:MOST_EXPERIMENTS]:
        changed = _with(values, leaf, paths.get(defaults, leaf))
        if not _fails(root, environment, changed):
            if leaf[-1] == "enabled" and failure.fix == helm.CORRECT:
                return failure  # the template fails whenever it is used: that is its mistake
            return _caused_by(environment, failure, leaf)
    named = [leaf for leaf, _ in leaves if is_named(leaf)]
    return _caused_by(environment, failure, named[0]) if named else failure


def _caused_by(environment: Environment, failure: Finding, leaf: ValuePath) -> Finding:
    document, inside = environment.locate(leaf)
    fix = failure.fix
    if fix == helm.CORRECT:
        fix = f"write another value for {_dotted(leaf)}: with this one, {failure.file} fails"
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
    return helm.template(
        environment.source / "chart", root, values, environment.namespace, version, only
    )


def _overlap(patched: Sequence[str], path: Sequence[str | int]) -> bool:
    """Return whether one of the paths is the other, or leads to it."""
    own = [str(part) for part in path]
    return own[: len(patched)] == list(patched) or list(patched)[: len(own)] == own


def _patched(
    environment: Environment, manifest: Manifest, path: Sequence[str | int]
) -> Place | None:
    """Return the position of the last operation of a patch that changes the field, if any."""
    for patch in reversed(environment.patches):
        if patch.document.file not in manifest.patches:
            continue
        for index in reversed(range(len(patch.operations))):
            operation = patch.operations[index]
            patched = patched_path(manifest, operation, path)
            if operation["op"] != "test" and _overlap(patched, path):
                return (patch.document.file, *patch.document.position(["patch", index]))
    return None


def patched_path(
    manifest: Manifest, operation: Mapping[str, Any], path: Sequence[str | int]
) -> list[str]:
    """Return the path of an operation; for an item added at the end of a list, with its index."""
    patched: list[str] = jsonpointer.JsonPointer(operation["path"]).parts
    item = path[: len(patched)]
    if patched[-1:] == ["-"] and paths.get(manifest.object, item) == operation.get("value"):
        return [*patched[:-1], *(str(part) for part in item[-1:])]
    return patched


def _setting(
    root: Path, environment: Environment, manifest: Manifest, path: Sequence[str | int]
) -> Place | None:
    """Return the position in environment.yaml that decides a field of Argo CD's objects, if any."""
    if manifest.template != environment.document.file:
        return None
    for field, setting in SETTINGS.items():
        if tuple(path[: len(field)]) == field:
            own = (*setting, *path[len(field) :])
            base = yamlio.load(root / "base" / "environment.yaml", root)
            here = paths.has(environment.document.data, setting)
            if setting[0] == "application" and not (here or paths.has(base.data, setting)):
                continue  # render's own value
            in_base = not here and paths.has(base.data, setting)
            document = base if in_base else environment.document
            return (document.file, *document.position(own))
    return None


def _of_all_objects(
    root: Path, environment: Environment, manifest: Manifest, path: Sequence[str | int]
) -> Place | None:
    """Return the position in environment.yaml of a label or annotation of all objects, if any."""
    for part, everywhere in (
        ("labels", environment.labels),
        ("annotations", environment.annotations),
    ):
        if tuple(path[:2]) != ("metadata", part) or len(path) != 3 or path[2] not in everywhere:
            continue
        own = own_objects.of(environment.objects, manifest)
        if own and path[2] in (own.manifest.metadata.get(part) or {}):
            return None  # what the object itself has stays
        if paths.get(manifest.object, path) == everywhere[str(path[2])]:
            base = yamlio.load(root / "base" / "environment.yaml", root)
            in_own = paths.has(environment.document.data, [part, path[2]])
            document = environment.document if in_own else base
            return (document.file, *document.position([part, path[2]]))
    return None


def _written(
    environment: Environment, manifest: Manifest, path: Sequence[str | int]
) -> Place | None:
    """Return the position of a field in the file in which people wrote the object, if they did."""
    own = own_objects.of(environment.objects, manifest)
    return (own.document.file, *own.document.position(list(path))) if own else None


def _renderer(
    root: Path, environment: Environment, values: dict[str, Any], fields: Iterable[Field]
) -> tuple[Callable[[dict[str, Any]], _Objects | None], _Objects]:
    """Return a function from values to objects, and the objects of the present values.

    The function returns None for values with which the chart fails. If possible, it renders only
    the templates of the fields: that takes a fifth of the time, and other templates can't fail.
    """

    def objects(
        changed: dict[str, Any], within: Environment, only: frozenset[str]
    ) -> _Objects | None:
        try:
            return _by_key(_manifests(root, within, changed, only))
        except UserError:
            return None

    def render_all(changed: dict[str, Any]) -> _Objects | None:
        return objects(changed, environment, frozenset())

    def render_some(changed: dict[str, Any]) -> _Objects | None:
        some = objects(changed, with_patches, only)
        return some if some is None or keys <= some.keys() else render_all(changed)

    try:
        manifests = _manifests(root, environment, values)
    except UserError:
        manifests = []
    before, keys = _by_key(manifests), {_key(manifest) for manifest, _ in fields}
    only = frozenset(manifest.template for manifest in manifests if _key(manifest) in keys)
    expected = _by_key(manifest for manifest in manifests if manifest.template in only)
    relevant = (patch for patch in environment.patches if (patch.kind, patch.name) in expected)
    with_patches = replace(environment, patches=tuple(relevant))
    # All templates are needed for a removed object, and if a template includes another one's text.
    is_enough = keys <= before.keys() and objects(values, with_patches, only) == expected
    return (render_some if is_enough else render_all), before


def _manifests(
    root: Path, environment: Environment, values: dict[str, Any], only: frozenset[str] = frozenset()
) -> list[Manifest]:
    own = () if only else (each.manifest for each in environment.objects)
    return patches.apply([*_template(root, environment, values, only), *own], environment.patches)


def _by_key(manifests: Iterable[Manifest]) -> _Objects:
    return {_key(manifest): manifest.object for manifest in manifests}


def _leaves(values: Any, path: ValuePath) -> Iterator[tuple[ValuePath, Any]]:
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from _leaves(value, [*path, key])
    elif isinstance(values, list) and values:
        for index, value in enumerate(values):
            yield from _leaves(value, [*path, index])
    else:
        yield path, values


def _contains(content: Any, value: Any) -> bool:
    return value not in (None, "", {}, []) and str(value) in str(content)


def _others(value: Any) -> list[Any]:
    """Return values of the same type to try; the second where the chart fails with the first."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return [_other(value), value - 1] if is_number and value > 0 else [_other(value)]


def _other(value: Any) -> Any:
    """Return another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, dict):
        return {"experiment": "x"}
    if isinstance(value, list):
        return ["x"]
    # JSON must stay valid: templates read the genesis.
    return f"{value}\n" if str(value).startswith("{") else f"{value or ''}x"


def _with(data: Any, path: Sequence[str | int], value: Any) -> Any:
    """Return the data with a value at the path; other parts are not copied."""
    if not path:
        return value
    changed = copy.copy(data)
    changed[path[0]] = _with(data[path[0]] if path[1:] else None, path[1:], value)
    return changed
