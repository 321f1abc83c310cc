"""References by name from objects to other objects, and the objects that exist."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scripts.core import paths
from scripts.kubernetes import containers, volumes
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.volumes import Keys
from scripts.kubernetes.workloads import Workload, mappings
from scripts.rules.snapshot import Objects

_ALWAYS: dict[tuple[str, str], Keys] = {
    ("ConfigMap", "kube-root-ca.crt"): frozenset({"ca.crt"}),
    ("ServiceAccount", "default"): None,
    ("PriorityClass", "system-cluster-critical"): None,
    ("PriorityClass", "system-node-critical"): None,
}
"""Objects that Kubernetes creates in every cluster, with their keys."""

ROLE = "eks.amazonaws.com/role-arn"
"""The annotation of a ServiceAccount with the ARN of its IAM role."""
_RESTORES = "aws.restoreRoleArn"
_ROLE_KEYS = {
    "backup": "aws.backupRoleArn",
    "secretstore": "secrets.external.aws.roleArn",
    **dict.fromkeys(("besu", "maru", "sequencer"), _RESTORES),
}
"""Component → the value of the chart with the ARN of its IAM role (docs/eks.md, Roles)."""
_CLASS = "kubernetes.io/ingress.class"
_ISSUERS = ("cert-manager.io/issuer", "cert-manager.io/cluster-issuer")


@dataclass(frozen=True, slots=True)
class Mention:
    """A field where an object names another."""

    manifest: Manifest
    path: Where
    """The path of the name; if the name is missing, the path where it belongs."""
    name: str
    keys: tuple[tuple[Where, str], ...] = ()
    """The keys that it uses, each with its path."""
    optional: bool = False
    """Whether the other object may be missing."""


def role_key(manifest: Manifest) -> str:
    """Return the value of the chart, or the annotation, with the ARN of an object's IAM role."""
    return _ROLE_KEYS.get(manifest.component, ROLE)


def new_role(manifest: Manifest, user: str) -> str:
    """Return the fix to create an IAM role for a user, and to write its ARN for an object."""
    key = _ROLE_KEYS.get(manifest.component)
    rights = "docs/eks.md (Roles) lists" if key else "it needs"
    return (
        f"create an IAM role for {user} with only the rights that {rights}, and write its ARN in"
        f" {f'{key} in the values.yaml of the environment' if key else f'the annotation {ROLE}'}"
    )


def other_role(manifest: Manifest) -> str:
    """Return the fix to give an object another IAM role; chain nodes need one only for restores."""
    if _ROLE_KEYS.get(manifest.component) != _RESTORES:
        return new_role(manifest, manifest.label)
    return (
        f"remove the annotation {ROLE}; if the pods restore a backup, write the ARN of a role for"
        f" restores (docs/eks.md, Roles) in {_RESTORES} instead"
    )


def there(objects: Objects) -> dict[tuple[str, str], Keys]:
    """Return (kind, name) → keys of all objects that exist or that controllers create."""
    existing = dict(_ALWAYS)
    for kind, names in objects.given.objects.items():
        for name, keys in names.items():
            existing[kind, name] = frozenset(keys) or None
    for manifest in objects.manifests:
        existing[manifest.kind, manifest.name] = volumes.keys(manifest)
    for manifest in objects.of_kind("ExternalSecret", "SealedSecret", "Certificate"):
        existing.update(_created_secret(manifest))
    for workload in objects.workloads:
        existing.update(dict.fromkeys(_claims(workload)))
    return existing


def _created_secret(manifest: Manifest) -> Iterator[tuple[tuple[str, str], Keys]]:
    """Yield the Secret that a controller creates from an object, with its keys."""
    spec = manifest.object.get("spec")
    spec = spec if isinstance(spec, dict) else {}
    target = _mapping(spec, "target")
    if manifest.kind == "Certificate":
        keys: Keys = frozenset({"tls.crt", "tls.key", "ca.crt"})
        yield ("Secret", str(spec.get("secretName"))), keys
    elif manifest.kind == "SealedSecret":
        name = paths.get(spec, ["template", "metadata", "name"]) or manifest.name
        yield ("Secret", str(name)), frozenset(_mapping(spec, "encryptedData")) or None
    elif target.get("creationPolicy") in (None, "Owner", "Orphan"):
        name = target.get("name") or manifest.name
        yield ("Secret", str(name)), _external_keys(spec, _mapping(target, "template"))


