"""Compare one object in git with the live one, as Argo CD does. Pure.

Argo CD compares the live object with what a server-side apply of git's object would leave
(gitops-engine/pkg/diff of argoproj/argo-cd v3.6.1): fields that git does not set belong to their
managers, so defaults and fields of controllers do not count.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from scripts.core import paths
from scripts.impact.compare import difference
from scripts.impact.compare.difference import Change
from scripts.impact.report import FieldChange, field_change
from scripts.kubernetes import sync
from scripts.kubernetes.manifest import Manifest
from scripts.kubernetes.workloads import mappings

MANAGER = "argocd-controller"
"""The field manager of Argo CD's syncs: ArgoCDSSAManager in common/common.go."""

TRACKING_ID = "argocd.argoproj.io/tracking-id"
_INSTALLATION_ID = "argocd.argoproj.io/installation-id"
_TRACKING_LABEL = "app.kubernetes.io/instance"
"""How Argo CD marks its objects: util/argo/resource_tracking.go."""

_OF_THE_SERVER = (
    *("creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation"),
    *("managedFields", "resourceVersion", "selfLink", "uid"),
)
"""Fields of metadata that the API server sets."""

Object = dict[str, Any]


def tracking_id(application: str, live: Manifest) -> str:
    """Return the annotation by which Argo CD knows that an object belongs to an Application."""
    return f"{application}:{live.group}/{live.kind}:{live.namespace}/{live.name}"


def tracked_by(live: Manifest, label_of: str = "") -> str:
    """Return the Application that an object belongs to by its own tracking id; empty if to none.

    label_of: an Application whose label counts, too: Argo CD can be set up to track by labels.
    """
    own = str(live.annotations.get(TRACKING_ID, ""))
    application = own.partition(":")[0]
    if own and own == tracking_id(application, live):
        return application
    return label_of if label_of and live.labels.get(_TRACKING_LABEL) == label_of else ""


def to_apply(manifest: Manifest, live: Manifest, application: str) -> Object:
    """Return git's object as Argo CD applies it: with the marks that the live one has."""
    body = copy.deepcopy(manifest.object)
    metadata = body["metadata"]
    for name in (TRACKING_ID, _INSTALLATION_ID):
        if name in live.annotations:
            metadata.setdefault("annotations", {})[name] = live.annotations[name]
    if live.labels.get(_TRACKING_LABEL) == application:
        metadata.setdefault("labels", {})[_TRACKING_LABEL] = application
    return body


def ignored(application: Manifest, manifest: Manifest) -> list[str]:
    """Return the JSON pointers that the Application ignores in an object."""
    entries = mappings(application.get("spec", "ignoreDifferences"))
    return [
        str(pointer)
        for _, entry in entries
        if sync.is_about(entry, manifest)
        for pointer in entry.get("jsonPointers") or ()
    ]


def fields(
    applied: Object, live: Object, pointers: Sequence[str], *, is_exact: bool
) -> tuple[FieldChange, ...]:
    """Return the fields that differ; old is in git, new on the cluster.

    applied: what a server-side apply of git's object would leave. is_exact: otherwise it is git's
    object itself, and fields that only the live object has are left out.
    """
    first, second = (Manifest(_plain(each, pointers), "") for each in (applied, live))
    changes = difference.between(first, second).changes
    if not is_exact:
        changes = tuple(change for change in changes if not _is_only_live(change))
    return tuple(map(field_change, changes))


def _is_only_live(change: Change) -> bool:
    """Return whether git does not set the field, or sets items of a list in another order."""
    return change.note == "order" or (change.old is None and not change.lines)


def _plain(body: Object, pointers: Iterable[str]) -> Object:
    """Return an object without what the server sets, its status and the ignored fields."""
    kept = {key: value for key, value in body.items() if key not in ("status", "operation")}
    kept = copy.deepcopy(kept)
    metadata = kept.get("metadata") or {}
    for key in _OF_THE_SERVER:
        metadata.pop(key, None)
    for pointer in pointers:
        *above, last = _parts(pointer)
        holder = paths.get(kept, above)
        if isinstance(holder, dict):
            holder.pop(last, None)
    return kept


def _parts(pointer: str) -> Iterator[str | int]:
    for part in pointer.removeprefix("/").split("/"):
        plain = part.replace("~1", "/").replace("~0", "~")
        yield int(plain) if plain.isdecimal() else plain
