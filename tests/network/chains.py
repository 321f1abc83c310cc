"""Runs `nox -s network`, and reads the chain that it has created."""

from __future__ import annotations

import json
from typing import Any

import yaml

from scripts.network.keys import Key
from tests.conftest import Repository, Run
from tests.network.test_keys import compressed, from_base58, independent

SEQUENCER, MARU = "linea-stack-sequencer-p2p-key", "linea-stack-maru-p2p-key"
SENDER, JWT, STATS = (
    "linea-stack-tx-sender-secrets",
    "linea-stack-engine-jwt",
    "linea-stack-ethstats-secret",
)


def network(repository: Repository, *arguments: str, code: int = 0) -> Run:
    done = repository.run("network", *arguments)
    assert done.code == code, done.out + done.err
    assert "Traceback" not in done.err
    return done


def public(repository: Repository, name: str = "dev") -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(
        (repository / f"overlays/{name}/network.yaml").read_text()
    )
    return values


def chain_id(repository: Repository, name: str = "dev") -> int:
    return int(json.loads(public(repository, name)["genesis"]["besu"])["config"]["chainId"])


def private(repository: Repository, name: str = "dev") -> dict[str, str]:
    """Return the private files of an environment."""
    top = repository / ".secrets" / name
    return {
        path.relative_to(top).as_posix(): path.read_text()
        for path in top.rglob("*")
        if path.is_file()
    }


def ordinal(index: int) -> str:
    return f"key-{index}" if index else "key"


def secrets_of(repository: Repository, name: str = "dev") -> list[str]:
    """Return the secrets of an environment, each in its shortest form."""
    every = private(repository, name)
    without_secret = {"create-secrets.sh", f"{SENDER}/toAddress"}
    return [text.strip()[-64:] for path, text in every.items() if path not in without_secret]


def assert_consistent(repository: Repository, count: int, name: str = "dev") -> None:
    """Derive the public part from the private keys with another implementation, and compare."""
    values, files = public(repository, name), private(repository, name)
    validators = values["network"]["validators"]
    assert len(validators) == count
    for index, validator in enumerate(validators):
        maru = Key.parse_libp2p(files[f"{MARU}/{ordinal(index)}"])
        node = Key.parse(files[f"{SEQUENCER}/{ordinal(index)}"])
        assert maru != node
        assert validator["address"] == independent(maru).public_key.to_checksum_address()
        assert validator["nodeId"] == independent(node).public_key.to_bytes().hex()
        assert from_base58(validator["peerId"])[6:] == compressed(maru)
    for key in ("address", "nodeId", "peerId"):
        assert len({validator[key] for validator in validators}) == count
    maru_genesis = json.loads(values["genesis"]["maru"])
    assert maru_genesis["config"]["0"]["validatorSet"] == [
        validator["address"].lower() for validator in validators
    ]
    besu_genesis = json.loads(values["genesis"]["besu"])
    assert besu_genesis["config"]["chainId"] == maru_genesis["chainId"]
    if "recipient.key" in files:
        assert files[f"{SENDER}/toAddress"] == Key.parse(files["recipient.key"]).address
    sender = Key.parse(files[f"{SENDER}/privateKey"])
    assert int(besu_genesis["alloc"][sender.address]["balance"], 16) >= 10**18
