"""Make an environment's chain once: its public part in network.yaml, its private part in .secrets/.

The private part is written first and the public one last, so a network.yaml always has its keys;
a run that is killed is finished by the next one, with the keys that are there.
"""

from __future__ import annotations

import contextlib
import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from scripts import environment, files, findings, tree, yamlio
from scripts.environment import Environment
from scripts.findings import Finding, UsageError, UserError
from scripts.network import private, public
from scripts.network.keys import Key, checksummed, is_address
from scripts.network.public import Public, Validator
from scripts.yamlio import ValuePath

FIRST_CHAIN_ID = 1337
MOST_CHAIN_ID = 2**32 - 1
"""Maru's is an unsigned number of 32 bits (JsonFriendlyForksSchedule.kt)."""

MOST_VALIDATORS = 1000
"""What they are given in one ConfigMap and one Secret of at most 1 MiB."""

RECIPIENT = "recipient.key"
SCRIPT = "create-secrets.sh"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks for; None where it leaves it to the values."""

    validators: int | None = None
    chain_id: int | None = None
    to_address: str | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for what no chain can have."""
        if self.validators is not None and not 1 <= self.validators <= MOST_VALIDATORS:
            raise UsageError(f"--validators {self.validators}: write 1 to {MOST_VALIDATORS}")
        if self.chain_id is not None and not 1 <= self.chain_id <= MOST_CHAIN_ID:
            raise UsageError(f"--chain-id {self.chain_id}: write 1 to {MOST_CHAIN_ID}")
        if self.to_address is not None and not is_address(self.to_address):
            raise UsageError(
                f"--to-address {self.to_address}: this is no address: write 0x and 40 hex digits, "
                "in small letters or with the right checksum (EIP-55)"
            )


@dataclass(frozen=True, slots=True)
class Secrets:
    """The names of the Secrets to make; empty for a component that is off or needs none."""

    sequencer: str
    maru: str
    tx_sender: str
    engine: str
    ethstats: str

    def files(self, validators: int) -> dict[str, list[str]]:
        """Return the Secrets with the keys that each has."""
        ordinals = ["key", *(f"key-{ordinal}" for ordinal in range(1, validators))]
        every = {
            self.sequencer: ordinals,
            self.maru: ordinals,
            self.tx_sender: ["privateKey", "toAddress"],
            self.engine: ["jwt"],
            self.ethstats: ["secret"],
        }
        return {name: keys for name, keys in every.items() if name}

    def chain(self, validators: int) -> list[str]:
        """Return the files of the keys that the genesis or the validators' names come from."""
        every = self.files(validators)
        paths = [f"{name}/{key}" for name in (self.sequencer, self.maru) for key in every[name]]
        return paths + ([f"{self.tx_sender}/privateKey"] if self.tx_sender else [])


def make(root: Path, name: str, wanted: Wanted, stream: TextIO) -> None:
    """Make what is missing of the environment's chain, and say what was made and what to do next.

    Raises UserError for what contradicts itself or the question, and UsageError for an environment
    that there isn't and for what the file system refuses; nothing that is there is changed then.
    """
    tree.environments(root, [name])
    with tree.locked(root), _told(root):
        found = environment.load(root, name)
        chain = public.read(root, name)
        said = _complete(root, found, wanted, chain) if chain else _make(root, found, wanted)
    for line in said:
        print(line, file=stream)


