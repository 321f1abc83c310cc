"""`nox -s network` creates the chain of an environment, its keys and genesis, once."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from scripts.environments import environment
from scripts.network import plan
from scripts.network.keys import Key
from tests.conftest import ROOT, Repository
from tests.network.chains import (
    JWT,
    MARU,
    SENDER,
    SEQUENCER,
    STATS,
    assert_consistent,
    chain_id,
    network,
    ordinal,
    private,
    public,
    secrets_of,
)


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


def test_a_second_run_changes_nothing(plain: Repository) -> None:
    network(plain, "dev", "--validators", "1")
    before = plain.files()
    done = network(plain, "dev", "--validators", "1")
    id_ = chain_id(plain)
    assert done.out == f"dev: nothing to create: the chain of 1 validator exists, chain id {id_}\n"
    assert plain.files() == before
    assert not done.err


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
    ("arguments", "message"),
    [
        (("nope",), "known are dev, prod, staging"),
        (("dev", "--validators", "0"), "--validators 0: write 1 to 100\n"),
        (("dev", "--validators", "-1"), "--validators -1: write 1 to 100\n"),
        (("dev", "--chain-id", "4294967296"), "write 1 to 4294967295"),
        (("dev", "--to-address", "0x12"), "--to-address 0x12 is not an address"),
        (("dev", "--to-address", f"0x{'0' * 40}"), "no one has the key of the zero address"),
        (("dev", "--validators", "abc"), "abc: write a whole number"),
        (("dev", "--chain-id", "1.5"), "1.5: write a whole number"),
        (("dev", "--valid", "4"), "unrecognized arguments: --valid"),
        (("dev", "--validator", "4"), "--validator 4; did you mean --validators?"),
        (("dev", "--nonsense"), "usage: nox -s network -- [-h] [--validators N]"),
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
    assert done.out.startswith("overlays/dev/values.yaml:2:20  error  secret-in-git")
    assert "and move txSender.plain to .secrets/dev/values.yaml" in done.out
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
    assert f"maru.p2pKeySecretName is {SEQUENCER}, but another component" in done.out


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
