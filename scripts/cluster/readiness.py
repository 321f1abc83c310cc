"""Readiness of validators by their own script; without it, kwok makes every pod ready.

The readiness probes of a validator ask its Maru and its Besu, and neither runs here. For each pod
that has the annotation ASKED, its own synced.sh runs against a server that answers for both:

- Maru, as its sources say (https://github.com/Consensys/maru at d326b73: GetSyncingStatus.kt,
  GetPeers.kt in api/): in sync, with the peers that its configuration leads to, and without an
  execution client while its sequencer does not run;
- Besu, with the nodes of its static-nodes.json as peers.

Nodes dial each other by name, and cluster DNS has the names of endpoints that are ready: those that
the controllers have written for the Services.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import threading
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from subprocess import CompletedProcess

from scripts.cluster.api_client import UNREACHABLE, ApiClient, ApiError, Object
from scripts.core import programs

ASKED = "readiness.linea-stack.example/asked"
"""Annotation of the pods that are ready only if their script says so: stages.yaml has it, too."""
EVERY_S = 2.0
TIMEOUT_S = 600.0
"""Longer than a probe's own: on a busy machine it says nothing about the pod."""
COMPONENT, MARU = "app.kubernetes.io/component", "maru"
VALIDATORS = f"{COMPONENT} in ({MARU},sequencer)"
SERVICE = "kubernetes.io/service-name"
PORT = "config__override__p2p__port"
READ = ("synced.sh", "network.toml")
"""The script, and the file that it reads."""
HERE, CLOSED = "127.0.0.1", 1
"""This machine, and a port of it at which nothing listens."""
PEER = re.compile(r"/dns4/(?P<host>[^/]+)/tcp/(?P<port>\d+)/p2p/(?P<id>\w+)")
ENODE = re.compile(r"enode://(?P<id>\w+)@(?P<host>[^:]+):(?P<port>\d+)")


@dataclass(frozen=True, slots=True)
class Address:
    """How others dial a node."""

    host: str
    port: str
    id: str


@dataclass(frozen=True, slots=True)
class Node:
    """What a Maru, or a sequencer's Besu, has read at its start: it reads its files once."""

    component: str
    ordinal: str
    own: Address
    dials: frozenset[Address]
    files: tuple[tuple[str, str], ...]
    """Name and text of the files at /config that the script needs."""
    variables: tuple[tuple[str, str], ...]

    def reaches(self, other: Node, names: frozenset[str]) -> bool:
        """Return whether it dials another as that is; names: those that DNS has."""
        return other.own in self.dials and other.own.host in names

    def is_half_of_one_with(self, other: Node) -> bool:
        """Return whether both are one validator."""
        return self.component != other.component and self.ordinal == other.ordinal

    def peers(self, running: Sequence[Node], names: frozenset[str]) -> list[Node]:
        """Return the nodes of its kind that it is connected to."""
        others = (it for it in running if it.component == self.component and it.own != self.own)
        return [it for it in others if self.reaches(it, names) or it.reaches(self, names)]


