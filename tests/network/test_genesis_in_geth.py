"""A real execution client accepts our genesis, and derives the same public names."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from scripts.core.toolchain import tool
from scripts.network import genesis
from scripts.network.keys import Key
from tests.execution_client import Client, Maru, chain
from tests.objects import ENVIRONMENTS, of_environment, one
from tests.waits import until

CHAIN_ID = 1337
ETHER = 10**18
BLOCKS = 5

pytestmark = pytest.mark.waits


def makes_blocks(folder: Path, first: Mapping[str, Any]) -> None:
    """Boot a client from a genesis, and see it make blocks by all the rules of Osaka."""
    with chain(folder, first) as (client, maru):
        until(lambda: maru.failure or client.height() >= BLOCKS, "blocks", client.height)
        assert maru.failure is None, maru.failure
        assert client.number("eth_chainId") == first["config"]["chainId"]
        osaka = client.rpc("eth_config")["current"]
        assert osaka["activationTime"] == 0
        assert "P256VERIFY" in osaka["precompiles"]  # EIP-7951, of Osaka
        for name, address in {
            "BEACON_ROOTS_ADDRESS": genesis.BEACON_ROOTS,
            "HISTORY_STORAGE_ADDRESS": genesis.HISTORY,
            "WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS": genesis.WITHDRAWALS,
            "CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS": genesis.CONSOLIDATIONS,
        }.items():
            assert osaka["systemContracts"][name] == address.lower()
        blocks = [client.rpc("eth_getBlockByNumber", hex(n), False) for n in range(BLOCKS)]
        times = [int(block["timestamp"], 16) for block in blocks]
        assert all(a < b for a, b in pairwise(times)), times
        # EIP-2935: the contract knows the hash of each block before the newest.
        for number in range(1, BLOCKS):
            word = f"0x{number - 1:064x}"
            call = {"to": genesis.HISTORY, "input": word}
            assert client.rpc("eth_call", call, hex(number)) == blocks[number - 1]["hash"]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Maru]]:
    with chain(tmp_path_factory.mktemp("chain") / "node", ours()) as found:
        yield found


def ours() -> dict[str, Any]:
    return genesis.besu(CHAIN_ID, int(time.time()) - 60, {Key.generate().address: ETHER})


def test_geth_makes_blocks_from_our_genesis(tmp_path: Path) -> None:
    makes_blocks(tmp_path / "node", ours())


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_geth_makes_blocks_from_the_rendered_genesis(tmp_path: Path, name: str) -> None:
    rendered = one(of_environment(name)[1], "ConfigMap", "linea-stack-genesis")
    makes_blocks(tmp_path / "node", json.loads(rendered["data"]["besu.json"]))


@pytest.mark.parametrize("contract", [genesis.WITHDRAWALS, genesis.CONSOLIDATIONS])
def test_geth_makes_no_blocks_without_a_system_contract(tmp_path: Path, contract: str) -> None:
    first = ours()
    del first["alloc"][contract]
    with pytest.raises(AssertionError, match="(?i)" + contract):
        makes_blocks(tmp_path / "node", first)


EIP_7002 = (
    # Takes 56 bytes and some wei from anybody, and gives a request to the next system call.
    genesis.WITHDRAWALS,
    "0x" + "11" * 48 + "00" * 8,
)
EIP_7251 = (genesis.CONSOLIDATIONS, "0x" + "11" * 96)


@pytest.mark.parametrize(("contract", "data"), [EIP_7002, EIP_7251], ids=["7002", "7251"])
def test_nobody_can_make_a_request_that_would_stop_the_chain(
    tmp_path: Path, contract: str, data: str
) -> None:
    """Maru drops execution requests, so a client would refuse the block that has one."""
    rich = Key.generate()
    first = genesis.besu(CHAIN_ID, int(time.time()) - 60, {rich.address: ETHER})
    importing = f"{tool('cast')} wallet import --keystore-dir {tmp_path} rich --interactive"
    subprocess.run(
        ["script", "-qec", importing, "/dev/null"],
        input=f"{rich.hex}\n".encode(),
        env={**os.environ, "CAST_UNSAFE_PASSWORD": "unused"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    (tmp_path / "password").write_text("unused")
    with chain(tmp_path / "node", first) as (client, maru):
        until(lambda: maru.failure or client.height() >= 1, "a block")
        command = [str(tool("cast")), "send", contract, data, "--value", "1", "--json"]
        command += ["--rpc-url", client.url, "--timeout", "600", "--gas-limit", "300000"]
        command += ["--gas-price", "2gwei", "--priority-gas-price", "1gwei"]
        command += ["--keystore", str(tmp_path / "rich")]
        command += ["--password-file", str(tmp_path / "password")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert '"status":"0x0"' in done.stdout, done.stdout + done.stderr
        height = client.height()
        until(lambda: maru.failure or client.height() > height + 1, "more blocks", client.height)
        assert maru.failure is None, maru.failure


def test_the_engine_api_rejects_another_secret(node: tuple[Client, Maru]) -> None:
    client, _ = node
    assert client.engine("engine_exchangeCapabilities", [])
    with pytest.raises(urllib.error.HTTPError, match="401"):
        client.engine("engine_exchangeCapabilities", [], secret=b"\0" * 32)


def test_geth_derives_the_same_node_id(node: tuple[Client, Maru]) -> None:
    client, _ = node
    enode = client.rpc("admin_nodeInfo")["enode"]
    assert enode.removeprefix("enode://").partition("@")[0] == client.key.node_id


def test_cast_writes_the_same_checksum() -> None:
    for _ in range(10):
        address = Key.generate().address
        command = [str(tool("cast")), "to-check-sum-address", address.lower()]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == address


def test_the_client_of_these_tests_gets_lost_blocks_back(tmp_path: Path) -> None:
    with chain(tmp_path / "node", ours()) as (client, maru):
        until(lambda: client.height() >= 3, "the first blocks", client.height)
        client.kill()
        made = [payload["blockHash"] for payload in maru.blocks]
        client.start()
        until(lambda: client.height() > len(made), "blocks after the restart", client.height)
        for number, hash_ in enumerate(made, start=1):
            assert client.rpc("eth_getBlockByNumber", hex(number), False)["hash"] == hash_
