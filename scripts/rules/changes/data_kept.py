"""Kept data: what holds data stays where it is."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.core import paths
from scripts.kubernetes.manifest import Manifest, Where
from scripts.rules.changes.compared import HOW, keys, templates, text_of
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, destination, spec_of


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
def data_object_removed(objects: Objects) -> Iterator[Problem]:
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
    "https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#persistentvolumeclaim-retention",
    outcome=Outcome.RISK,
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
