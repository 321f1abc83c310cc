"""Edits of inputs that change a field of a rendered object: of a patch, of values, of settings.

What decides a field is found by experiments, as in provenance. Each candidate is tried, and an edit
is returned only if the object then has what the fix says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from scripts.core import edits, paths
from scripts.core.edits import Action, CannotApplyError, Edit
from scripts.core.findings import Finding, Severity, UserError, may_be_secret
from scripts.core.fixes import Change, Fix
from scripts.core.yamlio import Document
from scripts.environments import image_lock, own_objects, patches
from scripts.environments.environment import Environment, merge
from scripts.environments.own_objects import OwnObject
from scripts.environments.patches import Patch
from scripts.kubernetes.manifest import Manifest
from scripts.rendering import applications, helm, pipeline, provenance

MOST_TRIED = 12
"""Candidates of values that are tried for one change."""

_SETTINGS = ("AppProject", "Application")
"""Kinds of the objects that have no template; only examples of rules patch them."""

_Path = tuple[str | int, ...]
_Try = tuple[Edit, ...]


def added(
    root: Path,
    environment: Environment,
    manifest: Manifest,
    path: Sequence[str | int],
    fix: str,
    finding: Finding,
) -> Finding:
    """Return a finding about a field of a rendered object, with the edits of its fix."""
    if not isinstance(fix, Fix):
        return finding
    found = of_fix(root, environment, manifest, path, fix, finding.file)
    # To remove what someone wrote loses it; what base/ has, other environments may share.
    loses = any(edit.action is Action.REMOVE for edit in found)
    is_own = not finding.file.startswith("base/")
    is_safe = fix.is_safe and finding.severity is Severity.ERROR and is_own and not loses
    return finding.with_edits(found, is_safe=is_safe)


def of_fix(
    root: Path,
    environment: Environment,
    manifest: Manifest,
    path: Sequence[str | int],
    fix: Fix,
    file: str,
) -> tuple[Edit, ...]:
    """Return the edits of inputs for a fix of a field; none if not all of it can be done there.

    file: the input that decides the field.
    Rendered files, templates, the chart's defaults and Secrets are never edited.
    """
    if fix.values and any(patch.document.file == file for patch in environment.patches):
        return ()  # whatever the values are, the patch decides
    found = [*_of_values(environment, fix)]
    if manifest.kind == "Secret" and fix.changes:
        return ()
    for change in fix.changes:
        field = _Field(root, environment, manifest, path, change, file)
        own = field.edits()
        if own is None:
            return ()
        found += own
        environment = changed(environment, own)
    return tuple(found)


def _of_values(environment: Environment, fix: Fix) -> Iterator[Edit]:
    """Yield the edits for the values that a fix names."""
    for change in fix.values:
        document, path = target(environment, [*change.key])
        old = paths.get(document.data, path)
        yield Edit(document.file, change.action, tuple(path), change.value, old)


def target(environment: Environment, path: list[str | int]) -> tuple[Document, list[str | int]]:
    """Return the file of values in which to write a value, and the path in it.

    This is the environment's file that sets it. A value that the chart or base/ sets, or that
    nothing sets, is written in the environment's own file: other environments may want it so.
    """
    document, inside = environment.locate(path)
    is_set = paths.has(document.data, inside)
    if document is environment.document and path[:1] == ["zones"]:
        return document, inside
    is_shared = document is environment.layers[0] or document.file.startswith("base/")
    if is_set and not is_shared:
        return document, inside
    own = f"overlays/{environment.name}/values.yaml"
    layer = environment.layers[-1]
    if layer.file == own or not layer.file.endswith((".yaml", ".yml")):
        return layer, path
    is_example = not layer.file.startswith(("overlays/", "base/"))
    return (layer if is_example else Document(own, {}, None)), path


@dataclass(frozen=True, slots=True)
class _Field:
    """A change of a field of a rendered object."""

    root: Path
    environment: Environment
    manifest: Manifest
    path: Sequence[str | int]
    """The place of the finding."""
    change: Change
    file: str
    """The file of the finding."""

    @property
    def place(self) -> _Path:
        """Return the path of the change in the object."""
        return self.change.place(self.path, self.manifest.object)

    def edits(self) -> list[Edit] | None:
        """Return the edits of inputs; None if there are none that do it."""
        if self.manifest.template == self.environment.document.file:
            setting = self._setting()
            if setting:
                return [setting]
        candidates = chain(
            self._in_patches(),
            self._in_object(),
            islice(self._in_values(), MOST_TRIED),
            self._added_to_patch(),
        )
        right = (each for each in candidates if each and self._is_right(each))
        return [*next(right, ())] or None

    def _wanted(self) -> Any:
        """Return the object as the change makes it."""
        edit = Edit("", self.change.action, self.place, self.change.value)
        return edits.applied(self.manifest.object, [edit])

    def _is_right(self, candidate: _Try) -> bool:
        """Return whether the object has what the change says once the inputs are edited."""
        try:
            wanted = self._wanted()
            environment = changed(self.environment, candidate)
            made = _made(self.root, environment, self.manifest)
        except (UserError, CannotApplyError):
            return False
        if made is None:
            return False
        # A list may have lost an item, so compare all of it.
        place = list(self.place)
        while place and isinstance(place[-1], int):
            place.pop()
        if not paths.has(made, place) and candidate[0].path[-1:] == self.place[-1:]:
            return True  # a template that writes no field for its default
        return paths.get(made, place) == paths.get(wanted, place) and (
            paths.has(made, place) == paths.has(wanted, place)
        )

    # Patches

    def _operations(self) -> Iterator[tuple[Patch, int, list[str]]]:
        """Yield the operations on the object, the last first, with the paths that they change."""
        for patch in reversed(self.environment.patches):
            if patch.document.file in self.manifest.patches and (patch.kind, patch.name) == (
                self.manifest.kind,
                self.manifest.name,
            ):
                for index in reversed(range(len(patch.operations))):
                    operation = patch.operations[index]
                    if operation["op"] != "test":
                        yield (
                            patch,
                            index,
                            provenance.patched_path(self.manifest, operation, self.place),
                        )

    def _in_patches(self) -> Iterator[_Try]:
        own = [str(part) for part in self.place]
        for patch, index, patched in self._operations():
            operation, place = patch.operations[index], ("patch", index)
            if own[: len(patched)] == patched:
                rest = self.place[len(patched) :]
                if operation["op"] == "add" and self.change.action is Action.RENAME and not rest:
                    pointer = _pointer([*self.place[:-1], self.change.value])
                    old = operation["path"]
                    yield (Edit(patch.document.file, Action.WRITE, (*place, "path"), pointer, old),)
                elif operation["op"] in ("add", "replace") and (
                    rest or self.change.action is not Action.REMOVE
                ):
                    inner = (*place, "value", *rest)
                    yield (self._edit(patch.document, self.change.action, inner),)
                elif operation["op"] == "replace":
                    removal = {"op": "remove", "path": operation["path"]}
                    yield (Edit(patch.document.file, Action.WRITE, place, removal, operation),)
                elif operation["op"] == "remove" and self.change.action is Action.WRITE:
                    new = {"op": "replace", "path": operation["path"], "value": self.change.value}
                    yield _without(patch, index)
                    yield (Edit(patch.document.file, Action.WRITE, place, new, operation),)
            if patched[: len(own)] == own or own[: len(patched)] == patched:
                yield _without(patch, index)

    def _added_to_patch(self) -> Iterator[_Try]:
        """Yield one more operation in the patch that has the place of the finding."""
        file = self.file
        pointer = _pointer(self.place)
        for patch in self.environment.patches:
            if patch.document.file == file and self.change.action is not Action.RENAME:
                if self.change.action is Action.WRITE:
                    new = [{"op": "add", "path": pointer, "value": self.change.value}]
                elif self.change.action is Action.APPEND:
                    new = [{"op": "add", "path": f"{pointer}/-", "value": self.change.value}]
                else:
                    old = paths.get(self.manifest.object, self.place)
                    new = [{"op": "test", "path": pointer, "value": old}]
                    new.append({"op": "remove", "path": pointer})
                yield tuple(Edit(file, Action.APPEND, ("patch",), each) for each in new)

    def _in_object(self) -> Iterator[_Try]:
        """Yield the edit of the file in which people wrote the object."""
        if own := own_objects.of(self.environment.objects, self.manifest):
            edit = self._edit(own.document, self.change.action, self.place)
            yield (replace(edit, document=own.document.number),)

    # Values

    def _in_values(self) -> Iterator[_Try]:
        """Yield edits of values: that which decides the field, or those around it."""
        if not self.manifest.template.startswith("chart/"):
            return
        defaults = self.environment.layers[0].data or {}
        values = merge(defaults, self.environment.values)
        seen = list[list[str | int]]()
        for length in range(len(self.place), 0, -1):
            content = paths.get(self.manifest.object, self.place[:length])
            if content in (None, "", {}, []):
                continue
            rest = self.place[length:]
            alike = [
                path
                for path in _paths_of(values, content, [])
                if not isinstance(content, bool | int | str) or _is_near(self.manifest, path)
            ]
            alike.sort(key=lambda path: path[:1] != [self.manifest.component])
            for path in alike:
                if [*path, *rest] not in seen:
                    seen.append([*path, *rest])
                    yield from self._value(path, rest)
        is_annotation = self.place[-2:-1] == ("annotations",)
        if self.change.action is not Action.WRITE and not is_annotation:
            return  # the experiments take long
        leaf = self._deciding(self.place)
        if leaf is None and is_annotation and self.change.action is Action.WRITE:
            yield from self._beside()
        if leaf is None or leaf in seen:
            return
        # A template may write several fields from a value, or one from several.
        has_the_key = leaf[-1:] == [*self.place[-1:]]
        if self.change.action is Action.WRITE or (
            has_the_key and self.change.action in (Action.REMOVE, Action.RENAME)
        ):
            yield from self._value(leaf, ())

    def _beside(self) -> Iterator[_Try]:
        """Yield the edit of values for a new key beside that of the finding."""
        path = tuple(self.path)
        if path[:-1] != self.place[:-1] or path == self.place or isinstance(path[-1], int):
            return
        leaf = self._deciding(path)
        if leaf is not None and leaf[-1:] == [path[-1]]:
            yield from self._value([*leaf[:-1], self.place[-1]], ())

    def _deciding(self, path: Sequence[str | int]) -> list[str | int] | None:
        """Return the path of the value that decides a field of the object."""
        fields = {0: (self.manifest, path)}
        return provenance.deciding_values(self.root, self.environment, fields, [""]).get(0)

    def _value(self, path: list[str | int], rest: Sequence[str | int]) -> Iterator[_Try]:
        whole = [*path, *rest]
        document, inside = target(self.environment, whole)
        if "plain" in whole or may_be_secret(whole):
            return
        holder = next((n for n, part in enumerate(whole) if isinstance(part, int)), None)
        is_item = holder is not None or self.change.action is not Action.WRITE
        if is_item and not paths.has(document.data, inside[:holder]):
            return  # a list is replaced as a whole, and the file does not have it
        old = paths.get(document.data, inside)
        yield (Edit(document.file, self.change.action, tuple(inside), self.change.value, old),)

    # Settings

    def _setting(self) -> Edit | None:
        """Return the edit of environment.yaml for a field of Argo CD's objects."""
        for field, setting in provenance.SETTINGS.items():
            if self.place[: len(field)] != field or self.change.action is not Action.WRITE:
                continue
            own = (*setting, *self.place[len(field) :])
            document = self.environment.document
            old = paths.get(document.data, own)
            present = paths.get(self.manifest.object, self.place)
            if old is None or (present is not None and present != old):
                return None
            return Edit(document.file, Action.WRITE, own, self.change.value, old)
        return None

    def _edit(self, document: Document, action: Action, path: _Path) -> Edit:
        return Edit(document.file, action, path, self.change.value, paths.get(document.data, path))


