"""Keys: each node has the key that it should have, and no other has it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from scripts.chain.node_config import BESU, MARU, Node
from scripts.core import paths
from scripts.kubernetes import autoscalers
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.volumes import File
from scripts.kubernetes.workloads import mappings
from scripts.rules.chain.pairs import in_words, unpaired
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects, once

_KEY_FILES = {BESU: "node-private-key-file", MARU: "persistence.private-key-path"}


@rule("docs/chain.md")
def unpaired_validators(objects: Objects) -> Iterator[Problem]:
    """There are as many Marus as sequencers.

    Each Maru drives the sequencer of its own ordinal: one without the other makes no block.
    """
    pair = unpaired(objects)
    if pair:
        one, other = pair
        count = f"{one.manifest.label} has {in_words(one.most)} and {other.manifest.label}"
        message = (
            f"{count} {other.most}: each Maru drives the sequencer of its own ordinal, so those "
            "beyond make no block"
        )
        fix = f"write the same number for both, as {other.most} here"
        yield Problem(one.manifest, ("spec", "replicas"), message, fix)


@rule("docs/chain.md")
def autoscaled_validators(objects: Objects) -> Iterator[Problem]:
    """What has a key for each pod is not scaled by load.

    Another pod has no key and is in no genesis, and one that is taken away is missing for a block.
    """
    keyed = {node.workload.manifest.label for node in objects.nodes if _secret_key(node)}
    for manifest in objects.of_kind(autoscalers.KIND):
        label = autoscalers.target(manifest).label
        if label in keyed:
            message = (
                f"{manifest.label} scales {label}, whose pods each have a key of their own: "
                "a pod more has none, and a pod less is a validator that is missing"
            )
            fix = "remove the autoscaler: the number of validators is that of the genesis"
            yield Problem(manifest, (*autoscalers.TARGET, "name"), message, fix)


@rule("docs/chain.md")
def missing_node_key(objects: Objects) -> Iterator[Problem]:
    """Each pod that starts with a key from a Secret finds it there.

    Else its start script fails, and a validator never starts: a block needs two thirds of them.
    """
    for keys in _keys(objects):
        missing = [key for key in keys if key.file.is_there is False]
        if not missing:
            continue
        manifest, first = keys[0].node.workload.manifest, missing[0]
        mounted = first.file.mounted
        if mounted and mounted.inner == ".":
            message = (
                f"{first.path} in {manifest.label} is the whole volume, a folder, and no key: "
                "the container does not start"
            )
            fix = "write subPathExpr: $(POD_NAME), where POD_NAME is the variable of the pod's name"
            yield Problem(manifest, mounted.path, message, fix)
            continue
        names = ", ".join(key.pod for key in missing)
        message = (
            f"the volume of Secret/{first.file.name} has no key for {names}: a pod of "
            f"{manifest.label} without one does not start"
        )
        fix = f"write an item with a key of its own and path: {first.pod}"
        yield Problem(manifest, _items(first), message, fix)


@rule("docs/chain.md")
def shared_node_key(objects: Objects) -> Iterator[Problem]:
    """No two nodes have one private key.

    Two validators with one key sign two blocks at one height, which forks the chain; two nodes with
    one key throw each other out of the network.
    """
    seen: dict[tuple[str, ...], _Key] = {}
    remote = _remotes(objects)
    for keys in _keys(objects):
        for key in keys:
            if key.file.is_there is False:
                continue
            held = (key.file.name, key.file.key)
            first = seen.setdefault((key.node.program, *remote.get(held, held)), key)
            if first is key:
                continue
            manifest, path = key.node.workload.manifest, _items(key)
            fix = "give each pod a key of its own, as nox -s network makes them"
            if (first.file.name, first.file.key) != held:
                found = objects.find("ExternalSecret", key.file.name)
                index = _secret_keys(found).get(key.file.key) if found else None
                if found and index is not None:
                    manifest, path = found, ("spec", "data", index, "remoteRef")
                    fix = f"write the property of {key.pod}'s own key, as {key.file.key}"
            elif key.file.mounted and "$(" not in key.file.mounted.inner:
                path = key.file.mounted.path
                fix = "write subPathExpr: $(POD_NAME), with an item for each pod in the volume"
            message = (
                f"{key.pod} has the same key as {first.pod}, {'/'.join(held)}: two nodes with one "
                "key sign against each other, and the chain forks"
            )
            yield Problem(manifest, path, message, fix)
            break


@rule("docs/chain.md")
def several_tx_senders(objects: Objects) -> Iterator[Problem]:
    """The TX Sender has one pod, also while it is updated.

    Two pods with one account take the same nonces, and each makes transfers of the other fail.
    """
    for workload in objects.workloads:
        manifest = workload.manifest
        if manifest.component != "tx-sender" or manifest.kind != "Deployment":
            continue
        if workload.most > 1:
            message = (
                f"{manifest.label} has {workload.most} pods with one account: they take each "
                "other's nonces"
            )
            yield Problem(manifest, ("spec", "replicas"), message, "write 1")
        if workload.get("spec", "strategy", "type") != "Recreate":
            message = (
                f"an update of {manifest.label} starts the new pod before the old one has ended: "
                "two with one account take each other's nonces"
            )
            yield Problem(manifest, ("spec", "strategy", "type"), message, "write Recreate")


@dataclass(frozen=True, slots=True)
class _Key:
    """The key of a node in one pod."""

    node: Node
    pod: str
    path: str
    """In the container."""
    file: File


@once
def _keys(objects: Objects) -> Iterator[list[_Key]]:
    """Yield the keys that come from Secrets, those of a container's pods together."""
    found: dict[tuple[str, Where], list[_Key]] = {}
    for node in objects.nodes:
        path = _secret_key(node)
        if path is None:
            continue
        keys = found.setdefault(node.container.place, [])
        for name in node.pods:
            keys.append(_Key(node, name, path, node.file(path, name)))
    yield from found.values()


