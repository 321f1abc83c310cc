"""The pipeline: Environment → manifests → the files that are committed.

load → template → patch → pin → arrange → check; writing is the caller's, once all environments
are well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from scripts.core import yamlio
from scripts.core.findings import Finding, UserError
from scripts.environments import environment, image_lock, layout, patches, provided
from scripts.environments.environment import Environment, Waiver
from scripts.environments.provided import Given
from scripts.kubernetes.manifest import Manifest
from scripts.rendering import applications, helm, preconditions


@dataclass(frozen=True, slots=True)
class Rendering:
    """What an environment's inputs give; plain data, so that a child process can send it."""

    name: str
    kubernetes_version: str
    repository: str
    """The address of the repository that its Application reads."""
    files: dict[str, str]
    """Path relative to the repository → text: all that is committed for the environment."""
    zones: tuple[str, ...]
    manifests: tuple[Manifest, ...]
    """The objects, as the cluster is to have them."""
    findings: tuple[Finding, ...]
    """Where there are errors among them, there are no files, and nothing below."""
    namespace: str = ""
    settings: tuple[Manifest, ...] = ()
    """Its AppProject and its Application."""
    given: Given = field(default_factory=Given)
    waivers: tuple[Waiver, ...] = ()
    is_production: bool = False


def render(root: Path, name: str) -> Rendering:
    """Return the rendering of one environment, or the findings that prevent it."""
    try:
        return rendering(root, environment.load(root, name))
    except UserError as error:
        return Rendering(name, "", "", {}, (), (), error.findings)


def rendering(root: Path, found: Environment) -> Rendering:
    """Return the rendering of an environment; raises UserError as objects does."""
    manifests = objects(root, found)
    made = unwritten(found, manifests, settings(found, manifests))
    folder = layout.manifests_folder(found.name)
    files = {f"{folder}/{m.file_name}": _text(m) for m in made.manifests}
    for kind, manifest in zip(layout.ARGOCD_FOLDERS, made.settings, strict=True):
        files[layout.argocd_file(kind, found.name)] = _text(manifest)
    return replace(made, files=files)


def unwritten(
    found: Environment, manifests: Sequence[Manifest], made: Sequence[Manifest]
) -> Rendering:
    """Return the rendering of an environment with these objects and settings, without files."""
    return Rendering(
        name=found.name,
        kubernetes_version=found.kubernetes_version,
        repository=found.repository["url"],
        files={},
        zones=found.zones,
        manifests=tuple(manifests),
        findings=(),
        namespace=found.namespace,
        settings=tuple(made),
        given=provided.given(found),
        waivers=found.waivers,
        is_production=found.is_production,
    )


def objects(root: Path, found: Environment) -> list[Manifest]:
    """Return the environment's objects as Argo CD is to apply them.

    Raises UserError where a template or a patch fails, or objects can't live together.
    """
    try:
        made = helm.template(
            root / "chart", root, found.values, found.namespace, found.kubernetes_version
        )
    except UserError as error:
        from scripts.rendering import provenance

        raise UserError(*(provenance.of_failure(root, found, f) for f in error.findings)) from None
    if not made:
        message, fix = "the chart makes no object at all", "restore its templates from git"
        raise UserError(Finding("chart/templates", 0, 0, "chart", message, fix, "", found.name))
    patched = patches.apply(made, found.patches)
    preconditions.shapes(root, found, patched)
    preconditions.digests(root, found, patched)
    arranged = applications.arrange(image_lock.pin(patched, found.images.data or {}), found)
    preconditions.together(root, found, arranged)
    return arranged


def settings(found: Environment, manifests: Sequence[Manifest]) -> tuple[Manifest, Manifest]:
    """Return the environment's AppProject and Application."""
    return (
        Manifest(applications.project(found, manifests), found.document.file),
        Manifest(applications.application(found, manifests), found.document.file),
    )


def _text(manifest: Manifest) -> str:
    return layout.header(manifest.origin) + yamlio.dump(manifest.object)
