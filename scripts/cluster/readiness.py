"""Readiness of validators by their own script; without it, kwok makes every pod ready.

The readiness probe of a validator's Maru asks Maru and its execution client, and neither runs here.
For each pod that has the annotation ASKED, its own synced.sh runs against a server that answers for
it as Maru's sources say (https://github.com/Consensys/maru at d326b73: GetSyncingStatus.kt,
GetPeers.kt in api/): it is in sync, with the peers that its configuration leads to.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from subprocess import CompletedProcess

from scripts.cluster.api_client import UNREACHABLE, ApiClient, ApiError, Object
from scripts.core import programs

ASKED = "readiness.linea-stack.example/asked"
"""Annotation of the pods that are ready only if their script says so: stages.yaml has it, too."""
EVERY_S = 5.0
TIMEOUT_S = 600.0
"""Longer than a probe's own: on a busy machine it says nothing about the pod."""
PORT = "config__override__p2p__port"


@dataclass(frozen=True, slots=True)
class Maru:
    """What a validator's Maru has read at its start: it reads its files once."""

    address: str
    """Its name, port and id, as others have to have them in their lists to dial it."""
    dials: frozenset[str]
    files: tuple[tuple[str, str], ...]
    """Name and text of the files at /config."""
    variables: tuple[tuple[str, str], ...]

    def is_connected(self, other: Maru) -> bool:
        """Return whether one of the two dials the other as it is."""
        return other.address in self.dials or self.address in other.dials

    @property
    def id(self) -> str:
        """Its libp2p peer id."""
        return self.address.rpartition("/")[2]


class Readiness:
    """Sets the condition Ready of the Marus in a namespace, from `start` to `close`."""

    def __init__(self, api: ApiClient, namespace: str) -> None:
        self._api, self._namespace = api, namespace
        self._closed = threading.Event()
        self._marus: dict[str, Maru] = {}
        """The uid of a pod → what runs in it."""
        self._failed: dict[str, int] = {}
        """The uid of a pod → failed tries since the last that did not."""
        self._server = Answers()

    def start(self) -> None:
        """Begin to ask."""
        self.ask_all()
        threading.Thread(target=self._ask, daemon=True).start()

    def close(self) -> None:
        """Stop asking; pods stay as they are."""
        self._closed.set()
        self._server.close()

    def _ask(self) -> None:
        while not self._closed.wait(EVERY_S):
            with contextlib.suppress(ApiError, *UNREACHABLE):  # it comes again
                self.ask_all()

    def ask_all(self) -> None:
        """Ask each pod once, and write what it says."""
        pods = [
            pod
            for pod in self._api.objects("Pod", self._namespace, "app.kubernetes.io/component=maru")
            if pod.get("status", {}).get("podIP") and "deletionTimestamp" not in pod["metadata"]
        ]
        for pod in pods:
            if pod["metadata"]["uid"] not in self._marus:
                self._marus[pod["metadata"]["uid"]] = self._read(pod)
        running = [self._marus[pod["metadata"]["uid"]] for pod in pods]
        for pod, maru in zip(pods, running, strict=True):
            if ASKED in pod["metadata"].get("annotations", {}):
                peers = [other for other in running if other != maru and maru.is_connected(other)]
                self._write(pod, self._is_ready(pod, maru, peers))

    def _read(self, pod: Object) -> Maru:
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        name = volumes["config"]["configMap"]["name"]
        data = self._api.get("ConfigMap", name, self._namespace)["data"]
        return read(pod, data)

    def _is_ready(self, pod: Object, maru: Maru, peers: Iterable[Maru]) -> bool:
        """Run the script of a pod. One that is ready is so until failureThreshold failures."""
        uid = pod["metadata"]["uid"]
        self._server.peers = [peer.id for peer in peers]
        done = run(pod["metadata"]["name"], maru, self._server.port)
        self._failed[uid] = 0 if done.returncode == 0 else self._failed.get(uid, 0) + 1
        threshold = pod["spec"]["containers"][0]["readinessProbe"]["failureThreshold"]
        was_ready = any(c["status"] == "True" for c in _conditions(pod) if c["type"] == "Ready")
        return self._failed[uid] < threshold if was_ready else self._failed[uid] == 0

    def _write(self, pod: Object, is_ready: bool) -> None:
        status = "True" if is_ready else "False"
        conditions = [dict(condition) for condition in _conditions(pod)]
        changed = [
            condition
            for condition in conditions
            if condition["type"] in ("Ready", "ContainersReady") and condition["status"] != status
        ]
        for condition in changed:
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            condition |= {"status": status, "lastTransitionTime": now}
        if changed:
            containers = [each | {"ready": is_ready} for each in pod["status"]["containerStatuses"]]
            body = {"status": {"conditions": conditions, "containerStatuses": containers}}
            name = pod["metadata"]["name"]
            with contextlib.suppress(ApiError):  # it is gone
                self._api.patch("Pod", name, body, self._namespace, "status")


class Answers:
    """A server that answers as a Maru that is in sync, and as its execution client."""

    def __init__(self) -> None:
        self.peers: list[str] = []
        """The ids of the peers that it is connected to."""
        answers = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                block = {"message": {"body": {"execution_payload": {"block_number": "1"}}}}
                data: object = {
                    "/eth/v1/node/syncing": {"is_syncing": False, "el_offline": False},
                    "/eth/v1/node/peers": [
                        {"peer_id": id_, "enr": None, "state": "connected"} for id_ in answers.peers
                    ],
                }.get(self.path, block)
                self._answer({"data": data})

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self._answer({"jsonrpc": "2.0", "id": 1, "result": "0x1"})

            def _answer(self, data: object) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(data, separators=(",", ":")).encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


def read(pod: Object, data: dict[str, str]) -> Maru:
    """Return what the Maru of a pod reads at its start; data: of its ConfigMap."""
    name, container = pod["metadata"]["name"], pod["spec"]["containers"][0]
    variables = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    dials = tomllib.loads(data["network.toml"])["p2p"]["static-peers"]
    own = next(each for each in dials if each.startswith(f"/dns4/{name}."))
    port = variables.get(PORT, tomllib.loads(data["config.toml"])["p2p"]["port"])
    _, dns4, host, tcp, _, p2p, id_ = own.split("/")
    address = "/".join(["", dns4, host, tcp, str(port), p2p, id_])
    files = tuple((file, data[file]) for file in ("synced.sh", "network.toml"))
    return Maru(address, frozenset(dials) - {own}, files, tuple(variables.items()))


def run(pod: str, maru: Maru, port: int) -> CompletedProcess[str]:
    """Run the script of a pod against the server at a port of this machine."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in maru.files:
            (Path(folder) / name).write_text(text, "utf-8")
        variables = dict(maru.variables) | {
            "PATH": os.environ["PATH"],
            "HOSTNAME": pod,
            "CONFIG_DIR": folder,
            "EXECUTION": "127.0.0.1",
            "EXECUTION_PORT": str(port),
            "MARU_PORT": str(port),
        }
        command = ["/bin/bash", f"{folder}/synced.sh"]
        return programs.run(
            command, "asking a pod", TIMEOUT_S, cwd=Path(folder), environment=variables
        )


def _conditions(pod: Object) -> list[Object]:
    return list(pod.get("status", {}).get("conditions") or [])
