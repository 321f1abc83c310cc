"""The chain of an environment: keys, genesis, and `nox -s network`, which creates them once."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from eth_keys.backends.native.main import NativeECCBackend
from eth_keys.datatypes import PrivateKey
from eth_keys.main import KeyAPI
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.chain import known_chains
from scripts.chain.identity import address_of, checksummed, is_address, peer_id_of
from scripts.core.yamlio import Document
from scripts.environments import environment
from scripts.network import genesis, make, network_file, plan
from scripts.network.keys import Key
from tests.conftest import ROOT, Interrupted, Repository, Run
from tests.objects import ENVIRONMENTS

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""The order of secp256k1: https://www.secg.org/sec2-v2.pdf, 2.4.1."""

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

SEQUENCER, MARU = "linea-stack-sequencer-p2p-key", "linea-stack-maru-p2p-key"
SENDER, JWT, STATS = (
    "linea-stack-tx-sender-secrets",
    "linea-stack-engine-jwt",
    "linea-stack-ethstats-secret",
)

any_key = st.integers(1, ORDER - 1).map(lambda number: Key.parse(f"{number:064x}"))

python = KeyAPI(NativeECCBackend())
"""Ethereum's keys in plain Python, an implementation that shares no code with ours."""


def independent(key: Key) -> PrivateKey:
    return python.PrivateKey(bytes.fromhex(key.hex))


def from_base58(text: str) -> bytes:
    number = 0
    for letter in text:
        number = number * 58 + BASE58.index(letter)
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def compressed(key: Key) -> bytes:
    return bytes(independent(key).public_key.to_compressed_bytes())


@settings(max_examples=40, deadline=None)
@given(any_key)
def test_address_and_node_id_equal_those_of_another_implementation(key: Key) -> None:
    public = independent(key).public_key
    assert key.address == public.to_checksum_address()
    assert key.node_id == public.to_bytes().hex()


@settings(max_examples=40, deadline=None)
@given(any_key)
def test_the_peer_id_contains_the_public_key(key: Key) -> None:
    assert key.peer_id.startswith("16Uiu2HA")
    assert from_base58(key.peer_id) == bytes.fromhex("002508021221") + compressed(key)


@given(any_key)
def test_a_key_can_be_parsed_from_both_of_its_forms(key: Key) -> None:
    assert Key.parse(key.hex) == Key.parse(f"0x{key.hex}\n") == key
    assert Key.parse_libp2p(key.libp2p_hex) == key
    assert bytes.fromhex(key.libp2p_hex[2:]) == b"\x08\x02\x12\x20" + bytes.fromhex(key.hex)


def test_the_peer_id_equals_that_in_the_specification_of_libp2p() -> None:
    # https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md#test-vectors
    public = "037777e994e452c21604f91de093ce415f5432f701dd8cd1a7a6fea0e630bfca99"
    expected = "16Uiu2HAmLhLvBoYaoZfaMUKuibM6ac163GwKY74c5kiSLg5KvLpY"
    assert peer_id_of(bytes.fromhex(public)) == expected


def test_the_address_of_the_generator_of_secp256k1() -> None:
    public = (
        "0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
        "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"
    )
    assert address_of(bytes.fromhex(public)) == "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"


