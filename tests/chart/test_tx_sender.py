"""The TX Sender moves each transfer's money once, and reports it under one hash, whatever fails.

Without a kill of its container it reports each transfer once; a kill may repeat one line.

The script that the chart ships runs with the real cast against a real client.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scripts.chain.identity import CURVE
from scripts.core.toolchain import tool
from scripts.environments import environment
from scripts.network import genesis
from scripts.network.keys import Key
from scripts.rendering import pipeline
from tests.conftest import ROOT, Repository
from tests.execution_client import Client, Maru, chain
from tests.objects import one
from tests.waits import until

SCRIPT = ROOT / "chart" / "files" / "tx-sender" / "tx-sender.sh"
READY = SCRIPT.parent / "ready.sh"
CHAIN_ID = 1337
ETHER = 10**18
RICH = [Key.generate() for _ in range(100)]
"""Each test takes one; a chain is made with those that are left."""
REFUSING = Key.generate().address
"""A contract that takes no money: PUSH0 PUSH0 REVERT."""
PENDING_LIMIT = 8
STOPPED = "stopped"
FULL = Path("/dev/full")
"""What is written to it fails as on a full disk."""
PROGRAMS = ("cat", "mkdir", "mv", "rm", "script", "sh", "sleep", "timeout", "tr")
"""What runs the script, and what it calls besides cast."""
SENT = re.compile(r"^sent (\d+) wei to (0x[0-9a-fA-F]{40}): (0x[0-9a-f]{64})$", re.MULTILINE)
SHELLS = [call for call in ("sh", "bash --posix", "busybox sh") if shutil.which(call.split()[0])]

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="runs in Linux only"),
    pytest.mark.waits,
]


@dataclass(frozen=True, slots=True)
class Sender:
    """What the script is started with, and what it has said, over all its starts."""

    folder: Path
    client: Client
    key: Key
    to: str
    amount: int = 10
    interval: str = "1"
    wrong: Mapping[str, str] = field(default_factory=dict)
    """What the Secret has in place of that, by its key."""

    @contextlib.contextmanager
    def running(
        self, shell: str = "sh", path: str = "", out: Path | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Yield the script's process; it is killed where it runs on.

        path: its PATH; by default this one with cast. out: its stdout; by default the log.
        """
        programs, secrets = self.folder / "bin", self.folder / "secrets"
        for folder in (programs, secrets, self.work):
            folder.mkdir(parents=True, exist_ok=True)
        if not (programs / "cast").exists():
            (programs / "cast").symlink_to(tool("cast"))
        credentials = {"privateKey": self.key.hex, "toAddress": f"{self.to}\n"}
        for name, content in (credentials | dict(self.wrong)).items():
            (secrets / name).write_text(content)
        environment = {
            "PATH": path or f"{programs}:{os.environ['PATH']}",
            "HOME": str(self.work),
            "RPC_URL": self.client.url,
            "INTERVAL_SECONDS": self.interval,
            "AMOUNT_WEI": str(self.amount),
            "SECRETS_DIR": str(secrets),
            "WORK_DIR": str(self.work),
        }
        log = self.folder / "log"
        with log.open("ab") as errors, (out or log).open("ab") as reports:
            process = subprocess.Popen(
                [*shell.split(), str(SCRIPT)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=reports,
                stderr=errors,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            self.kill(process)

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """End all of it at once, as a container ends that has no time left."""
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def end(self, process: subprocess.Popen[bytes]) -> int:
        """Return how it ended, once it has."""
        self.until(lambda: process.poll() is not None, "the script ends")
        return process.returncode

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """End it as Kubernetes does, which tells the first process alone."""
        process.terminate()
        assert self.end(process) == 0, self.log()
        assert self.log().endswith(f"{STOPPED}\n")

    def ready(self, shell: str = "sh") -> str:
        """Return what the readiness probe says; nothing where the sender is ready."""
        done = subprocess.run(
            [*shell.split(), str(READY)],
            env={
                "PATH": os.environ["PATH"],
                "WORK_DIR": str(self.work),
                "INTERVAL_SECONDS": self.interval,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert not done.stderr
        assert done.returncode == (1 if done.stdout else 0)
        return done.stdout.strip()

    def log(self) -> str:
        file = self.folder / "log"
        return file.read_text() if file.exists() else ""

    def reports(self) -> list[str]:
        """Return the hash of each line that reports a transfer as sent."""
        return [found[2] for found in SENT.findall(self.log())]

    def sent(self) -> list[str]:
        """Return the transfers that are reported as sent: the distinct hashes."""
        return list(dict.fromkeys(self.reports()))

    def until(
        self,
        ready: Callable[[], object],
        what: str,
        progress: Callable[[], object] | None = None,
    ) -> None:
        """Wait as waits.until does; where that fails, the log is in the message."""
        try:
            until(ready, what, progress)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.log()}") from None

    def wait(self, text: str) -> None:
        """Wait until the script has said something."""
        self.until(lambda: text in self.log(), text)

    def wait_for(self, count: int) -> None:
        """Wait until so many transfers are reported as sent."""
        self.until(
            lambda: len(self.sent()) >= count, f"{count} transfers", lambda: len(self.sent())
        )

    def is_right(self, kills: int = 0) -> None:
        """Each report is of a transfer in a block, and all the money that moved is reported.

        Each is reported once; kills: of the script, each of which may repeat one report.
        """
        sent = self.sent()
        assert len(self.reports()) - len(sent) <= kills, self.log()
        for hash_ in sent:
            assert self.client.rpc("eth_getTransactionReceipt", hash_)["status"] == "0x1"
            found = self.client.rpc("eth_getTransactionByHash", hash_)
            assert int(found["value"], 16) == self.amount
            assert found["to"] == self.to.lower()
            assert found["from"] == self.key.address.lower()
        assert self.client.balance(self.to) == self.amount * len(sent), self.log()

    def nonce(self, block: str = "latest") -> int:
        return self.client.number("eth_getTransactionCount", self.key.address, block)


def uptime() -> int:
    """Return the seconds since the machine started, which is the script's clock."""
    return int(float(Path("/proc/uptime").read_text().split()[0]))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Maru]]:
    with started(tmp_path_factory.mktemp("chain") / "node") as found:
        yield found


@contextlib.contextmanager
def started(folder: Path) -> Iterator[tuple[Client, Maru]]:
    alloc = {key.address: ETHER for key in RICH}
    first = genesis.besu(CHAIN_ID, int(time.time()) - 60, alloc)
    first["alloc"][REFUSING] = {"balance": "0x0", "code": "0x5f5ffd"}
    with chain(folder, first) as found:
        yield found


@pytest.fixture
def sender(tmp_path: Path, node: tuple[Client, Maru]) -> Iterator[Sender]:
    """Return a sender of its own money to an address of its own."""
    yield Sender(tmp_path, node[0], RICH.pop(), Key.generate().address)
    node[1].go_on()


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


@contextlib.contextmanager
def waiting(sender: Sender, maru: Maru) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process that does nothing, as as many transfers wait as may, and no block comes.

    All that is in a block is reported, and all that waits is published.
    """
    last = f"waiting: {PENDING_LIMIT} transfers are in no block yet"
    with sender.running() as process:
        sender.wait_for(1)
        maru.pause()
        # It may say so before it has reported the last block's transfers, and says it again then.
        sender.until(
            lambda: (
                sender.log().endswith(f"{last}\n")
                and sender.nonce() + PENDING_LIMIT == sender.nonce("pending")
            ),
            last,
        )
        yield process


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
        assert sender.ready(shell) == "no transfer has come into a block yet"
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
    assert said(limit + 1) == f"no transfer has come into a block for {limit + 1}s"


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
        sender.wait("as of an earlier pod, that are in no block yet")
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
        refused.wait(f"failed, and is not tried again: 10 wei to {REFUSING}: 0x")
        assert refused.ready() == "no transfer has come into a block yet"
        refused.stop(process)
    assert not refused.sent()
    assert refused.log().count("failed, and is not tried again") == refused.nonce() > 0


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


# When it can't work at all


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("privateKey", "", "the Secret has no privateKey"),
        ("toAddress", "", "the Secret has no toAddress"),
        ("privateKey", "xyz", "privateKey in the Secret is no private key"),
        ("privateKey", "12" * 31, "privateKey in the Secret is no private key"),
        ("privateKey", f"{'12' * 16}\n{'34' * 16}", "privateKey in the Secret is no private key"),
        ("privateKey", "0" * 64, "cast did not take privateKey"),
        ("privateKey", f"{CURVE.group_order:064x}", "cast did not take privateKey"),
        ("toAddress", "vitalik.eth", "toAddress in the Secret is no address"),
        ("toAddress", "12" * 20, "toAddress in the Secret is no address"),
        ("toAddress", "0x" + "aB" * 20, "toAddress in the Secret has a typing error"),
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
