"""Data: each chain node keeps its data on its own volume."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.chain.node_config import BESU, MARU, Node
from scripts.core import advice, paths
from scripts.kubernetes.workloads import Workload
from scripts.rules.chain.settings import named, write
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, once

_DATA = {BESU: "data-path", MARU: "persistence.data-path"}
_ISOLATED = ("emptyDir", "ephemeral", "")
"""Storage that is deleted with its pod: these kinds of volumes, and the container's file system."""


@rule("https://kubernetes.io/docs/concepts/storage/volumes/#emptydir", outcome=Outcome.RISK)
def ephemeral_chain_data(objects: Objects) -> Iterator[Problem]:
    """A chain node's data folder is on a persistent volume.

    Otherwise its copy of the chain is deleted with the pod. If all validators lose their copies,
    the chain is lost for good.
    """
    for node in objects.programs:
        setting = node.settings.get(_DATA[node.program])
        if setting is None:
            if node.program == BESU and node.is_known:
                claim = next(_claims_of(node), None)
                message = (
                    f"the container {node.name} has no data-path: its data is deleted with its pod"
                )
                mount = "mount a volume of volumeClaimTemplates, and write its path as data-path"
                fix = write(node, None, "data-path", claim) if claim else mount
                yield Problem(*node.place(None), message, fix)
            continue
        path = str(setting.value)
        file = node.file(path)
        if file.kind not in _ISOLATED:
            continue
        where = f"is on the {file.kind} volume {file.name}" if file.kind else "is not on a volume"
        message = (
            f"{named(setting)} of the container {node.name} is {path}, which {where}: its data is "
            "deleted with its pod"
        )
        claim = next(_claims_of(node), None)
        fix = f"mount a volume of volumeClaimTemplates at {path}"
        if claim is None and file.mounted:
            place = (*file.mounted.path, "name")
            template = next((name for _, name, _ in node.workload.claim_templates()), None)
            fix = (
                advice.write("name", template) + ", the name of the volumeClaimTemplate"
                if template
                else fix
            )
            yield Problem(node.workload.manifest, place, message, fix)
        else:
            if claim:
                fix = write(node, setting, _DATA[node.program], claim)
                fix += ", where the persistent volume is mounted"
            yield Problem(setting.manifest, setting.path, message, fix)


@rule("https://kubernetes.io/docs/concepts/storage/persistent-volumes/#access-modes")
def shared_access_mode_for_chain_data(objects: Objects) -> Iterator[Problem]:
    """A chain node's volume is ReadWriteOnce or ReadWriteOncePod.

    RocksDB needs a disk to which one process writes. A volume that several nodes may mount is a
    network file system, whose locks are not reliable, or it is read-only.
    """
    for workload in _with_data(objects):
        for place, _, claim in workload.claim_templates():
            modes = paths.get(claim, ["spec", "accessModes"])
            for at, mode in enumerate(modes if isinstance(modes, list) else ()):
                if mode not in ("ReadWriteMany", "ReadOnlyMany"):
                    continue
                read_only = "the database can't write to them"
                shared = "the locks of a network file system may fail, which damages the database"
                effect = read_only if mode == "ReadOnlyMany" else shared
                message = f"the volumes of {workload.manifest.label} are {mode}: {effect}"
                path = (*place, "spec", "accessModes", at)
                yield Problem(
                    workload.manifest, path, message, advice.write("accessModes", ["ReadWriteOnce"])
                )


@rule("https://github.com/facebook/rocksdb/wiki/RocksDB-FAQ")
def shared_data_folder(objects: Objects) -> Iterator[Problem]:
    """No two chain nodes write to the same data folder.

    The second one fails to lock the database, and does not start. If the volume does not support
    locks, both damage the database.
    """
    seen: dict[tuple[str, str], Node] = {}
    for node in objects.nodes:
        setting = node.settings.get(_DATA[node.program])
        file = node.file(str(setting.value)) if setting else None
        if setting is None or file is None or file.kind != "persistentVolumeClaim":
            continue
        claim = node.claim(file)
        holder = f"claim {claim}" if claim else f"{node.pod} {file.name}"
        first = seen.setdefault((holder, file.key), node)
        path = file.mounted.path if file.mounted else setting.path
        volume = f"PersistentVolumeClaim/{claim}" if claim else f"the volume {file.name}"
        folder = f"the folder {file.key} of {volume}"
        if first is not node:
            message = (
                f"the containers {first.name} and {node.name} both write to {folder}: the second "
                "one does not start"
            )
            fix = "mount another volume of volumeClaimTemplates"
            if node.workload == first.workload and node.container_name not in file.key.split("/"):
                fix = f"write subPath: {node.container_name} in this mount of {node.container_name}"
            yield Problem(node.workload.manifest, path, message, fix)
        elif claim and len(node.ordinals) > 1 and "$(" not in str(file.mounted):
            message = (
                f"all {len(node.ordinals)} pods of {node.workload.manifest.label} write to "
                f"{folder}: only the first one starts"
            )
            fix = f"replace the volume {file.name} by a volumeClaimTemplate {file.name}, which "
            fix += "creates a claim for each pod"
            yield Problem(node.workload.manifest, node.volume(file), message, fix)


def _claims_of(node: Node) -> Iterator[str]:
    """Yield the paths at which a node has mounted claims."""
    for _, mount in node.container.mounts():
        path = str(mount.get("mountPath"))
        if node.file(path).kind == "persistentVolumeClaim":
            yield path


@once
def _with_data(objects: Objects) -> Iterator[Workload]:
    """Yield the StatefulSets with chain nodes."""
    labels = set[str]()
    for node in objects.programs:
        manifest = node.workload.manifest
        if manifest.kind == "StatefulSet" and manifest.label not in labels:
            labels.add(manifest.label)
            yield node.workload
