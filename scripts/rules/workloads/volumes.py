"""Volumes: pods have the volumes that their containers mount, and mount those that they have."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scripts.core import advice, paths
from scripts.kubernetes import containers, volumes
from scripts.kubernetes.containers import HANDLERS, Container
from scripts.kubernetes.manifest import Where
from scripts.rules.pod_templates import called
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_VOLUMES = "https://kubernetes.io/docs/concepts/storage/volumes/"
_APPLY = "https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy"
_HOOKS = "https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/"
_ACTIONS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_TMP = "/tmp"  # noqa: S108 - of containers
_REJECTED = "the API server rejects the object, so the sync fails"


@rule(_VOLUMES, outcome=Outcome.REJECTED)
def unknown_volume_mount(objects: Objects) -> Iterator[Problem]:
    """A container mounts volumes of its pod, or claim templates of its StatefulSet.

    Otherwise the API server rejects the object, so the sync fails or does not begin.
    """
    for workload in objects.makers:
        known = volumes.names(workload)
        for container in containers.of(workload):
            for path, mount in container.mounts():
                name = str(mount.get("name"))
                if name not in known:
                    near = difflib.get_close_matches(name, known, 1)
                    message = (
                        f"{called(container)} mounts the volume {name}, which"
                        f" {workload.manifest.label} does not have: {_REJECTED}"
                    )
                    fix = advice.write("name", near[0]) if near else _volume_to_add(name)
                    yield Problem(workload.manifest, (*path, "name"), message, fix)


def _volume_to_add(name: str) -> str:
    """Return the fix for a mount of a volume that the pod does not have."""
    return advice.add_item(
        {"name": name, "emptyDir": {}}, "volumes", above=("template", "spec")
    ).unless(
        " of the pod; if the volume has files from elsewhere, write their source instead of "
        "emptyDir"
    )


@rule(_VOLUMES, outcome=Outcome.HIDDEN)
def unused_volume(objects: Objects) -> Iterator[Problem]:
    """A volume of a pod is mounted by at least one of its containers.

    Otherwise the intended files are missing in the container, or its data is written to the
    container's filesystem and lost with it.
    """
    for workload in objects.makers:
        mounted = {str(m.get("name")) for c in containers.of(workload) for _, m in c.mounts()}
        for name, path in volumes.names(workload).items():
            if name not in mounted:
                label = workload.manifest.label
                message = f"no container of {label} mounts the volume {name}: it has no effect"
                fix = (
                    f"add a volumeMount with name: {name} to the container that needs it; if none "
                    "does, remove the volume"
                )
                yield Problem(workload.manifest, path, message, fix)


@rule(_VOLUMES + "#emptydir")
def empty_dir_never_written(objects: Objects) -> Iterator[Problem]:
    """At least one container mounts an emptyDir without readOnly.

    Otherwise it stays empty, and containers that read a file in it fail.
    """
    for workload in objects.makers:
        mounted = [(c, *mount) for c in containers.of(workload) for mount in c.mounts()]
        for _, volume in workload.volumes():
            own = [mount for mount in mounted if mount[2].get("name") == volume.get("name")]
            if "emptyDir" in volume and own and all(m.get("readOnly") is True for _, _, m in own):
                label, name = workload.manifest.label, volume.get("name")
                message = (
                    f"all containers of {label} mount the emptyDir volume {name} with readOnly: "
                    "true, so it stays empty"
                )
                first, place, _ = own[0]
                where: Where = (*workload.pod_path, "initContainers")
                fix = (
                    f"add an init container that mounts the volume {name} without readOnly, and "
                    "writes the files; if another one writes them, write readOnly: false there"
                )
                if first.is_init:
                    where = (*place, "readOnly")
                    fix = f"write readOnly: false in {called(first)}, which fills the volume"
                yield Problem(workload.manifest, where, message, fix)


@rule("https://kubernetes.io/docs/tasks/configure-pod-container/security-context/")
def read_only_root_without_tmp(objects: Objects) -> Iterator[Problem]:
    """A container with a read-only root filesystem has a volume at /tmp if it writes there.

    Otherwise Besu, Maru and other JVMs do not start, because they unpack native libraries there,
    and shell scripts fail.
    """
    nodes = {node.container.place for node in objects.programs}
    for workload in objects.makers:
        empty = [v.get("name") for _, v in workload.volumes() if "emptyDir" in v]
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
                f"{called(container)} has a read-only root filesystem and no volume at"
                f" {_TMP}: it fails when it writes a temporary file"
            )
            fix: str = _mount_to_add(empty)
            if near:
                mounts = [str(m.get("mountPath")).rstrip("/") for _, m in container.mounts()]
                key = ("volumeMounts", mounts.index(near[0]), "mountPath")
                fix = advice.saying(f"write mountPath: {_TMP} instead of {near[0]}", _TMP, key)
            yield Problem(workload.manifest, (*container.path, "volumeMounts"), message, fix)


def _mount_to_add(empty: Sequence[Any]) -> str:
    """Return the fix for a container that has nothing at /tmp; empty: the emptyDir volumes."""
    fix = advice.add_item({"name": "tmp", "mountPath": _TMP}, "volumeMounts")
    return fix if "tmp" in empty else f"{fix}, and {{name: tmp, emptyDir: {{}}}} to volumes"


def _is_moved(container: Container) -> bool:
    """Return whether a container is configured to use another folder for temporary files."""
    settings = str([container.get("env"), container.get("args")])
    return "TMPDIR" in settings or "java.io.tmpdir" in settings


@rule(_VOLUMES, outcome=Outcome.REJECTED)
def duplicate_mount_path(objects: Objects) -> Iterator[Problem]:
    """The mount paths of a container are unique.

    Otherwise the API server rejects the object, so the sync fails or does not begin.
    """
    for container, path, (name, where), (earlier, other) in _on_one_path(objects):
        if where == other:
            message = (
                f"{called(container)} mounts the volumes {earlier} and {name} at {where}: "
                f"{_REJECTED}"
            )
            yield Problem(container.workload.manifest, path, message, _other_path(name, path))


@rule(_VOLUMES, outcome=Outcome.HIDDEN)
def mount_hides_another(objects: Objects) -> Iterator[Problem]:
    """Two mount paths of a container differ by more than a trailing slash.

    Otherwise one volume hides the other in the container. The API server accepts /tmp and /tmp/,
    because it compares the texts.
    """
    for container, path, (name, where), (earlier, other) in _on_one_path(objects):
        if where != other:
            message = (
                f"{called(container)} mounts the volume {earlier} at {other} and the volume {name} "
                f"at {where}, which is the same path: one hides the other"
            )
            yield Problem(container.workload.manifest, path, message, _other_path(name, path))


def _other_path(volume: str, path: Where) -> str:
    """Return the fix for the mount of a volume at the path of another."""
    return (
        f"write another {path[-1]} for the volume {volume}; if the container does not need it, "
        "remove its mount"
    )


_Mount = tuple[str, str]
"""The volume of a mount, and its path in the container."""


def _on_one_path(objects: Objects) -> Iterator[tuple[Container, Where, _Mount, _Mount]]:
    """Yield each mount at the path of an earlier mount: its container and place, and both."""
    for container in (c for workload in objects.makers for c in containers.of(workload)):
        first: dict[str, tuple[_Mount, Where]] = {}
        for place, mount in container.mounts():
            key = "mountPath" if "mountPath" in mount else "devicePath"
            where = mount.get(key)
            if isinstance(where, str):
                path, own = (*place, key), (str(mount.get("name")), where)
                earlier, its_path = first.setdefault(where.rstrip("/"), (own, path))
                if its_path != path:
                    yield container, path, own, earlier


@rule(_VOLUMES, outcome=Outcome.REJECTED)
def volume_with_several_sources(objects: Objects) -> Iterator[Problem]:
    """A volume of a pod has at most one source, and a ConfigMap or Secret source has a name.

    Otherwise the API server rejects the object, so the sync fails or does not begin.
    """
    for workload in objects.makers:
        for place, volume in workload.volumes():
            label, name = workload.manifest.label, volume.get("name")
            sources = _kinds(volume)
            if len(sources) > 1:
                message = (
                    f"the volume {name} of {label} has {len(sources)} sources, "
                    f"{' and '.join(sources)}: {_REJECTED}"
                )
                yield Problem(workload.manifest, place, message, _one_of(sources, "source"))
            field = {"configMap": "name", "secret": "secretName"}.get("".join(sources))
            if field and not paths.get(volume, [sources[0], field]):
                message = (
                    f"the {sources[0]} of the volume {name} of {label} has no {field}: {_REJECTED}"
                )
                kind = "ConfigMap" if field == "name" else "Secret"
                fix = f"add {sources[0]}.{field}, the name of the {kind} that has the files"
                yield Problem(workload.manifest, (*place, sources[0]), message, fix)


@rule(_VOLUMES)
def volume_without_source(objects: Objects) -> Iterator[Problem]:
    """A volume of a pod has a source.

    Otherwise it is an emptyDir: the intended files are missing, and data is lost with the pod.
    """
    for workload in objects.makers:
        for place, volume in workload.volumes():
            if not _kinds(volume):
                message = (
                    f"the volume {volume.get('name')} of {workload.manifest.label} has no source:"
                    " it is an emptyDir, whose data is lost with the pod"
                )
                fix = (
                    "add the intended source, for example configMap: {name: NAME}; if its data is "
                    "temporary, write emptyDir: {}"
                )
                yield Problem(workload.manifest, place, message, fix)


def _one_of(fields: Sequence[str], what: str) -> str:
    """Return the fix for several fields of which only one is allowed."""
    others = " and ".join(fields[1:])
    return f"keep {fields[0]}, and remove {others}; if another {what} is intended, keep that one"


def _kinds(volume: Mapping[str, Any]) -> list[str]:
    """Return the fields of a volume's sources."""
    return [key for key, value in volume.items() if key != "name" and value is not None]


@rule(_HOOKS, outcome=Outcome.REJECTED)
def probe_without_one_handler(objects: Objects) -> Iterator[Problem]:
    """A probe or lifecycle hook has one action: exec, httpGet, tcpSocket, grpc or sleep.

    Otherwise the API server rejects the object, so the sync fails or does not begin.
    """
    for workload in objects.makers:
        for container in containers.of(workload):
            for place in HANDLERS:
                handler = container.get(*place)
                if not isinstance(handler, dict):
                    continue
                actions = [key for key in _ACTIONS if handler.get(key) is not None]
                if len(actions) != 1:
                    what = f"{len(actions)} actions, {' and '.join(actions)}"
                    if actions:
                        fix = _one_of(actions, "action")
                    else:
                        is_hook, what = place[0] == "lifecycle", "no action"
                        action = "sleep: {seconds: 20}" if is_hook else "tcpSocket: {port: PORT}"
                        fix = f"add an action, for example {action}"
                    message = f"{place[-1]} of {called(container)} has {what}: {_REJECTED}"
                    yield Problem(workload.manifest, (*container.path, *place), message, fix)