def _secret_key(node: Node) -> str | None:
    """Return the path of a node's private key, where it is in a Secret."""
    setting = node.settings.get(_KEY_FILES[node.program])
    path = str(setting.value) if setting else None
    return path if path and node.file(path).kind == "Secret" else None


def _items(key: _Key) -> Where:
    """Return the path of the items of the volume that a key is in."""
    return (*key.node.volume(key.file), "secret", "items")


def _secret_keys(manifest: Manifest) -> dict[str, int]:
    """Return the keys of the Secret that an ExternalSecret makes, with their indexes."""
    data = mappings(paths.get(manifest.object, ["spec", "data"]))
    return {str(entry.get("secretKey")): index for index, entry in data}


def _remotes(objects: Objects) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return where the keys of Secrets come from: (Secret, key) → place, path, property."""
    found = {}
    for manifest in objects.of_kind("ExternalSecret"):
        spec = paths.get(manifest.object, ["spec"])
        secret = paths.get(spec, ["target", "name"]) or manifest.name
        store = objects.find(
            str(paths.get(spec, ["secretStoreRef", "kind"]) or "SecretStore"),
            paths.get(spec, ["secretStoreRef", "name"]),
        )
        for _, entry in mappings(paths.get(spec, ["data"])):
            remote = entry.get("remoteRef")
            if isinstance(remote, dict):
                parts = [str(remote.get(key) or "") for key in ("key", "property", "version")]
                found[str(secret), str(entry.get("secretKey"))] = (_place(store), *parts)
    return found


def _place(store: Manifest | None) -> str:
    """Return what tells one secrets manager from another: of AWS, account and region."""
    provider = paths.get(store.object, ["spec", "provider"]) if store else None
    role = paths.get(provider, ["aws", "role"])
    if isinstance(role, str) and role.count(":") >= 4:
        return f"{role.split(':')[4]} {paths.get(provider, ['aws', 'region'])}"
    return json.dumps(provider, sort_keys=True, default=str)
