"""Security: pods have no right to their node, and run what is meant."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from scripts.core import paths
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
_RESTRICTED = 'the namespace enforces the Pod Security Standard "restricted", which refuses the pod'


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
_OF_THE_HOST = {"hostNetwork": "network", "hostPID": "processes", "hostIPC": "shared memory"}


@rule("https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline")
def pod_uses_host_namespaces(objects: Objects) -> Iterator[Problem]:
    """Pods have no part of their node: not its network, processes, memory, files or ports.

    Else what breaks into one pod has the node, and with it all other pods on it; and the namespace
    refuses the pods.
    """
    for workload in objects.makers:
        for field, what in _OF_THE_HOST.items():
            if workload.pod_spec.get(field):
                message = f"{field} gives the pods their node's {what}; {_RESTRICTED}"
                yield in_pod(workload, (field,), message, f"remove {field}")
        for path, volume in workload.volumes():
            for kind in sorted(volume.keys() - {"name"} - _VOLUMES):
                named = "the node's own folder" if kind == "hostPath" else f"of the kind {kind}"
                message = f"the volume {volume.get('name')} is {named}; {_RESTRICTED}"
                fix = "use a persistentVolumeClaim, or an emptyDir for what may be lost"
                yield Problem(workload.manifest, (*path, kind), message, fix)
        for container in containers.of(workload):
            yield from _on_the_host(container)


def _on_the_host(container: Container) -> Iterator[Problem]:
    for index, port in mappings(container.get("ports")):
        if port.get("hostPort"):
            message = (
                f"{called(container)} takes the port {port['hostPort']} of its node; {_RESTRICTED}"
            )
            fix = "remove hostPort: a Service reaches the pods"
            yield in_container(container, ("ports", index, "hostPort"), message, fix)
    for place in HANDLERS:
        for kind in ("httpGet", "tcpSocket"):
            if container.get(*place, kind, "host"):
                message = f"a probe or hook of {called(container)} asks another host; {_RESTRICTED}"
                fix = "remove host: the pod itself is asked"
                yield in_container(container, (*place, kind, "host"), message, fix)


@rule(_STANDARD)
def privileged_container(objects: Objects) -> Iterator[Problem]:
    """Containers can do no more than any program: no privilege, no capability, default profiles.

    Else a mistake in a program is one on its node; and the namespace refuses the pods.
    """
    for workload in objects.makers:
        yield from _annotated_profiles(workload)
        (own_path, own), *others = contexts(workload)
        for path, context in ((own_path, own), *others):
            for inner, fix in _beyond_any(context):
                yield _refused(workload, (*path, *inner), fix)
        for index, sysctl in mappings(own.get("sysctls")):
            if sysctl.get("name") not in _SYSCTLS:
                place = (*own_path, "sysctls", index)
                yield _refused(workload, place, "remove it: nodes are set up by who runs them")
        lacks_profile = False
        for path, context in others:
            for inner, fix in _beyond_a_container(context):
                yield _refused(workload, (*path, *inner), fix)
            lacks_profile |= not paths.get(context, ("seccompProfile", "type"))
        if lacks_profile and not paths.get(own, ("seccompProfile", "type")):
            fix = "write seccompProfile: {type: RuntimeDefault}"
            yield _refused(workload, (*own_path, "seccompProfile"), fix)


def _refused(workload: Workload, path: Where, fix: str) -> Problem:
    start = path.index("securityContext")
    field = ".".join(part for part in path[start:] if isinstance(part, str))
    of = (called(one) for one in containers.of(workload) if one.path == path[:start])
    here = workload.get(*path)
    said = "is not said" if here is None else f"is {json.dumps(here)}"
    message = f"{field} of {next(of, 'the pods')} {said}: {_RESTRICTED}"
    return Problem(workload.manifest, path, message, fix)


def _annotated_profiles(workload: Workload) -> Iterator[Problem]:
    path = (*workload.template, "metadata", "annotations")
    notes = workload.get(*path)
    for key, value in notes.items() if isinstance(notes, dict) else ():
        allowed = value in ("", "runtime/default") or str(value).startswith("localhost/")
        if str(key).startswith(_APPARMOR) and not allowed:
            message = f"AppArmor is off for {str(key).partition('/')[2]}: {_RESTRICTED}"
            yield Problem(workload.manifest, (*path, key), message, "remove the annotation")


def _beyond_any(context: Mapping[str, Any]) -> Iterator[tuple[Where, str]]:
    """Yield what neither a pod's nor a container's security context may say, and what to write."""
    for profile in ("seccompProfile", "appArmorProfile"):
        found = paths.get(context, (profile, "type"))
        if found is not None and found not in _PROFILES:
            yield (profile, "type"), "write RuntimeDefault"
    if paths.get(context, ("windowsOptions", "hostProcess")):
        yield ("windowsOptions", "hostProcess"), "remove it"
    selinux = context.get("seLinuxOptions")
    if isinstance(selinux, dict):
        if selinux.get("type", "") not in _SELINUX_TYPES:
            yield ("seLinuxOptions", "type"), "write container_t, or remove seLinuxOptions"
        yield from (
            (("seLinuxOptions", f), "remove it") for f in ("user", "role") if selinux.get(f)
        )


def _beyond_a_container(context: Mapping[str, Any]) -> Iterator[tuple[Where, str]]:
    """Yield what a container's own security context may not say, and what to write."""
    if context.get("privileged"):
        yield ("privileged",), "remove it"
    if context.get("procMount") not in (None, "Default"):
        yield ("procMount",), "remove it"
    if context.get("allowPrivilegeEscalation") is not False:
        yield ("allowPrivilegeEscalation",), "write false"
    dropped = paths.get(context, ("capabilities", "drop"))
    if not isinstance(dropped, list) or "ALL" not in dropped:
        yield ("capabilities", "drop"), "write [ALL]"
    added = paths.get(context, ("capabilities", "add"))
    if isinstance(added, list) and any(one != "NET_BIND_SERVICE" for one in added):
        yield ("capabilities", "add"), "remove it: nothing of the stack needs a capability"


