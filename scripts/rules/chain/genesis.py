"""Genesis: all chain nodes start from the same one, and agree on how blocks are made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from scripts.chain import known_chains
from scripts.chain.node_config import BESU, MARU, Node, Setting, listed
from scripts.core import paths, tomlio
from scripts.core.findings import Severity, UserError
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import Workload
from scripts.rules.chain.pairs import in_words, unpaired
from scripts.rules.chain.settings import named, write
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects, once


@rule("docs/chain.md")
def pod_not_in_genesis(objects: Objects) -> Iterator[Problem]:
    """Each pod of Maru that is configured as a validator is in the genesis.

    Otherwise it never proposes a block, and its pod and its sequencer have no effect.
    """
    for group in () if unpaired(objects) else _validators(objects):
        if group.running > len(group.addresses):
            message = (
                f"Maru has {in_words(group.running)}, but {group.manifest.label} has "
                f"{len(group.addresses)} validators: the other pods never propose a block"
            )
            yield Problem(*group.place, message, group.fix)


@rule("docs/chain.md", Severity.WARNING)
def genesis_validator_without_pod(objects: Objects) -> Iterator[Problem]:
    """Each validator of the genesis has a pod.

    A validator without a pod counts as failed, so the chain tolerates fewer other failures.
    """
    for group in () if unpaired(objects) else _validators(objects):
        if group.quorum <= group.running < len(group.addresses):
            spare = group.running - group.quorum
            may_fail = f"at most {spare} of the pods may fail" if spare else "no pod may fail"
            message = (
                f"Maru has {in_words(group.running)}, but {group.manifest.label} has "
                f"{len(group.addresses)} validators: a block needs {group.quorum} of them, so "
                f"{may_fail}"
            )
            yield Problem(*group.place, message, group.fix)


@rule("docs/chain.md")
def duplicate_genesis_validator(objects: Objects) -> Iterator[Problem]:
    """A genesis lists each validator once.

    A validator signs each block only once, so its duplicate always counts as failed.
    """
    for group in _validators(objects):
        twice = sorted({a for a in group.addresses if group.addresses.count(a) > 1})
        if twice:
            message = (
                f"validatorSet in {group.key} has {twice[0]} twice: the duplicate never signs, "
                "so the chain tolerates fewer failures"
            )
            fix = (
                f"list each address of network.validators in overlays/{objects.name}/network.yaml "
                "once"
            )
            yield Problem(group.manifest, ("data", group.key), message, fix)


@rule("docs/chain.md")
def conflicting_genesis(objects: Objects) -> Iterator[Problem]:
    """All Besus start from the same genesis, and so do all Marus.

    With another genesis the first block differs: the nodes reject each other's blocks.
    """
    first: dict[str, tuple[Node, str, Any]] = {}  # program → node, its file, and its genesis
    # Patched workloads come last, because the later of two is reported.
    for node in sorted(objects.programs, key=lambda node: bool(node.workload.manifest.patches)):
        genesis = node.text("genesis-file")
        if genesis is None:
            continue
        manifest, key, text = genesis
        data = _json(manifest, key, text)
        file = f"{key} of {manifest.label}"
        other = first.setdefault(node.program, (node, file, data))
        if data is not None and other[2] is not None and other[2] != data:
            message = (
                f"the container {node.name} has the genesis {file}, but the container "
                f"{other[0].name} has {other[1]}, which differs: they reject each other's blocks"
            )
            where = node.volume(node.file(str(node.options["genesis-file"].value)))
            fix = f"mount {other[1]} in both containers"
            yield Problem(node.workload.manifest, where, message, fix)


@rule("https://besu.hyperledger.org/public-networks/concepts/genesis-file")
def missing_genesis(objects: Objects) -> Iterator[Problem]:
    """Each Besu has a genesis file, or the name of a network.

    Otherwise it joins Ethereum's mainnet.
    """
    for node in objects.programs:
        if node.program == BESU and not node.settings.keys() & {"genesis-file", "network"}:
            message = (
                f"the container {node.name} has no genesis-file: Besu would join Ethereum's mainnet"
            )
            path = (*node.container.path, "args")
            fix = "add --genesis-file=/genesis/besu.json to args"
            yield Problem(node.workload.manifest, path, message, fix)


@rule("https://besu.hyperledger.org/public-networks/concepts/network-and-chain-id")
def network_id_mismatch(objects: Objects) -> Iterator[Problem]:
    """Besu's network ID is the chain ID of its genesis, which is the default.

    Nodes with different network IDs don't become peers, and get neither blocks nor transactions.
    """
    for node in objects.programs:
        setting, genesis = node.settings.get("network-id"), node.text("genesis-file")
        if setting is None or genesis is None:
            continue
        chain = paths.get(_json(*genesis), ["config", "chainId"])
        if isinstance(chain, int) and str(setting.value) != str(chain):
            message = (
                f"{named(setting)} is {setting.value} for the container {node.name}, but the chain "
                f"ID in its genesis is {chain}: nodes with network ID {chain} don't become its "
                "peers"
            )
            fix = f"remove {named(setting)}: the default is the chain ID"
            yield Problem(setting.manifest, setting.path, message, fix)


@rule("https://eips.ethereum.org/EIPS/eip-155", Severity.WARNING)
def public_chain_id(objects: Objects) -> Iterator[Problem]:
    """The chain ID is not that of a public chain.

    Otherwise wallets show the name and the currency of the public chain, and a transaction that is
    signed for one of the two chains is also valid on the other.
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
                f"the chain ID {chain} is that of a public chain ({public} in "
                "ethereum-lists/chains): wallets show its name, and a transaction that is signed "
                "for one chain is valid on the other"
            )
            fix = (
                'create a new chain, whose ID is then unused: see "Start over" in docs/network.md; '
                "if this chain is in use, keep it, and tell its users to use other accounts than "
                f"on {public}"
            )
            yield Problem(manifest, ("data", key), message, fix)


