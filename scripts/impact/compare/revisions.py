"""An environment as two revisions have it: only those whose output differs are read.

What git knows by its index is not read again: of three hundred environments, one changed, the files
of one are opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from scripts.core import yamlio
from scripts.core.findings import Finding, UserError
from scripts.environments import layout
from scripts.kubernetes.manifest import Identity, Manifest
from scripts.output import git_revision
from scripts.output.git_revision import Blobs

if TYPE_CHECKING:
    from scripts.rules.snapshot import Objects

_PRODUCTION = "production"


@dataclass(frozen=True, slots=True)
class Pair:
    """An environment before and after a change; one of the two may not be there."""

    name: str
    old: Objects | None
    new: Objects | None
    files: tuple[Mapping[Identity, str], Mapping[Identity, str]]
    """Where each object stood, and where it stands."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a change is about, before its files are read."""

    root: Path
    names: tuple[str, ...]
    """All environments that one of the two revisions has, sorted."""
    changed: tuple[str, ...]
    """Those whose output differs."""
    old: Mapping[str, Blobs]
    """Environment → its files."""
    new: Mapping[str, Blobs]
    revisions: tuple[str, str]
    """Before and after; the working tree is empty."""
    inputs: tuple[str, ...]
    """Files that differ and are no output."""
    base: tuple[Blobs, Blobs]
    """The file that says what all environments have in common, before and after."""


def find(root: Path, against: str, to: str = "") -> Found:
    """Return what differs in the output of environments from a revision to another.

    to: a revision; the working tree, where it is empty. Raises UsageError for one that git does not
    know.
    """
    before = git_revision.listed(root, against)
    after = git_revision.listed(root, to) if to else git_revision.working(root, against, before)
    old, new = _by_environment(before), _by_environment(after)
    names = sorted(old.keys() | new.keys())
    changed = [name for name in names if _output(old.get(name)) != _output(new.get(name))]
    base = tuple(
        {git_revision.BASE: b[git_revision.BASE]} if git_revision.BASE in b else {}
        for b in (before, after)
    )
    differ = sorted(path for path in before.keys() | after if before.get(path) != after.get(path))
    inputs = tuple(path for path in differ if not git_revision.environment_of(path))
    return Found(
        root, tuple(names), tuple(changed), old, new, (against, to), inputs, (base[0], base[1])
    )


def _by_environment(blobs: Blobs) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for path, blob in blobs.items():
        if name := git_revision.environment_of(path):
            found.setdefault(name, {})[path] = blob
    for name, files in found.items():
        if (path := _settings(name)) in blobs:
            files[path] = blobs[path]
    return found


def _output(files: Blobs | None) -> dict[str, str]:
    return {path: blob for path, blob in (files or {}).items() if git_revision.environment_of(path)}


def _settings(name: str) -> str:
    return f"overlays/{name}/environment.yaml"


def pair(found: Found, name: str) -> Pair:
    """Return an environment before and after the change.

    Raises UserError for a file that holds no object, or several: nobody knows what it does.
    """
    both = found.old.get(name, {}), found.new.get(name, {})
    files = [{**blobs, **base} for blobs, base in zip(both, found.base, strict=True)]
    said_in = {
        file: of for side, of in zip(files, found.revisions, strict=True) for file in side.items()
    }
    texts = git_revision.texts(found.root, said_in)
    # What both sides have is read once, and is one Manifest.
    read = {file: _manifest(texts[file], file[0], of) for file, of in said_in.items()}
    sides: list[Objects | None] = []
    places: list[Mapping[Identity, str]] = []
    for side, blobs in zip(files, both, strict=True):
        manifests = {file[0]: m for file in side.items() if (m := read[file])}
        output = _output(blobs)
        sides.append(_objects(name, manifests) if output else None)
        places.append({m.identity: path for path, m in manifests.items() if path in output})
    return Pair(name, sides[0], sides[1], (places[0], places[1]))


def _manifest(text: str, path: str, revision_of_it: str) -> Manifest | None:
    """Return a file's manifest; None of an empty file. Raises UserError for any other."""
    if found := git_revision.manifest_of(text, path):
        return found
    try:
        documents = [each for each in yaml.compose_all(text, yaml.CSafeLoader) if each]
        objects = list(yaml.load_all(text, yaml.CSafeLoader))
    except yaml.MarkedYAMLError as error:
        raise UserError(_in(yamlio.syntax(error, path, text), revision_of_it)) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        finding = Finding(path, 0, 0, "yaml-syntax", str(error), "run nox -s render")
        raise UserError(_in(finding, revision_of_it)) from None
    if not any(objects):
        return None
    line = documents[-1].start_mark.line + 1
    message, rule = "what stands here is no object", "not-an-object"
    if len(documents) > 1:
        message, rule = "a second YAML document begins here", "multiple-yaml-documents"
    finding = Finding(path, line, 0, rule, message, "keep one object in a file")
    raise UserError(_in(finding, revision_of_it))


def _in(finding: Finding, revision_of_it: str) -> Finding:
    """Return a finding with the revision that it is of, which may be none that can be changed."""
    if not revision_of_it:
        return finding
    fix = f"{finding.fix}; or compare with a revision in which the file is whole"
    return replace(finding, message=f"in {revision_of_it}: {finding.message}", fix=fix)


def _objects(name: str, files: Mapping[str, Manifest]) -> Objects:
    from scripts.environments.provided import Given
    from scripts.rules.snapshot import Objects

    layers = (files[path].object for path in (git_revision.BASE, _settings(name)) if path in files)
    said: dict[str, Any] = {key: value for layer in layers for key, value in layer.items()}
    folder = layout.manifests_folder(name)
    argocd = [
        files.get(path) or Manifest({}, path)
        for path in (layout.argocd_file(kind, name) for kind in layout.ARGOCD_FOLDERS)
    ]
    return Objects(
        name=name,
        namespace=str(said.get("namespace", "")),
        kubernetes_version=str(said.get("kubernetesVersion", "")),
        zones=tuple(map(str, said.get("zones") or ())),
        is_production=_PRODUCTION in (said.get("profiles") or ()),
        manifests=tuple(files[path] for path in sorted(files) if path.startswith(f"{folder}/")),
        project=argocd[0],
        application=argocd[1],
        given=Given(node=said.get("node") or {}),
    )
