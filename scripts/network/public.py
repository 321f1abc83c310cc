"""The public part of an environment's chain: network.yaml, a file of values that is in git."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scripts import environment, schema, tools, tree, yamlio
from scripts.findings import UsageError, UserError
from scripts.network import genesis
from scripts.yamlio import Document

FUNDS_WEI = 10**24
"""A million ether: at 7 wei a unit of gas, more transfers than a chain has seconds."""

_GIT_S = 600.0


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


def file(name: str) -> str:
    """Return where an environment's network.yaml stands, relative to the repository."""
    return f"overlays/{name}/{environment.NETWORK}"


def read(root: Path, name: str) -> Public | None:
    """Return an environment's network.yaml, None where there is none.

    Raises UserError for one that `network` did not write so, and for one whose parts have come to
    differ since.
    """
    path = root / file(name)
    if not os.path.lexists(path):
        return None
    document = yamlio.load(path, root)
    if findings := schema.check(document, environment.NETWORK_SCHEMA):
        raise UserError(*(replace(finding, rule="network") for finding in findings))
    try:
        besu = json.loads(document.data["genesis"]["besu"])
        maru = json.loads(document.data["genesis"]["maru"])
        found = Public(
            document,
            tuple(
                Validator(v["address"], v["nodeId"], v["peerId"])
                for v in document.data["network"]["validators"]
            ),
            int(besu["config"]["chainId"]),
            frozenset(a.lower() for a, held in besu["alloc"].items() if "code" not in held),
        )
        _compare(found, [a.lower() for a in maru["config"]["0"]["validatorSet"]], maru["chainId"])
    except (KeyError, TypeError, ValueError, AttributeError):
        message = "the file has no validators and genesis as they were written"
        fix = "restore it from git, or remove it for a new chain"
        raise UserError(document.finding("network", [], message, fix)) from None
    return found


def _compare(found: Public, validators: list[str], chain_id: int) -> None:
    """Raise UserError where Maru's genesis has other validators, or another chain id."""
    listed = [validator.address.lower() for validator in found.validators]
    path, message = ["network", "validators"], ""
    if len(listed) != len(validators):
        message = f"the genesis has {len(validators)} validators and this list {len(listed)}"
    elif listed != validators:
        message = "the genesis has other validators than this list, or another order"
    elif found.chain_id != chain_id:
        path = ["genesis", "maru"]
        message = f"Maru's chain id is {chain_id} and Besu's {found.chain_id}"
    if message:
        fix = "restore the file from git"
        raise UserError(found.document.finding("network", path, message, fix))


def others(root: Path, name: str) -> dict[str, Public]:
    """Return the chains of all other environments; raises UserError as read does, saying why."""
    found = {}
    for other in tree.environments(root):
        if other == name or (root / "overlays" / other).is_symlink():
            continue
        try:
            chain = read(root, other)
        except UserError as error:
            why = f"(it is read because {name} must have no validator and no chain id of {other})"
            raise UserError(
                *(replace(f, message=f"{f.message} {why}") for f in error.findings)
            ) from None
        if chain:
            found[other] = chain
    return found


def owners(chains: Mapping[str, Public]) -> dict[str, str]:
    """Return whose each validator's address and nodeId is, by these in small letters."""
    return {
        public.lower(): name
        for name, chain in chains.items()
        for validator in chain.validators
        for public in (validator.address, validator.node_id)
    }


def committed(root: Path, name: str) -> tuple[str, str]:
    """Return the last network.yaml of an environment that git has: its commit, its text.

    Both are empty where git has none, or where there is no git or no repository.
    """
    log = ["log", "-1", "--format=%h", "--diff-filter=AM", "--", file(name)]
    commit = _git(root, *log).strip()
    return (commit, _git(root, "show", f"{commit}:./{file(name)}")) if commit else ("", "")


def _git(root: Path, *arguments: str) -> str:
    with contextlib.suppress(UsageError):
        done = tools.run(["git", *arguments], "network", _GIT_S, cwd=root)
        if done.returncode == 0:
            return done.stdout
    return ""


def label(validators: Iterable[Validator], chain_id: int) -> str:
    """Return what tells one chain's Secrets from another's: 16 hex digits, from public names."""
    names = [*sorted(validator.address.lower() for validator in validators), str(chain_id)]
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


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
        "# yaml-language-server: $schema=../../scripts/network.schema.json\n"
        '# Written once by "nox -s network": the validators and the genesis of one chain. '
        "Another file is another chain.\n"
    )
    return head + yamlio.dump(
        {"network": {"validators": every}, "genesis": {"besu": _json(besu), "maru": _json(maru)}}
    )


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=2) + "\n"
