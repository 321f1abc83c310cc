"""Every pod obeys the Pod Security Standard "restricted", and writes only where a volume is.

The rules are the product's, by https://kubernetes.io/docs/concepts/security/pod-security-standards/;
each of its fields is tried here, in a container and an init container.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.kubernetes.manifest import Manifest
from scripts.rendering import helm
from scripts.rules.access import pod_security
from scripts.rules.snapshot import Objects
from tests.objects import (
    CHART,
    ENVIRONMENTS,
    FULL,
    SETS,
    containers,
    of_environment,
    of_values,
    pods,
)

RULES = (
    pod_security.pod_uses_host_namespaces,
    pod_security.privileged_container,
    pod_security.container_runs_as_root,
    pod_security.writable_root_filesystem,
)
HOLDERS = {"containers", "initContainers", "securityContext", "spec"}
APPARMOR = "container.apparmor.security.beta.kubernetes.io/"

WRITTEN = ("HOME", "TARGET_DIR", "WORK_DIR")
"""Variables that name a folder into which the container writes."""


OF_PEOPLE = ("prepare", "shipper")
"""Containers that the values of FULL bring: people give them the volumes that they need."""


def wrong(template: dict[str, Any]) -> Iterator[str]:
    """Yield the fields of a pod that the rules refuse, and folders that it can't write into."""
    pod = Manifest({"kind": "Pod", **template}, "")
    alone = Objects(
        name="test",
        namespace="test",
        kubernetes_version="1.34",
        zones=(),
        is_production=False,
        manifests=(pod,),
        project=Manifest({}, ""),
        application=Manifest({}, ""),
    )
    for found in RULES:
        for _, problem in found.check([alone]):
            yield ".".join(p for p in problem.path if isinstance(p, str) and p not in HOLDERS)
    for container in containers(template):
        if container["name"] in OF_PEOPLE:
            continue
        for path in written(container):
            if not is_writable(path, container, template["spec"]):
                yield f"{path} can't be written"


def written(container: dict[str, Any]) -> set[str]:
    """Return the folders that the container writes into, as far as its own words tell."""
    variables = {one["name"]: one.get("value", "") for one in container.get("env", [])}
    found = {variables[name] for name in WRITTEN if name in variables}
    # Java unpacks its native libraries there, and shells keep here-documents there.
    return found if "SECRET_FILE" in variables else {"/tmp", *found}


def is_writable(path: str, container: dict[str, Any], spec: dict[str, Any]) -> bool:
    volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
    for mount in container.get("volumeMounts", []):
        # What is no volume of the pod is a claim of its StatefulSet.
        volume = volumes.get(mount["name"], {"persistentVolumeClaim": {}})
        writable = {"emptyDir", "ephemeral", "persistentVolumeClaim"} & volume.keys()
        within = Path(path).is_relative_to(mount["mountPath"])
        if within and writable and not mount.get("readOnly"):
            return True
    return False


def helm_test_pod(values: Path | None) -> dict[str, Any] | None:
    """Return the pod that `helm test` runs."""
    given = yaml.safe_load(values.read_text("utf-8")) or {} if values else {}
    for text in helm.command(CHART, given, "linea", "1.34").values():
        for found in yaml.safe_load_all(text):
            if found and found["kind"] == "Pod":
                return dict(found)
    return None


@lru_cache
def fullest() -> dict[str, dict[str, Any]]:
    return {workload.label: template for workload, template in pods(of_values(FULL))}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_pod_of_an_environment_is_restricted(name: str) -> None:
    found = list(pods(of_environment(name)[1]))
    assert len(found) >= 5
    for workload, template in found:
        assert list(wrong(template)) == [], workload.label


@pytest.mark.parametrize("values", SETS, ids=lambda path: path.stem if path else "defaults")
def test_every_pod_of_the_chart_is_restricted(values: Path | None) -> None:
    for workload, template in pods(of_values(values)):
        assert list(wrong(template)) == [], workload.label


@pytest.mark.parametrize("values", [None, FULL], ids=["defaults", "full"])
def test_the_pod_that_helm_test_runs_is_restricted(values: Path | None) -> None:
    pod = helm_test_pod(values)
    assert pod
    assert list(wrong(pod)) == []


