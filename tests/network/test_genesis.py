"""The genesis files of Besu and Maru are complete."""

from __future__ import annotations

import re

from scripts.chain.identity import checksummed
from scripts.network import genesis
from scripts.network.keys import Key


def test_all_forks_of_the_genesis_are_active_from_the_first_block() -> None:
    address = Key.generate().address
    besu = genesis.besu(4242, 1_700_000_000, {address: 5})
    config = besu["config"]
    forks = {key: config[key] for key in config if re.search(r"(Block|Time)$", key)}
    assert set(forks.values()) == {0}
    assert {"londonBlock", "shanghaiTime", "cancunTime", "pragueTime", "osakaTime"} <= {*forks}
    assert (config["chainId"], config["terminalTotalDifficulty"]) == (4242, 0)
    assert int(besu["timestamp"], 16) == 1_700_000_000
    assert besu["alloc"][address] == {"balance": "0x5"}


def test_every_system_contract_is_at_the_address_of_its_eip() -> None:
    besu = genesis.besu(1, 1, {})
    ends = {"4788": "ac02", "2935": "2935", "7002": "7002", "7251": "7251"}
    assert sorted(a[-4:].lower() for a in besu["alloc"]) == sorted(ends.values())
    for address, contract in besu["alloc"].items():
        assert contract["nonce"] == "0x1"
        # The code first checks for the system address as caller: CALLER PUSH20 0xff…fe EQ.
        assert contract["code"].startswith("0x3373" + "f" * 39 + "e14"), address
        assert address == checksummed(address)
    config = besu["config"]
    assert config["withdrawalRequestContractAddress"] in besu["alloc"]
    assert config["consolidationRequestContractAddress"] in besu["alloc"]


def test_the_gas_limit_allows_the_largest_transaction_of_osaka() -> None:
    assert int(genesis.besu(1, 1, {})["gasLimit"], 16) >= 2**24


def test_the_blob_schedule_allows_the_blobs_of_one_transaction_of_osaka() -> None:
    # These are 6 (EIP-7594); with fewer per block, Besu 25.11 does not start.
    for schedule in genesis.besu(1, 1, {})["config"]["blobSchedule"].values():
        assert schedule["max"] >= 6
        assert schedule["max"] > schedule["target"] > 0


def test_the_genesis_of_maru_has_all_validators() -> None:
    addresses = [Key.generate().address for _ in range(4)]
    maru = genesis.maru(7, addresses)
    assert maru["chainId"] == 7
    assert maru["config"]["0"]["validatorSet"] == [address.lower() for address in addresses]
    assert maru["config"]["0"]["elFork"] == "Osaka"
