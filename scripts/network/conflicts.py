"""What contradicts a chain that is there: other keys, another environment's, another chain."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from scripts.core import findings, safe_files
from scripts.core.findings import Finding, UserError
from scripts.core.paths import ValuePath
from scripts.environments.environment import Environment
from scripts.network import network_file, plan, secret_files
from scripts.network.keys import Key
from scripts.network.network_file import Public
from scripts.network.plan import Secrets, Wanted


def keys_there(root: Path, name: str, names: Secrets, validators: int) -> dict[str, Key]:
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
                message = f"kubectl would put this into the Secret of {plan.called(validators)}"
                wrong.append(plan.at(root, entry, "no-such-key", message, "move it away"))
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
            wrong.append(plan.at(root, top / path, "no-key", f"this is {error}", fix))
            continue
        folder = path.partition("/")[0]
        twins = [other for other in found if other.startswith(f"{folder}/") and found[other] == key]
        if twins:
            message = (
                f"this is the key of {twins[0]}, too: two validators with one key fork a chain"
            )
            fix = "move one of the two away for a new one"
            wrong.append(plan.at(root, top / path, "key-twice", message, fix))
        found[path] = key
    if wrong:
        raise UserError(*wrong)
    return found


def refuse_a_copy(chain: Public, others: Mapping[str, Public]) -> None:
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


def refuse_keys_of_others(
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
            wrong.append(plan.at(root, file, "shared-validator", message, fix))
    if wrong:
        raise UserError(*wrong)


def refuse_keys_of_a_former_chain(root: Path, name: str, there: Mapping[str, Key]) -> None:
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


def refuse_another_chain(found: Environment, wanted: Wanted, chain: Public) -> None:
    """Raise UserError where another chain is asked for than the one that is there.

    Fewer replicas than validators are the chart's to judge: the others then stand still.
    """
    count, replicas = len(chain.validators), plan.replicas(found, "maru")
    path, message, fix = ["network", "validators"], "", ""
    if wanted.validators not in (None, count):
        message = f"the chain has {plan.called(count)}, asked for are {wanted.validators}"
        fix = f"write --validators {count}, or leave it out"
    elif replicas > count:
        message = f"the chain has {plan.called(count)}, maru.replicas asks for {replicas}"
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


def refuse_other_keys(
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
                plan.at(
                    root,
                    top / path,
                    "another-key",
                    f"this key does not give the {what} in {chain.document.file}",
                    fix,
                )
                for path, what in wrong
            )
        )
