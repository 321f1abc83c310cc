"""Make an environment's chain once: its public part in network.yaml, its private part in .secrets/.

The private part is written first and the public one last, so a network.yaml always has its keys;
a run that is killed is finished by the next one, with the keys that are there.
"""

from __future__ import annotations

import contextlib
import secrets
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from scripts.chain.identity import checksummed, is_address
from scripts.core import findings, paths, safe_files
from scripts.core.findings import Finding, UsageError, UserError
from scripts.core.paths import ValuePath
from scripts.environments import environment, layout
from scripts.environments.environment import Environment
from scripts.network import network_file, secret_files
from scripts.network.keys import Key
from scripts.network.network_file import Public, Validator
from scripts.output import committed

FIRST_CHAIN_ID = 1337
MOST_CHAIN_ID = 2**32 - 1
"""Maru's is an unsigned number of 32 bits (JsonFriendlyForksSchedule.kt)."""

MOST_VALIDATORS = 100
"""As many as the chart's values.schema.json lets there be replicas."""

CLOCKS_S = 3600
"""The first block is that much older than this moment: no later block may be older than it, and
the clocks of the cluster may be behind that of this machine."""

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
        if self.to_address is None:
            return
        if not is_address(self.to_address):
            raise UsageError(
                f"--to-address {self.to_address}: this is no address: write 0x and 40 hex digits, "
                "in small letters or with the right checksum (EIP-55)"
            )
        if not int(self.to_address, 16):
            raise UsageError(
                f"--to-address {self.to_address}: nobody has the key of this address: write "
                "another, or leave it out for a new account's"
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
        files = [f"{name}/{key}" for name in (self.sequencer, self.maru) for key in every[name]]
        return files + ([f"{self.tx_sender}/privateKey"] if self.tx_sender else [])


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
    names = _secrets(found)
    count = wanted.validators or _replicas(found, "maru")
    chain_id = _chain_id(wanted, others)
    there = _there(root, found.name, names, count)
    _refuse_keys_of_others(root, found.name, there, others)
    _refuse_keys_of_a_former_chain(root, found.name, there)
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
        f"{found.name}: made a chain of {_called(count)}, chain id {chain_id}",
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
    names = _secrets(found)
    count = len(chain.validators)
    _refuse_a_copy(chain, others)
    _refuse_another_chain(found, wanted, chain)
    there = _there(root, found.name, names, count)
    network = f"the chain of {_called(count)} is there, chain id {chain.chain_id}"
    if not there:
        return [
            f"{found.name}: nothing to change: {network}; its private keys are not on this machine"
        ]
    _refuse_keys_of_others(root, found.name, there, others)
    _refuse_other_keys(root, found.name, names, chain, there)
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


def _secrets(found: Environment) -> Secrets:
    """Return the names of the Secrets; raises UserError where they can't be made as named."""
    if _value(found, "secrets", "provider") == "plain":
        message = "the chain's private keys would be in git, for whoever reads it to take"
        raise _wrong(found, ["secrets", "provider"], message, "write existing or external")
    for part in ("sequencer", "maru"):
        if not _value(found, part, "enabled"):
            message = "a validator is a sequencer and a Maru, and this one is off"
            raise _wrong(found, [part, "enabled"], message, "write true")
    places: dict[str, ValuePath] = {
        "sequencer": ("sequencer", "p2pKeySecretName"),
        "maru": ("maru", "p2pKeySecretName"),
        "engine": ("engine", "jwtSecretName"),
    }
    if _value(found, "txSender", "enabled"):
        places["tx_sender"] = ("txSender", "secretName")
    if _value(found, "ethstats", "enabled"):
        places["ethstats"] = ("ethstats", "secretName")
    names = dict.fromkeys(("sequencer", "maru", "tx_sender", "engine", "ethstats"), "")
    for part, path in places.items():
        name = str(_value(found, *path) or "")
        if not name:
            raise _wrong(found, path, "the Secret has no name", "write one")
        if name in names.values():
            message = f"{name} is another component's Secret, too"
            raise _wrong(found, path, message, "give each its own")
        names[part] = name
    return Secrets(**names)


def _store(found: Environment) -> str:
    """Return where the Secrets are put: `cluster`, `aws`, or `other`, which has no commands."""
    if _value(found, "secrets", "provider") == "existing":
        return "cluster"
    return "aws" if _value(found, "secrets", "external", "aws", "enabled") else "other"


def _entries(found: Environment) -> str:
    """Return the path that entries in a store have before the Secret's name."""
    return str(_value(found, "secrets", "external", "prefix") or found.namespace)


def _to_store(found: Environment) -> dict[str, str]:
    """Return the step that brings the Secrets to where they are taken from, and what it does."""
    top, store = f"{secret_files.TOP}/{found.name}", _store(found)
    if store == "other":
        return {f"put {top}/ into your store": f"{_entries(found)}/<folder>, a property a file"}
    into_aws = "puts the Secrets into AWS Secrets Manager"
    into_cluster = "makes the Secrets where kubectl points at"
    return {f"sh {top}/{SCRIPT}": into_aws if store == "aws" else into_cluster}


def _replicas(found: Environment, part: str) -> int:
    return int(_value(found, part, "replicas"))


def _to_paste(found: Environment, validators: int) -> list[str]:
    """Return the lines of values.yaml, under a line that says so, that the number asks for."""
    lines = []
    for part in ("maru", "sequencer"):
        if _replicas(found, part) != validators:
            lines += [f"{part}:", f"  replicas: {validators}"]
    accepted = _value(found, "network", "acceptNoFaultTolerance")
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


def _there(root: Path, name: str, names: Secrets, validators: int) -> dict[str, Key]:
    """Return the chain's private keys that are there, by their file.

    Raises UserError for a file that is no key, for one that is there twice, and for anything else
    that kubectl would put into the Secrets.
    """
    findings.write(secret_files.inspect(root, name), "text", sys.stderr)
    top = secret_files.folder(root, name)
    wrong = []
    for secret, keys in names.files(validators).items():
        for entry in safe_files.entries(top / secret, root):
            if entry.name not in keys:
                message = f"kubectl would put this into the Secret of {_called(validators)}"
                wrong.append(_at(root, entry, "no-such-key", message, "move it away"))
    found: dict[str, Key] = {}
    for path in names.chain(validators):
        text = secret_files.read(top / path)
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


def _refuse_a_copy(chain: Public, others: Mapping[str, Public]) -> None:
    """Raise UserError where the chain has a validator of another environment."""
    owners = network_file.owners(others)
    for index, validator in enumerate(chain.validators):
        for key, name in (("address", validator.address), ("nodeId", validator.node_id)):
            if owner := owners.get(name.lower()):
                message = (
                    f"the {key} of validator {index} is also in {network_file.file(owner)}: "
                    "two nodes with one key fork the chain"
                )
                fix = (
                    "one of the two files is a copy: remove network.yaml of the environment that "
                    "has never run, never that of the one that runs; then nox -s network makes it "
                    "a chain of its own"
                )
                path: ValuePath = ["network", "validators", index, key]
                raise UserError(chain.document.finding("shared-validator", path, message, fix))


def _refuse_keys_of_others(
    root: Path, name: str, there: Mapping[str, Key], others: Mapping[str, Public]
) -> None:
    """Raise UserError for each private key that is another environment's validator's."""
    owners = network_file.owners(others)
    wrong = []
    for path, key in there.items():
        owner = owners.get(key.address.lower()) or owners.get(key.node_id)
        if owner:
            message = f"this is a key of {owner}'s chain: two nodes with one key fork the chain"
            fix = (
                f"move {secret_files.TOP}/{name}/ away first: a chain of {name} has keys of its own"
            )
            file = secret_files.folder(root, name) / path
            wrong.append(_at(root, file, "shared-validator", message, fix))
    if wrong:
        raise UserError(*wrong)


def _refuse_keys_of_a_former_chain(root: Path, name: str, there: Mapping[str, Key]) -> None:
    """Raise UserError where git has a network.yaml that was made with one of the keys."""
    commit, text = network_file.committed(root, name) if there else ("", "")
    if any(key.address in text or key.node_id in text for key in there.values()):
        file = network_file.file(name)
        message = f"this environment has a chain: these keys are those of the file in {commit}"
        fix = (
            f"restore it from git: git checkout {commit} -- {file}; or, to begin a new chain, move "
            f"{secret_files.TOP}/{name}/ away first"
        )
        raise UserError(Finding(file, 0, 0, "chain-in-git", message, fix))


def _refuse_another_chain(found: Environment, wanted: Wanted, chain: Public) -> None:
    """Raise UserError where another chain is asked for than the one that is there.

    Fewer replicas than validators are the chart's to judge: the others then stand still.
    """
    count, replicas = len(chain.validators), _replicas(found, "maru")
    path, message, fix = ["network", "validators"], "", ""
    if wanted.validators not in (None, count):
        message = f"the chain has {_called(count)}, asked for are {wanted.validators}"
        fix = f"write --validators {count}, or leave it out"
    elif replicas > count:
        message = f"the chain has {_called(count)}, maru.replicas asks for {replicas}"
        fix = f"write maru.replicas: {count} into the values"
    elif wanted.chain_id not in (None, chain.chain_id):
        path = ["genesis", "besu"]
        message = f"the chain's id is {chain.chain_id}, asked for is {wanted.chain_id}"
        fix = f"write --chain-id {chain.chain_id}, or leave it out"
    if message:
        fix += (
            "; another genesis is another chain: to begin one, remove this file and the chain's "
            f"volumes, move {secret_files.TOP}/{found.name}/ away, and run this again"
        )
        raise UserError(chain.document.finding("another-chain", path, message, fix))


def _refuse_other_keys(
    root: Path, name: str, names: Secrets, chain: Public, there: Mapping[str, Key]
) -> None:
    """Raise UserError for each private key that is not the one whose public names are in git."""
    top = secret_files.folder(root, name)
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
    funded = chain.accounts
    if sender in there and funded and there[sender].address.lower() not in funded:
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
        raise UserError(_at(root, top / path, "another-recipient", message, fix))
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
        raise UserError(_at(root, file, "no-key", f"this is {error}", "move it away")) from None


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
        region = _value(found, "secrets", "external", "aws", "region")
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


def _value(found: Environment, *path: str | int) -> Any:
    defaults = found.layers[0].data or {}
    return paths.get(environment.coalesce(defaults, found.values), path)


def _wrong(found: Environment, path: ValuePath, message: str, fix: str) -> UserError:
    document, inside = found.locate(list(path))
    return UserError(document.finding("network", inside, message, fix, environment=found.name))


def _at(root: Path, path: Path, rule: str, message: str, fix: str) -> Finding:
    return Finding(safe_files.name(path, root), 0, 0, rule, message, fix)


def _called(validators: int) -> str:
    return "1 validator" if validators == 1 else f"{validators} validators"


def _table(rows: Mapping[str, str]) -> list[str]:
    width = max(map(len, rows))
    return [f"  {name:{width}}  {what}" for name, what in rows.items()]
