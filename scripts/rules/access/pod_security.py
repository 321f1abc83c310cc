"""Pod security: the pods have no access to their node and run only trusted images."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from scripts.core import advice, paths
from scripts.core.findings import Severity
from scripts.environments import image_lock
from scripts.kubernetes import containers, volumes
from scripts.kubernetes.containers import HANDLERS, Container
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.workloads import Workload, mappings
from scripts.rules.pod_templates import called, contexts, in_container, in_pod
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_STANDARD = "https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"
_RESTRICTED = 'the Pod Security Standard "restricted" of the namespace rejects the pod'


_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_SYSCTLS = {
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
_SELINUX_TYPES = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_PROFILES = ("RuntimeDefault", "Localhost")
_OF_THE_NODE = {"hostNetwork": "network", "hostPID": "processes", "hostIPC": "shared memory"}


@rule("https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline")
def pod_uses_host_namespaces(objects: Objects) -> Iterator[Problem]:
    """Pods do not use the network, processes, memory, files or ports of their node.

    Otherwise Pod Security admission rejects the pods, so the workload has none. In a namespace
    without it, an attacker in one pod controls the node and all other pods on it.
    """
    for workload in objects.makers:
        for field, what in _OF_THE_NODE.items():
            if workload.pod_spec.get(field):
                message = (
                    f"{field} gives the pods access to the {what} of their node: {_RESTRICTED}"
                )
                yield in_pod(workload, (field,), message, advice.remove(field))
        for path, volume in workload.volumes():
            for kind in sorted(volume.keys() - {"name"} - _VOLUMES):
                what = ", a folder of the node" if kind == "hostPath" else ""
                message = f"the volume {volume.get('name')} is of type {kind}{what}: {_RESTRICTED}"
                fix = f"replace {kind} by emptyDir: {{}} if the files are temporary, otherwise by a"
                fix += " persistentVolumeClaim"
                yield Problem(workload.manifest, (*path, kind), message, fix)
        for container in containers.of(workload):
            yield from _on_the_host(container)


def _on_the_host(container: Container) -> Iterator[Problem]:
    for index, port in mappings(container.get("ports")):
        if port.get("hostPort"):
            message = f"{called(container)} uses port {port['hostPort']} of its node: {_RESTRICTED}"
            fix = advice.remove("hostPort").unless(
                f"; if clients need port {port['hostPort']}, add it to a Service"
            )
            yield in_container(container, ("ports", index, "hostPort"), message, fix)
    for place in HANDLERS:
        for kind in ("httpGet", "tcpSocket"):
            if host := container.get(*place, kind, "host"):
                field = ".".join(map(str, (*place, kind, "host")))
                message = f"{field} of {called(container)} is {host}: {_RESTRICTED}"
                fix = advice.remove("host") + ": without it, the kubelet connects to the pod itself"
                yield in_container(container, (*place, kind, "host"), message, fix)


@rule(_STANDARD)
def privileged_container(objects: Objects) -> Iterator[Problem]:
    """Containers run without privileges, with no added capabilities and with the default profiles.

    Otherwise Pod Security admission rejects the pods, so the workload has none. In a namespace
    without it, an attacker in a container can control its node.
    """
    for workload in objects.makers:
        yield from _annotated_profiles(workload)
        (own_path, own), *others = contexts(workload)
        for path, context in ((own_path, own), *others):
            for inner, fix in _beyond_any(context):
                yield _rejected(workload, (*path, *inner), fix)
        for index, sysctl in mappings(own.get("sysctls")):
            if sysctl.get("name") not in _SYSCTLS:
                place = (*own_path, "sysctls", index)
                fix = f"remove {sysctl.get('name')} from sysctls: administrators set it on nodes"
                yield _rejected(workload, place, fix)
        lacks_profile = False
        for path, context in others:
            for inner, fix in _beyond_a_container(context):
                yield _rejected(workload, (*path, *inner), fix)
            lacks_profile |= not paths.get(context, ("seccompProfile", "type"))
        if lacks_profile and not paths.get(own, ("seccompProfile", "type")):
            fix = advice.write("seccompProfile", {"type": "RuntimeDefault"})
            yield _rejected(workload, (*own_path, "seccompProfile"), fix)


def _rejected(workload: Workload, path: Where, fix: str) -> Problem:
    start = path.index("securityContext")
    field = ".".join(part for part in path[start:] if isinstance(part, str))
    names = (called(one) for one in containers.of(workload) if one.path == path[:start])
    here = workload.get(*path)
    value = "is not set" if here is None else f"is {json.dumps(here)}"
    value = f"contains {here.get('name')}" if path[-2] == "sysctls" else value
    message = f"{field} of {next(names, 'the pods')} {value}: {_RESTRICTED}"
    return Problem(workload.manifest, path, message, fix)


def _annotated_profiles(workload: Workload) -> Iterator[Problem]:
    path = (*workload.template, "metadata", "annotations")
    notes = workload.get(*path)
    for key, value in notes.items() if isinstance(notes, dict) else ():
        allowed = value in ("", "runtime/default") or str(value).startswith("localhost/")
        if str(key).startswith(_APPARMOR) and not allowed:
            message = f"the annotation {key} of the pods is {json.dumps(value)}: {_RESTRICTED}"
            yield Problem(workload.manifest, (*path, key), message, advice.remove("the annotation"))


def _beyond_any(context: Mapping[str, Any]) -> Iterator[tuple[Where, str]]:
    """Yield what a security context of a pod or a container must not have, and what to write."""
    for profile in ("seccompProfile", "appArmorProfile"):
        found = paths.get(context, (profile, "type"))
        if found is not None and found not in _PROFILES:
            yield (profile, "type"), advice.write(f"{profile}.type", "RuntimeDefault")
    if paths.get(context, ("windowsOptions", "hostProcess")):
        yield ("windowsOptions", "hostProcess"), advice.remove("windowsOptions.hostProcess")
    selinux = context.get("seLinuxOptions")
    if isinstance(selinux, dict):
        if selinux.get("type", "") not in _SELINUX_TYPES:
            yield (
                ("seLinuxOptions", "type"),
                advice.remove("seLinuxOptions.type") + ": the default is allowed",
            )
        for field in ("user", "role"):
            if selinux.get(field):
                yield ("seLinuxOptions", field), f"remove seLinuxOptions.{field}"


def _beyond_a_container(context: Mapping[str, Any]) -> Iterator[tuple[Where, str]]:
    """Yield what a security context of a container must not have, and what to write."""
    if context.get("privileged"):
        yield ("privileged",), advice.remove("privileged")
    if context.get("procMount") not in (None, "Default"):
        yield ("procMount",), advice.remove("procMount")
    if context.get("allowPrivilegeEscalation") is not False:
        yield ("allowPrivilegeEscalation",), advice.write("allowPrivilegeEscalation", False)
    dropped = paths.get(context, ("capabilities", "drop"))
    if not isinstance(dropped, list) or "ALL" not in dropped:
        yield ("capabilities", "drop"), advice.write("capabilities.drop", ["ALL"])
    added = paths.get(context, ("capabilities", "add"))
    if isinstance(added, list) and any(one != "NET_BIND_SERVICE" for one in added):
        yield (
            ("capabilities", "add"),
            advice.remove("capabilities.add") + ": no component needs a capability",
        )


@rule(_STANDARD)
def container_runs_as_root(objects: Objects) -> Iterator[Problem]:
    """Containers run with an explicit user and group that are not root.

    Otherwise the image decides on the user. A root user who escapes from the container is root on
    the node; with the group root, the program can change files that belong to root in its image.
    """
    for workload in objects.makers:
        (pod_path, pod_context), *others = contexts(workload)
        reported = set[Where]()
        for container, (path, own) in zip(containers.of(workload), others, strict=True):
            for field, problem, fix in _as_root({**pod_context, **own}):
                place = (*(path if field in own else pod_path), field)
                whose = called(container) if field in own else "the pods"
                if place not in reported:
                    reported.add(place)
                    yield Problem(workload.manifest, place, f"{field} of {whose} {problem}", fix)


def _as_root(context: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield fields of the effective context of a container, what is wrong, and what to write."""
    user, group = context.get("runAsUser"), context.get("runAsGroup")
    if context.get("runAsNonRoot") is not True:
        yield "runAsNonRoot", f"is not true: {_RESTRICTED}", advice.write("runAsNonRoot", True)
    fix = advice.write("runAsUser", 1000) + ", the chart's user"
    if user == 0:
        yield "runAsUser", f"is 0, which is root: {_RESTRICTED}", fix
    elif not isinstance(user, int):
        yield "runAsUser", "is not set, so the image decides on the user, which may be root", fix
    if not group:
        value = "is 0, which is root" if group == 0 else "is not set, so the group is root"
        yield (
            "runAsGroup",
            f"{value}: the program can access files of root",
            advice.write("runAsGroup", 1000),
        )