@pytest.mark.parametrize(
    "address",
    [
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0xde709f2102306220921060314715629080e2fb77",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ],
)
def test_the_checksums_equal_those_in_eip_55(address: str) -> None:
    assert checksummed(address.lower()) == address
    assert is_address(address)
    assert is_address(address.lower())
    wrong = address.swapcase().replace("X", "x")
    assert is_address(wrong) == (wrong.lower() == wrong or wrong[2:].upper() == wrong[2:])


@pytest.mark.parametrize("text", ["", "0x", "12" * 20, "0x" + "g" * 40, "0x" + "1" * 39])
def test_an_invalid_address_is_rejected(text: str) -> None:
    assert not is_address(text)


@pytest.mark.parametrize("number", [0, ORDER, 2**256 - 1])
def test_a_number_outside_the_group_is_not_a_key(number: int) -> None:
    with pytest.raises(ValueError, match="not a private key"):
        Key.parse(f"{number:064x}")


def test_an_error_does_not_repeat_the_text_of_an_invalid_key() -> None:
    secret = Key.generate().hex
    for parse in (Key.parse, Key.parse_libp2p):
        with pytest.raises(ValueError, match=r"not a .*private key") as caught:
            parse(f"{secret}{secret}")
        assert secret not in repr(caught.value)
    assert secret not in repr(Key.parse(secret))
    assert secret not in str([Key.parse(secret)])


def test_new_keys_differ() -> None:
    assert len({Key.generate().hex for _ in range(50)}) == 50


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


# The command


@pytest.fixture
def plain(repository: Repository) -> Repository:
    """Return a repository in which no environment has a chain."""
    for path in (repository / "overlays").glob("*/network.yaml"):
        path.unlink()
    repository.write("overlays/dev/values.yaml", "maru: {replicas: 1}\nsequencer: {replicas: 1}\n")
    return repository


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


@pytest.mark.parametrize("count", [1, 4, 7, 100])
def test_a_new_chain_is_complete(plain: Repository, count: int) -> None:
    done = network(plain, "dev", "--validators", str(count))
    assert_consistent(plain, count)
    files = private(plain)
    expected = {f"{secret}/{ordinal(i)}" for secret in (SEQUENCER, MARU) for i in range(count)}
    expected |= {f"{SENDER}/privateKey", f"{SENDER}/toAddress", f"{JWT}/jwt", f"{STATS}/secret"}
    assert {*files} == expected | {"recipient.key", "create-secrets.sh"}
    assert re.fullmatch("[0-9a-f]{64}", files[f"{JWT}/jwt"])
    assert re.fullmatch("[0-9a-f]{64}", files[f"{STATS}/secret"])
    assert re.fullmatch("[0-9a-f]{64}", files[f"{SEQUENCER}/key"])
    assert files[f"{SENDER}/toAddress"] == Key.parse(files["recipient.key"]).address
    text = (plain / "overlays/dev/network.yaml").read_text()
    secrets = secrets_of(plain)
    assert len({*secrets}) == 2 * count + 4
    for secret in secrets:
        assert secret not in done.out + done.err + text + files["create-secrets.sh"]


@pytest.mark.parametrize("mask", ["000", "077", "777"])
def test_only_the_owner_can_read_private_files_whatever_the_umask(
    plain: Repository, mask: str
) -> None:
    command = plain.command("network", "dev")
    shell = ["sh", "-c", f'umask {mask}; exec "$@"', "sh", *command]
    (plain / ".render").mkdir(exist_ok=True)
    subprocess.run(shell, cwd=ROOT, check=True, capture_output=True)
    top = plain / ".secrets"
    mode = stat.S_IMODE((plain / "overlays/dev/network.yaml").stat().st_mode)
    assert mode == (0o666 & ~int(mask, 8)) | 0o600
    for path in (top, *top.rglob("*")):
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.lstat().st_mode) == wanted, path
        assert path.stat().st_nlink == 1 or path.is_dir()


def test_git_ignores_private_files_even_without_a_gitignore_at_the_top(plain: Repository) -> None:
    network(plain, "dev")
    subprocess.run(["git", "init", "-q"], cwd=plain.root, check=True)
    command = ["git", "status", "--porcelain", "--untracked-files=all"]
    done = subprocess.run(command, cwd=plain.root, check=True, capture_output=True, text=True)
    assert "overlays/dev/network.yaml" in done.stdout
    assert ".secrets" not in done.stdout


def test_a_second_run_changes_nothing(plain: Repository) -> None:
    network(plain, "dev", "--validators", "1")
    before = plain.files()
    done = network(plain, "dev", "--validators", "1")
    id_ = chain_id(plain)
    assert done.out == f"dev: nothing to create: the chain of 1 validator exists, chain id {id_}\n"
    assert plain.files() == before
    assert not done.err


def test_after_a_killed_run_the_next_one_continues_with_the_existing_keys(
    plain: Repository,
) -> None:
    kills = 0
    with Interrupted(plain, signal.SIGKILL) as runs:
        for step in range(1000):
            code = runs.at(step, "network", "dev")["code"]
            # The script has a label with the chain id, which is drawn again with the network.yaml.
            derived = (".new", "create-secrets.sh")
            kept = {path: text for path, text in private(plain).items() if path not in derived}
            if (plain / "overlays/dev/network.yaml").exists():
                assert_consistent(plain, 1)
            if code != -signal.SIGKILL:
                break
            kills += 1
            ended = runs.at(-1, "network", "dev")
            assert ended["code"] == 0, (step, ended)
            assert_consistent(plain, 1)
            assert "recipient.key" in private(plain), step
            assert kept.items() <= private(plain).items(), step
            assert not [*(plain / ".secrets").rglob(".new")], step
            shutil.rmtree(plain / ".secrets")
            (plain / "overlays/dev/network.yaml").unlink()
    assert code == 0
    assert kills > 20


def test_existing_private_keys_are_used(plain: Repository) -> None:
    key = Key.generate()
    plain.write(f".secrets/dev/{SEQUENCER}/key", f"{key.hex}\n")
    network(plain, "dev", "--validators", "4")
    assert public(plain)["network"]["validators"][0]["nodeId"] == key.node_id
    assert private(plain)[f"{SEQUENCER}/key"] == f"{key.hex}\n"
    assert_consistent(plain, 4)


def test_without_the_private_keys_nothing_is_created(plain: Repository) -> None:
    network(plain, "dev")
    shutil.rmtree(plain / ".secrets")
    before = plain.files()
    done = network(plain, "dev")
    assert "its private keys are not on this machine" in done.out
    assert plain.files() == before


