"""The public part of an environment's chain: network.yaml, a values file in git."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scripts.chain import identity
from scripts.core import git, json_schema, yamlio
from scripts.core.findings import UsageError, UserError
from scripts.core.yamlio import Document
from scripts.environments import environment, git_index, layout
from scripts.network import genesis

FUNDS_WEI = 10**24
"""A million ether: at 147,000 wei per transfer, it never runs out."""


@dataclass(frozen=True, slots=True)
class Validator:
    """The public names of a validator and of its execution client."""

    address: str
    node_id: str
    peer_id: str


@dataclass(frozen=True, slots=True)
class Public:
    """An existing network.yaml."""

    document: Document
    validators: tuple[Validator, ...]
    chain_id: int
    accounts: frozenset[str]
    """The addresses, in lower case, that the genesis funds."""


def file(name: str) -> str:
    """Return the path of an environment's network.yaml, relative to the repository."""
    return f"overlays/{name}/{environment.NETWORK}"


def read(root: Path, name: str) -> Public | None:
    """Return an environment's network.yaml; None if it does not exist.

    Raises UserError if the file is invalid, or if its parts contradict each other.
    """
    path = root / file(name)
    if not os.path.lexists(path):
        return None
    document = yamlio.load(path, root)
    if findings := json_schema.check(document, environment.NETWORK_SCHEMA):
        raise UserError(*(replace(finding, rule="invalid-network") for finding in findings))
    try:
        besu = json.loads(document.data["genesis"]["besu"])
        maru = json.loads(document.data["genesis"]["maru"])
        chain = Public(
            document,
            tuple(
                Validator(v["address"], v["nodeId"], v["peerId"])
                for v in document.data["network"]["validators"]
            ),
            int(besu["config"]["chainId"]),
            frozenset(a.lower() for a, account in besu["alloc"].items() if "code" not in account),
        )
        _compare(chain, [a.lower() for a in maru["config"]["0"]["validatorSet"]], maru["chainId"])
    except (KeyError, TypeError, ValueError, AttributeError):
        message = "the file has no valid validators and genesis"
        fix = "restore the file from git; for a new chain, remove it and run nox -s network"
        raise UserError(document.finding("invalid-network", [], message, fix)) from None
    return chain


def _compare(chain: Public, validators: list[str], chain_id: int) -> None:
    """Raise UserError if Maru's genesis has other validators, or another chain id."""
    listed = [validator.address.lower() for validator in chain.validators]
    path, message = ["network", "validators"], ""
    if len(listed) != len(validators):
        message = (
            f"the genesis has {len(validators)} validators, but network.validators has "
            f"{len(listed)}"
        )
    elif listed != validators:
        message = "network.validators and the genesis have other addresses, or in another order"
    elif chain.chain_id != chain_id:
        path = ["genesis", "maru"]
        message = f"Maru's chain id is {chain_id}, but Besu's is {chain.chain_id}"
    if message:
        fix = "restore the file from git"
        raise UserError(chain.document.finding("invalid-network", path, message, fix))


def others(root: Path, name: str) -> dict[str, Public]:
    """Return the chains of all other environments; raises UserError as read does."""
    chains = {}
    if absent := [other for other in git_index.read(root).environments if other != name]:
        paths = git_index.read(root).within(*(f"overlays/{other}/" for other in absent))
        raise UsageError(
            f"git has {', '.join(absent)}, but this checkout leaves that out, and {name} must not "
            f"share a validator or its chain id with it: {git_index.how_to_get(root, paths)}"
        )
    for other in layout.environments(root):
        if other == name or (root / "overlays" / other).is_symlink():
            continue
        try:
            chain = read(root, other)
        except UserError as error:
            why = f"({name} must not share a validator or its chain id with {other})"
            raise UserError(
                *(replace(f, message=f"{f.message} {why}") for f in error.findings)
            ) from None
        if chain:
            chains[other] = chain
    return chains


def owners(chains: Mapping[str, Public]) -> dict[str, str]:
    """Return address or nodeId of a validator, in lower case, → its environment."""
    return {
        public.lower(): name
        for name, chain in chains.items()
        for validator in chain.validators
        for public in (validator.address, validator.node_id)
    }


def committed(root: Path, name: str) -> tuple[str, str]:
    """Return the commit and the text of an environment's latest network.yaml in git.

    Both are empty if git has none, or if there is no git or no repository.
    """
    log = ["log", "-1", "--format=%h", "--diff-filter=AM", "--", file(name)]
    commit = git.ask(root, *log).strip()
    return (commit, git.ask(root, "show", f"{commit}:./{file(name)}")) if commit else ("", "")


def label(validators: Iterable[Validator], chain_id: int) -> str:
    """Return the label of a chain's Secrets: 16 hex digits, derived from its public names."""
    return identity.chain_label([validator.address for validator in validators], chain_id)


def text(
    validators: Iterable[Validator], chain_id: int, timestamp: int, funded: Iterable[str]
) -> str:
    """Return the text of the network.yaml of a new chain.

    timestamp: of the first block, in seconds since 1970. funded: addresses that get FUNDS_WEI.
    """
    every = [{"address": v.address, "nodeId": v.node_id, "peerId": v.peer_id} for v in validators]
    besu = genesis.besu(chain_id, timestamp, dict.fromkeys(funded, FUNDS_WEI))
    maru = genesis.maru(chain_id, [v["address"] for v in every])
    head = (
        "# yaml-language-server: $schema=../../scripts/network.schema.json\n"
        '# Written once by "nox -s network": the validators and the genesis of one chain. '
        "A different genesis is a different chain.\n"
    )
    return head + yamlio.dump(
        {"network": {"validators": every}, "genesis": {"besu": _json(besu), "maru": _json(maru)}}
    )


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=2) + "\n"