@rule(
    "https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/",
    outcome=Outcome.RISK,
)
def writable_root_filesystem(objects: Objects) -> Iterator[Problem]:
    """The root filesystem of containers is read-only; programs write to volumes.

    Otherwise an attacker can replace the programs of the image. Files outside volumes fill the disk
    of the node and are lost when the container restarts.
    """
    for workload in objects.makers:
        for container in containers.of(workload):
            path = ("securityContext", "readOnlyRootFilesystem")
            if container.get(*path) is not True:
                message = (
                    f"{called(container)} has a writable root filesystem: an attacker can replace"
                    " its programs"
                )
                fix = (
                    "write securityContext.readOnlyRootFilesystem: true, and mount an emptyDir"
                    " where the program writes, for example at /tmp"
                )
                yield in_container(container, path, message, fix)


@rule(
    "https://kubernetes.io/docs/tasks/configure-pod-container/share-process-namespace/",
    Severity.WARNING,
)
def shared_process_namespace(objects: Objects) -> Iterator[Problem]:
    """The containers of a pod do not share a process namespace.

    Otherwise each container can read the environment variables and files of the others, including
    keys.
    """
    for workload in objects.makers:
        if workload.pod_spec.get("shareProcessNamespace"):
            message = (
                "with shareProcessNamespace, each container of the pods can read the environment"
                " variables, files and keys of the others"
            )
            fix = (
                advice.remove("shareProcessNamespace")
                + "; for debugging, use kubectl debug --target"
            )
            yield in_pod(workload, ("shareProcessNamespace",), message, fix)