def test_a_missing_key_is_reported_and_not_replaced(plain: Repository) -> None:
    network(plain, "dev", "--validators", "4")
    lost = plain / f".secrets/dev/{MARU}/key-2"
    lost.unlink()
    before = plain.files()
    done = network(plain, "dev", "--validators", "4")
    assert f"not on this machine: {MARU}/key-2 in .secrets/dev" in done.out
    assert plain.files() == before


def test_a_secret_that_is_independent_of_the_chain_is_created_when_needed(
    plain: Repository,
) -> None:
    plain.write("overlays/dev/values.yaml", "ethstats: {enabled: false}\n")
    network(plain, "dev", "--validators", "1")
    before = private(plain)
    assert f"{STATS}/secret" not in before
    assert STATS not in before["create-secrets.sh"]
    plain.write("overlays/dev/values.yaml", "ethstats: {enabled: true}\n")
    done = network(plain, "dev", "--validators", "1")
    assert f"created {STATS}/secret, create-secrets.sh" in done.out
    after = private(plain)
    assert STATS in after["create-secrets.sh"]
    assert {p: t for p, t in before.items() if p != "create-secrets.sh"}.items() <= after.items()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (f"{SEQUENCER}/key-1", "nodeId of validator 1"),
        (f"{MARU}/key-2", "address and peerId of validator 2"),
        (f"{SENDER}/privateKey", "account that the genesis funds"),
    ],
)
def test_a_private_key_of_another_chain_is_rejected(
    plain: Repository, path: str, name: str
) -> None:
    network(plain, "dev", "--validators", "4")
    key = Key.generate()
    other = key.libp2p_hex if path.startswith(MARU) else key.hex
    (plain / f".secrets/dev/{path}").write_text(other)
    before = plain.files()
    done = network(plain, "dev", "--validators", "4", code=1)
    assert f".secrets/dev/{path}  error  private-key-mismatch" in done.out
    assert f"this key does not match the {name} in overlays/dev/network.yaml\n" in done.out
    assert key.hex not in done.out + done.err
    assert plain.files() == before


@pytest.mark.parametrize("validators", [(), ("--validators", "4")])
def test_one_key_for_two_validators_is_rejected(
    plain: Repository, validators: tuple[str, ...]
) -> None:
    network(plain, "dev", "--validators", "4")
    top = plain / f".secrets/dev/{MARU}"
    shutil.copy(top / "key", top / "key-3")
    if not validators:
        (plain / "overlays/dev/network.yaml").unlink()
    done = network(plain, "dev", "--validators", "4", code=1)
    assert f".secrets/dev/{MARU}/key-3  error  duplicate-private-key" in done.out


@pytest.mark.parametrize("text", ["", "abc", "é" * 64, "0" * 64])
def test_an_invalid_key_is_rejected_and_kept(plain: Repository, text: str) -> None:
    path = f".secrets/dev/{SEQUENCER}/key"
    plain.write(path, text)
    done = network(plain, "dev", code=1)
    assert f"{path}  error  invalid-private-key\n  not a private key: expected" in done.out
    assert (plain / path).read_text() == text
    assert not (plain / "overlays/dev/network.yaml").exists()


def test_another_number_of_validators_needs_a_new_chain(plain: Repository) -> None:
    network(plain, "dev", "--validators", "4")
    before, id_ = plain.files(), chain_id(plain)
    for arguments, message in (
        (("--validators", "7"), "the chain has 4 validators, but --validators is 7\n"),
        (("--validators", "4", "--chain-id", "5"), f"the chain id is {id_}, but --chain-id is 5\n"),
    ):
        done = network(plain, "dev", *arguments, code=1)
        assert "overlays/dev/network.yaml:" in done.out
        assert "error  existing-chain-differs" in done.out
        assert message in done.out
        assert "for a new chain, remove this file" in done.out
        assert plain.files() == before
    plain.write("overlays/dev/values.yaml", "maru: {replicas: 5}\nsequencer: {replicas: 5}\n")
    done = network(plain, "dev", code=1)
    assert "the chain has 4 validators, but maru.replicas is 5\n" in done.out


def test_fewer_replicas_than_validators_are_no_error_here(plain: Repository) -> None:
    network(plain, "dev", "--validators", "4")
    assert "dev: nothing to create: the chain of 4 validators" in network(plain, "dev").out


def test_more_keys_than_validators_are_rejected(plain: Repository) -> None:
    network(plain, "dev", "--validators", "7")
    (plain / "overlays/dev/network.yaml").unlink()
    done = network(plain, "dev", "--validators", "4", code=1)
    assert f".secrets/dev/{MARU}/key-6  error  unexpected-key-file" in done.out
    assert len(private(plain)) == 2 * 7 + 6