def test_the_fullest_values_have_every_kind_of_container() -> None:
    assert any(label.startswith("CronJob/") for label in fullest())
    init = [
        c for template in fullest().values() for c in template["spec"].get("initContainers", [])
    ]
    assert {container["name"] for container in init} >= {"engine-secret", "restore"}


BROKEN: list[tuple[str, tuple[str | int, ...], Any]] = [
    (
        f"metadata.annotations.{APPARMOR}besu",
        ("metadata", "annotations", f"{APPARMOR}besu"),
        "unconfined",
    ),
    ("hostNetwork", ("spec", "hostNetwork"), True),
    ("hostPID", ("spec", "hostPID"), True),
    ("hostIPC", ("spec", "hostIPC"), True),
    ("volumes.hostPath", ("spec", "volumes", 0, "hostPath"), {"path": "/"}),
    ("sysctls", ("spec", "securityContext", "sysctls"), [{"name": "kernel.msgmax", "value": "1"}]),
    ("runAsUser", ("spec", "securityContext", "runAsUser"), 0),
    ("runAsNonRoot", ("spec", "securityContext", "runAsNonRoot"), None),
    ("seccompProfile.type", ("spec", "securityContext", "seccompProfile"), {"type": "Unconfined"}),
    ("seccompProfile", ("spec", "securityContext", "seccompProfile"), {}),
    (
        "appArmorProfile.type",
        ("spec", "securityContext", "appArmorProfile"),
        {"type": "Unconfined"},
    ),
    (
        "windowsOptions.hostProcess",
        ("spec", "securityContext", "windowsOptions"),
        {"hostProcess": True},
    ),
    ("seLinuxOptions.type", ("spec", "securityContext", "seLinuxOptions"), {"type": "spc_t"}),
    ("runAsUser", ("spec", "securityContext", "runAsUser"), None),
    ("/tmp can't be written", ("spec", "containers", 0, "volumeMounts"), []),
]
"""What is told of a pod, the field of it, and what breaks it."""

BROKEN_CONTAINER: list[tuple[str, tuple[str, ...], Any]] = [
    ("ports.hostPort", ("ports",), [{"containerPort": 1, "hostPort": 1}]),
    (
        "livenessProbe.httpGet.host",
        ("livenessProbe",),
        {"httpGet": {"host": "192.0.2.1", "port": 1}},
    ),
    ("privileged", ("securityContext", "privileged"), True),
    ("procMount", ("securityContext", "procMount"), "Unmasked"),
    ("allowPrivilegeEscalation", ("securityContext", "allowPrivilegeEscalation"), None),
    ("capabilities.drop", ("securityContext", "capabilities"), {"drop": ["NET_RAW"]}),
    ("capabilities.add", ("securityContext", "capabilities", "add"), ["SYS_ADMIN"]),
    ("runAsUser", ("securityContext", "runAsUser"), 0),
    ("runAsNonRoot", ("securityContext", "runAsNonRoot"), False),
    ("seccompProfile.type", ("securityContext", "seccompProfile"), {"type": "Unconfined"}),
    ("readOnlyRootFilesystem", ("securityContext", "readOnlyRootFilesystem"), False),
]


def broken(path: tuple[str | int, ...], value: Any) -> list[str]:
    """Return what is wrong in Besu's pod once the value stands at the path."""
    template: Any = copy.deepcopy(fullest()["StatefulSet/linea-stack-besu"])
    found = template
    for part in path[:-1]:
        found = found[part]
    found[path[-1]] = value
    return list(wrong(template))


@pytest.mark.parametrize(("told", "path", "value"), BROKEN)
def test_a_pod_that_is_not_restricted_is_found(
    told: str, path: tuple[str | int, ...], value: Any
) -> None:
    assert told in broken(path, value)


@pytest.mark.parametrize("kind", ["initContainers", "containers"])
@pytest.mark.parametrize(("told", "path", "value"), BROKEN_CONTAINER)
def test_a_container_that_is_not_restricted_is_found(
    told: str, path: tuple[str, ...], value: Any, kind: str
) -> None:
    assert told in broken(("spec", kind, 0, *path), value)
