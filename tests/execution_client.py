"""A real execution client, geth, and what drives it as Maru does: a block a second.

Each process and thread ends with the `with` that started it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import secrets
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scripts.cluster.processes import free_ports
from scripts.network.keys import Key
from tests.optional_tools import tool
from tests.waits import until

BLOCK_TIME_S = 1.0
BUILD_TIME_S = 0.3
"""What the client has for a block's transactions; Maru's min-block-build-time."""
HANG_S = 600.0
"""After which a call that never returns is given up."""

UNREACHABLE = (OSError, http.client.HTTPException)


class RpcError(Exception):
    """The client answers, with an error."""


def token(secret: bytes, issued_s: int) -> str:
    """Return the JWT that the Engine API asks for.

    Source: https://github.com/ethereum/execution-apis/blob/main/src/engine/authentication.md
    """
    parts = ({"alg": "HS256", "typ": "JWT"}, {"iat": issued_s})
    signed = ".".join(_base64(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{_base64(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Client:
    """A geth with its data in a folder; it can be killed and started again."""

    def __init__(self, folder: Path, genesis: Mapping[str, Any], secret: bytes | None) -> None:
        """Write the genesis; raises AssertionError, with what geth says, where it refuses it.

        secret: of the Engine API; a new one for None.
        """
        self.folder, self.key = folder, Key.generate()
        self.secret = secret or secrets.token_bytes(32)
        self.port, self.engine_port = free_ports(2)
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        for name, text in {
            "genesis.json": json.dumps(genesis),
            "nodekey": self.key.hex,
            "jwt": self.secret.hex(),
        }.items():
            (folder / name).write_text(text)
        command: list[str | Path] = [tool("geth"), "init", "--state.scheme=hash"]
        command += ["--datadir", folder / "data", folder / "genesis.json"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the client and wait until it answers."""
        options: dict[str, object] = {
            "datadir": self.folder / "data",
            "nodekey": self.folder / "nodekey",
            "port": 0,
            "maxpeers": 0,
            "nat": "none",
            "syncmode": "full",
            # Each block's state is written: a killed client goes on a few blocks back.
            "state.scheme": "hash",
            "gcmode": "archive",
            "cache": 128,
            "http.port": self.port,
            "http.api": "admin,eth,net",
            # A WebSocket on the same port.
            "ws.port": self.port,
            "ws.api": "eth,net",
            "authrpc.port": self.engine_port,
            "authrpc.jwtsecret": self.folder / "jwt",
        }
        # What was not in a block is gone when the client is: it keeps no transactions of its own.
        command = [str(tool("geth")), "--nodiscover", "--ipcdisable", "--http", "--ws"]
        command += ["--txpool.nolocals"]
        command += [f"--{name}={value}" for name, value in options.items()]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self._answers, "geth answers", lambda: (self.folder / "log").stat().st_size)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()[-4000:]
        try:
            return bool(self.rpc("eth_chainId") and self.engine("eth_chainId"))
        except UNREACHABLE:
            return False

    def kill(self) -> None:
        """End the client as a loss of power does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def rpc(self, method: str, *parameters: object) -> Any:
        """Return the answer of the public JSON-RPC."""
        return _call(self.url, {}, method, *parameters)

    def engine(self, method: str, *parameters: object, secret: bytes | None = None) -> Any:
        """Return the answer of the Engine API, asked with the client's secret or another."""
        bearer = token(secret or self.secret, int(time.time()))
        headers = {"Authorization": f"Bearer {bearer}"}
        return _call(f"http://127.0.0.1:{self.engine_port}", headers, method, *parameters)

    def number(self, method: str, *parameters: object) -> int:
        """Return an answer that is a number."""
        return int(self.rpc(method, *parameters), 16)

    def height(self) -> int:
        return self.number("eth_blockNumber")

    def balance(self, address: str) -> int:
        """Return the wei of an account at the newest block."""
        return self.number("eth_getBalance", address, "latest")


