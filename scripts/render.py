"""The pipeline: Environment → manifests → the files that are committed.

load → template → patch → arrange → check; writing is the caller's, once all environments are well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts import argocd, environment, helm, patches, tree, yamlio
from scripts.environment import Environment
from scripts.findings import Finding, UserError
from scripts.manifest import Identity, Manifest


@dataclass(frozen=True, slots=True)
class Rendering:
    """What an environment's inputs give; plain data, so that a child process can send it."""

    name: str
    kubernetes_version: str
    repository: str
    """The address of the repository that its Application reads."""
    files: dict[str, str]
    """Path relative to the repository → text: all that is committed for the environment."""
    findings: tuple[Finding, ...]
    """Where there are errors among them, there are no files."""


def render(root: Path, name: str) -> Rendering:
    """Return the rendering of one environment, or the findings that prevent it."""
    try:
        found = environment.load(root, name)
        manifests = objects(root, found)
    except UserError as error:
        return Rendering(name, "", "", {}, error.findings)
    folder = tree.manifests_folder(name)
    files = {f"{folder}/{m.file_name}": _text(m) for m in manifests}
    for kind, manifest in zip(tree.ARGOCD_FOLDERS, settings(found, manifests), strict=True):
        files[tree.argocd_file(kind, name)] = _text(manifest)
    return Rendering(name, found.kubernetes_version, found.repository["url"], files, ())


def objects(root: Path, found: Environment) -> list[Manifest]:
    """Return the environment's objects as Argo CD is to apply them.

    Raises UserError where a template or a patch fails, or objects can't live together.
    """
    try:
        made = helm.template(
            root / "chart", root, found.values, found.namespace, found.kubernetes_version
        )
    except UserError as error:
        from scripts import origin

        raise UserError(*(origin.of_failure(root, found, f) for f in error.findings)) from None
    patched = patches.apply(made, found.patches)
    if findings := [f for manifest in patched for f in _shape(root, manifest, found)]:
        raise UserError(*findings)
    arranged = argocd.arrange(patched, found)
    if findings := [*_check(arranged, found), *_secrets(root, arranged, found)]:
        raise UserError(*findings)
    return arranged


def settings(found: Environment, manifests: Sequence[Manifest]) -> tuple[Manifest, Manifest]:
    """Return the environment's AppProject and Application."""
    return (
        Manifest(argocd.project(found, manifests), found.document.file),
        Manifest(argocd.application(found, manifests), found.document.file),
    )


def _text(manifest: Manifest) -> str:
    return tree.header(manifest.origin) + yamlio.dump(manifest.object)


_KIND = re.compile(r"[A-Za-z]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?")
"""What names a kind; it becomes part of a file's name."""


def _shape(root: Path, manifest: Manifest, found: Environment) -> Iterable[Finding]:
    """Yield what has another type than every Kubernetes object has there."""
    metadata = manifest.object.get("metadata")
    wanted: list[tuple[list[str | int], type, str]] = [
        (["apiVersion"], str, "a text"),
        (["kind"], str, "a text"),
        (["metadata"], dict, "a mapping"),
        (["spec"], dict, "a mapping"),
    ]
    if isinstance(metadata, dict):
        wanted += [(["metadata", key], str, "a text") for key in ("name", "namespace")]
        wanted += [(["metadata", key], dict, "a mapping") for key in ("annotations", "labels")]

    def told(path: list[str | int], message: str, fix: str) -> Finding:
        file, line, column = manifest.template, 0, 0
        if manifest.patches:
            from scripts import origin

            file, line, column = origin.of_field(root, found, manifest, path)
        return Finding(file, line, column, "object-shape", message, fix, manifest.label, found.name)

    for path, type_, name in wanted:
        holder: dict[str, Any] = manifest.object if len(path) == 1 else metadata or {}
        value = holder.get(str(path[-1]))
        needed = path[0] in ("apiVersion", "kind")
        if not isinstance(value, type_) and (needed or value is not None):
            yield told(path, f"/{'/'.join(map(str, path))} is not {name}", f"write {name}")
    if isinstance(manifest.object.get("kind"), str) and not _KIND.fullmatch(manifest.kind):
        yield told(["kind"], f"{manifest.kind!r} is no kind", "write a kind, like ConfigMap")


_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
"""DNS subdomain, RFC 1123: what Kubernetes takes as most objects' names."""


def _check(manifests: Sequence[Manifest], found: Environment) -> list[Finding]:
    """Return what would make two objects one, or a file that can't be written."""
    findings = []
    seen: dict[Identity, Manifest] = {}
    files: dict[str, Manifest] = {}
    for manifest in manifests:

        def told(rule: str, message: str, fix: str, about: Manifest = manifest) -> Finding:
            file = (about.patches or (about.template,))[-1]
            return Finding(file, 0, 0, rule, message, fix, about.label, found.name)

        first = seen.setdefault(manifest.identity, manifest)
        if first is not manifest:
            # Where a patch gave one of them its name, that is the one to change.
            one, other = (first, manifest) if first.patches else (manifest, first)
            message = f"{other.template} makes the same object"
            fix = "give one of the two another name"
            findings.append(told("duplicate-object", message, fix, one))
        elif files.setdefault(manifest.file_name, manifest) is not manifest:
            label = files[manifest.file_name].label
            message = f"its file would be called as that of {label}: {manifest.file_name}"
            findings.append(told("duplicate-file", message, "give one of the two another name"))
        if not _NAME.fullmatch(manifest.name):
            message = f"{manifest.name!r} is no name that Kubernetes takes"
            fix = "write lower-case letters, digits, - and . only, at most 253"
            findings.append(told("object-name", message, fix))
    return findings


def _secrets(root: Path, manifests: Sequence[Manifest], found: Environment) -> Iterable[Finding]:
    """Yield Secrets with their contents: what render writes is committed, for all to read."""
    for manifest in manifests:
        for field in ("data", "stringData"):
            if manifest.kind == "Secret" and manifest.object.get(field):
                from scripts import origin

                path = [field, min(manifest.object[field])]
                file, line, column = origin.of_field(root, found, manifest, path)
                message = "the rendered Secret would put its contents into git"
                fix = (
                    "take the contents out of git: make the Secret on the cluster, and write "
                    "secrets.provider: existing; if they were ever pushed, replace them"
                )
                yield Finding(
                    file, line, column, "secret-in-git", message, fix, manifest.label, found.name
                )
