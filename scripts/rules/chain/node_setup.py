"""Chain: nodes have keys, a genesis and a place for their data, each its own where it must be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from scripts.chain import known_chains
from scripts.chain.node_config import BESU, MARU, File, Node, Setting, listed
from scripts.core import paths, tomlio
from scripts.core.findings import Severity, UserError
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import Workload, mappings, whole
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import STATEFUL, Container, Objects, once, pod

_KEY_FILES = {BESU: "node-private-key-file", MARU: "persistence.private-key-path"}
_DATA = {BESU: "data-path", MARU: "persistence.data-path"}
_POD_LABEL = STATEFUL[0]
_ISOLATED = ("emptyDir", "ephemeral", "")
"""What goes with its pod: volumes of such kinds, and a container's own file system."""


# Keys


@rule("docs/chain.md")
def validators_unpaired(objects: Objects) -> Iterator[Problem]:
    """There are as many Marus as sequencers.

    Each Maru drives the sequencer of its own ordinal: one without the other makes no block.
    """
    pair = _unpaired(objects)
    if pair:
        one, other = pair
        message = (
            f"{one.manifest.label} has {_pods(one.most)} and {other.manifest.label} {other.most}: "
            "each Maru drives the sequencer of its own ordinal, so those beyond make no block"
        )
        fix = f"write the same number for both, as {other.most} here"
        yield Problem(one.manifest, ("spec", "replicas"), message, fix)


def _unpaired(objects: Objects) -> tuple[Workload, Workload] | None:
    """Return Marus and sequencers where there are not as many of each, what is patched first."""
    maru, sequencer = objects.component("maru"), objects.component("sequencer")
    if not maru or not sequencer or maru.most == sequencer.most:
        return None
    return (sequencer, maru) if sequencer.manifest.patches else (maru, sequencer)


@rule("docs/chain.md")
def autoscaled_validators(objects: Objects) -> Iterator[Problem]:
    """What has a key for each pod is not scaled by load.

    Another pod has no key and is in no genesis, and one that is taken away is missing for a block.
    """
    keyed = {node.workload.manifest.label for node in objects.nodes if _secret_key(node)}
    for manifest in objects.of_kind("HorizontalPodAutoscaler"):
        target = paths.get(manifest.object, ["spec", "scaleTargetRef"])
        label = f"{paths.get(target, ['kind'])}/{paths.get(target, ['name'])}"
        if label in keyed:
            message = (
                f"{manifest.label} scales {label}, whose pods each have a key of their own: "
                "a pod more has none, and a pod less is a validator that is missing"
            )
            fix = "remove the autoscaler: the number of validators is that of the genesis"
            yield Problem(manifest, ("spec", "scaleTargetRef", "name"), message, fix)


@rule("docs/chain.md")
def pod_without_key(objects: Objects) -> Iterator[Problem]:
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
def key_shared_by_pods(objects: Objects) -> Iterator[Problem]:
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
def sender_in_two_pods(objects: Objects) -> Iterator[Problem]:
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
        keys = found.setdefault((node.workload.manifest.label, node.container.path), [])
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


# The genesis


@rule("docs/chain.md")
def pod_that_is_no_validator(objects: Objects) -> Iterator[Problem]:
    """Each Maru that is set up as a validator is one in the genesis.

    Else it never makes a block, and its pod and its sequencer's are there for nothing.
    """
    for found in () if _unpaired(objects) else _validators(objects):
        if found.running > len(found.addresses):
            message = (
                f"{_pods(found.running)} of Maru, and {len(found.addresses)} validators in "
                f"{found.manifest.label}: those beyond never make a block"
            )
            fix = f"write {len(found.addresses)}, or make another network with nox -s network"
            yield Problem(*found.place, message, fix)


@rule("docs/chain.md", Severity.WARNING)
def validator_without_pod(objects: Objects) -> Iterator[Problem]:
    """Each validator of the genesis has a pod.

    One that never runs counts as one that is away: the chain survives the loss of fewer.
    """
    for found in () if _unpaired(objects) else _validators(objects):
        if found.quorum <= found.running < len(found.addresses):
            spare = found.running - found.quorum
            message = (
                f"{_pods(found.running)} of Maru for {len(found.addresses)} validators in "
                f"{found.manifest.label}: a block needs {found.quorum}, so no more than {spare} "
                "may be away"
            )
            yield Problem(*found.place, message, f"write {len(found.addresses)}")


