"""What objects name by name, and what there is to be named."""

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
"""What Kubernetes makes by itself."""

_CLASS = "kubernetes.io/ingress.class"
_ISSUERS = ("cert-manager.io/issuer", "cert-manager.io/cluster-issuer")


@dataclass(frozen=True, slots=True)
class Mention:
    """A place where an object names another."""

    manifest: Manifest
    path: Where
    """To the name; where it is missing, to where it belongs."""
    name: str
    keys: tuple[tuple[Where, str], ...] = ()
    """Those it takes, with their places."""
    optional: bool = False
    """It may be missing."""


def there(objects: Objects) -> dict[tuple[str, str], Keys]:
    """Return (kind, name) → keys of all that there is to name."""
    found = dict(_ALWAYS)
    for kind, names in objects.given.objects.items():
        for name, keys in names.items():
            found[kind, name] = frozenset(keys) or None
    for manifest in objects.manifests:
        found[manifest.kind, manifest.name] = volumes.keys(manifest)
    for manifest in objects.of_kind("ExternalSecret", "SealedSecret", "Certificate"):
        found.update(_made_secret(manifest))
    for workload in objects.workloads:
        found.update(dict.fromkeys(_claims(workload)))
    return found


def _made_secret(manifest: Manifest) -> Iterator[tuple[tuple[str, str], Keys]]:
    """Yield the Secret that a controller makes of an object."""
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
    """Return the keys of an ExternalSecret's Secret; a template's stand in for its own."""
    if spec.get("dataFrom") or template.get("templateFrom"):
        return None
    own = frozenset(str(item.get("secretKey")) for _, item in mappings(spec.get("data")))
    templated = frozenset(_mapping(template, "data"))
    return own | templated if not templated or template.get("mergePolicy") == "Merge" else templated


def _claims(workload: Workload) -> Iterator[tuple[str, str]]:
    """Yield the claims that a StatefulSet makes of its templates and keeps."""
    for _, name, _ in workload.claim_templates():
        for ordinal in workload.ordinals(least=True):
            yield "PersistentVolumeClaim", f"{name}-{workload.manifest.name}-{ordinal}"


def by_kind(objects: Objects) -> dict[str, list[Mention]]:
    """Return kind → where objects name one of that kind."""
    found: dict[str, list[Mention]] = {}
    for workload in objects.makers:
        for kind, mention in _of_pods(workload):
            found.setdefault(kind, []).append(mention)
    for manifest in objects.manifests:
        for kind, mention in _OF_OBJECTS.get(manifest.kind, _nothing)(manifest):
            found.setdefault(kind, []).append(mention)
    return found


Found = Iterator[tuple[str, Mention]]


def _nothing(_: Manifest) -> Found:
    yield from ()


def _one(manifest: Manifest, kind: str, holder: Any, base: Where, field: str, **more: Any) -> Found:
    """Yield what a field of a mapping names, if it is a name."""
    name = holder.get(field) if isinstance(holder, dict) else None
    if isinstance(name, str) and name:
        yield kind, Mention(manifest, (*base, field), name, **more)


def _of_pods(workload: Workload) -> Found:
    manifest, path, spec = workload.manifest, workload.pod_path, workload.pod_spec
    yield from _one(manifest, "ServiceAccount", spec, path, "serviceAccountName")
    yield from _one(manifest, "PriorityClass", spec, path, "priorityClassName")
    yield from _pull_secrets(manifest, spec, path)
    for place, volume in workload.volumes():
        yield from _of_volume(manifest, volume, place)
    for container in containers.of(workload):
        yield from _of_container(container)
    for place, _, template in workload.claim_templates():
        yield from _of_claim(manifest, template, place)


def _pull_secrets(manifest: Manifest, holder: Mapping[str, Any], path: Where) -> Found:
    for index, one in mappings(holder.get("imagePullSecrets")):
        yield from _one(manifest, "Secret", one, (*path, "imagePullSecrets", index), "name")


def _of_volume(manifest: Manifest, volume: Mapping[str, Any], path: Where) -> Found:
    for source in volumes.sources(volume):
        if source.name:
            items = source.items or ()
            keys = tuple(((*path, *place, "key"), key) for place, key, _ in items if key)
            where = (*path, *source.name_path)
            yield source.kind, Mention(manifest, where, source.name, keys, source.is_optional)
    claim = volume.get("persistentVolumeClaim")
    where = (*path, "persistentVolumeClaim")
    yield from _one(manifest, "PersistentVolumeClaim", claim, where, "claimName")
    template = paths.get(volume, ["ephemeral", "volumeClaimTemplate"])
    if isinstance(template, dict):
        yield from _of_claim(manifest, template, (*path, "ephemeral", "volumeClaimTemplate"))


def _of_container(container: Container) -> Found:
    manifest = container.workload.manifest
    for source in container.env_sources():
        keys = (((*source.path, "key"), source.key),) if source.key else ()
        more = {"keys": keys, "optional": source.is_optional}
        yield from _one(manifest, source.kind, source.data, source.path, "name", **more)


def _of_claim(manifest: Manifest, claim: Mapping[str, Any], path: Where) -> Found:
    spec, place = _mapping(claim, "spec"), (*path, "spec")
    if "volumeName" not in spec or "storageClassName" in spec:
        name = spec.get("storageClassName")
        if name != "":  # no class at all: a volume made by hand
            field = (*place, "storageClassName")
            yield "StorageClass", Mention(manifest, field, str(name or ""))
    for origin in ("dataSource", "dataSourceRef"):
        source = _mapping(spec, origin)
        if source.get("kind") == "PersistentVolumeClaim":
            yield from _one(manifest, "PersistentVolumeClaim", source, (*place, origin), "name")


def _of_volume_claim(manifest: Manifest) -> Found:
    yield from _of_claim(manifest, manifest.object, ())


def _of_account(manifest: Manifest) -> Found:
    yield from _pull_secrets(manifest, manifest.object, ())


def _of_ingress(manifest: Manifest) -> Found:
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
        yield from _one(manifest, "Secret", tls, place, "secretName", keys=keys)


def _of_external_secret(manifest: Manifest) -> Found:
    spec = _mapping(manifest.object, "spec")
    places: list[Where] = [("secretStoreRef",)]
    places += [("data", i, "sourceRef", "storeRef") for i, _ in mappings(spec.get("data"))]
    places += [("dataFrom", i, "sourceRef", "storeRef") for i, _ in mappings(spec.get("dataFrom"))]
    for place in places:
        source = paths.get(spec, place)
        kind = source.get("kind", "SecretStore") if isinstance(source, dict) else ""
        yield from _one(manifest, str(kind), source, ("spec", *place), "name")


def _of_secret_store(manifest: Manifest) -> Found:
    """Yield the service accounts and Secrets by which a store is read, whatever its provider."""
    left: list[tuple[Where, Any]] = [(("spec",), manifest.object.get("spec"))]
    while left:
        path, part = left.pop()
        if isinstance(part, dict):
            left += [((*path, key), value) for key, value in part.items()]
            if path[-1] == "serviceAccountRef":
                yield from _one(manifest, "ServiceAccount", part, path, "name")
            elif str(path[-1]).endswith("SecretRef") and "key" in part:
                keys = (((*path, "key"), str(part["key"])),)
                yield from _one(manifest, "Secret", part, path, "name", keys=keys)
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
    """Return a field that is a mapping, empty where it is none."""
    found = holder.get(field)
    return found if isinstance(found, dict) else {}
