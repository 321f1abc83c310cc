"""Run a whole cluster for a repository: zones, storage classes, Argo CD, and a git remote."""

from __future__ import annotations

import fcntl
import math
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from scripts.checks import api_schemas
from scripts.cluster import argocd, stand_ins
from scripts.cluster.api_client import ApiClient, Object
from scripts.cluster.control_plane import CONTROLLERS_VERSION, ControlPlane
from scripts.cluster.git_remote import Remote
from scripts.cluster.nodes import Nodes, is_ready
from scripts.cluster.processes import Processes
from scripts.core import toolchain
from scripts.core.findings import UsageError
from scripts.environments import custom_kinds, environment, layout
from scripts.kubernetes import quantity

NO_ZONES = ("zone-a", "zone-b")
"""The zones if no environment names one."""
USUAL_NODE = {"cpu": "4", "memory": "16Gi"}
"""The size of a node for an environment without `node` values."""
MORE_OF_A_NODE = {"ephemeral-storage": "100Gi", "pods": "110"}
PREFIX, LOCK = "linea-cluster-", "lock"

OTHER_PROGRAMS = ("argocd", "etcd", "kwok", "redis-server")


def versions() -> list[str]:
    """Return the minor versions of the API servers that tools/ pins, like 1.34."""
    prefix = "kube-apiserver-"
    return [name.removeprefix(prefix) for name in toolchain.names() if name.startswith(prefix)]


def needed_tools(version: str = "") -> list[str]:
    """Return the tools that a cluster needs; version: of its API server; all versions, if empty."""
    kubernetes = [
        name
        for name in toolchain.names()
        if name.startswith(f"kube-apiserver-{version}")
        or (name.startswith("kube") and name.endswith(f"-{CONTROLLERS_VERSION}"))
    ]
    return [*OTHER_PROGRAMS, *kubernetes]


HERE = "https://kubernetes.default.svc"
"""The address that Argo CD uses for the cluster that it runs in."""


