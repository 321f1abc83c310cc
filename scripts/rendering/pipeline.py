"""The pipeline: Environment → manifests → the files that are committed.

load → template → patch → pin → arrange → check; the caller writes the files, once no environment
has errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from scripts.core import safe_files, yamlio
from scripts.core.findings import Finding, UserError
from scripts.environments import image_lock, layout, patches, placeholders, provided
from scripts.environments.environment import Accepted, Environment, Waiver
from scripts.environments.environment import load as load_environment
from scripts.environments.provided import Given
from scripts.kubernetes.manifest import Manifest
from scripts.rendering import applications, helm, own_manifests, preconditions

_CHART_VERSION = "helm.sh/chart"
"""The label that charts give their objects: the name and the version of the chart."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """A rendered environment, as plain data that a child process can send."""

    name: str
    kubernetes_version: str
    repository: str
    """The URL of the repository that its Application reads."""
    files: dict[str, str]
    """Path relative to the repository → text: all committed output of the environment."""
    zones: tuple[str, ...]
    manifests: tuple[Manifest, ...]
    """The objects, as Argo CD applies them."""
    findings: tuple[Finding, ...]
    """The errors that prevented the rendering; if there are any, the other fields are empty."""
    namespace: str = ""
    settings: tuple[Manifest, ...] = ()
    """Its AppProject and its Application."""
    given: Given = field(default_factory=Given)
    waivers: tuple[Waiver, ...] = ()
    accepts: tuple[Accepted, ...] = ()
    is_production: bool = False
    is_example: bool = False
    placeholders: tuple[Finding, ...] = ()
    """Names in its inputs that only stand for one's own."""
    release: str = ""
    """The tag or commit of its chart/ and base/; empty for the working tree."""


def render(root: Path, name: str) -> Rendering:
    """Return the rendering of one environment, or the findings that prevent it."""
    try:
        return rendering(root, load_environment(root, name))
    except UserError as error:
        return Rendering(name, "", "", {}, (), (), error.findings)


def rendering(root: Path, environment: Environment) -> Rendering:
    """Return the rendering of an environment; raises UserError as objects does."""
    manifests = objects(root, environment)
    result = without_files(environment, manifests, settings(environment, manifests))
    folder = layout.manifests_folder(environment.name)
    files = {f"{folder}/{m.file_name}": _text(m, environment) for m in result.manifests}
    for kind, manifest in zip(layout.ARGOCD_FOLDERS, result.settings, strict=True):
        files[layout.argocd_file(kind, environment.name)] = _text(manifest, environment)
    return replace(
        result, files=files, placeholders=tuple(placeholders.findings(root, environment))
    )


def without_files(
    environment: Environment, manifests: Sequence[Manifest], argocd: Sequence[Manifest]
) -> Rendering:
    """Return the rendering of an environment with these objects, without the texts of its files.

    argocd: its AppProject and its Application.
    """
    return Rendering(
        name=environment.name,
        kubernetes_version=environment.kubernetes_version,
        repository=environment.repository["url"],
        files={},
        zones=environment.zones,
        manifests=tuple(manifests),
        findings=(),
        namespace=environment.namespace,
        settings=tuple(argocd),
        given=provided.given(environment),
        waivers=environment.waivers,
        accepts=environment.accepts,
        is_production=environment.is_production,
        is_example=environment.is_example,
        release=environment.release,
    )


def objects(root: Path, environment: Environment) -> list[Manifest]:
    """Return the environment's objects, as Argo CD applies them.

    Raises UserError if a template or a patch fails, or if an object can't be applied or committed.
    """
    version = environment.kubernetes_version
    preconditions.zones(environment)
    preconditions.volumes(environment)
    try:
        templated = helm.template(
            environment.source / "chart", root, environment.values, environment.namespace, version
        )
    except UserError as error:
        from scripts.rendering import provenance

        located = (provenance.of_failure(root, environment, f) for f in error.findings)
        raise UserError(*located) from None
    if not templated:
        message = "the chart renders no objects"
        fix = "restore chart/templates and chart/.helmignore from git"
        file = safe_files.name(environment.source / "chart" / "templates", root)
        rule = "invalid-chart"
        raise UserError(Finding(file, 0, 0, rule, message, fix, "", environment.name))
    made = own_manifests.beside(root, list(map(_unversioned, templated)), environment)
    patched = patches.apply(made, environment.patches)
    preconditions.shapes(root, environment, patched, made)
    preconditions.digests(root, environment, patched)
    pinned = image_lock.pin(patched, environment.images.data or {})
    arranged = applications.arrange(pinned, environment)
    preconditions.together(root, environment, arranged)
    return arranged


def _unversioned(manifest: Manifest) -> Manifest:
    """Return an object of the chart without the label of the chart's version.

    A release of the chart that changes nothing else changes no object then. Which release an
    environment runs, its environment.yaml says.
    """
    if _CHART_VERSION not in manifest.labels:
        return manifest
    labels = {key: value for key, value in manifest.labels.items() if key != _CHART_VERSION}
    metadata = manifest.metadata | {"labels": labels}
    return replace(manifest, object=manifest.object | {"metadata": metadata})


def settings(environment: Environment, manifests: Sequence[Manifest]) -> tuple[Manifest, Manifest]:
    """Return the environment's AppProject and Application."""
    return (
        Manifest(applications.project(environment, manifests), environment.document.file),
        Manifest(applications.application(environment, manifests), environment.document.file),
    )


def _text(manifest: Manifest, environment: Environment) -> str:
    """Return the text of a file; its header leaves out the release, which many files share."""
    return layout.header(environment.unreleased(manifest.origin)) + yamlio.dump(manifest.object)
