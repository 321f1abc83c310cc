"""Continuity: after a change, a running chain still has its genesis, keys and pods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from scripts.chain import genesis_diff, node_config
from scripts.core import advice, clock, paths
from scripts.core.findings import Severity
from scripts.core.sentences import joined
from scripts.kubernetes import autoscalers, containers
from scripts.kubernetes.manifest import Manifest, Where, config_maps
from scripts.kubernetes.workloads import Workload, mappings, workloads
from scripts.rules.changes.compared import (
    changed_in_place,
    keys,
    nodes_before,
    templates,
    text_of,
)
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects, spec_of

_BESU = (
    "https://github.com/hyperledger/besu/blob/25.11.0/ethereum/core/src/main/java/org/hyperledger/"
    "besu/ethereum/chain/DefaultBlockchain.java"
)
_MOST = 3
"""The maximum number of differences in a message."""


@rule("https://kubernetes.io/docs/concepts/storage/volumes/#using-subpath")
def data_path_changed(objects: Objects) -> Iterator[Problem]:
    """A node's data stays in the same folder of its volume.

    If the container mounts another folder of the volume, the node starts without its chain.
    """
    for old, new in changed_in_place(objects, "StatefulSet"):
        claims = templates(old).keys() & templates(new).keys()
        before, after = _mounts(old), _mounts(new)
        for key in before.keys() & after.keys():
            (_, was), (path, now) = before[key], after[key]
            if key[1] in claims and was != now:
                mounted = f"the folder {now} of the volume" if now else "the whole volume"
                message = f"the container {key[0]} of {new.label} mounts {mounted} {key[1]} instead"
                message += f" of {f'the folder {was}' if was else 'the whole volume'}: it starts"
                message += " without its data"
                fix = f"keep subPath: {was}" if was else advice.remove("subPath")
                yield Problem(new, (*path, "subPath"), message, fix)


@rule(_BESU)
def genesis_changed(objects: Objects) -> Iterator[Problem]:
    """A running chain keeps its first block and its chain ID.

    With another first block, nodes that have data do not start. With another chain ID, they find no
    peers. Nodes without data start another chain.
    """
    # If another chain replaces this one, the files of Besu and Maru both change: report it once.
    for manifest, path, old, new in _genesis_changes(objects):
        if changes := list(genesis_diff.first_block(old, new)):
            several = f" and {len(changes) - _MOST} more fields" if len(changes) > _MOST else ""
            shown = f"{', '.join(changes[:_MOST])}{several}"
            message = f"the genesis changes ({shown}): nodes that have data do not start, or find"
            message += " no peers, and nodes without data start another chain"
            fix = 'restore the old genesis; for a new chain, see "Start over" in docs/network.md'
            yield Problem(manifest, path, message, fix)
            return


@rule("https://besu.hyperledger.org/public-networks/concepts/genesis-file")
def active_fork_changed(objects: Objects) -> Iterator[Problem]:
    """Active forks do not change, and new forks are in the future.

    Existing blocks follow the old rules: nodes that import them again reject them, and the chain
    splits between these nodes and the others.
    """
    if _is_another_chain(objects):
        return
    for manifest, path, old, new in _genesis_changes(objects):
        for message, fix in genesis_diff.past_forks(old, new):
            yield Problem(manifest, path, message, fix)


@rule("docs/network.md")
def validators_replaced(objects: Objects) -> Iterator[Problem]:
    """The validators of an active fork do not change: new ones need a fork in the future.

    A node with another list rejects all blocks that the old validators sealed.
    """
    if _is_another_chain(objects):
        return
    for manifest, path, old, new in _genesis_changes(objects):
        before, after = genesis_diff.validators(old), genesis_diff.validators(new)
        for at in sorted(before.keys() & after.keys()):
            removed, added = before[at] - after[at], after[at] - before[at]
            if not clock.has_passed(int(at)) or not (removed or added):
                continue
            message = f"validatorSet of Maru's active fork at time {at} changes ({len(removed)} of"
            message += f" {len(before[at])} removed, {len(added)} added): nodes with the new list"
            message += " reject existing blocks"
            fix = "restore validatorSet, and add a fork with the new one at a time in the future"
            yield Problem(manifest, path, message, fix)


def _is_another_chain(objects: Objects) -> bool:
    return any(
        True
        for *_, old, new in _genesis_changes(objects)
        for _ in genesis_diff.first_block(old, new)
    )


_Genesis = tuple[Manifest, Where, dict[str, Any], dict[str, Any]]


def _genesis_changes(objects: Objects) -> Iterator[_Genesis]:
    """Yield the genesis files that change: manifest, path, old, new.

    A file in a ConfigMap with a new name is compared with the one of a removed ConfigMap.
    """
    old, new = _genesis_files(objects.old), _genesis_files(objects.of_kind("ConfigMap"))
    lost = {key[0]: data for key, (*_, data) in old.items() if key not in new}
    for key, (manifest, path, now) in new.items():
        was = old[key][2] if key in old else lost.get(key[0])
        if was is not None and was != now:
            yield manifest, path, was, now


def _genesis_files(
    manifests: Sequence[Manifest],
) -> dict[tuple[bool, str, str], tuple[Manifest, Where, dict[str, Any]]]:
    """Return (whether it is Besu's, ConfigMap, key) → manifest, path and contents."""
    files = dict[tuple[bool, str, str], tuple[Manifest, Where, dict[str, Any]]]()
    for manifest in manifests:
        texts = manifest.object.get("data") if manifest.kind == "ConfigMap" else None
        for key, text in texts.items() if isinstance(texts, dict) else ():
            if isinstance(text, str) and (data := genesis_diff.read(text)) is not None:
                name = (genesis_diff.is_besu(data), manifest.name, str(key))
                files[name] = (manifest, ("data", key), data)
    return files


@rule("docs/network.md")
def validator_stopped(objects: Objects) -> Iterator[Problem]:
    """Validators that the chain counts on keep running.

    The chain still waits for stopped validators. With fewer than two thirds it stops, and before
    that it tolerates fewer failures.
    """
    before = {workload.manifest.identity: workload for workload in workloads(objects.old)}
    for workload in objects.workloads:
        manifest, was = workload.manifest, before.get(workload.manifest.identity)
        if was and workload.most < was.most and keys(manifest):
            message = f"{manifest.label} scales from {was.most} pods to {workload.most}, but each"
            message += " pod has the key of a validator that the chain still waits for"
            fix = f"keep replicas: {was.most}; to remove validators, first add a fork without them"
            fix += " to Maru's genesis"
            yield Problem(manifest, ("spec", "replicas"), message, fix)


@rule("docs/network.md")
def node_key_changed(objects: Objects) -> Iterator[Problem]:
    """A node keeps its private key.

    With another key it is another node: peers do not know it, and the chain misses its validator.
    """
    for old, new in changed_in_place(objects, "StatefulSet"):
        before, after = keys(old), keys(new)
        for volume in before.keys() & after.keys():
            (_, was), (path, now) = before[volume], after[volume]
            names = [paths.get(source, ("secretName",)) for source in (was, now)]
            if names[0] != names[1]:
                message = f"the pods of {new.label} get their keys from Secret/{names[1]} instead"
                message += f" of Secret/{names[0]}: with other keys they are other nodes, and the"
                message += " chain misses its validators"
                fix = f"keep the name {names[0]}, also if you recreate the Secret"
                yield Problem(new, (*path, "secretName"), message, fix)
                continue
            yield from _other_items(new, path, was, now)


def _other_items(new: Manifest, path: Where, was: Any, now: Any) -> Iterator[Problem]:
    """Yield the pods that get the key of another pod."""
    before = {
        text_of(item.get("path")): text_of(item.get("key"))
        for _, item in mappings(was.get("items"))
    }
    for index, item in mappings(now.get("items")):
        pod, key = text_of(item.get("path")), text_of(item.get("key"))
        if pod in before and before[pod] != key:
            message = (
                f'pod {pod} gets "{key}" of the Secret as its private key instead of'
                f' "{before[pod]}": it becomes another node, and two validators with the same key'
                " fork the chain"
            )
            fix = f"keep key: {before[pod]}"
            yield Problem(new, (*path, "items", index, "key"), message, fix)


@rule("docs/eks.md", Severity.WARNING)
def node_key_source_changed(objects: Objects) -> Iterator[Problem]:
    """A node's key comes from the same entry of the secrets manager.

    If the new entry has another key, the node becomes another one at its next start.
    """
    for old, new in _external_keys(objects):
        before = _entries(old)
        for index, data in mappings(spec_of(new, "data")):
            key = text_of(data.get("secretKey"))
            was, now = before.get(key), _entry(data)
            if was and was != now:
                message = f'{new.label} reads the private key "{key}" from {now} instead of {was}:'
                message += " if the two keys differ, the node becomes another one"
                fix = "before you merge, copy all private keys in the secrets manager from the old"
                fix += " entry to the new one"
                path = ("spec", "data", index, "remoteRef", "key")
                yield Problem(new, path, message, fix)
                break


@rule("https://external-secrets.io/latest/api/externalsecret/", Severity.WARNING)
def node_keys_read_again(objects: Objects) -> Iterator[Problem]:
    """ExternalSecrets of node keys change only if their entries do.

    If a label, an annotation or another field of the spec changes, the operator reads the entries
    again. If an entry has another key by then, its node does not start.
    """
    for old, new in _external_keys(objects):
        changed = [
            (called, (*path, key), path)
            for called, path in _LOOKED_UP
            for key in _different(paths.get(old.object, path), paths.get(new.object, path))
        ]
        before, after = _entries(old), _entries(new)
        moved = any(before[key] != after[key] for key in before.keys() & after.keys())
        if changed and not moved and paths.get(new.object, ("spec", "refreshPolicy")) == "OnChange":
            names = joined([f"{called}{path[-1]}" for called, path, _ in changed])
            message = f"the change of {names} of {new.label} makes the operator read the keys of "
            message += "the nodes again: a node whose entry has another key does not start"
            restored = [_restored(old, called, path) for called, path, _ in changed]
            fix = f"{joined(restored)} in {new.label}; to keep the change, first make sure that "
            fix += "the secrets manager still has the same keys"
            yield Problem(new, changed[0][2], message, fix)


_LOOKED_UP: tuple[tuple[str, Where], ...] = (
    ("the label ", ("metadata", "labels")),
    ("the annotation ", ("metadata", "annotations")),
    ("spec.", ("spec",)),
)
"""What GetResourceVersion in the operator's pkg/controllers/util/util.go compares."""


def _different(old: object, new: object) -> list[str]:
    """Return the keys whose values differ."""
    before, after = (each if isinstance(each, dict) else {} for each in (old, new))
    return [key for key in {**before, **after} if before.get(key) != after.get(key)]


def _restored(old: Manifest, called: str, path: Where) -> str:
    """Return how to write a field as it is in the old manifest."""
    value = paths.get(old.object, path)
    if value is None:
        return f"remove {called}{path[-1]}"
    if isinstance(value, dict | list):
        return f"restore {called}{path[-1]}"
    return f"write {called}{path[-1]}: {value}"


def _external_keys(objects: Objects) -> Iterator[tuple[Manifest, Manifest]]:
    """Yield (old, new) of the ExternalSecrets of node keys that change."""
    secrets = {
        text_of(paths.get(source, ("secretName",)))
        for manifest in objects.of_kind("StatefulSet")
        for _, source in keys(manifest).values()
    }
    for old, new in changed_in_place(objects, "ExternalSecret"):
        target = paths.get(new.object, ("spec", "target", "name")) or new.name
        if text_of(target) in secrets:
            yield old, new


def _entries(manifest: Manifest) -> dict[str, str]:
    """Return key → where the operator reads it."""
    data = mappings(spec_of(manifest, "data"))
    return {text_of(each.get("secretKey")): _entry(each) for _, each in data}


@rule(
    "https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#migrating-deployments-and-statefulsets-to-horizontal-autoscaling"
)
def autoscaler_removed_with_pods(objects: Objects) -> Iterator[Problem]:
    """A workload keeps its pods if its autoscaler is removed.

    Without the autoscaler, `replicas` applies at once, and pods that serve requests stop.
    """
    kept = {workload.manifest.identity: workload for workload in objects.workloads}
    scaled = {autoscalers.as_target(was.manifest): was for was in workloads(objects.old)}
    for old in objects.gone:
        was = scaled.get(autoscalers.target(old)) if old.kind == autoscalers.KIND else None
        if was is None or objects.autoscalers(was.manifest):
            continue
        now = kept.get(was.manifest.identity)
        if now and now.least < was.least:
            label = was.manifest.label
            message = f"{old.label}, which kept {was.least} to {was.most} pods of {label}, is"
            message += f" removed: only {now.least} of these pods will remain"
            fix = f"write replicas: {was.least} for {label}, or more if more pods run now"
            yield Problem(old, (), message, fix)


def _mounts(manifest: Manifest) -> dict[tuple[str, str, str], tuple[Where, Any]]:
    """Return (container, volume, mount path) → path of the field, and folder of the volume."""
    return {
        (container.name, str(mount.get("name")), str(mount.get("mountPath"))): (
            path,
            mount.get("subPath"),
        )
        for container in containers.of_object(manifest)
        for path, mount in container.mounts()
    }


def _entry(data: Any) -> str:
    """Return the entry of the secrets manager from which a key comes."""
    key, inner = (paths.get(data, ("remoteRef", field)) for field in ("key", "property"))
    shown = key if isinstance(key, str) else ""
    return f"{shown} (property {inner})" if isinstance(inner, str) else shown


@rule("https://besu.hyperledger.org/public-networks/concepts/data-storage-formats")
def storage_format_changed(objects: Objects) -> Iterator[Problem]:
    """A Besu that has data keeps its data-storage-format.

    With another format it can't read its database, and does not start.
    """
    old = {node.container.place: _format(node) for node in nodes_before(objects) if node.is_known}
    for node in objects.programs if old else ():
        was = old.get(node.container.place)
        if node.program != node_config.BESU or not node.is_known or was in (None, _format(node)):
            continue
        message = (
            f"data-storage-format of the container {node.name} changes from {was} to "
            f"{_format(node)}: Besu can't read its existing data, and does not start"
        )
        fix = f'write data-storage-format = "{was}"; another format needs empty volumes and a sync'
        fix += " from the first block"
        yield Problem(*node.place(node.settings.get("data-storage-format")), message, fix)


def _format(node: node_config.Node) -> str:
    setting = node.settings.get("data-storage-format")
    return str(setting.value).upper() if setting else "BONSAI"


@rule("https://external-secrets.io/latest/guides/ownership-deletion-policy/", Severity.WARNING)
def secret_deleted_with_its_source(objects: Objects) -> Iterator[Problem]:
    """A Secret is not deleted with its entry in the secrets manager.

    Otherwise a mistake there deletes the Secret here, too: pods that need it do not start again.
    """
    for manifest in objects.of_kind("ExternalSecret"):
        path = ("spec", "target", "deletionPolicy")
        if paths.get(manifest.object, path) == "Delete":
            message = f"deletionPolicy of {manifest.label} is Delete: if its entry in the secrets"
            message += " manager is deleted, so is the Secret, and pods that need it do not start"
            message += " again"
            yield Problem(manifest, path, message, advice.write("deletionPolicy", "Retain"))


@rule("https://helm.sh/docs/howto/charts_tips_and_tricks/", Severity.WARNING)
def config_change_without_rollout(objects: Objects) -> Iterator[Problem]:
    """Pods restart if a ConfigMap changes that they read when they start.

    A checksum annotation in the pod template does that. Without it, they run with the old files
    until someone restarts them, and then all of them change at once.
    """
    for workload in objects.workloads:
        manifest = workload.manifest
        notes = workload.get(*workload.template, "metadata", "annotations")
        sums = [
            key
            for key in (notes if isinstance(notes, dict) else ())
            if str(key).startswith("checksum/")
        ]
        maps = [
            name
            for name in sorted(_read_while_running(workload))
            if (config := objects.find("ConfigMap", name)) and not config.object.get("immutable")
        ]
        if manifest.kind not in ("Deployment", "StatefulSet") or len(sums) >= len(maps):
            continue
        names = " and ".join(maps)
        several = "ConfigMaps" if len(maps) > 1 else "ConfigMap"
        message = (
            f"pods of {manifest.label} read the {several} {names}, but their template has "
            f"{' and '.join(sums) or 'no annotation checksum/…'}{' only' if sums else ''}: if a "
            "ConfigMap changes, they may not restart"
        )
        path = (*workload.template, "metadata", "annotations")
        fix = (
            "annotate the pod template with a checksum for each ConfigMap, such as checksum/config"
        )
        fix += " in chart/templates/besu/statefulset.yaml"
        yield Problem(manifest, path, message, fix)


def _read_while_running(workload: Workload) -> set[str]:
    """Return the ConfigMaps that a workload's containers read, except init containers."""
    names = [
        mount.get("name")
        for container in containers.of(workload)
        for _, mount in container.mounts()
        if not container.is_init
    ]
    read = [volume for _, volume in workload.volumes() if volume.get("name") in names]
    return config_maps({"containers": workload.pod_spec.get("containers"), "volumes": read})
