"""The configuration of Besu and Maru in each pod, from workloads and ConfigMaps.

Precedence is that of the programs: arguments override variables, and variables override files.
Files are looked up in the ConfigMaps that are mounted. Objects that only the cluster has are
unknown here.
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
"""The prefix of the variables that override keys of Maru's file, with __ instead of dots."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of a program, and its position."""

    manifest: Manifest
    path: Where
    called: str
    """Its name in messages: --p2p-port, or config.toml: p2p-port."""
    value: Any


@dataclass(frozen=True, slots=True)
class Option:
    """An argument like --name=value, or like --name followed by its value."""

    path: Where
    name: str
    value: str | None


@dataclass(frozen=True, slots=True)
class Api:
    """A socket on which a program listens, by its configuration."""

    name: str
    """The name of its port."""
    port: int | None
    """None if it is not configured."""
    port_key: str
    on_key: str
    """The key that enables it; empty if it is always enabled."""
    is_on: bool
    host_key: str
    """Empty if the host is not configurable."""
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
"""The defaults of the programs. Sources: for Besu, the files that its tables of options name
(scripts/checks/option_tables.py); for Maru, config/Config.kt."""


@dataclass(frozen=True)
class Node:
    """Besu or Maru in pods of a workload that have the same settings."""

    workload: Workload
    container: Container
    program: str
    ordinals: tuple[int, ...]
    """The ordinals of the pods, up to the maximum number of replicas."""
    config_maps: Mapping[str, Manifest]

    @property
    def container_name(self) -> str:
        """Return the name of its container."""
        return self.container.name

    @property
    def name(self) -> str:
        """Return its name in messages, with its pod if it is one of several in the workload."""
        is_one_pod = len(self.ordinals) == 1 and self.workload.most > 1
        owner = self.pod if is_one_pod else self.workload.manifest.label
        return f"{self.container_name} of {owner}"

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
        """Return name, without --, → argument; without a value, it is "true"."""
        settings = {}
        for option in options(self.container.words()):
            value = "true" if option.value is None else self.expanded(option.value)
            called = f"--{option.name}"
            settings[option.name] = Setting(self.workload.manifest, option.path, called, value)
        return settings

    @cached_property
    def variables(self) -> dict[str, Setting]:
        """Return name → environment variable, of those whose values are known here."""
        return {
            (name := str(variable.get("name"))): Setting(
                self.workload.manifest, (*path, "value"), name, value
            )
            for path, variable in self.container.variables()
            if (value := containers.known_value(variable)) is not None
        }

    @cached_property
    def settings(self) -> dict[str, Setting]:
        """Return key → its effective setting; keys of tables have dots."""
        if self.program == BESU:
            settings = dict(self._of_files(self.options.get("config-file")))
            for name, variable in self.variables.items():
                if name.startswith("BESU_"):
                    settings[name.removeprefix("BESU_").replace("_", "-").lower()] = variable
            return settings | self.options
        settings = dict(self._of_files(self.options.get("config")))
        keys = {_normal(key): key for key in settings}
        for name, variable in self.variables.items():
            key = name.replace("__", ".").removeprefix(f"{_OVERRIDE}override.")
            if name.startswith(_OVERRIDE[:-1] + "__override__"):
                settings[keys.get(_normal(key), key)] = variable
        return settings

    @property
    def is_known(self) -> bool:
        """Return whether its configuration is known: a file may be missing, or on the cluster."""
        option = self.options.get("config-file" if self.program == BESU else "config")
        in_files = any(s.manifest.kind == "ConfigMap" for s in self.settings.values())
        return option is None or in_files

    @cached_property
    def apis(self) -> list[Api]:
        """Return the sockets on which it listens; none if its configuration is unknown."""
        apis = list[Api]()
        if not self.is_known:
            return apis
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
            apis.append(replace(api, port=number, is_on=is_on, host=str(host)))
        return apis

    @cached_property
    def peers(self) -> list[tuple[Setting, str]]:
        """Return its configured peers with their settings: enodes, or multiaddresses."""
        lists = [self.settings.get("bootnodes" if self.program == BESU else "p2p.static-peers")]
        lists += [self.static_nodes]
        return [(setting, text) for setting in lists if setting for text in listed(setting)]

    @cached_property
    def static_nodes(self) -> Setting | None:
        """Return Besu's list of static nodes, which is in a separate file."""
        setting = self.settings.get("static-nodes-file")
        file = self.file(str(setting.value)) if setting else None
        manifest = self.config_maps.get(file.name) if file and file.kind == "ConfigMap" else None
        text = paths.get(manifest.object, ["data", file.key]) if file and manifest else None
        if manifest is None or file is None or not isinstance(text, str):
            return None
        try:
            data = tomlio.from_json(text, f"{file.name}/{file.key}").data
        except UserError:  # Besu reports it at its start
            return None
        return Setting(manifest, ("data", file.key), file.key, data)

    def file(self, path: str, pod: str = "") -> File:
        """Return the source of a file in its container, in the given or the first pod."""
        key = path, pod or self.pod
        if key not in self._files:
            self._files[key] = volumes.file(self.container, *key, self._keys)
        return self._files[key]

    @cached_property
    def _keys(self) -> volumes.Known:
        return {("ConfigMap", name): volumes.keys(each) for name, each in self.config_maps.items()}

    def volume(self, file: File) -> Where:
        """Return the path of a file's volume; for a StatefulSet's claim template, of its mount."""
        if file.mounted is None:
            return self.container.path
        of_pod = self.workload.volumes()
        among = (path for path, volume in of_pod if volume.get("name") == file.mounted.volume)
        return next(among, file.mounted.path)

    def claim(self, file: File) -> str:
        """Return the name of the claim of a pod's volume; empty for a claim template's."""
        for _, volume in self.workload.volumes():
            if volume.get("name") == file.name:
                return volumes.claim(volume)
        return ""

    def place(self, setting: Setting | None) -> tuple[Manifest, Where]:
        """Return the position of a setting; for None, that of the first other setting in a file."""
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
        """Return ConfigMap, key and text of the file that an option names, if it is known."""
        setting = self.options.get(option)
        file = self.file(str(setting.value)) if setting else None
        if file is None or file.kind != "ConfigMap" or file.name not in self.config_maps:
            return None
        manifest = self.config_maps[file.name]
        text = paths.get(manifest.object, ["data", file.key])
        return (manifest, file.key, text) if isinstance(text, str) else None

    def expanded(self, text: str) -> str:
        """Return a text with its $(VARIABLE) references replaced, if they are known."""
        return containers.expanded(text, containers.values(self.container, self.pod))

    def _of_files(self, option: Setting | None) -> Iterator[tuple[str, Setting]]:
        """Yield the settings in the files that an option names."""
        for path in str(option.value).split(",") if option else ():
            file = self.file(path)
            manifest = self.config_maps.get(file.name) if file.kind == "ConfigMap" else None
            text = paths.get(manifest.object, ["data", file.key]) if manifest else None
            if manifest is None or not isinstance(text, str):
                continue
            try:
                document = tomlio.toml(text, f"{file.name}/{file.key}")
            except UserError:  # checks/node_options reports it
                continue
            for key, value in _leaves(document.data, ""):
                short = key.rpartition(".")[2] if self.program == BESU else key
                where = ("data", file.key)
                yield short, Setting(manifest, where, f"{file.key}: {key}", value)


