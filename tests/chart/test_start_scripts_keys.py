"""Nodes start with their own keys, and never with those of others."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import base58
import pytest
from eth_keys.datatypes import PrivateKey
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scripts.chain.identity import curve
from scripts.network.keys import Key
from tests.chart.node_scripts import FILES, run


@pytest.mark.parametrize("script", ["besu/start.sh", "maru/start.sh"])
def test_a_key_that_the_secret_does_not_have_stops_the_pod(tmp_path: Path, script: str) -> None:
    """The kubelet puts an empty folder in the place of a subPath that isn't there."""
    for path in (tmp_path, tmp_path / "key"):
        done = run(script, PEERS="", POD_NAME="linea-stack-4", KEY_FILE=str(path), BESU="false")
        assert done.returncode == 1
        assert "there is no key for linea-stack-4" in done.stderr


@pytest.mark.parametrize("script", ["besu/start.sh", "maru/start.sh"])
@pytest.mark.parametrize("text", ["", "\n", "0x12\n", "xyz\n", "PRIVATE\nTWICE\n"])
def test_a_key_of_the_wrong_form_stops_the_pod_and_is_not_shown(
    tmp_path: Path, script: str, text: str
) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    done = run(script, PEERS="", KEY_FILE=str(file), BESU="true", JAVA="true")
    assert done.returncode == 1
    assert "on one line" in done.stderr
    assert not text.strip() or text.split()[0] not in done.stdout + done.stderr


def test_the_two_kinds_of_key_are_not_taken_for_each_other(tmp_path: Path) -> None:
    key, file = Key.generate(), tmp_path / "key"
    for script, right, wrong in (
        ("besu/start.sh", key.hex, key.libp2p_hex),
        ("maru/start.sh", key.libp2p_hex, key.hex),
    ):
        for text, code in ((right, 0), (wrong, 1), (f"{right}\n{right}\n", 1)):
            file.write_text(text)
            done = run(script, PEERS="", KEY_FILE=str(file), BESU="true", JAVA="true")
            assert done.returncode == code, (script, done.stderr)
            assert key.hex not in done.stdout + done.stderr


BESU = """#!/bin/sh
# Besu as far as start.sh needs it: the public key of one key is in a file beside it.
[ "$1 $2" = "public-key export" ] || exec env "$@"
case $3 in --node-private-key-file=?*) ;; *) exit 2 ;; esac
echo "logs of Besu"
cat "$PUBLIC" >"${4#--to=}"
"""


class Started:
    """A node's script with a key, among the validators of a chain."""

    def __init__(self, folder: Path, script: str, key: Key, listed: Sequence[Key]) -> None:
        self.folder, self.script, self.key = folder, script, key
        is_maru = script == "maru/start.sh"
        self.listed = [k.peer_id if is_maru else k.node_id for k in listed]
        self.given = key.peer_id if is_maru else key.node_id
        (folder / "key").write_text(key.libp2p_hex if is_maru else key.hex)
        (folder / "public").write_text(f"0x{key.node_id}")
        (folder / "besu").write_text(BESU)
        (folder / "besu").chmod(0o755)
        enodes = [f"enode://{k.node_id}@node-{i}.nodes:30303" for i, k in enumerate(listed)]
        (folder / "static-nodes.json").write_text(json.dumps(enodes, indent=2))
        peers = [f'  "/dns4/node-{i}.nodes/tcp/9000/p2p/{k}",' for i, k in enumerate(self.listed)]
        text = "\n".join(["[p2p]", "static-peers = [", *peers, "]"])
        (folder / "network.toml").write_text(text)

    def run(self, pod: str, **variables: str) -> subprocess.CompletedProcess[str]:
        usual = {"PEERS": "", "POD_NAME": pod, "CONFIG_DIR": str(self.folder)}
        usual |= {"KEY_FILE": str(self.folder / "key"), "PUBLIC": str(self.folder / "public")}
        usual |= {"BESU": str(self.folder / "besu"), "JAVA": "env"}
        done = run(self.script, "A=1", **(usual | variables))
        assert self.key.hex not in done.stdout + done.stderr
        return done


SCRIPTS = ["besu/start.sh", "maru/start.sh"]


