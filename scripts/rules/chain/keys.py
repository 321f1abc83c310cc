"""Keys: each chain node has a private key of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from scripts.chain.node_config import BESU, MARU, Node
from scripts.core import advice, paths
from scripts.core.edits import Action
from scripts.core.fixes import Change, Fix
from scripts.kubernetes import autoscalers, containers
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.volumes import File
from scripts.kubernetes.workloads import mappings
from scripts.rules.chain.pairs import in_words, unpaired
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects, once

_KEY_FILES = {BESU: "node-private-key-file", MARU: "persistence.private-key-path"}


_PAIR = ("maru", "sequencer")


@rule("docs/chain.md")
def unpaired_validators(objects: Objects) -> Iterator[Problem]:
    """There are as many Marus as sequencers.

    Each Maru drives the sequencer with its own ordinal: one without the other builds no blocks.
    """
    pair = unpaired(objects)
    if pair:
        workload, other = pair
        message = (
            f"{workload.manifest.label} has {in_words(workload.most)}, but {other.manifest.label} "
            f"has {other.most}: each Maru drives the sequencer with its own ordinal, so the pods "
            "without a counterpart build no blocks"
        )
        right = objects.chain.validators if objects.chain else other.most
        changes = [Change(Action.WRITE, (part, "replicas"), right) for part in _PAIR]
        fix = Fix(f"write replicas: {right} for both of them", (), changes)
        yield Problem(workload.manifest, ("spec", "replicas"), message, fix)


@rule("docs/chain.md")
def autoscaled_validators(objects: Objects) -> Iterator[Problem]:
    """No autoscaler scales a workload whose pods have private keys.

    A new pod has no key and is not in the genesis. A removed pod is a validator that the chain
    waits for.
    """
    keyed = {node.workload.manifest.label for node in objects.nodes if _secret_key(node)}
    for manifest in objects.of_kind(autoscalers.KIND):
        label = autoscalers.target(manifest).label
        if label in keyed:
            message = (
                f"{manifest.label} scales {label}, whose pods have a private key each: "
                "a new pod has no key, and a removed pod is a missing validator"
            )
            fix = f"remove {manifest.label}: the genesis sets the number of validators"
            yield Problem(manifest, (*autoscalers.TARGET, "name"), message, fix)


@rule("docs/chain.md")
def missing_node_key(objects: Objects) -> Iterator[Problem]:
    """Each pod whose key comes from a Secret has a key there.

    Otherwise its start script fails: the validator is in CrashLoopBackOff, and a block needs two
    thirds of the validators.
    """
    for keys in _keys(objects):
        missing = [key for key in keys if key.file.is_there is False]
        if not missing:
            continue
        manifest, first = keys[0].node.workload.manifest, missing[0]
        mounted = first.file.mounted
        if mounted and mounted.inner == ".":
            message = (
                f"{first.path} in the container {first.node.name} is the whole volume, a folder, "
                "instead of the pod's key: the container does not start"
            )
            fix: str = advice.write("subPathExpr", f"$({_pod_name(first.node)})")
            yield Problem(manifest, mounted.path, message, fix)
            continue
        names = ", ".join(key.pod for key in missing)
        message = (
            f"the volume with Secret/{first.file.name} in {manifest.label} has no key for pod "
            f"{names}: a pod without a key does not start"
        )
        fix = f"add {{key: {_usual_key(first.pod)}, path: {first.pod}}} to the volume's items; the "
        fix += "Secret must have that key"
        yield Problem(manifest, _items(first), message, fix)


@rule("docs/chain.md")
def shared_node_key(objects: Objects) -> Iterator[Problem]:
    """No two chain nodes have the same private key.

    Two validators with the same key sign different blocks at the same height, which forks the
    chain. Two peers with the same key disconnect each other.
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
            shown = held[1]
            fix = f"write key: {_usual_key(key.pod)} in the item with path: {key.pod}"
            if (first.file.name, first.file.key) != held:
                source = objects.find("ExternalSecret", key.file.name)
                index = _secret_keys(source).get(key.file.key) if source else None
                if source and index is not None:
                    manifest, path = source, ("spec", "data", index, "remoteRef")
                    shown = f"{first.file.key} and {key.file.key}"
                    fix = f"write property: {key.file.key}, the one with {key.pod}'s own key"
            elif key.file.mounted and "$(" not in key.file.mounted.inner:
                path = key.file.mounted.path
                fix = f"write subPathExpr: $({_pod_name(key.node)}) instead of subPath; the volume "
                fix += "needs an item for each pod"
            message = (
                f"pods {first.pod} and {key.pod} have the same private key ({shown} of "
                f"Secret/{held[0]}): two validators with the same key sign different blocks, and "
                "the chain forks"
            )
            yield Problem(manifest, path, message, fix)
            break


