"""Load and apply RFC 6902 patches, each of one object; https://www.rfc-editor.org/rfc/rfc6902."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scripts.core import advice, yamlio
from scripts.core.edits import Action
from scripts.core.findings import Finding, UserError, may_be_secret
from scripts.core.fixes import Change, Fix
from scripts.core.json_schema import check
from scripts.core.repository import PROGRAM
from scripts.core.schema_messages import shown
from scripts.core.yamlio import flow
from scripts.environments.input_folders import Kind, files
from scripts.kubernetes.manifest import Manifest

SCHEMA = PROGRAM / "patch.schema.json"


@dataclass(frozen=True, slots=True)
class Patch:
    """One patch file: its target's kind and name, and its operations."""

    kind: str
    name: str
    operations: tuple[dict[str, Any], ...]
    document: yamlio.Document
    is_optional: bool = False
    """Whether it is skipped in an environment without its target."""


def is_shared(document: yamlio.Document) -> bool:
    """Return whether a file of base/ has the patch, so that it is for all environments."""
    return document.file.startswith("base/")


FILES = Kind("invalid-patch-file", "patch", "applied")


def load(folder: Path, root: Path) -> tuple[Patch, ...]:
    """Return the folder's patches, sorted by file name; raises UserError with all findings."""
    patches, findings = [], list[Finding]()
    for path in files(folder, root, FILES):
        if isinstance(path, Finding):
            findings.append(path)
            continue
        try:
            patches.append(_load(path, root))
        except UserError as error:
            findings += error.findings
    if findings:
        raise UserError(*findings)
    return tuple(patches)


def _load(path: Path, root: Path) -> Patch:
    document = yamlio.load(path, root)
    other = _of_another_form(document)
    findings = (
        [other]
        if other
        else check(document, SCHEMA)
        or [
            *_without_test(document),
            *_optional_alone(document),
        ]
    )
    if findings:
        raise UserError(*findings)
    target, operations = document.data["target"], document.data["patch"]
    is_optional = bool(document.data.get("optional", False))
    return Patch(target["kind"], target["name"], tuple(operations), document, is_optional)


_KUSTOMIZE = ("patches", "patchesJson6902", "patchesStrategicMerge", "resources")
"""Keys of a kustomization, in which `kind` is optional."""

_EXAMPLE = "{op: add, path: /spec/replicas, value: 3}"


def _of_another_form(document: yamlio.Document) -> Finding | None:
    """Return a finding if the file is a patch in the form of kubectl or Kustomize."""
    data, rule = document.data, "invalid-patch-file"
    if isinstance(data, list):
        message = "the file is a list, so it does not say which object it changes"
        fix = (
            'write "target: {kind: StatefulSet, name: linea-stack-besu}" at the top, and the '
            'operations below "patch:"'
        )
        return document.finding("wrong-type", [], message, fix)
    if not isinstance(data, dict):
        return None
    if "target" in data:
        if not isinstance(data.get("patch"), str):
            return None
        message = "patch is a string, as in a kustomization"
        fix = f'write the operations as a list below "patch:", for example - {_EXAMPLE}'
        return document.finding("wrong-type", ["patch"], message, fix)
    if data.get("kind") == "Kustomization" or any(key in data for key in _KUSTOMIZE):
        message = "the file is a kustomization, but patches here are RFC 6902 operations"
        fix = (
            'write one file for each patch, with "target: {kind: …, name: …}" and "patch:" with '
            f"operations, for example - {_EXAMPLE}"
        )
        return document.finding(rule, [], message, fix)
    if "kind" in data and "apiVersion" in data:
        message = (
            f"the file is a strategic merge patch (a manifest of kind {data['kind']}), but patches "
            "here are RFC 6902 operations"
        )
        return document.finding(rule, [], message, _as_operations(data))
    return None


