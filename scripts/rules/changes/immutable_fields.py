"""Immutable fields: the API server rejects a change of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from scripts.core import paths
from scripts.kubernetes import quantity
from scripts.kubernetes.manifest import Manifest, Where
from scripts.rules.changes.compared import HOW, NOTHING, changed_in_place, templates, text_of
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, spec_of

_VALIDATION = "https://github.com/kubernetes/kubernetes/blob/v1.34.4/pkg/apis"
_GROW = "docs/runbooks/LineaVolumeAlmostFull.md"
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
"""Fields of a StatefulSet's spec; the same from Kubernetes 1.27 to 1.37."""
_RULES_OF_THEIR_OWN = {"selector", "volumeClaimTemplates"}
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


@rule(f"{_VALIDATION}/apps/validation/validation.go#L709", outcome=Outcome.REJECTED)
def selector_changed(objects: Objects) -> Iterator[Problem]:
    """A workload keeps the selector that it was made with.

    Kubernetes refuses another one, and no sync begins; a workload made anew with it would not know
    the pods that are there.
    """
    for old, new in changed_in_place(objects, *_SELECTING):
        path = _difference(old.object, new.object, ("spec", "selector"))
        if new.group == "apps" and path:
            was, now = _shown(old, path), _shown(new, path)
            message = f"the selector of {new.label} changes at {path[-1]}, from {was} to {now}:"
            message += " Kubernetes refuses that, and no sync begins"
            kept = "take it away" if was == NOTHING else f"leave it at {was}"
            fix = f"{kept}; labels that tell something else belong to the pods alone"
            yield Problem(new, path, message, fix)


@rule(f"{_VALIDATION}/apps/validation/validation.go#L238", outcome=Outcome.REJECTED)
def immutable_statefulset_field_changed(objects: Objects) -> Iterator[Problem]:
    """A StatefulSet keeps the fields that Kubernetes lets nobody change.

    No sync begins, of nothing else either; only a StatefulSet made anew around its pods
    takes another value.
    """
    for old, new in changed_in_place(objects, "StatefulSet"):
        for field in _fields(old, new):
            path = ("spec", field)
            if field in _MAY_CHANGE | _RULES_OF_THEIR_OWN or _same(old, new, path):
                continue
            was, now = _shown(old, path), _shown(new, path)
            message = f"/spec/{field} of {new.label} changes from {was} to {now}:"
            message += " Kubernetes refuses that, and no sync begins"
            yield Problem(new, path, message, _made_anew(was))


@rule(f"{_VALIDATION}/apps/validation/validation.go#L238", outcome=Outcome.REJECTED)
def volume_claim_template_changed(objects: Objects) -> Iterator[Problem]:
    """A StatefulSet keeps the claims that it makes for its pods.

    Kubernetes refuses other templates, also larger ones, and no sync begins; the volumes that are
    there would stay as they are anyhow.
    """
    for old, new in changed_in_place(objects, "StatefulSet"):
        before, after = templates(old), templates(new)
        if before.keys() != after.keys():
            was, now = (text_of(", ".join(sorted(names)) or None) for names in (before, after))
            message = f"the claims of {new.label} change from {was} to {now}: Kubernetes refuses"
            message += " that, and no sync begins"
            new_ones = [after[name][0] for name in after if name not in before]
            path = new_ones[0] if new_ones else ("spec", "volumeClaimTemplates")
            yield Problem(new, path, message, _made_anew(was))
        for name in sorted(before.keys() & after.keys()):
            yield from _other_template(new, before[name][1], after[name])


