"""Objects as they were and as they are, as the families of rules about changes compare them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from scripts.core import paths
from scripts.kubernetes.manifest import PODS, Manifest, Where
from scripts.kubernetes.workloads import mappings
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
        notes = new.metadata.get("annotations")
        notes = notes if isinstance(notes, dict) else {}
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
    path = ("spec", "volumeClaimTemplates")
    return {
        str(paths.get(one, ("metadata", "name"))): ((*path, index), one)
        for index, one in mappings(paths.get(manifest.object, path))
        if manifest.kind == "StatefulSet"
    }


def keys(manifest: Manifest) -> dict[str, tuple[Where, dict[str, Any]]]:
    """Return the volumes with a key for each pod: name → path and Secret.

    A pod sees of them what has its own name.
    """
    pod = PODS.get(manifest.kind.lower(), ())
    own = {
        text_of(mount.get("name"))
        for kind in ("initContainers", "containers")
        for _, container in mappings(paths.get(manifest.object, (*pod, kind)))
        for _, mount in mappings(container.get("volumeMounts"))
        if mount.get("subPathExpr")
    }
    return {
        str(volume.get("name")): ((*pod, "volumes", index, "secret"), volume["secret"])
        for index, volume in mappings(paths.get(manifest.object, (*pod, "volumes")))
        if text_of(volume.get("name")) in own and isinstance(volume.get("secret"), dict)
    }
