"""Find conflicts with existing chains: other keys, keys of other environments, another chain."""

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


def existing_keys(root: Path, name: str, names: Secrets, validators: int) -> dict[str, Key]:
    """Return file → private key, of the chain's existing keys.

    Raises UserError for invalid and duplicate keys, and for other files that kubectl would add to
    the Secrets.
    """
    findings.write(secret_files.inspect(root, name), "text", sys.stderr)
    top = secret_files.folder(root, name)
    wrong = []
    for secret, keys in names.files(validators).items():
        for entry in safe_files.entries(top / secret, root):
            if entry.name not in keys:
                count = plan.called(validators)
                message = f"unexpected file: kubectl would add it to the Secret of {count}"
                fix = f"move {entry.name} out of {secret_files.TOP}/{name}/{secret}/"
                wrong.append(plan.at(root, entry, "unexpected-key-file", message, fix))
    existing: dict[str, Key] = {}
    for path in names.chain(validators):
        text = secret_files.read(top / path)
        if text is None:
            continue
        parse = Key.parse_libp2p if path.startswith(f"{names.maru}/") else Key.parse
        try:
            key = parse(text)
        except ValueError as error:
            fix = f"restore the file from your backup; {_for_a_new_key(path)}"
            wrong.append(plan.at(root, top / path, "invalid-private-key", str(error), fix))
            continue
        folder = path.partition("/")[0]
        equal = [p for p, other in existing.items() if p.startswith(f"{folder}/") and other == key]
        if equal:
            message = f"{equal[0]} has the same key: two validators with one key fork the chain"
            fix = _for_a_new_key(path)
            wrong.append(plan.at(root, top / path, "duplicate-private-key", message, fix))
        existing[path] = key
    if wrong:
        raise UserError(*wrong)
    return existing


def _for_a_new_key(path: str) -> str:
    return f"for a new key, move {path} away, and run the command again"


def reject_copy(chain: Public, others: Mapping[str, Public]) -> None:
    """Raise UserError if the chain has a validator of another environment."""
    owners = network_file.owners(others)
    for index, validator in enumerate(chain.validators):
        for key, name in (("address", validator.address), ("nodeId", validator.node_id)):
            if owner := owners.get(name.lower()):
                message = (
                    f"the {key} of validator {index} is also in {network_file.file(owner)}: "
                    "two nodes with one key fork the chain"
                )
                fix = (
                    "one of the two files is a copy: remove the one of the environment that has "
                    "never run, then run nox -s network for that environment"
                )
                path: ValuePath = ["network", "validators", index, key]
                raise UserError(chain.document.finding("shared-validator", path, message, fix))


def reject_keys_of_others(
    root: Path, name: str, existing: Mapping[str, Key], others: Mapping[str, Public]
) -> None:
    """Raise UserError for each private key of another environment's validators."""
    owners = network_file.owners(others)
    wrong = []
    for path, key in existing.items():
        owner = owners.get(key.address.lower()) or owners.get(key.node_id)
        if owner:
            message = f"the key belongs to {owner}'s chain: two nodes with one key fork the chain"
            fix = f"move {secret_files.TOP}/{name}/ away, and run the command again for new keys"
            file = secret_files.folder(root, name) / path
            wrong.append(plan.at(root, file, "shared-validator", message, fix))
    if wrong:
        raise UserError(*wrong)


def reject_keys_of_earlier_chain(root: Path, name: str, existing: Mapping[str, Key]) -> None:
    """Raise UserError if git has a network.yaml with the public names of one of the keys."""
    commit, text = network_file.committed(root, name) if existing else ("", "")
    if any(key.address in text or key.node_id in text for key in existing.values()):
        file = network_file.file(name)
        message = f"{name} has a chain already: commit {commit} has {file} with the same keys"
        fix = (
            f"run git checkout {commit} -- {file}; or, for a new chain, move "
            f"{secret_files.TOP}/{name}/ away, and run the command again"
        )
        raise UserError(Finding(file, 0, 0, "chain-already-in-git", message, fix))


def reject_another_chain(loaded: Environment, wanted: Wanted, chain: Public) -> None:
    """Raise UserError if the options or values require another chain than the existing one.

    Fewer replicas than validators are accepted here; the chart checks their number.
    """
    count, replicas = len(chain.validators), plan.replicas(loaded, "maru")
    path, message, fix = ["network", "validators"], "", ""
    if wanted.validators not in (None, count):
        message = f"the chain has {plan.called(count)}, but --validators is {wanted.validators}"
        fix = f"write --validators {count}, or omit the option"
    elif replicas > count:
        message = f"the chain has {plan.called(count)}, but maru.replicas is {replicas}"
        fix = f"write maru.replicas: {count} in overlays/{loaded.name}/values.yaml"
    elif wanted.chain_id not in (None, chain.chain_id):
        path = ["genesis", "besu"]
        message = f"the chain id is {chain.chain_id}, but --chain-id is {wanted.chain_id}"
        fix = f"write --chain-id {chain.chain_id}, or omit the option"
    if message:
        fix += (
            f"; for a new chain, remove {chain.document.file} and the chain's volumes, move "
            f"{secret_files.TOP}/{loaded.name}/ away, and run the command again"
        )
        raise UserError(chain.document.finding("existing-chain-differs", path, message, fix))


def reject_other_keys(
    root: Path, name: str, names: Secrets, chain: Public, existing: Mapping[str, Key]
) -> None:
    """Raise UserError for each private key that does not match the public names in git."""
    top = secret_files.folder(root, name)
    wrong = []
    for index, validator in enumerate(chain.validators):
        key = "key" if index == 0 else f"key-{index}"
        sequencer, maru = f"{names.sequencer}/{key}", f"{names.maru}/{key}"
        if sequencer in existing and existing[sequencer].node_id != validator.node_id:
            wrong.append((sequencer, f"nodeId of validator {index}"))
        if maru in existing and (existing[maru].address, existing[maru].peer_id) != (
            validator.address,
            validator.peer_id,
        ):
            wrong.append((maru, f"address and peerId of validator {index}"))
    sender = f"{names.tx_sender}/privateKey"
    funded = chain.accounts
    if sender in existing and funded and existing[sender].address.lower() not in funded:
        wrong.append((sender, "account that the genesis funds"))
    if wrong:
        fix = (
            "restore the key of this chain from your backup; or, for a new chain, remove "
            f"{chain.document.file}, and run the command again"
        )
        raise UserError(
            *(
                plan.at(
                    root,
                    top / path,
                    "private-key-mismatch",
                    f"the key does not match the {what} in {chain.document.file}",
                    fix,
                )
                for path, what in wrong
            )
        )
