"""Continuity: a chain that runs goes on through a change, with its genesis, keys and pods."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from scripts.chain import genesis_diff, node_config
from scripts.core import paths
from scripts.core.findings import Severity
from scripts.kubernetes import autoscalers, containers
from scripts.kubernetes.manifest import Manifest, Where, config_maps
from scripts.kubernetes.workloads import Workload, mappings, workloads
from scripts.rules.changes.compared import HOW, changed_in_place, keys, templates, text_of
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects, spec_of

_BESU = (
    "https://github.com/hyperledger/besu/blob/25.11.0/ethereum/core/src/main/java/org/hyperledger/"
    "besu/ethereum/chain/DefaultBlockchain.java"
)
_MOST = 3
"""Differences that a message tells."""


@rule("https://kubernetes.io/docs/concepts/storage/volumes/#using-subpath")
def data_path_changed(objects: Objects) -> Iterator[Problem]:
    """A node's data stay where they are in its volume.

    A container that sees another folder of the volume starts with an empty one: a node without its
    chain.
    """
    for old, new in changed_in_place(objects, "StatefulSet"):
        claims = templates(old).keys() & templates(new).keys()
        before, after = _mounts(old), _mounts(new)
        for key in before.keys() & after.keys():
            (_, was), (path, now) = before[key], after[key]
            if key[1] in claims and was != now:
                message = f"{key[0]} of {new.label} sees the folder {now or '/'} of its volume"
                message += f" where it saw {was or '/'}: it starts with an empty one"
                fix = f"leave subPath at {was}" if was else "leave subPath out"
                yield Problem(new, (*path, "subPath"), message, fix)


@rule(_BESU)
def genesis_changed(objects: Objects) -> Iterator[Problem]:
    """A chain keeps its first block and its id.

    With another first block the nodes that have data refuse to start, with another id they find no
    peers; those that have no data make another chain.
    """
    # A chain in another's place changes both files, Besu's and Maru's: one mistake.
    for manifest, path, old, new in _genesis_changes(objects):
        if found := list(genesis_diff.first_block(old, new)):
            several = f" and {len(found) - _MOST} more" if len(found) > _MOST else ""
            told = f"{', '.join(found[:_MOST])}{several}"
            message = f"the genesis of the chain changes: {told}; nodes that have data refuse to"
            message += " start, or find no peers, and those that have none make another chain"
            fix = f"leave it as it was; a new chain needs empty volumes, too: {HOW}"
            yield Problem(manifest, path, message, fix)
            return


@rule("https://besu.hyperledger.org/public-networks/concepts/genesis-file")
def active_fork_changed(objects: Objects) -> Iterator[Problem]:
    """What is in force on a chain stays, and a new fork lies in the future.

    The blocks that are there were made by other rules: nodes that read them again refuse them, and
    those that don't go another way.
    """
    if _is_another_chain(objects):
        return
    for manifest, path, old, new in _genesis_changes(objects):
        for message, fix in genesis_diff.past_forks(old, new, time.time()):
            yield Problem(manifest, path, message, fix)


@rule("docs/network.md")
def validators_replaced(objects: Objects) -> Iterator[Problem]:
    """A chain gets other validators only by a fork that lies in the future.

    A node that reads another list accepts none of the blocks that the old validators sealed.
    """
    if _is_another_chain(objects):
        return
    for manifest, path, old, new in _genesis_changes(objects):
        before, after = genesis_diff.validators(old), genesis_diff.validators(new)
        for at in sorted(before.keys() & after.keys()):
            lost, won = before[at] - after[at], after[at] - before[at]
            if int(at) > time.time() or not (lost or won):
                continue
            message = f"the validators of the fork at {at}, which is in force, change: of"
            message += (
                f" {len(before[at])}, {len(lost)} are gone, and {len(won)} are new; nodes that"
            )
            message += " read the new list refuse the blocks that are there"
            fix = "leave the list; add a fork at a time to come that has the other validators"
            yield Problem(manifest, path, message, fix)


def _is_another_chain(objects: Objects) -> bool:
    return any(
        True
        for *_, old, new in _genesis_changes(objects)
        for _ in genesis_diff.first_block(old, new)
    )


_Genesis = tuple[Manifest, Where, dict[str, Any], dict[str, Any]]


def _genesis_changes(objects: Objects) -> Iterator[_Genesis]:
    """Yield the genesis files that are others than they were: manifest, path, old, new.

    Where a ConfigMap has another name, it is the only one whose place it can have taken.
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
    """Return (whether of Besu, ConfigMap, key) → manifest, path and contents."""
    found = dict[tuple[bool, str, str], tuple[Manifest, Where, dict[str, Any]]]()
    for manifest in manifests:
        texts = manifest.object.get("data") if manifest.kind == "ConfigMap" else None
        for key, text in texts.items() if isinstance(texts, dict) else ():
            if isinstance(text, str) and (data := genesis_diff.read(text)) is not None:
                name = (genesis_diff.is_besu(data), manifest.name, str(key))
                found[name] = (manifest, ("data", key), data)
    return found


