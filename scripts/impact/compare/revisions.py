"""Read the environments whose output differs between two revisions.

Git's index tells which files differ. So if one of three hundred environments changes, only its
files are opened.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from scripts.core import yamlio
from scripts.core.findings import Finding, UserError
from scripts.environments import git_index, layout
from scripts.kubernetes.manifest import Identity, Manifest
from scripts.output import git_revision
from scripts.output.git_revision import Blobs

if TYPE_CHECKING:
    from scripts.rules.snapshot import Objects

_PRODUCTION = "production"


@dataclass(frozen=True, slots=True)
class Pair:
    """An environment before and after a change; one of the two may be missing."""

    name: str
    old: Objects | None
    new: Objects | None
    files: tuple[Mapping[Identity, str], Mapping[Identity, str]]
    """Object → its file; before and after."""


@dataclass(frozen=True, slots=True)
class OutputDiff:
    """The environments whose output differs between two revisions; their files are not read yet."""

    root: Path
    names: tuple[str, ...]
    """All environments of the two revisions, sorted."""
    changed: tuple[str, ...]
    """The environments whose output differs."""
    old: Mapping[str, Blobs]
    """Environment → its files, before."""
    new: Mapping[str, Blobs]
    """Environment → its files, after."""
    revisions: tuple[str, str]
    """Before and after; empty for the working tree."""
    inputs: tuple[str, ...]
    """Inputs of render that differ."""
    examples: frozenset[str]
    """The environments that are examples before: they never ran, so they count as new."""
    base: tuple[Blobs, Blobs]
    """The file with the settings that all environments share, before and after."""


def diff(root: Path, against: str, to: str = "") -> OutputDiff:
    """Return which environments' output differs between two revisions.

    to: a revision; empty for the working tree. Raises UsageError for a revision that git does not
    know.
    """
    before = git_revision.listed(root, against)
    after = git_revision.listed(root, to) if to else git_revision.working(root, against, before)
    old, new = _by_environment(before), _by_environment(after)
    examples = git_revision.examples(root, before)
    old = {name: files for name, files in old.items() if name not in examples}
    names = sorted(old.keys() | new.keys())
    changed = [name for name in names if _output(old.get(name)) != _output(new.get(name))]
    base = tuple(
        {git_revision.BASE: b[git_revision.BASE]} if git_revision.BASE in b else {}
        for b in (before, after)
    )
    differ = sorted(path for path in before.keys() | after if before.get(path) != after.get(path))
    inputs = tuple(path for path in differ if git_revision.is_input(path))
    return OutputDiff(
        root,
        tuple(names),
        tuple(changed),
        old,
        new,
        (against, to),
        inputs,
        examples,
        (base[0], base[1]),
    )


def digest(output: OutputDiff) -> str:
    """Return a digest of all files that are compared: it is the same on each machine."""
    contents = [sorted(files.items()) for files in (*output.old.values(), *output.base)]
    for name, files in sorted(output.new.items()):
        # The working tree's own files have no blob yet.
        now = ((path, blob or _blob(output.root / path)) for path, blob in files.items())
        contents.append([(name, ""), *sorted(now)])
    text = json.dumps([sorted(output.old), contents, sorted(output.examples)])
    return hashlib.sha256(text.encode()).hexdigest()


def _blob(path: Path) -> str:
    try:
        return git_index.blob(path.read_bytes())
    except OSError:
        return ""


def _by_environment(blobs: Blobs) -> dict[str, dict[str, str]]:
    by_environment: dict[str, dict[str, str]] = {}
    for path, blob in blobs.items():
        if name := git_revision.environment_of(path):
            by_environment.setdefault(name, {})[path] = blob
    for name, files in by_environment.items():
        if (path := _settings(name)) in blobs:
            files[path] = blobs[path]
    return by_environment


def _output(files: Blobs | None) -> dict[str, str]:
    return {path: blob for path, blob in (files or {}).items() if git_revision.environment_of(path)}


def _settings(name: str) -> str:
    return f"overlays/{name}/environment.yaml"


def pair(output: OutputDiff, name: str) -> Pair:
    """Return an environment before and after the change.

    Raises UserError if a file contains no object or several, because its effect is unknown.
    """
    blobs = output.old.get(name, {}), output.new.get(name, {})
    files = [{**own, **base} for own, base in zip(blobs, output.base, strict=True)]
    revision_of = {
        file: revision
        for own, revision in zip(files, output.revisions, strict=True)
        for file in own.items()
    }
    texts = git_revision.texts(output.root, revision_of)
    # A file that is the same in both revisions is parsed once, and is one Manifest.
    parsed = {file: _manifest(texts[file], file[0], of) for file, of in revision_of.items()}
    old, old_files = _read(name, files[0], blobs[0], parsed)
    new, new_files = _read(name, files[1], blobs[1], parsed)
    return Pair(name, old, new, (old_files, new_files))


def _read(
    name: str, files: Blobs, blobs: Blobs, parsed: Mapping[tuple[str, str], Manifest | None]
) -> tuple[Objects | None, Mapping[Identity, str]]:
    """Return an environment in one revision, if it has output there, and object → its file.

    files: all that its settings and objects are read from. blobs: without the shared base.
    """
    manifests = {file[0]: m for file in files.items() if (m := parsed[file])}
    output = _output(blobs)
    places = {m.identity: path for path, m in manifests.items() if path in output}
    return (_objects(name, manifests) if output else None), places


def _manifest(text: str, path: str, revision: str) -> Manifest | None:
    """Return a file's manifest; None for an empty file. Raises UserError for any other file."""
    if manifest := git_revision.manifest_of(text, path):
        return manifest
    try:
        documents = [each for each in yaml.compose_all(text, yaml.CSafeLoader) if each]
        objects = list(yaml.load_all(text, yaml.CSafeLoader))
    except yaml.MarkedYAMLError as error:
        raise UserError(_in(yamlio.syntax(error, path, text), revision)) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        finding = Finding(path, 0, 0, "yaml-syntax", str(error), "run nox -s render")
        raise UserError(_in(finding, revision)) from None
    if not any(objects):
        return None
    line = documents[-1].start_mark.line + 1
    message, rule = "no Kubernetes object begins here, so its effect is unknown", "not-an-object"
    if len(documents) > 1:
        rule = "multiple-yaml-documents"
        message = "a second document starts here, so its effect is unknown"
    fix = "run nox -s render, which writes exactly one object into each file"
    finding = Finding(path, line, 0, rule, message, fix)
    raise UserError(_in(finding, revision))


