"""The scripts that start the nodes and tell whether they are ready, as the files that they are."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from scripts.network.keys import Key
from tests.objects import CHART

FILES = CHART / "files"
NOWHERE = "linea-stack-sequencer-0.invalid"  # RFC 2606: never resolved


def run(script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    path = FILES / script
    shell = path.read_text("utf-8").splitlines()[0].removeprefix("#!")
    environment = {"PATH": os.environ["PATH"], **variables}
    command = [shell, str(path), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text(Key.generate().hex + "\n")
    return file


# Besu: it is `env` here, which says what it was started with


def test_besu_starts_with_its_arguments_under_its_own_key(key: Path) -> None:
    done = run("besu/start.sh", "A=1", PEERS="", KEY_FILE=str(key), BESU="/usr/bin/env")
    assert done.returncode == 0, done.stderr
    assert "A=1" in done.stdout.splitlines()


def test_besu_reports_to_ethstats_by_its_environment_alone() -> None:
    done = run(
        "besu/start.sh",
        PEERS="",
        POD_NAME="besu-0",
        ETHSTATS_SECRET="given",
        ETHSTATS_HOST="ethstats:3000",
        BESU="/usr/bin/env",
    )
    assert "BESU_ETHSTATS=ws://besu-0:given@ethstats:3000" in done.stdout.splitlines()
    assert "ETHSTATS_SECRET" not in done.stdout


@pytest.mark.parametrize("secret", ["a/b", "a#b", "a@b", "a b", "ä", "%"])
def test_a_secret_that_besu_could_not_read_stops_no_node(secret: str) -> None:
    done = run(
        "besu/start.sh",
        PEERS="",
        POD_NAME="besu-0",
        ETHSTATS_SECRET=secret,
        ETHSTATS_HOST="ethstats:3000",
        BESU="/usr/bin/env",
    )
    assert done.returncode == 0, done.stderr
    assert "not reporting to ethstats:3000" in done.stderr
    assert "BESU_ETHSTATS" not in done.stdout


def test_a_node_that_waits_for_peers_stops_when_it_is_told_to() -> None:
    variables = {"PATH": os.environ["PATH"], "PEERS": NOWHERE, "NEEDS_PEER": "true"}
    command = ["/bin/sh", str(FILES / "besu/start.sh")]
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"waiting" in process.stdout.readline()
        process.terminate()
        assert process.wait() == 143


def test_besu_starts_without_ethstats_where_there_is_no_secret() -> None:
    done = run("besu/start.sh", PEERS="", ETHSTATS_HOST="ethstats:3000", BESU="/usr/bin/env")
    assert done.returncode == 0, done.stderr
    assert "BESU_ETHSTATS" not in done.stdout


def test_a_sequencer_goes_on_without_a_peer_that_is_away(key: Path) -> None:
    done = run(
        "besu/start.sh",
        PEERS=f"localhost {NOWHERE}",
        KEY_FILE=str(key),
        WAIT_SECONDS="1",
        BESU="/usr/bin/env",
    )
    assert done.returncode == 0, done.stderr
    assert f"starting without {NOWHERE}" in done.stdout


def test_a_node_does_not_wait_for_itself() -> None:
    done = run("besu/start.sh", PEERS=NOWHERE, POD_NAME=NOWHERE.split(".")[0], BESU="/usr/bin/env")
    assert done.returncode == 0, done.stderr
    assert "waiting" not in done.stdout


def test_a_public_node_waits_until_there_is_a_peer() -> None:
    variables = {"PATH": os.environ["PATH"], "PEERS": NOWHERE, "NEEDS_PEER": "true"}
    variables |= {"WAIT_SECONDS": "0", "BESU": "/usr/bin/env"}
    command = ["/bin/sh", str(FILES / "besu/start.sh")]
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert f"waiting for the names of {NOWHERE}\n".encode() == process.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
        process.kill()
        assert process.stdout.read() == b""


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


def test_the_secret_of_a_pod_is_32_new_bytes_that_only_it_reads(tmp_path: Path) -> None:
    made = set()
    for name in ("a", "b"):
        file = tmp_path / name
        assert run("besu/engine-secret.sh", SECRET_FILE=str(file)).returncode == 0
        assert len(bytes.fromhex(file.read_text())) == 32
        assert file.stat().st_mode & 0o777 == 0o600
        made.add(file.read_text())
    assert len(made) == 2


# Readiness. Maru itself can't be had here: a server answers as its API does (GetSyncingStatus.kt,
# GetBlock.kt in maru/api), and as an execution client does (eth_blockNumber).


class Node:
    """What Maru and its execution client say."""

    def __init__(self) -> None:
        self.syncing = {"is_syncing": False, "el_offline": False}
        self.consensus, self.execution = 1000, 1000
        node = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                payload = {"block_number": str(node.consensus)}
                block = {"message": {"body": {"execution_payload": payload}}}
                self._answer({"data": node.syncing if "syncing" in self.path else block})

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                asked = json.loads(self.rfile.read(length))
                assert asked["method"] == "eth_blockNumber"
                self._answer({"jsonrpc": "2.0", "id": 1, "result": hex(node.execution)})

            def _answer(self, data: object) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(data, separators=(",", ":")).encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def ready(self, **variables: str) -> subprocess.CompletedProcess[str]:
        port = str(self.server.server_port)
        given = {
            "EXECUTION": "127.0.0.1",
            "HOSTNAME": "besu-0",
            "MARU_PORT": port,
            "EXECUTION_PORT": port,
        }
        return run("maru/synced.sh", **(given | variables))


@pytest.fixture
def node() -> Iterator[Node]:
    found = Node()
    yield found
    found.server.shutdown()
    found.server.server_close()


def test_a_node_that_has_caught_up_is_ready(node: Node) -> None:
    node.execution -= 5
    done = node.ready()
    assert done.returncode == 0, done.stdout + done.stderr
    node.consensus = node.execution = 0
    assert node.ready().returncode == 0, "a new chain"


def test_a_node_that_is_behind_is_not_ready(node: Node) -> None:
    node.execution -= 6
    done = node.ready()
    assert done.returncode == 1
    assert "6 blocks behind" in done.stdout


@pytest.mark.parametrize("state", ["is_syncing", "el_offline"])
def test_a_maru_that_says_that_it_is_not_in_sync_is_not_ready(node: Node, state: str) -> None:
    node.syncing[state] = True
    assert node.ready().returncode == 1


@pytest.mark.parametrize("port", ["MARU_PORT", "EXECUTION_PORT"])
def test_a_node_that_does_not_answer_is_not_ready(node: Node, port: str) -> None:
    assert node.ready(**{port: "1"}).returncode == 1


def test_a_sequencer_without_a_maru_is_ready(node: Node) -> None:
    """Its Maru comes in a later wave: its name is unknown, or it does not answer."""
    for given in ({"MARU": "linea-stack-maru-N.invalid"}, {"MARU": "127.0.0.1", "MARU_PORT": "1"}):
        done = node.ready(**given)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_sequencer_is_ready_when_it_has_the_blocks_of_its_maru(node: Node) -> None:
    node.syncing["is_syncing"] = True  # Maru's own matter
    done = node.ready(MARU="127.0.0.1")
    assert done.returncode == 0, done.stdout + done.stderr
    node.execution -= 6
    done = node.ready(MARU="127.0.0.1")
    assert done.returncode == 1
    assert "6 blocks behind" in done.stdout


def test_a_validator_asks_the_sequencer_of_its_ordinal(node: Node) -> None:
    done = node.ready(EXECUTION="sequencer-N.invalid", HOSTNAME="maru-2")
    assert done.returncode == 1
    assert "sequencer-2.invalid" in done.stderr
