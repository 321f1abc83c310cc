"""Volumes: what the containers of a pod mount and call by its name is in the pod."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from scripts.core import paths
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.workloads import Workload, mappings
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Container, Objects, containers, mounts, pod, volumes

_VOLUMES = "https://kubernetes.io/docs/concepts/storage/volumes/"
_APPLY = "https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy"
_HOOKS = "https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/"
_HANDLERS: tuple[Where, ...] = (
    ("livenessProbe",),
    ("readinessProbe",),
    ("startupProbe",),
    ("lifecycle", "postStart"),
    ("lifecycle", "preStop"),
)
_ACTIONS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_TMP = "/tmp"  # noqa: S108 - of containers
_REFUSED = "a cluster refuses that"


@rule(_VOLUMES, outcome=Outcome.REJECTED)
def mount_without_volume(objects: Objects) -> Iterator[Problem]:
    """What a container mounts is a volume of its pod, or a claim of its StatefulSet.

    The API server refuses anything else, and the sync fails or does not begin.
    """
    for workload in objects.makers:
        known = volumes(workload)
        for container in containers(workload):
            for path, mount in mounts(container):
                name = str(mount.get("name"))
                if name not in known:
                    near = difflib.get_close_matches(name, known, 1)
                    message = (
                        f"the container {container.name} mounts the volume {name}, which"
                        f" {workload.manifest.label} does not have: {_REFUSED}"
                    )
                    fix = f"write {near[0]}" if near else "add the volume, or remove the mount"
                    yield Problem(workload.manifest, (*path, "name"), message, fix)


@rule(_VOLUMES)
def volume_not_mounted(objects: Objects) -> Iterator[Problem]:
    """A volume of a pod is mounted by one of its containers.

    Else the files that were meant to be there are not, and what is written is lost.
    """
    for workload in objects.makers:
        mounted = {str(m.get("name")) for one in containers(workload) for _, m in mounts(one)}
        for name, path in volumes(workload).items():
            if name not in mounted:
                label = workload.manifest.label
                message = f"no container of {label} mounts the volume {name}: nobody has use of it"
                fix = "mount it, or remove it"
                yield Problem(workload.manifest, path, message, fix)


@rule(_VOLUMES + "#emptydir")
def volume_that_nobody_writes(objects: Objects) -> Iterator[Problem]:
    """An emptyDir is mounted for writing by one container at least.

    Else it stays empty, and who looks for a file in it never finds one.
    """
    for workload in objects.makers:
        path, spec = pod(workload)
        mounted = [(one, *found) for one in containers(workload) for found in mounts(one)]
        for _, volume in mappings(spec.get("volumes")):
            own = [one for one in mounted if one[2].get("name") == volume.get("name")]
            if "emptyDir" in volume and own and all(m.get("readOnly") is True for _, _, m in own):
                label, name = workload.manifest.label, volume.get("name")
                message = f"all containers of {label} mount {name} readOnly: it stays empty"
                fix = "write readOnly: false where it is filled, or add what fills it"
                first, place, _ = own[0]
                where = (*place, "readOnly") if first.first else (*path, "initContainers")
                yield Problem(workload.manifest, where, message, fix)


@rule("https://kubernetes.io/docs/tasks/configure-pod-container/security-context/")
def read_only_without_tmp(objects: Objects) -> Iterator[Problem]:
    """What writes to /tmp has a volume there where its root filesystem is read-only.

    Besu unpacks RocksDB's library there, and does not start without; so do other JVMs and shells.
    """
    nodes = {(one.workload.manifest.label, one.container.path) for one in objects.programs}
    for workload in objects.makers:
        found = mappings(pod(workload)[1].get("volumes"))
        empty = [volume.get("name") for _, volume in found if "emptyDir" in volume]
        for container in containers(workload):
            places = {str(m.get("mountPath")).rstrip("/"): m for _, m in mounts(container)}
            is_there = any(f"{_TMP}/".startswith(f"{place}/") for place in places)
            read_only = container.get("securityContext", "readOnlyRootFilesystem") is True
            if is_there or not read_only or _is_moved(container):
                continue
            written = [place for place, mount in places.items() if mount.get("name") in empty]
            near = difflib.get_close_matches(_TMP, written, 1, 0.85)
            if not near and (workload.manifest.label, container.path) not in nodes:
                continue
            message = (
                f"the root filesystem of {container.name} is read-only, and nothing is mounted at"
                f" {_TMP}: it can't write there"
            )
            fix = f"mount an emptyDir at {_TMP}" + (f", not at {near[0]}" if near else "")
            yield Problem(workload.manifest, (*container.path, "volumeMounts"), message, fix)


def _is_moved(container: Container) -> bool:
    """Return whether a container is told of another folder for its temporary files."""
    told = str([container.get("env"), container.get("args")])
    return "TMPDIR" in told or "java.io.tmpdir" in told


@rule(_VOLUMES, outcome=Outcome.REJECTED)
def mounts_on_one_path(objects: Objects) -> Iterator[Problem]:
    """A container mounts one volume on a path.

    The API server refuses two, and the sync fails or does not begin.
    """
    for workload in objects.makers:
        for container in containers(workload):
            first: dict[str, Where] = {}
            for path, mount in mounts(container):
                where = mount.get("mountPath", mount.get("devicePath"))
                if not isinstance(where, str):
                    continue
                other = first.setdefault(where.rstrip("/"), path)
                if other != path:
                    message = (
                        f"the container {container.name} mounts two volumes on {where}: {_REFUSED}"
                    )
                    fix = "mount one of them elsewhere"
                    yield Problem(workload.manifest, (*path, "mountPath"), message, fix)


@rule(_VOLUMES, outcome=Outcome.REJECTED)
def volume_without_one_source(objects: Objects) -> Iterator[Problem]:
    """A volume of a pod has one source, and a ConfigMap's or Secret's has a name.

    The API server refuses anything else, and the sync fails or does not begin.
    """
    for workload in objects.makers:
        path, spec = pod(workload)
        for index, volume in mappings(spec.get("volumes")):
            label, name = workload.manifest.label, volume.get("name")
            place: Where = (*path, "volumes", index)
            sources = [key for key, value in volume.items() if key != "name" and value is not None]
            if len(sources) != 1:
                what = " and ".join(sources) or "no source"
                message = f"the volume {name} of {label} has {what}: {_REFUSED}"
                yield Problem(
                    workload.manifest, place, message, "write one source, like emptyDir: {}"
                )
                continue
            field = {"configMap": "name", "secret": "secretName"}.get(sources[0])
            if field and not paths.get(volume, [sources[0], field]):
                message = f"the volume {name} of {label} names no {sources[0]}: {_REFUSED}"
                yield Problem(workload.manifest, (*place, sources[0]), message, f"write {field}")


@rule(_HOOKS, outcome=Outcome.REJECTED)
def handler_without_one_action(objects: Objects) -> Iterator[Problem]:
    """A probe or a lifecycle hook does one thing: exec, httpGet, tcpSocket, grpc or sleep.

    The API server refuses anything else, and the sync fails or does not begin.
    """
    for workload in objects.makers:
        for container in containers(workload):
            for place in _HANDLERS:
                handler = container.get(*place)
                if not isinstance(handler, dict):
                    continue
                actions = [key for key in _ACTIONS if handler.get(key) is not None]
                if len(actions) != 1:
                    what = " and ".join(actions) or "no action"
                    message = (
                        f"{place[-1]} of the container {container.name} has {what}: {_REFUSED}"
                    )
                    path = (*container.path, *place)
                    yield Problem(
                        workload.manifest, path, message, "write one action, like httpGet"
                    )


@rule(_APPLY)
def name_twice(objects: Objects) -> Iterator[Problem]:
    """Containers, volumes, and a container's ports and variables, each have a name of their own.

    The API server refuses two of one name, or one hides the other.
    """
    for workload in objects.makers:
        path, spec = pod(workload)
        everything = list(containers(workload))
        yield from _twice(workload, [((*c.path, "name"), c.name) for c in everything], "container")
        named = [
            ((*path, "volumes", i, "name"), str(volume.get("name")))
            for i, volume in mappings(spec.get("volumes"))
        ]
        yield from _twice(workload, named, "volume")
        for container in everything:
            for field, what in (("env", "variable"), ("ports", "port")):
                named = [
                    ((*container.path, field, i, "name"), str(item["name"]))
                    for i, item in mappings(container.data.get(field))
                    if "name" in item
                ]
                yield from _twice(workload, named, what, f"the container {container.name} of ")


def _twice(
    workload: Workload, named: Sequence[tuple[Where, str]], what: str, where: str = ""
) -> Iterator[Problem]:
    seen = set[str]()
    for path, name in named:
        if name in seen:
            message = (
                f"{where}{workload.manifest.label} has two {what}s named {name}: {_REFUSED}, or one"
                " hides the other"
            )
            yield Problem(workload.manifest, path, message, "remove one, or rename it")
        seen.add(name)
