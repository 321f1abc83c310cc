"""The scripts that start the nodes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytest

from scripts.network.keys import Key
from tests.chart.node_scripts import FILES, run

NOWHERE = "linea-stack-sequencer-0.invalid"  # RFC 2606: never resolved


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
    assert "could not empty /nowhere" in done.stderr
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
