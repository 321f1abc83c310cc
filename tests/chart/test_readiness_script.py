"""The script that reports whether a node is ready.

Maru itself is not available here: a server answers as its API does (GetSyncingStatus.kt,
GetBlock.kt, GetPeers.kt and ApiServerImpl.kt in maru/api), and as an execution client does.
"""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from scripts.network.keys import Key
from tests.chart.node_scripts import run

PEERS = "sequencer-0.sequencer sequencer-1.sequencer"
VALIDATORS = [Key.generate().peer_id for _ in range(4)]
FOLLOWERS = [Key.generate().peer_id for _ in range(4)]


class Node:
    """What Maru and its execution client say."""

    def __init__(self, folder: Path) -> None:
        self.syncing = {"is_syncing": False, "el_offline": False}
        self.consensus, self.execution = 1000, 1000
        self.peers: list[dict[str, str | None]] = []
        self.peers_answer: tuple[int, bytes] | None = None
        """Status and text, in place of the peers."""
        self.besu_peers = 3
        self.folder = folder
        self.network(VALIDATORS)
        node = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                payload = {"block_number": str(node.consensus)}
                block = {"message": {"body": {"execution_payload": payload}}}
                if self.path == "/eth/v1/node/peers":
                    status, text = node.peers_answer or (200, node.peers_text())
                    self._answer(text, status)
                else:
                    data = node.syncing if self.path == "/eth/v1/node/syncing" else block
                    self._answer(compact({"data": data}))

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                asked = json.loads(self.rfile.read(length))
                results = {"eth_blockNumber": node.execution, "net_peerCount": node.besu_peers}
                result = hex(results[asked["method"]])
                self._answer(compact({"jsonrpc": "2.0", "id": 1, "result": result}))

            def _answer(self, data: bytes, status: int = 200) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def network(self, ids: Sequence[str]) -> None:
        """Write the validators' list, as the chart does."""
        peers = [f'  "/dns4/maru-{i}.maru/tcp/9000/p2p/{id_}",' for i, id_ in enumerate(ids)]
        text = "\n".join(["[p2p]", "static-peers = [", *peers, "]", ""])
        (self.folder / "network.toml").write_text(text)

    def connect(self, ids: Sequence[str], state: str = "connected") -> None:
        self.peers += [
            {
                "peer_id": id_,
                "enr": None,
                "last_seen_p2p_address": f"/ip4/10.0.0.1/tcp/9000/p2p/{id_}",
                "state": state,
                "direction": "inbound",
            }
            for id_ in ids
        ]

    def peers_text(self) -> bytes:
        return compact({"data": self.peers, "meta": {"count": len(self.peers)}})

    def ready(self, **variables: str) -> subprocess.CompletedProcess[str]:
        port = str(self.server.server_port)
        usual = {
            "EXECUTION": "127.0.0.1",
            "HOSTNAME": "besu-0",
            "MARU_PORT": port,
            "EXECUTION_PORT": port,
            "CONFIG_DIR": str(self.folder),
        }
        return run("maru/synced.sh", **(usual | variables))


def compact(data: object) -> bytes:
    """Return JSON as Jackson writes it."""
    return json.dumps(data, separators=(",", ":")).encode()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    found = Node(tmp_path)
    yield found
    found.server.shutdown()
    found.server.server_close()


def test_a_node_that_has_caught_up_is_ready(node: Node) -> None:
    node.execution -= 5
    done = node.ready()
    assert done.returncode == 0, done.stdout + done.stderr
    node.consensus = node.execution = 0
    assert node.ready().returncode == 0, "a new chain"