def _without(patch: Patch, index: int) -> _Try:
    """Return the edits that remove an operation, and the test right before it."""
    operation, file = patch.operations[index], patch.document.file
    before = patch.operations[index - 1] if index else {}
    is_tested = before.get("op") == "test" and before["path"] == operation["path"]
    removed = [index, index - 1] if is_tested else [index]
    if len(patch.operations) == len(removed):
        return ()
    return tuple(
        Edit(file, Action.REMOVE, ("patch", each), None, patch.operations[each]) for each in removed
    )


def _pointer(path: Sequence[str | int]) -> str:
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)


def _is_near(manifest: Manifest, path: Sequence[str | int]) -> bool:
    return path[:1] == [manifest.component]


def _paths_of(data: Any, content: Any, path: list[str | int]) -> Iterator[list[str | int]]:
    """Yield the paths of equal parts of the data."""
    if data == content and type(data) is type(content) and path:
        yield path
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _paths_of(value, content, [*path, key])
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _paths_of(value, content, [*path, index])


def changed(environment: Environment, made: Sequence[Edit]) -> Environment:
    """Return the environment with edits of its values and patches."""

    def edited(document: Document) -> Document:
        own = [e for e in made if e.file == document.file and e.document == document.number]
        if not own:
            return document
        data = edits.applied(document.data or {}, own)
        return Document(document.file, data, None, document.number)

    layers = tuple(edited(layer) for layer in environment.layers)
    known = {layer.file for layer in layers}
    own = f"overlays/{environment.name}/values.yaml"
    if own not in known:
        added = [edit for edit in made if edit.file == own]
        layers = (*layers, Document(own, edits.applied({}, added), None)) if added else layers
    patched = list[Patch]()
    for patch in environment.patches:
        document = edited(patch.document)
        if document is not patch.document:
            patch = replace(patch, document=document, operations=tuple(document.data["patch"]))
        patched.append(patch)
    objects = tuple(_edited_object(each, edited(each.document)) for each in environment.objects)
    return replace(environment, layers=layers, patches=tuple(patched), objects=objects)


