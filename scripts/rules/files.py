"""Files: the files, variables and secrets that a container is told of are there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from scripts import yamlio
from scripts.manifest import Where
from scripts.nodes import BESU, MARU, File, Node, Setting, look, of_workload
from scripts.rules.objects import Container, Objects
from scripts.rules.rule import Problem, rule
from scripts.workloads import mappings, whole

_FILES = {
    BESU: ("node-private-key-file", "engine-jwt-secret", "static-nodes-file"),
    MARU: ("persistence.private-key-path",),
}
_OPTIONS = ("config-file", "genesis-file", "maru-genesis-file", "config")
_SHELLS = ("sh", "bash")
_LOG4J = "-Dlog4j2.configurationFile="


@rule("https://kubernetes.io/docs/concepts/storage/volumes/")
def file_not_mounted(objects: Objects) -> Iterator[Problem]:
    """The files that a container's arguments and configuration name are mounted in it.

    Else it does not start; Maru makes up a key of its own, and is no validator.
    """
    done = set[tuple[str, Where, str]]()
    for node in objects.nodes:
        for setting in _files(node):
            for path in str(setting.value).split(","):
                file = node.file(path)
                key = (node.workload.manifest.label, node.container.path, path)
                if _is_there(setting, file) or key in done:
                    continue
                done.add(key)
                told = _not_there(setting, path, file, node.name)
                if file.kind:  # its volume has no such item
                    where = node.volume(file)
                    told = Problem(node.workload.manifest, where, told.message, told.fix)
                yield told
    for container in objects.containers:
        for where, name, script in _named(container):
            file = _look(objects, container, script)
            if file.kind and file.is_there is not False:
                continue
            setting = Setting(container.workload.manifest, where, name, script)
            yield _not_there(setting, script, file, container.name)


def _named(container: Container) -> Iterator[tuple[Where, str, str]]:
    """Yield the scripts that a container runs, and the file that one of them writes a secret to."""
    for path, script in _scripts(container):
        yield path, "the command", script
    for index, variable in mappings(container.data.get("env")):
        value = variable.get("value")
        if variable.get("name") == "SECRET_FILE" and isinstance(value, str):
            yield (*container.path, "env", index, "value"), "SECRET_FILE", value


def _files(node: Node) -> Iterator[Setting]:
    """Yield the settings that name files."""
    for key, setting in node.settings.items():
        if key in _FILES[node.program] or key.endswith(".jwt-secret-path"):
            yield setting
    for name in _OPTIONS:
        if name in node.options:
            yield node.options[name]
    for path, word in node.container.words():
        if word.startswith(_LOG4J):
            value = node.expanded(word.removeprefix(_LOG4J))
            yield Setting(node.workload.manifest, path, _LOG4J[:-1], value)
    if "KEY_FILE" in node.variables:
        yield node.variables["KEY_FILE"]


def _is_there(setting: Setting, file: File) -> bool:
    if not file.kind:
        return False
    # What a ConfigMap here lacks of these, the configurations' check tells; of keys, chain's rules.
    told = file.kind == "ConfigMap" and setting.called in ("--config", "--config-file")
    inner = file.mounted.inner if file.mounted else ""
    told = told or (file.kind == "Secret" and ("key" in setting.called.lower()))
    return told or file.is_there is not False or (inner == "." and "key" in setting.called)


def _not_there(setting: Setting, path: str, file: File, who: str) -> Problem:
    if file.kind:
        message = f"{setting.called} of {who} is {path}: {file.kind}/{file.name} has no {file.key}"
        fix = "write a file that is there, or add it to the volume's items"
    else:
        message = f"{setting.called} of {who} is {path}, and no volume is mounted there"
        fix = "write the path of a mounted file, or mount its volume there"
    return Problem(setting.manifest, setting.path, message, fix)


def _scripts(container: Container) -> Iterator[tuple[Where, str]]:
    """Yield the scripts that shells of a container run: its command, and those of its probes."""
    commands: list[Where] = [("command",)]
    probes = ("livenessProbe", "readinessProbe", "startupProbe")
    commands += [(probe, "exec", "command") for probe in probes]
    for path in commands:
        words = container.get(*path)
        if not isinstance(words, list) or len(words) < 2:
            continue
        shell, script = str(words[0]).rpartition("/")[2], str(words[1])
        if shell in _SHELLS and script.startswith("/"):
            yield (*container.path, *path, 1), script


def _look(objects: Objects, container: Container, path: str) -> File:
    workload = container.workload
    field = "initContainers" if container.first else "containers"
    own = next(c for c in of_workload(workload, field) if c.path == container.path)
    pod = f"{workload.manifest.name}-{whole(workload.get('spec', 'ordinals', 'start'), 0)}"
    config_maps = {manifest.name: manifest for manifest in objects.of_kind("ConfigMap")}
    return look(workload, own, path, pod, config_maps)


_REQUIRED = re.compile(r"\$\{([A-Z_]+)(:?)\?")
"""${NAME:?} of a shell: it must not be empty either; ${NAME?}: it must be there."""
_NEEDED = re.compile(r"^\s*need ([A-Z_ ]+)$", re.MULTILINE)


@rule("https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html#tag_19_06_02")
def script_lacks_variable(objects: Objects) -> Iterator[Problem]:
    """A script finds the variables in its container that it can't do without.

    It ends at once else: the container restarts for ever, or a backup is never made.
    """
    for container in objects.containers:
        given = {
            str(variable.get("name")): variable.get("value", "?" if "valueFrom" in variable else "")
            for _, variable in mappings(container.data.get("env"))
        }
        if container.get("envFrom"):
            continue
        command = [s for path, s in _scripts(container) if path[-2:] == ("command", 1)]
        for script in command[:1]:
            text = _text(objects, _look(objects, container, script))
            missing = [name for name in _required(text, given) if not given.get(name)]
            if missing:
                names = " and ".join(missing)
                message = f"{script} of {container.name} can't do without {names}: it fails at once"
                fix = f"give the container {names}, as the script says at its beginning"
                yield Problem(container.workload.manifest, (*container.path, "env"), message, fix)


def _required(text: str, given: Mapping[str, Any]) -> list[str]:
    found = [name for name, colon in _REQUIRED.findall(text) if colon or name not in given]
    found += [name for names in _NEEDED.findall(text) for name in names.split()]
    return list(dict.fromkeys(found))


def _text(objects: Objects, file: File) -> str:
    manifest = objects.find("ConfigMap", file.name) if file.kind == "ConfigMap" else None
    found = yamlio.get(manifest.object, ["data", file.key]) if manifest else None
    return found if isinstance(found, str) else ""


@rule("docs/chain.md")
def ethstats_secrets_differ(objects: Objects) -> Iterator[Problem]:
    """Nodes report to EthStats with the secret that it knows.

    With another, it turns them away, and its page stays empty.
    """
    server = {
        _reference(variable)
        for container in objects.containers
        for _, variable in mappings(container.data.get("env"))
        if variable.get("name") == "WS_SECRET"
    } - {None}
    for container in objects.containers:
        for index, variable in mappings(container.data.get("env")):
            own = _reference(variable) if variable.get("name") == "ETHSTATS_SECRET" else None
            if own is None or len(server) != 1 or own in server:
                continue
            (known,) = server
            message = (
                f"{container.name} of {container.workload.manifest.label} reports to EthStats with "
                f"the secret {own}, and EthStats knows {known}: it is turned away"
            )
            path = (*container.path, "env", index, "valueFrom", "secretKeyRef", "name")
            fix = "write the Secret and the key that EthStats has"
            yield Problem(container.workload.manifest, path, message, fix)


def _reference(variable: Mapping[str, Any]) -> str | None:
    """Return Secret/key of a variable."""
    found = yamlio.get(variable, ["valueFrom", "secretKeyRef"])
    return f"{found.get('name')}/{found.get('key')}" if isinstance(found, dict) else None
