"""Make an environment's chain once: its public part in network.yaml, its private part in .secrets/.

The private part is written first and the public one last, so a network.yaml always has its keys;
a run that is killed is finished by the next one, with the keys that are there.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from scripts.chain.identity import checksummed
from scripts.core.findings import UsageError, UserError
from scripts.environments import environment, layout
from scripts.environments.environment import Environment
from scripts.network import conflicts, network_file, plan, secret_files
from scripts.network.keys import Key
from scripts.network.network_file import Public, Validator
from scripts.network.plan import MOST_CHAIN_ID, Secrets, Wanted
from scripts.output import committed

FIRST_CHAIN_ID = 1337
CLOCKS_S = 3600
"""The first block is that much older than this moment: no later block may be older than it, and
the clocks of the cluster may be behind that of this machine."""

RECIPIENT = "recipient.key"
SCRIPT = "create-secrets.sh"


def make(root: Path, name: str, wanted: Wanted, stream: TextIO) -> None:
    """Make what is missing of the environment's chain, and say what was made and what to do next.

    Raises UserError for what contradicts itself or the question, and UsageError for an environment
    that there isn't and for what the file system refuses; nothing that is there is changed then.
    """
    layout.environments(root, [name])
    with committed.locked(root), _told(root):
        found = environment.load(root, name)
        others = network_file.others(root, name)
        chain = network_file.read(root, name)
        if chain:
            said = _complete(root, found, wanted, chain, others)
        else:
            said = _make(root, found, wanted, others)
    for line in said:
        print(line, file=stream)


def _make(
    root: Path, found: Environment, wanted: Wanted, others: Mapping[str, Public]
) -> list[str]:
    """Write both parts of a new chain, and return what to say of it."""
    names = plan.secrets(found)
    count = wanted.validators or plan.replicas(found, "maru")
    chain_id = _chain_id(wanted, others)
    there = conflicts.keys_there(root, found.name, names, count)
    conflicts.refuse_keys_of_others(root, found.name, there, others)
    conflicts.refuse_keys_of_a_former_chain(root, found.name, there)
    keys = {path: there.get(path) or Key.generate() for path in names.chain(count)}
    free = _free(root, found.name, names, wanted)
    validators = tuple(
        Validator(maru.address, sequencer.node_id, maru.peer_id)
        for sequencer, maru in _pairs(names, count, keys)
    )
    funded = [keys[f"{names.tx_sender}/privateKey"].address] if names.tx_sender else []
    new = {path: _text(names, path, key) for path, key in keys.items() if path not in there}
    secret_files.write(root, found.name, new | free)
    _write_script(root, found, names, validators, chain_id)
    text = network_file.text(validators, chain_id, int(time.time()) - CLOCKS_S, funded)
    file = network_file.file(found.name)
    secret_files.put(root / file, text, root / ".render" / "network.new", 0o666)
    top = f"{secret_files.TOP}/{found.name}"
    made = {
        file: "public: commit it",
        f"{top}/": f"private: never into git ({len(new | free)} made, {len(there)} were there)",
    }
    steps = {
        f"nox -s render -- {found.name}": "and commit what it writes",
        **_to_store(found),
        f"keep {top}/ safe": "such as in a vault: lost keys stop the chain, stolen ones take it",
    }
    said = [
        f"{found.name}: made a chain of {plan.called(count)}, chain id {chain_id}",
        *_table(made),
        *_to_paste(found, count),
        "next:",
        *_table(steps),
    ]
    if there and not new:
        said.append(
            f"mind: all keys were there: if this environment has had a chain, restore {file} from "
            f"git (git log -- {file}) instead: this genesis is another one"
        )
    if not funded:
        said.append("mind: the TX Sender is off, so the genesis gives no account money")
    return said


def _complete(
    root: Path,
    found: Environment,
    wanted: Wanted,
    chain: Public,
    others: Mapping[str, Public],
) -> list[str]:
    """Compare both parts of a chain, make what depends on none, and return what to say of it."""
    names = plan.secrets(found)
    count = len(chain.validators)
    conflicts.refuse_a_copy(chain, others)
    conflicts.refuse_another_chain(found, wanted, chain)
    there = conflicts.keys_there(root, found.name, names, count)
    network = f"the chain of {plan.called(count)} is there, chain id {chain.chain_id}"
    if not there:
        return [
            f"{found.name}: nothing to change: {network}; its private keys are not on this machine"
        ]
    conflicts.refuse_keys_of_others(root, found.name, there, others)
    conflicts.refuse_other_keys(root, found.name, names, chain, there)
    sender = f"{names.tx_sender}/privateKey"
    lacks_money = bool(names.tx_sender) and not chain.accounts and sender not in there
    if lacks_money:
        names = replace(names, tx_sender="")
    missing = [path for path in names.chain(count) if path not in there]
    new = _free(
        root, found.name, replace(names, tx_sender="") if sender in missing else names, wanted
    )
    secret_files.write(root, found.name, new)
    made = [*new, *_write_script(root, found, names, chain.validators, chain.chain_id)]
    told = f"made {', '.join(made)}" if made else "nothing to change"
    said = [f"{found.name}: {told}: {network}"]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        said.append(
            f"  not on this machine: {', '.join(missing[:3])}{more} in "
            f"{secret_files.TOP}/{found.name}: put them back from where they are kept"
        )
    if lacks_money:
        said.append(
            "  the genesis gives no account money: a TX Sender needs a new chain, or the key of an "
            f"account of your own that has some, in {secret_files.TOP}/{found.name}/{sender}"
        )
    return said


def _store(found: Environment) -> str:
    """Return where the Secrets are put: `cluster`, `aws`, or `other`, which has no commands."""
    if plan.value(found, "secrets", "provider") == "existing":
        return "cluster"
    return "aws" if plan.value(found, "secrets", "external", "aws", "enabled") else "other"


def _entries(found: Environment) -> str:
    """Return the path that entries in a store have before the Secret's name."""
    return str(plan.value(found, "secrets", "external", "prefix") or found.namespace)