def _call(url: str, headers: Mapping[str, str], method: str, *parameters: object) -> Any:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
    sent = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(url, json.dumps(body).encode(), sent)
    with urllib.request.urlopen(request, timeout=HANG_S) as response:
        answer = json.load(response)
    if "error" in answer:
        raise RpcError(f"{method}: {answer['error']}")
    return answer["result"]


class Maru(threading.Thread):
    """Makes a block a second with the calls that Maru makes.

    Also gives a client that has lost blocks those that were made, so that it may be killed at any
    moment. Maru itself leaves that to the client's peers.
    """

    def __init__(self, client: Client) -> None:
        super().__init__(name="maru")
        self.client = client
        self.blocks: list[dict[str, Any]] = []
        """Payloads, from block 1 on."""
        self.failure: Exception | None = None
        """Why no more blocks are made."""
        self.stopping, self.paused = threading.Event(), threading.Event()
        self.resting = threading.Event()

    def pause(self) -> None:
        """Make no more blocks; the one that is being made is done when this returns."""
        self.resting.clear()
        self.paused.set()
        until(self.resting.is_set, "the block is done", lambda: len(self.blocks))

    def go_on(self) -> None:
        self.paused.clear()

    def run(self) -> None:
        due = time.monotonic()
        while not self.stopping.wait(max(0.0, due - time.monotonic())):
            due = max(due + BLOCK_TIME_S, time.monotonic())
            try:
                if self.paused.is_set():
                    self.resting.set()
                else:
                    self._make()
            except UNREACHABLE:
                due = time.monotonic() + 0.1
            except Exception as error:
                self.failure = error
                return

    def _make(self) -> None:
        head = self._bring_up()
        attributes = {
            "timestamp": hex(max(int(head["timestamp"], 16) + 1, int(time.time()))),
            "prevRandao": "0x" + secrets.token_hex(32),
            "suggestedFeeRecipient": "0x" + "0" * 40,
            "withdrawals": [],
            "parentBeaconBlockRoot": "0x" + "0" * 64,
        }
        payload_id = self._choose(head["hash"], attributes)
        self.stopping.wait(BUILD_TIME_S)
        payload = self.client.engine("engine_getPayloadV5", payload_id)["executionPayload"]
        # Decided, whatever becomes of the client from here on.
        self.blocks.append(payload)
        self._import(payload)

    def _bring_up(self) -> dict[str, Any]:
        """Return the newest block, after giving the client those that it has not."""
        for block in self.blocks[self.client.height() :]:
            self._import(block)
        return dict(self.client.rpc("eth_getBlockByNumber", "latest", False))

    def _import(self, payload: dict[str, Any]) -> None:
        root = "0x" + "0" * 64
        # As Maru: without the hashes of blobs, and without execution requests.
        told = self.client.engine("engine_newPayloadV4", payload, [], root, [])
        assert told["status"] == "VALID", told
        self._choose(payload["blockHash"], None)

    def _choose(self, head: str, attributes: dict[str, Any] | None) -> str:
        """Make a block the final head, and return the id of the payload that is built on it."""
        state = dict.fromkeys(("headBlockHash", "safeBlockHash", "finalizedBlockHash"), head)
        told = self.client.engine("engine_forkchoiceUpdatedV3", state, attributes)
        assert told["payloadStatus"]["status"] == "VALID", told
        return str(told["payloadId"])


@contextlib.contextmanager
def chain(
    folder: Path, genesis: Mapping[str, Any], secret: bytes | None = None
) -> Iterator[tuple[Client, Maru]]:
    """Yield a client that makes blocks from a genesis; fails where a block could not be made."""
    client = Client(folder, genesis, secret)
    maru = Maru(client)
    try:
        client.start()
        maru.start()
        yield client, maru
    finally:
        maru.stopping.set()
        if maru.ident is not None:
            maru.join()
        client.kill()
    assert maru.failure is None, maru.failure