@rule("https://kubernetes.io/docs/concepts/containers/images/#image-names", outcome=Outcome.RISK)
def untrusted_registry(objects: Objects) -> Iterator[Problem]:
    """Images come from the registries that environment.yaml lists.

    Otherwise an image with a misspelled name, or a copy published by someone else, runs with access
    to the keys of the chain.
    """
    allowed = objects.given.registries
    for manifest in objects.manifests if allowed else ():
        for path, image in image_lock.used(manifest):
            full = _full(image)
            if not any(re.match(rf"{re.escape(registry)}(?=[/:]|$)", full) for registry in allowed):
                owner = full.rpartition("/")[0]
                similar = difflib.get_close_matches(owner, allowed, 1, 0.8)
                message = (
                    f"the image {full} is in none of the allowed registries: anyone could have"
                    " published it"
                )
                listed = f"one of {', '.join(allowed)}"
                fix = f"use an image from {similar[0] if similar else listed}"
                fix += f"; if you trust {owner}, add it to registries in base/environment.yaml"
                yield Problem(manifest, path, message, fix)


def _full(image: str) -> str:
    """Return the full name of an image: github.com/distribution/reference, normalize.go."""
    name = image_lock.parse(image).name
    host = image_lock.registry(name)
    if host != "docker.io" or name.startswith("docker.io/"):
        return name
    return f"docker.io/{name}" if "/" in name else f"docker.io/library/{name}"


@rule("https://kubernetes.io/docs/concepts/containers/images/#image-pull-policy")
def image_pull_policy_never(objects: Objects) -> Iterator[Problem]:
    """Nodes pull images that they do not have yet.

    Otherwise a pod on a node without the image stays in ErrImageNeverPull, for example on every new
    node.
    """
    for workload in objects.makers:
        reported = list[Any]()
        for container in containers.of(workload):
            # Containers with the same image get its pull policy from the same value.
            image = container.get("image")
            if container.get("imagePullPolicy") == "Never" and image not in reported:
                reported.append(image)
                message = (
                    f"imagePullPolicy of {called(container)} is Never: the pods start only on nodes"
                    " that already have the image"
                )
                yield in_container(
                    container, ("imagePullPolicy",), message, advice.write_value("IfNotPresent")
                )


_ONE_NODE = {"ReadWriteOnce", "ReadWriteOncePod"}
_READ_BY_ALL = 0o004


@rule(
    "https://kubernetes.io/docs/tasks/configure-pod-container/security-context/"
    "#set-the-security-context-for-a-pod"
)
def missing_fs_group(objects: Objects) -> Iterator[Problem]:
    """Pods that do not run as root have an fsGroup if they mount volumes that belong to root.

    Otherwise a new disk, and files of a Secret with a mode like 0440, belong to root: the program
    fails with Permission denied when it writes its data or reads its key.
    """
    for workload in objects.makers:
        if paths.get(workload.pod_spec, ("securityContext", "fsGroup")) is not None:
            continue
        of_root = dict(_of_root(objects, workload))
        blocked = (
            (container, of_root[name])
            for container in containers.of(workload)
            if _user(container, "runAsUser") != 0
            for _, mount in mappings(container.get("volumeMounts"))
            if (name := str(mount.get("name"))) in of_root
        )
        for container, volume in blocked:
            message = (
                f"{called(container)} cannot access {volume}, which belongs to root because the"
                " pods have no fsGroup"
            )
            group = _user(container, "runAsGroup") or 1000
            fix = advice.write("fsGroup", group) + " in the securityContext of the pods"
            yield in_pod(workload, ("securityContext", "fsGroup"), message, fix)
            break


def _user(container: Container, field: str) -> Any:
    """Return runAsUser or runAsGroup of a container: from its own context, or from the pod."""
    own, path = container.get("securityContext", field), ("securityContext", field)
    return paths.get(container.workload.pod_spec, path) if own is None else own


def _of_root(objects: Objects, workload: Workload) -> Iterator[tuple[str, str]]:
    """Yield the volumes that belong to root without an fsGroup, and what messages call them."""
    claims = [(name, template) for _, name, template in workload.claim_templates()]
    for _, volume in workload.volumes():
        name = str(volume.get("name"))
        claim = objects.find("PersistentVolumeClaim", volumes.claim(volume))
        if claim:
            claims.append((name, claim.object))
        for kind in ("secret", "projected"):
            mode = paths.get(volume, (kind, "defaultMode"))
            if isinstance(mode, int) and not mode & _READ_BY_ALL:
                yield name, f"the volume {name} (mode {mode:04o})"
    for name, template in claims:
        modes = paths.get(template, ("spec", "accessModes"))
        # Shared file systems like NFS have their own owners.
        if isinstance(modes, list) and _ONE_NODE & {str(mode) for mode in modes}:
            yield name, f"the volume {name}"