class Readiness:
    """Sets the condition Ready of the validators in a namespace, from `start` to `close`."""

    def __init__(self, api: ApiClient, namespace: str) -> None:
        self._api, self._namespace = api, namespace
        self._closed = threading.Event()
        self._nodes: dict[str, Node] = {}
        """The uid of a pod → what runs in it."""
        self._failed: dict[str, int] = {}
        """The uid of a pod → failed tries since the last that did not."""
        self._server = Answers()

    def start(self) -> None:
        """Begin to ask."""
        threading.Thread(target=self._ask, daemon=True).start()

    def close(self) -> None:
        """Stop asking; pods stay as they are."""
        self._closed.set()
        self._server.close()

    def _ask(self) -> None:
        while not self._closed.wait(EVERY_S):
            with contextlib.suppress(ApiError, *UNREACHABLE):  # it comes again
                self._ask_all()

    def _ask_all(self) -> None:
        """Ask each pod once, and write what it says."""
        pods = [
            pod
            for pod in self._api.objects("Pod", self._namespace, VALIDATORS)
            if pod.get("status", {}).get("podIP") and "deletionTimestamp" not in pod["metadata"]
        ]
        for pod in pods:
            if pod["metadata"]["uid"] not in self._nodes:
                self._nodes[pod["metadata"]["uid"]] = self._read(pod)
        running, names = [self._nodes[pod["metadata"]["uid"]] for pod in pods], self._names()
        for pod, node in zip(pods, running, strict=True):
            if ASKED in pod["metadata"].get("annotations", {}):
                self._server.peers = [it.own.id for it in node.peers(running, names)]
                self._server.is_whole = any(map(node.is_half_of_one_with, running))
                self._write(pod, self._is_ready(pod, node))

    def _read(self, pod: Object) -> Node:
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        name = volumes["config"]["configMap"]["name"]
        data = self._api.get("ConfigMap", name, self._namespace)["data"]
        return read(pod, data)

    def _names(self) -> frozenset[str]:
        """Return the names of pods that cluster DNS has, as their Services publish them."""
        return frozenset(
            f"{endpoint['hostname']}.{each['metadata']['labels'][SERVICE]}"
            for each in self._api.objects("EndpointSlice", self._namespace)
            for endpoint in each["endpoints"] or ()
            if endpoint["conditions"]["ready"] and "hostname" in endpoint
        )

    def _is_ready(self, pod: Object, node: Node) -> bool:
        """Run the script of a pod. One that is ready is so until failureThreshold failures."""
        uid = pod["metadata"]["uid"]
        done = run(pod["metadata"]["name"], node, self._server)
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
    """A server that answers for the Maru and the execution client of one validator."""

    def __init__(self) -> None:
        self.peers: list[str] = []
        """The ids of the peers of the node that is asked."""
        self.is_whole = False
        """Whether the other half of its validator runs."""
        answers = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer({"data": answers.of_maru(self.path)})

            def do_POST(self) -> None:
                call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                number = len(answers.peers) if call["method"] == "net_peerCount" else 1
                self._answer({"jsonrpc": "2.0", "id": 1, "result": hex(number)})

            def _answer(self, data: object) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(data, separators=(",", ":")).encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer((HERE, 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def of_maru(self, path: str) -> object:
        """Return the data that a Maru in sync answers."""
        if path == "/eth/v1/node/syncing":
            return {"is_syncing": False, "el_offline": not self.is_whole}
        if path == "/eth/v1/node/peers":
            return [{"peer_id": id_, "enr": None, "state": "connected"} for id_ in self.peers]
        return {"message": {"body": {"execution_payload": {"block_number": "1"}}}}

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


def read(pod: Object, data: dict[str, str]) -> Node:
    """Return what the node of a pod reads at its start; data: of its ConfigMap."""
    name, container = pod["metadata"]["name"], pod["spec"]["containers"][0]
    component = pod["metadata"]["labels"][COMPONENT]
    variables = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    config = tomllib.loads(data["config.toml"])
    if component == MARU:
        port = variables.get(PORT, config["p2p"]["port"])
        found = PEER.finditer(data["network.toml"])
    else:
        port = config["p2p-port"]
        found = ENODE.finditer(data["static-nodes.json"])
    listed = {Address(**each.groupdict()) for each in found}
    own = next(each for each in listed if each.host.startswith(f"{name}."))
    return Node(
        component,
        name.rpartition("-")[2],
        Address(own.host, str(port), own.id),
        frozenset(listed - {own}),
        tuple((file, data[file]) for file in READ if file in data),
        tuple(variables.items()),
    )


def run(pod: str, node: Node, server: Answers) -> CompletedProcess[str]:
    """Run the script of a pod against the server."""
    has_maru = node.component == MARU or server.is_whole
    with tempfile.TemporaryDirectory() as folder:
        for name, text in node.files:
            (Path(folder) / name).write_text(text, "utf-8")
        own = dict(node.variables)
        hosts = {name: HERE for name in ("EXECUTION", "MARU") if name in own}
        variables = (own | hosts) | {
            "PATH": os.environ["PATH"],
            "HOSTNAME": pod,
            "CONFIG_DIR": folder,
            "EXECUTION_PORT": str(server.port),
            "MARU_PORT": str(server.port if has_maru else CLOSED),
        }
        command = ["/bin/bash", f"{folder}/synced.sh"]
        return programs.run(
            command, "asking a pod", TIMEOUT_S, cwd=Path(folder), environment=variables
        )


def _conditions(pod: Object) -> list[Object]:
    return list(pod.get("status", {}).get("conditions") or [])
