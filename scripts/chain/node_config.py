"""What Besu and Maru run with, in each pod: workloads and ConfigMaps → nodes.

As the programs themselves read it: an argument is stronger than a variable, and that than a file.
Arguments and mounts are followed to the texts in ConfigMaps; what a cluster has beside the
manifests is not known here, and neither is what stands in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from scripts.core import paths, tomlio
from scripts.core.findings import UserError
from scripts.kubernetes import containers
from scripts.kubernetes.containers import Container, Mounted
from scripts.kubernetes.manifest import PODS, Manifest, Where
from scripts.kubernetes.workloads import Workload, mappings, whole

BESU, MARU = "Besu", "Maru"

_VARIABLE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")
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
        return str(self.container.data.get("name", ""))

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
        words = self.container.words()
        found = {}
        for option in containers.options(words):
            value = "true" if option.value is None else self.expanded(option.value)
            called = f"--{option.name}"
            found[option.name] = Setting(self.workload.manifest, option.path, called, value)
        return found

    @cached_property
    def variables(self) -> dict[str, Setting]:
        """Return the environment, without what only the cluster knows."""
        return {
            name: Setting(self.workload.manifest, (*path, "value"), name, value)
            for path, name, value in self.container.variables()
            if value is not None
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
            self._files[key] = look(self.workload, self.container, *key, self.config_maps)
        return self._files[key]

    def volume(self, file: File) -> Where:
        """Return the path of the volume that a file is in; of a StatefulSet's claim, its mount."""
        name = file.mounted.mount.get("name") if file.mounted else None
        for index, volume in enumerate(self.container.volumes):
            if paths.get(volume, ["name"]) == name:
                return (*PODS[self.workload.manifest.kind.lower()], "volumes", index)
        return file.mounted.path if file.mounted else self.container.path

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
        return expanded(text, self.container, self.pod)

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
        for container in of_workload(workload):
            program = containers.program(container)
            if not program:
                continue
            configs = [o.value or "" for o in containers.options(container.words())]
            apart = any(name in value for name in _pod_names(container) for value in configs)
            groups = [(one,) for one in ordinals] if apart else [ordinals]
            found += [Node(workload, container, program, group, by_name) for group in groups]
    return found


def of_workload(workload: Workload, field: str = "containers") -> Iterator[Container]:
    """Yield the containers of a workload's pods."""
    path = PODS[workload.manifest.kind.lower()]
    volumes = containers.listed(workload.get(*path, "volumes"))
    for index, data in mappings(workload.get(*path, field)):
        manifest = workload.manifest
        where: Where = (*path, field, index)
        yield Container(manifest.kind, manifest.name, where, data, volumes, {})


def listed(setting: Setting | None) -> list[str]:
    """Return the texts of a list, which an argument has with commas."""
    value = setting.value if setting else None
    if isinstance(value, str):
        return value.split(",")
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def expanded(text: str, container: Container, pod: str) -> str:
    """Return a text as Kubernetes gives it to a container of a pod: $(VARIABLE) is its value."""
    if "$(" not in text:
        return text
    known = {name: value for _, name, value in container.variables() if value is not None}
    known |= dict.fromkeys((name[2:-1] for name in _pod_names(container)), pod)
    return _VARIABLE.sub(lambda found: known.get(found[1], found[0]), text)


def look(
    workload: Workload,
    container: Container,
    path: str,
    pod: str,
    config_maps: Mapping[str, Manifest],
) -> File:
    """Return what a path in a container of a pod leads to."""
    found = containers.mounted(container, path)
    if found is None:
        return File("", "", path, None, None)
    name, inner = found.mount.get("name"), expanded(found.inner, container, pod)
    for _, template in mappings(workload.get("spec", "volumeClaimTemplates")):
        if paths.get(template, ["metadata", "name"]) == name:
            return File("persistentVolumeClaim", str(name), inner, None, found)
    for volume in container.volumes:
        if isinstance(volume, dict) and volume.get("name") == name:
            return _in_volume(volume, inner, found, config_maps)
    return File("", "", path, None, found)


def _in_volume(
    volume: Mapping[str, Any], inner: str, found: Mounted, config_maps: Mapping[str, Manifest]
) -> File:
    name, projected = str(volume.get("name")), paths.get(volume, ["projected", "sources"])
    missing: File | None = None
    for source in [volume, *containers.listed(projected)]:
        file = _in_source(source, inner, found, config_maps)
        if file is None:
            continue
        if file.is_there is not False:
            return file
        missing = missing or file
    kind = next((key for key in volume if key != "name"), "emptyDir")
    kind = "projected" if projected else kind
    return missing or File(kind, name, inner, None, found)


def _in_source(
    source: Any, inner: str, found: Mounted, config_maps: Mapping[str, Manifest]
) -> File | None:
    """Return a file of a ConfigMap or a Secret; None for another source."""
    for kind, field, key in (
        ("ConfigMap", "configMap", "name"),
        ("Secret", "secret", "secretName"),
        ("Secret", "secret", "name"),
    ):
        name = paths.get(source, [field, key])
        if not isinstance(name, str):
            continue
        items = [item for _, item in mappings(paths.get(source, [field, "items"]))]
        keys = [str(item.get("key")) for item in items if item.get("path") == inner]
        if items:
            return File(kind, name, keys[0] if keys else inner, bool(keys), found)
        held = paths.get(config_maps[name].object, ["data"]) if name in config_maps else None
        known = kind == "ConfigMap" and isinstance(held, dict)
        return File(kind, name, inner, inner in held if known and held else None, found)
    return None


def _pod_names(container: Container) -> list[str]:
    """Return $(VARIABLE) for each variable that holds the pod's name."""
    return [
        f"$({variable.get('name')})"
        for _, variable in mappings(container.data.get("env"))
        if paths.get(variable, ["valueFrom", "fieldRef", "fieldPath"]) == "metadata.name"
    ]


def _leaves(table: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _normal(name: str) -> str:
    """Return a key as Maru compares keys."""
    return name.replace("-", "").replace("_", "").lower()
