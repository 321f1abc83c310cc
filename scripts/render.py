"""The pipeline: Environment → manifests → the files that are committed.

load → template → patch → arrange → check; writing is the caller's, once all environments are well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts import argocd, environment, helm, patches, tree, yamlio
from scripts.environment import Environment
from scripts.findings import Finding, UserError
from scripts.manifest import Identity, Manifest


@dataclass(frozen=True, slots=True)
class Rendering:
    """What an environment's inputs give."""

    name: str
    environment: Environment | None
    """None where its files are not sound; the findings say why."""
    manifests: tuple[Manifest, ...]
    """All objects, the AppProject and the Application at the end."""
    files: dict[str, str]
    """Path relative to the repository → text: all that is committed for the environment."""
    findings: tuple[Finding, ...]


def render(root: Path, name: str) -> Rendering:
    """Return the rendering of one environment, or the findings that prevent it."""
    loaded, findings = environment.load(root, [name])
    if not loaded:
        return Rendering(name, None, (), {}, tuple(findings))
    found = loaded[0]
    try:
        manifests = objects(root, found)
    except UserError as error:
        return Rendering(name, found, (), {}, error.findings)
    settings = [
        Manifest(made(found, manifests), found.document.file)
        for made in (argocd.project, argocd.application)
    ]
    folder = tree.manifests_folder(name)
    files = {f"{folder}/{m.file_name}": _text(m) for m in manifests}
    files |= {
        tree.argocd_file(kind, name): _text(m)
        for kind, m in zip(tree.ARGOCD_FOLDERS, settings, strict=True)
    }
    return Rendering(name, found, (*manifests, *settings), files, ())


def objects(root: Path, found: Environment) -> list[Manifest]:
    """Return the environment's objects as Argo CD is to apply them.

    Raises UserError where a template or a patch fails, or objects can't live together.
    """
    made = helm.template(
        root / "chart", root, found.values, found.namespace, found.kubernetes_version
    )
    arranged = argocd.arrange(patches.apply(made, found.patches), found)
    if findings := _check(arranged, found):
        raise UserError(*findings)
    return arranged


def _text(manifest: Manifest) -> str:
    return tree.header(manifest.origin) + yamlio.dump(manifest.object)


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
            message = f"{first.template} makes the same object"
            findings.append(told("duplicate-object", message, "give one of the two another name"))
        elif files.setdefault(manifest.file_name, manifest) is not manifest:
            other = files[manifest.file_name].label
            message = f"its file would be called as that of {other}: {manifest.file_name}"
            findings.append(told("duplicate-file", message, "give one of the two another name"))
        if not _NAME.fullmatch(manifest.name):
            message = f"{manifest.name!r} is no name that Kubernetes takes"
            fix = "write lower-case letters, digits, - and . only, at most 253"
            findings.append(told("object-name", message, fix))
    return findings
