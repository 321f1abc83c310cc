"""Run a real Argo CD as processes: its controller, repository server and cache, without its UI.

These are the parts of manifests/install.yaml that sync. They run beside the cluster, not in it. The
API server, which the command argocd asks, runs only on request.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from scripts.cluster.api_client import Object
from scripts.cluster.control_plane import ControlPlane
from scripts.cluster.processes import Processes, free_ports
from scripts.core import toolchain

NAMESPACE = "argocd"
CONTROLLER, REPOSITORIES, CACHE = "argocd-application-controller", "argocd-repo-server", "redis"
API = "argocd-server"

LOOKS_EVERY_S = 3
"""How often Argo CD polls the repository for a new commit; its own default is 120, or a webhook."""

LATE_S = 600
"""Time-out of the requests between its parts; their own defaults, 10 to 90, are too short on a busy
machine."""


class ArgoCD:
    """The processes of one Argo CD."""

    def __init__(
        self, plane: ControlPlane, processes: Processes, folder: Path, looks_every_s: int
    ) -> None:
        self._plane, self._processes, self._folder = plane, processes, folder
        self._looks_every_s = looks_every_s
        self._cache, self._repositories = free_ports(2)

    def start(self) -> None:
        """Start it; the cluster must have its CustomResourceDefinitions."""
        self._plane.apply(
            [{"apiVersion": "v1", "kind": "Namespace", "metadata": _named(NAMESPACE)}]
        )
        self._plane.apply(_settings())
        metrics, more_metrics = free_ports(2)
        self._processes.start(
            CACHE,
            [toolchain.tool("redis-server"), f"127.0.0.1:{self._cache}"],
            self._environment(),
        )
        self._start(
            REPOSITORIES,
            {
                "address": "127.0.0.1",
                "port": self._repositories,
                "metrics-address": "127.0.0.1",
                "metrics-port": metrics,
                "revision-cache-expiration": f"{self._looks_every_s}s",
            },
        )
        self._start(
            CONTROLLER,
            {
                "kubeconfig": self._plane.kubeconfig,
                "namespace": NAMESPACE,
                "repo-server": f"127.0.0.1:{self._repositories}",
                "metrics-port": more_metrics,
                "app-resync": self._looks_every_s,
                "app-resync-jitter": 0,
                "repo-server-timeout-seconds": LATE_S,
            },
        )

    def start_api(self) -> str:
        """Start the API server, and return its address, like 127.0.0.1:8080."""
        port, metrics = free_ports(2)
        self._start(
            API,
            {
                "kubeconfig": self._plane.kubeconfig,
                "namespace": NAMESPACE,
                "address": "127.0.0.1",
                "port": port,
                "metrics-address": "127.0.0.1",
                "metrics-port": metrics,
                "repo-server": f"127.0.0.1:{self._repositories}",
                "repo-server-timeout-seconds": LATE_S,
            },
        )
        return f"127.0.0.1:{port}"

    def _start(self, name: str, options: dict[str, object]) -> None:
        """Start a part of Argo CD: all are one program, which has several names."""
        shared = {"redis": f"127.0.0.1:{self._cache}", "loglevel": "warn"}
        arguments = (f"--{option}={value}" for option, value in {**options, **shared}.items())
        role = {**self._environment(), "ARGOCD_BINARY_NAME": name}
        self._processes.start(name, [toolchain.tool("argocd"), *arguments], role)

    def _environment(self) -> dict[str, str]:
        data = {}
        for name in ("TLS", "SSH", "GPG"):
            folder = self._folder / f"argocd-{name.lower()}"
            folder.mkdir(exist_ok=True)
            data[f"ARGOCD_{name}_DATA_PATH"] = str(folder)
        # Argo CD's image has this program on PATH; commits here have no signatures.
        programs = self._folder / "bin"
        programs.mkdir(exist_ok=True)
        verifier = programs / "git-verify-wrapper.sh"
        verifier.write_text("#!/bin/sh\nexit 0\n", "utf-8")
        verifier.chmod(0o755)
        inherited = self._plane.environment()
        return {
            **inherited,
            **data,
            "PATH": f"{programs}:{inherited['PATH']}",
            "ARGOCD_FAKE_IN_CLUSTER": "true",
            "ARGOCD_GPG_ENABLED": "false",
            "ARGOCD_EXEC_TIMEOUT": f"{LATE_S}s",
            "ARGOCD_K8S_TCP_TIMEOUT": f"{LATE_S}s",
            "ARGOCD_K8S_TLS_HANDSHAKE_TIMEOUT": f"{LATE_S}s",
            # In its own folder, not in /tmp, which is shared.
            "ARGOCD_ASK_PASS_SOCK": "ask-pass.sock",
            "HOSTNAME": f"{CONTROLLER}-0",
            # The git settings of this machine must not change the result.
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_NOSYSTEM": "1",
        }


def _settings() -> list[Object]:
    """Return the ConfigMaps and the Secret of manifests/install.yaml."""
    maps: dict[str, dict[str, str]] = {
        "argocd-cm": {},
        "argocd-cmd-params-cm": {},
        "argocd-gpg-keys-cm": {},
        "argocd-rbac-cm": {},
        "argocd-ssh-known-hosts-cm": {},
        "argocd-tls-certs-cm": {},
    }
    config_maps: list[Object] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _named(name), "data": data}
        for name, data in maps.items()
    ]
    key = {"server.secretkey": secrets.token_hex(32)}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": _named("argocd-secret")}
    return [*config_maps, {**secret, "stringData": key}]


def _named(name: str) -> Object:
    metadata: Object = {"name": name}
    if name != NAMESPACE:
        metadata |= {"namespace": NAMESPACE, "labels": {"app.kubernetes.io/part-of": "argocd"}}
    return metadata
