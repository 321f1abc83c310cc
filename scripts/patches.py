"""RFC 6902 patches, each on one object; https://www.rfc-editor.org/rfc/rfc6902."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scripts import files, yamlio
from scripts.findings import Finding, UserError, may_be_secret
from scripts.manifest import Manifest
from scripts.schema import check
from scripts.schema_words import HIDDEN, flow, shown

SCHEMA = Path(__file__).with_name("patch.schema.json")


@dataclass(frozen=True, slots=True)
class Patch:
    """One patch file: its target's kind and name, and its operations."""

    kind: str
    name: str
    operations: tuple[dict[str, Any], ...]
    document: yamlio.Document


def load(folder: Path, root: Path) -> tuple[Patch, ...]:
    """Return the folder's patches by file name; raises UserError with all that is wrong in them."""
    patches, findings = [], list[Finding]()
    if os.path.lexists(folder) and not folder.is_dir() and not files.leaves(folder, root):
        message, fix = "this is no folder", "make it a folder, and each patch a file in it"
        raise UserError(Finding(files.name(folder, root), 0, 0, "patch-file", message, fix))
    for path in files.entries(folder, root):
        try:
            patches.append(_load(path, root))
        except UserError as error:
            findings += error.findings
    if findings:
        raise UserError(*findings)
    return tuple(patches)


def _load(path: Path, root: Path) -> Patch:
    if path.suffix != ".yaml":
        message, fix = "only *.yaml are patches", "rename or remove the file"
        raise UserError(Finding(files.name(path, root), 0, 0, "patch-file", message, fix))
    document = yamlio.load(path, root)
    other = _of_another_form(document)
    findings = [other] if other else check(document, SCHEMA) or list(_untested(document))
    if findings:
        raise UserError(*findings)
    target, operations = document.data["target"], document.data["patch"]
    return Patch(target["kind"], target["name"], tuple(operations), document)


_KUSTOMIZE = ("patches", "patchesJson6902", "patchesStrategicMerge", "resources")
"""Keys of a kustomization, of which its kind is optional."""


def _of_another_form(document: yamlio.Document) -> Finding | None:
    """Return that a file is a patch as kubectl or Kustomize know it, and how to write it here."""
    data = document.data
    operation = "{op: add, path: /spec/replicas, value: 3}"
    if isinstance(data, list):
        message = "the file is a list, so it does not say which object it changes"
        fix = 'write "target: {kind: StatefulSet, name: linea-stack-besu}" at the top, and the '
        return document.finding("wrong-type", [], message, fix + 'operations below "patch:"')
    if not isinstance(data, dict) or "target" in data:
        if isinstance(data, dict) and isinstance(data.get("patch"), str):
            message = "patch is a string, as in a kustomization"
            fix = f'write the operations as a list below "patch:", for example - {operation}'
            return document.finding("wrong-type", ["patch"], message, fix)
        return None
    kind, what = str(data.get("kind", "")), ""
    if kind == "Kustomization" or any(key in data for key in _KUSTOMIZE):
        what = "a kustomization"
        fix = 'write one file for each patch, with "target: {kind: …, name: …}" and "patch:" with '
        fix += f"operations, for example - {operation}"
    elif "kind" in data and "apiVersion" in data:
        what = f"a strategic merge patch (a manifest of kind {kind})"
        metadata = data.get("metadata")
        name = metadata.get("name", "…") if isinstance(metadata, dict) else "…"
        target = flow({"kind": kind, "name": str(name)})
        first = next(_leaves(data, ()), None)
        if first:
            hidden = kind == "Secret" or may_be_secret(first[0])
            value = "…" if hidden else first[1]
            path = "".join(f"/{str(p).replace('~', '~0').replace('/', '~1')}" for p in first[0])
            operation = flow({"op": "add", "path": path, "value": value})
        fix = f'write "target: {target}" and "patch:" with an operation for each field, for '
        fix += f"example - {operation}"
    if not what:
        return None
    message = f"the file is {what}, but patches here are RFC 6902 operations"
    return document.finding("patch-file", [], message, fix)