def _external_keys(spec: Mapping[str, Any], template: Mapping[str, Any]) -> Keys:
    """Return the keys of an ExternalSecret's Secret; those of a template replace its own."""
    if spec.get("dataFrom") or template.get("templateFrom"):
        return None
    own = frozenset(str(item.get("secretKey")) for _, item in mappings(spec.get("data")))
    templated = frozenset(_mapping(template, "data"))
    return own | templated if not templated or template.get("mergePolicy") == "Merge" else templated


def _claims(workload: Workload) -> Iterator[tuple[str, str]]:
    """Yield the claims that a StatefulSet creates from its templates and keeps."""
    for _, name, _ in workload.claim_templates():
        for ordinal in workload.ordinals(least=True):
            yield "PersistentVolumeClaim", f"{name}-{workload.manifest.name}-{ordinal}"


def by_kind(objects: Objects) -> dict[str, list[Mention]]:
    """Return kind → the fields where objects name an object of that kind."""
    mentions: dict[str, list[Mention]] = {}
    for workload in objects.makers:
        for kind, mention in _of_pods(workload):
            mentions.setdefault(kind, []).append(mention)
    for manifest in objects.manifests:
        for kind, mention in _OF_OBJECTS.get(manifest.kind, _none)(manifest):
            mentions.setdefault(kind, []).append(mention)
    return mentions


Mentions = Iterator[tuple[str, Mention]]
"""Kinds, each with a field that names an object of the kind."""


def _none(_: Manifest) -> Mentions:
    yield from ()


def _of_field(
    manifest: Manifest, kind: str, holder: Any, base: Where, field: str, **more: Any
) -> Mentions:
    """Yield the mention in a field of a mapping, if the field has a name."""
    name = holder.get(field) if isinstance(holder, dict) else None
    if isinstance(name, str) and name:
        yield kind, Mention(manifest, (*base, field), name, **more)


def _of_pods(workload: Workload) -> Mentions:
    manifest, path, spec = workload.manifest, workload.pod_path, workload.pod_spec
    yield from _of_field(manifest, "ServiceAccount", spec, path, "serviceAccountName")
    yield from _of_field(manifest, "PriorityClass", spec, path, "priorityClassName")
    yield from _pull_secrets(manifest, spec, path)
    for place, volume in workload.volumes():
        yield from _of_volume(manifest, volume, place)
    for container in containers.of(workload):
        yield from _of_container(container)
    for place, _, template in workload.claim_templates():
        yield from _of_claim(manifest, template, place)


def _pull_secrets(manifest: Manifest, holder: Mapping[str, Any], path: Where) -> Mentions:
    for index, item in mappings(holder.get("imagePullSecrets")):
        place = (*path, "imagePullSecrets", index)
        yield from _of_field(manifest, "Secret", item, place, "name")


def _of_volume(manifest: Manifest, volume: Mapping[str, Any], path: Where) -> Mentions:
    for source in volumes.sources(volume):
        if source.name:
            items = source.items or ()
            keys = tuple(((*path, *place, "key"), key) for place, key, _ in items if key)
            where = (*path, *source.name_path)
            yield source.kind, Mention(manifest, where, source.name, keys, source.is_optional)
    claim = volume.get("persistentVolumeClaim")
    where = (*path, "persistentVolumeClaim")
    yield from _of_field(manifest, "PersistentVolumeClaim", claim, where, "claimName")
    template = paths.get(volume, ["ephemeral", "volumeClaimTemplate"])
    if isinstance(template, dict):
        yield from _of_claim(manifest, template, (*path, "ephemeral", "volumeClaimTemplate"))