def _make(root: Path, found: Environment, wanted: Wanted) -> list[str]:
    """Write both parts of a new chain, and return what to say of it."""
    names = _secrets(found)
    count = wanted.validators or _replicas(found)
    chain_id = _chain_id(root, found.name, wanted)
    there = _there(root, found.name, names, count)
    keys = {path: there.get(path) or Key.generate() for path in names.chain(count)}
    free = _free(root, found.name, names, wanted)
    validators = [
        Validator(maru.address, sequencer.node_id, maru.peer_id)
        for sequencer, maru in _pairs(names, count, keys)
    ]
    funded = [keys[f"{names.tx_sender}/privateKey"].address] if names.tx_sender else _plain(found)
    new = {path: _text(names, path, key) for path, key in keys.items() if path not in there}
    private.write(root, found.name, new | free)
    _write_script(root, found, names)
    text = public.text(validators, chain_id, int(time.time()), funded)
    file = f"overlays/{found.name}/{environment.NETWORK}"
    private.put(root / file, text, root / ".render" / "network.new", 0o666)
    top = f"{private.TOP}/{found.name}"
    made = {
        file: "public: commit it",
        f"{top}/": f"private: never into git ({len(new | free)} made, {len(there)} were there)",
    }
    steps = {
        f"nox -s render -- {found.name}": "and commit what it writes",
        f"sh {top}/{SCRIPT}": "makes the Secrets where kubectl points at",
        f"keep {top}/ safe": "such as in a vault: lost keys stop the chain, stolen ones take it",
    }
    if count != _replicas(found):
        values = {f"write maru.replicas: {count}": "and sequencer.replicas, into the values"}
        if count in (2, 3):
            values["write network.acceptNoFaultTolerance: true"] = "any one that stops stops all"
        steps = values | steps
    if not funded:
        steps["mind"] = "the TX Sender is off, so the genesis gives no account money"
    head = f"{found.name}: made a chain of {_called(count)}, chain id {chain_id}"
    return [head, *_table(made), "next:", *_table(steps)]


def _complete(root: Path, found: Environment, wanted: Wanted, chain: Public) -> list[str]:
    """Compare both parts of a chain, make what depends on none, and return what to say of it."""
    names = _secrets(found)
    count = len(chain.validators)
    _refuse_another_chain(found, wanted, chain)
    there = _there(root, found.name, names, count)
    network = f"the chain of {_called(count)} is there, chain id {chain.chain_id}"
    if not there:
        return [
            f"{found.name}: nothing to change: {network}; its private keys are not on this machine"
        ]
    _refuse_other_keys(root, found.name, names, chain, there)
    missing = [path for path in names.chain(count) if path not in there]
    if f"{names.tx_sender}/privateKey" in missing:
        names = replace(names, tx_sender="")
    new = _free(root, found.name, names, wanted)
    private.write(root, found.name, new)
    made = [*new, *_write_script(root, found, _secrets(found))]
    told = f"made {', '.join(made)}" if made else "nothing to change"
    said = [f"{found.name}: {told}: {network}"]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        said.append(
            f"  not on this machine: {', '.join(missing[:3])}{more} in {private.TOP}/{found.name}: "
            "put them back from where they are kept"
        )
    if not chain.accounts and _secrets(found).tx_sender:
        said.append("  the genesis gives no account money: a TX Sender needs a new chain")
    return said


def _secrets(found: Environment) -> Secrets:
    """Return the names of the Secrets; raises UserError where two have the same."""
    for part in ("sequencer", "maru"):
        if not _value(found, part, "enabled"):
            message = "a validator is a sequencer and a Maru, and this one is off"
            raise _wrong(found, [part, "enabled"], message, "write true")
    paths: dict[str, ValuePath] = {
        "sequencer": ("sequencer", "p2pKeySecretName"),
        "maru": ("maru", "p2pKeySecretName"),
        "engine": ("engine", "jwtSecretName"),
    }
    if _value(found, "txSender", "enabled") and _value(found, "secrets", "provider") == "existing":
        paths["tx_sender"] = ("txSender", "secretName")
    if _value(found, "ethstats", "enabled"):
        paths["ethstats"] = ("ethstats", "secretName")
    names = dict.fromkeys(("sequencer", "maru", "tx_sender", "engine", "ethstats"), "")
    for part, path in paths.items():
        name = str(_value(found, *path) or "")
        if not name:
            raise _wrong(found, path, "the Secret has no name", "write one")
        if name in names.values():
            message = f"{name} is another component's Secret, too"
            raise _wrong(found, path, message, "give each its own")
        names[part] = name
    return Secrets(**names)


def _replicas(found: Environment) -> int:
    return int(_value(found, "maru", "replicas"))


