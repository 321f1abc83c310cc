"""The TX Sender moves each transfer's money once, and reports it under one hash, whatever fails.

Without a kill of its container it reports each transfer once; a kill may repeat one line.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.core.toolchain import tool
from scripts.network.keys import Key
from tests.chart.tx_sender import (
    ETHER,
    PENDING_LIMIT,
    REFUSING,
    RICH,
    SHELLS,
    Sender,
    started,
    uptime,
    waiting,
)
from tests.execution_client import Client, Maru
from tests.waits import until

FULL = Path("/dev/full")
"""What is written to it fails as on a full disk."""

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="runs in Linux only"),
    pytest.mark.waits,
]


# When it is stopped


def test_what_is_pending_is_awaited_when_the_pod_is_stopped(
    sender: Sender, node: tuple[Client, Maru]
) -> None:
    with waiting(sender, node[1]) as process:
        before = sender.sent()
        process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
        node[1].go_on()
        sender.stop(process)
    sender.is_right()
    assert len(sender.sent()) == len(before) + PENDING_LIMIT
    assert sender.nonce("pending") == len(sender.sent())


def test_a_container_that_is_killed_goes_on_where_it_was(sender: Sender) -> None:
    counts = (1, 2, 4, 7)
    for count in counts:
        with sender.running() as process:
            sender.wait_for(count)
            sender.kill(process)
    with sender.running() as process:
        sender.wait_for(9)
        sender.stop(process)
    sender.is_right(kills=len(counts))
    assert sender.nonce() == len(sender.sent())


@pytest.mark.parametrize("shell", SHELLS)
def test_a_container_that_is_killed_after_the_report_repeats_it_with_the_same_hash(
    sender: Sender, shell: str
) -> None:
    kills = 2
    for _ in range(kills):
        kill_after_a_report(sender, shell)
    with sender.running(shell) as process:
        sender.wait_for(3)
        sender.stop(process)
    sent = sender.sent()
    assert sender.reports() == [sent[0]] * kills + sent
    sender.is_right(kills)
    assert sender.nonce() == len(sent)


def kill_after_a_report(sender: Sender, shell: str) -> None:
    """Run a container that is killed after a line in the log, and before the transfer's mark."""
    # The script writes here in between, which takes as long as nobody reads.
    stop_there = sender.work / "mined.new"
    sender.work.mkdir(exist_ok=True)
    os.mkfifo(stop_there)
    before = len(sender.reports())
    with sender.running(shell) as process:
        sender.until(lambda: len(sender.reports()) > before, "a report")
        sender.kill(process)
    stop_there.unlink()


@pytest.mark.parametrize("shell", SHELLS)
def test_a_report_that_cant_be_written_is_made_by_the_next_container(
    sender: Sender, shell: str
) -> None:
    with sender.running(shell, out=FULL) as process:
        sender.wait("the log can't be written; next try in 2s")
        sender.kill(process)
    assert not sender.reports()
    with sender.running(shell) as process:
        sender.wait_for(2)
        sender.stop(process)
    sender.is_right()
    assert sender.nonce() == len(sender.sent())


def test_a_new_pod_lets_the_transfers_of_the_lost_one_go_first(
    sender: Sender, node: tuple[Client, Maru]
) -> None:
    with waiting(sender, node[1]) as process:
        sender.kill(process)
    reported = len(sender.sent())
    shutil.rmtree(sender.work)
    with sender.running() as process:
        sender.wait("for example from an earlier pod")
        node[1].go_on()
        sender.wait_for(reported + 2)
        sender.stop(process)
    # Those of the lost pod are done, once, and reported by nobody.
    assert len(sender.reports()) == len(sender.sent())
    assert sender.nonce() == len(sender.sent()) + PENDING_LIMIT
    assert sender.client.balance(sender.to) == sender.amount * sender.nonce()


# When the node fails


def test_a_killed_node_loses_and_doubles_nothing_and_no_burst_follows(tmp_path: Path) -> None:
    with started(tmp_path / "node") as (client, maru):
        sender = Sender(tmp_path, client, RICH.pop(), Key.generate().address)
        start, outage_s = uptime(), 8
        with sender.running() as process:
            sender.wait_for(2)
            maru.pause()
            # A restarted node knows nothing of them.
            sender.until(lambda: sender.nonce("pending") >= sender.nonce() + 3, "pending ones")
            client.kill()
            down = uptime()
            sender.wait("Connection refused")
            sender.wait("next try in 4s")
            until(lambda: uptime() >= down + outage_s, "an outage")
            client.start()
            maru.go_on()
            sender.wait_for(len(sender.sent()) + 6)
            sender.stop(process)
            end = uptime()
        sender.is_right()
        assert sender.nonce("pending") == len(sender.sent())
        # One a second until the outage and one a second after it, each with one at once, and one
        # that was late by less than a second.
        assert sender.nonce() <= end - start - outage_s + 3


def test_a_sender_starts_before_its_node(tmp_path: Path) -> None:
    with started(tmp_path / "node") as (client, _):
        client.kill()
        sender = Sender(tmp_path, client, RICH.pop(), Key.generate().address)
        with sender.running() as process:
            sender.wait("Connection refused")
            client.start()
            sender.wait_for(1)
            sender.stop(process)
        sender.is_right()


# When a transfer fails


def test_an_account_without_money_is_reported_and_sends_once_it_has_some(
    sender: Sender, tmp_path: Path
) -> None:
    poor = Sender(tmp_path / "poor", sender.client, Key.generate(), Key.generate().address)
    gift = Sender(
        tmp_path / "gift", sender.client, sender.key, poor.key.address, ETHER // 2, "86400"
    )
    with poor.running() as process:
        poor.wait(f"the account {poor.key.address} has too little money")
        assert poor.nonce("pending") == 0
        with gift.running() as other:
            gift.wait_for(1)
            gift.stop(other)
        poor.wait_for(1)
        poor.stop(process)
    poor.is_right()


def test_a_transfer_that_is_reverted_is_reported_as_failed(sender: Sender) -> None:
    refused = Sender(sender.folder, sender.client, sender.key, REFUSING)
    with refused.running() as process:
        refused.wait(f"failed, and is not retried: 10 wei to {REFUSING}: 0x")
        assert refused.ready() == "no block has included a transfer yet"
        refused.stop(process)
    assert not refused.sent()
    assert refused.log().count("failed, and is not retried") == refused.nonce() > 0


def test_a_nonce_that_another_sender_used_is_reported(
    sender: Sender, node: tuple[Client, Maru]
) -> None:
    with sender.running() as process:
        sender.wait_for(1)
        node[1].pause()
        sender.until(lambda: sender.nonce("pending") > sender.nonce(), "a pending one")
        nonce = sender.nonce()
        command = [str(tool("cast")), "send", Key.generate().address, "--async"]
        command += ["--value=1", f"--nonce={nonce}", f"--rpc-url={sender.client.url}"]
        command += ["--gas-limit=21000", "--gas-price=5gwei", "--priority-gas-price=1gwei"]
        keystore = ["--keystore", str(sender.work / "keystore" / "sender")]
        keystore += ["--password-file", str(sender.work / "password")]
        subprocess.run([*command, *keystore], check=True, capture_output=True)
        node[1].go_on()
        sender.wait(f"another transaction has its nonce, {nonce}: does another sender")
        sender.wait_for(nonce + 2)
        sender.stop(process)
    sender.is_right()
    assert sender.nonce() == len(sender.sent()) + 1
