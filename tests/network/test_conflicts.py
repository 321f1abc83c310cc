"""`nox -s network` rejects what conflicts with a chain: of this environment, of another, in git."""

from __future__ import annotations

import re
import shutil

import pytest

from scripts.network.keys import Key
from tests.conftest import Repository
from tests.git import git
from tests.network.chains import (
    MARU,
    SENDER,
    SEQUENCER,
    STATS,
    assert_consistent,
    chain_id,
    network,
    private,
)


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
    assert f"the key does not match the {name} in overlays/dev/network.yaml\n" in done.out
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
        assert "for a new chain, remove overlays/dev/network.yaml" in done.out
        assert plain.files() == before
    plain.write("overlays/dev/values.yaml", "maru: {replicas: 5}\nsequencer: {replicas: 5}\n")
    done = network(plain, "dev", code=1)
    assert "the chain has 4 validators, but maru.replicas is 5\n" in done.out


def test_fewer_replicas_than_validators_are_no_error_here(plain: Repository) -> None:
    network(plain, "dev", "--validators", "4")
    assert "dev: nothing to create: the chain of 4 validators" in network(plain, "dev").out


def test_the_chain_id_of_another_environment_is_rejected(plain: Repository) -> None:
    network(plain, "dev", "--chain-id", "5")
    done = network(plain, "prod", "--validators", "4", "--chain-id", "5", code=2)
    assert "--chain-id 5 is the chain id of dev" in done.err
    assert not (plain / ".secrets/prod").exists()


@pytest.mark.parametrize(
    "text", ["{}\n", "network: {validators: []}\n", "genesis: {besu: '{', maru: ''}\n"]
)
def test_an_invalid_network_of_another_environment_is_an_error(
    plain: Repository, text: str
) -> None:
    plain.write("overlays/prod/network.yaml", text)
    done = network(plain, "dev", code=1)
    assert "overlays/prod/network.yaml:1:1  error  invalid-network" in done.out


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
    assert "the key belongs to dev's chain" in done.out
    assert "move .secrets/prod/ away, and run the command again" in done.out
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
        assert "remove the one of the environment that has never run" in done.out
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
    assert_rejected("the genesis has 4 validators, but network.validators has 3\n")
    first = listed.index("  - address")
    second = listed.index("  - address", first + 1)
    path.write_text(
        head + mark + listed[:first] + listed[second:cut] + listed[cut:] + listed[first:second]
    )
    assert_rejected(
        "network.validators and the genesis have other addresses, or in another order\n"
    )
    id_ = str(chain_id(plain))
    before, _, after = whole.rpartition(id_)
    path.write_text(f"{before}5{after}")
    assert_rejected(f"Maru's chain id is 5, but Besu's is {id_}\n")
    path.write_text(whole)
    network(plain, "dev", "--validators", "4")


def test_keys_of_a_chain_in_git_are_not_used_for_another_one(plain: Repository) -> None:
    network(plain, "dev")
    git(plain.root, "init", "-q")
    git(plain.root, "add", ".")
    git(plain.root, "commit", "-qm", "a chain")
    (plain / "overlays/dev/network.yaml").unlink()
    done = network(plain, "dev", code=1)
    assert "overlays/dev/network.yaml  error  chain-already-in-git" in done.out
    git(plain.root, "commit", "-qam", "removed")
    done = network(plain, "dev", code=1)
    assert not (plain / "overlays/dev/network.yaml").exists()
    restore = re.search(r"git (checkout \S+ -- \S+network.yaml)", done.out)
    assert restore
    git(plain.root, *restore[1].split())
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


def test_an_error_in_another_environment_says_why_its_network_is_read(plain: Repository) -> None:
    plain.write("overlays/prod/network.yaml", "network: {validators: []}\n")
    done = network(plain, "dev", code=1)
    assert "dev must not share a validator or its chain id with prod" in done.out
