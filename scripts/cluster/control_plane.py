"""Run etcd, the API server, the controllers and the scheduler of Kubernetes."""

from __future__ import annotations

import os
import secrets
import ssl
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from scripts.cluster.api_client import UNREACHABLE, ApiClient, ApiError, Object
from scripts.cluster.processes import Processes, free_ports
from scripts.core import programs, toolchain
from scripts.core.findings import UsageError

LOOK_S = 0.1
HANG_S = 1800.0
"""Time-out of a start or a command, which take minutes on a busy machine."""

CONTROLLERS_VERSION = "1.34"
"""The only minor version whose controllers, scheduler and kubectl are built."""

GONE_S = 120
"""A node counts as lost after this time without a heartbeat. Kubernetes' default is 50, in which a
busy machine may miss all heartbeats, so that a healthy zone would count as lost."""


class ControlPlane:
    """A control plane in a folder; `kubeconfig` has the rights of an administrator."""

    def __init__(self, processes: Processes, folder: Path, version: str) -> None:
        """Prepare it. version: a minor version of the API server that tools/ pins.

        Raises UsageError for another version, or if a program is not available.
        """
        self.version, self.folder = version, folder
        self._processes = processes
        self._api_server = toolchain.tool(f"kube-apiserver-{version}")
        self._token = secrets.token_hex(32)
        self._etcd_port, self._peer_port, self._port = free_ports(3)
        self.kubeconfig = folder / "kubeconfig"
        (folder / "certificates").mkdir()
        _private(folder / "tokens.csv", f'{self._token},admin,admin,"system:masters"\n')
        _private(folder / "service-accounts.pem", _key())
        certificate = folder / "certificates" / "apiserver.crt"
        _private(self.kubeconfig, _kubeconfig(self.url, self._token, certificate))

    @property
    def url(self) -> str:
        """The address of the API server."""
        return f"https://127.0.0.1:{self._port}"

    def start(self) -> ApiClient:
        """Start etcd and the API server, and return a client when the server is ready."""
        etcd = f"http://127.0.0.1:{self._etcd_port}"
        peer = f"http://127.0.0.1:{self._peer_port}"
        store: dict[str, object] = {
            "name": "etcd",
            "data-dir": self.folder / "etcd",
            "initial-cluster": f"etcd={peer}",
            "listen-client-urls": etcd,
            "advertise-client-urls": etcd,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "log-level": "warn",
            "unsafe-no-fsync": "true",
        }
        self._start("etcd", toolchain.tool("etcd"), store)
        server: dict[str, object] = {
            "etcd-servers": etcd,
            "service-account-key-file": self.folder / "service-accounts.pem",
            "service-account-signing-key-file": self.folder / "service-accounts.pem",
            "service-account-issuer": "https://kubernetes.default.svc",
            "token-auth-file": self.folder / "tokens.csv",
            "authorization-mode": "RBAC",
            "bind-address": "127.0.0.1",
            "advertise-address": "127.0.0.1",
            "secure-port": self._port,
            "cert-dir": self.folder / "certificates",
            "service-cluster-ip-range": "10.96.0.0/16",
            "endpoint-reconciler-type": "none",
        }
        self._start("kube-apiserver", self._api_server, server)
        return self.connect()

    def _start(self, name: str, program: Path, options: dict[str, object]) -> None:
        arguments = (f"--{option}={value}" for option, value in options.items())
        self._processes.start(name, [program, *arguments], self.environment())

    def connect(self) -> ApiClient:
        """Wait until the API server is ready, and return a client."""
        end = time.monotonic() + HANG_S
        while time.monotonic() < end:
            if dead := self._processes.dead():
                log = self._processes.log(dead[0]).read_text("utf-8", "replace")
                raise UsageError(f"{dead[0]} exited unexpectedly:\n{log[-2000:]}")
            try:
                client = ApiClient(self.url, self._token, self._trust())
                client.raw("readyz")
            except (OSError, ApiError, *UNREACHABLE):
                time.sleep(LOOK_S)
            else:
                return client
        raise UsageError(f"the API server did not become ready within {HANG_S:.0f} s")

    def _trust(self) -> ssl.SSLContext:
        # The server makes its own certificate, which fails the strict check of Python 3.13.
        certificate = self.folder / "certificates" / "apiserver.crt"
        context = ssl.create_default_context(cafile=str(certificate))
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context

    def start_controllers(self) -> None:
        """Start the controllers and the scheduler, of CONTROLLERS_VERSION."""
        shared: dict[str, object] = {
            "kubeconfig": self.kubeconfig,
            "leader-elect": "false",
            "secure-port": 0,
            # With the default limits of clients, they are slower than the API server.
            "kube-api-qps": 200,
            "kube-api-burst": 400,
        }
        manager: dict[str, object] = {
            "service-account-private-key-file": self.folder / "service-accounts.pem",
            "node-monitor-grace-period": f"{GONE_S}s",
            "node-monitor-period": "2s",
            # By default, an autoscaler ignores the metrics of a new pod for minutes.
            "horizontal-pod-autoscaler-sync-period": "2s",
            "horizontal-pod-autoscaler-cpu-initialization-period": "1s",
            "horizontal-pod-autoscaler-initial-readiness-delay": "1s",
        }
        for name, more in (("kube-controller-manager", manager), ("kube-scheduler", {})):
            self._start(name, toolchain.tool(f"{name}-{CONTROLLERS_VERSION}"), {**shared, **more})

    def environment(self) -> dict[str, str]:
        """Return the environment of the programs: little of this machine's own."""
        kept = ("PATH", "LANG")
        return {
            **{name: os.environ[name] for name in kept if name in os.environ},
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            "KUBECONFIG": str(self.kubeconfig),
            # They are short-lived: less garbage collection, for more memory.
            "GOGC": "400",
        }

    def kubectl(
        self, *arguments: str | Path, given: str = "", timeout_s: float = HANG_S
    ) -> tuple[int, str, str]:
        """Run kubectl, and return its exit code, output and errors (which include its warnings)."""
        program = toolchain.tool(f"kubectl-{CONTROLLERS_VERSION}")
        command: Sequence[str | Path] = [program, *arguments]
        done = programs.run(
            command,
            "kubectl",
            timeout_s,
            cwd=self.folder,
            environment=self.environment(),
            given=given,
        )
        return done.returncode, done.stdout, done.stderr

    def apply(self, objects: Sequence[Object], *files: Path, dry_run: bool = False) -> str:
        """Apply objects and files (or folders of them) server-side; return kubectl's warnings.

        dry_run: the API server checks them, but does not store them. Raises ApiError if it rejects
        one.
        """
        command = ["apply", "--server-side", *(["--dry-run=server"] if dry_run else [])]
        command += [f"--filename={file}" for file in (*files, *(["-"] if objects else []))]
        code, _, errors = self.kubectl(*command, given=yaml.safe_dump_all(objects))
        if code:
            raise ApiError(code, errors)
        return errors


def _private(file: Path, text: str) -> None:
    """Write a file that only this user can read."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(text)


def _key() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    return (
        rsa.generate_private_key(65537, 2048)
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        .decode()
    )


def _kubeconfig(url: str, token: str, certificate: Path) -> str:
    cluster = {"server": url, "certificate-authority": str(certificate)}
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "linea",
            "clusters": [{"name": "linea", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": token}}],
            "contexts": [{"name": "linea", "context": {"cluster": "linea", "user": "admin"}}],
        }
    )