def nodes(workloads: Sequence[Workload], config_maps: Sequence[Manifest]) -> list[Node]:
    """Return the nodes of workloads: one per pod if its files depend on the pod's name, or one."""
    by_name = {manifest.name: manifest for manifest in config_maps}
    result = []
    for workload in workloads:
        start = whole(workload.get("spec", "ordinals", "start"), 0)
        ordinals = tuple(range(start, start + max(workload.most, 1)))
        for container in containers.of(workload):
            runs = "" if container.is_init else program(container)
            if not runs:
                continue
            own = {
                str(variable.get("name"))
                for _, variable in container.variables()
                if containers.is_pod_name(variable)
            }
            values = (option.value or "" for option in options(container.words()))
            per_pod = any(own & containers.references(value) for value in values)
            groups = [(ordinal,) for ordinal in ordinals] if per_pod else [ordinals]
            result += [Node(workload, container, runs, group, by_name) for group in groups]
    return result


def program(container: Container) -> str:
    """Return the program that a container runs: Besu, Maru, or "" for another."""
    words = [word for _, word in container.words()]
    if any(PurePosixPath(word).name == "maru.jar" for word in words):
        return MARU
    started = any(PurePosixPath(word).name == "besu" for word in words)
    # A script may pass its own arguments to it.
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
    """Return the strings of a list; an argument separates them with commas."""
    value = setting.value if setting else None
    if isinstance(value, str):
        return value.split(",")
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _leaves(table: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _normal(name: str) -> str:
    """Return a key in the form in which Maru compares keys."""
    return name.replace("-", "").replace("_", "").lower()