@rule("https://besu.hyperledger.org/private-networks/concepts/node-sync-private")
def sequencer_without_full_sync(objects: Objects) -> Iterator[Problem]:
    """Sequencers use the sync mode FULL.

    In another mode they wait for peers that have the state before they build blocks. If all of
    them wait, the chain never starts.
    """
    for node in _sequencers(objects):
        setting = node.settings.get("sync-mode")
        if setting and str(setting.value).upper() != "FULL":
            message = (
                f"sync-mode of the container {node.name} is {setting.value}: before Besu builds "
                "blocks, it waits for peers that have the state, and if all sequencers wait, the "
                "chain stops"
            )
            fix = write(node, setting, "sync-mode", "FULL")
            yield Problem(setting.manifest, setting.path, message, fix)


@rule(
    "https://besu.hyperledger.org/public-networks/reference/cli/options#tx-pool-max-prioritized-by-type"
)
def sequencer_accepts_blobs(objects: Objects) -> Iterator[Problem]:
    """Sequencers put no blob transactions (EIP-4844) into blocks.

    Maru passes payloads on without the hashes of blobs. Besu rejects such a block if it has a blob,
    and the chain stops.
    """
    for node in _sequencers(objects):
        setting = node.settings.get("tx-pool-max-prioritized-by-type")
        genesis = node.text("genesis-file")
        config = paths.get(_json(*genesis), ["config"]) if genesis else None
        has_blobs = any(
            isinstance(config, dict) and fork in config for fork in ("cancunTime", "pragueTime")
        )
        if has_blobs and node.is_known and "BLOB=0" not in _texts(setting):
            message = (
                f"the container {node.name} puts blob transactions into blocks: a block with one "
                "stops the chain"
            )
            others = [text for text in _texts(setting) if not text.startswith("BLOB=")]
            fix = write(node, setting, "tx-pool-max-prioritized-by-type", ["BLOB=0", *others])
            yield Problem(*node.place(setting), message, fix)


