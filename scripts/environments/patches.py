"""Load and apply RFC 6902 patches, each of one object; https://www.rfc-editor.org/rfc/rfc6902."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scripts.core import safe_files, yamlio
from scripts.core.findings import Finding, UserError
from scripts.core.json_schema import check, shown
from scripts.core.repository import PROGRAM
from scripts.kubernetes.manifest import Manifest

SCHEMA = PROGRAM / "patch.schema.json"


@dataclass(frozen=True, slots=True)
class Patch:
    """One patch file: its target's kind and name, and its operations."""

    kind: str
    name: str
    operations: tuple[dict[str, Any], ...]
    document: yamlio.Document


def load(folder: Path, root: Path) -> tuple[Patch, ...]:
    """Return the folder's patches, sorted by file name; raises UserError with all findings."""
    patches, findings = [], list[Finding]()
    if os.path.lexists(folder) and not folder.is_dir() and not safe_files.leaves(folder, root):
        message, fix = "this must be a folder", "replace it with a folder that has a file per patch"
        file = safe_files.name(folder, root)
        raise UserError(Finding(file, 0, 0, "invalid-patch-file", message, fix))
    for path in safe_files.entries(folder, root):
        try:
            patches.append(_load(path, root))
        except UserError as error:
            findings += error.findings
    if findings:
        raise UserError(*findings)
    return tuple(patches)


def _load(path: Path, root: Path) -> Patch:
    if path.suffix != ".yaml":
        message = "this is not a patch: only files called *.yaml are applied"
        fix = "rename or remove it"
        file = safe_files.name(path, root)
        raise UserError(Finding(file, 0, 0, "invalid-patch-file", message, fix))
    document = yamlio.load(path, root)
    findings = check(document, SCHEMA) or list(_without_test(document))
    if findings:
        raise UserError(*findings)
    target, operations = document.data["target"], document.data["patch"]
    return Patch(target["kind"], target["name"], tuple(operations), document)


def _without_test(document: yamlio.Document) -> Iterable[Finding]:
    """Yield a finding for each operation that changes a value without a `test` before it."""
    tested = set[str]()
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
                f"write {{op: test, path: {path}, value: <present value>}} above it",
            )


def apply(manifests: Sequence[Manifest], patches: Iterable[Patch]) -> list[Manifest]:
    """Return the manifests with the patches applied, in their order.

    Raises UserError if a target does not exist or is ambiguous, or if an operation fails.
    """
    result = list(manifests)
    findings = list[Finding]()
    for patch in patches:
        targets = [i for i, m in enumerate(result) if (m.kind, m.name) == (patch.kind, patch.name)]
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
        fix = "give the objects different names"
    else:
        labels = sorted({manifest.label for manifest in manifests})
        near = difflib.get_close_matches(wanted, labels, 1)
        rule, message = "patch-target-not-found", f"the target {wanted} does not exist"
        fix = f"write {near[0]}, or " if near else ""
        fix += "remove the patch if its target is gone"
    return patch.document.finding(rule, ["target"], message, fix)


def _apply(manifest: Manifest, patch: Patch) -> Manifest:
    import jsonpatch
    import jsonpointer

    changed = copy.deepcopy(manifest.object)
    for index, operation in enumerate(patch.operations):
        path = operation["path"]
        try:
            changed = jsonpatch.apply_patch(changed, [operation], in_place=True)
        except jsonpatch.JsonPatchTestFailed:
            actual = _actual(manifest.kind, changed, path)
            message = f"the test failed: {path} of {manifest.label} {actual}"
            fix = "check why it changed, then update or remove the patch"
            rule = "patch-test-failed"
        except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException):
            source = operation.get("from", path)
            missing = source if _actual(manifest.kind, changed, source) == _NOTHING else path
            message = f"{operation['op']} failed: {manifest.label} has nothing at {missing}"
            rule, fix = "patch-path-not-found", "write a path that exists"
            if operation["op"] == "add":
                fix += "; `add` creates the last part of a path, not its parents"
            elif operation["op"] == "replace":
                fix += ", or use `add` for a new field"
        else:
            continue
        finding = patch.document.finding(rule, ["patch", index], message, fix)
        raise UserError(replace(finding, object=manifest.label))
    return replace(manifest, object=changed, patches=(*manifest.patches, patch.document.file))


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
