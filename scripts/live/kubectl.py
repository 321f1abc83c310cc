"""Talk to a cluster through kubectl, which knows how to log in; no credential is read here.

`kubectl proxy` serves the API on a socket that only this user can open. So certificates, tokens and
login programs such as `aws eks get-token` work as in a shell, and are used once for all requests.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.core import process_lifetime, programs, toolchain
from scripts.core.findings import UsageError

_START_S = 60.0
_ANSWER_S = 120.0
_LOOK_S = 0.02
_NO_WRITES = "^(POST|PUT|DELETE)$"
"""The methods that the proxy rejects. Dry runs need PATCH."""
_UNAUTHORIZED = 401
_GATEWAY = (502, 503, 504)

Object = dict[str, Any]
"""A Kubernetes object, or another answer of the API server."""


@dataclass(frozen=True, slots=True)
class Context:
    """A context of the kubeconfig."""

    name: str
    cluster: str
    """The name of its cluster in the kubeconfig."""
    server: str
    """The URL of the API server."""


class ApiError(Exception):
    """The API server rejects a request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def program() -> Path:
    """Return kubectl: that of the PATH, otherwise a pinned one. Raises UsageError without both."""
    if found := shutil.which("kubectl"):
        return Path(found)
    for name in toolchain.names():
        if name.startswith("kubectl-") and toolchain.is_there(name):
            return toolchain.tool(name)
    raise UsageError(
        "kubectl is not on the PATH: install it, or build the pinned one with"
        " nox -s tools -- kubectl-1.34"
    )


def context(kubectl: Path, name: str = "") -> Context:
    """Return a context of the kubeconfig; the current one if no name is given.

    Raises UsageError for an unknown context.
    """
    config = _config(kubectl)
    contexts = {each["name"]: each["context"] for each in config.get("contexts") or ()}
    wanted = name or config.get("current-context") or ""
    known = ", ".join(sorted(contexts)) or "none"
    place = os.environ.get("KUBECONFIG") or "~/.kube/config"
    if not wanted:
        raise UsageError(
            f"{place} has no current context: write --context NAME; known are: {known}"
        )
    if wanted not in contexts:
        raise UsageError(f"{place} has no context {wanted}: known are: {known}")
    cluster = contexts[wanted].get("cluster", "")
    servers = {each["name"]: each["cluster"] for each in config.get("clusters") or ()}
    return Context(wanted, cluster, str(servers.get(cluster, {}).get("server", "")))


def contexts(kubectl: Path) -> list[str]:
    """Return the names of the contexts of the kubeconfig."""
    return sorted(each["name"] for each in _config(kubectl).get("contexts") or ())


def _config(kubectl: Path) -> Object:
    """Return the kubeconfig; kubectl leaves out its credentials."""
    command: list[str | Path] = [kubectl, "config", "view", "--output=json"]
    done = programs.run(command, "kubectl", programs.QUERY_TIMEOUT_S, cwd=Path.cwd())
    if done.returncode:
        raise UsageError(f"kubectl config view: {done.stderr.strip()}")
    config: Object = json.loads(done.stdout)
    return config


class Client:
    """Requests that change nothing: get, list and a dry run of apply."""

    def __init__(self, path: Path, context: Context) -> None:
        self._path, self._context = path, context

    def get(self, path: str) -> Object:
        """Return what the API server answers for a path such as api/v1/namespaces. Raises ApiError.

        Raises UsageError if the server cannot be reached, or rejects the credentials.
        """
        return self._send("GET", path)

    def listed(self, path: str) -> list[Object]:
        """Return all objects of a list. Raises as get() does."""
        items, more = list[Object](), ""
        while True:
            answer = self.get(f"{path}?limit=500{more}")
            items += answer.get("items") or ()
            token = (answer.get("metadata") or {}).get("continue")
            if not token:
                return items
            more = f"&continue={token}"

    def applied(self, path: str, body: Object, manager: str) -> Object:
        """Return an object as a server-side apply would leave it; nothing is stored.

        manager: the field manager. Raises as get() does.
        """
        query = f"dryRun=All&force=true&fieldManager={manager}"
        return self._send("PATCH", f"{path}?{query}", body)

    def _send(self, method: str, path: str, body: Object | None = None) -> Object:
        connection = _Connection(self._path)
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/apply-patch+yaml"
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, f"/{path}", text, headers)
            response = connection.getresponse()
            answer, status = response.read().decode("utf-8", "replace"), response.status
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(str(error)) from error
        finally:
            connection.close()
        data = _mapping(answer)
        if status == _UNAUTHORIZED:
            raise UsageError(
                f"{self._context.server} rejects the credentials of the context"
                f" {self._context.name}: log in again, and check with kubectl --context"
                f" {self._context.name} auth whoami"
            )
        if data is None or (status in _GATEWAY and data.get("kind") != "Status"):
            raise self._unreachable(answer)
        if status >= http.HTTPStatus.MULTIPLE_CHOICES:
            raise ApiError(status, str(data.get("message") or answer))
        return data

    def _unreachable(self, why: str) -> UsageError:
        why = why.strip().splitlines()[0] if why.strip() else "no answer"
        return UsageError(
            f"{self._context.server} (context {self._context.name}) does not answer: {why}"
        )


def _mapping(text: str) -> Object | None:
    try:
        data = json.loads(text)
    except ValueError:
        return None
    return data if isinstance(data, dict) else None


class _Connection(http.client.HTTPConnection):
    """A connection to a socket in the file system."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_ANSWER_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@contextlib.contextmanager
def client(kubectl: Path, context: Context) -> Iterator[Client]:
    """Start `kubectl proxy` for a context, and yield a client; it ends with the block.

    Raises UsageError if it does not start.
    """
    # No other user can open a file in this folder.
    with tempfile.TemporaryDirectory(prefix="linea-diff-") as folder:
        path = Path(folder) / "api"
        command: list[str | Path] = [kubectl, f"--context={context.name}", "proxy"]
        command += [f"--unix-socket={path}", f"--reject-methods={_NO_WRITES}"]
        with _running(command, Path(folder) / "errors") as process:
            _wait(process, path, Path(folder) / "errors")
            yield Client(path, context)


@contextlib.contextmanager
def _running(command: list[str | Path], errors: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program that also ends when this process ends in any way."""
    reading, writing = os.pipe()
    try:
        with errors.open("wb") as log:
            process = subprocess.Popen(
                process_lifetime.until_end_of_stdin(command),
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()
    finally:
        os.close(reading)
        os.close(writing)


def _wait(process: subprocess.Popen[bytes], path: Path, errors: Path) -> None:
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        if process.poll() is not None:
            said = errors.read_text("utf-8", "replace").strip().splitlines() or ["no output"]
            raise UsageError(f"kubectl proxy ended: {said[-1]}")
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))
            return
        time.sleep(_LOOK_S)
    raise UsageError(f"kubectl proxy did not start within {_START_S:.0f} s")


Resources = Mapping[tuple[str, str], "Resource"]
"""API group and kind → how the API server serves it."""


@dataclass(frozen=True, slots=True)
class Resource:
    """How the API server serves a kind."""

    base: str
    """api/v1, or apis/<group>/<version>."""
    plural: str
    is_namespaced: bool

    def path(self, namespace: str, name: str = "") -> str:
        """Return the path of the objects in a namespace, or of one of them."""
        within = f"/namespaces/{namespace}" if self.is_namespaced else ""
        return f"{self.base}{within}/{self.plural}" + (f"/{name}" if name else "")
