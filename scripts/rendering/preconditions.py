"""Objects that can't be written, committed or applied as they are, told before anything is written.

What needs a cluster's own schemas is validate's: a render needs no more than this repository.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from scripts.core import paths
from scripts.core.findings import Finding, UserError
from scripts.environments import image_lock
from scripts.environments.environment import Environment
from scripts.kubernetes.manifest import Identity, Manifest
from scripts.kubernetes.sync import WAVE

_KIND = re.compile(r"[A-Za-z]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?")
"""What names a kind; it becomes part of a file's name."""

_TYPES: dict[tuple[str, ...], tuple[type, str]] = {
    ("apiVersion",): (str, "a text"),
    ("kind",): (str, "a text"),
    ("metadata",): (dict, "a mapping"),
    ("metadata", "name"): (str, "a text"),
    ("metadata", "namespace"): (str, "a text"),
    ("metadata", "annotations"): (dict, "a mapping"),
    ("metadata", "labels"): (dict, "a mapping"),
    ("spec",): (dict, "a mapping"),
    ("data",): (dict, "a mapping"),
    ("stringData",): (dict, "a mapping"),
}
_TYPES_OF_AUTOSCALERS = _TYPES | {
    ("spec", "scaleTargetRef"): (dict, "a mapping"),
    ("spec", "scaleTargetRef", "apiVersion"): (str, "a text"),
    ("spec", "scaleTargetRef", "kind"): (str, "a text"),
    ("spec", "scaleTargetRef", "name"): (str, "a text"),
}
"""What the steps after this one read of an object; Kubernetes' schemas are validate's."""

_REQUIRED = {("apiVersion",), ("kind",), *(_TYPES_OF_AUTOSCALERS.keys() - _TYPES.keys())}
_MAY_BE_NULL = {("metadata", "annotations"), ("metadata", "labels"), ("data",), ("stringData",)}

_OF_CLUSTERS = {
    "APIService",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "IngressClass",
    "MutatingWebhookConfiguration",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PriorityClass",
    "RuntimeClass",
    "StorageClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
}
"""Kinds that no namespace holds; an environment's project allows none of them."""

_OF_OTHERS = re.compile("argocd|default|kube-.*")
"""Namespaces that are no environment's, as in environment.schema.json."""
_RIGHTS = "rbac.authorization.k8s.io"

