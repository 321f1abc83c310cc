"""The objects that people write beside the chart's, as part of a rendering."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scripts.core.findings import Finding, UserError
from scripts.environments import custom_kinds
from scripts.environments.environment import Environment
from scripts.environments.own_objects import OwnObject
from scripts.kubernetes.manifest import Manifest

_ARGOCD = {("argoproj.io", kind) for kind in ("AppProject", "Application", "ApplicationSet")}
"""Group and kind of the objects that give rights to what Argo CD syncs."""


def beside(root: Path, templated: Sequence[Manifest], environment: Environment) -> list[Manifest]:
    """Return the chart's objects and those that people wrote.

    Raises UserError for an object of a kind and name that the chart or another file has, and for
    one of a cluster-scoped kind.
    """
    made, findings = list(templated), list[Finding]()
    owners = {(m.group, m.kind, m.name): m for m in templated}
    for own in environment.objects:
        manifest = own.manifest
        other = owners.setdefault((manifest.group, manifest.kind, manifest.name), manifest)
        if (manifest.group, manifest.kind) in _ARGOCD:
            findings.append(_of_argocd(own, environment))
        elif manifest.is_custom and _is_cluster_scoped(root, manifest):
            findings.append(_cluster_scoped(own, environment))
        elif other is not manifest:
            findings.append(_duplicate(own, other, environment))
        made.append(manifest)
    if findings:
        raise UserError(*findings)
    return made


def _duplicate(own: OwnObject, other: Manifest, environment: Environment) -> Finding:
    """Return the finding for an object that something else also makes."""
    message = f"duplicate object: {other.template} also renders {other.label}"
    fix = "write another metadata.name, or remove one of the two objects"
    owner = next((o for o in environment.objects if o.manifest is other), None)
    if owner is None or owner.document.file.startswith("base/"):
        fix = f"write another metadata.name; to change that of {other.template}, write a patch in"
        fix += f" overlays/{environment.name}/patches/"
    if owner and owner.document.file == own.document.file:
        line, _ = owner.document.position([])
        message = f"duplicate object: line {line} of this file also has {other.label}"
    return _finding(own, environment, "duplicate-object", ["metadata", "name"], message, fix)


def _of_argocd(own: OwnObject, environment: Environment) -> Finding:
    kind = own.manifest.kind
    message = f"{kind} is an object of Argo CD, which decides what is synced with which rights"
    fix = f"remove the {kind}: render writes the AppProject and the Application of each environment"
    return _finding(own, environment, "kind-not-allowed", ["kind"], message, fix)


def _is_cluster_scoped(root: Path, manifest: Manifest) -> bool:
    """Return whether a definition in base/crds/ says that a kind has no namespace."""
    return any(
        definition.is_cluster_scoped
        for definition in custom_kinds.load(root)
        if (definition.group, definition.kind) == (manifest.group, manifest.kind)
    )


def _cluster_scoped(own: OwnObject, environment: Environment) -> Finding:
    kind = own.manifest.kind
    message = f"{kind} is cluster-scoped: the environment's AppProject does not permit it"
    fix = f"remove the {kind}; let an administrator of the cluster create it"
    return _finding(own, environment, "kind-not-allowed", ["kind"], message, fix)


def _finding(
    own: OwnObject,
    environment: Environment,
    rule: str,
    path: list[str | int],
    message: str,
    fix: str,
) -> Finding:
    return own.document.finding(
        rule, path, message, fix, object=own.manifest.label, environment=environment.name
    )