@rule("docs/chain.md")
def validator_listed_twice(objects: Objects) -> Iterator[Problem]:
    """A genesis lists each validator once.

    One key can't sign twice, so the second is a validator that is always away.
    """
    for found in _validators(objects):
        twice = sorted({one for one in found.addresses if found.addresses.count(one) > 1})
        if twice:
            message = f"{found.key}: validatorSet has {twice[0]} twice: one of the two never signs"
            fix = "list each validator's own address once, as nox -s network writes them"
            yield Problem(found.manifest, ("data", found.key), message, fix)


@rule("docs/chain.md")
def nodes_of_two_chains(objects: Objects) -> Iterator[Problem]:
    """All nodes of a program start from one genesis.

    One with another genesis has another first block: it follows none of the others' blocks.
    """
    first: dict[str, tuple[Node, str, Any]] = {}
    # What a patch has changed is the one to tell of.
    for node in sorted(objects.programs, key=lambda node: bool(node.workload.manifest.patches)):
        genesis = node.text("genesis-file")
        if genesis is None:
            continue
        manifest, key, text = genesis
        data = _json(manifest, key, text)
        other = first.setdefault(node.program, (node, f"{manifest.name}/{key}", data))
        if data is not None and other[2] is not None and other[2] != data:
            message = (
                f"{node.name} starts from {manifest.name}/{key}, and {other[0].name} from "
                f"{other[1]}, which is another genesis: neither takes the other's blocks"
            )
            where = node.volume(node.file(str(node.options["genesis-file"].value)))
            fix = f"mount {other[1]} in both"
            yield Problem(node.workload.manifest, where, message, fix)


@rule("https://besu.hyperledger.org/public-networks/concepts/genesis-file")
def besu_without_genesis(objects: Objects) -> Iterator[Problem]:
    """Besu is given the genesis of this chain.

    Else it joins Ethereum's mainnet.
    """
    for node in objects.programs:
        if node.program == BESU and not node.settings.keys() & {"genesis-file", "network"}:
            message = f"{node.name} has no genesis file: it would join Ethereum's mainnet"
            path = (*node.container.path, "args")
            fix = "write --genesis-file=/genesis/besu.json"
            yield Problem(node.workload.manifest, path, message, fix)


@rule("https://besu.hyperledger.org/public-networks/concepts/network-and-chain-id")
def network_id_of_another_chain(objects: Objects) -> Iterator[Problem]:
    """Besu's network id is the chain id of its genesis, as it is where none is written.

    Nodes with different network ids don't become peers, and get neither blocks nor transactions.
    """
    for node in objects.programs:
        setting, genesis = node.settings.get("network-id"), node.text("genesis-file")
        if setting is None or genesis is None:
            continue
        chain = paths.get(_json(*genesis), ["config", "chainId"])
        if isinstance(chain, int) and str(setting.value) != str(chain):
            message = (
                f"{setting.called} is {setting.value} in {node.name}, and the chain's id is "
                f"{chain}: nodes that have {chain} don't become its peers"
            )
            yield Problem(setting.manifest, setting.path, message, f"remove it, or write {chain}")


@rule("https://eips.ethereum.org/EIPS/eip-155", Severity.WARNING)
def chain_id_of_a_public_chain(objects: Objects) -> Iterator[Problem]:
    """A chain of one's own has an id that no public chain has.

    A wallet shows the public chain's name and currency for it, and a transaction that is signed for
    one of the two is valid on the other, too.
    """
    seen = set[tuple[str, str]]()
    for node in objects.programs:
        genesis = node.text("genesis-file") if node.program == BESU else None
        if genesis is None or (genesis[0].label, genesis[1]) in seen:
            continue
        manifest, key, _ = genesis
        seen.add((manifest.label, key))
        chain = paths.get(_json(*genesis), ["config", "chainId"])
        public = known_chains.short_name(chain) if isinstance(chain, int) else None
        if public:
            message = (
                f"the chain id {chain} is that of a public chain ({public} in "
                "ethereum-lists/chains): wallets show its name, and a transaction that is signed "
                "for one chain is valid on the other"
            )
            fix = (
                "if the chain has never run, create it anew with nox -s network, which chooses an "
                "unused id; otherwise tell its users"
            )
            yield Problem(manifest, ("data", key), message, fix)