@rule("https://besu.hyperledger.org/public-networks/reference/cli/options#min-gas-price")
def sequencer_min_gas_price_too_high(objects: Objects) -> Iterator[Problem]:
    """The min-gas-price of sequencers is not above that of public nodes.

    Otherwise public nodes accept transactions that no sequencer includes: they stay pending
    forever.
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
                f"min-gas-price of the container {node.name} is {price} wei, but a public Besu "
                f"accepts transactions from {min(others)} wei on: the cheaper ones stay pending "
                "forever"
            )
            setting = node.settings.get("min-gas-price")
            fix = write(node, setting, "min-gas-price", min(others))
            yield Problem(*node.place(setting), message, fix)


_GAS_PRICE = 1000
"""Besu's default, in wei."""


def _gas_price(node: Node) -> int:
    setting = node.settings.get("min-gas-price")
    text = str(setting.value) if setting else ""
    return int(text) if text.isdecimal() else _GAS_PRICE


def _texts(setting: Setting | None) -> list[str]:
    return [text.strip().upper() for text in listed(setting)]


@once
def _sequencers(objects: Objects) -> Iterator[Node]:
    """Yield the Besus that validators drive: those of the component sequencer."""
    for node in objects.programs:
        if node.program == BESU and node.workload.manifest.component == "sequencer":
            yield node


@dataclass(frozen=True, slots=True)
class _Validators:
    """The validators of a Maru genesis, and the workload whose pods have their keys."""

    manifest: Manifest
    key: str
    addresses: list[str]
    """In lower case, in the order of the genesis."""
    workload: Workload

    @property
    def running(self) -> int:
        """Return the minimum number of pods."""
        return self.workload.least

    @property
    def quorum(self) -> int:
        """Return how many validators a block needs: two thirds, rounded up."""
        return -(-2 * len(self.addresses) // 3)

    @property
    def place(self) -> tuple[Manifest, Where]:
        """Return what to change: the genesis if only it is patched, otherwise replicas."""
        if self.manifest.patches and not self.workload.manifest.patches:
            return self.manifest, ("data", self.key)
        return self.workload.manifest, ("spec", "replicas")

    @property
    def fix(self) -> str:
        """Return what to write at the place."""
        if self.place[0] is self.manifest:
            return f"list {self.running} addresses in validatorSet, one for each pod of Maru"
        return f"write replicas: {len(self.addresses)} for both Maru and the sequencer"


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
            addresses = [str(address).lower() for address in chosen]
            yield _Validators(genesis[0], genesis[1], addresses, node.workload)


def _time(key: str) -> int:
    return int(key) if str(key).isdecimal() else 0


def _json(manifest: Manifest, key: str, text: str) -> Any:
    """Return the data of a JSON text; None if it is invalid, which another check reports."""
    try:
        return tomlio.from_json(text, f"{manifest.name}/{key}").data
    except UserError:
        return None


@rule("docs/chain.md")
def missing_el_sync_refresh(objects: Objects) -> Iterator[Problem]:
    """A Maru that follows the chain polls the sync status of its Besu.

    Otherwise a Besu that falls behind, for example after a restart, never catches up.
    """
    for node in objects.programs:
        keys = node.settings
        follows = node.program == MARU and not any(key.startswith("qbft.") for key in keys)
        leads = any(key.endswith("engine-api-endpoint.endpoint") for key in keys)
        if follows and leads and "syncing.el-sync-status-refresh-interval" not in keys:
            message = (
                f"the container {node.name} does not poll the sync status of its Besu: if Besu "
                "falls behind, it never catches up"
            )
            fix = write(node, None, "syncing.el-sync-status-refresh-interval", "1 seconds")
            yield Problem(*node.place(None), message, fix)
