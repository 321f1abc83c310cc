"""Immutable fields: the API server rejects changes to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from scripts.core import advice, paths
from scripts.kubernetes import quantity
from scripts.kubernetes.manifest import Manifest, Where
from scripts.rules.changes.compared import HOW, NOTHING, changed_in_place, templates, text_of
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, spec_of

_VALIDATION = "https://github.com/kubernetes/kubernetes/blob/v1.34.4/pkg/apis"
_GROW = "docs/runbooks/LineaVolumeAlmostFull.md"
_REJECTED = "the API server rejects the change, so no sync begins"
_SELECTING = ("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet")
_MAY_CHANGE = {
    "minReadySeconds",
    "ordinals",
    "persistentVolumeClaimRetentionPolicy",
    "replicas",
    "revisionHistoryLimit",
    "template",
    "updateStrategy",
}
"""The mutable fields of a StatefulSet's spec; the same from Kubernetes 1.27 to 1.37."""
_IN_OTHER_RULES = {"selector", "volumeClaimTemplates"}
_OF_JOBS = (
    "backoffLimitPerIndex",
    "completionMode",
    "managedBy",
    "podFailurePolicy",
    "selector",
    "successPolicy",
    "template",
)
_DEFAULTS = {
    "completionMode": "NonIndexed",
    "podManagementPolicy": "OrderedReady",
    "serviceName": "",
    "type": "Opaque",
    "volumeMode": "Filesystem",
}
_SIZE = ("resources", "requests", "storage")
_RECREATE = f"to change it, recreate the StatefulSet without deleting its pods: {HOW}"
_MOST_SHOWN = 120
"""Characters of the values in a message."""


@rule(f"{_VALIDATION}/apps/validation/validation.go#L709", outcome=Outcome.REJECTED)
def selector_changed(objects: Objects) -> Iterator[Problem]:
    """A workload keeps its selector.

    The API server rejects the change, so no sync begins. If the workload is recreated with another
    selector, it does not adopt the existing pods.
    """
    for old, new in changed_in_place(objects, *_SELECTING):
        path = _difference(old.object, new.object, ("spec", "selector"))
        if new.group == "apps" and path:
            was, now = _shown(old, path), _shown(new, path)
            field = str(path[-1])
            where = "the selector" if field == "selector" else f"{field} in the selector"
            message = f"{where} of {new.label} changes from {was} to {now}: {_REJECTED}"
            fix = f"{_keep(field, was)}; add new labels only to spec.template.metadata.labels"
            yield Problem(new, path, message, fix)


@rule(f"{_VALIDATION}/apps/validation/validation.go#L238", outcome=Outcome.REJECTED)
def immutable_statefulset_field_changed(objects: Objects) -> Iterator[Problem]:
    """A StatefulSet's immutable fields do not change.

    The API server rejects the change, so no sync begins, not even for other objects. To change such
    a field, recreate the StatefulSet without its pods.
    """
    for old, new in changed_in_place(objects, "StatefulSet"):
        for field in _fields(old, new):
            path = ("spec", field)
            if field in _MAY_CHANGE | _IN_OTHER_RULES or _same(old, new, path):
                continue
            was, now = _shown(old, path), _shown(new, path)
            message = f"{field} of {new.label} changes from {was} to {now}: {_REJECTED}"
            yield Problem(new, path, message, f"{_keep(field, was)}; {_RECREATE}")