def _as_operations(data: dict[str, Any]) -> str:
    """Return the instruction to write a strategic merge patch as operations on its target."""
    metadata, operation = data.get("metadata"), _EXAMPLE
    name = metadata.get("name", "…") if isinstance(metadata, dict) else "…"
    target = flow({"kind": str(data["kind"]), "name": str(name)})
    for path, value in _leaves(data, ()):
        hidden = data["kind"] == "Secret" or may_be_secret(path)
        pointer = "".join(f"/{str(p).replace('~', '~0').replace('/', '~1')}" for p in path)
        operation = flow({"op": "add", "path": pointer, "value": "…" if hidden else value})
        break
    return (
        f'write "target: {target}" and "patch:" with an operation for each field, for example - '
        f"{operation}"
    )


def _leaves(data: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield the fields of a manifest, without those that only identify the object."""
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


def _without_test(document: yamlio.Document) -> Iterable[Finding]:
    """Yield a finding for each operation that changes a value without a `test` before it."""
    tested, target = set[str](), document.data["target"]
    for index, operation in enumerate(document.data["patch"]):
        if operation["op"] == "test":
            tested.add(operation["path"])
        touched = {"replace": operation["path"], "remove": operation["path"]}
        touched["move"] = operation.get("from", "")
        path = touched.get(operation["op"])
        if path is not None and path not in tested:
            yield document.finding(
                "patch-without-test",
                ["patch", index],
                f"no test before {operation['op']} {path}: if the chart changes the value, the "
                "patch would still overwrite it",
                f"write {{op: test, path: {path}, value: V}} above this operation, where V is the "
                f"value in {_rendered(document, target)}",
            )


def _optional_alone(document: yamlio.Document) -> Iterable[Finding]:
    """Yield a finding if a patch of one environment may have no target."""
    if document.data.get("optional") and not is_shared(document):
        message = "the patch is of one environment, and optional: a misspelled target would be"
        fix = advice.remove("optional: only patches in base/patches/ may have it")
        yield document.finding("invalid-patch-file", ["optional"], f"{message} unnoticed", fix)


def apply(manifests: Sequence[Manifest], patches: Iterable[Patch]) -> list[Manifest]:
    """Return the manifests with the patches applied, in their order.

    Raises UserError if a target does not exist or is ambiguous, or if an operation fails.
    """
    result = list(manifests)
    findings = list[Finding]()
    for patch in patches:
        targets = [i for i, m in enumerate(result) if (m.kind, m.name) == (patch.kind, patch.name)]
        if not targets and patch.is_optional:
            continue
        if len(targets) != 1:
            findings.append(_no_target(patch, result, len(targets)))
            continue
        try:
            result[targets[0]] = _apply(result[targets[0]], patch)
        except UserError as error:
            findings += error.findings
    if findings:
        raise UserError(*findings)
    return result


def _no_target(patch: Patch, manifests: Sequence[Manifest], count: int) -> Finding:
    import difflib

    wanted = f"{patch.kind}/{patch.name}"
    if count:
        rule = "ambiguous-patch-target"
        message = f"the target is ambiguous: {count} objects are {wanted}"
        fix = "give each of the objects another metadata.name in its template"
    else:
        labels = sorted({manifest.label for manifest in manifests})
        near = difflib.get_close_matches(wanted, labels, 1)
        rule, message = "patch-target-not-found", f"the target {wanted} does not exist"
        fix = "remove the patch if the chart no longer has the object"
        if is_shared(patch.document):
            fix = "write optional: true if only some environments have the object"
        if near:
            kind, _, name = near[0].partition("/")
            target = [
                Change(Action.WRITE, ("target", k), v)
                for k, v in zip(("kind", "name"), (kind, name), strict=True)
            ]
            fix = Fix(f"write {near[0]}", target).unless(f", or {fix}")
    return patch.document.finding(rule, ["target"], message, fix)


def _apply(manifest: Manifest, patch: Patch) -> Manifest:
    import jsonpatch
    import jsonpointer

    changed = copy.deepcopy(manifest.object)
    for index, operation in enumerate(patch.operations):
        path = operation["path"]
        is_set = operation["op"] in ("add", "replace") and path.count("/") > 1
        if is_set and operation.get("value") is None:
            message = f"value is empty: Kubernetes removes {path}, or uses its default"
            fix = f"write a value; to remove the field, write {{op: remove, path: {path}}}"
            finding = patch.document.finding("empty-patch-value", ["patch", index], message, fix)
            raise UserError(replace(finding, object=manifest.label))
        try:
            changed = jsonpatch.apply_patch(changed, [operation], in_place=True)
        except jsonpatch.JsonPatchTestFailed:
            actual = _actual(manifest.kind, changed, path)
            message = f"the test failed: {path} of {manifest.label} {actual}"
            fix = "correct the path, or remove the patch if the chart no longer has the field"
            if actual != _NOTHING:
                if manifest.kind != "Secret" and not may_be_secret(path.split("/")):
                    message += f", not {shown(operation['value'], [])}"
                fix = _new_test(manifest, changed, path)
                if manifest.kind == "Secret" and path.startswith(("/data/", "/stringData/")):
                    fix = "remove the patch, because secrets must not be in git: create the Secret"
                    fix += " on the cluster instead, see docs/network.md"
            rule = "patch-test-failed"
        except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException):
            source = operation.get("from", path)
            wrong = source if _actual(manifest.kind, changed, source) == _NOTHING else path
            missing = _first_missing(changed, wrong)
            message = f"{operation['op']} {wrong} failed: {manifest.label} has no {missing}"
            rule, fix = "patch-path-not-found", "correct the path"
            if operation["op"] == "add" and missing != wrong and not missing[-1].isdigit():
                fix += f"; if it is right, first add {missing}: an add creates no parents"
            elif operation["op"] == "replace":
                fix = fix + "; for a new field, " + advice.write("op", "add").unless("")
        else:
            continue
        finding = patch.document.finding(rule, ["patch", index], message, fix)
        raise UserError(replace(finding, object=manifest.label))
    return replace(manifest, object=changed, patches=(*manifest.patches, patch.document.file))


def _new_test(manifest: Manifest, data: Any, path: str) -> Fix:
    """Return the fix for a test of a value that is another one now."""
    import jsonpointer

    words = "check whether the patch still fits; if so, write the new value in the test"
    if manifest.kind == "Secret" or may_be_secret(path.split("/")):
        return Fix(words)
    value = jsonpointer.resolve_pointer(data, path)
    return Fix(words, [Change(Action.WRITE, ("value",), value)], is_safe=False)


def _first_missing(data: Any, path: str) -> str:
    """Return the beginning of the path up to the first part that does not exist."""
    parts = path.split("/")
    for length in range(2, len(parts)):
        if _actual("", data, "/".join(parts[:length])) == _NOTHING:
            return "/".join(parts[:length])
    return path


def _rendered(document: yamlio.Document, target: dict[str, Any]) -> str:
    """Return the rendered file of a patch's target."""
    folder = "overlays/<env>" if is_shared(document) else document.file.rpartition("/patches/")[0]
    name = Manifest({"kind": target["kind"], "metadata": {"name": target["name"]}}, "").file_name
    return f"{folder}/manifests/{name}"


_NOTHING = "does not exist"


def _actual(kind: str, data: Any, path: str) -> str:
    """Return what is at the path, to go on with after the path in a sentence."""
    import jsonpointer

    try:
        value = jsonpointer.resolve_pointer(data, path)
        if kind == "Secret":
            return "has another value, which is not shown"
        return f"is {shown(value, jsonpointer.JsonPointer(path).parts)}"
    except (jsonpointer.JsonPointerException, TypeError):  # `-` means the end of a list
        return _NOTHING
