"""Create an environment's chain once: the public part in network.yaml, private keys in .secrets/.

The private keys are written first and network.yaml last, so that every network.yaml has its keys.
After a killed run, the next run continues with the existing keys.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from scripts.chain import known_chains
from scripts.chain.identity import checksummed
from scripts.core.findings import UsageError, UserError
from scripts.environments import environment, layout
from scripts.environments.environment import Environment
from scripts.network import conflicts, network_file, plain_values, plan, secret_files
from scripts.network.keys import Key
from scripts.network.network_file import Public, Validator
from scripts.network.plan import Secrets, Wanted
from scripts.output import committed

CHAIN_IDS = range(10**9, 2**31)
"""Where a new chain id is drawn from: few chains are there, and each fits the signed 32 bits that
some wallets and libraries have for it."""

CLOCKS_S = 3600
"""The age of the first block. Later blocks must not be older than it, and the clocks in the cluster
may be behind that of this machine."""

_RISKS = {
    2: "blocks stop as soon as one validator stops",
    3: "one validator may stop, but none may be faulty",
}
"""Number of validators → what it does not tolerate. A block needs two thirds, rounded up
(calculateRequiredValidatorQuorum in Besu's BftHelpers.java); from 4 on, one may be faulty."""

RECIPIENT = "recipient.key"
SCRIPT = "create-secrets.sh"


def make(root: Path, name: str, wanted: Wanted, stream: TextIO) -> None:
    """Create the missing parts of the environment's chain; print what was created and what is next.

    Raises UserError for contradictions between files, values and options, and UsageError for an
    unknown environment or an error of the file system. Existing files are never changed.
    """
    layout.environments(root, [name])
    with committed.locked(root), _as_usage_error(root):
        loaded = environment.load(root, name)
        others = network_file.others(root, name)
        chain = network_file.read(root, name)
        if chain:
            lines = _complete(root, loaded, wanted, chain, others)
        else:
            lines = _make(root, loaded, wanted, others)
    for line in lines:
        print(line, file=stream)


def _make(
    root: Path, loaded: Environment, wanted: Wanted, others: Mapping[str, Public]
) -> list[str]:
    """Write both parts of a new chain, and return the lines to print."""
    name = loaded.name
    names = plan.secrets(loaded)
    count = wanted.validators or plan.replicas(loaded, "maru")
    chain_id = _chain_id(wanted, others)
    plain_values.to_files(root, loaded, names)
    existing = conflicts.existing_keys(root, name, names, count)
    conflicts.reject_keys_of_others(root, name, existing, others)
    conflicts.reject_keys_of_earlier_chain(root, name, existing)
    keys = {path: existing.get(path) or Key.generate() for path in names.chain(count)}
    independent = _independent(root, name, names, wanted)
    validators = tuple(
        Validator(maru.address, sequencer.node_id, maru.peer_id)
        for sequencer, maru in _pairs(names, count, keys)
    )
    funded = [keys[f"{names.tx_sender}/privateKey"].address] if names.tx_sender else []
    new = {path: _text(names, path, key) for path, key in keys.items() if path not in existing}
    secret_files.write(root, name, new | independent)
    _write_script(root, loaded, names, validators, chain_id)
    plain_values.from_files(root, loaded, names)
    text = network_file.text(validators, chain_id, int(time.time()) - CLOCKS_S, funded)
    file = network_file.file(name)
    secret_files.put(root / file, text, root / ".render" / "network.new", 0o666)
    top, created = f"{secret_files.TOP}/{name}", len(new | independent)
    parts = {
        file: "public: commit it",
        f"{top}/": f"private: never commit it ({created} files created, {len(existing)} existed)",
    }
    risk = "for example in a vault: lost keys stop the chain, stolen keys hijack it"
    steps = {
        f"nox -s render -- {name}": "then commit the result",
        **_to_store(loaded),
        f"keep {top}/ safe": risk,
    }
    lines = [
        f"{name}: created a chain of {plan.called(count)}, chain id {chain_id}",
        *_table(parts),
        *_to_paste(loaded, count),
        "next:",
        *_table(steps),
    ]
    if existing and not new:
        lines.append(
            "note: all keys existed already, and this genesis is new: if the environment had a "
            f"chain, restore its {file} from git instead (git log -- {file})"
        )
    if public := known_chains.short_name(chain_id):
        lines.append(
            f"note: {chain_id} is the id of a public chain ({public}): wallets show its name, and "
            "transactions signed for one are valid on the other; omit --chain-id for an unused id"
        )
    if not funded:
        lines.append("note: the TX Sender is disabled, so the genesis funds no account")
    return lines


def _complete(
    root: Path,
    loaded: Environment,
    wanted: Wanted,
    chain: Public,
    others: Mapping[str, Public],
) -> list[str]:
    """Compare both parts of a chain, create missing files, and return the lines to print."""
    name = loaded.name
    names = plan.secrets(loaded)
    count = len(chain.validators)
    conflicts.reject_copy(chain, others)
    conflicts.reject_another_chain(loaded, wanted, chain)
    plain_values.to_files(root, loaded, names)
    existing = conflicts.existing_keys(root, name, names, count)
    network = f"the chain of {plan.called(count)} exists, chain id {chain.chain_id}"
    if not existing:
        return [f"{name}: nothing to create: {network}; its private keys are not on this machine"]
    conflicts.reject_keys_of_others(root, name, existing, others)
    conflicts.reject_other_keys(root, name, names, chain, existing)
    sender = f"{names.tx_sender}/privateKey"
    lacks_funds = bool(names.tx_sender) and not chain.accounts and sender not in existing
    if lacks_funds:
        names = replace(names, tx_sender="")
    missing = [path for path in names.chain(count) if path not in existing]
    needed = replace(names, tx_sender="") if sender in missing else names
    new = _independent(root, name, needed, wanted)
    secret_files.write(root, name, new)
    created = [
        *new,
        *_write_script(root, loaded, names, chain.validators, chain.chain_id),
        *plain_values.from_files(root, loaded, names),
    ]
    summary = f"created {', '.join(created)}" if created else "nothing to create"
    lines = [f"{name}: {summary}: {network}"]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        lines.append(
            f"  not on this machine: {', '.join(missing[:3])}{more} in "
            f"{secret_files.TOP}/{name}: restore them from your backup"
        )
    if lacks_funds:
        lines.append(
            "  the genesis funds no account: for a TX Sender, create a new chain, or write the key "
            f"of your own account with funds into {secret_files.TOP}/{name}/{sender}"
        )
    return lines


def _store(loaded: Environment) -> str:
    """Return the store of the Secrets: `cluster`, `aws`, or `other`, which has no script."""
    if plan.value(loaded, "secrets", "provider") == "existing":
        return "cluster"
    return "aws" if plan.value(loaded, "secrets", "external", "aws", "enabled") else "other"


def _entries(loaded: Environment) -> str:
    """Return the path before the Secret's name in the entries of a store."""
    return str(plan.value(loaded, "secrets", "external", "prefix") or loaded.namespace)


def _to_store(loaded: Environment) -> dict[str, str]:
    """Return the step that brings the Secrets to their store → what it does."""
    top, store = f"{secret_files.TOP}/{loaded.name}", _store(loaded)
    if store == "other":
        entries = f"as {_entries(loaded)}/<folder>, with a property per file"
        return {f"put {top}/ into your store": entries}
    into_aws = "creates the Secrets in AWS Secrets Manager"
    into_cluster = "creates the Secrets in the cluster of that context"
    if store == "aws":
        return {f"sh {top}/{SCRIPT}": into_aws}
    return {f"sh {top}/{SCRIPT} --context NAME": into_cluster}


def _to_paste(loaded: Environment, validators: int) -> list[str]:
    """Return the lines that values.yaml needs for this number of validators, below a heading."""
    lines = []
    for part in ("maru", "sequencer"):
        if plan.replicas(loaded, part) != validators:
            lines += [f"{part}:", f"  replicas: {validators}"]
    accepted = plan.value(loaded, "network", "acceptNoFaultTolerance")
    if validators in _RISKS and not accepted:
        lines += ["network:", f"  acceptNoFaultTolerance: true  # {_RISKS[validators]}"]
    head = [f"write into overlays/{loaded.name}/values.yaml:"] if lines else []
    return head + [f"  {line}" for line in lines]


def _chain_id(wanted: Wanted, others: Mapping[str, Public]) -> int:
    """Return the requested chain id, or a random one that no other chain has.

    Raises UsageError if another environment has it: transactions for one chain would be valid on
    the other.
    """
    taken = {chain.chain_id: other for other, chain in others.items()}
    if wanted.chain_id in taken:
        raise UsageError(
            f"--chain-id {wanted.chain_id} is the chain id of {taken[wanted.chain_id]}: write "
            "another, or omit the option"
        )
    if wanted.chain_id:
        return wanted.chain_id
    while True:
        drawn = CHAIN_IDS[secrets.randbelow(len(CHAIN_IDS))]
        if drawn not in taken and known_chains.short_name(drawn) is None:
            return drawn


def _independent(root: Path, name: str, names: Secrets, wanted: Wanted) -> dict[str, str]:
    """Return the missing private files on which the chain does not depend."""
    top = secret_files.folder(root, name)
    contents = {}
    for secret, key in ((names.engine, "jwt"), (names.ethstats, "secret")):
        if secret and secret_files.read(top / secret / key) is None:
            contents[f"{secret}/{key}"] = secrets.token_hex(32)
    if not names.tx_sender:
        return contents
    path = f"{names.tx_sender}/toAddress"
    existing = secret_files.read(top / path)
    if existing is None:
        address, private_key = _recipient(root, top / RECIPIENT, wanted)
        # The key is written first: after a killed run, no address may be without its key.
        return contents | private_key | {path: address}
    if wanted.to_address and existing.strip().lower() != wanted.to_address.lower():
        message = "the TX Sender's recipient differs from --to-address"
        fix = (
            "omit --to-address to keep the recipient; to change it, write its address into the file"
        )
        raise UserError(plan.at(root, top / path, "recipient-mismatch", message, fix))
    return contents


def _recipient(root: Path, file: Path, wanted: Wanted) -> tuple[str, dict[str, str]]:
    """Return the recipient of the TX Sender, and file → its new private key, if there is one."""
    if wanted.to_address:
        return checksummed(wanted.to_address), {}
    text = secret_files.read(file)
    if text is None:
        key = Key.generate()
        return key.address, {RECIPIENT: key.hex}
    try:
        return Key.parse(text).address, {}
    except ValueError as error:
        rule, fix = "invalid-private-key", f"move {file.name} away, and run the command again"
        raise UserError(plan.at(root, file, rule, str(error), fix)) from None


def _pairs(names: Secrets, validators: int, keys: Mapping[str, Key]) -> Iterator[tuple[Key, Key]]:
    """Yield the keys of each validator's sequencer and Maru, in the order of the ordinals."""
    every = names.files(validators)
    for key in every[names.maru]:
        yield keys[f"{names.sequencer}/{key}"], keys[f"{names.maru}/{key}"]


def _text(names: Secrets, path: str, key: Key) -> str:
    """Return a private key in the form of the program that reads the file."""
    return key.libp2p_hex if path.startswith(f"{names.maru}/") else key.hex


def _write_script(
    root: Path,
    loaded: Environment,
    names: Secrets,
    validators: Sequence[Validator],
    chain_id: int,
) -> list[str]:
    """Write the script that creates the Secrets; return its name if it has changed."""
    store, every = _store(loaded), names.files(len(validators))
    chain = network_file.label(validators, chain_id)
    if store == "other":
        return []
    if store == "aws":
        region = plan.value(loaded, "secrets", "external", "aws", "region")
        text = secret_files.script_of_aws(_entries(loaded), region, chain, every)
    else:
        text = secret_files.script(loaded.name, loaded.namespace, chain, every)
    if secret_files.read(secret_files.folder(root, loaded.name) / SCRIPT) == text:
        return []
    secret_files.write(root, loaded.name, {SCRIPT: text}, replace=True)
    return [SCRIPT]


@contextlib.contextmanager
def _as_usage_error(root: Path) -> Iterator[None]:
    """Turn errors of the file system into a UsageError, which also tells the resulting state."""
    try:
        yield
    except OSError as error:
        name = str(error.filename or root).removeprefix(f"{root}/")
        raise UsageError(
            f"{name}: {error.strerror or error}; all files are complete, and the next run creates "
            "the missing ones"
        ) from error


def _table(rows: Mapping[str, str]) -> list[str]:
    width = max(map(len, rows))
    return [f"  {name:{width}}  {what}" for name, what in rows.items()]