@rule(f"{_VALIDATION}/apps/validation/validation.go#L238", outcome=Outcome.REJECTED)
def volume_claim_template_changed(objects: Objects) -> Iterator[Problem]:
    """A StatefulSet's volumeClaimTemplates do not change.

    The API server rejects each change, also to a larger size, so no sync begins. Existing volumes
    would not change either.
    """
    for old, new in changed_in_place(objects, "StatefulSet"):
        before, after = templates(old), templates(new)
        if before.keys() != after.keys():
            was, now = (text_of(", ".join(sorted(names)) or None) for names in (before, after))
            message = f"the names in volumeClaimTemplates of {new.label} change from {was} to"
            message += f" {now}: {_REJECTED}"
            added = [after[name][0] for name in after if name not in before]
            path = added[0] if added else ("spec", "volumeClaimTemplates")
            kept = "remove them" if was == NOTHING else f"keep only the volumeClaimTemplate {was}"
            yield Problem(new, path, message, f"{kept}; {_RECREATE}")
        for name in sorted(before.keys() & after.keys()):
            yield from _other_template(new, before[name][1], after[name])


def _other_template(new: Manifest, was: Any, after: tuple[Where, Any]) -> Iterator[Problem]:
    """Yield the fields that change in a volumeClaimTemplate, except a smaller size."""
    path, now = after
    name = paths.get(now, ("metadata", "name"))
    for inner in _claim_fields(was, now):
        if inner == _SIZE:
            if not _grows(paths.get(was, ("spec", *_SIZE)), paths.get(now, ("spec", *_SIZE))):
                continue
            larger = paths.get(now, ("spec", *_SIZE))
            message = f"the volumeClaimTemplate {name} of {new.label} grows from"
            message += f" {paths.get(was, ('spec', *_SIZE))} to {larger}: the API server rejects"
            message += " the change, so no sync begins, and no volume grows"
            fix = f"first enlarge the existing claims, {name}-{new.name}-0 and so on, then recreate"
            fix += f" the StatefulSet without deleting its pods: see {_GROW}"
            yield Problem(new, (*path, "spec", *_SIZE), message, fix)
            continue
        before, changed = (text_of(paths.get(template, inner)) for template in (was, now))
        message = f"{_dotted(inner)} of the volumeClaimTemplate {name} of {new.label}"
        message += f" changes from {before} to {changed}: {_REJECTED}, and existing volumes would"
        message += " not change either"
        replace = _RECREATE if inner[0] == "metadata" else f"to replace the volumes, {HOW}"
        field = _dotted(inner) if inner[0] == "metadata" else str(inner[-1])
        fix = f"{_keep(field, before)}; {replace}"
        yield Problem(new, (*path, *inner), message, fix)


@rule(
    "https://kubernetes.io/docs/concepts/storage/persistent-volumes/#expanding-persistent-volumes-claims",
    outcome=Outcome.REJECTED,
)
def volume_shrunk(objects: Objects) -> Iterator[Problem]:
    """A volume's size never decreases.

    Volumes can't shrink: the API server rejects the change. A StatefulSet would create smaller
    volumes only for new pods.
    """
    for old, new in changed_in_place(objects, "PersistentVolumeClaim", "StatefulSet"):
        before, after = _claims(old), _claims(new)
        for name in before.keys() & after.keys():
            (_, was), (path, now) = before[name], after[name]
            large, small = paths.get(was, _SIZE), paths.get(now, _SIZE)
            if _grows(small, large):
                message = f"the storage of {new.label} decreases from {large} to {small}: a volume"
                message += " can't shrink, so the API server rejects the change"
                less = "create a smaller claim with another name, and copy the data"
                less = less if new.kind == "PersistentVolumeClaim" else HOW
                fix = f"keep {large}; for smaller volumes, {less}"
                yield Problem(new, (*path, *_SIZE), message, fix)