def test_each_environment_gets_its_own_chain_id(plain: Repository) -> None:
    network(plain, "dev", "--validators", "1")
    network(plain, "prod", "--validators", "4", "--chain-id", "1339")
    network(plain, "staging", "--validators", "4")
    ids = [chain_id(plain, name) for name in ("dev", "prod", "staging")]
    assert ids[1] == 1339
    assert len({*ids}) == 3
    assert all(id_ in make.CHAIN_IDS for id_ in (ids[0], ids[2]))
    assert not {*secrets_of(plain, "prod")} & {*secrets_of(plain, "staging")}


@given(st.lists(st.sampled_from([1313161555, 1666600000, 10**9 + 5, 2**31 - 1]), max_size=9))
def test_a_new_chain_gets_an_id_that_no_known_chain_and_no_environment_has(
    drawn: list[int],
) -> None:
    other = network_file.Public(Document("", {}, None), (), 10**9 + 5, frozenset())
    numbers = iter([number - make.CHAIN_IDS[0] for number in [*drawn, 1234567890]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("secrets.randbelow", lambda below: next(numbers) % below)
        id_ = make._chain_id(plan.Wanted(), {"dev": other})
    assert id_ in (1234567890, 2**31 - 1)
    assert known_chains.short_name(id_) is None


def test_no_environment_here_has_the_id_of_a_public_chain() -> None:
    ids = {name: network_file.read(ROOT, name) for name in ENVIRONMENTS}
    assert all(chain and known_chains.short_name(chain.chain_id) is None for chain in ids.values())


def test_the_id_of_a_public_chain_is_made_with_a_note(plain: Repository) -> None:
    done = network(plain, "dev", "--validators", "1", "--chain-id", "59144")
    assert "note: 59144 is the id of a public chain (LINEA): wallets show its name" in done.out
    assert chain_id(plain) == 59144


def test_the_chain_id_of_another_environment_is_rejected(plain: Repository) -> None:
    network(plain, "dev", "--chain-id", "5")
    done = network(plain, "prod", "--validators", "4", "--chain-id", "5", code=2)
    assert "--chain-id 5 is the chain id of dev" in done.err
    assert not (plain / ".secrets/prod").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nope",), "known are dev, prod, staging"),
        (("dev", "--validators", "0"), "--validators 0: write 1 to 100\n"),
        (("dev", "--validators", "-1"), "--validators -1: write 1 to 100\n"),
        (("dev", "--chain-id", "4294967296"), "write 1 to 4294967295"),
        (("dev", "--to-address", "0x12"), "--to-address 0x12 is not an address"),
        (("dev", "--to-address", f"0x{'0' * 40}"), "nobody has the key of the zero address"),
        (("dev", "--validators", "abc"), "abc: write a whole number"),
        (("dev", "--chain-id", "1.5"), "1.5: write a whole number"),
        (("dev", "--valid", "4"), "unrecognized arguments: --valid"),
        (("dev", "--validators"), "usage: nox -s network -- [-h] [--validators N]"),
        (("prod", "dev"), "write only one environment: prod or dev"),
        ((), "ENVIRONMENT"),
    ],
)
def test_invalid_arguments_are_a_usage_error(
    plain: Repository, arguments: tuple[str, ...], message: str
) -> None:
    before = plain.files()
    assert message in network(plain, *arguments, code=2).err
    assert plain.files() == before


@pytest.mark.parametrize("replicas", [2, 3])
def test_two_or_three_validators_must_be_accepted_in_the_values(
    plain: Repository, replicas: int
) -> None:
    values = f"sequencer: {{replicas: {replicas}}}\nmaru: {{replicas: {replicas}}}\n"
    plain.write("overlays/dev/values.yaml", values)
    done = network(plain, "dev", code=1)
    assert "overlays/dev/values.yaml:2:8  error  wrong-value\n  maru.replicas" in done.out
    assert not (plain / ".secrets/dev").exists()
    plain.write("overlays/dev/values.yaml", values + "network: {acceptNoFaultTolerance: true}\n")
    network(plain, "dev")
    assert_consistent(plain, replicas)


def test_the_recipient_can_be_given(plain: Repository) -> None:
    address = Key.generate().address
    network(plain, "dev", "--to-address", address.lower())
    assert private(plain)[f"{SENDER}/toAddress"] == address
    assert "recipient.key" not in private(plain)
    network(plain, "dev", "--to-address", address)
    done = network(plain, "dev", "--to-address", Key.generate().address, code=1)
    assert f".secrets/dev/{SENDER}/toAddress  error  recipient-mismatch" in done.out
    assert private(plain)[f"{SENDER}/toAddress"] == address


def test_a_disabled_component_gets_no_secret(plain: Repository) -> None:
    plain.write(
        "overlays/dev/values.yaml", "txSender: {enabled: false}\nethstats: {enabled: false}\n"
    )
    done = network(plain, "dev", "--validators", "1")
    assert {path.split("/")[0] for path in private(plain)} == {
        SEQUENCER, MARU, JWT, "create-secrets.sh",
    }  # fmt: skip
    alloc = json.loads(public(plain)["genesis"]["besu"])["alloc"]
    assert all("code" in held for held in alloc.values())
    assert "the genesis funds no account" in done.out