def _chain_id(root: Path, name: str, wanted: Wanted) -> int:
    """Return the chain id asked for, or the lowest one that is free.

    Raises UsageError for another environment's: what is signed for the one chain would hold on the
    other.
    """
    taken = {}
    for other in tree.environments(root):
        chain = public.read(root, other) if other != name else None
        if chain:
            taken[chain.chain_id] = other
    if wanted.chain_id in taken:
        raise UsageError(
            f"--chain-id {wanted.chain_id}: this is the chain id of {taken[wanted.chain_id]}: "
            "write another, or leave it out"
        )
    free = (n for n in range(FIRST_CHAIN_ID, MOST_CHAIN_ID) if n not in taken)
    return wanted.chain_id or next(free)


def _plain(found: Environment) -> list[str]:
    """Return the address of a TX Sender whose key is in the values, where there is one."""
    if not _value(found, "txSender", "enabled"):
        return []
    path = ("txSender", "plain", "privateKey")
    try:
        return [Key.parse(str(_value(found, *path))).address]
    except ValueError as error:
        raise _wrong(found, path, f"this is {error}", "write a private key") from None


def _there(root: Path, name: str, names: Secrets, validators: int) -> dict[str, Key]:
    """Return the chain's private keys that are there, by their file.

    Raises UserError for a file that is no key, for one that is there twice, and for anything else
    that kubectl would put into the Secrets.
    """
    findings.write(private.inspect(root, name), "text", sys.stderr)
    top = private.folder(root, name)
    wrong = []
    for secret, keys in names.files(validators).items():
        for entry in files.entries(top / secret, root):
            if entry.name not in keys:
                message = f"kubectl would put this into the Secret of {_called(validators)}"
                wrong.append(_at(root, entry, "no-such-key", message, "move it away"))
    found: dict[str, Key] = {}
    for path in names.chain(validators):
        text = private.read(top / path)
        if text is None:
            continue
        parse = Key.parse_libp2p if path.startswith(f"{names.maru}/") else Key.parse
        try:
            key = parse(text)
        except ValueError as error:
            fix = "put it back from where it is kept, or move it away for a new one"
            wrong.append(_at(root, top / path, "no-key", f"this is {error}", fix))
            continue
        folder = path.partition("/")[0]
        twins = [other for other in found if other.startswith(f"{folder}/") and found[other] == key]
        if twins:
            message = (
                f"this is the key of {twins[0]}, too: two validators with one key fork a chain"
            )
            fix = "move one of the two away for a new one"
            wrong.append(_at(root, top / path, "key-twice", message, fix))
        found[path] = key
    if wrong:
        raise UserError(*wrong)
    return found


def _refuse_another_chain(found: Environment, wanted: Wanted, chain: Public) -> None:
    """Raise UserError where another chain is asked for than the one that is there."""
    count, asked = len(chain.validators), wanted.validators or _replicas(found)
    by = "" if wanted.validators else " by maru.replicas"
    path, message = ["network", "validators"], ""
    if asked != count:
        message = f"the chain has {_called(count)}, asked for are {asked}{by}"
    elif wanted.chain_id not in (None, chain.chain_id):
        path = ["genesis", "besu"]
        message = f"the chain's id is {chain.chain_id}, asked for is {wanted.chain_id}"
    if message:
        fix = (
            "leave it as it is: they are in the genesis, and another genesis is another chain; to "
            "begin one, remove this file and the chain's volumes, and run this again"
        )
        raise UserError(chain.document.finding("another-chain", path, message, fix))


def _refuse_other_keys(
    root: Path, name: str, names: Secrets, chain: Public, there: Mapping[str, Key]
) -> None:
    """Raise UserError for each private key that is not the one whose public names are in git."""
    top = private.folder(root, name)
    wrong = []
    for index, validator in enumerate(chain.validators):
        key = "key" if index == 0 else f"key-{index}"
        sequencer, maru = f"{names.sequencer}/{key}", f"{names.maru}/{key}"
        if sequencer in there and there[sequencer].node_id != validator.node_id:
            wrong.append((sequencer, f"nodeId of validator {index}"))
        if maru in there and (there[maru].address, there[maru].peer_id) != (
            validator.address,
            validator.peer_id,
        ):
            wrong.append((maru, f"address and peerId of validator {index}"))
    sender = f"{names.tx_sender}/privateKey"
    if sender in there and there[sender].address.lower() not in chain.accounts:
        wrong.append((sender, "account that the genesis gives money to"))
    if wrong:
        fix = (
            "put the chain's own key back from where it is kept; or, for a new chain, remove "
            f"{chain.document.file}"
        )
        raise UserError(
            *(
                _at(
                    root,
                    top / path,
                    "another-key",
                    f"this key does not give the {what} in {chain.document.file}",
                    fix,
                )
                for path, what in wrong
            )
        )