@rule(f"{_VALIDATION}/core/validation/validation.go#L2464", outcome=Outcome.REJECTED)
def immutable_claim_field_changed(objects: Objects) -> Iterator[Problem]:
    """A PersistentVolumeClaim changes only its size, and that only grows.

    The API server rejects other changes, such as another storage class, so no sync begins.
    """
    for old, new in changed_in_place(objects, "PersistentVolumeClaim"):
        for field in _fields(old, new):
            was, now = (paths.get(m.object, ("spec", field)) for m in (old, new))
            if field == "resources":
                was, now = (
                    {**r, "requests": None} if isinstance(r, dict) else r for r in (was, now)
                )
            # The cluster sets the volume, and the class if the claim has none.
            set_by_cluster = field in ("storageClassName", "volumeName") and was is None
            path = ("spec", field)
            free = field == "volumeAttributesClassName" or set_by_cluster
            if free or _default(was, field) == _default(now, field):
                continue
            message = f"{path[-1]} of {new.label} changes from {_shown(old, path)} to"
            message += f" {_shown(new, path)}: {_REJECTED}"
            fix = f"{_keep(field, _shown(old, path))}; to change it, create a claim with another"
            fix += " name and copy the data"
            yield Problem(new, path, message, fix)


@rule(f"{_VALIDATION}/batch/validation/validation.go#L623", outcome=Outcome.REJECTED)
def job_template_changed(objects: Objects) -> Iterator[Problem]:
    """A Job keeps its pod template.

    The API server rejects another one, even if the Job has ended, so no sync begins.
    """
    for old, new in changed_in_place(objects, "Job"):
        fields = list(_OF_JOBS)
        indexed = paths.get(new.object, ("spec", "completionMode")) == "Indexed"
        parallel = ("spec", "parallelism")
        counts = [paths.get(new.object, path) for path in (("spec", "completions"), parallel)]
        if not indexed or counts[0] != counts[1]:
            fields.append("completions")
        for field in fields:
            path = _difference(old.object, new.object, ("spec", field))
            if path and not _same(old, new, ("spec", field)):
                was, now = _shown(old, path), _shown(new, path)
                change = f" from {was} to {now}" if len(was + now) <= _MOST_SHOWN else ""
                message = f"{_dotted(path)} of {new.label} changes{change}: {_REJECTED}"
                fix = "give the new Job another name; if it must keep its name, add the annotation"
                fix += " argocd.argoproj.io/sync-options: Force=true,Replace=true, by which Argo CD"
                fix += " deletes the old Job first"
                yield Problem(new, path, message, fix)
                break


@rule(f"{_VALIDATION}/core/validation/validation.go#L8784", outcome=Outcome.REJECTED)
def immutable_service_field_changed(objects: Objects) -> Iterator[Problem]:
    """A Service keeps its IP address, its IP family and the class of its load balancer.

    The API server rejects the change, so no sync begins.
    """
    for old, new in changed_in_place(objects, "Service"):
        if "ExternalName" not in [spec_of(old, "type"), spec_of(new, "type")]:
            for path, message in _other_address(old, new):
                yield Problem(new, path, message, _recreate_service(old, new, path))
                break


@rule(f"{_VALIDATION}/core/validation/validation.go#L8784", outcome=Outcome.HIDDEN)
def headless_service_changed(objects: Objects) -> Iterator[Problem]:
    """A headless Service keeps `clusterIP: None` until it is recreated.

    If the field is removed, the Service stays headless, and no error is reported.
    """
    path: Where = ("spec", "clusterIP")
    for old, new in changed_in_place(objects, "Service"):
        is_external = "ExternalName" in [spec_of(old, "type"), spec_of(new, "type")]
        if _address(old) == "None" and _address(new) is None and not is_external:
            message = f"{new.label} no longer has clusterIP: None, but the API server keeps it"
            message += " headless: it gets no IP address"
            yield Problem(new, path, message, _recreate_service(old, new, path))


def _recreate_service(old: Manifest, new: Manifest, path: Where) -> str:
    """Return how to keep a field of a Service, or to recreate the Service."""
    kept, families = _keep(str(path[-1]), _shown(old, path)), paths.get(old.object, path)
    if isinstance(families, list) and families[0] == paths.get(new.object, (*path, 0)):
        both = f"write ipFamilies: {_shown(old, path)}"
        return advice.write("ipFamilyPolicy", "SingleStack") + f"; to keep {families[1]}, {both}"
    command = f"kubectl -n {new.namespace} delete service {new.name}"
    fix = f"{kept}; if you want the change, waive this rule, and after the merge run {command}"
    return f"{fix} (clients can't connect until Argo CD has recreated the Service)"


