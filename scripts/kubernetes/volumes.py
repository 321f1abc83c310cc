"""What containers mount: which key of which ConfigMap or Secret a path in a container is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

from scripts.core import paths
from scripts.kubernetes import containers
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import Workload, mappings

Keys = frozenset[str] | None
"""Those of a ConfigMap or Secret; None if they are not known."""
Known = Mapping[tuple[str, str], Keys]
"""Kind and name → keys."""

_NAMED = {"configMap": ("ConfigMap", "name"), "secret": ("Secret", "secretName")}
_PROJECTED = {"configMap": ("ConfigMap", "name"), "secret": ("Secret", "name")}
_MADE = ("downwardAPI", "serviceAccountToken", "clusterTrustBundle")
"""Sources whose files come from no object."""
_TOKEN = "token"  # noqa: S105 - the name of a file


@dataclass(frozen=True, slots=True)
class Source:
    """What a volume takes files from."""

    path: Where
    """In the volume: ("configMap",), or ("projected", "sources", 0, "secret")."""
    kind: str
    """ConfigMap or Secret; otherwise the field's own name, like downwardAPI."""
    name: str
    """Of the object; empty if there is none."""
    name_path: Where
    items: tuple[tuple[Where, str, str], ...] | None
    """Path of the item, key, and file. None where each key is a file of that name."""
    is_optional: bool

    def files(self, known: Known) -> dict[str, str] | None:
        """Return file → key, by their names; None if they are not known."""
        if self.items is not None:
            return {file: key for _, key, file in self.items}
        keys = known.get((self.kind, self.name))
        return None if keys is None else {key: key for key in sorted(keys)}


def sources(volume: Mapping[str, Any]) -> list[Source]:
    """Return what a volume takes files from, in its order; none for disks and folders."""
    found = list(_sources(volume, (), _NAMED))
    for index, one in mappings(paths.get(volume, ("projected", "sources"))):
        found += _sources(one, ("projected", "sources", index), _PROJECTED)
    return found


def _sources(
    holder: Mapping[str, Any], path: Where, named: Mapping[str, tuple[str, str]]
) -> Iterator[Source]:
    for field in (*named, *_MADE):
        source = holder.get(field)
        if not isinstance(source, dict):
            continue
        kind, key = named.get(field, (field, ""))
        items: tuple[tuple[Where, str, str], ...] | None = tuple(
            ((*path, field, "items", index), str(item.get("key", "")), str(item.get("path", "")))
            for index, item in mappings(source.get("items"))
        )
        if not items:
            items = None if key else (((*path, field), "", str(source.get("path", _TOKEN))),)
        name = source.get(key) if key else ""
        yield Source(
            (*path, field),
            kind,
            name if isinstance(name, str) else "",
            (*path, field, key),
            items,
            source.get("optional") is True,
        )


def files(volume: Mapping[str, Any], known: Known) -> dict[str, Source] | None:
    """Return the files of a volume with their sources; None if not all of them are known.

    Of two sources with one file, the later is in effect: collectData in Kubernetes'
    pkg/volume/projected/projected.go.
    """
    found: dict[str, Source] = {}
    for source in sources(volume):
        own = source.files(known)
        if own is None:
            return None
        found |= dict.fromkeys(own, source)
    among = mappings(paths.get(volume, ("projected", "sources")))
    is_whole = all(one.keys() & {*_PROJECTED, *_MADE} for _, one in among)
    return found if is_whole else None


@dataclass(frozen=True, slots=True)
class Mounted:
    """A place in a volume that a path in a container leads to."""

    path: Where
    """Of the mount."""
    mount: Mapping[str, Any]
    inner: str
    """The path in the volume, with subPath, and with the variables of subPathExpr."""

    @property
    def volume(self) -> str:
        """Return the name of the volume."""
        return str(self.mount.get("name"))

    @property
    def folder(self) -> str:
        """Return where the volume is mounted, without a final /: empty for the root."""
        return str(self.mount.get("mountPath")).rstrip("/")