def test_a_program_that_does_not_answer_holds_neither_the_probe_nor_a_process(node: Node) -> None:
    """The kubelet's time-out would end the script alone, and wait for what it has started."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = str(silent.getsockname()[1])
        done = node.ready(MARU_PORT=port, ANSWER_SECONDS="0.5")  # waits until its pipes are closed
    assert done.returncode == 124
    assert done.stdout == "no answer within 0.5 s\n"


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
    for variables in (
        {"MARU": "linea-stack-maru-N.invalid"},
        {"MARU": "127.0.0.1", "MARU_PORT": "1"},
    ):
        done = node.ready(**variables)
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


@pytest.mark.parametrize(
    ("wanted", "validators", "followers"),
    [(2, 2, 0), (2, 3, 2), (1, 1, 0), (1, 4, 4), (0, 0, 0), (0, 0, 2)],
)
def test_a_maru_with_enough_validators_is_ready(
    node: Node, wanted: int, validators: int, followers: int
) -> None:
    node.connect(FOLLOWERS[:followers])
    node.connect(VALIDATORS[:validators])
    done = node.ready(PEERS_WANTED=str(wanted))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("wanted", "validators", "followers"),
    [(2, 0, 0), (2, 1, 0), (2, 0, 2), (2, 1, 4), (1, 0, 0), (1, 0, 3)],
)
def test_a_maru_without_enough_validators_is_not_ready(
    node: Node, wanted: int, validators: int, followers: int
) -> None:
    """It takes its own head for the newest, and is_syncing is false."""
    node.connect(FOLLOWERS[:followers])
    node.connect(VALIDATORS[:validators])
    done = node.ready(PEERS_WANTED=str(wanted))
    assert done.returncode == 1
    assert f"Maru is connected to {validators} validators, and needs {wanted}" in done.stdout


def test_a_validator_that_is_about_to_connect_does_not_count(node: Node) -> None:
    node.connect(VALIDATORS[:1])
    node.connect(VALIDATORS[1:3], state="connecting")
    node.connect(FOLLOWERS[:2])
    done = node.ready(PEERS_WANTED="2")
    assert "connected to 1 validators" in done.stdout


def test_the_id_in_an_address_of_another_peer_does_not_count(node: Node) -> None:
    node.connect(FOLLOWERS[:2])
    for peer, validator in zip(node.peers, VALIDATORS, strict=False):
        peer["last_seen_p2p_address"] = f"/ip4/10.0.0.1/tcp/9000/p2p/{validator}"
    assert "connected to 0 validators" in node.ready(PEERS_WANTED="2").stdout


@pytest.mark.parametrize(
    "answer",
    [
        (500, b'{"code":500,"message":"Internal Server Error"}'),
        (404, b"Not Found"),
        (200, b""),
        (200, b'{"data":'),
        (200, b'{"data":null}'),
    ],
)
def test_a_maru_that_does_not_list_its_peers_is_not_ready(
    node: Node, answer: tuple[int, bytes]
) -> None:
    node.peers_answer = answer
    done = node.ready(PEERS_WANTED="2")
    assert done.returncode == 1
    assert "Maru does not list its peers" in done.stdout
    assert node.ready().returncode == 0, "who needs none, does not ask"


def test_a_list_of_peers_that_is_cut_short_makes_no_maru_ready(node: Node) -> None:
    node.connect(VALIDATORS[:3])
    whole = node.peers_text()
    second = whole.index(b'"state":"connected"', whole.index(VALIDATORS[1].encode()))
    for end in range(0, second, 40):
        node.peers_answer = (200, whole[:end])
        assert node.ready(PEERS_WANTED="2").returncode == 1, whole[:end]
    node.peers_answer = None
    assert node.ready(PEERS_WANTED="2").returncode == 0


def test_a_sequencer_that_is_cut_off_from_the_others_is_not_ready(node: Node) -> None:
    """Whether its Maru is there or not: after a restart it could fill no gap."""
    node.besu_peers = 0
    for maru in ({}, {"MARU_PORT": "1"}):
        done = node.ready(MARU="127.0.0.1", PEERS=PEERS, **maru)
        assert done.returncode == 1
        assert "Besu is connected to no other node" in done.stdout
    node.besu_peers = 1
    assert node.ready(MARU="127.0.0.1", PEERS=PEERS).returncode == 0


def test_a_sequencer_whose_besu_does_not_answer_is_not_ready(node: Node) -> None:
    """Also at the first start, when its Maru is not there."""
    given = {"MARU": "127.0.0.1", "MARU_PORT": "1", "EXECUTION_PORT": "1"}
    done = node.ready(**given, PEERS=PEERS)
    assert done.returncode == 1
    assert "no answer from 127.0.0.1" in done.stdout


def test_the_only_sequencer_needs_no_other_node(node: Node) -> None:
    node.besu_peers = 0
    done = node.ready(MARU="127.0.0.1", PEERS="sequencer-0.sequencer")
    assert done.returncode == 0, done.stdout + done.stderr


def test_sequencers_that_start_together_become_ready_before_any_maru(node: Node) -> None:
    """The cold start: Maru comes in a later wave, and waits for them."""
    node.besu_peers = 1
    done = node.ready(MARU="linea-stack-maru-N.invalid", PEERS=PEERS)
    assert done.returncode == 0, done.stdout + done.stderr
