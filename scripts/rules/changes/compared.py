"""How rules about changes compare old and new objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from scripts.chain import node_config
from scripts.kubernetes import containers, sync
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import makers, workloads
from scripts.rules.snapshot import Objects

HOW = 'see "What a change may not do" in docs/environments.md'
OPTIONS = "argocd.argoproj.io/sync-options"
NOTHING = "nothing"


def changed_in_place(objects: Objects, *kinds: str) -> Iterator[tuple[Manifest, Manifest]]:
    """Yield (old, new) of the objects of some kinds that change in place; without kinds, of all.

    Argo CD recreates hooks, and objects that it replaces by force
    (https://argo-cd.readthedocs.io/en/stable/user-guide/sync-options/#force-sync).
    """
    for old, new in objects.changed:
        if (kinds and new.kind not in kinds) or old.object == new.object:
            continue
        notes = new.annotations
        options = {part.strip() for part in str(notes.get(OPTIONS, "")).split(",")}
        if not sync.is_hook(new) and not {"Force=true", "Replace=true"} <= options:
            yield old, new


def text_of(value: Any) -> str:
    """Return a value as it is shown in messages."""
    if value is None:
        return NOTHING
    return value if isinstance(value, str) else json.dumps(value, default=str)


def templates(manifest: Manifest) -> dict[str, tuple[Where, Any]]:
    """Return name → (path, template) of a StatefulSet's volumeClaimTemplates."""
    return {
        name: (path, template)
        for workload in makers([manifest])
        for path, name, template in workload.claim_templates()
    }


def keys(manifest: Manifest) -> dict[str, tuple[Where, dict[str, Any]]]:
    """Return the volumes with a key for each pod: name → path and Secret.

    A pod mounts the item with its own name.
    """
    volumes = dict[str, tuple[Where, dict[str, Any]]]()
    for workload in makers([manifest]):
        own = {
            text_of(mount.get("name"))
            for container in containers.of(workload)
            for _, mount in container.mounts()
            if mount.get("subPathExpr")
        }
        for path, volume in workload.volumes():
            if text_of(volume.get("name")) in own and isinstance(volume.get("secret"), dict):
                volumes[str(volume.get("name"))] = (*path, "secret"), volume["secret"]
    return volumes


def nodes_before(objects: Objects) -> list[node_config.Node]:
    """Return the configuration of Besu and Maru in the base revision; none if it is the same."""
    if not any(old.kind in ("ConfigMap", "StatefulSet") for old, _ in objects.changed):
        return []
    maps = [old for old in objects.old if old.kind == "ConfigMap"]
    return node_config.nodes(workloads(objects.old), maps)
