"""A whole cluster for a repository: its zones, its storage classes, Argo CD, and a git remote."""

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
from scripts.cluster.api_client import Api, Object
from scripts.cluster.control_plane import CONTROLLERS_VERSION, ControlPlane
from scripts.cluster.git_remote import Remote
from scripts.cluster.nodes import Machines, is_ready
from scripts.cluster.processes import Processes
from scripts.core import toolchain
from scripts.core.findings import UsageError
from scripts.environments import environment, layout
from scripts.kubernetes import quantity

NO_ZONES = ("zone-a", "zone-b")
"""The zones of a repository whose environments name none."""
USUAL_NODE = {"cpu": "4", "memory": "16Gi"}
"""Of an environment that says nothing of its nodes."""
MORE_OF_A_NODE = {"ephemeral-storage": "100Gi", "pods": "110"}
PREFIX, LOCK = "linea-cluster-", "lock"

OTHER_PROGRAMS = ("argocd", "etcd", "kwok", "redis-server")


def versions() -> list[str]:
    """Return the minor versions of the API servers that tools/ pins, like 1.34."""
    begin = "kube-apiserver-"
    return [name.removeprefix(begin) for name in toolchain.names() if name.startswith(begin)]


def needed_tools(version: str = "") -> list[str]:
    """Return what a cluster needs of tools/; version: of its API server, or all that there are."""
    kubernetes = [
        name
        for name in toolchain.names()
        if name.endswith(f"-{CONTROLLERS_VERSION}") or name.startswith(f"kube-apiserver-{version}")
    ]
    return [*OTHER_PROGRAMS, *kubernetes]


HERE = "https://kubernetes.default.svc"
"""What Argo CD calls the cluster that it runs in."""


class Cluster:
    """A running cluster in a temporary folder; nothing of it is left at the end of its `with`."""

    api: Api
    machines: Machines
    stand_ins: stand_ins.StandIns

    def __init__(
        self,
        repository: Path,
        version: str = CONTROLLERS_VERSION,
        *,
        with_argo_cd: bool = True,
        looks_every_s: int = argocd.LOOKS_EVERY_S,
    ) -> None:
        """Prepare it; nothing runs yet.

        version: the API server's. with_argo_cd: without it, manifests are applied by whoever
        wants to. looks_every_s: how often Argo CD looks for a new commit that nobody tells it of.
        Raises UsageError where a program can't be had.
        """
        if version not in versions():
            there = f"there are {' and '.join(versions())}"
            raise UsageError(f"no API server of Kubernetes {version} is pinned: {there}")
        missing = [name for name in needed_tools(version) if not toolchain.is_there(name)]
        if missing:
            toolchain.build(missing)
        self.folder, self._with_argo_cd = _own_folder(), with_argo_cd
        self._looks_every_s = looks_every_s
        self.processes, self.repository = Processes(self.folder), repository
        try:
            found = [environment.load(repository, n) for n in layout.environments(repository, [])]
            self.environments = [each for each in found if each.cluster.get("server") == HERE]
            self.elsewhere = [each for each in found if each.cluster.get("server") != HERE]
            """Those of other clusters, which the Argo CD of this one can't reach."""
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
        """Start all of it, without Argo CD's root."""
        self.api = self.plane.start()
        self.plane.start_controllers()
        self.machines = Machines(self.plane, self.processes, self.api)
        self.machines.start(self.zones, self._node())
        self.plane.apply([_pod_metrics(), *self._given()], *self._definitions())
        self.api.until("CustomResourceDefinition", _all_established, "CRDs")
        self.stand_ins = stand_ins.StandIns(self.api)
        self.stand_ins.start()
        if self._with_argo_cd:
            argocd.ArgoCD(self.plane, self.processes, self.folder, self._looks_every_s).start()
        self.api.until("Node", _all_ready, "ready nodes")

    def close(self) -> None:
        """End everything, and remove the folder."""
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
        """Apply the root of the checkout, the one thing that people apply."""
        self.plane.apply([], self.remote.checkout / "argocd" / "root.yaml")

    def _node(self) -> dict[str, str]:
        """Return what a node has: what one of every environment's would have, as all share them."""
        total: Counter[str] = Counter()
        for each in self.environments:
            for resource, amount in {**USUAL_NODE, **each.node}.items():
                total[resource] += math.ceil(quantity.parse(amount) or 0)
        return {**MORE_OF_A_NODE, **{name: str(amount) for name, amount in total.items()}}

    def _definitions(self) -> list[Path]:
        """Return the definitions of the custom resources that the projects allow, and of theirs."""
        kinds = {"AppProject", "Application"}
        for file in (self.repository / "argocd" / "projects").glob("*.yaml"):
            allowed = yaml.safe_load(file.read_text("utf-8"))["spec"]["namespaceResourceWhitelist"]
            kinds |= {each["kind"] for each in allowed}
        return [file for kind, file in api_schemas.definitions().items() if kind in kinds]

    def _given(self) -> list[Object]:
        """Return what the environments say that their cluster has."""
        classes: dict[str, Object] = {"standard": _storage_class("standard", default=True)}
        ingresses: dict[str, Object] = {}
        for each in self.environments:
            for name in each.given.get("StorageClass", ()):
                classes[name] = _storage_class(name)
            for name in each.given.get("IngressClass", ()):
                ingresses[name] = _ingress_class(name)
        return [*classes.values(), *ingresses.values()]


def _own_folder() -> Path:
    """Return a new temporary folder, after removing those whose process was killed."""
    for other in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            with (other / LOCK).open() as held:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # it lives, or is somebody else's
            continue
        shutil.rmtree(other, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    new = folder / f"{LOCK}.new"
    lock = os.open(new, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # until this process ends
    # Only now: whoever finds it unlocked removes the folder.
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
    """Return a definition that lets the API server itself keep what metrics-server would tell."""
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
    found: Iterable[Any] = each.get("status", {}).get("conditions") or []
    return any(one["type"] == condition and one["status"] == "True" for one in found)
