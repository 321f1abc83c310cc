"""Data: objects with data are neither removed, renamed nor moved."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.core import advice, paths
from scripts.kubernetes.manifest import Manifest, Where
from scripts.rules.changes.compared import HOW, keys, templates, text_of
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, destination, spec_of


@rule("docs/environments.md")
def environment_moved(objects: Objects) -> Iterator[Problem]:
    """An environment stays in its cluster and namespace.

    In another place it starts with empty volumes, and the old pods keep running with the same
    validator keys: two validators with the same key fork the chain.
    """
    earlier = objects.application_before
    if earlier is None or objects.before is None:
        return
    (was, old), (now, new) = (_place(app) for app in (earlier, objects.application))
    if (was, old) == (now, new):
        return
    path: Where = ("spec", "destination")
    kind = "cluster"
    if was == now:
        path, kind, was, now = (*path, "namespace"), "namespace", old, new
    message = f"{objects.name} moves from the {kind} {was} to {now}: it starts there"
    message += " with empty volumes, and the old pods keep running with the same validator keys,"
    message += " so the chain forks"
    fix = f"keep the {kind} {was}; to move the chain, first stop the old pods, then restore a"
    fix += f" backup: {HOW}"
    yield Problem(objects.application, path, message, fix)


@rule("argocd/README.md")
def environment_renamed(objects: Objects) -> Iterator[Problem]:
    """An environment keeps its name as long as it keeps its cluster and namespace.

    Argo CD deletes no Application that is removed from git. So the old Application keeps its
    objects, and because of FailOnSharedResource no sync of the new one succeeds.
    """
    earlier = objects.application_before
    if earlier is None or earlier.name == objects.application.name:
        return
    new, (_, namespace) = objects.application.name, _place(earlier)
    message = (
        f"Application/{new} replaces Application/{earlier.name} in the namespace {namespace}: Argo "
        f"CD keeps {earlier.name} with all objects, so every sync of {new} fails"
    )
    old = earlier.name.removeprefix("linea-")
    fix = (
        f"write name: {old}, and rename the folder back to overlays/{old}; nox -s rename renames an"
    )
    fix += " environment, and says how its objects are handed over"
    yield Problem(objects.application, ("metadata", "name"), message, fix)


def _place(application: Manifest) -> tuple[str, str]:
    """Return the cluster, by its URL or name, and the namespace of an Application."""
    server, name, namespace = destination(application)
    return text_of(server or name), text_of(namespace)


@rule("docs/environments.md")
def data_object_removed(objects: Objects) -> Iterator[Problem]:
    """Objects with data are not removed by accident.

    Argo CD's sync waits until someone confirms the deletion. Then the object is deleted, and its
    volumes are deleted, too, or remain unused.
    """
    for old in _data_gone(objects):
        if _successor(objects, old) is not None:
            continue
        lost = "whenDeleted" in _deleting(old) or old.kind == "PersistentVolumeClaim"
        message = f"{old.label}, which has data, is removed: all syncs wait until someone confirms"
        message += " its deletion, which also deletes" if lost else " its deletion, which leaves"
        message += " its data" if lost else " its volumes unused"
        fix = f"restore {old.label}; to remove it, make a backup and waive data-object-removed for"
        fix += f" it: {HOW}"
        yield Problem(old, (), message, fix)


@rule("docs/environments.md")
def data_object_renamed(objects: Objects) -> Iterator[Problem]:
    """Objects with data keep their name, namespace and API group.

    With another name it is another object: it starts with new, empty volumes, and Argo CD deletes
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
        message = f"{old.label} becomes another object, because its {path[-1]} changes from {was}"
        message += f" to {now}: it starts with new, empty volumes, and the old one is deleted"
        fix = f"keep the {path[-1]} {was}; to move the data, restore a backup in the new object:"
        fix += f" {HOW}"
        yield Problem(new, path, message, fix)


@rule(
    "https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#persistentvolumeclaim-retention",
    outcome=Outcome.RISK,
)
def claims_deleted_with_statefulset(objects: Objects) -> Iterator[Problem]:
    """Claims outlive their StatefulSet, and those of validators also outlive their pods.

    Otherwise a StatefulSet that is deleted or recreated, or validators that are scaled down, lose
    their copies of the chain.
    """
    for manifest in objects.of_kind("StatefulSet"):
        if not templates(manifest):
            continue
        for field in _deleting(manifest):
            path = ("spec", "persistentVolumeClaimRetentionPolicy", field)
            event = "deleted" if field == "whenDeleted" else "scaled down"
            message = f"{field} of {manifest.label} is Delete: if the StatefulSet is {event},"
            message += " the chain's data is deleted, too"
            yield Problem(manifest, path, message, advice.write(field, "Retain"))


def _data_gone(objects: Objects) -> Iterator[Manifest]:
    for old in objects.gone:
        if old.kind == "PersistentVolumeClaim" or templates(old):
            yield old


def _successor(objects: Objects, old: Manifest) -> Manifest | None:
    """Return the new object that replaces an old one: it has its name, component or template."""
    existing = {was.identity for was in objects.old}
    for new in objects.of_kind(old.kind):
        alike = (
            new.name == old.name
            or (old.component and new.component == old.component)
            or new.template == old.template
        )
        if alike and new.identity not in existing:
            return new
    return None


def _deleting(manifest: Manifest) -> list[str]:
    """Return the fields by which a StatefulSet's claims are deleted, and should not be.

    A node that only follows the chain can fetch it from its peers again.
    """
    policy = spec_of(manifest, "persistentVolumeClaimRetentionPolicy")
    if not isinstance(policy, dict):
        return []
    events = ["whenDeleted", "whenScaled"] if keys(manifest) else ["whenDeleted"]
    return [event for event in events if policy.get(event) == "Delete"]