@rule("https://besu.hyperledger.org/private-networks/concepts/node-sync-private")
def sequencer_syncs_by_snapshot(objects: Objects) -> Iterator[Problem]:
    """A Besu that makes the chain's blocks syncs in full.

    With any other mode it first waits for peers that have the state: where all do, none ever comes
    to make a block.
    """
    for node in _sequencers(objects):
        setting = node.settings.get("sync-mode")
        if setting and str(setting.value).upper() != "FULL":
            message = (
                f"sync-mode of {node.name} is {setting.value}: before it makes a block it waits "
                "for peers that have the state, and they wait for it"
            )
            yield Problem(setting.manifest, setting.path, message, 'write sync-mode = "FULL"')


@rule(
    "https://besu.hyperledger.org/public-networks/reference/cli/options#tx-pool-max-prioritized-by-type"
)
def sequencer_takes_blobs(objects: Objects) -> Iterator[Problem]:
    """A Besu that makes blocks for Maru puts no blob transaction (EIP-4844) into them.

    Maru hands payloads over without the hashes of blobs: Besu refuses a block that has one, and the
    chain stands still.
    """
    for node in _sequencers(objects):
        setting = node.settings.get("tx-pool-max-prioritized-by-type")
        genesis = node.text("genesis-file")
        config = paths.get(_json(*genesis), ["config"]) if genesis else None
        has_blobs = any(
            isinstance(config, dict) and fork in config for fork in ("cancunTime", "pragueTime")
        )
        if has_blobs and node.is_known and "BLOB=0" not in _texts(setting):
            message = f"{node.name} takes blob transactions: a block with one stops the chain"
            fix = 'write tx-pool-max-prioritized-by-type = ["BLOB=0"]'
            yield Problem(*node.place(setting), message, fix)


@rule("https://besu.hyperledger.org/public-networks/reference/cli/options#min-gas-price")
def sequencer_asks_higher_price(objects: Objects) -> Iterator[Problem]:
    """The sequencers take transactions at the price at which the public nodes take them.

    What a public node takes for less stays in its pool: its sender waits for ever.
    """
    sequencers = _sequencers(objects)
    others = [
        _gas_price(node)
        for node in objects.programs
        if node.program == BESU and node.is_known and node not in sequencers
    ]
    for node in sequencers if others else ():
        price = _gas_price(node)
        if node.is_known and price > min(others):
            message = (
                f"min-gas-price of {node.name} is {price} wei, and a public node takes "
                f"transactions for {min(others)}: those never come into a block"
            )
            setting = node.settings.get("min-gas-price")
            yield Problem(*node.place(setting), message, f"write min-gas-price = {min(others)}")


_GAS_PRICE = 1000
"""Besu's default, in wei."""


def _gas_price(node: Node) -> int:
    setting = node.settings.get("min-gas-price")
    text = str(setting.value) if setting else ""
    return int(text) if text.isdecimal() else _GAS_PRICE


def _texts(setting: Setting | None) -> list[str]:
    return [one.strip().upper() for one in listed(setting)]


@once
def _sequencers(objects: Objects) -> Iterator[Node]:
    """Yield the Besus that validators drive: those that the component is called by."""
    for node in objects.programs:
        if node.program == BESU and node.workload.manifest.component == "sequencer":
            yield node


