"""The public part of an environment's chain: network.yaml, a file of values that is in git."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts import environment, yamlio
from scripts.findings import UserError
from scripts.network import genesis
from scripts.yamlio import Document

FUNDS_WEI = 10**24
"""A million ether: at 7 wei a unit of gas, more transfers than a chain has seconds."""


@dataclass(frozen=True, slots=True)
class Validator:
    """The public names of one validator and of its execution client."""

    address: str
    node_id: str
    peer_id: str


@dataclass(frozen=True, slots=True)
class Public:
    """A network.yaml as it stands."""

    document: Document
    validators: tuple[Validator, ...]
    chain_id: int
    accounts: frozenset[str]
    """Addresses, in small letters, that the genesis gives money to."""


def read(root: Path, name: str) -> Public | None:
    """Return an environment's network.yaml, None where there is none.

    Raises UserError for one that `network` did not write so.
    """
    path = root / "overlays" / name / environment.NETWORK
    if not os.path.lexists(path):
        return None
    document = yamlio.load(path, root)
    try:
        besu = json.loads(document.data["genesis"]["besu"])
        return Public(
            document,
            tuple(
                Validator(v["address"], v["nodeId"], v["peerId"])
                for v in document.data["network"]["validators"]
            ),
            int(besu["config"]["chainId"]),
            frozenset(a.lower() for a, held in besu["alloc"].items() if "code" not in held),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        message = "the file has no validators and genesis as they were written"
        fix = "restore it from git, or remove it for a new chain"
        raise UserError(document.finding("network", [], message, fix)) from None


def text(
    validators: Iterable[Validator], chain_id: int, timestamp: int, funded: Iterable[str]
) -> str:
    """Return the network.yaml of a new chain.

    timestamp: of the first block, in seconds since 1970. funded: addresses that get FUNDS_WEI.
    """
    every = [{"address": v.address, "nodeId": v.node_id, "peerId": v.peer_id} for v in validators]
    besu = genesis.besu(chain_id, timestamp, dict.fromkeys(funded, FUNDS_WEI))
    maru = genesis.maru(chain_id, [v["address"] for v in every])
    head = (
        '# Written once by "nox -s network": the validators and the genesis of one chain. '
        "Another file is another chain.\n"
    )
    return head + yamlio.dump(
        {"network": {"validators": every}, "genesis": {"besu": _json(besu), "maru": _json(maru)}}
    )


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=2) + "\n"
