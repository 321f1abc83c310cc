"""Every pod obeys the Pod Security Standard "restricted", and writes only where a volume is.

The rules are those of https://kubernetes.io/docs/concepts/security/pod-security-standards/, field
by field.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import helm
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

VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
}
SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
SECCOMP = ("RuntimeDefault", "Localhost")

WRITTEN = ("HOME", "TARGET_DIR", "WORK_DIR")
"""Variables that name a folder into which the container writes."""


def wrong(template: dict[str, Any]) -> Iterator[str]:
    """Yield the fields of a pod that the standard refuses."""
    annotations = template.get("metadata", {}).get("annotations") or {}
    for key, value in annotations.items():
        allowed = value in ("", "runtime/default") or str(value).startswith("localhost/")
        if key.startswith(APPARMOR) and not allowed:
            yield "apparmor annotation"
    spec = template["spec"]
    yield from (field for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field))
    for volume in spec.get("volumes", []):
        yield from (f"volumes.{kind}" for kind in volume.keys() - {"name"} - VOLUMES)
    whole = spec.get("securityContext", {})
    if {sysctl["name"] for sysctl in whole.get("sysctls", [])} - SYSCTLS:
        yield "sysctls"
    yield from wrong_context(whole)
    for container in [*containers(template), *spec.get("ephemeralContainers", [])]:
        own = container.get("securityContext", {})
        yield from wrong_context(own)
        if any(port.get("hostPort") for port in container.get("ports", [])):
            yield "hostPort"
        for handler in handlers(container):
            if any(handler.get(kind, {}).get("host") for kind in ("httpGet", "tcpSocket")):
                yield "host of a probe or hook"
        if own.get("privileged"):
            yield "privileged"
        if own.get("procMount") not in (None, "Default"):
            yield "procMount"
        if own.get("allowPrivilegeEscalation") is not False:
            yield "allowPrivilegeEscalation"
        capabilities = own.get("capabilities", {})
        if "ALL" not in capabilities.get("drop", []):
            yield "capabilities.drop"
        if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
            yield "capabilities.add"
        both = whole | own
        if both.get("runAsNonRoot") is not True:
            yield "runAsNonRoot"
        if both.get("seccompProfile", {}).get("type") not in SECCOMP:
            yield "seccompProfile"
        # Beyond the standard: told which user, and nothing of the image can be changed.
        if not isinstance(both.get("runAsUser"), int) or not both.get("runAsGroup"):
            yield "no user or group"
        if own.get("readOnlyRootFilesystem") is not True:
            yield "readOnlyRootFilesystem"
        for path in written(container):
            if not is_writable(path, container, spec):
                yield f"{path} can't be written"


def wrong_context(context: dict[str, Any]) -> Iterator[str]:
    """Yield what neither a pod's nor a container's security context may say."""
    if context.get("runAsUser") == 0:
        yield "runAsUser"
    if context.get("runAsNonRoot") is False:
        yield "runAsNonRoot"
    if context.get("seccompProfile", {}).get("type", "RuntimeDefault") not in SECCOMP:
        yield "seccompProfile"
    profile = context.get("appArmorProfile", {}).get("type", "RuntimeDefault")
    if profile not in SECCOMP:
        yield "appArmorProfile"
    if context.get("windowsOptions", {}).get("hostProcess"):
        yield "hostProcess"
    selinux = context.get("seLinuxOptions", {})
    if selinux.get("type", "") not in SELINUX_TYPES or selinux.get("user") or selinux.get("role"):
        yield "seLinuxOptions"


def handlers(container: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        yield container.get(probe, {})
    yield from container.get("lifecycle", {}).values()


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
    ("apparmor annotation", ("metadata", "annotations", f"{APPARMOR}besu"), "unconfined"),
    ("hostNetwork", ("spec", "hostNetwork"), True),
    ("hostPID", ("spec", "hostPID"), True),
    ("hostIPC", ("spec", "hostIPC"), True),
    ("volumes.hostPath", ("spec", "volumes", 0, "hostPath"), {"path": "/"}),
    ("sysctls", ("spec", "securityContext", "sysctls"), [{"name": "kernel.msgmax", "value": "1"}]),
    ("runAsUser", ("spec", "securityContext", "runAsUser"), 0),
    ("runAsNonRoot", ("spec", "securityContext", "runAsNonRoot"), None),
    ("seccompProfile", ("spec", "securityContext", "seccompProfile"), {"type": "Unconfined"}),
    ("seccompProfile", ("spec", "securityContext", "seccompProfile"), {}),
    ("appArmorProfile", ("spec", "securityContext", "appArmorProfile"), {"type": "Unconfined"}),
    ("hostProcess", ("spec", "securityContext", "windowsOptions"), {"hostProcess": True}),
    ("seLinuxOptions", ("spec", "securityContext", "seLinuxOptions"), {"type": "spc_t"}),
    ("no user or group", ("spec", "securityContext", "runAsUser"), None),
    ("/tmp can't be written", ("spec", "containers", 0, "volumeMounts"), []),
]
"""What is told of a pod, the field of it, and what breaks it."""

BROKEN_CONTAINER: list[tuple[str, tuple[str, ...], Any]] = [
    ("hostPort", ("ports",), [{"containerPort": 1, "hostPort": 1}]),
    ("host of a probe or hook", ("livenessProbe",), {"httpGet": {"host": "192.0.2.1", "port": 1}}),
    ("privileged", ("securityContext", "privileged"), True),
    ("procMount", ("securityContext", "procMount"), "Unmasked"),
    ("allowPrivilegeEscalation", ("securityContext", "allowPrivilegeEscalation"), None),
    ("capabilities.drop", ("securityContext", "capabilities"), {"drop": ["NET_RAW"]}),
    ("capabilities.add", ("securityContext", "capabilities", "add"), ["SYS_ADMIN"]),
    ("runAsUser", ("securityContext", "runAsUser"), 0),
    ("runAsNonRoot", ("securityContext", "runAsNonRoot"), False),
    ("seccompProfile", ("securityContext", "seccompProfile"), {"type": "Unconfined"}),
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