def _other_template(new: Manifest, was: Any, after: tuple[Where, Any]) -> Iterator[Problem]:
    """Yield the fields in which a template of claims changes, but for a size that falls."""
    path, now = after
    name = paths.get(now, ("metadata", "name"))
    for inner in _claim_fields(was, now):
        if inner == _SIZE:
            if not _grows(paths.get(was, ("spec", *_SIZE)), paths.get(now, ("spec", *_SIZE))):
                continue
            larger = paths.get(now, ("spec", *_SIZE))
            message = f"the claim {name} of {new.label} grows from"
            message += f" {paths.get(was, ('spec', *_SIZE))} to {larger}: Kubernetes refuses that"
            message += " in a StatefulSet, no sync begins, and no volume grows"
            fix = f"enlarge the claims {name}-{new.name}-0, … one by one first, then make the"
            fix += f" StatefulSet anew around its pods: {_GROW} says how"
            yield Problem(new, (*path, "spec", *_SIZE), message, fix)
            continue
        there, here = (text_of(paths.get(one, inner)) for one in (was, now))
        message = f"/{'/'.join(map(str, inner))} of the claim {name} of {new.label} changes from"
        message += f" {there} to {here}: Kubernetes refuses that, no sync begins, and the volumes"
        message += " that are there would stay what they are"
        kept = "take it away" if there == NOTHING else f"leave it at {there}"
        fix = f"{kept}; data come to other volumes by a copy: {HOW}"
        yield Problem(new, (*path, *inner), message, fix)


@rule(
    "https://kubernetes.io/docs/concepts/storage/persistent-volumes/#expanding-persistent-volumes-claims",
    outcome=Outcome.REJECTED,
)
def volume_shrunk(objects: Objects) -> Iterator[Problem]:
    """A volume is never asked to become smaller.

    No volume can be; Kubernetes refuses the claim, and a StatefulSet would make smaller ones for
    new pods only.
    """
    for old, new in changed_in_place(objects, "PersistentVolumeClaim", "StatefulSet"):
        before, after = _claims(old), _claims(new)
        for name in before.keys() & after.keys():
            (_, was), (path, now) = before[name], after[name]
            large, small = paths.get(was, _SIZE), paths.get(now, _SIZE)
            if _grows(small, large):
                message = f"{new.label} asks for {small} where it had {large}: a volume can't"
                message += " shrink, and Kubernetes refuses the change"
                fix = f"leave it at {large}; to have less, copy the data to a new volume"
                yield Problem(new, (*path, *_SIZE), message, fix)


@rule(f"{_VALIDATION}/core/validation/validation.go#L2464", outcome=Outcome.REJECTED)
def immutable_claim_field_changed(objects: Objects) -> Iterator[Problem]:
    """A volume claim keeps all but its size, which may grow.

    Kubernetes refuses anything else, such as another storage class, and no sync begins.
    """
    for old, new in changed_in_place(objects, "PersistentVolumeClaim"):
        for field in _fields(old, new):
            was, now = (paths.get(m.object, ("spec", field)) for m in (old, new))
            if field == "resources":
                was, now = (
                    {**r, "requests": None} if isinstance(r, dict) else r for r in (was, now)
                )
            # The cluster writes the volume, and the class where none was named.
            given_by_cluster = field in ("storageClassName", "volumeName") and was is None
            path = ("spec", field)
            free = field == "volumeAttributesClassName" or given_by_cluster
            if free or _default(was, field) == _default(now, field):
                continue
            message = f"{path[-1]} of {new.label} changes from {_shown(old, path)} to"
            message += f" {_shown(new, path)}: Kubernetes refuses that, and no sync begins"
            fix = f"leave it at {_shown(old, path)}, or make a claim of another name and copy the"
            fix += " data"
            yield Problem(new, path, message, fix)


