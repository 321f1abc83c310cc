"""What Helm prints after an installation: what its pods lack on the cluster, found by lookup."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests import optional_tools
from tests.objects import CHART

NAMESPACE = "linea"

SEQUENCER, MARU = "linea-stack-sequencer-p2p-key", "linea-stack-maru-p2p-key"
EVERYTHING = {
    f"secrets/{SEQUENCER}": ["key"],
    f"secrets/{MARU}": ["key"],
    "secrets/linea-stack-engine-jwt": ["jwt"],
    "secrets/linea-stack-tx-sender-secrets": ["privateKey", "toAddress"],
    "configmaps/my-linea-genesis": ["besu.json", "maru.json"],
}

KINDS = {
    "v1": ("Secret", "ConfigMap", "Service", "ServiceAccount"),
    "apps/v1": ("StatefulSet", "Deployment"),
    "autoscaling/v2": ("HorizontalPodAutoscaler",),
    "policy/v1": ("PodDisruptionBudget",),
}


def resources(version: str) -> dict[str, Any]:
    """Return the answer of an API server to which kinds a version has."""
    every = [
        {"name": f"{kind.lower()}s", "namespaced": True, "kind": kind, "verbs": ["get", "create"]}
        for kind in KINDS[version]
    ]
    return {"kind": "APIResourceList", "groupVersion": version, "resources": every}


def groups() -> dict[str, Any]:
    versions = [{"groupVersion": version, "version": version[-2:]} for version in KINDS]
    every = [
        {"name": each["groupVersion"].partition("/")[0], "versions": [each]}
        for each in versions
        if "/" in each["groupVersion"]
    ]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": every}


def answer(path: str, held: dict[str, list[str]], status: int) -> tuple[int, dict[str, Any]]:
    """Return what an API server answers that has these objects, `<resource>/<name>` → keys.

    status: the answer to a request for one of these resources that it does not have.
    """
    if path == "/version":
        return 200, {"major": "1", "minor": "34", "gitVersion": "v1.34.4"}
    if path == "/api":
        return 200, {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        return 200, groups()
    version = path.removeprefix("/apis/").removeprefix("/api/")
    if version in KINDS:
        return 200, resources(version)
    name = "/".join(path.split("/")[-2:])
    if name in held and path == f"/api/v1/namespaces/{NAMESPACE}/{name}":
        kind = "Secret" if name.startswith("secrets/") else "ConfigMap"
        data = dict.fromkeys(held[name], "eA==")
        metadata = {"name": name.partition("/")[2], "namespace": NAMESPACE}
        return 200, {"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": data}
    code = status if name in EVERYTHING else 404
    reason = {403: "Forbidden", 404: "NotFound"}[code]
    return code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason,
                  "code": code, "message": f"{name} {reason}"}  # fmt: skip


@contextmanager
def cluster(held: dict[str, list[str]], status: int = 404) -> Iterator[str]:
    """Yield the address of an API server that has these objects."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, body = answer(self.path.partition("?")[0], held, status)
            raw = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def install(
    tool: str, home: Path, held: dict[str, list[str]], *options: str, status: int = 404
) -> subprocess.CompletedProcess[str]:
    """Return how Helm ends that would install the chart alone on a cluster."""
    with cluster(held, status) as address:
        return subprocess.run(
            [optional_tools.tool(tool), "install", "my-linea", CHART, f"--namespace={NAMESPACE}",
             "--dry-run=server", "--disable-openapi-validation", f"--kube-apiserver={address}",
             *options],
            env={"HOME": str(home), "PATH": "/usr/bin:/bin", "KUBECONFIG": "/dev/null"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip


def notes(
    tool: str, home: Path, held: dict[str, list[str]], *options: str, status: int = 404
) -> str:
    done = install(tool, home, held, *options, status=status)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:")[2]


def lacked(text: str) -> dict[str, str]:
    """Return the objects that the notes name, with what they say about each."""
    return dict(re.findall(r"^  (?:Secret|ConfigMap) (\S+) (.*):", text, re.MULTILINE))


@pytest.mark.parametrize("tool", ["helm3", "helm4"])
def test_what_the_cluster_lacks_is_named_and_nothing_else(tool: str, tmp_path: Path) -> None:
    held = EVERYTHING | {"secrets/linea-stack-tx-sender-secrets": ["privateKey"]}
    del held[f"secrets/{MARU}"], held["configmaps/my-linea-genesis"]
    assert lacked(notes(tool, tmp_path, held)) == {
        MARU: "with the key `key`",
        "linea-stack-tx-sender-secrets": "exists, but lacks the key `toAddress`",
        "my-linea-genesis": "with the keys `besu.json`, `maru.json`",
    }


def test_nothing_is_named_if_everything_is_there(tmp_path: Path) -> None:
    text = notes("helm4", tmp_path, EVERYTHING)
    assert lacked(text) == {}
    assert "All Secrets and the genesis that its pods need are there." in text
    assert "Pods wait" not in text


def test_nothing_is_there_before_its_namespace(tmp_path: Path) -> None:
    text = notes("helm4", tmp_path, {}, "--create-namespace")
    assert {*lacked(text)} == {name.partition("/")[2] for name in EVERYTHING}


def test_without_permission_to_read_secrets_the_lookup_can_be_turned_off(tmp_path: Path) -> None:
    done = install("helm4", tmp_path, {}, status=403)
    assert done.returncode
    assert "Forbidden" in done.stderr
    text = notes("helm4", tmp_path, {}, "--set=notes.lookup=false", status=403)
    assert {*lacked(text)} == {name.partition("/")[2] for name in EVERYTHING}
    assert "describe pod <name> says what is missing" in text
