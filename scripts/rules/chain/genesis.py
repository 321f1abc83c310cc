"""Genesis: nodes start from one genesis, and agree on how blocks are made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from scripts.chain.node_config import BESU, MARU, Node, Setting, listed
from scripts.core import paths, tomlio
from scripts.core.findings import Severity, UserError
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import Workload
from scripts.rules.chain.pairs import in_words, unpaired
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects, once


@rule("docs/chain.md")
def pod_not_in_genesis(objects: Objects) -> Iterator[Problem]:
    """Each Maru that is set up as a validator is one in the genesis.

    Else it never makes a block, and its pod and its sequencer's are there for nothing.
    """
    for found in () if unpaired(objects) else _validators(objects):
        if found.running > len(found.addresses):
            message = (
                f"{in_words(found.running)} of Maru, and {len(found.addresses)} validators in "
                f"{found.manifest.label}: those beyond never make a block"
            )
            fix = f"write {len(found.addresses)}, or make another network with nox -s network"
            yield Problem(*found.place, message, fix)


@rule("docs/chain.md", Severity.WARNING)
def genesis_validator_without_pod(objects: Objects) -> Iterator[Problem]:
    """Each validator of the genesis has a pod.

    One that never runs counts as one that is away: the chain survives the loss of fewer.
    """
    for found in () if unpaired(objects) else _validators(objects):
        if found.quorum <= found.running < len(found.addresses):
            spare = found.running - found.quorum
            message = (
                f"{in_words(found.running)} of Maru for {len(found.addresses)} validators in "
                f"{found.manifest.label}: a block needs {found.quorum}, so no more than {spare} "
                "may be away"
            )
            yield Problem(*found.place, message, f"write {len(found.addresses)}")


@rule("docs/chain.md")
def duplicate_genesis_validator(objects: Objects) -> Iterator[Problem]:
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
def conflicting_genesis(objects: Objects) -> Iterator[Problem]:
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
def missing_genesis(objects: Objects) -> Iterator[Problem]:
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
def network_id_mismatch(objects: Objects) -> Iterator[Problem]:
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


@rule("https://besu.hyperledger.org/private-networks/concepts/node-sync-private")
def sequencer_without_full_sync(objects: Objects) -> Iterator[Problem]:
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
def sequencer_accepts_blobs(objects: Objects) -> Iterator[Problem]:
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
def sequencer_min_gas_price_too_high(objects: Objects) -> Iterator[Problem]:
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


@rule("docs/chain.md")
def missing_el_sync_refresh(objects: Objects) -> Iterator[Problem]:
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
