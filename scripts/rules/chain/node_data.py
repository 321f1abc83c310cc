"""Data: each node keeps its data on a volume of its own."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.chain.node_config import BESU, MARU, Node
from scripts.core import paths
from scripts.kubernetes.workloads import Workload
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, once

_DATA = {BESU: "data-path", MARU: "persistence.data-path"}
_ISOLATED = ("emptyDir", "ephemeral", "")
"""What goes with its pod: volumes of such kinds, and a container's own file system."""


@rule("https://kubernetes.io/docs/concepts/storage/volumes/#emptydir", outcome=Outcome.RISK)
def ephemeral_chain_data(objects: Objects) -> Iterator[Problem]:
    """A node's data folder is on a persistent volume.

    Else the chain goes with the pod: with the pods of all validators, for ever.
    """
    for node in objects.programs:
        setting = node.settings.get(_DATA[node.program])
        if setting is None:
            if node.program == BESU and node.is_known:
                claim = next(_claims_of(node), None)
                message = f"{node.name} has no data-path: the chain is lost with its pod"
                fix = (
                    f'write data-path = "{claim}"' if claim else "mount a claim, and write its path"
                )
                yield Problem(*node.place(None), message, fix)
            continue
        path = str(setting.value)
        file = node.file(path)
        if file.kind not in _ISOLATED:
            continue
        what = f"is on the {file.kind} volume {file.name}" if file.kind else "is on no volume"
        message = f"{setting.called} of {node.name}, {path}, {what}: the chain is lost with its pod"
        claim = next(_claims_of(node), None)
        if claim is None and file.mounted:
            where = (*file.mounted.path, "name")
            yield Problem(node.workload.manifest, where, message, "mount a claim there")
        else:
            fix = f"write {claim}, where the claim is mounted" if claim else "mount a claim there"
            yield Problem(setting.manifest, setting.path, message, fix)


@rule("https://kubernetes.io/docs/concepts/storage/persistent-volumes/#access-modes")
def shared_access_mode_for_chain_data(objects: Objects) -> Iterator[Problem]:
    """A node's volume is for one node to write: ReadWriteOnce or ReadWriteOncePod.

    RocksDB is for one process on a disk of its own: what many may mount is a network's file system,
    whose locks it can't trust, or can't be written at all.
    """
    for workload in _with_data(objects):
        for place, _, claim in workload.claim_templates():
            modes = paths.get(claim, ["spec", "accessModes"])
            for at, mode in enumerate(modes if isinstance(modes, list) else ()):
                if mode not in ("ReadWriteMany", "ReadOnlyMany"):
                    continue
                comes = "can't write to it" if mode == "ReadOnlyMany" else "may damage its data"
                label = workload.manifest.label
                message = f"the volumes of {label} are {mode}: a node's database {comes}"
                path = (*place, "spec", "accessModes", at)
                yield Problem(workload.manifest, path, message, "write ReadWriteOnce")


@rule("https://github.com/facebook/rocksdb/wiki/RocksDB-FAQ")
def shared_data_folder(objects: Objects) -> Iterator[Problem]:
    """No two nodes write one data folder.

    The second finds the database locked and does not start; where locks don't hold, both damage it.
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
        where = f"the folder {file.key} of the volume {claim or file.name}"
        if first is not node:
            message = (
                f"{node.name} and {first.name} have their data in {where}: "
                "the second does not start"
            )
            fix = "give each a claim or a subPath of its own"
            yield Problem(node.workload.manifest, path, message, fix)
        elif claim and len(node.ordinals) > 1 and "$(" not in str(file.mounted):
            message = (
                f"the {len(node.ordinals)} pods of {node.workload.manifest.label} have their data "
                f"in {where}: only one of them starts"
            )
            fix = "use volumeClaimTemplates, which make a claim for each pod"
            yield Problem(node.workload.manifest, node.volume(file), message, fix)


def _claims_of(node: Node) -> Iterator[str]:
    """Yield where a claim of a node's StatefulSet is mounted in it."""
    for _, mount in node.container.mounts():
        path = str(mount.get("mountPath"))
        if node.file(path).kind == "persistentVolumeClaim":
            yield path


@once
def _with_data(objects: Objects) -> Iterator[Workload]:
    """Yield the StatefulSets with a node."""
    labels = set[str]()
    for node in objects.programs:
        manifest = node.workload.manifest
        if manifest.kind == "StatefulSet" and manifest.label not in labels:
            labels.add(manifest.label)
            yield node.workload