def _other_address(old: Manifest, new: Manifest) -> Iterator[tuple[Where, str]]:
    """Yield the immutable fields that change in a Service: path and message."""
    was, now = _address(old), _address(new)
    path: Where = ("spec", "clusterIP")
    if was == "None" and now is None:
        return
    if now == "None" and was != now:
        yield path, f"{new.label} becomes headless, but it has an IP address: {_REJECTED}"
    elif was and now and was != now:
        yield path, f"the IP address of {new.label} changes from {was} to {now}: {_REJECTED}"
    families = [spec_of(manifest, "ipFamilies") for manifest in (old, new)]
    if was != "None" and all(isinstance(listed, list) and listed for listed in families):
        before, after = families
        path = ("spec", "ipFamilies")
        if before[0] != after[0]:
            message = f"the first IP family of {new.label} changes from {before[0]} to {after[0]}:"
            yield path, f"{message} {_REJECTED}"
        elif len(before) > len(after) and spec_of(new, "ipFamilyPolicy") != "SingleStack":
            message = f"{new.label} loses the IP family {before[1]}, but its ipFamilyPolicy is not"
            yield path, f"{message} SingleStack: {_REJECTED}"
    path = ("spec", "loadBalancerClass")
    balanced = spec_of(old, "type") == spec_of(new, "type") == "LoadBalancer"
    if balanced and not _same(old, new, path):
        message = f"loadBalancerClass of {new.label} changes from {_shown(old, path)} to"
        yield path, f"{message} {_shown(new, path)}: {_REJECTED}"


@rule(f"{_VALIDATION}/core/validation/validation.go#L7485", outcome=Outcome.REJECTED)
def immutable_data_changed(objects: Objects) -> Iterator[Problem]:
    """A ConfigMap or Secret with `immutable: true` keeps its contents, and that field.

    The API server rejects the change, so no sync begins.
    """
    for old, new in changed_in_place(objects, "ConfigMap", "Secret"):
        if old.object.get("immutable") is not True:
            continue
        for field in ("data", "binaryData", "stringData", "immutable"):
            if path := _difference(old.object, new.object, (field,)):
                changed = f"{path[-1]} in its {field}" if len(path) > 1 else f"its field {field}"
                message = f"{new.label} is immutable, but {changed} changes: {_REJECTED}"
                fix = f"restore {new.label}; write the new contents to a {new.kind} with another"
                fix += " name, and change the pods to use that one"
                yield Problem(new, path, message, fix)
                break


@rule(f"{_VALIDATION}/core/validation/validation.go#L7428", outcome=Outcome.REJECTED)
def secret_type_changed(objects: Objects) -> Iterator[Problem]:
    """A Secret keeps its type.

    The API server rejects the change, so no sync begins.
    """
    for old, new in changed_in_place(objects, "Secret"):
        if not _same(old, new, ("type",)):
            was, now = (manifest.object.get("type", "Opaque") for manifest in (old, new))
            message = f"the type of {new.label} changes from {was} to {now}: {_REJECTED}"
            fix = f"keep type: {was}; to change it, give the new Secret another name"
            yield Problem(new, ("type",), message, fix)