@rule("docs/network.md")
def validator_stopped(objects: Objects) -> Iterator[Problem]:
    """A validator that the chain counts on goes on running.

    The chain still waits for those that are gone: with fewer than two thirds it stands still, and
    before that it bears no further failure.
    """
    before = {one.manifest.identity: one for one in workloads(objects.old)}
    for one in objects.workloads:
        was = before.get(one.manifest.identity)
        if was and one.most < was.most and keys(one.manifest):
            message = f"{one.manifest.label} goes from {was.most} pods to {one.most}, and each has"
            message += " the key of a validator that the chain goes on to wait for"
            fix = f"leave replicas at {was.most}; fewer validators need a fork of Maru's genesis"
            fix += " that has fewer"
            yield Problem(one.manifest, ("spec", "replicas"), message, fix)


@rule("docs/network.md")
def node_key_changed(objects: Objects) -> Iterator[Problem]:
    """A node keeps its key.

    Another key is another node: peers don't know it, and a validator that the chain counts on is
    away.
    """
    for old, new in changed_in_place(objects, "StatefulSet"):
        before, after = keys(old), keys(new)
        for volume in before.keys() & after.keys():
            (_, was), (path, now) = before[volume], after[volume]
            names = [paths.get(source, ("secretName",)) for source in (was, now)]
            if names[0] != names[1]:
                message = f"the pods of {new.label} take their keys from the Secret {names[1]}"
                message += f" instead of {names[0]}: other keys are other nodes, and the chain's"
                message += " validators would be away"
                fix = f"leave it at {names[0]}; a Secret can be made anew under the same name"
                yield Problem(new, (*path, "secretName"), message, fix)
                continue
            yield from _other_items(new, path, was, now)


def _other_items(new: Manifest, path: Where, was: Any, now: Any) -> Iterator[Problem]:
    """Yield the pods that are given the key of another."""
    before = {
        text_of(item.get("path")): text_of(item.get("key"))
        for _, item in mappings(was.get("items"))
    }
    for index, item in mappings(now.get("items")):
        pod, key = text_of(item.get("path")), text_of(item.get("key"))
        if pod in before and before[pod] != key:
            message = (
                f"{pod} gets '{key}' of the Secret as its key instead of '{before[pod]}': it is"
            )
            message += " another node then, and two with one key fork the chain"
            fix = f"leave it at '{before[pod]}'"
            yield Problem(new, (*path, "items", index, "key"), message, fix)


@rule("docs/eks.md", Severity.WARNING)
def node_key_source_changed(objects: Objects) -> Iterator[Problem]:
    """A node's key comes from the same entry of the store.

    If the new entry has another key, the node becomes another one at its next start.
    """
    for old, new in _external_keys(objects):
        entries = _entries(old)
        for index, one in mappings(spec_of(new, "data")):
            key = text_of(one.get("secretKey"))
            was, now = entries.get(key), _entry(one)
            if was and was != now:
                message = f"{new.label} reads '{key}' from {now} instead of {was}:"
                message += " if that is another key, the node becomes another one"
                fix = "make sure that the same keys are there before you merge"
                path = ("spec", "data", index, "remoteRef", "key")
                yield Problem(new, path, message, fix)
                break


@rule("https://external-secrets.io/latest/api/externalsecret/", Severity.WARNING)
def node_keys_looked_up_again(objects: Objects) -> Iterator[Problem]:
    """Keys of nodes are not looked up again by a change that is about something else.

    The operator does so when a label, an annotation or the spec of their ExternalSecret changes. If
    the store has another key by then, the node does not start with it.
    """
    for old, new in _external_keys(objects):
        fields = [
            (field, path)
            for field, path in _LOOKED_UP
            if paths.get(old.object, path) != paths.get(new.object, path)
        ]
        before, after = _entries(old), _entries(new)
        moved = any(before[key] != after[key] for key in before.keys() & after.keys())
        if fields and not moved and paths.get(new.object, ("spec", "refreshPolicy")) == "OnChange":
            names = " and ".join(field for field, _ in fields)
            message = f"{names} of {new.label} change: the operator looks the nodes' keys up again,"
            message += " and a node that gets another key does not start"
            fix = "leave them as they are, or make sure that the store has the same keys"
            yield Problem(new, fields[0][1], message, fix)


_LOOKED_UP: tuple[tuple[str, Where], ...] = (
    ("the labels", ("metadata", "labels")),
    ("the annotations", ("metadata", "annotations")),
    ("the spec", ("spec",)),
)
"""What GetResourceVersion in the operator's pkg/controllers/util/util.go compares."""


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
    return {
        text_of(one.get("secretKey")): _entry(one) for _, one in mappings(spec_of(manifest, "data"))
    }