_LABEL = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
"""DNS subdomain, RFC 1123: what Kubernetes takes as most objects' names."""
_SERVICE_NAME = re.compile("[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
"""DNS label, RFC 1035."""
_MOST_IN_A_NAME = 253
_MOST_IN_A_FILE_NAME = 255
"""Bytes, on the file systems in use."""


def shapes(root: Path, found: Environment, manifests: Sequence[Manifest]) -> None:
    """Raise UserError for what has another type than every Kubernetes object has there."""
    _refuse(f for manifest in manifests for f in _shape(root, found, manifest))


def digests(root: Path, found: Environment, manifests: Sequence[Manifest]) -> None:
    """Raise UserError for images that would be others than the ones that were reviewed."""
    _refuse(f for manifest in manifests for f in _other_images(root, found, manifest))


def together(root: Path, found: Environment, manifests: Sequence[Manifest]) -> None:
    """Raise UserError for objects that can't be applied, live side by side, or stand in git."""
    _refuse(
        (
            *_twice(root, found, manifests),
            *(f for manifest in manifests for f in _names(root, found, manifest)),
            *(f for manifest in manifests for f in _secrets(root, found, manifest)),
        )
    )


def _refuse(findings: Iterable[Finding]) -> None:
    if found := tuple(findings):
        raise UserError(*found)


def _shape(root: Path, found: Environment, manifest: Manifest) -> Iterable[Finding]:
    def told(rule: str, path: Sequence[str], message: str, fix: str) -> Finding:
        return _told(root, found, manifest, rule, path, message, fix)

    scaler = manifest.kind == "HorizontalPodAutoscaler"
    for path, (type_, name) in (_TYPES_OF_AUTOSCALERS if scaler else _TYPES).items():
        holder = paths.get(manifest.object, path[:-1])
        if not isinstance(holder, dict):  # told one level further up
            continue
        value = holder.get(path[-1])
        absent = path[-1] not in holder or (value is None and path in _MAY_BE_NULL)
        if not isinstance(value, type_) and (path in _REQUIRED or not absent):
            yield told("object-shape", path, f"/{'/'.join(path)} is not {name}", f"write {name}")
    kind = manifest.object.get("kind")
    if not isinstance(kind, str):
        return
    if not _KIND.fullmatch(kind):
        message, fix = f"{kind!r} is no kind", "write a kind, like ConfigMap"
        yield told("object-shape", ["kind"], message, fix)
    elif kind.endswith("List") and "items" in manifest.object:
        message = f"a {kind} hides its objects from what is checked here"
        fix = "write each object as a document of its own"
        yield told("object-shape", ["kind"], message, fix)
    elif kind in _OF_CLUSTERS:
        message = f"a {kind} belongs to the whole cluster, of which an environment has a namespace"
        fix = "remove it: who runs the cluster makes it"
        yield told("object-of-cluster", ["kind"], message, fix)
    elif manifest.group == _RIGHTS:
        # The project is made from the manifests, so nothing after this would refuse it.
        message = f"a {kind} gives rights on the cluster, and no part of the stack needs any"
        fix = "remove it: who runs the cluster makes it"
        yield told("object-of-cluster", ["kind"], message, fix)


def _other_images(root: Path, found: Environment, manifest: Manifest) -> Iterable[Finding]:
    """Yield an image whose digest is not the lock's, and in production one without a version."""
    locked = found.images.data or {}
    for path, image in image_lock.used(manifest):
        reference = image_lock.parse(image)
        name, digest = reference.name, locked.get(reference.name)
        if digest and reference.digest not in ("", digest):
            line, _ = found.images.position([name])
            message = f"{name} has another digest here than in {image_lock.LOCK}:{line}, {digest}"
            fix = "remove it here; if the tag has moved, look why: nox -s images -- --refresh"
            part = reference.digest
            yield _told(root, found, manifest, "other-digest", path, message, fix, part)
        elif not digest and (other := _of_digest(locked, reference)):
            message = f"{name} has the digest of {other}: that is what runs, whatever the tag says"
            fix = f"write the tag {image_lock.parse(other).tag}, or remove the digest"
            part = reference.digest
            yield _told(root, found, manifest, "other-digest", path, message, fix, part)
        elif found.is_production and reference.is_latest and not (digest or reference.digest):
            message = f"{image} is another image with every release"
            fix = "write a version as its tag: what runs must be what was reviewed"
            part = reference.tag
            yield _told(root, found, manifest, "floating-image", path, message, fix, part)


def _of_digest(locked: Mapping[str, str], reference: image_lock.Reference) -> str:
    """Return the image of the lock that an image's digest is of, if it is of one."""
    return next((name for name, one in locked.items() if one == reference.digest), "")


def _twice(root: Path, found: Environment, manifests: Sequence[Manifest]) -> Iterable[Finding]:
    """Yield what would make two objects, or their files, one."""
    seen: dict[Identity, Manifest] = {}
    files: dict[str, Manifest] = {}
    name = ["metadata", "name"]
    for manifest in manifests:
        first = seen.setdefault(manifest.identity, manifest)
        if first is not manifest:
            # Where a patch gave one of them its name, that is the one to change.
            one, other = (first, manifest) if first.patches else (manifest, first)
            message = f"{other.template} makes the same object"
            fix = "give one of the two another name"
            yield _told(root, found, one, "duplicate-object", name, message, fix)
        elif files.setdefault(manifest.file_name, manifest) is not manifest:
            label = files[manifest.file_name].label
            message = f"its file would be called as that of {label}: {manifest.file_name}"
            fix = "give one of the two another name"
            yield _told(root, found, manifest, "duplicate-file", name, message, fix)


def _names(root: Path, found: Environment, manifest: Manifest) -> Iterable[Finding]:
    """Yield names and settings of Argo CD that a cluster refuses in any kind of object."""

    def told(rule: str, path: Sequence[str], message: str, fix: str) -> Finding:
        return _told(root, found, manifest, rule, path, message, fix)

    name, path = manifest.name, ["metadata", "name"]
    if manifest.kind == "Service" and not _SERVICE_NAME.fullmatch(name):
        fix = "write a letter, then lower-case letters, digits and -, at most 63"
        yield told("object-name", path, f"{name!r} is no name of a Service", fix)
    elif len(name) > _MOST_IN_A_NAME or not _NAME.fullmatch(name):
        fix = "write lower-case letters, digits, - and . only, at most 253"
        yield told("object-name", path, f"{name!r} is no name that Kubernetes takes", fix)
    elif len(manifest.file_name.encode()) > _MOST_IN_A_FILE_NAME:
        message = f"no file can be called as its would have to be: {manifest.file_name[:32]}…"
        yield told("object-name", path, message, "write a shorter name")
    if not re.fullmatch(_LABEL, manifest.namespace):
        message = f"{manifest.namespace!r} is no name of a namespace"
        fix = "write lower-case letters, digits and -, at most 63"
        yield told("object-name", ["metadata", "namespace"], message, fix)
    elif _OF_OTHERS.fullmatch(manifest.namespace):
        # As for rights: the project would allow whatever namespace an object has.
        message = f"the namespace {manifest.namespace} is Kubernetes' or Argo CD's own"
        fix = f"write another, or nothing, which is {found.namespace}"
        yield told("object-of-cluster", ["metadata", "namespace"], message, fix)
    wave = manifest.metadata["annotations"][WAVE]
    if not re.fullmatch(r"[-+]?[0-9]{1,9}", str(wave)):
        message, fix = f"the sync wave {wave!r} is no whole number", "write one, in quotes"
        yield told("sync-wave", ["metadata", "annotations", WAVE], message, fix)


def _secrets(root: Path, found: Environment, manifest: Manifest) -> Iterable[Finding]:
    """Yield a Secret with its contents: what render writes is committed, for all to read."""
    for field in ("data", "stringData"):
        if manifest.kind == "Secret" and manifest.object.get(field):
            path = [field, min(manifest.object[field])]
            message = "the rendered Secret would put its contents into git"
            fix = (
                "take the contents out of git: make the Secret on the cluster, and write "
                "secrets.provider: existing; if they were ever pushed, replace them"
            )
            yield _told(root, found, manifest, "secret-in-git", path, message, fix)


def _told(
    root: Path,
    found: Environment,
    manifest: Manifest,
    rule: str,
    path: Sequence[str | int],
    message: str,
    fix: str,
    part: str = "",
) -> Finding:
    """Return a finding on an object, at the input that decides the field (or its part)."""
    from scripts.rendering import provenance

    file, line, column = provenance.of_field(root, found, manifest, path, part)
    return Finding(file, line, column, rule, message, fix, manifest.label, found.name)
