"""`secrets.provider: plain`: the TX Sender's credentials from a file that git ignores."""

from __future__ import annotations

import yaml

from scripts.network.keys import Key
from tests.conftest import Repository
from tests.git import attempt, git
from tests.network.chains import SENDER, network, private

VALUES = "overlays/dev/values.yaml"
PRIVATE = ".secrets/dev/values.yaml"
EXISTING = "maru: {replicas: 1}\nsequencer: {replicas: 1}\n"
PLAIN = f"secrets: {{provider: plain}}\n{EXISTING}"


def credentials(key: Key, recipient: str) -> str:
    return f'txSender: {{plain: {{privateKey: "0x{key.hex}", toAddress: "{recipient}"}}}}\n'


def manifests(repository: Repository) -> dict[str, str]:
    folder = repository / "overlays/dev/manifests"
    return {path.name: path.read_text("utf-8") for path in folder.iterdir()}


def test_an_environment_takes_the_credentials_from_a_file_that_git_ignores(
    plain: Repository,
) -> None:
    key, recipient = Key.generate(), Key.generate().address
    plain.write(VALUES, PLAIN)
    plain.write(PRIVATE, credentials(key, recipient))
    network(plain, "dev")
    files = private(plain)
    assert Key.parse(files[f"{SENDER}/privateKey"]) == key
    assert files[f"{SENDER}/toAddress"].strip() == recipient
    assert f"check {SENDER} privateKey toAddress" in files["create-secrets.sh"]
    assert key.address.removeprefix("0x").lower() in (
        (plain / "overlays/dev/network.yaml").read_text("utf-8").lower()
    ), "the genesis funds the account"
    for command in ("render", "validate"):
        done = plain.run(command, "dev")
        assert done.code == 0, done.out
    everything = "".join(manifests(plain).values())
    assert "kind: Secret\n" not in everything
    assert key.hex not in everything


def test_git_never_sees_the_private_values(plain: Repository) -> None:
    plain.write(VALUES, PLAIN)
    network(plain, "dev")
    key = private(plain)[f"{SENDER}/privateKey"].strip().removeprefix("0x")
    git(plain.root, "init", "--quiet")
    git(plain.root, "add", "--all")
    found = attempt(plain.root, "grep", "--cached", "-l", key)
    assert found.returncode == 1, "no file that git has holds the key"
    assert oct((plain / PRIVATE).stat().st_mode)[-3:] == "600"


def test_what_is_committed_depends_on_no_private_file(plain: Repository) -> None:
    plain.write(VALUES, PLAIN)
    network(plain, "dev")
    assert plain.run("render", "dev").code == 0
    with_file = manifests(plain)
    for path in (plain / ".secrets/dev").rglob("*"):
        if path.is_file():
            path.unlink()
    assert plain.run("check", "dev").code == 0
    plain.write(VALUES, EXISTING)
    assert plain.run("render", "dev").code == 0
    assert manifests(plain) == with_file


def test_a_new_chain_writes_the_private_values_for_helm(plain: Repository) -> None:
    plain.write(VALUES, PLAIN)
    network(plain, "dev")
    files = private(plain)
    values = yaml.safe_load(files["values.yaml"])["txSender"]["plain"]
    assert values == {part: files[f"{SENDER}/{part}"].strip() for part in values}
    done = network(plain, "dev")
    assert "nothing to create" in done.out
    assert private(plain) == files


def test_other_values_never_replace_a_key(plain: Repository) -> None:
    plain.write(VALUES, PLAIN)
    network(plain, "dev")
    files, other = private(plain), Key.generate()
    for part, text in (
        ("privateKey", credentials(other, files[f"{SENDER}/toAddress"].strip())),
        ("toAddress", credentials(Key.parse(files[f"{SENDER}/privateKey"]), other.address)),
    ):
        plain.write(PRIVATE, text)
        done = network(plain, "dev", code=1)
        assert done.out.startswith(f"{PRIVATE}:1:")
        assert f"this differs from .secrets/dev/{SENDER}/{part}" in done.out
        assert other.hex not in done.out + done.err
        assert {**private(plain), "values.yaml": ""} == {**files, "values.yaml": ""}


def test_invalid_private_values_are_reported_and_not_shown(plain: Repository) -> None:
    plain.write(VALUES, PLAIN)
    for text, message in (
        ("txSender: {plain: {privateKey: hunter2, toAddress: '0x1'}}", "not a valid private key"),
        (f"txSender: {{plain: {{privateKey: '{'0' * 64}', toAddress: '0x{'1' * 40}'}}}}", "key"),
        ("txSender: {amount: 5}", "txSender.amount is an unknown key"),
        ("besu: {enabled: false}", "besu is an unknown key"),
    ):
        plain.write(PRIVATE, f"{text}\n")
        done = network(plain, "dev", code=1)
        assert f"{PRIVATE}:1:" in done.out
        assert message in done.out
        assert "hunter2" not in done.out + done.err
        assert set(private(plain)) == {"values.yaml"}
