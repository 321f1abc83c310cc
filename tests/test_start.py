"""The scripts that start the nodes and tell whether they are ready, as the files that they are."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import base58
import pytest
from eth_keys.datatypes import PrivateKey
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scripts.chain.identity import CURVE
from scripts.network.keys import Key
from tests.objects import CHART

FILES = CHART / "files"
NOWHERE = "linea-stack-sequencer-0.invalid"  # RFC 2606: never resolved
PEERS = "sequencer-0.sequencer sequencer-1.sequencer"


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


@pytest.mark.parametrize(("known", "names"), [(2, 4), (1, 2), (3, 7), (0, 1)])
def test_a_public_node_waits_for_more_than_half_of_the_names(known: int, names: int) -> None:
    """It never learns of the others: with one peer it would depend on that one sequencer."""
    peers = [*["localhost"] * known, *(f"{i}.invalid" for i in range(names - known))]
    variables = {"PATH": os.environ["PATH"], "PEERS": " ".join(peers), "NEEDS_PEER": "true"}
    variables |= {"WAIT_SECONDS": "0", "BESU": "/usr/bin/env"}
    command = ["/bin/sh", str(FILES / "besu/start.sh")]
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"waiting" in process.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
        process.kill()
        assert process.stdout.read() == b""


@pytest.mark.parametrize(("known", "names"), [(3, 4), (2, 3), (4, 7)])
def test_a_public_node_starts_with_more_than_half_of_its_peers(known: int, names: int) -> None:
    peers = [*["localhost"] * known, *(f"{i}.invalid" for i in range(names - known))]
    variables = {"PEERS": " ".join(peers), "NEEDS_PEER": "true", "WAIT_SECONDS": "1"}
    done = run("besu/start.sh", **variables, BESU="/usr/bin/env")
    assert done.returncode == 0, done.stderr
    assert f"starting without {' '.join(peers[known:])}" in done.stdout


def test_a_sequencer_starts_without_any_peer() -> None:
    """The other sequencers dial it when they come."""
    done = run("besu/start.sh", PEERS=NOWHERE, WAIT_SECONDS="0", BESU="/usr/bin/env")
    assert done.returncode == 0, done.stderr
    assert f"starting without {NOWHERE}" in done.stdout


@pytest.mark.parametrize("script", ["besu/start.sh", "maru/start.sh", "maru/follow.sh"])
def test_what_a_killed_node_left_in_tmp_is_gone_at_its_next_start(
    tmp_path: Path, script: str
) -> None:
    """The volume outlives the container: it would fill up, and the kubelet evict the pod."""
    key = tmp_path / "key"
    key.write_text(Key.generate().libp2p_hex if "maru" in script else Key.generate().hex)
    temporary = tmp_path / "temporary files"
    (temporary / "hsperfdata").mkdir(parents=True)
    for name in (".hidden", "a b.so", "hsperfdata/1"):
        (temporary / name).write_text("left")
    (temporary / "link").symlink_to(key)
    variables = {"PEERS": "", "KEY_FILE": str(key), "TMP_TO_CLEAR": str(temporary)}
    done = run(script, **variables, BESU="true", JAVA="true")
    assert done.returncode == 0, done.stderr
    assert list(temporary.iterdir()) == []
    assert key.exists()


def test_a_file_that_can_not_be_deleted_stops_no_node(tmp_path: Path) -> None:
    (tmp_path / "find").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "find").chmod(0o755)
    variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TMP_TO_CLEAR": "/nowhere"}
    done = run("besu/start.sh", "A=1", PEERS="", BESU="/usr/bin/env", **variables)
    assert done.returncode == 0, done.stderr
    assert "some files stay in /nowhere" in done.stderr
    assert "A=1" in done.stdout.splitlines()


# How a Besu that reports to EthStats stops. Before 25.12.0 it may wait for EthStats without end.

LOCKED = """#!/bin/bash
# A Besu that hangs at SIGTERM: it has the database's lock until the file `close` is there.
mkdir -p database
exec 9>database/LOCK
trap : TERM
echo started
while sleep 0.1; do [ ! -e close ] || exec 9>&-; done
"""


class Hanging:
    """A Besu as above, which start.sh has started."""

    def __init__(self, folder: Path, text: str = LOCKED) -> None:
        program = folder / "besu"
        program.write_text(text)
        program.chmod(0o755)
        self.folder = folder
        variables = {"PATH": os.environ["PATH"], "PEERS": "", "BESU": str(program)}
        variables |= {"BESU_ETHSTATS": "ws://besu-0:secret@ethstats:3000", "STOP_SECONDS": "1"}
        command = ["/bin/sh", str(FILES / "besu/start.sh")]
        self.process = subprocess.Popen(
            command, env=variables, cwd=folder, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"started\n"

    def end(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()


def test_a_besu_that_hangs_is_killed_once_its_database_is_closed(tmp_path: Path) -> None:
    hanging = Hanging(tmp_path)
    try:
        hanging.process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            hanging.process.wait(5)  # its database is open, so it may still write to it
        (tmp_path / "close").touch()
        assert hanging.process.wait(60) == 128 + signal.SIGKILL
    finally:
        hanging.end()


def test_a_besu_whose_database_was_never_seen_is_not_killed(tmp_path: Path) -> None:
    hanging = Hanging(tmp_path, LOCKED.replace("exec 9>database/LOCK", ""))
    try:
        hanging.process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            hanging.process.wait(5)
    finally:
        hanging.end()


@pytest.mark.parametrize("signalled", [signal.SIGTERM, signal.SIGINT])
def test_a_besu_that_ends_at_the_signal_has_its_own_exit_code(
    tmp_path: Path, signalled: signal.Signals
) -> None:
    hanging = Hanging(tmp_path, LOCKED.replace("trap : TERM", "trap 'exit 143' TERM"))
    try:
        hanging.process.send_signal(signalled)
        assert hanging.process.wait(60) == 143
    finally:
        hanging.end()


def test_a_besu_that_ends_by_itself_has_its_own_exit_code(tmp_path: Path) -> None:
    """3, for example, where its heap is full."""
    hanging = Hanging(tmp_path, "#!/bin/sh\necho started\nexit 3\n")
    try:
        assert hanging.process.wait(60) == 3
    finally:
        hanging.end()


# Keys


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
    assert "Besu can't tell the node id of the key of node-0" in done.stderr


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
    assert "there is no openssl in this image" in done.stderr
    (programs / "openssl").symlink_to("/bin/false")
    done = started.run("node-0", PATH=str(programs))
    assert done.returncode == 1
    assert "openssl can't tell the public key of node-0" in done.stderr


@settings(max_examples=20, deadline=None)
@given(number=st.integers(1, CURVE.group_order - 1))
@example(1)
@example(CURVE.group_order - 1)
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


# Readiness. Maru itself can't be had here: a server answers as its API does (GetSyncingStatus.kt,
# GetBlock.kt, GetPeers.kt and ApiServerImpl.kt in maru/api), and as an execution client does.

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