def _to_store(found: Environment) -> dict[str, str]:
    """Return the step that brings the Secrets to where they are taken from, and what it does."""
    top, store = f"{secret_files.TOP}/{found.name}", _store(found)
    if store == "other":
        return {f"put {top}/ into your store": f"{_entries(found)}/<folder>, a property a file"}
    into_aws = "puts the Secrets into AWS Secrets Manager"
    into_cluster = "makes the Secrets where kubectl points at"
    return {f"sh {top}/{SCRIPT}": into_aws if store == "aws" else into_cluster}


def _to_paste(found: Environment, validators: int) -> list[str]:
    """Return the lines of values.yaml, under a line that says so, that the number asks for."""
    lines = []
    for part in ("maru", "sequencer"):
        if plan.replicas(found, part) != validators:
            lines += [f"{part}:", f"  replicas: {validators}"]
    accepted = plan.value(found, "network", "acceptNoFaultTolerance")
    if validators in (2, 3) and not accepted:
        lines += ["network:", "  acceptNoFaultTolerance: true  # any one that stops stops all"]
    head = [f"write into overlays/{found.name}/values.yaml:"] if lines else []
    return head + [f"  {line}" for line in lines]


def _chain_id(wanted: Wanted, others: Mapping[str, Public]) -> int:
    """Return the chain id asked for, or the lowest one that is free.

    Raises UsageError for another environment's: what is signed for the one chain would hold on the
    other.
    """
    taken = {chain.chain_id: other for other, chain in others.items()}
    if wanted.chain_id in taken:
        raise UsageError(
            f"--chain-id {wanted.chain_id}: this is the chain id of {taken[wanted.chain_id]}: "
            "write another, or leave it out"
        )
    free = (n for n in range(FIRST_CHAIN_ID, MOST_CHAIN_ID) if n not in taken)
    return wanted.chain_id or next(free)


def _free(root: Path, name: str, names: Secrets, wanted: Wanted) -> dict[str, str]:
    """Return the private files that no chain depends on and that are not there yet."""
    top = secret_files.folder(root, name)
    contents = {}
    for secret, key in ((names.engine, "jwt"), (names.ethstats, "secret")):
        if secret and secret_files.read(top / secret / key) is None:
            contents[f"{secret}/{key}"] = secrets.token_hex(32)
    if not names.tx_sender:
        return contents
    path = f"{names.tx_sender}/toAddress"
    there = secret_files.read(top / path)
    if there is None:
        address, made = _recipient(root, top / RECIPIENT, wanted)
        # The key first: whoever is killed in between must not send to an account without one.
        return contents | made | {path: address}
    if wanted.to_address and there.strip().lower() != wanted.to_address.lower():
        message = "the TX Sender has another recipient than asked for"
        fix = "write the address into this file yourself, or leave --to-address out"
        raise UserError(plan.at(root, top / path, "another-recipient", message, fix))
    return contents


def _recipient(root: Path, file: Path, wanted: Wanted) -> tuple[str, dict[str, str]]:
    """Return the address that the TX Sender's transfers go to, and the key made for it, if any."""
    if wanted.to_address:
        return checksummed(wanted.to_address), {}
    text = secret_files.read(file)
    if text is None:
        key = Key.generate()
        return key.address, {RECIPIENT: key.hex}
    try:
        return Key.parse(text).address, {}
    except ValueError as error:
        raise UserError(plan.at(root, file, "no-key", f"this is {error}", "move it away")) from None


def _pairs(names: Secrets, validators: int, keys: Mapping[str, Key]) -> Iterator[tuple[Key, Key]]:
    """Yield each validator's sequencer's key and Maru's key, by ordinal."""
    every = names.files(validators)
    for key in every[names.maru]:
        yield keys[f"{names.sequencer}/{key}"], keys[f"{names.maru}/{key}"]


def _text(names: Secrets, path: str, key: Key) -> str:
    """Return a private key as the program that reads the file wants it."""
    return key.libp2p_hex if path.startswith(f"{names.maru}/") else key.hex


def _write_script(
    root: Path,
    found: Environment,
    names: Secrets,
    validators: Sequence[Validator],
    chain_id: int,
) -> list[str]:
    """Write the commands that make the Secrets; return what was written: nothing where it is so."""
    store, every = _store(found), names.files(len(validators))
    chain = network_file.label(validators, chain_id)
    if store == "other":
        return []
    if store == "aws":
        region = plan.value(found, "secrets", "external", "aws", "region")
        text = secret_files.script_of_aws(_entries(found), region, chain, every)
    else:
        text = secret_files.script(found.name, found.namespace, chain, every)
    if secret_files.read(secret_files.folder(root, found.name) / SCRIPT) == text:
        return []
    secret_files.write(root, found.name, {SCRIPT: text}, replace=True)
    return [SCRIPT]


@contextlib.contextmanager
def _told(root: Path) -> Iterator[None]:
    """Turn what the file system refuses into a UsageError, which says how things are left."""
    try:
        yield
    except OSError as error:
        name = str(error.filename or root).removeprefix(f"{root}/")
        raise UsageError(
            f"{name}: {error.strerror or error}; what is there is whole, and the next run goes on "
            "from it"
        ) from error


def _table(rows: Mapping[str, str]) -> list[str]:
    width = max(map(len, rows))
    return [f"  {name:{width}}  {what}" for name, what in rows.items()]