def _of_container(container: Container) -> Mentions:
    manifest = container.workload.manifest
    for source in container.env_sources():
        keys = (((*source.path, "key"), source.key),) if source.key else ()
        more = {"keys": keys, "optional": source.is_optional}
        yield from _of_field(manifest, source.kind, source.data, source.path, "name", **more)


def _of_claim(manifest: Manifest, claim: Mapping[str, Any], path: Where) -> Mentions:
    spec, place = _mapping(claim, "spec"), (*path, "spec")
    if "volumeName" not in spec or "storageClassName" in spec:
        name = spec.get("storageClassName")
        if name != "":  # without a class: a statically provisioned volume
            field = (*place, "storageClassName")
            yield "StorageClass", Mention(manifest, field, str(name or ""))
    for origin in ("dataSource", "dataSourceRef"):
        source = _mapping(spec, origin)
        if source.get("kind") == "PersistentVolumeClaim":
            yield from _of_field(
                manifest, "PersistentVolumeClaim", source, (*place, origin), "name"
            )


def _of_volume_claim(manifest: Manifest) -> Mentions:
    yield from _of_claim(manifest, manifest.object, ())


def _of_account(manifest: Manifest) -> Mentions:
    yield from _pull_secrets(manifest, manifest.object, ())


def _of_ingress(manifest: Manifest) -> Mentions:
    path: Where = ("spec", "ingressClassName")
    annotations = _mapping(manifest.metadata, "annotations")
    name = paths.get(manifest.object, path)
    if not name and _CLASS in annotations:
        path, name = ("metadata", "annotations", _CLASS), annotations[_CLASS]
    yield "IngressClass", Mention(manifest, path, str(name or ""))
    if any(issuer in annotations for issuer in _ISSUERS):
        return
    for index, tls in mappings(paths.get(manifest.object, ["spec", "tls"])):
        place: Where = ("spec", "tls", index)
        keys = tuple(((*place, "secretName"), key) for key in ("tls.crt", "tls.key"))
        yield from _of_field(manifest, "Secret", tls, place, "secretName", keys=keys)


def _of_external_secret(manifest: Manifest) -> Mentions:
    spec = _mapping(manifest.object, "spec")
    places: list[Where] = [("secretStoreRef",)]
    places += [("data", i, "sourceRef", "storeRef") for i, _ in mappings(spec.get("data"))]
    places += [("dataFrom", i, "sourceRef", "storeRef") for i, _ in mappings(spec.get("dataFrom"))]
    for place in places:
        source = paths.get(spec, place)
        kind = source.get("kind", "SecretStore") if isinstance(source, dict) else ""
        yield from _of_field(manifest, str(kind), source, ("spec", *place), "name")


def _of_secret_store(manifest: Manifest) -> Mentions:
    """Yield the ServiceAccounts and Secrets that a store uses, whatever its provider."""
    left: list[tuple[Where, Any]] = [(("spec",), manifest.object.get("spec"))]
    while left:
        path, part = left.pop()
        if isinstance(part, dict):
            left += [((*path, key), value) for key, value in part.items()]
            if path[-1] == "serviceAccountRef":
                yield from _of_field(manifest, "ServiceAccount", part, path, "name")
            elif str(path[-1]).endswith("SecretRef") and "key" in part:
                keys = (((*path, "key"), str(part["key"])),)
                yield from _of_field(manifest, "Secret", part, path, "name", keys=keys)
        elif isinstance(part, list):
            left += [((*path, index), value) for index, value in enumerate(part)]


_OF_OBJECTS = {
    "ExternalSecret": _of_external_secret,
    "Ingress": _of_ingress,
    "PersistentVolumeClaim": _of_volume_claim,
    "SecretStore": _of_secret_store,
    "ServiceAccount": _of_account,
}


def _mapping(holder: Mapping[str, Any], field: str) -> dict[str, Any]:
    """Return the mapping in a field; empty if the field is not a mapping."""
    value = holder.get(field)
    return value if isinstance(value, dict) else {}
