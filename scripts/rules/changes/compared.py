"""Objects as they were and as they are, as the families of rules about changes compare them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from scripts.kubernetes import containers
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import makers
from scripts.rules.snapshot import Objects

HOW = 'docs/environments.md, "What a change may not do", says how'
OPTIONS = "argocd.argoproj.io/sync-options"
NOTHING = "nothing"


def changed_in_place(objects: Objects, *kinds: str) -> Iterator[tuple[Manifest, Manifest]]:
    """Yield (old, new) of the objects of some kinds that change in place.

    Argo CD makes hooks anew, and what is to be replaced by force
    (https://argo-cd.readthedocs.io/en/stable/user-guide/sync-options/#force-sync).
    """
    for old, new in objects.changed:
        if new.kind not in kinds or old.object == new.object:
            continue
        notes = new.annotations
        options = {part.strip() for part in str(notes.get(OPTIONS, "")).split(",")}
        hook = "argocd.argoproj.io/hook" in notes or "helm.sh/hook" in notes
        if not hook and not {"Force=true", "Replace=true"} <= options:
            yield old, new


def text_of(value: Any) -> str:
    """Return a value as people write it."""
    if value is None:
        return NOTHING
    return value if isinstance(value, str) else json.dumps(value, default=str)


def templates(manifest: Manifest) -> dict[str, tuple[Where, Any]]:
    """Return name → (path, template) of the claims that a StatefulSet makes for its pods."""
    return {
        name: (path, one)
        for workload in makers([manifest])
        for path, name, one in workload.claim_templates()
    }


def keys(manifest: Manifest) -> dict[str, tuple[Where, dict[str, Any]]]:
    """Return the volumes with a key for each pod: name → path and Secret.

    A pod sees of them what has its own name.
    """
    found = dict[str, tuple[Where, dict[str, Any]]]()
    for workload in makers([manifest]):
        own = {
            text_of(mount.get("name"))
            for container in containers.of(workload)
            for _, mount in container.mounts()
            if mount.get("subPathExpr")
        }
        for path, volume in workload.volumes():
            if text_of(volume.get("name")) in own and isinstance(volume.get("secret"), dict):
                found[str(volume.get("name"))] = (*path, "secret"), volume["secret"]
    return found