@rule(f"{_VALIDATION}/batch/validation/validation.go#L623", outcome=Outcome.REJECTED)
def job_template_changed(objects: Objects) -> Iterator[Problem]:
    """A Job keeps its pods' template.

    Kubernetes refuses another one, also where the Job has ended, and no sync begins.
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
                message = f"/{'/'.join(map(str, path))} of {new.label} changes: Kubernetes refuses"
                message += " that, and no sync begins"
                fix = "give the new Job another name, or the annotation"
                fix += " argocd.argoproj.io/sync-options: Force=true,Replace=true, by which Argo CD"
                fix += " deletes the old one first"
                yield Problem(new, path, message, fix)
                break


@rule(f"{_VALIDATION}/core/validation/validation.go#L8784", outcome=Outcome.REJECTED)
def immutable_service_field_changed(objects: Objects) -> Iterator[Problem]:
    """A Service keeps its address, its IP family and the class of its load balancer.

    Kubernetes refuses another, and no sync begins.
    """
    for old, new in changed_in_place(objects, "Service"):
        if "ExternalName" not in [spec_of(old, "type"), spec_of(new, "type")]:
            for path, message in _other_address(old, new):
                yield Problem(new, path, message, _of_another_name(old, new, path))
                break


@rule(f"{_VALIDATION}/core/validation/validation.go#L8784", outcome=Outcome.HIDDEN)
def headless_service_changed(objects: Objects) -> Iterator[Problem]:
    """A headless Service gets an address by being made anew only.

    Where its clusterIP: None is taken away, Kubernetes leaves it headless, and nothing says so.
    """
    path: Where = ("spec", "clusterIP")
    for old, new in changed_in_place(objects, "Service"):
        is_external = "ExternalName" in [spec_of(old, "type"), spec_of(new, "type")]
        if _address(old) == "None" and _address(new) is None and not is_external:
            message = f"{new.label} no longer says clusterIP: None, and still has no address"
            message += " afterwards: the cluster leaves it headless"
            yield Problem(new, path, message, _of_another_name(old, new, path))


def _of_another_name(old: Manifest, new: Manifest, path: Where) -> str:
    """Return how to leave a field of a Service, or to make the Service anew."""
    was = _shown(old, path)
    kept = f"leave {path[-1]} out" if was == NOTHING else f"leave it at {was}"
    command = f"kubectl -n {new.namespace} delete service {new.name}"
    fix = f"{kept}, or give the new Service another name; if connections may break, merge, then"
    return f"{fix} {command}: Argo CD makes it anew"


def _other_address(old: Manifest, new: Manifest) -> Iterator[tuple[Where, str]]:
    """Yield what can't change in a Service: path and message."""
    was, now = _address(old), _address(new)
    path: Where = ("spec", "clusterIP")
    if was == "None" and now is None:
        return
    if now == "None" and was != now:
        message = f"{new.label} becomes headless: Kubernetes refuses that in a Service that has"
        yield path, f"{message} an address, and no sync begins"
    elif was and now and was != now:
        message = f"the address of {new.label} changes from {was} to {now}: Kubernetes refuses"
        yield path, f"{message} that, and no sync begins"
    families = [spec_of(manifest, "ipFamilies") for manifest in (old, new)]
    if was != "None" and all(isinstance(one, list) and one for one in families):
        before, after = families
        path = ("spec", "ipFamilies")
        if before[0] != after[0]:
            yield path, f"the first IP family of {new.label} changes: Kubernetes refuses that"
        elif len(before) > len(after) and spec_of(new, "ipFamilyPolicy") != "SingleStack":
            message = f"{new.label} loses its second IP family: Kubernetes refuses that without"
            yield path, f"{message} ipFamilyPolicy: SingleStack"
    path = ("spec", "loadBalancerClass")
    balanced = spec_of(old, "type") == spec_of(new, "type") == "LoadBalancer"
    if balanced and not _same(old, new, path):
        message = f"the load balancer's class of {new.label} changes from {_shown(old, path)} to"
        yield path, f"{message} {_shown(new, path)}: Kubernetes refuses that, and no sync begins"


