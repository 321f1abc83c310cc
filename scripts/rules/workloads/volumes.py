"""Volumes: what the containers of a pod mount and call by its name is in the pod."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from scripts.core import paths
from scripts.kubernetes import containers, volumes
from scripts.kubernetes.containers import HANDLERS, Container
from scripts.kubernetes.manifest import Where
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_VOLUMES = "https://kubernetes.io/docs/concepts/storage/volumes/"
_APPLY = "https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy"
_HOOKS = "https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/"
_ACTIONS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_TMP = "/tmp"  # noqa: S108 - of containers
_REFUSED = "a cluster refuses that"


@rule(_VOLUMES, outcome=Outcome.REJECTED)
def unknown_volume_mount(objects: Objects) -> Iterator[Problem]:
    """What a container mounts is a volume of its pod, or a claim of its StatefulSet.

    The API server refuses anything else, and the sync fails or does not begin.
    """
    for workload in objects.makers:
        known = volumes.names(workload)
        for container in containers.of(workload):
            for path, mount in container.mounts():
                name = str(mount.get("name"))
                if name not in known:
                    near = difflib.get_close_matches(name, known, 1)
                    message = (
                        f"the container {container.name} mounts the volume {name}, which"
                        f" {workload.manifest.label} does not have: {_REFUSED}"
                    )
                    fix = f"write {near[0]}" if near else "add the volume, or remove the mount"
                    yield Problem(workload.manifest, (*path, "name"), message, fix)


@rule(_VOLUMES, outcome=Outcome.HIDDEN)
def unused_volume(objects: Objects) -> Iterator[Problem]:
    """A volume of a pod is mounted by one of its containers.

    Else the files that were meant to be there are not, and what is written is lost.
    """
    for workload in objects.makers:
        mounted = {str(m.get("name")) for one in containers.of(workload) for _, m in one.mounts()}
        for name, path in volumes.names(workload).items():
            if name not in mounted:
                label = workload.manifest.label
                message = f"no container of {label} mounts the volume {name}: nobody has use of it"
                fix = "mount it, or remove it"
                yield Problem(workload.manifest, path, message, fix)


@rule(_VOLUMES + "#emptydir")
def empty_dir_never_written(objects: Objects) -> Iterator[Problem]:
    """An emptyDir is mounted for writing by one container at least.

    Else it stays empty, and who looks for a file in it never finds one.
    """
    for workload in objects.makers:
        mounted = [(one, *found) for one in containers.of(workload) for found in one.mounts()]
        for _, volume in workload.volumes():
            own = [one for one in mounted if one[2].get("name") == volume.get("name")]
            if "emptyDir" in volume and own and all(m.get("readOnly") is True for _, _, m in own):
                label, name = workload.manifest.label, volume.get("name")
                message = f"all containers of {label} mount {name} readOnly: it stays empty"
                fix = "write readOnly: false where it is filled, or add what fills it"
                first, place, _ = own[0]
                inits = (*workload.pod_path, "initContainers")
                where = (*place, "readOnly") if first.is_init else inits
                yield Problem(workload.manifest, where, message, fix)


@rule("https://kubernetes.io/docs/tasks/configure-pod-container/security-context/")
def read_only_root_without_tmp(objects: Objects) -> Iterator[Problem]:
    """What writes to /tmp has a volume there where its root filesystem is read-only.

    Besu unpacks RocksDB's library there, and does not start without; so do other JVMs and shells.
    """
    nodes = {one.container.place for one in objects.programs}
    for workload in objects.makers:
        empty = [one.get("name") for _, one in workload.volumes() if "emptyDir" in one]
        for container in containers.of(workload):
            places = {str(m.get("mountPath")).rstrip("/"): m for _, m in container.mounts()}
            is_there = any(f"{_TMP}/".startswith(f"{place}/") for place in places)
            read_only = container.get("securityContext", "readOnlyRootFilesystem") is True
            if is_there or not read_only or _is_moved(container):
                continue
            written = [place for place, mount in places.items() if mount.get("name") in empty]
            near = difflib.get_close_matches(_TMP, written, 1, 0.85)
            if not near and container.place not in nodes:
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
def duplicate_mount_path(objects: Objects) -> Iterator[Problem]:
    """A container mounts one volume on a path.

    The API server refuses two, and the sync fails or does not begin.
    """
    for container, path, where, other in _on_one_path(objects):
        if where == other:
            message = f"the container {container.name} mounts two volumes on {where}: {_REFUSED}"
            fix = "mount one of them elsewhere"
            yield Problem(container.workload.manifest, path, message, fix)


@rule(_VOLUMES, outcome=Outcome.HIDDEN)
def mount_hides_another(objects: Objects) -> Iterator[Problem]:
    """What a container mounts is not on a path that it mounts something else on, but for a "/".

    The API server compares paths as they are written and takes /tmp and /tmp/; in the container,
    one of the two volumes hides the other.
    """
    for container, path, where, other in _on_one_path(objects):
        if where != other:
            message = (
                f"the container {container.name} mounts a volume on {where}, and another on"
                f" {other}: one hides the other"
            )
            fix = "mount one of them elsewhere"
            yield Problem(container.workload.manifest, path, message, fix)


def _on_one_path(objects: Objects) -> Iterator[tuple[Container, Where, str, str]]:
    """Yield each mount on the path of an earlier one: its container, place, and both paths."""
    for container in (one for workload in objects.makers for one in containers.of(workload)):
        first: dict[str, tuple[str, Where]] = {}
        for place, mount in container.mounts():
            key = "mountPath" if "mountPath" in mount else "devicePath"
            where = mount.get(key)
            if isinstance(where, str):
                path = (*place, key)
                other, earlier = first.setdefault(where.rstrip("/"), (where, path))
                if earlier != path:
                    yield container, path, where, other


@rule(_VOLUMES, outcome=Outcome.REJECTED)
def volume_with_several_sources(objects: Objects) -> Iterator[Problem]:
    """A volume of a pod has no two sources, and a ConfigMap's or Secret's has a name.

    The API server refuses anything else, and the sync fails or does not begin.
    """
    for workload in objects.makers:
        for place, volume in workload.volumes():
            label, name = workload.manifest.label, volume.get("name")
            sources = _kinds(volume)
            if len(sources) > 1:
                message = f"the volume {name} of {label} has {' and '.join(sources)}: {_REFUSED}"
                fix = "write one source, like emptyDir: {}"
                yield Problem(workload.manifest, place, message, fix)
            field = {"configMap": "name", "secret": "secretName"}.get("".join(sources))
            if field and not paths.get(volume, [sources[0], field]):
                message = f"the volume {name} of {label} names no {sources[0]}: {_REFUSED}"
                yield Problem(workload.manifest, (*place, sources[0]), message, f"write {field}")


@rule(_VOLUMES)
def volume_without_source(objects: Objects) -> Iterator[Problem]:
    """A volume of a pod has a source.

    Without one it is an emptyDir: the files that were meant to be there are missing, and what is
    written goes with the pod.
    """
    for workload in objects.makers:
        for place, volume in workload.volumes():
            if not _kinds(volume):
                message = (
                    f"the volume {volume.get('name')} of {workload.manifest.label} has no source:"
                    " it is an emptyDir"
                )
                fix = "write the source that is meant, or emptyDir: {}"
                yield Problem(workload.manifest, place, message, fix)


def _kinds(volume: Mapping[str, Any]) -> list[str]:
    """Return the sources that a volume has, by their fields."""
    return [key for key, value in volume.items() if key != "name" and value is not None]


@rule(_HOOKS, outcome=Outcome.REJECTED)
def probe_without_one_handler(objects: Objects) -> Iterator[Problem]:
    """A probe or a lifecycle hook does one thing: exec, httpGet, tcpSocket, grpc or sleep.

    The API server refuses anything else, and the sync fails or does not begin.
    """
    for workload in objects.makers:
        for container in containers.of(workload):
            for place in HANDLERS:
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
