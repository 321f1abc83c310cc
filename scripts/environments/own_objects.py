"""Objects of one's own: manifests that people write beside the chart's.

They are plain Kubernetes objects, one or several in a file, as the resources of a kustomization
are. What is checked here needs only the file; `rendering/preconditions.py` checks the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.core import advice, json_schema, safe_files, yamlio
from scripts.core.findings import Finding, UserError
from scripts.core.repository import PROGRAM
from scripts.core.yamlio import Document
from scripts.environments.input_folders import Kind, files
from scripts.kubernetes import sync
from scripts.kubernetes.manifest import Manifest

SCHEMA = PROGRAM / "object.schema.json"

_RULE = "invalid-object-file"
_FILES = Kind(_RULE, "object", "rendered")

_OF_HELM = re.compile(r"\{\{-?\s*(?:\.(?:Values|Release|Chart|Capabilities)\.|include\s)")
"""What only Helm's templates have. Alerts, dashboards and Secrets' templates have `{{`, too."""


@dataclass(frozen=True, slots=True)
class OwnObject:
    """An object, as it is written, and the document that it is written in."""

    manifest: Manifest
    document: Document


def load(folder: Path, root: Path) -> tuple[OwnObject, ...]:
    """Return the objects of a folder, by file; raises UserError with all findings."""
    objects, findings = list[OwnObject](), list[Finding]()
    for path in files(folder, root, _FILES):
        if isinstance(path, Finding):
            findings.append(path)
            continue
        try:
            documents = [d for d in _documents(path, root) if d.data is not None]
        except UserError as error:
            findings += error.findings
            continue
        own = [finding for document in documents for finding in _wrong(document)]
        findings += own
        if not documents:
            message, fix = "the file has no object", f"write an object, or remove {path.name}"
            findings.append(Finding(safe_files.name(path, root), 0, 0, _RULE, message, fix))
        elif not own:
            objects += (OwnObject(Manifest(d.data, d.file), d) for d in documents)
    if findings:
        raise UserError(*findings)
    return tuple(objects)


def of(objects: tuple[OwnObject, ...], manifest: Manifest) -> OwnObject | None:
    """Return the object that a rendered manifest was written as; None if the chart has it."""
    own = (each for each in objects if each.manifest.template == manifest.template)
    return next((each for each in own if each.manifest.label == manifest.label), None)


def foreign(objects: Iterable[OwnObject], namespace: str) -> Iterator[Finding]:
    """Yield a finding for each object that is not in the namespace of its environment."""
    for each in objects:
        own = each.manifest.namespace
        is_shared = each.document.file.startswith("base/")
        if not own or (own == namespace and not is_shared):
            continue
        message = f"{each.manifest.label} is in the namespace {own}, not in {namespace}: an"
        message += " environment has objects in its own namespace only"
        if is_shared:
            message = f"{each.manifest.label} names the namespace {own}, but objects in base/ are"
            message += " for all environments"
        fix = advice.remove("metadata.namespace: render fills in that of the environment")
        path = ["metadata", "namespace"]
        yield each.document.finding("namespace-not-allowed", path, message, fix)


def _documents(path: Path, root: Path) -> list[Document]:
    """Return the documents of a file; raises UserError, also for a template."""
    try:
        return yamlio.load_all(path, root)
    except UserError as error:
        lines = safe_files.read(path, root).decode("utf-8", "replace").splitlines()
        raise UserError(*(_as_template(finding, lines) for finding in error.findings)) from None


def _as_template(finding: Finding, lines: list[str]) -> Finding:
    """Return the finding about a template if the line of a mistake in YAML has `{{`."""
    around = lines[max(finding.line - 2, 0) : finding.line]
    if not any("{{" in line for line in around):
        return finding
    number, column = next(
        (finding.line - len(around) + 1 + n, line.index("{{") + 1)
        for n, line in reversed(list(enumerate(around)))
        if "{{" in line
    )
    return _template(Finding(finding.file, number, column, "", "", ""))


def _template(place: Finding) -> Finding:
    message = (
        "the file has the syntax of a template ({{ … }}), but objects are rendered as they are"
    )
    fix = "write the value itself; what differs between environments belongs in a patch, and what"
    fix += " needs values in chart/templates/"
    return Finding(place.file, place.line, place.column, "object-is-template", message, fix)


def _wrong(document: Document) -> Iterator[Finding]:
    """Yield what is wrong in one document."""
    if other := _of_another_form(document):
        yield other
    elif found := json_schema.check(document, SCHEMA):
        yield from found
    else:
        yield from _hooks(document)
        yield from _templates(document, document.data, [])


def _of_another_form(document: Document) -> Finding | None:
    """Return a finding if the document is something else, which is often beside objects."""
    data = document.data
    if isinstance(data, list):
        message = "the document is a list, not an object"
        fix = "write each object as a document of its own, with the line --- between them"
        return document.finding("wrong-type", [], message, fix)
    if not isinstance(data, dict):
        return None
    kind = data.get("kind")
    if isinstance(kind, str) and kind.endswith("List") and "items" in data:
        message = f"the kind {kind} contains other objects, which would not be checked"
        fix = "write each of its items as a document of its own, with the line --- between them"
        return document.finding(_RULE, ["kind"], message, fix)
    if kind == "Kustomization" or ("kind" not in data and "resources" in data):
        message = "the file is a kustomization, which nothing here reads"
        fix = "remove it: each YAML file in this folder is rendered; write its patches in patches/"
        return document.finding(_RULE, [], message, fix)
    if "target" in data and "patch" in data:
        folder = document.file.rpartition("/objects/")[0]
        message = "the file is a patch, not an object"
        return document.finding(_RULE, [], message, f"move the file to {folder}/patches/")
    return None


def _hooks(document: Document) -> Iterator[Finding]:
    """Yield a finding for each annotation that makes the object a hook."""
    for key in document.data["metadata"].get("annotations") or {}:
        if key in (sync.HOOK, sync.HELM_HOOK):
            message = f"{key} makes the object a hook: it is no part of the desired state, so that"
            message += " no check of this repository applies to it, and no self-heal restores it"
            fix = advice.remove(f"{key}; {sync.WAVE} decides when the object is synced")
            yield document.finding(
                "hook-not-allowed", ["metadata", "annotations", key], message, fix
            )


def _templates(document: Document, data: Any, path: list[str | int]) -> Iterator[Finding]:
    """Yield a finding for each text with the syntax of Helm's templates."""
    if isinstance(data, str) and _OF_HELM.search(data):
        line, column = document.position(path)
        yield _template(Finding(document.file, line, column, "", "", ""))
    inner = (
        data.items()
        if isinstance(data, dict)
        else enumerate(data)
        if isinstance(data, list)
        else ()
    )
    for key, value in inner:
        yield from _templates(document, value, [*path, key])
