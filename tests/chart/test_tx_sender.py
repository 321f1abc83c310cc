"""The TX Sender moves each transfer's money once, and reports it once under one hash.

The script that the chart ships runs with the real cast against a real client.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from scripts.chain.identity import curve
from scripts.core.toolchain import tool
from scripts.environments import environment
from scripts.network.keys import Key
from scripts.rendering import pipeline
from tests.chart.tx_sender import SHELLS, Sender, uptime, waiting
from tests.conftest import Repository
from tests.execution_client import Client, Maru, chain
from tests.objects import one

PROGRAMS = ("cat", "mkdir", "mv", "rm", "script", "sh", "sleep", "timeout", "tr")
"""What runs the script, and what it calls besides cast."""

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="runs in Linux only"),
    pytest.mark.waits,
]


# All of it, as it is rendered


def test_a_new_network_carries_the_rendered_sender_s_transfers(
    repository: Repository, tmp_path: Path
) -> None:
    """From `network` and `render` to money that arrives, through a node that is killed once."""
    (repository / "overlays/dev/network.yaml").unlink()
    for command in ("network", "render"):
        done = repository.run(command, "dev")
        assert done.code == 0, done.out + done.err
    found, objects = environment.load(repository.root, "dev"), repository / ".secrets/dev"
    manifests = pipeline.objects(repository.root, found)
    first = json.loads(one(manifests, "ConfigMap", "linea-stack-genesis")["data"]["besu.json"])
    pod = one(manifests, "Deployment", "linea-stack-tx-sender")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    given = {variable["name"]: variable.get("value") for variable in container["env"]}
    (secret,) = [v["secret"] for v in pod["volumes"] if "secret" in v]
    credentials = objects / secret["secretName"]
    jwt = bytes.fromhex((objects / "linea-stack-engine-jwt/jwt").read_text())
    with chain(tmp_path / "node", first, jwt) as (client, _):
        sender = Sender(
            tmp_path / "sender",
            client,
            Key.parse((credentials / "privateKey").read_text()),
            (credentials / "toAddress").read_text(),
            int(given["AMOUNT_WEI"]),
            given["INTERVAL_SECONDS"],
        )
        with sender.running() as process:
            sender.wait_for(3)
            client.kill()
            sender.wait("next try in")
            client.start()
            sender.wait_for(6)
            sender.stop(process)
        sender.is_right()
        assert sender.nonce() == len(sender.sent())


# While all is well


def test_a_transfer_an_interval_is_reported_once_and_the_key_is_seen_nowhere(
    sender: Sender, tmp_path: Path
) -> None:
    record = tmp_path / "record"
    start = uptime()
    with sender.running(path=recording(tmp_path / "recording", record)) as process:
        sender.wait_for(8)
        sender.stop(process)
    sender.is_right()
    assert sender.nonce() == len(sender.sent())
    # One a second, and none in advance.
    assert len(sender.sent()) <= uptime() - start + 1, sender.log()
    seen = record.read_bytes()
    for part in (b"wallet\0import", b"mktx", b"publish"):
        assert part in seen
    assert b"WORK_DIR=" in seen
    assert sender.key.hex.encode() not in seen.lower()
    assert sender.key.hex not in sender.log().lower()
    for file in sender.work.rglob("*"):
        assert not file.is_file() or sender.key.hex not in file.read_text().lower()


def recording(folder: Path, record: Path) -> str:
    """Return a PATH of what the script calls; a call adds its command and environment to record."""
    folder.mkdir()
    real = {name: shutil.which(name) for name in PROGRAMS} | {"cast": str(tool("cast"))}
    for name, program in real.items():
        (folder / name).write_text(
            f'#!/bin/sh\n"{real["cat"]}" /proc/$$/cmdline /proc/$$/environ >>"{record}"\n'
            f'exec "{program}" "$@"\n'
        )
        (folder / name).chmod(0o755)
    return str(folder)


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_will_do(sender: Sender, shell: str) -> None:
    with sender.running(shell) as process:
        sender.wait_for(2)
        sender.stop(process)
    sender.is_right()
    assert f"from {sender.key.address} to {sender.to}" in sender.log()


def test_a_long_interval_is_no_reason_to_report_late(sender: Sender) -> None:
    slow = Sender(sender.folder, sender.client, sender.key, sender.to, interval="86400")
    with slow.running() as process:
        slow.wait_for(1)
        slow.stop(process)
    slow.is_right()
    assert slow.nonce() == 1


# Its readiness


@pytest.mark.parametrize("shell", SHELLS)
def test_a_sender_is_ready_once_a_transfer_is_in_a_block(
    sender: Sender, node: tuple[Client, Maru], shell: str
) -> None:
    node[1].pause()
    with sender.running() as process:
        sender.wait("every 1s")
        assert sender.ready(shell) == "no block has included a transfer yet"
        node[1].go_on()
        sender.wait_for(1)
        sender.until(lambda: not sender.ready(shell), "readiness")
        sender.stop(process)


@pytest.mark.parametrize(("interval", "limit"), [("1", 62), ("600", 1260)])
def test_a_sender_whose_transfers_come_into_no_block_is_not_ready(
    tmp_path: Path, node: tuple[Client, Maru], interval: str, limit: int
) -> None:
    key, to = Key.generate(), Key.generate().address
    stuck = Sender(tmp_path, node[0], key, to, interval=interval)
    stuck.work.mkdir()

    def said(age: int) -> str:
        """Return what the probe says at an age of the last report."""
        while True:
            now = uptime()
            (stuck.work / "mined").write_text(f"{now - age}\n")
            answer = stuck.ready()
            if uptime() == now:
                return answer

    assert not said(limit)
    assert said(limit + 1) == f"no block has included a transfer for {limit + 1}s"


def test_a_chain_that_stands_still_moves_no_heartbeat(
    sender: Sender, node: tuple[Client, Maru]
) -> None:
    with waiting(sender, node[1]) as process:
        before = (sender.work / "mined").read_text()
        time.sleep(3)
        assert (sender.work / "mined").read_text() == before
        assert process.poll() is None
        node[1].go_on()
        sender.until(lambda: (sender.work / "mined").read_text() != before, "a heartbeat")
        sender.stop(process)


# When it can't work at all


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("privateKey", "", "the Secret has no privateKey"),
        ("toAddress", "", "the Secret has no toAddress"),
        ("privateKey", "xyz", "privateKey in the Secret is not a private key"),
        ("privateKey", "12" * 31, "privateKey in the Secret is not a private key"),
        ("privateKey", f"{'12' * 16}\n{'34' * 16}", "privateKey in the Secret is not a private"),
        ("privateKey", "0" * 64, "cast rejected privateKey"),
        ("privateKey", f"{curve().group_order:064x}", "cast rejected privateKey"),
        ("toAddress", "vitalik.eth", "toAddress in the Secret is not an address"),
        ("toAddress", "12" * 20, "toAddress in the Secret is not an address"),
        ("toAddress", "0x" + "aB" * 20, "toAddress in the Secret is misspelled"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_a_wrong_secret_is_told_and_not_shown(
    tmp_path: Path, node: tuple[Client, Maru], file: str, content: str, told: str
) -> None:
    to = Key.generate().address
    sender = Sender(tmp_path, node[0], Key.generate(), to, wrong={file: content})
    with sender.running() as process:
        assert sender.end(process) == 1
    assert sender.log().startswith(f"error: {told}"), sender.log()
    assert len(sender.log().splitlines()) == 1
    assert file != "privateKey" or not content or content not in sender.log()


@pytest.mark.parametrize("interval", ["0", "-1", "1.5", "1s"])
def test_a_wrong_interval_is_told(sender: Sender, interval: str) -> None:
    wrong = Sender(sender.folder, sender.client, sender.key, sender.to, interval=interval)
    with wrong.running() as process:
        assert wrong.end(process) == 1
    assert wrong.log() == f"error: INTERVAL_SECONDS must be a number above 0, not {interval}\n"
