"""Changes: what a cluster refuses, or does to what holds data, when objects become others.

What is immutable stands in Kubernetes' own validation code, of the version that base/ names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from scripts.core import paths
from scripts.core.findings import Severity
from scripts.kubernetes import api_deprecations, quantity
from scripts.kubernetes.manifest import Manifest, Where
from scripts.rules.changes.compared import HOW, NOTHING, changed_in_place, keys, templates, text_of
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, destination, spec_of

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
_REMOVED = api_deprecations.TABLE
"""API versions that go, by nox -s lock."""
_NEXT = 2
"""Minor versions of Kubernetes ahead: eight months."""
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
def statefulset_field_changed(objects: Objects) -> Iterator[Problem]:
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
def claim_changed(objects: Objects) -> Iterator[Problem]:
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
def job_changed(objects: Objects) -> Iterator[Problem]:
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
def service_address_changed(objects: Objects) -> Iterator[Problem]:
    """A Service keeps its address, its IP family and the class of its load balancer.

    Kubernetes refuses another, and no sync begins; where the field is left out, the Service
    silently stays what it was.
    """
    for old, new in changed_in_place(objects, "Service"):
        if "ExternalName" in [spec_of(old, "type"), spec_of(new, "type")]:
            continue
        found = next(_other_address(old, new), None)
        if found:
            path, message = found
            command = f"kubectl -n {new.namespace} delete service {new.name}"
            was = _shown(old, path)
            kept = f"leave {path[-1]} out" if was == NOTHING else f"leave it at {was}"
            fix = f"{kept}, or give the new Service another name;"
            fix += f" if connections may break, merge, then {command}: Argo CD makes it anew"
            yield Problem(new, path, message, fix)


def _other_address(old: Manifest, new: Manifest) -> Iterator[tuple[Where, str]]:
    """Yield what can't change in a Service: path and message."""
    was, now = _address(old), _address(new)
    path: Where = ("spec", "clusterIP")
    if "None" in (was, now) and was != now:
        if now is None:
            message = f"{new.label} no longer says clusterIP: None, and still has no address"
            message += " afterwards: the cluster leaves it headless"
        else:
            message = f"{new.label} becomes headless: Kubernetes refuses that in a Service that has"
            message += " an address, and no sync begins"
        if was != "None" or now is None:
            yield path, message
            return
    if was and now and was != now:
        message = f"the address of {new.label} changes from {was} to {now}: Kubernetes refuses"
        message += " that, and no sync begins"
        yield path, message
        return
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


@rule("docs/environments.md")
def environment_moved(objects: Objects) -> Iterator[Problem]:
    """An environment stays in its cluster and namespace.

    In another place its volumes are empty, and what runs in the old one goes on with the same
    validator keys: two nodes with one key fork the chain.
    """
    earlier = objects.application_before
    if earlier is None or objects.before is None:
        return
    (was, old), (now, new) = (_parts(one) for one in (earlier, objects.application))
    if (was, old) == (now, new):
        return
    path: Where = ("spec", "destination")
    kind = "cluster"
    if was == now:
        path, kind, was, now = (*path, "namespace"), "namespace", old, new
    message = f"{objects.name} moves from the {kind} {was} to {now}: it starts there"
    message += " with empty volumes, and what runs in the old place goes on with the same validator"
    message += " keys, so that the chain forks"
    fix = f"leave it at {was}, or make a new environment with a chain of its own; to move a"
    fix += f" chain, stop the old one and restore its backup: {HOW}"
    yield Problem(objects.application, path, message, fix)


def _parts(application: Manifest) -> tuple[str, str]:
    """Return the cluster, by its address or name, and the namespace of an Application."""
    server, name, namespace = destination(application)
    return text_of(server or name), text_of(namespace)


@rule("docs/environments.md")
def data_object_gone(objects: Objects) -> Iterator[Problem]:
    """What holds data is not removed in passing.

    Argo CD's sync waits until a person confirms, and then deletes it; its volumes are lost, or left
    behind with nobody to use them.
    """
    for old in _data_gone(objects):
        if _successor(objects, old) is not None:
            continue
        lost = "whenDeleted" in _deleting(old) or old.kind == "PersistentVolumeClaim"
        message = f"{old.label} is gone, which holds data: the sync, and all later ones, wait for a"
        message += " person to confirm; then it is deleted"
        message += " with its data" if lost else ", and nobody uses its volumes"
        fix = "bring it back; if it is to go, make a backup, and waive this for the object in"
        fix += f" environment.yaml: {HOW}"
        yield Problem(old, (), message, fix)


