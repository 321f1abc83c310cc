"""What the containers of an environment run, and which files they see: manifests → containers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

import yaml

from scripts.core import paths
from scripts.kubernetes.manifest import PODS, Where

EXPANDED = re.compile(r"\$\([A-Za-z_][A-Za-z0-9_]*\)")
"""A reference that Kubernetes replaces with the variable's value."""


@dataclass(frozen=True, slots=True)
class Container:
    """A container, what it runs in, and what can be found from there."""

    kind: str
    name: str
    path: Where
    data: dict[str, Any]
    volumes: list[Any]
    manifests: Mapping[str, str]
    """File name → text, of the whole environment."""

    @property
    def image(self) -> str:
        """Return the last part of the image's name: besu of hyperledger/besu:25.11.0."""
        return re.split("[:@]", str(self.data.get("image", "")).rpartition("/")[2])[0]

    def words(self) -> list[tuple[Where, str]]:
        """Return command and arguments, each with its path."""
        return [
            ((*self.path, field, index), word)
            for field in ("command", "args")
            for index, word in enumerate(listed(self.data.get(field)))
            if isinstance(word, str)
        ]

    def variables(self) -> Iterator[tuple[Where, str, str | None]]:
        """Yield the environment: path, name, and value where it is known here."""
        for index, variable in enumerate(listed(self.data.get("env"))):
            name = paths.get(variable, ["name"])
            if isinstance(name, str):
                value = paths.get(variable, ["value"])
                known = isinstance(value, str) and not EXPANDED.search(value)
                yield (*self.path, "env", index), name, value if known else None


@dataclass(frozen=True, slots=True)
class Option:
    """An argument like --name=value; the value may also be the word after it."""

    path: Where
    name: str
    value: str | None


@dataclass(frozen=True, slots=True)
class Mounted:
    """A place in a volume that a path in a container leads to."""

    path: Where
    """Of the mount."""
    mount: Mapping[str, Any]
    inner: str
    """The path in the volume, with subPath, and with the variables of subPathExpr."""


@dataclass(frozen=True, slots=True)
class Text:
    """A file in a ConfigMap."""

    config_map: str
    key: str
    text: str

    @property
    def file(self) -> str:
        """Return what documents are called, so that a finding leads back here."""
        return f"{self.config_map}/{self.key}"


def containers(manifests: Mapping[str, str]) -> Iterator[Container]:
    """Yield the containers of pods that name Besu or Maru; init containers first.

    manifests: file name → text, as render writes them.
    """
    for file, text in manifests.items():
        path = PODS.get(file.partition("-")[0])
        if path is None or not ("besu" in text or "maru" in text):
            continue
        data = _object(text)
        pod = paths.get(data, path)
        if not isinstance(pod, dict):
            continue
        name = str(paths.get(data, ["metadata", "name"]))
        for field in ("initContainers", "containers"):
            for index, container in enumerate(listed(pod.get(field))):
                if isinstance(container, dict):
                    where = (*path, field, index)
                    volumes = listed(pod.get("volumes"))
                    yield Container(str(data["kind"]), name, where, container, volumes, manifests)


@lru_cache
def _object(text: str) -> Any:
    return yaml.load(text, yaml.CSafeLoader)


def listed(value: Any) -> list[Any]:
    """Return a list; empty if the value is not one, which the schemas' layer reports."""
    return value if isinstance(value, list) else []


def options(words: Sequence[tuple[Where, str]]) -> list[Option]:
    """Return the arguments that begin with --, each with its value."""
    found = []
    for index, (path, word) in enumerate(words):
        if not word.startswith("--"):
            continue
        name, equals, value = word[2:].partition("=")
        if equals:
            found.append(Option(path, name, value))
        elif index + 1 < len(words) and not words[index + 1][1].startswith("-"):
            found.append(Option(path, name, words[index + 1][1]))
        else:
            found.append(Option(path, name, None))
    return found