def _leaves(data: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield the fields of a manifest, without those that only say which object it is."""
    if isinstance(data, dict):
        inner: Iterable[tuple[str | int, Any]] = data.items()
    elif isinstance(data, list):
        inner = enumerate(data)
    else:
        yield path, data
        return
    for key, value in inner:
        if key not in ("apiVersion", "kind", "name", "namespace"):
            yield from _leaves(value, (*path, key))


def _untested(document: yamlio.Document) -> Iterable[Finding]:
    """Yield what changes or removes a value that no earlier `test` has looked at."""
    tested = set[str]()
    for index, operation in enumerate(document.data["patch"]):
        if operation["op"] == "test":
            tested.add(operation["path"])
        touched = {"replace": operation["path"], "remove": operation["path"]}
        touched["move"] = operation.get("from", "")
        path = touched.get(operation["op"])
        if path is not None and path not in tested:
            yield document.finding(
                "patch-untested",
                ["patch", index],
                f"{operation['op']} of {path} has no test before it",
                "put {op: test, path: "
                + path
                + ", value: <what is there now>} above it, so that the patch fails when its "
                "ground moves",
            )


def apply(manifests: Sequence[Manifest], patches: Iterable[Patch]) -> list[Manifest]:
    """Return the manifests with the patches applied, in their order.

    Raises UserError where a target is not there (or there twice) or an operation fails.
    """
    result = list(manifests)
    findings = list[Finding]()
    for patch in patches:
        found = [i for i, m in enumerate(result) if (m.kind, m.name) == (patch.kind, patch.name)]
        if len(found) != 1:
            findings.append(_no_target(patch, result, len(found)))
            continue
        try:
            result[found[0]] = _apply(result[found[0]], patch)
        except UserError as error:
            findings += error.findings
    if findings:
        raise UserError(*findings)
    return result


def _no_target(patch: Patch, manifests: Sequence[Manifest], count: int) -> Finding:
    import difflib

    wanted = f"{patch.kind}/{patch.name}"
    if count:
        message, fix = f"{count} objects are {wanted}", "give the objects different names"
    else:
        labels = sorted({manifest.label for manifest in manifests})
        near = difflib.get_close_matches(wanted, labels, 1)
        message = f"no object is {wanted}"
        fix = f"write {near[0]}, or " if near else ""
        fix += "remove the patch if its target is gone"
    return patch.document.finding("patch-target", ["target"], message, fix)


def _apply(manifest: Manifest, patch: Patch) -> Manifest:
    import jsonpatch
    import jsonpointer

    changed = copy.deepcopy(manifest.object)
    for index, operation in enumerate(patch.operations):
        path = operation["path"]
        try:
            changed = jsonpatch.apply_patch(changed, [operation], in_place=True)
        except jsonpatch.JsonPatchTestFailed:
            found = _found(manifest.kind, changed, path)
            message = f"the test fails: {path} of {manifest.label} {found}"
            rule, fix = "patch-test", "look at what changed there, then mend or remove the patch"
        except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException):
            source = operation.get("from", path)
            missing = source if _found(manifest.kind, changed, source) == _NOTHING else path
            message = f"{operation['op']} can't be done: {manifest.label} has nothing at {missing}"
            rule, fix = "patch-path", "write a path that is there"
            if operation["op"] == "add":
                fix += ": `add` makes its last part, not what is above that"
            elif operation["op"] == "replace":
                fix += ", or use `add` for what is new"
        else:
            continue
        finding = patch.document.finding(rule, ["patch", index], message, fix)
        raise UserError(replace(finding, object=manifest.label))
    return replace(manifest, object=changed, patches=(*manifest.patches, patch.document.file))


_NOTHING = "is not there"


def _found(kind: str, data: Any, path: str) -> str:
    import jsonpointer

    try:
        found = jsonpointer.resolve_pointer(data, path)
        if kind == "Secret":
            return f"is {HIDDEN}"
        return f"is {shown(found, jsonpointer.JsonPointer(path).parts)}"
    except (jsonpointer.JsonPointerException, TypeError):  # the place after a list's end: -
        return _NOTHING
