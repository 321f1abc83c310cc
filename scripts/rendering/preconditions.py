"""Find objects that can't be written, committed or applied, before anything is written.

These checks need only this repository; `validate` checks against the schemas of Kubernetes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from scripts.core import advice, paths
from scripts.core.findings import Finding, UserError
from scripts.environments import image_lock
from scripts.environments.environment import Environment, coalesce
from scripts.kubernetes.manifest import Identity, Manifest
from scripts.kubernetes.sync import WAVE

_KIND = re.compile(r"[A-Za-z]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?")
"""A kind, which becomes part of a file's name."""

_TYPES: dict[tuple[str, ...], type] = {
    ("apiVersion",): str,
    ("kind",): str,
    ("metadata",): dict,
    ("metadata", "name"): str,
    ("metadata", "namespace"): str,
    ("metadata", "annotations"): dict,
    ("metadata", "labels"): dict,
    ("spec",): dict,
    ("data",): dict,
    ("stringData",): dict,
}
_TYPES_OF_AUTOSCALERS = _TYPES | {
    ("spec", "scaleTargetRef"): dict,
    ("spec", "scaleTargetRef", "apiVersion"): str,
    ("spec", "scaleTargetRef", "kind"): str,
    ("spec", "scaleTargetRef", "name"): str,
}
"""Field → its type, of all fields that the steps after this one read."""

_EXAMPLES = {
    ("apiVersion",): "apiVersion: apps/v1",
    ("kind",): "kind: StatefulSet",
    ("metadata",): "metadata: {name: linea-stack-besu}",
    ("metadata", "name"): "name: linea-stack-besu",
    ("metadata", "annotations"): "annotations: {team: chain}",
    ("metadata", "labels"): "labels: {team: chain}",
    ("spec", "scaleTargetRef"): "{apiVersion: apps/v1, kind: StatefulSet, name: linea-stack-besu}",
}

_REQUIRED = {("apiVersion",), ("kind",), *(_TYPES_OF_AUTOSCALERS.keys() - _TYPES.keys())}
_MAY_BE_NULL = {("metadata", "annotations"), ("metadata", "labels"), ("data",), ("stringData",)}

_CLUSTER_SCOPED = {
    "APIService",
    "CSIDriver",
    "CSINode",
    "CertificateSigningRequest",
    "ClusterExternalSecret",
    "ClusterGenerator",
    "ClusterPushSecret",
    "ClusterRole",
    "ClusterRoleBinding",
    "ClusterSecretStore",
    "ClusterTrustBundle",
    "CustomResourceDefinition",
    "DeviceClass",
    "FlowSchema",
    "IPAddress",
    "IngressClass",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PriorityClass",
    "PriorityLevelConfiguration",
    "ResourceSlice",
    "RuntimeClass",
    "ServiceCIDR",
    "StorageClass",
    "StorageVersionMigration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
    "VolumeAttachment",
    "VolumeAttributesClass",
    "VolumeGroupSnapshotClass",
    "VolumeGroupSnapshotContent",
    "VolumeSnapshotClass",
    "VolumeSnapshotContent",
}
"""Kinds of objects outside of namespaces, which an environment's project does not permit: those of
Kubernetes and of the pinned operators."""

_SYSTEM_NAMESPACES = re.compile("argocd|default|kube-.*")
"""Namespaces that no environment may have, as in environment.schema.json."""
_RBAC = "rbac.authorization.k8s.io"