@rule(_STANDARD)
def container_runs_as_root(objects: Objects) -> Iterator[Problem]:
    """Containers run as a user and a group that are written down, and not as root.

    Else the user is whatever the image says: a root that gets out of its container is root on the
    node, and without the group the files of a volume belong to root's.
    """
    for workload in objects.makers:
        (above, whole), *others = contexts(workload)
        seen = set[Where]()
        for container, (path, own) in zip(containers.of(workload), others, strict=True):
            for field, said, fix in _as_root({**whole, **own}):
                place = (*(path if field in own else above), field)
                whose = called(container) if field in own else "the pods"
                if place not in seen:
                    seen.add(place)
                    yield Problem(workload.manifest, place, f"{field} of {whose} {said}", fix)


def _as_root(context: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield fields of the context that a container ends up with, what they mean, what to write."""
    user, group = context.get("runAsUser"), context.get("runAsGroup")
    if context.get("runAsNonRoot") is not True:
        yield "runAsNonRoot", f"is not true: {_RESTRICTED}", "write true"
    if user == 0:
        yield "runAsUser", f"is 0, which is root: {_RESTRICTED}", "write 1000, the chart's user"
    elif not isinstance(user, int):
        yield "runAsUser", "is not said: the image decides who it is", "write 1000"
    if not group:
        said = "is root's" if group == 0 else "is not said, and so it is root's"
        yield "runAsGroup", f"{said}: root's files in the image are its own", "write 1000"


@rule(
    "https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/",
    outcome=Outcome.RISK,
)
def writable_root_filesystem(objects: Objects) -> Iterator[Problem]:
    """Containers cannot change the files of their image; they write into volumes.

    Else what breaks into a program can put another in its place, and what is written fills the
    node and is lost with the container.
    """
    for workload in objects.makers:
        for container in containers.of(workload):
            path = ("securityContext", "readOnlyRootFilesystem")
            if container.get(*path) is not True:
                message = f"{called(container)} can change the programs that it runs"
                fix = "write true, and mount an emptyDir where it has to write"
                yield in_container(container, path, message, fix)


@rule(
    "https://kubernetes.io/docs/tasks/configure-pod-container/share-process-namespace/",
    Severity.WARNING,
)
def shared_process_namespace(objects: Objects) -> Iterator[Problem]:
    """The containers of a pod do not see each other's processes.

    Else each of them can read the variables and the files of the others, the keys among them.
    """
    for workload in objects.makers:
        if workload.pod_spec.get("shareProcessNamespace"):
            message = "each container of the pods can read the others' variables, files and keys"
            fix = "remove shareProcessNamespace; to look around, use kubectl debug --target"
            yield in_pod(workload, ("shareProcessNamespace",), message, fix)


@rule("https://kubernetes.io/docs/concepts/containers/images/#image-names", outcome=Outcome.RISK)
def untrusted_registry(objects: Objects) -> Iterator[Problem]:
    """Images come from the registries that environment.yaml lists.

    Else a name that is misspelt, or a copy by somebody else, runs with the keys of the chain.
    """
    allowed = objects.given.registries
    for manifest in objects.manifests if allowed else ():
        for path, image in image_lock.used(manifest):
            full = _full(image)
            if not any(re.match(rf"{re.escape(one)}(?=[/:]|$)", full) for one in allowed):
                owner = full.rpartition("/")[0]
                near = difflib.get_close_matches(owner, allowed, 1, 0.8)
                message = f"{full} is not of a registry that environment.yaml allows"
                listed = f"one of {', '.join(allowed)}"
                fix = f"take the image from {near[0] if near else listed}"
                fix += f"; if it is right, add {owner} to registries"
                yield Problem(manifest, path, message, fix)


def _full(image: str) -> str:
    """Return an image's name with its registry: github.com/distribution/reference, normalize.go."""
    name = image_lock.parse(image).name
    host = image_lock.registry(name)
    if host != "docker.io" or name.startswith("docker.io/"):
        return name
    return f"docker.io/{name}" if "/" in name else f"docker.io/library/{name}"


@rule("https://kubernetes.io/docs/concepts/containers/images/#image-pull-policy")
def image_pull_policy_never(objects: Objects) -> Iterator[Problem]:
    """Nodes pull the images that they do not have.

    Else a pod starts only on nodes that have the image already: on a new one, it never does.
    """
    for workload in objects.makers:
        told = list[Any]()
        for container in containers.of(workload):
            # Containers with one image have its policy from one value.
            if container.get("imagePullPolicy") == "Never" and container.get("image") not in told:
                told.append(container.get("image"))
                message = f"{called(container)} starts only on nodes that have its image already"
                fix = "write IfNotPresent: an image that is there is not pulled with that, either"
                yield in_container(container, ("imagePullPolicy",), message, fix)


_ONE_NODE = {"ReadWriteOnce", "ReadWriteOncePod"}
_READ_BY_ALL = 0o004


@rule(
    "https://kubernetes.io/docs/tasks/configure-pod-container/security-context/"
    "#set-the-security-context-for-a-pod"
)
def missing_fs_group(objects: Objects) -> Iterator[Problem]:
    """Pods that are not root have an fsGroup for the volumes that belong to root otherwise.

    A new disk, and the files of a Secret with a mode like 0440, are root's: the program can't write
    its data, or read its key.
    """
    for workload in objects.makers:
        if paths.get(workload.pod_spec, ("securityContext", "fsGroup")) is not None:
            continue
        of_root = dict(_of_root(objects, workload))
        found = (
            (container, of_root[name])
            for container in containers.of(workload)
            if _user(container, "runAsUser") != 0
            for _, mount in mappings(container.get("volumeMounts"))
            if (name := str(mount.get("name"))) in of_root
        )
        for container, volume in found:
            message = f"{called(container)} is not root, and {volume} is root's alone"
            fix = f"write {_user(container, 'runAsGroup') or 1000}, the group of the program"
            yield in_pod(workload, ("securityContext", "fsGroup"), message, fix)
            break


def _user(container: Container, field: str) -> Any:
    """Return runAsUser or runAsGroup of a container: its own, or the pod's."""
    own, path = container.get("securityContext", field), ("securityContext", field)
    return paths.get(container.workload.pod_spec, path) if own is None else own


def _of_root(objects: Objects, workload: Workload) -> Iterator[tuple[str, str]]:
    """Yield the volumes that belong to root without an fsGroup, and what they are called."""
    claims = [(name, one) for _, name, one in workload.claim_templates()]
    for _, volume in workload.volumes():
        name = str(volume.get("name"))
        claim = objects.find("PersistentVolumeClaim", volumes.claim(volume))
        if claim:
            claims.append((name, claim.object))
        for kind in ("secret", "projected"):
            mode = paths.get(volume, (kind, "defaultMode"))
            if isinstance(mode, int) and not mode & _READ_BY_ALL:
                yield name, f"the volume {name} (mode {mode:04o})"
    for name, one in claims:
        modes = paths.get(one, ("spec", "accessModes"))
        # What several nodes share, like NFS, has owners of its own.
        if isinstance(modes, list) and _ONE_NODE & {str(mode) for mode in modes}:
            yield name, f"the disk of its volume {name}"