class Cluster:
    """A running cluster in a temporary folder; at the end of its `with`, nothing is left of it."""

    api: ApiClient
    nodes: Nodes
    stand_ins: stand_ins.StandIns
    argo_cd: argocd.ArgoCD

    def __init__(
        self,
        repository: Path,
        version: str = CONTROLLERS_VERSION,
        *,
        with_argo_cd: bool = True,
        looks_every_s: int = argocd.LOOKS_EVERY_S,
    ) -> None:
        """Prepare it; nothing runs yet.

        version: of the API server. with_argo_cd: without it, nothing applies manifests by itself.
        looks_every_s: how often Argo CD polls for new commits. Raises UsageError if a program is
        not available.
        """
        if version not in versions():
            raise UsageError(
                f"no API server of Kubernetes {version} is pinned in tools/: choose"
                f" {' or '.join(versions())}"
            )
        missing = [name for name in needed_tools(version) if not toolchain.is_there(name)]
        if missing:
            toolchain.build(missing)
        self.folder, self._with_argo_cd = _own_folder(), with_argo_cd
        self._looks_every_s = looks_every_s
        self.processes, self.repository = Processes(self.folder), repository
        try:
            loaded = [environment.load(repository, n) for n in layout.environments(repository, [])]
            self.environments = [each for each in loaded if each.cluster.get("server") == HERE]
            self.elsewhere = [each for each in loaded if each.cluster.get("server") != HERE]
            """Environments on other clusters, which the Argo CD of this one cannot reach."""
            self.remote = Remote(self.folder, repository)
            self.plane = ControlPlane(self.processes, self.folder, version)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start everything, but do not apply the root Application."""
        self.api = self.plane.start()
        self.plane.start_controllers()
        self.nodes = Nodes(self.plane, self.processes, self.api)
        self.nodes.start(self.zones, self._node())
        self.plane.apply([_pod_metrics(), *self._provided()], *self._definitions())
        self.api.until("CustomResourceDefinition", _all_established, "CRDs")
        self.stand_ins = stand_ins.StandIns(self.api)
        self.stand_ins.start()
        if self._with_argo_cd:
            self.argo_cd = argocd.ArgoCD(
                self.plane, self.processes, self.folder, self._looks_every_s
            )
            self.argo_cd.start()
        self.api.until("Node", _all_ready, "ready nodes")

    def close(self) -> None:
        """Stop everything, and remove the folder."""
        if hasattr(self, "stand_ins"):
            self.stand_ins.close()
        self.processes.close()
        if hasattr(self, "api"):
            self.api.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def zones(self) -> list[str]:
        """The zones of all environments, sorted."""
        named = {zone for each in self.environments for zone in each.zones}
        return sorted(named or NO_ZONES)

    def sync(self) -> None:
        """Apply the root Application of the checkout, the only object that people apply."""
        self.plane.apply([], self.remote.checkout / "argocd" / "root.yaml")

    def _node(self) -> dict[str, str]:
        """Return the size of a node: the sum over all environments, because they share nodes."""
        total: Counter[str] = Counter()
        for each in self.environments:
            for resource, amount in {**USUAL_NODE, **each.node}.items():
                total[resource] += math.ceil(quantity.parse(amount) or 0)
        return {**MORE_OF_A_NODE, **{name: str(amount) for name, amount in total.items()}}

    def _definitions(self) -> list[Path]:
        """Return the definitions of Argo CD's kinds, and of the kinds that the projects allow."""
        kinds = {"AppProject", "Application"}
        for file in (self.repository / "argocd" / "projects").glob("*.yaml"):
            allowed = yaml.safe_load(file.read_text("utf-8"))["spec"]["namespaceResourceWhitelist"]
            kinds |= {each["kind"] for each in allowed}
        own = custom_kinds.load(self.repository)
        kinds -= {each.kind for each in own}
        pinned = [file for kind, file in api_schemas.definitions().items() if kind in kinds]
        return [*pinned, *sorted({self.repository / each.file for each in own})]

    def _provided(self) -> list[Object]:
        """Return the classes that the environments expect their cluster to provide."""
        classes: dict[str, Object] = {"standard": _storage_class("standard", default=True)}
        ingresses: dict[str, Object] = {}
        for each in self.environments:
            for name in each.given.get("StorageClass", ()):
                classes[name] = _storage_class(name)
            for name in each.given.get("IngressClass", ()):
                ingresses[name] = _ingress_class(name)
        return [*classes.values(), *ingresses.values()]


def _own_folder() -> Path:
    """Return a new temporary folder, and remove the folders of killed processes."""
    for other in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            with (other / LOCK).open() as held:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # its process lives, or it belongs to another user
            continue
        shutil.rmtree(other, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    new = folder / f"{LOCK}.new"
    lock = os.open(new, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # held until this process ends
    # Only now: other processes remove a folder whose lock is free.
    new.rename(folder / LOCK)
    return folder


def _storage_class(name: str, default: bool = False) -> Object:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name, "annotations": annotations},
        "provisioner": stand_ins.PROVISIONER,
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": True,
    }


def _ingress_class(name: str) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": name},
        "spec": {"controller": "ingress.k8s.aws/alb"},
    }


def _pod_metrics() -> Object:
    """Return a definition by which the API server itself stores what metrics-server would serve."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "pods.metrics.k8s.io",
            "annotations": {"api-approved.kubernetes.io": "unapproved, a stand-in"},
        },
        "spec": {
            "group": "metrics.k8s.io",
            "scope": "Namespaced",
            "names": {"plural": "pods", "singular": "pod", "kind": "PodMetrics"},
            "versions": [
                {
                    "name": "v1beta1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def _all_established(definitions: dict[str, Object]) -> bool:
    return all(_holds(each, "Established") for each in definitions.values())


def _all_ready(nodes: dict[str, Object]) -> bool:
    return bool(nodes) and all(map(is_ready, nodes.values()))


def _holds(each: Object, condition: str) -> bool:
    conditions: Iterable[Any] = each.get("status", {}).get("conditions") or []
    return any(it["type"] == condition and it["status"] == "True" for it in conditions)