_LABEL = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
"""DNS subdomain, RFC 1123: the form of most objects' names."""
_SERVICE_NAME = re.compile("[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
"""DNS label, RFC 1035."""
_DIGEST = len("sha256:") + 12
"""Characters of a digest in messages."""
_MOST_IN_A_NAME = 253
_MOST_IN_A_FILE_NAME = 255
"""Bytes, on the usual file systems."""


def shapes(
    root: Path,
    environment: Environment,
    manifests: Sequence[Manifest],
    templated: Sequence[Manifest] = (),
) -> None:
    """Raise UserError for fields with a type that no Kubernetes object has there.

    templated: the same objects, in the same order, before their patches.
    """
    pairs = zip(templated or manifests, manifests, strict=True)
    _raise(f for before, manifest in pairs for f in _shape(root, environment, before, manifest))


def digests(root: Path, environment: Environment, manifests: Sequence[Manifest]) -> None:
    """Raise UserError for images that are not the reviewed ones."""
    _raise(f for manifest in manifests for f in _images(root, environment, manifest))


def together(root: Path, environment: Environment, manifests: Sequence[Manifest]) -> None:
    """Raise UserError for duplicates, invalid names, and contents that must not be in git."""
    _raise(
        (
            *_duplicates(root, environment, manifests),
            *(f for manifest in manifests for f in _names(root, environment, manifest)),
            *(f for manifest in manifests for f in _secrets(root, environment, manifest)),
        )
    )


def zones(environment: Environment) -> None:
    """Raise UserError if production's validators need more zones than the environment has."""
    values = coalesce(environment.layers[0].data or {}, environment.values)
    count = len(values.get("zones") or ())
    hard = [
        int(paths.get(values, (part, "replicas")) or 0)
        for part in ("sequencer", "maru")
        if paths.get(values, (part, "antiAffinity")) == "hard"
        and not paths.get(values, (part, "affinity"))
    ]
    most = max(hard, default=0)
    if not environment.is_production or not count or most <= count:
        return
    document, path = environment.locate(["zones"])
    message = (
        f"antiAffinity is hard, so {most} validators need {most} zones, but zones lists {count}: "
        "some pods would stay Pending"
    )
    fix = f"write {most} zones in zones"
    if count >= _FEWEST_ZONES:
        fix = (
            f"if the cluster has {most} zones, write all of them in zones; otherwise add to "
            f"profiles in overlays/{environment.name}/environment.yaml the profile three-zones, "
            "which has six validators, two in each zone"
        )
    finding = document.finding("too-few-zones", path, message, fix, environment=environment.name)
    raise UserError(finding)


def volumes(environment: Environment) -> None:
    """Raise UserError if production's chain would be gone with its pods."""
    if not environment.is_production:
        return
    values = coalesce(environment.layers[0].data or {}, environment.values)
    findings = list[Finding]()
    for part in ("sequencer", "maru", "besu"):
        path: list[str | int] = [part, "persistence", "enabled"]
        if paths.get(values, (part, "enabled")) and paths.get(values, path) is False:
            document, inside = environment.locate(path)
            message = (
                f"{part}.persistence.enabled is false in production: each new pod would begin "
                "without data, and a chain whose validators all restart would be lost"
            )
            fix, rule = advice.write("enabled", True), "production-without-volumes"
            more = {"environment": environment.name}
            findings.append(document.finding(rule, inside, message, fix, **more))
    _raise(findings)


_FEWEST_ZONES = 3
"""With fewer, one zone has half of the validators, which no block can be without."""


def _raise(findings: Iterable[Finding]) -> None:
    if errors := tuple(findings):
        raise UserError(*errors)


def _shape(
    root: Path, environment: Environment, before: Manifest, manifest: Manifest
) -> Iterable[Finding]:
    def finding(rule: str, path: Sequence[str], message: str, fix: str) -> Finding:
        return _finding(root, environment, manifest, rule, path, message, fix)

    is_autoscaler = manifest.kind == "HorizontalPodAutoscaler"
    for path, type_ in (_TYPES_OF_AUTOSCALERS if is_autoscaler else _TYPES).items():
        parent = paths.get(manifest.object, path[:-1])
        if not isinstance(parent, dict):  # the parent has a finding of its own
            continue
        value = parent.get(path[-1])
        absent = path[-1] not in parent or (value is None and path in _MAY_BE_NULL)
        if not isinstance(value, type_) and (path in _REQUIRED or not absent):
            name = ".".join(path)
            message = f"{name} is missing"
            if path[-1] in parent:
                message = f"{name} is {_kind_of(value)}, not {_kind_of(type_())}"
            fix = f"write {name} as {_kind_of(type_())}"
            if path in _EXAMPLES:
                fix += f", for example {_EXAMPLES[path]}"
            own = paths.get(before.object, path)
            if isinstance(own, type_):
                fix = f"remove this operation of the patch, or write {_kind_of(own)} as its value"
            if isinstance(own, type_) and isinstance(own, str):
                fix = f"write {name}: {own}, as the chart does"
            message += ": the API server rejects the object"
            yield finding("invalid-manifest", path, message, fix)
    kind = manifest.object.get("kind")
    if not isinstance(kind, str):
        return
    if not _KIND.fullmatch(kind):
        message, fix = f"{kind!r} is not a valid kind", "write a kind, for example kind: ConfigMap"
        if before.kind != kind:
            fix = f"write kind: {before.kind}, as the chart does"
        yield finding("invalid-manifest", ["kind"], message, fix)
    elif kind.endswith("List") and "items" in manifest.object:
        message = f"the kind {kind} contains other objects, which would not be checked"
        fix = "write each object of the list as a separate document of the template"
        if before.kind != kind:
            fix = f"write kind: {before.kind}, as the chart does"
        yield finding("invalid-manifest", ["kind"], message, fix)
    elif kind in _CLUSTER_SCOPED:
        message = f"{kind} is cluster-scoped: the environment's AppProject does not permit it"
        fix = f"remove the {kind}; let an administrator of the cluster create it"
        yield finding("kind-not-allowed", ["kind"], message, fix)
    elif manifest.group == _RBAC:
        # The project is made from the manifests, so no later step would reject it.
        message = f"{kind} grants access to the Kubernetes API, which no component needs"
        fix = f"remove the {kind}; let an administrator of the cluster create it"
        yield finding("kind-not-allowed", ["kind"], message, fix)


def _kind_of(value: object) -> str:
    """Return the type of a value in words; not the value, which may be a secret."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return "empty" if value is None else "a boolean"
    return "a string" if isinstance(value, str) else "a number"


def _images(root: Path, environment: Environment, manifest: Manifest) -> Iterable[Finding]:
    """Yield findings for digests that differ from the lock, and for latest in production."""
    locked = environment.images.data or {}
    for path, image in image_lock.used(manifest):
        reference = image_lock.parse(image)
        name, digest = reference.name, locked.get(reference.name)
        if digest and reference.digest not in ("", digest):
            line, _ = environment.images.position([name])
            message = (
                f"{name} has the digest {reference.digest[:_DIGEST]}… here, and "
                f"{digest[:_DIGEST]}… in {image_lock.LOCK}:{line}"
            )
            fix = (
                f"remove the digest here, so that the one in {image_lock.LOCK} applies; "
                "nox -s images -- --refresh shows whether the tag has moved"
            )
            part = reference.digest
            yield _finding(root, environment, manifest, "digest-mismatch", path, message, fix, part)
        elif not digest and (other := _of_digest(locked, reference)):
            message = f"{name} has the digest of {other}, so {other} would run"
            fix = f"remove the digest to run {name}; to run {other}, write {other}"
            part = reference.digest
            yield _finding(root, environment, manifest, "digest-mismatch", path, message, fix, part)
        elif environment.is_production and reference.is_latest and not (digest or reference.digest):
            message = f"{image} has no fixed version: the next release would run without a review"
            fix = f"write a version as the tag of {name.removesuffix(':latest')}, not latest"
            part = reference.tag
            yield _finding(root, environment, manifest, "unpinned-image", path, message, fix, part)


def _of_digest(locked: Mapping[str, str], reference: image_lock.Reference) -> str:
    """Return the image in the lock that has the same digest; empty if there is none."""
    return next((name for name, digest in locked.items() if digest == reference.digest), "")


def _duplicates(
    root: Path, environment: Environment, manifests: Sequence[Manifest]
) -> Iterable[Finding]:
    """Yield findings for objects with the same identity, and for equal file names."""
    seen: dict[Identity, Manifest] = {}
    files: dict[str, Manifest] = {}
    name = ["metadata", "name"]
    for manifest in manifests:
        first = seen.setdefault(manifest.identity, manifest)
        if first is not manifest:
            # If a patch gave an object its name, report that object.
            duplicate, other = (first, manifest) if first.patches else (manifest, first)
            message = f"duplicate object: {other.template} also renders {other.label}"
            fix = "write another metadata.name for one of the two objects, or remove one"
            yield _finding(root, environment, duplicate, "duplicate-object", name, message, fix)
        elif files.setdefault(manifest.file_name, manifest) is not manifest:
            label = files[manifest.file_name].label
            message = f"duplicate file name: {manifest.file_name} is also the file of {label}"
            fix = "write another metadata.name for one of the two objects"
            yield _finding(root, environment, manifest, "duplicate-file-name", name, message, fix)


def _names(root: Path, environment: Environment, manifest: Manifest) -> Iterable[Finding]:
    """Yield findings for names, namespaces and sync waves that are invalid in any object."""

    def finding(rule: str, path: Sequence[str], message: str, fix: str) -> Finding:
        return _finding(root, environment, manifest, rule, path, message, fix)

    name, path = manifest.name, ["metadata", "name"]
    if manifest.kind == "Service" and not _SERVICE_NAME.fullmatch(name):
        message = f"{name!r} is not a valid name of a Service"
        fix = (
            "write metadata.name with at most 63 lower-case letters, digits and -, and a letter at "
            "the beginning, for example linea-stack-besu"
        )
        yield finding("invalid-object-name", path, message, fix)
    elif len(name) > _MOST_IN_A_NAME or not _NAME.fullmatch(name):
        message = f"{name!r} is not a valid name of an object"
        fix = (
            "write metadata.name with at most 253 lower-case letters, digits, - and ., for example "
            "linea-stack-besu"
        )
        yield finding("invalid-object-name", path, message, fix)
    elif len(manifest.file_name.encode()) > _MOST_IN_A_FILE_NAME:
        message = (
            f"the name is too long for a file: {manifest.file_name[:32]}… has more than "
            f"{_MOST_IN_A_FILE_NAME} bytes"
        )
        fix = f"write a metadata.name with at most {_MOST_IN_A_FILE_NAME - len(manifest.kind) - 6}"
        yield finding("invalid-object-name", path, message, f"{fix} characters")
    if not re.fullmatch(_LABEL, manifest.namespace):
        message = f"{manifest.namespace!r} is not a valid name of a namespace"
        fix = f"remove metadata.namespace, so that the object is in {environment.namespace}"
        yield finding("invalid-object-name", ["metadata", "namespace"], message, fix)
    elif _is_own(manifest) and manifest.namespace != environment.namespace:
        # Without a patch, environment.load reports it.
        message = (
            f"{manifest.label} is in the namespace {manifest.namespace}, not in "
            f"{environment.namespace}: an environment has objects in its own namespace only"
        )
        fix = "remove this operation of the patch"
        yield finding("namespace-not-allowed", ["metadata", "namespace"], message, fix)
    elif _is_vendored(manifest) and manifest.namespace != environment.namespace:
        # The project is made from the manifests, so no later step would reject it.
        message = (
            f"a dependency of the chart renders {manifest.label} in the namespace "
            f"{manifest.namespace}, which does not belong to {environment.name}"
        )
        fix = f"write a value, or a patch, that makes the namespace {environment.namespace}"
        yield finding("namespace-not-allowed", ["metadata", "namespace"], message, fix)
    elif _SYSTEM_NAMESPACES.fullmatch(manifest.namespace):
        # The project is made from the manifests, so no later step would reject it.
        message = f"the namespace {manifest.namespace} belongs to Kubernetes or Argo CD"
        fix = f"remove metadata.namespace, so that the object is in {environment.namespace}"
        yield finding("namespace-not-allowed", ["metadata", "namespace"], message, fix)
    elif manifest.namespace != environment.namespace and _is_moved(environment, manifest):
        # Another environment's namespace would be permitted to it, too.
        message = (
            f"a patch moves {manifest.label} to the namespace {manifest.namespace}: an environment "
            "has objects in its own namespace only, and where values name another one"
        )
        fix = "remove this operation of the patch"
        yield finding("namespace-not-allowed", ["metadata", "namespace"], message, fix)
    wave = manifest.metadata["annotations"][WAVE]
    if not re.fullmatch(r"[-+]?[0-9]{1,9}", str(wave)):
        message = f"the sync wave {wave!r} is not an integer"
        fix = f'write an integer in quotes, for example {WAVE}: "5"'
        yield finding("invalid-sync-wave", ["metadata", "annotations", WAVE], message, fix)


def _is_own(manifest: Manifest) -> bool:
    """Return whether people wrote the object beside the chart."""
    return not manifest.template.startswith("chart/")


def _is_moved(environment: Environment, manifest: Manifest) -> bool:
    """Return whether a patch may have written the object's namespace."""
    return any(
        operation["path"] in ("", "/metadata", "/metadata/namespace") and operation["op"] != "test"
        for patch in environment.patches
        if (patch.kind, patch.name) == (manifest.kind, manifest.name)
        for operation in patch.operations
    )


def _is_vendored(manifest: Manifest) -> bool:
    """Return whether a chart of others made the object."""
    return manifest.template.startswith("chart/charts/")


def _secrets(root: Path, environment: Environment, manifest: Manifest) -> Iterable[Finding]:
    """Yield a finding for each Secret with contents, which would be committed."""
    for field in ("data", "stringData"):
        if manifest.kind == "Secret" and manifest.object.get(field):
            path = [field, min(manifest.object[field])]
            message = f"the contents of {manifest.label} would be committed to git"
            fix = (
                f"remove {field}, and create the Secret on the cluster from files git ignores; if "
                "its contents were ever pushed to git, replace them"
            )
            yield _finding(root, environment, manifest, "secret-in-git", path, message, fix)


def _finding(
    root: Path,
    environment: Environment,
    manifest: Manifest,
    rule: str,
    path: Sequence[str | int],
    message: str,
    fix: str,
    part: str = "",
) -> Finding:
    """Return a finding on an object, at the input that decides the field (or its part)."""
    from scripts.rendering import provenance

    file, line, column = provenance.of_field(root, environment, manifest, path, part)
    return Finding(file, line, column, rule, message, fix, manifest.label, environment.name)