@rule(
    "https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#migrating-deployments-and-statefulsets-to-horizontal-autoscaling"
)
def autoscaler_removed_with_pods(objects: Objects) -> Iterator[Problem]:
    """Where an autoscaler goes, the pods that it kept stay.

    Without it, `replicas` counts from one moment to the next: pods that serve go at once.
    """
    kept = {one.manifest.identity: one for one in objects.workloads}
    scaled = {autoscalers.as_target(one.manifest): one for one in workloads(objects.old)}
    for old in objects.gone:
        was = scaled.get(autoscalers.target(old)) if old.kind == autoscalers.KIND else None
        if was is None or objects.autoscalers(was.manifest):
            continue
        now = kept.get(was.manifest.identity)
        if now and now.least < was.least:
            message = f"{old.label} is gone, which kept {was.least} to {was.most} pods of"
            message += f" {was.manifest.label}: it falls to {now.least} at once"
            fix = f"write replicas: {was.least} or more for it, as many as run now"
            yield Problem(old, (), message, fix)


def _mounts(manifest: Manifest) -> dict[tuple[str, str, str], tuple[Where, Any]]:
    """Return (container, volume, path in it) → path of the mount and its folder of the volume."""
    return {
        (container.name, str(mount.get("name")), str(mount.get("mountPath"))): (
            path,
            mount.get("subPath"),
        )
        for container in containers.of_object(manifest)
        for path, mount in container.mounts()
    }


def _entry(one: Any) -> str:
    """Return where in the store the operator reads a key."""
    entry = (paths.get(one, ("remoteRef", field)) for field in ("key", "property"))
    return "#".join(part for part in entry if isinstance(part, str))


@rule("https://besu.hyperledger.org/public-networks/concepts/data-storage-formats")
def storage_format_changed(objects: Objects) -> Iterator[Problem]:
    """A Besu that has data keeps the format in which it has them.

    With another it does not start: its database can't be read in it.
    """
    old = {node.container.place: _format(node) for node in _nodes_before(objects) if node.is_known}
    for node in objects.programs if old else ():
        was = old.get(node.container.place)
        if node.program != node_config.BESU or not node.is_known or was in (None, _format(node)):
            continue
        message = (
            f"data-storage-format of {node.name} changes from {was} to {_format(node)}: it can't "
            "read the data that it has, and does not start"
        )
        fix = f'write data-storage-format = "{was}"; another needs new volumes, and all blocks anew'
        yield Problem(*node.place(node.settings.get("data-storage-format")), message, fix)


def _nodes_before(objects: Objects) -> list[node_config.Node]:
    if not any(old.kind == "ConfigMap" or old.kind == "StatefulSet" for old, _ in objects.changed):
        return []
    maps = [old for old in objects.old if old.kind == "ConfigMap"]
    return node_config.nodes(workloads(objects.old), maps)


def _format(node: node_config.Node) -> str:
    setting = node.settings.get("data-storage-format")
    return str(setting.value).upper() if setting else "BONSAI"


@rule("https://external-secrets.io/latest/guides/ownership-deletion-policy/", Severity.WARNING)
def secret_deleted_with_its_source(objects: Objects) -> Iterator[Problem]:
    """A Secret outlives its entry in the secrets manager.

    Else one wrong click there deletes it here, too: the pods that need it don't start again.
    """
    for manifest in objects.of_kind("ExternalSecret"):
        path = ("spec", "target", "deletionPolicy")
        if paths.get(manifest.object, path) == "Delete":
            message = f"the Secret of {manifest.label} is deleted with its entry in the store"
            yield Problem(manifest, path, message, "write Retain")


@rule("https://helm.sh/docs/howto/charts_tips_and_tricks/", Severity.WARNING)
def config_change_without_rollout(objects: Objects) -> Iterator[Problem]:
    """Pods start again when a ConfigMap changes that they read at their start.

    Its checksum in their template does that; without, they go on with the old files until somebody
    restarts them, and then they all change at once.
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
            if (found := objects.find("ConfigMap", name)) and not found.object.get("immutable")
        ]
        if manifest.kind not in ("Deployment", "StatefulSet") or len(sums) >= len(maps):
            continue
        names = " and ".join(maps)
        message = (
            f"{manifest.label} reads {names}, and has {len(sums) or 'no'} checksum of them: its "
            "pods don't start again when one changes"
        )
        path = (*workload.template, "metadata", "annotations")
        yield Problem(manifest, path, message, "write an annotation checksum/… for each of them")


def _read_while_running(workload: Workload) -> set[str]:
    """Return the ConfigMaps that a workload's containers read, without those of init containers."""
    names = [
        mount.get("name")
        for container in containers.of(workload)
        for _, mount in container.mounts()
        if not container.is_init
    ]
    read = [volume for _, volume in workload.volumes() if volume.get("name") in names]
    return config_maps({"containers": workload.pod_spec.get("containers"), "volumes": read})
