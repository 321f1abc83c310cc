"""What Besu and Maru run with, in each pod: workloads and ConfigMaps → nodes.

As the programs themselves read it: an argument is stronger than a variable, and that than a file.
Arguments and mounts are followed to the texts in ConfigMaps; what a cluster has beside the
manifests is not known here, and neither is what stands in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from scripts.core import paths, tomlio
from scripts.core.findings import UserError
from scripts.kubernetes import containers, volumes
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.volumes import File
from scripts.kubernetes.workloads import Workload, whole

BESU, MARU = "Besu", "Maru"

_OVERRIDE = "config."
"""How the keys begin that Maru's variables override, __ being dots."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a program is told, and where."""

    manifest: Manifest
    path: Where
    called: str
    """As people find it there: --p2p-port, or config.toml: p2p-port."""
    value: Any


@dataclass(frozen=True, slots=True)
class Option:
    """An argument like --name=value; the value may also be the word after it."""

    path: Where
    name: str
    value: str | None


@dataclass(frozen=True, slots=True)
class Api:
    """Where a program listens, as its configuration says."""

    name: str
    """As its port is called."""
    port: int | None
    """None where nothing says it."""
    port_key: str
    on_key: str
    """Of what switches it on; nothing where it always is."""
    is_on: bool
    host_key: str
    """Nothing where it can't be told."""
    host: str


_APIS = {
    BESU: (
        Api("rpc", 8545, "rpc-http-port", "rpc-http-enabled", False, "rpc-http-host", "127.0.0.1"),
        Api("ws", 8546, "rpc-ws-port", "rpc-ws-enabled", False, "rpc-ws-host", "127.0.0.1"),
        Api("engine", 8551, "engine-rpc-port", "engine-rpc-enabled", True, "rpc-http-host", ""),
        Api("p2p", 30303, "p2p-port", "p2p-enabled", True, "p2p-interface", ""),
        Api("metrics", 9545, "metrics-port", "metrics-enabled", False, "metrics-host", "127.0.0.1"),
    ),
    MARU: (
        Api("api", 5060, "api.port", "", True, "", ""),
        Api("p2p", 9000, "p2p.port", "", True, "p2p.ip-address", "127.0.0.1"),
        Api("p2p-udp", None, "p2p.discovery.port", "", True, "p2p.ip-address", "127.0.0.1"),
        Api("metrics", 9545, "observability.port", "", True, "", ""),
    ),
}
"""With the programs' defaults: the options' files that scripts/checks/besu.schema.json names, and
Maru's config/Config.kt."""