@dataclass(frozen=True, slots=True)
class _Validators:
    """The validators of a genesis of Maru, and the pods that are to be them."""

    manifest: Manifest
    key: str
    addresses: list[str]
    """Lower case, in their order."""
    workload: Workload

    @property
    def running(self) -> int:
        """Return how many pods there are at least."""
        return self.workload.least

    @property
    def quorum(self) -> int:
        """Return how many a block needs: two thirds, rounded up."""
        return -(-2 * len(self.addresses) // 3)

    @property
    def place(self) -> tuple[Manifest, Where]:
        """Return what decides how many there are: the genesis where it is patched, or replicas."""
        if self.manifest.patches and not self.workload.manifest.patches:
            return self.manifest, ("data", self.key)
        return self.workload.manifest, ("spec", "replicas")


@once
def _validators(objects: Objects) -> Iterator[_Validators]:
    done = set[str]()
    for node in objects.programs:
        label = node.workload.manifest.label
        is_validator = any(key.startswith("qbft.") for key in node.settings)
        genesis = node.text("genesis-file")
        if node.program != MARU or label in done or not is_validator or genesis is None:
            continue
        done.add(label)
        forks = paths.get(_json(*genesis), ["config"])
        last = max(forks, key=_time, default=None) if isinstance(forks, dict) else None
        chosen = paths.get(forks, [str(last), "validatorSet"])
        if isinstance(chosen, list) and chosen:
            addresses = [str(one).lower() for one in chosen]
            yield _Validators(genesis[0], genesis[1], addresses, node.workload)


def _time(key: str) -> int:
    return int(key) if str(key).isdecimal() else 0


def _json(manifest: Manifest, key: str, text: str) -> Any:
    """Return what a JSON text says; None where it is none: the configurations' check tells."""
    try:
        return tomlio.from_json(text, f"{manifest.name}/{key}").data
    except UserError:
        return None


# Data


@rule("https://kubernetes.io/docs/concepts/storage/volumes/#emptydir")
def data_not_kept(objects: Objects) -> Iterator[Problem]:
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
def data_on_shared_volume(objects: Objects) -> Iterator[Problem]:
    """A node's volume is for one node to write: ReadWriteOnce or ReadWriteOncePod.

    RocksDB is for one process on a disk of its own: what many may mount is a network's file system,
    whose locks it can't trust, or can't be written at all.
    """
    for workload in _with_data(objects):
        for index, claim in mappings(workload.get("spec", "volumeClaimTemplates")):
            modes = paths.get(claim, ["spec", "accessModes"])
            for at, mode in enumerate(modes if isinstance(modes, list) else ()):
                if mode not in ("ReadWriteMany", "ReadOnlyMany"):
                    continue
                comes = "can't write to it" if mode == "ReadOnlyMany" else "may damage its data"
                label = workload.manifest.label
                message = f"the volumes of {label} are {mode}: a node's database {comes}"
                path = ("spec", "volumeClaimTemplates", index, "spec", "accessModes", at)
                yield Problem(workload.manifest, path, message, "write ReadWriteOnce")


@rule("https://github.com/facebook/rocksdb/wiki/RocksDB-FAQ")
def folder_of_two_nodes(objects: Objects) -> Iterator[Problem]:
    """No two nodes write one data folder.

    The second finds the database locked and does not start; where locks don't hold, both damage it.
    """
    seen: dict[tuple[str, str], Node] = {}
    for node in objects.nodes:
        setting = node.settings.get(_DATA[node.program])
        file = node.file(str(setting.value)) if setting else None
        if setting is None or file is None or file.kind != "persistentVolumeClaim":
            continue
        claim = _named_claim(node, file)
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


def _named_claim(node: Node, file: File) -> str:
    """Return the claim that a pod's volume names; nothing for one of the StatefulSet's own."""
    for volume in node.container.volumes:
        if paths.get(volume, ["name"]) == file.name:
            return str(paths.get(volume, ["persistentVolumeClaim", "claimName"]) or "")
    return ""


def _claims_of(node: Node) -> Iterator[str]:
    """Yield where a claim of a node's StatefulSet is mounted in it."""
    for _, mount in mappings(node.container.data.get("volumeMounts")):
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


# Backups


@rule("docs/backups.md")
def backup_of_half_a_node(objects: Objects) -> Iterator[Problem]:
    """A backup clones a volume with the data of both Besu and Maru, of one moment.

    A node starts from both alone: a backup of one half fails, or restores nothing.
    """
    claims = _claims(objects)
    right = min((name for name, has in claims.items() if has == {BESU, MARU}), default="")
    for container, path, claim in _clones(objects):
        lacks = {BESU, MARU} - claims.get(claim, {BESU, MARU})
        if lacks and all(node.is_known for node in objects.programs):
            manifest = container.workload.manifest
            message = (
                f"{manifest.label} clones {claim}, which has no data of {' or '.join(lacks)}: "
                "each backup fails"
            )
            fix = f"write {right}" if right else "write the claim of a pod with both"
            yield Problem(manifest, path, message, fix)


@rule("docs/backups.md")
def backup_away_from_its_volume(objects: Objects) -> Iterator[Problem]:
    """A backup runs in the zone of the pod whose volume it clones.

    A clone is made where its source is, and a pod elsewhere can't have it: it stays Pending.
    """
    claims = _claims(objects)
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    for container, _, claim in _clones(objects):
        base, spec = pod(container.workload)
        manifest = container.workload.manifest
        terms = mappings(paths.get(spec, ["affinity", "podAffinity", required]))
        where = (*base, "affinity", "podAffinity", required)
        named = [
            (index, paths.get(term, ["labelSelector", "matchLabels", _POD_LABEL]))
            for index, term in terms
        ]
        wanted = claim.partition("-")[2]
        if claim not in claims or wanted in [name for _, name in named]:
            continue
        fix = f"write {_POD_LABEL}: {wanted}"
        for index, name in named:
            if name is not None:
                path = (*where, index, "labelSelector", "matchLabels", _POD_LABEL)
                message = (
                    f"{manifest.label} runs beside {name}, and clones the volume of {wanted}: in "
                    "another zone it can't have that"
                )
                yield Problem(manifest, path, message, fix)
                break
        else:
            if len(objects.zones) > 1:
                message = (
                    f"{manifest.label} may run in any zone, and clones the volume of {wanted}: "
                    "elsewhere it can't have that"
                )
                fix = f"require podAffinity to the zone of the pod with {_POD_LABEL}: {wanted}"
                yield Problem(manifest, where, message, fix)


@rule("docs/backups.md")
def backups_all_deleted(objects: Objects) -> Iterator[Problem]:
    """A backup is kept until newer ones are there, whatever its age.

    Else, once backups have failed for long enough, the last good one is deleted.
    """
    for container in objects.containers:
        found = _environment(container)
        keep, path = found.get("RETENTION_KEEP", ("1", ()))
        if not keep.isdecimal() or (int(keep) < 1 and found.get("RETENTION_DAYS", "0")[0] != "0"):
            none = "is 0: once they are old enough, all backups are deleted"
            wrong = none if keep.isdecimal() else f"is {keep}, which is no number: the backup fails"
            manifest = container.workload.manifest
            message = f"RETENTION_KEEP of {manifest.label} {wrong}"
            yield Problem(
                manifest, path, message, "write how many to keep whatever their age, as 8"
            )


def _claims(objects: Objects) -> dict[str, set[str]]:
    """Return the claims of pods that are always there, each with the programs whose data it has."""
    found: dict[str, set[str]] = {}
    for node in objects.nodes:
        setting = node.settings.get(_DATA[node.program])
        file = node.file(str(setting.value)) if setting else None
        if file is None or file.kind != "persistentVolumeClaim" or _named_claim(node, file):
            continue
        start = whole(node.workload.get("spec", "ordinals", "start"), 0)
        for ordinal in range(start, start + node.workload.least):
            claim = f"{file.name}-{node.workload.manifest.name}-{ordinal}"
            found.setdefault(claim, set()).add(node.program)
    return found


@once
def _clones(objects: Objects) -> Iterator[tuple[Container, Where, str]]:
    """Yield the containers that see a clone of a volume, with the path and name of the source."""
    for container in objects.containers:
        base, spec = pod(container.workload)
        mounted = [m.get("name") for _, m in mappings(container.data.get("volumeMounts"))]
        for index, volume in mappings(spec.get("volumes")):
            path = ("ephemeral", "volumeClaimTemplate", "spec", "dataSource", "name")
            claim = paths.get(volume, path)
            if isinstance(claim, str) and volume.get("name") in mounted:
                yield container, (*base, "volumes", index, *path), claim


def _environment(container: Container) -> dict[str, tuple[str, Where]]:
    """Return the variables with a text as their value, and its path."""
    return {
        str(variable.get("name")): (variable["value"], (*container.path, "env", index, "value"))
        for index, variable in mappings(container.data.get("env"))
        if isinstance(variable.get("value"), str)
    }


def _pods(number: int) -> str:
    return "1 pod" if number == 1 else f"{number} pods"


@rule("docs/chain.md")
def follower_leaves_besu_behind(objects: Objects) -> Iterator[Problem]:
    """A Maru that follows the chain looks after the Besu that it leads.

    Else a Besu that has fallen behind, as after a restart, is not brought back to the chain's head.
    """
    for node in objects.programs:
        keys = node.settings
        follows = node.program == MARU and not any(key.startswith("qbft.") for key in keys)
        leads = any(key.endswith("engine-api-endpoint.endpoint") for key in keys)
        if follows and leads and "syncing.el-sync-status-refresh-interval" not in keys:
            message = f"{node.name} does not look after its Besu: one that falls behind stays there"
            fix = 'write el-sync-status-refresh-interval = "1 seconds" below [syncing]'
            yield Problem(*node.place(None), message, fix)