@rule(f"{_VALIDATION}/core/validation/validation.go#L7820", outcome=Outcome.REJECTED)
def quota_scopes_changed(objects: Objects) -> Iterator[Problem]:
    """A ResourceQuota keeps its scopes.

    The API server rejects the change, so no sync begins.
    """
    for old, new in changed_in_place(objects, "ResourceQuota"):
        was, now = (spec_of(manifest, "scopes") or [] for manifest in (old, new))
        lists = isinstance(was, list) and isinstance(now, list)
        if lists and sorted(was, key=text_of) != sorted(now, key=text_of):
            message = f"the scopes of {new.label} change from {text_of(was)} to {text_of(now)}:"
            message += f" {_REJECTED}"
            kept = f"keep scopes: {text_of(was)}" if was else advice.remove("scopes")
            fix = f"{kept}; for other scopes, add a ResourceQuota with another name"
            yield Problem(new, ("spec", "scopes"), message, fix)


def _keep(field: str, was: str) -> str:
    return advice.remove(field) if was == NOTHING else f"keep {field}: {was}"


def _dotted(path: Where) -> str:
    """Return a path as people write it: spec.containers[0].image."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).removeprefix(".")


def _fields(old: Manifest, new: Manifest) -> list[str]:
    """Return the names of the fields that either spec has."""
    specs = (manifest.object.get("spec") for manifest in (old, new))
    return sorted({str(key) for spec in specs if isinstance(spec, dict) for key in spec})


def _default(value: Any, field: str) -> Any:
    return _DEFAULTS.get(field) if value is None else value


def _same(old: Manifest, new: Manifest, path: Where) -> bool:
    """Return whether a field is unchanged, with Kubernetes' default if it is not set."""
    was, now = (paths.get(manifest.object, path) for manifest in (old, new))
    field = str(path[-1])
    return bool(_default(was, field) == _default(now, field))


def _difference(old: Any, new: Any, path: Where) -> Where | None:
    """Return the first path, at or below a path, where two objects differ; None if they do not."""
    was, now = paths.get(old, path), paths.get(new, path)
    if was == now:
        return None
    if isinstance(was, dict) and isinstance(now, dict):
        keys: Sequence[str | int] = sorted(was.keys() | now.keys(), key=str)
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        keys = range(len(was))
    else:
        return path
    return next((at for key in keys if (at := _difference(old, new, (*path, key)))), path)


def _shown(manifest: Manifest, path: Where) -> str:
    return text_of(paths.get(manifest.object, path))


def _claims(manifest: Manifest) -> dict[str, tuple[Where, Any]]:
    """Return name → (path, spec) of a claim, or of a StatefulSet's volumeClaimTemplates."""
    if manifest.kind == "PersistentVolumeClaim":
        return {manifest.name: (("spec",), manifest.object.get("spec"))}
    return {
        name: ((*path, "spec"), paths.get(template, ("spec",)))
        for name, (path, template) in templates(manifest).items()
    }


def _claim_fields(was: Any, now: Any) -> Iterator[Where]:
    """Yield the fields in which two volumeClaimTemplates differ."""
    for field in ("labels", "annotations"):
        if path := _difference(was, now, ("metadata", field)):
            yield path
    specs = [paths.get(template, ("spec",)) for template in (was, now)]
    fields = sorted({key for spec in specs if isinstance(spec, dict) for key in spec}, key=str)
    for field in fields:
        old, new = (_default(paths.get(spec, (field,)), str(field)) for spec in specs)
        if field != "resources":
            if old != new:
                yield ("spec", field)
            continue
        sizes = [quantity.parse(paths.get(spec, _SIZE)) for spec in specs]
        if sizes[0] != sizes[1]:
            yield _SIZE
        elif sizes[0] is None and old != new:
            yield ("spec", field)


def _grows(small: Any, large: Any) -> bool:
    """Return whether the second of two amounts is the larger one."""
    amounts = quantity.parse(small), quantity.parse(large)
    return amounts[0] is not None and amounts[1] is not None and amounts[0] < amounts[1]


def _address(manifest: Manifest) -> Any:
    """Return a Service's first IP address as it is written; None if the cluster assigns it."""
    several = spec_of(manifest, "clusterIPs")
    return spec_of(manifest, "clusterIP") or (
        several[0] if isinstance(several, list) and several else None
    )