@lru_cache(maxsize=4096)
def _parts(path: str) -> tuple[str, ...]:
    return PurePosixPath(path).parts


def mounted(container: Container, file: str) -> Mounted | None:
    """Return what a path in a container leads to; None if it is in the image's own files."""
    wanted, found, depth = _parts(file), None, 0
    for path, mount in container.mounts():
        place = mount.get("mountPath")
        parts = _parts(place) if isinstance(place, str) else ()
        # The deepest mount hides what is mounted above it.
        if len(parts) > depth and wanted[: len(parts)] == parts:
            part = str(mount.get("subPath") or mount.get("subPathExpr") or "")
            inner = str(PurePosixPath(part, *wanted[len(parts) :]))
            found, depth = Mounted(path, mount, inner), len(parts)
    return found


@dataclass(frozen=True, slots=True)
class File:
    """What a path in a container leads to."""

    kind: str
    """ConfigMap, Secret, or the kind of volume as a pod spec has it: emptyDir, hostPath…

    persistentVolumeClaim is also for claims of a StatefulSet's own; nothing, where none is mounted.
    """
    name: str
    """Of the object, or of the volume that is the pod's own."""
    key: str
    """In the object; the path in the volume for others."""
    is_there: bool | None
    """None where only the cluster knows."""
    mounted: Mounted | None


def file(container: Container, path: str, pod: str, known: Known) -> File:
    """Return what a path in a container of a pod leads to."""
    found = mounted(container, path)
    if found is None:
        return File("", "", path, None, None)
    inner = containers.expanded(found.inner, containers.values(container, pod))
    # A claim of the StatefulSet's own replaces a volume of the same name.
    if any(name == found.volume for _, name, _ in container.workload.claim_templates()):
        return File("persistentVolumeClaim", found.volume, inner, None, found)
    volume = of_mount(container.workload, found.mount)
    return _in_volume(volume, inner, found, known) if volume else File("", "", path, None, found)


def of_mount(workload: Workload, mount: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the volume of a mount; None where the pod has none of its name."""
    return by_name(workload, mount.get("name"))


def by_name(workload: Workload, name: Any) -> dict[str, Any] | None:
    """Return the volume of a pod with a name; None if there is none."""
    return next((one for _, one in workload.volumes() if one.get("name") == name), None)


def _in_volume(volume: Mapping[str, Any], inner: str, found: Mounted, known: Known) -> File:
    """Return a file of a volume: from the last source that has it, or from one that may."""
    every = sources(volume)
    named = [one for one in every if one.name]
    for source in reversed(every):
        own = source.files(known) or {}
        if inner in own and source.name:
            # An item that the object lacks is not mounted at all: missing-config-key reports it.
            return File(source.kind, source.name, own[inner], True, found)
    for source in named:
        if source.files(known) is None:
            return File(source.kind, source.name, inner, None, found)
    if named:
        return File(named[0].kind, named[0].name, inner, False, found)
    kind = next((key for key in volume if key != "name"), "emptyDir")
    return File(kind, str(volume.get("name")), inner, None, found)


def claim(volume: Mapping[str, Any]) -> str:
    """Return the name of the PersistentVolumeClaim of a volume; empty if it is none."""
    return str(paths.get(volume, ("persistentVolumeClaim", "claimName")) or "")


def names(workload: Workload) -> dict[str, Where]:
    """Return the names of a pod's volumes and of its StatefulSet's claims, with their paths."""
    found = {str(one["name"]): path for path, one in workload.volumes() if "name" in one}
    return found | {name: path for path, name, _ in workload.claim_templates()}


def keys(manifest: Manifest) -> Keys:
    """Return the keys of a ConfigMap or a Secret; None for another object."""
    if manifest.kind not in ("ConfigMap", "Secret"):
        return None
    parts = (manifest.object.get(part) for part in ("data", "binaryData", "stringData"))
    return frozenset(str(key) for part in parts if isinstance(part, dict) for key in part)