def test_private_keys_in_the_values_are_rejected(plain: Repository) -> None:
    key, recipient = Key.generate(), Key.generate().address
    plain.write(
        "overlays/dev/values.yaml",
        "secrets: {provider: plain}\n"
        f"txSender: {{plain: {{privateKey: '0x{key.hex}', toAddress: '{recipient}'}}}}\n",
    )
    done = network(plain, "dev", "--validators", "1", code=1)
    assert done.out.startswith("overlays/dev/values.yaml:1:11  error  invalid-network")
    assert "write existing" in done.out
    assert key.hex not in done.out + done.err
    assert not (plain / ".secrets").exists()


@pytest.mark.parametrize("part", ["sequencer", "maru"])
def test_a_chain_needs_a_sequencer_and_a_maru(plain: Repository, part: str) -> None:
    plain.write("overlays/dev/values.yaml", f"{part}: {{enabled: false}}\n")
    done = network(plain, "dev", "--validators", "1", code=1)
    assert "overlays/dev/values.yaml:1:" in done.out
    assert not (plain / ".secrets/dev").exists()


def test_two_secrets_with_one_name_are_rejected(plain: Repository) -> None:
    plain.write("overlays/dev/values.yaml", f"maru: {{p2pKeySecretName: {SEQUENCER}}}\n")
    done = network(plain, "dev", "--validators", "1", code=1)
    assert f"another component has the Secret {SEQUENCER}, too" in done.out


def test_insecure_file_modes_are_restricted_with_a_warning(plain: Repository) -> None:
    network(plain, "dev")
    key, folder = plain / f".secrets/dev/{MARU}/key", plain / f".secrets/dev/{MARU}"
    key.chmod(0o644)
    folder.chmod(0o755)
    done = network(plain, "dev")
    assert f".secrets/dev/{MARU}/key  warning  insecure-file-mode" in done.err
    can_use = "other users of this machine could read or change it"
    assert f"the mode was 0644: {can_use}" in done.err
    assert "the mode was 0755: other users of this machine could list its files" in done.err
    assert done.err.count("create a new chain") == 1
    assert "2 warnings" in done.err
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not network(plain, "dev").err
    folder.chmod(0o770)
    assert f"the mode was 0770: {can_use}" in network(plain, "dev").err