def _free(root: Path, name: str, names: Secrets, wanted: Wanted) -> dict[str, str]:
    """Return the private files that no chain depends on and that are not there yet."""
    top = private.folder(root, name)
    contents = {}
    for secret, key in ((names.engine, "jwt"), (names.ethstats, "secret")):
        if secret and private.read(top / secret / key) is None:
            contents[f"{secret}/{key}"] = secrets.token_hex(32)
    if not names.tx_sender:
        return contents
    path = f"{names.tx_sender}/toAddress"
    there = private.read(top / path)
    if there is None:
        address, made = _recipient(root, top / RECIPIENT, wanted)
        # The key first: whoever is killed in between must not send to an account without one.
        return contents | made | {path: address}
    if wanted.to_address and there.strip().lower() != wanted.to_address.lower():
        message = "the TX Sender has another recipient than asked for"
        fix = "write the address into this file yourself, or leave --to-address out"
        raise UserError(_at(root, top / path, "another-recipient", message, fix))
    return contents


def _recipient(root: Path, file: Path, wanted: Wanted) -> tuple[str, dict[str, str]]:
    """Return the address that the TX Sender's transfers go to, and the key made for it, if any."""
    if wanted.to_address:
        return checksummed(wanted.to_address), {}
    text = private.read(file)
    if text is None:
        key = Key.generate()
        return key.address, {RECIPIENT: key.hex}
    try:
        return Key.parse(text).address, {}
    except ValueError as error:
        raise UserError(_at(root, file, "no-key", f"this is {error}", "move it away")) from None


def _pairs(names: Secrets, validators: int, keys: Mapping[str, Key]) -> Iterator[tuple[Key, Key]]:
    """Yield each validator's sequencer's key and Maru's key, by ordinal."""
    every = names.files(validators)
    for key in every[names.maru]:
        yield keys[f"{names.sequencer}/{key}"], keys[f"{names.maru}/{key}"]


def _text(names: Secrets, path: str, key: Key) -> str:
    """Return a private key as the program that reads the file wants it."""
    return key.libp2p_hex if path.startswith(f"{names.maru}/") else key.hex


def _write_script(root: Path, found: Environment, names: Secrets) -> list[str]:
    """Write the commands that make the Secrets; return what was written: nothing where it is so."""
    kubectl = f"kubectl -n {found.namespace}"
    lines = [
        "#!/bin/sh",
        f"# Written by nox -s network: makes the Secrets of {found.name} where kubectl points at.",
        "# What is there already stays as it is.",
        "set -eu",
        'cd "$(dirname "$0")"',
        f"kubectl get namespace {found.namespace} >/dev/null 2>&1 ||",
        f"  kubectl create namespace {found.namespace}",
    ]
    for name in names.files(1):
        lines += [
            f"{kubectl} get secret {name} >/dev/null 2>&1 ||",
            f"  {kubectl} create secret generic {name} --from-file={name}",
        ]
    text = "".join(f"{line}\n" for line in lines)
    if private.read(private.folder(root, found.name) / SCRIPT) == text:
        return []
    private.write(root, found.name, {SCRIPT: text}, replace=True)
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


def _value(found: Environment, *path: str | int) -> Any:
    defaults = found.layers[0].data or {}
    return yamlio.get(environment.coalesce(defaults, found.values), path)


def _wrong(found: Environment, path: ValuePath, message: str, fix: str) -> UserError:
    document, inside = found.locate(list(path))
    return UserError(document.finding("network", inside, message, fix, environment=found.name))


def _at(root: Path, path: Path, rule: str, message: str, fix: str) -> Finding:
    return Finding(files.name(path, root), 0, 0, rule, message, fix)


def _called(validators: int) -> str:
    return "1 validator" if validators == 1 else f"{validators} validators"


def _table(rows: Mapping[str, str]) -> list[str]:
    width = max(map(len, rows))
    return [f"  {name:{width}}  {what}" for name, what in rows.items()]