def test_a_stop_while_the_key_is_checked_starts_no_besu(tmp_path: Path) -> None:
    """As process 1, a shell without a trap ignores the signal: Besu would start, and be killed."""
    (tmp_path / "key").write_text(Key.generate().hex)
    (tmp_path / "static-nodes.json").write_text("enode://12@node-0.nodes:30303")
    checks = tmp_path / "checks"
    os.mkfifo(checks)
    (tmp_path / "besu").write_text(f"#!/bin/sh\necho started >{checks}\ncat {checks}\n")
    (tmp_path / "besu").chmod(0o755)
    variables = {"PEERS": "", "POD_NAME": "node-0", "CONFIG_DIR": str(tmp_path)}
    variables |= {"KEY_FILE": str(tmp_path / "key"), "BESU": str(tmp_path / "besu")}
    command = ["/bin/sh", str(FILES / "besu/start.sh")]
    with subprocess.Popen(command, env=os.environ | variables) as process:
        assert checks.read_text() == "started\n"
        process.send_signal(signal.SIGTERM)
        checks.write_text("")
        assert process.wait() == 143, "its trap has ended it"


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_node_starts_with_the_key_that_its_peers_know(tmp_path: Path, script: str) -> None:
    listed = [Key.generate() for _ in range(12)]
    for ordinal in (1, 11):
        done = Started(tmp_path, script, listed[ordinal], listed).run(f"node-{ordinal}")
        assert done.returncode == 0, done.stderr
        assert "A=1" in done.stdout.splitlines()


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("of_another_validator", [True, False])
def test_the_key_of_another_node_stops_the_pod_with_both_public_values(
    tmp_path: Path, script: str, of_another_validator: bool
) -> None:
    listed = [Key.generate() for _ in range(4)]
    key = listed[0] if of_another_validator else Key.generate()
    started = Started(tmp_path, script, key, listed)
    done = started.run("node-2")
    assert done.returncode == 1
    assert "A=1" not in done.stdout
    assert f"is {started.given}, and network.validators has {started.listed[2]}" in done.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_node_that_no_list_names_starts_with_any_key(tmp_path: Path, script: str) -> None:
    """A chain of one, made by hand."""
    started = Started(tmp_path, script, Key.generate(), [])
    assert started.run("node-0").returncode == 0
    assert started.run("node-0", CONFIG_DIR="/nowhere").returncode == 0


def test_a_besu_that_can_not_tell_its_node_id_does_not_start(tmp_path: Path) -> None:
    key = Key.generate()
    done = Started(tmp_path, "besu/start.sh", key, [key]).run("node-0", PUBLIC="/nowhere")
    assert done.returncode == 1
    assert "Besu can't compute the node id of the key of node-0" in done.stderr


def test_a_maru_whose_image_can_not_tell_its_peer_id_does_not_start(tmp_path: Path) -> None:
    key = Key.generate()
    started = Started(tmp_path, "maru/start.sh", key, [key])
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("cat", "env", "grep", "od", "sed", "tail", "tr"):
        found = shutil.which(name)
        assert found
        (programs / name).symlink_to(found)
    done = started.run("node-0", PATH=str(programs))
    assert done.returncode == 1
    assert "the image has no openssl" in done.stderr
    (programs / "openssl").symlink_to("/bin/false")
    done = started.run("node-0", PATH=str(programs))
    assert done.returncode == 1
    assert "openssl can't compute the public key of node-0" in done.stderr


@settings(max_examples=20, deadline=None)
@given(number=st.integers(1, curve().group_order - 1))
@example(1)
@example(curve().group_order - 1)
def test_every_key_has_the_peer_id_that_others_dial(number: int) -> None:
    """Against eth-keys, which has nothing in common with openssl."""
    private = number.to_bytes(32, "big")
    compressed = PrivateKey(private).public_key.to_compressed_bytes()
    peer_id = base58.b58encode(bytes.fromhex("002508021221") + compressed).decode()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "key").write_text(f"08021220{private.hex()}")
        text = f'static-peers = ["/dns4/node-0.nodes/tcp/9000/p2p/{peer_id}"]'
        (Path(folder) / "network.toml").write_text(text)
        variables = {"KEY_FILE": f"{folder}/key", "CONFIG_DIR": folder, "POD_NAME": "node-0"}
        done = run("maru/start.sh", **variables, JAVA="true")
    assert done.returncode == 0, done.stderr


def test_the_secret_of_a_pod_is_32_new_bytes_that_only_it_reads(tmp_path: Path) -> None:
    made = set()
    for name in ("a", "b"):
        file = tmp_path / name
        assert run("besu/engine-secret.sh", SECRET_FILE=str(file)).returncode == 0
        assert len(bytes.fromhex(file.read_text())) == 32
        assert file.stat().st_mode & 0o777 == 0o600
        made.add(file.read_text())
    assert len(made) == 2