def _in(finding: Finding, revision: str) -> Finding:
    """Return a finding that names its revision, if that is not the working tree."""
    if not revision:
        return finding
    fix = f"{finding.fix}; or compare with a revision in which the file is valid"
    return replace(finding, message=f"in {revision}: {finding.message}", fix=fix)


def _objects(name: str, files: Mapping[str, Manifest]) -> Objects:
    from scripts.environments.provided import Given
    from scripts.rules.snapshot import Objects

    layers = (files[path].object for path in (git_revision.BASE, _settings(name)) if path in files)
    settings: dict[str, Any] = {key: value for layer in layers for key, value in layer.items()}
    folder = layout.manifests_folder(name)
    argocd = [
        files.get(path) or Manifest({}, path)
        for path in (layout.argocd_file(kind, name) for kind in layout.ARGOCD_FOLDERS)
    ]
    return Objects(
        name=name,
        namespace=str(settings.get("namespace", "")),
        kubernetes_version=str(settings.get("kubernetesVersion", "")),
        zones=tuple(map(str, settings.get("zones") or ())),
        is_production=_PRODUCTION in (settings.get("profiles") or ()),
        manifests=tuple(files[path] for path in sorted(files) if path.startswith(f"{folder}/")),
        project=argocd[0],
        application=argocd[1],
        given=Given(node=settings.get("node") or {}),
    )