def _edited_object(own: OwnObject, document: Document) -> OwnObject:
    """Return an object with the data of its edited document."""
    if document is own.document:
        return own
    return OwnObject(replace(own.manifest, object=document.data), document)


def _made(root: Path, environment: Environment, manifest: Manifest) -> dict[str, Any] | None:
    """Return the object as the inputs make it; None if they make none of its kind and name."""
    if manifest.template == environment.document.file:
        others = [patch for patch in environment.patches if patch.kind not in _SETTINGS]
        on_settings = [patch for patch in environment.patches if patch.kind in _SETTINGS]
        objects = pipeline.objects(root, replace(environment, patches=tuple(others)))
        made = patches.apply(pipeline.settings(environment, objects), on_settings)
    else:
        try:
            made = _rendered(root, environment, frozenset([manifest.template]))
        except UserError:  # the template includes the text of others
            made = _rendered(root, environment, frozenset())
    return next((m.object for m in made if m.label == manifest.label), None)


def _rendered(root: Path, environment: Environment, only: frozenset[str]) -> list[Manifest]:
    """Return the objects of some templates or files of objects, or of all."""
    written = [o.manifest for o in environment.objects if not only or o.manifest.template in only]
    templated = written
    if not only or not written:
        version = environment.kubernetes_version
        values, namespace = environment.values, environment.namespace
        chart = environment.source / "chart"
        templated += helm.template(chart, root, values, namespace, version, only)
    labels = {manifest.label for manifest in templated}
    own = [patch for patch in environment.patches if f"{patch.kind}/{patch.name}" in labels]
    patched = patches.apply(templated, own)
    pinned = image_lock.pin(patched, environment.images.data or {})
    return applications.arrange(pinned, environment)