@pytest.mark.parametrize("link", [".secrets", ".secrets/dev", f".secrets/dev/{MARU}"])
def test_a_link_instead_of_a_folder_is_rejected(
    plain: Repository, tmp_path: Path, link: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    (plain / link).parent.mkdir(parents=True, exist_ok=True)
    (plain / link).symlink_to(elsewhere)
    done = network(plain, "dev", code=1)
    assert f"{link}  error  invalid-secret-file" in done.out
    assert not [*elsewhere.iterdir()]
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o755


def test_a_link_instead_of_a_key_is_rejected(plain: Repository, tmp_path: Path) -> None:
    network(plain, "dev")
    key = plain / f".secrets/dev/{MARU}/key"
    key.rename(tmp_path / "key")
    key.symlink_to(tmp_path / "key")
    done = network(plain, "dev", code=1)
    assert f".secrets/dev/{MARU}/key  error  invalid-secret-file" in done.out


def test_a_read_only_folder_is_a_usage_error(
    plain: Repository, bound_by_permissions: list[str]
) -> None:
    (plain / ".secrets").mkdir()
    (plain / ".secrets").chmod(0o500)
    command = [*bound_by_permissions, *plain.command("network", "dev")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    (plain / ".secrets").chmod(0o700)
    assert done.returncode == 2
    assert done.stderr.startswith("network: .secrets/dev: Permission denied; ")


def test_a_file_instead_of_a_folder_is_rejected(plain: Repository) -> None:
    plain.write(".secrets/dev", "a file\n")
    assert ".secrets/dev  error  invalid-secret-file" in network(plain, "dev", code=1).out


@pytest.mark.parametrize(
    "text", ["{}\n", "network: {validators: []}\n", "genesis: {besu: '{', maru: ''}\n"]
)
def test_an_invalid_network_of_another_environment_is_an_error(
    plain: Repository, text: str
) -> None:
    plain.write("overlays/prod/network.yaml", text)
    done = network(plain, "dev", code=1)
    assert "overlays/prod/network.yaml:1:1  error  invalid-network" in done.out


def test_values_override_the_network(plain: Repository) -> None:
    network(plain, "dev", "--validators", "1")
    loaded = environment.load(plain.root, "dev")
    assert [layer.file for layer in loaded.layers[-2:]] == [
        "overlays/dev/network.yaml",
        "overlays/dev/values.yaml",
    ]
    assert loaded.values["genesis"] == public(plain)["genesis"]
    plain.write("overlays/dev/values.yaml", "genesis: {besu: '{}'}\n")
    assert environment.load(plain.root, "dev").values["genesis"]["besu"] == "{}"


KUBECTL = """#!/bin/sh
# A folder as a cluster: one file per Secret, with its line for the jsonpath of the script.
printf '%s\\n' "$*" >>"$CLUSTER/said"
case $* in
  *"get secret $5 "*) [ ! -e "$CLUSTER/$5" ] || cat "$CLUSTER/$5" ;;
  *"create secret generic $6 --from-file=$6 --dry-run=client"*) ls "$6" >/dev/null && echo "$6" ;;
  "label --local -f - "*) read -r name && echo "$name=${5#*=}" ;;
  *"create -f -") read -r line && echo "$line" >"$CLUSTER/${line%%=*}" ;;
  "get namespace"*) [ -e "$CLUSTER/namespace" ] ;;
  "create namespace"*) : >"$CLUSTER/namespace" ;;
  *) exit 9 ;;
esac
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A folder that a replacement of kubectl uses as a cluster."""

    root: Path

    def run(self, repository: Repository, name: str = "dev") -> Run:
        """Run an environment's create-secrets.sh from another folder."""
        program = self.root / "bin" / "kubectl"
        program.parent.mkdir(exist_ok=True)
        program.write_text(KUBECTL)
        program.chmod(0o755)
        paths = {"PATH": f"{program.parent}:{os.environ['PATH']}", "CLUSTER": str(self.root)}
        done = subprocess.run(
            ["sh", str(repository / f".secrets/{name}/create-secrets.sh")],
            cwd="/",
            env={**os.environ, **paths},
            capture_output=True,
            text=True,
            check=False,
        )
        return Run(done.returncode, done.stdout, done.stderr)

    def secrets(self) -> dict[str, str]:
        """Return Secret → the chain in its label."""
        lines = (path.read_text().strip() for path in self.root.glob("linea-*"))
        return {name: chain for name, _, chain in (line.partition("=") for line in lines)}


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """Return an empty cluster."""
    empty = Cluster(tmp_path / "cluster")
    empty.root.mkdir()
    return empty


def test_the_script_creates_the_secrets_from_any_folder_and_shows_none(
    plain: Repository, cluster: Cluster
) -> None:
    network(plain, "dev")
    done = cluster.run(plain)
    assert (done.code, done.err) == (0, "")
    every = [SEQUENCER, MARU, SENDER, JWT, STATS]
    assert done.out == "".join(f"{secret}: created\n" for secret in every)
    asked = (cluster.root / "said").read_text()
    for secret in every:
        assert f"-n linea-dev create secret generic {secret} --from-file={secret} " in asked
    for secret in secrets_of(plain):
        assert secret not in asked + done.out
    addresses = sorted(v["address"].lower() for v in public(plain)["network"]["validators"])
    chain = hashlib.sha256("\n".join([*addresses, str(chain_id(plain))]).encode()).hexdigest()[:16]
    assert cluster.secrets() == dict.fromkeys(every, chain)
    again = cluster.run(plain)
    assert again.code == 0
    assert again.out == "".join(f"{secret}: exists already, unchanged\n" for secret in every)


def test_the_script_creates_nothing_if_a_file_is_missing(
    plain: Repository, cluster: Cluster
) -> None:
    network(plain, "dev", "--validators", "4")
    (plain / f".secrets/dev/{MARU}/key-2").unlink()
    (plain / f".secrets/dev/{JWT}/jwt").write_text("")
    done = cluster.run(plain)
    assert done.code == 1
    assert f"{MARU}: the file {MARU}/key-2 is missing or empty" in done.err
    assert f"{JWT}: the file {JWT}/jwt is missing or empty" in done.err
    assert done.err.endswith("nothing was created\n")
    assert not cluster.secrets()


def test_the_script_creates_nothing_if_a_secret_belongs_to_another_chain(
    plain: Repository, cluster: Cluster
) -> None:
    network(plain, "dev")
    (cluster.root / JWT).write_text(f"{JWT}=0123456789abcdef\n")
    (cluster.root / STATS).write_text(f"{STATS}=\n")  # by people, or by a vault
    done = cluster.run(plain)
    assert done.code == 1
    assert f"{JWT}: belongs to another chain" in done.err
    assert f"kubectl -n linea-dev delete secret {JWT}\n" in done.err
    assert {*cluster.secrets()} == {JWT, STATS}
    (cluster.root / JWT).unlink()
    done = cluster.run(plain)
    assert done.code == 0
    assert f"{STATS}: exists already, unchanged; it has no label" in done.out
    assert f"{JWT}: created" in done.out
    assert cluster.secrets()[STATS] == ""


def keys_of(repository: Repository, source: str, target: str) -> None:
    shutil.copytree(repository / f".secrets/{source}", repository / f".secrets/{target}")


@pytest.mark.parametrize("kept", [(SEQUENCER, "key"), (MARU, "key")])
def test_a_key_of_another_environment_is_rejected(plain: Repository, kept: tuple[str, str]) -> None:
    network(plain, "dev")
    path = "/".join(kept)
    plain.write(f".secrets/prod/{path}", private(plain)[path])
    before = plain.files("overlays")
    done = network(plain, "prod", code=1)
    assert f".secrets/prod/{path}  error  shared-validator" in done.out
    assert "this is a key of dev's chain" in done.out
    assert "move .secrets/prod/ away, so that prod gets its own keys" in done.out
    assert plain.files("overlays") == before
    assert {*private(plain, "prod")} == {path}


def test_a_copy_of_all_keys_of_another_environment_is_rejected(
    plain: Repository,
) -> None:
    network(plain, "dev", "--validators", "4")
    keys_of(plain, "dev", "prod")
    before = plain.files()
    assert "move .secrets/prod/ away" in network(plain, "prod", code=1).out
    assert plain.files() == before
    shutil.rmtree(plain / ".secrets/prod")
    network(plain, "prod", "--validators", "4")
    shutil.rmtree(plain / ".secrets/prod")
    keys_of(plain, "dev", "prod")
    (plain / f".secrets/prod/{STATS}/secret").unlink()
    before = plain.files()
    assert "move .secrets/prod/ away" in network(plain, "prod", code=1).out
    assert plain.files() == before


@pytest.mark.parametrize("with_keys", [False, True])
def test_a_copied_network_is_rejected(plain: Repository, with_keys: bool) -> None:
    network(plain, "dev")
    shutil.copy(plain / "overlays/dev/network.yaml", plain / "overlays/prod/network.yaml")
    if with_keys:
        keys_of(plain, "dev", "prod")
        (plain / f".secrets/prod/{STATS}/secret").unlink()
    before = plain.files()
    for name, other in (("prod", "dev"), ("dev", "prod")):
        done = network(plain, name, code=1)
        assert re.match(rf"overlays/{name}/network.yaml:\d+:\d+  error  shared-validator", done.out)
        assert f"is also in overlays/{other}/network.yaml" in done.out
        assert "remove that of the environment that has never run (not the other one)" in done.out
    assert plain.files() == before


def test_validators_that_differ_from_the_genesis_are_rejected(plain: Repository) -> None:
    network(plain, "dev", "--validators", "4")
    path = plain / "overlays/dev/network.yaml"
    whole = path.read_text()

    def assert_rejected(message: str) -> None:
        done = network(plain, "dev", "--validators", "4", code=1)
        assert message in done.out
        assert "restore the file from git" in done.out
        assert "overlays/dev/network.yaml:" in done.out

    head, mark, listed = whole.partition("network:\n")
    cut = listed.rindex("  - address")
    path.write_text(head + mark + listed[:cut])
    assert_rejected("the genesis has 4 validators, but this list has 3\n")
    first = listed.index("  - address")
    second = listed.index("  - address", first + 1)
    path.write_text(
        head + mark + listed[:first] + listed[second:cut] + listed[cut:] + listed[first:second]
    )
    assert_rejected("the validators differ from those in the genesis, or have another order\n")
    id_ = str(chain_id(plain))
    before, _, after = whole.rpartition(id_)
    path.write_text(f"{before}5{after}")
    assert_rejected(f"Maru's chain id is 5, but Besu's is {id_}\n")
    path.write_text(whole)
    network(plain, "dev", "--validators", "4")


def git(repository: Repository, *arguments: str) -> str:
    names = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
    command = ["git", *names, *arguments]
    return subprocess.run(
        command, cwd=repository.root, check=True, capture_output=True, text=True
    ).stdout


def test_keys_of_a_chain_in_git_are_not_used_for_another_one(plain: Repository) -> None:
    network(plain, "dev")
    git(plain, "init", "-q")
    git(plain, "add", ".")
    git(plain, "commit", "-qm", "a chain")
    (plain / "overlays/dev/network.yaml").unlink()
    done = network(plain, "dev", code=1)
    assert "overlays/dev/network.yaml  error  chain-already-in-git" in done.out
    git(plain, "commit", "-qam", "removed")
    done = network(plain, "dev", code=1)
    assert not (plain / "overlays/dev/network.yaml").exists()
    restore = re.search(r"git (checkout \S+ -- \S+network.yaml)", done.out)
    assert restore
    git(plain, *restore[1].split())
    assert "nothing to create" in network(plain, "dev").out
    (plain / "overlays/dev/network.yaml").unlink()
    (plain / ".secrets/dev").rename(plain / ".secrets/old")
    assert "created a chain" in network(plain, "dev").out
    assert_consistent(plain, 1)


def test_a_new_chain_with_existing_keys_is_noted(plain: Repository) -> None:
    assert "all keys existed already" not in network(plain, "dev").out
    (plain / "overlays/dev/network.yaml").unlink()
    done = network(plain, "dev")
    assert "all keys existed already" in done.out
    assert "git log -- overlays/dev/network.yaml" in done.out


def test_a_tx_sender_that_is_enabled_later_needs_an_account_with_funds(
    plain: Repository, cluster: Cluster
) -> None:
    plain.write("overlays/dev/values.yaml", "txSender: {enabled: false}\n")
    network(plain, "dev", "--validators", "1")
    plain.write("overlays/dev/values.yaml", "txSender: {enabled: true}\n")
    done = network(plain, "dev", "--validators", "1")
    assert "from your backup" not in done.out
    assert "for a TX Sender, create a new chain, or write the key of your own account" in done.out
    assert SENDER not in private(plain)["create-secrets.sh"]
    assert cluster.run(plain).code == 0
    plain.write(f".secrets/dev/{SENDER}/privateKey", Key.generate().hex)
    (plain / f".secrets/dev/{SENDER}/privateKey").chmod(0o600)
    (plain / f".secrets/dev/{SENDER}").chmod(0o700)
    done = network(plain, "dev", "--validators", "1")
    assert f"created recipient.key, {SENDER}/toAddress, create-secrets.sh" in done.out
    assert "create a new chain" not in done.out
    done = cluster.run(plain)
    assert done.code == 0
    assert f"{SENDER}: created" in done.out


def test_the_chart_allows_as_many_validators_as_the_command() -> None:
    schema = json.loads((ROOT / "chart/values.schema.json").read_text())
    for part in ("maru", "sequencer"):
        replicas = schema["properties"][part]["properties"]["replicas"]
        assert replicas["maximum"] == plan.MOST_VALIDATORS


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_printed_values_fit_the_chain(plain: Repository, count: int) -> None:
    plain.write("overlays/dev/values.yaml", "maru: {replicas: 1}\nsequencer: {replicas: 4}\n")
    done = network(plain, "dev", "--validators", str(count))
    _, _, rest = done.out.partition("write into overlays/dev/values.yaml:\n")
    printed, _, _ = rest.partition("next:\n")
    pasted = yaml.safe_load(printed)
    before = {"maru": {"replicas": 1}, "sequencer": {"replicas": 4}}
    wanted = {"maru": {"replicas": count}, "sequencer": {"replicas": count}}
    assert before | {k: v for k, v in pasted.items() if k != "network"} == wanted
    assert ("network" in pasted) == (count == 2)
    plain.write("overlays/dev/values.yaml", yaml.safe_dump(before | pasted))
    assert environment.load(plain.root, "dev").values["maru"]["replicas"] == count


def test_an_error_in_another_environment_says_why_its_network_is_read(plain: Repository) -> None:
    plain.write("overlays/prod/network.yaml", "network: {validators: []}\n")
    done = network(plain, "dev", code=1)
    assert "dev must not share a validator or its chain id with prod" in done.out


def test_an_interrupted_run_says_that_all_files_are_complete(plain: Repository) -> None:
    with Interrupted(plain, signal.SIGINT) as runs:
        ended = runs.at(12, "network", "dev")
    assert ended["code"] == 130
    assert (
        ended["said"]
        == "network: interrupted; all files are complete; run it again for the missing ones\n"
    )
    network(plain, "dev")
    assert_consistent(plain, 1)


def test_concurrent_runs_create_one_chain_per_environment_with_different_ids(
    plain: Repository,
) -> None:
    every = [
        subprocess.Popen(
            plain.command("network", name, "--validators", "4"),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("prod", "staging", "prod")
    ]
    outputs = [process.communicate() for process in every]
    assert [process.returncode for process in every] == [0, 0, 0], outputs
    assert sorted("nothing to create" in out for out, _ in outputs) == [False, False, True]
    assert chain_id(plain, "prod") != chain_id(plain, "staging")
    for name in ("prod", "staging"):
        assert_consistent(plain, 4, name)


def test_after_a_full_disk_the_next_run_continues(plain: Repository) -> None:
    try:
        subprocess.run(["unshare", "-Urm", "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this system allows no small disk")
    (plain / ".secrets").mkdir(mode=0o700)
    script = (
        'mount -t tmpfs -o size=40k,mode=0700 none "$0" || exit 99; "$@"; echo "exit $?"; '
        'find "$0" -name .new; mount -o remount,size=4m "$0"; "$@"; echo "exit $?"'
    )
    command = plain.command("network", "dev", "--validators", "7")
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script, str(plain / ".secrets"), *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "No space left on device; all files are complete" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "exit 2"
    assert lines[1] == f"dev: created a chain of 7 validators, chain id {chain_id(plain)}"
    assert lines[-1] == "exit 0"


def test_a_closed_pipe_is_not_reported_as_a_disk_error(plain: Repository) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing) as gone:
        done = subprocess.run(
            plain.command("network", "dev"),
            cwd=ROOT,
            stdout=gone,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"")
    assert_consistent(plain, 1)