@rule("docs/chain.md")
def several_tx_senders(objects: Objects) -> Iterator[Problem]:
    """The TX Sender has a single pod, also during an update.

    Two pods with the same account use the same nonces, so that transfers of both fail.
    """
    for workload in objects.workloads:
        manifest = workload.manifest
        if manifest.component != "tx-sender" or manifest.kind != "Deployment":
            continue
        if workload.most > 1:
            message = (
                f"{manifest.label} has {workload.most} pods with the same account: they use the "
                "same nonces, so transfers fail"
            )
            yield Problem(manifest, ("spec", "replicas"), message, advice.write("replicas", 1))
        if workload.get("spec", "strategy", "type") != "Recreate":
            message = (
                f"an update of {manifest.label} starts the new pod before the old one has stopped: "
                "both use the same nonces, so transfers fail"
            )
            path = ("spec", "strategy", "type")
            yield Problem(manifest, path, message, advice.write("strategy", {"type": "Recreate"}))


@dataclass(frozen=True, slots=True)
class _Key:
    """The private key of a chain node in one pod."""

    node: Node
    pod: str
    path: str
    """Its path in the container."""
    file: File


@once
def _keys(objects: Objects) -> Iterator[list[_Key]]:
    """Yield the keys from Secrets, those of a container's pods together."""
    by_container: dict[tuple[str, Where], list[_Key]] = {}
    for node in objects.nodes:
        path = _secret_key(node)
        if path is None:
            continue
        keys = by_container.setdefault(node.container.place, [])
        for name in node.pods:
            keys.append(_Key(node, name, path, node.file(path, name)))
    yield from by_container.values()


def _secret_key(node: Node) -> str | None:
    """Return the path of a node's private key; None if it is not in a Secret."""
    setting = node.settings.get(_KEY_FILES[node.program])
    path = str(setting.value) if setting else None
    return path if path and node.file(path).kind == "Secret" else None


def _pod_name(node: Node) -> str:
    """Return the environment variable that has the pod's name."""
    variables = (one for _, one in node.container.variables() if containers.is_pod_name(one))
    return str(next(variables, {}).get("name", "POD_NAME"))


def _usual_key(pod: str) -> str:
    """Return the key of a pod in its Secret, as nox -s network names it."""
    ordinal = pod.rpartition("-")[2]
    return "key" if ordinal == "0" else f"key-{ordinal}"


def _items(key: _Key) -> Where:
    """Return the path of the items of a key's volume."""
    return (*key.node.volume(key.file), "secret", "items")


def _secret_keys(manifest: Manifest) -> dict[str, int]:
    """Return the keys of the Secret that an ExternalSecret creates, with their indexes."""
    data = mappings(paths.get(manifest.object, ["spec", "data"]))
    return {str(entry.get("secretKey")): index for index, entry in data}


def _remotes(objects: Objects) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the sources of Secrets: (Secret, key) → store, key, property and version there."""
    sources = {}
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
                sources[str(secret), str(entry.get("secretKey"))] = (_place(store), *parts)
    return sources


def _place(store: Manifest | None) -> str:
    """Return what identifies a secrets manager: for AWS, its account and region."""
    provider = paths.get(store.object, ["spec", "provider"]) if store else None
    role = paths.get(provider, ["aws", "role"])
    if isinstance(role, str) and role.count(":") >= 4:
        return f"{role.split(':')[4]} {paths.get(provider, ['aws', 'region'])}"
    return json.dumps(provider, sort_keys=True, default=str)