def look(container: Container, file: str) -> tuple[str | None, str, list[Text]]:
    """Return the ConfigMap that a path in a container leads to, the key, and the texts there.

    No ConfigMap, where the file is the image's own or one that the cluster has. Where the path has
    a variable in it, all keys that fit are there: each pod has another value.
    """
    config_map, key = _behind(container, file)
    if config_map is None or not isinstance(_data(container, config_map), dict):
        return None, key, []
    held = _data(container, config_map)
    fitting = [name for name in held if re.fullmatch(_pattern(container, key), name)]
    texts = [Text(config_map, name, held[name]) for name in fitting if isinstance(held[name], str)]
    return config_map, key, texts


def program(container: Container) -> str:
    """Return which program a container runs, Besu or Maru; nothing for another."""
    words = [word for _, word in container.words()]
    if any(PurePosixPath(word).name == "maru.jar" for word in words):
        return "Maru"
    started = any(PurePosixPath(word).name == "besu" for word in words)
    # A script may start it with the arguments that it was given itself.
    passed = "besu" in container.image and any(word.startswith("--") for word in words)
    return "Besu" if started or passed else ""


def mounted(container: Container, file: str) -> Mounted | None:
    """Return what a path in a container leads to; None if it is in the image's own files."""
    mounts = [m for m in enumerate(listed(container.data.get("volumeMounts"))) if _is_mount(m[1])]
    wanted = PurePosixPath(file).parts
    for index, mount in sorted(mounts, key=lambda m: -len(m[1]["mountPath"])):
        place = PurePosixPath(mount["mountPath"]).parts
        if wanted[: len(place)] == place:
            part = str(mount.get("subPath") or mount.get("subPathExpr") or "")
            inner = str(PurePosixPath(part, *wanted[len(place) :]))
            return Mounted((*container.path, "volumeMounts", index), mount, inner)
    return None


def _is_mount(mount: Any) -> bool:
    return isinstance(mount, dict) and isinstance(mount.get("mountPath"), str)


def keys(container: Container, config_map: str) -> list[str]:
    """Return the keys of a ConfigMap of the environment."""
    return list(_data(container, config_map) or {})


def _data(container: Container, config_map: str) -> Any:
    """Return what a ConfigMap of the environment holds, None for another."""
    text = container.manifests.get(f"configmap-{config_map}.yaml".lower())
    return None if text is None else (_object(text).get("data") or {})


def _pattern(container: Container, key: str) -> str:
    """Return what a key looks like once Kubernetes has put the values of variables into it."""
    parts = re.split(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)", key)
    pods = [
        paths.get(variable, ["name"])
        for variable in listed(container.data.get("env"))
        if paths.get(variable, ["valueFrom", "fieldRef", "fieldPath"]) == "metadata.name"
    ]
    pod = re.escape(container.name) + "-[-a-z0-9]+"
    return "".join(
        re.escape(part) if index % 2 == 0 else pod if part in pods else ".+"
        for index, part in enumerate(parts)
    )


def _behind(container: Container, file: str) -> tuple[str | None, str]:
    """Return the ConfigMap and the key that a path in a container leads to; None for others."""
    found = mounted(container, file)
    if found:
        for volume in container.volumes:
            if isinstance(volume, dict) and volume.get("name") == found.mount.get("name"):
                return _of_volume(volume, found.inner)
    return None, ""


def _of_volume(volume: dict[str, Any], inner: str) -> tuple[str | None, str]:
    sources = [volume, *listed(paths.get(volume, ["projected", "sources"]))]
    for source in sources:
        name = paths.get(source, ["configMap", "name"])
        if not isinstance(name, str):
            continue
        items = paths.get(source, ["configMap", "items"])
        if not items:
            return name, inner
        for item in listed(items):
            if paths.get(item, ["path"]) == inner:
                return name, str(paths.get(item, ["key"]))
    return None, ""