@rule(f"{_VALIDATION}/core/validation/validation.go#L7485", outcome=Outcome.REJECTED)
def immutable_data_changed(objects: Objects) -> Iterator[Problem]:
    """A ConfigMap or Secret that says `immutable: true` keeps its contents, and that it is so.

    Kubernetes refuses the change, and no sync begins.
    """
    for old, new in changed_in_place(objects, "ConfigMap", "Secret"):
        if old.object.get("immutable") is not True:
            continue
        for field in ("data", "binaryData", "stringData", "immutable"):
            if path := _difference(old.object, new.object, (field,)):
                message = f"{new.label} is immutable, and /{'/'.join(map(str, path))} changes:"
                message += " Kubernetes refuses that, and no sync begins"
                fix = "leave it, and write the new contents under another name, which the pods that"
                fix += " use it refer to"
                yield Problem(new, path, message, fix)
                break


@rule(f"{_VALIDATION}/core/validation/validation.go#L7428", outcome=Outcome.REJECTED)
def secret_type_changed(objects: Objects) -> Iterator[Problem]:
    """A Secret keeps its type.

    Kubernetes refuses another one, and no sync begins.
    """
    for old, new in changed_in_place(objects, "Secret"):
        if not _same(old, new, ("type",)):
            was, now = (manifest.object.get("type", "Opaque") for manifest in (old, new))
            message = f"the type of {new.label} changes from {was} to {now}: Kubernetes refuses"
            message += " that, and no sync begins"
            fix = f"leave it at {was}, or give the new Secret another name"
            yield Problem(new, ("type",), message, fix)


@rule(f"{_VALIDATION}/core/validation/validation.go#L7820", outcome=Outcome.REJECTED)
def quota_scopes_changed(objects: Objects) -> Iterator[Problem]:
    """A ResourceQuota keeps its scopes.

    Kubernetes refuses others, and no sync begins.
    """
    for old, new in changed_in_place(objects, "ResourceQuota"):
        was, now = (spec_of(manifest, "scopes") or [] for manifest in (old, new))
        lists = isinstance(was, list) and isinstance(now, list)
        if lists and sorted(was, key=text_of) != sorted(now, key=text_of):
            message = f"the scopes of {new.label} change from {text_of(was)} to {text_of(now)}:"
            message += " Kubernetes refuses that, and no sync begins"
            fix = f"leave them at {text_of(was)}, or give the new quota another name"
            yield Problem(new, ("spec", "scopes"), message, fix)


def _made_anew(was: str) -> str:
    """Return how to leave a StatefulSet, or to change what can't be changed."""
    return f"leave it at {was}; if it must change, make the StatefulSet anew around its pods: {HOW}"


def _fields(old: Manifest, new: Manifest) -> list[str]:
    """Return the names of all fields that one of two specs has."""
    specs = (manifest.object.get("spec") for manifest in (old, new))
    return sorted({str(key) for spec in specs if isinstance(spec, dict) for key in spec})


def _default(value: Any, field: str) -> Any:
    return _DEFAULTS.get(field) if value is None else value


def _same(old: Manifest, new: Manifest, path: Where) -> bool:
    """Return whether a field is what it was, with Kubernetes' default where it is not said."""
    was, now = (paths.get(manifest.object, path) for manifest in (old, new))
    field = str(path[-1])
    return bool(_default(was, field) == _default(now, field))


def _difference(old: Any, new: Any, path: Where) -> Where | None:
    """Return the first place at or below a path where two objects differ, if they do."""
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
    """Return name → (path, spec) of a claim, or of those that a StatefulSet makes."""
    if manifest.kind == "PersistentVolumeClaim":
        return {manifest.name: (("spec",), manifest.object.get("spec"))}
    return {
        name: ((*path, "spec"), paths.get(one, ("spec",)))
        for name, (path, one) in templates(manifest).items()
    }


def _claim_fields(was: Any, now: Any) -> Iterator[Where]:
    """Yield the fields in which two templates of claims differ."""
    for field in ("labels", "annotations"):
        if path := _difference(was, now, ("metadata", field)):
            yield path
    specs = [paths.get(one, ("spec",)) for one in (was, now)]
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
    """Return a Service's first address as it is written; None where the cluster gives it one."""
    several = spec_of(manifest, "clusterIPs")
    return spec_of(manifest, "clusterIP") or (
        several[0] if isinstance(several, list) and several else None
    )
