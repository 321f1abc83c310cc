"""Runs the TX Sender's script with the real cast against a real client."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scripts.core.toolchain import tool
from scripts.network import genesis
from scripts.network.keys import Key
from tests.conftest import ROOT
from tests.execution_client import Client, Maru, chain
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
SENT = re.compile(r"^sent (\d+) wei to (0x[0-9a-fA-F]{40}): (0x[0-9a-f]{64})$", re.MULTILINE)
SHELLS = [call for call in ("sh", "bash --posix", "busybox sh") if shutil.which(call.split()[0])]


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


@contextlib.contextmanager
def started(folder: Path) -> Iterator[tuple[Client, Maru]]:
    alloc = {key.address: ETHER for key in RICH}
    first = genesis.besu(CHAIN_ID, int(time.time()) - 60, alloc)
    first["alloc"][REFUSING] = {"balance": "0x0", "code": "0x5f5ffd"}
    with chain(folder, first) as found:
        yield found


@contextlib.contextmanager
def waiting(sender: Sender, maru: Maru) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process that does nothing, as as many transfers wait as may, and no block comes.

    All that is in a block is reported, and all that waits is published.
    """
    last = f"waiting: {PENDING_LIMIT} transfers are pending"
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