@dataclass(frozen=True)
class Node:
    """Besu or Maru in the pods of a workload that have the same settings."""

    workload: Workload
    container: Container
    program: str
    ordinals: tuple[int, ...]
    """Of the pods, up to the most that there may be."""
    config_maps: Mapping[str, Manifest]

    @property
    def container_name(self) -> str:
        """Return the name of its container."""
        return self.container.name

    @property
    def name(self) -> str:
        """Return what people call it: the pod where there is a node for each, else the workload."""
        one = len(self.ordinals) == 1 and self.workload.most > 1
        return f"{self.container_name} of {self.pod if one else self.workload.manifest.label}"

    @property
    def pods(self) -> list[str]:
        """Return the names of its pods."""
        return [f"{self.workload.manifest.name}-{ordinal}" for ordinal in self.ordinals]

    @property
    def pod(self) -> str:
        """Return the name of its first pod."""
        return self.pods[0]

    @cached_property
    def options(self) -> dict[str, Setting]:
        """Return its arguments by name, without --; a switch without a value is on."""
        found = {}
        for option in options(self.container.words()):
            value = "true" if option.value is None else self.expanded(option.value)
            called = f"--{option.name}"
            found[option.name] = Setting(self.workload.manifest, option.path, called, value)
        return found

    @cached_property
    def variables(self) -> dict[str, Setting]:
        """Return the environment, without what only the cluster knows."""
        return {
            str(one.get("name")): Setting(
                self.workload.manifest, (*path, "value"), str(one.get("name")), value
            )
            for path, one in self.container.variables()
            if (value := containers.known_value(one)) is not None
        }

    @cached_property
    def settings(self) -> dict[str, Setting]:
        """Return what it is configured with, by key; keys of a table with dots."""
        if self.program == BESU:
            found = dict(self._of_files(self.options.get("config-file")))
            for name, variable in self.variables.items():
                if name.startswith("BESU_"):
                    found[name.removeprefix("BESU_").replace("_", "-").lower()] = variable
            return found | self.options
        found = dict(self._of_files(self.options.get("config")))
        normal = {_normal(key): key for key in found}
        for name, variable in self.variables.items():
            key = name.replace("__", ".").removeprefix(f"{_OVERRIDE}override.")
            if name.startswith(_OVERRIDE[:-1] + "__override__"):
                found[normal.get(_normal(key), key)] = variable
        return found

    @property
    def is_known(self) -> bool:
        """Return whether its configuration is here: a file may be the cluster's, or missing."""
        named = self.options.get("config-file" if self.program == BESU else "config")
        in_files = any(one.manifest.kind == "ConfigMap" for one in self.settings.values())
        return named is None or in_files

    @cached_property
    def apis(self) -> list[Api]:
        """Return where it listens; nowhere, where its configuration is not known."""
        found = list[Api]()
        if not self.is_known:
            return found
        for api in _APIS[self.program]:
            port, on, host = (
                self.settings[key].value if key in self.settings else default
                for key, default in (
                    (api.port_key, api.port),
                    (api.on_key, api.is_on),
                    (api.host_key, api.host),
                )
            )
            number = int(str(port)) if str(port).isdecimal() else None
            is_on = str(on).lower() == "true"
            found.append(replace(api, port=number, is_on=is_on, host=str(host)))
        return found

    @cached_property
    def peers(self) -> list[tuple[Setting, str]]:
        """Return the peers that it is told of, as it is told: enodes, or multiaddresses."""
        lists = [self.settings.get("bootnodes" if self.program == BESU else "p2p.static-peers")]
        lists += [self.static_nodes]
        return [(setting, text) for setting in lists if setting for text in listed(setting)]

    @cached_property
    def static_nodes(self) -> Setting | None:
        """Return Besu's list of static nodes, which is in a file of its own."""
        named = self.settings.get("static-nodes-file")
        file = self.file(str(named.value)) if named else None
        manifest = self.config_maps.get(file.name) if file and file.kind == "ConfigMap" else None
        text = paths.get(manifest.object, ["data", file.key]) if file and manifest else None
        if manifest is None or file is None or not isinstance(text, str):
            return None
        try:
            data = tomlio.from_json(text, f"{file.name}/{file.key}").data
        except UserError:  # Besu itself tells
            return None
        return Setting(manifest, ("data", file.key), file.key, data)

    def file(self, path: str, pod: str = "") -> File:
        """Return what a path in its container leads to, in a pod or the first."""
        key = path, pod or self.pod
        if key not in self._files:
            self._files[key] = volumes.file(self.container, *key, self._keys)
        return self._files[key]

    @cached_property
    def _keys(self) -> volumes.Known:
        return {("ConfigMap", name): volumes.keys(one) for name, one in self.config_maps.items()}

    def volume(self, file: File) -> Where:
        """Return the path of the volume that a file is in; of a StatefulSet's claim, its mount."""
        if file.mounted is None:
            return self.container.path
        names = (
            path for path, one in self.workload.volumes() if one.get("name") == file.mounted.volume
        )
        return next(names, file.mounted.path)

    def claim(self, file: File) -> str:
        """Return the claim that a pod's volume names; nothing for one of the StatefulSet's own."""
        for _, volume in self.workload.volumes():
            if volume.get("name") == file.name:
                return str(paths.get(volume, ["persistentVolumeClaim", "claimName"]) or "")
        return ""

    def place(self, setting: Setting | None) -> tuple[Manifest, Where]:
        """Return where a setting is, or where it belongs: with the others in the file."""
        if setting:
            return setting.manifest, setting.path
        in_files = (s for s in self.settings.values() if s.manifest.kind == "ConfigMap")
        first = next(in_files, None)
        own = (self.workload.manifest, (*self.container.path, "args"))
        return (first.manifest, first.path) if first else own

    @cached_property
    def _files(self) -> dict[tuple[str, str], File]:
        return {}

    def text(self, option: str) -> tuple[Manifest, str, str] | None:
        """Return ConfigMap, key and text of the file that an option names, if it is here."""
        named = self.options.get(option)
        file = self.file(str(named.value)) if named else None
        if file is None or file.kind != "ConfigMap" or file.name not in self.config_maps:
            return None
        manifest = self.config_maps[file.name]
        text = paths.get(manifest.object, ["data", file.key])
        return (manifest, file.key, text) if isinstance(text, str) else None

    def expanded(self, text: str) -> str:
        """Return a text with the variables that are known in their places."""
        return containers.expanded(text, containers.values(self.container, self.pod))

    def _of_files(self, named: Setting | None) -> Iterator[tuple[str, Setting]]:
        for path in str(named.value).split(",") if named else ():
            file = self.file(path)
            manifest = self.config_maps.get(file.name) if file.kind == "ConfigMap" else None
            text = paths.get(manifest.object, ["data", file.key]) if manifest else None
            if manifest is None or not isinstance(text, str):
                continue
            try:
                document = tomlio.toml(text, f"{file.name}/{file.key}")
            except UserError:  # told with the configurations
                continue
            for key, value in _leaves(document.data, ""):
                short = key.rpartition(".")[2] if self.program == BESU else key
                where = ("data", file.key)
                yield short, Setting(manifest, where, f"{file.key}: {key}", value)


def nodes(workloads: Sequence[Workload], config_maps: Sequence[Manifest]) -> list[Node]:
    """Return the nodes: one for each pod where its name decides what it reads, else one for all."""
    by_name = {manifest.name: manifest for manifest in config_maps}
    found = []
    for workload in workloads:
        start = whole(workload.get("spec", "ordinals", "start"), 0)
        ordinals = tuple(range(start, start + max(workload.most, 1)))
        for container in containers.of(workload):
            runs = "" if container.is_init else program(container)
            if not runs:
                continue
            own = {
                str(one.get("name"))
                for _, one in container.variables()
                if containers.is_pod_name(one)
            }
            told = (option.value or "" for option in options(container.words()))
            apart = any(own & containers.references(value) for value in told)
            groups = [(one,) for one in ordinals] if apart else [ordinals]
            found += [Node(workload, container, runs, group, by_name) for group in groups]
    return found


def program(container: Container) -> str:
    """Return which program a container runs, Besu or Maru; nothing for another."""
    words = [word for _, word in container.words()]
    if any(PurePosixPath(word).name == "maru.jar" for word in words):
        return MARU
    started = any(PurePosixPath(word).name == "besu" for word in words)
    # A script may start it with the arguments that it was given itself.
    passed = "besu" in container.image and any(word.startswith("--") for word in words)
    return BESU if started or passed else ""


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


def listed(setting: Setting | None) -> list[str]:
    """Return the texts of a list, which an argument has with commas."""
    value = setting.value if setting else None
    if isinstance(value, str):
        return value.split(",")
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _leaves(table: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _normal(name: str) -> str:
    """Return a key as Maru compares keys."""
    return name.replace("-", "").replace("_", "").lower()