@rule("docs/environments.md")
def data_object_renamed(objects: Objects) -> Iterator[Problem]:
    """What holds data keeps its name and namespace.

    Under another name it is another object: it starts with new, empty volumes, and Argo CD deletes
    the old one.
    """
    for old in _data_gone(objects):
        new = _successor(objects, old)
        if new is None:
            continue
        path: Where = ("apiVersion",)
        if new.name != old.name:
            path = ("metadata", "name")
        elif new.namespace != old.namespace:
            path = ("metadata", "namespace")
        was, now = (paths.get(manifest.object, path) for manifest in (old, new))
        message = f"{old.label} becomes another object, as its {path[-1]} changes from {was} to"
        message += f" {now}: it starts with new, empty volumes, and the old one is deleted"
        fix = f"leave it at {was}; data come to another name by a backup and a restore: {HOW}"
        yield Problem(new, path, message, fix)


@rule(
    "https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#persistentvolumeclaim-retention"
)
def claims_deleted_with_statefulset(objects: Objects) -> Iterator[Problem]:
    """The claims of a StatefulSet outlive it, and those of a validator its pod.

    Else a StatefulSet that is deleted or made anew, or a validator that is scaled down, loses its
    chain with it.
    """
    for manifest in objects.of_kind("StatefulSet"):
        if not templates(manifest):
            continue
        for field in _deleting(manifest):
            path = ("spec", "persistentVolumeClaimRetentionPolicy", field)
            event = "it is deleted" if field == "whenDeleted" else "it has fewer pods"
            message = f"{manifest.label} takes the chain's data with it when {event}: {field} is"
            yield Problem(manifest, path, f"{message} Delete", "write Retain")


@rule("https://kubernetes.io/docs/reference/using-api/deprecation-guide/", Severity.WARNING)
def api_version_ends_soon(objects: Objects) -> Iterator[Problem]:
    """An object's API version is there in the next two versions of Kubernetes, too.

    After the upgrade that removes it no sync works, and it is better to move before.
    """
    for manifest in objects.manifests:
        group, _, version = manifest.api_version.rpartition("/")
        if version.isalpha() or version[1:].isdigit():
            continue  # Only what is alpha or beta was ever removed.
        row = _removed().get((group, version, manifest.kind))
        now = _minor(objects.kubernetes_version)
        if row and now and 0 < _minor(row["removed"]) - now <= _NEXT:
            message = f"{manifest.api_version} of {manifest.label} is removed in Kubernetes"
            message += f" {row['removed']}, and {objects.name} has {objects.kubernetes_version}"
            instead = row.get("replacement")
            fix = f"write apiVersion: {instead}" if instead else "write a newer apiVersion"
            yield Problem(manifest, ("apiVersion",), message, fix)


@rule("https://kubernetes.io/releases/version-skew-policy/", Severity.WARNING)
def kubernetes_version_skipped(objects: Objects) -> Iterator[Problem]:
    """Kubernetes goes up by one minor version at a time, and never down.

    A cluster's control plane can't be upgraded otherwise, so that the environment would be checked
    against a version that its cluster does not have.
    """
    was, now = map(_minor, (objects.kubernetes_version_before, objects.kubernetes_version))
    if was and now and (now < was or now > was + 1):
        step = "goes down" if now < was else f"goes up by {now - was} minor versions at once"
        message = f"kubernetesVersion {step}, from {objects.kubernetes_version_before} to"
        message += f" {objects.kubernetes_version}: no cluster can do that"
        fix = f"write 1.{was + 1}, and upgrade again later" if now > was else f"leave it at 1.{was}"
        fix += f"; keep what is written where the cluster has 1.{now} already"
        yield Problem(objects.application, ("kubernetesVersion",), message, fix)


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


def _data_gone(objects: Objects) -> Iterator[Manifest]:
    for old in objects.gone:
        if old.kind == "PersistentVolumeClaim" or templates(old):
            yield old


def _successor(objects: Objects, old: Manifest) -> Manifest | None:
    """Return the object that is new where an old one was: of its kind, and its component."""
    there = {was.identity for was in objects.old}
    for new in objects.of_kind(old.kind):
        alike = (
            new.name == old.name
            or (old.component and new.component == old.component)
            or new.template == old.template
        )
        if alike and new.identity not in there:
            return new
    return None


def _deleting(manifest: Manifest) -> list[str]:
    """Return when the claims of a StatefulSet are deleted and should not be.

    A node that only follows the chain gets it again from its peers.
    """
    policy = spec_of(manifest, "persistentVolumeClaimRetentionPolicy")
    if not isinstance(policy, dict):
        return []
    events = ["whenDeleted", "whenScaled"] if keys(manifest) else ["whenDeleted"]
    return [event for event in events if policy.get(event) == "Delete"]


@lru_cache
def _removed() -> dict[api_deprecations.Key, dict[str, str]]:
    return api_deprecations.load(_REMOVED)


def _minor(version: str) -> int:
    """Return 34 of 1.34; 0 where it is none."""
    major, _, minor = version.partition(".")
    return int(minor) if major == "1" and minor.isdecimal() else 0
