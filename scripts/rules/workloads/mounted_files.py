"""Files: what containers start, read and mount by its path is in the volumes that they mount."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from scripts.chain.node_config import BESU, MARU, Node, Setting
from scripts.core import paths
from scripts.kubernetes import containers, volumes
from scripts.kubernetes.containers import HANDLERS, PROBES, Container
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.volumes import File
from scripts.kubernetes.workloads import Workload
from scripts.rules import named_objects
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects

_VOLUMES = "https://kubernetes.io/docs/concepts/storage/volumes/"
_PATH = re.compile(r"(?:^|[=,\s])(/[-\w./]*[-\w.])(?=$|[,\s])")
"""An absolute path in an argument, or after its =."""
_QUOTED = re.compile(r"\"(/[-\w./]*[-\w.])\"")
_BELOW = re.compile(r"\$\{?([A-Z_]+)\}?/([\w.-]*\w)(?=[\s\")]|$)", re.MULTILINE)
"""A file that a script looks for in a folder, $FOLDER/file."""
_SOURCED = re.compile(r"^\s*\. \"?\$\{0%/\*\}/([-\w.]+)\"?", re.MULTILINE)
"""A file beside a script, which it reads as a part of itself."""
_SHEBANG = re.compile(r"#!\s*(/\S*/(?:ba|da|k|a)?sh)\s*$", re.MULTILINE)
_MISSPELT = 0.9
"""How near two paths must be for one to be taken for the other."""

_OF_NODES = {
    BESU: ("node-private-key-file", "engine-jwt-secret", "static-nodes-file"),
    MARU: ("persistence.private-key-path",),
}
_OPTIONS = ("config-file", "genesis-file", "maru-genesis-file", "config")
_LOG4J = "-Dlog4j2.configurationFile="


@rule(_VOLUMES + "#using-subpath")
def missing_sub_path(objects: Objects) -> Iterator[Problem]:
    """A subPath of a volume made of files is one of the files.

    Else an empty folder is mounted in its place.
    """
    for workload in objects.makers:
        holds, places = _files(objects, workload), volumes.names(workload)
        for container in containers.of(workload):
            for path, mount in container.mounts():
                field = "subPathExpr" if "subPathExpr" in mount else "subPath"
                known = holds.get(str(mount.get("name")))
                if known is None or not isinstance(mount.get(field), str):
                    continue
                for name in _expanded(container, mount[field]):
                    if _lacks(known, name):
                        has = f"only {', '.join(sorted(known))}" if known else "no file"
                        message = (
                            f"the container {container.name} mounts {name} of the volume"
                            f" {mount['name']}, which has {has}"
                        )
                        near = difflib.get_close_matches(name, known, 1)
                        fix = f"write {near[0] if near else 'one that it has'}"
                        where = (*path, field)
                        if field == "subPathExpr":
                            fix = f"add {name} to the volume's items"
                            where = places.get(str(mount["name"]), where)
                        yield Problem(workload.manifest, where, message, fix)
                        break


@rule(_VOLUMES)
def file_not_mounted(objects: Objects) -> Iterator[Problem]:
    """A file that a container starts, reads or is told of by its path is mounted there.

    Else it ends at once, or its probe fails; Maru makes up a key of its own, and is no validator.
    """
    told = dict[tuple[str, Where], set[str]]()
    for workload in objects.makers:
        holds = _files(objects, workload)
        everything = list(containers.of(workload))
        folders = {
            mount["mountPath"].rstrip("/")
            for one in everything
            for _, mount in one.mounts()
            if isinstance(mount.get("mountPath"), str)
        }
        for container in everything:
            done = set[Where]()
            for path, text, whole in (*_paths(container), *_in_files(objects, container)):
                found = _no_file(objects, container, path, text, holds, folders, whole)
                if found and found.path not in done:
                    done.add(found.path)
                    told.setdefault(container.place, set()).add(text)
                    yield found
    yield from _not_of_nodes(objects, told)
    yield from _not_beside(objects)


@rule("https://docs.oracle.com/en/java/javase/25/docs/specs/man/java.html")
def missing_java_jar(objects: Objects) -> Iterator[Problem]:
    """What starts a JVM with a jar says -jar, and the jar after it.

    Else java takes the next word for a class, and ends at once.
    """
    for container in objects.containers:
        words = container.words()
        texts = [word for _, word in words]
        for (path, word), before, after in zip(words, ["", *texts], [*texts[1:], ""], strict=False):
            message, fix = "", ""
            if word == "-jar" and not after.endswith(".jar"):
                message = f"-jar of {container.name} is followed by {after or 'nothing'}"
                path = (*path[:-1], int(path[-1]) + 1)
                fix = "write the jar after it, like maru.jar"
            elif word.endswith(".jar") and before != "-jar" and _is_class(texts, word):
                message = f"{word} of the container {container.name} has no -jar before it"
                fix = f"write -jar before {word}"
            if message:
                message += ": java ends at once"
                yield Problem(container.workload.manifest, path, message, fix)


@rule("https://pubs.opengroup.org/onlinepubs/9799919799/utilities/sh.html")
def script_of_another_shell(objects: Objects) -> Iterator[Problem]:
    """A script is run by the shell that its first line names.

    Another program does not start, or the script ends at the first word that sh does not know.
    """
    for container in objects.containers:
        lists: list[Where] = [("command",), *((probe, "exec", "command") for probe in PROBES)]
        for place in lists:
            words = container.get(*place)
            if not isinstance(words, list) or len(words) < 2:
                continue
            program, script = str(words[0]), str(words[1])
            wanted = _shell(objects, container, script) if script.startswith("/") else ""
            name = program.rpartition("/")[2]
            if not wanted or name in (wanted.rpartition("/")[2], "bash"):
                continue
            message = f"{script} of {container.name} is run by {program}, and its first line names"
            message += f" {wanted}: it does not run, or ends at the first word that differs"
            path = (*container.path, *place, 0)
            yield Problem(container.workload.manifest, path, message, f"write {wanted}")


def _shell(objects: Objects, container: Container, path: str) -> str:
    """Return the shell in the first line of a script in a ConfigMap; nothing where it has none."""
    first = f"{container.workload.manifest.name}-{container.workload.ordinals().start}"
    file = volumes.file(container, path, first, objects.once(named_objects.there))
    manifest = objects.find("ConfigMap", file.name) if file.kind == "ConfigMap" else None
    found = _SHEBANG.match(str(manifest.get("data", file.key))) if manifest else None
    return found[1] if found else ""


def _is_class(texts: Sequence[str], word: str) -> bool:
    """Return whether java would take a jar for the class to start: only options are before it."""
    before = texts[: texts.index(word)]
    options = [text for text in before if text.startswith("-")]
    known = {"-jar", "-cp", "-classpath", "--class-path", "-p", "--module-path", "-m"}
    java = any(text.rpartition("/")[2] == "java" for text in before)
    jvm = java or any(text.startswith(("-D", "-X")) for text in options)
    return jvm and not known & set(options)


def _not_beside(objects: Objects) -> Iterator[Problem]:
    """Yield what scripts in ConfigMaps read of the same folder, where it is not there."""
    for manifest in objects.of_kind("ConfigMap"):
        found = manifest.object.get("data")
        data = found if isinstance(found, dict) else {}
        for name, text in data.items():
            for beside in _SOURCED.findall(text) if isinstance(text, str) else ():
                if beside not in data:
                    message = (
                        f"{name} of {manifest.label} reads {beside}, which is not beside it: it"
                        " fails at once"
                    )
                    yield Problem(manifest, ("data", beside), message, f"add {beside} to it")


def _not_of_nodes(objects: Objects, told: dict[tuple[str, Where], set[str]]) -> Iterator[Problem]:
    """Yield what settings of Besu and Maru name in vain, but what is told of already."""
    for node in objects.nodes:
        done = told.setdefault(node.container.place, set())
        for setting in _named(node):
            for path in str(setting.value).split(","):
                file = node.file(path)
                of_one = len(node.ordinals) == 1 < node.workload.most and node.pod in path
                if _is_there(setting, file, of_one) or path in done or (done and not file.kind):
                    continue
                done.add(path)
                found = _not_there(setting, path, file, node.name)
                if file.kind:  # its volume has no such item
                    where = node.volume(file)
                    found = Problem(node.workload.manifest, where, found.message, found.fix)
                    holder = objects.find(file.kind, file.name)
                    if of_one and holder and not paths.has(holder.object, ("data", file.key)):
                        fix = f"add {file.key} to it"
                        found = Problem(holder, ("data", file.key), found.message, fix)
                yield found


def _no_file(
    objects: Objects,
    container: Container,
    path: Where,
    text: str,
    holds: Mapping[str, Collection[str] | None],
    folders: set[str],
    whole: bool,
) -> Problem | None:
    """Return that a file is not where a container looks for it, if what is there is known."""
    workload = container.workload
    mounted = [
        (where.rstrip("/"), mount)
        for _, mount in container.mounts()
        if isinstance(where := mount.get("mountPath"), str)
    ]
    under = volumes.mounted(container, text)
    if under is None or not under.folder:
        elsewhere = _elsewhere(text, mounted, holds)
        place = (*container.path, "volumeMounts")
        if elsewhere:
            message = f"the container {container.name} uses {text}, but {elsewhere}"
            right = _used(container, text, mounted, holds) if whole else ""
            if right:
                return Problem(workload.manifest, path, message, f"write {right}")
            return Problem(workload.manifest, place, message, "mount it there, or write its path")
        near = sorted(folder for folder in folders if _inside(f"{text}/", folder))
        if not near:
            return None
        message = (
            f"the container {container.name} uses {text}, and mounts nothing at {near[0]}, as"
            " another container of the pod does"
        )
        return Problem(workload.manifest, place, message, f"mount it at {near[0]} here, too")
    folder, volume, name = under.folder, under.volume, text[len(under.folder) + 1 :]
    known = holds.get(volume)
    if not name or known is None or {"subPath", "subPathExpr"} & under.mount.keys():
        return None
    if not _lacks(known, name):
        return None
    message = (
        f"the container {container.name} uses {text}, and the volume {volume} has no {name}; it"
        f" has {', '.join(sorted(known)) or 'none'}"
    )
    left_out = _left_out(objects, workload, volume, name)
    if left_out:
        return Problem(workload.manifest, *left_out[:1], message, left_out[1])
    # What an option says of Besu's and Maru's files, their own checks look after.
    if not whole:
        return None
    close = difflib.get_close_matches(name, known, 1)
    fix = f"write {folder}/{close[0]}" if close else f"add {name} to what is mounted at {folder}"
    return Problem(workload.manifest, path, message, fix)


def _left_out(
    objects: Objects, workload: Workload, volume: str, name: str
) -> tuple[Where, str] | None:
    """Return where a volume's items miss a file that its source has, and what to write."""
    known = objects.once(named_objects.there)
    for path, one in workload.volumes():
        for source in volumes.sources(one) if one.get("name") == volume else ():
            if source.items is None or len(source.path) > 1:
                continue
            for place, key, _ in source.items:
                if key == name:
                    return (*path, *place, "path"), f"write path: {name}"
            keys = known.get((source.kind, source.name))
            if keys is None or name in keys:
                return (*path, *source.path, "items"), f"add {name} to the volume's items"
    return None


def _named(node: Node) -> Iterator[Setting]:
    """Yield the settings that name files."""
    for key, setting in node.settings.items():
        if key in _OF_NODES[node.program] or key.endswith(".jwt-secret-path"):
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


def _is_there(setting: Setting, file: File, of_one: bool) -> bool:
    """Return whether a file is there, or what is missing is told elsewhere.

    of_one: it is one pod's, and others have files of their own.
    """
    if not file.kind:
        return False
    # What a ConfigMap here lacks of these, the configurations' check tells; of keys, chain's rules.
    configs = ("--config", "--config-file")
    told = file.kind == "ConfigMap" and setting.called in configs and not of_one
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


def _in_files(objects: Objects, container: Container) -> Iterator[tuple[Where, str, bool]]:
    """Yield the absolute paths in the files that a container is told to read."""
    known = objects.once(named_objects.there)
    place = (*container.path, "volumeMounts")
    for named in dict.fromkeys(path for _, path, _ in _paths(container)):
        file = volumes.file(container, named, "", known)
        manifest = objects.find("ConfigMap", file.name) if file.kind == "ConfigMap" else None
        text = manifest.get("data", file.key) if manifest else None
        if isinstance(text, str):
            for path in (*_QUOTED.findall(text), *_below(container, text)):
                yield place, path, False


def _below(container: Container, script: str) -> Iterator[str]:
    """Yield the files that a script looks for in the folders that variables name."""
    values = containers.values(container, "")
    for name, file in _BELOW.findall(script):
        if values.get(name, "").startswith("/"):
            yield f"{values[name].rstrip('/')}/{file}"


def _elsewhere(
    text: str,
    mounted: Sequence[tuple[str, Mapping[str, Any]]],
    holds: Mapping[str, Collection[str] | None],
) -> str:
    """Return where what a path means is mounted, as far as one can tell."""
    for folder, mount in mounted:
        for file in holds.get(str(mount.get("name"))) or ():
            if text.endswith(f"/{file}"):
                return f"{mount['name']}, which has {file}, is mounted at {folder}"
    above = [text, *(text[:index] for index, part in enumerate(text) if part == "/" and index)]
    for path in above:
        near = difflib.get_close_matches(path, [folder for folder, _ in mounted], 1, _MISSPELT)
        if near:
            return f"what is mounted is {near[0]}"
    return ""


def _used(
    container: Container,
    text: str,
    mounted: Sequence[tuple[str, Mapping[str, Any]]],
    holds: Mapping[str, Collection[str] | None],
) -> str:
    """Return where a file is, if other paths of the container are right in that folder."""
    for folder, mount in mounted:
        for file in holds.get(str(mount.get("name"))) or ():
            others = [other for _, other, _ in _paths(container) if other != text]
            if text.endswith(f"/{file}") and any(_inside(other, folder) for other in others):
                return f"{folder}/{file}"
    return ""


def _inside(path: str, folder: str) -> bool:
    return bool(folder) and path.startswith(f"{folder}/")


def _lacks(known: Collection[str], name: str) -> bool:
    """Return whether there is no file, and no folder, of that name among the files."""
    name = name.strip("/")
    return name not in known and not any(file.startswith(f"{name}/") for file in known)


def _paths(container: Container) -> Iterator[tuple[Where, str, bool]]:
    """Yield the absolute paths that a container is told, each with whether it is all of a text."""
    lists: list[Where] = [("command",), ("args",)]
    lists += [(*place, "exec", "command") for place in HANDLERS if place[-1] != "postStart"]
    for place in lists:
        found = container.get(*place)
        for index, text in enumerate(found if isinstance(found, list) else []):
            for path in _PATH.findall(text) if isinstance(text, str) else ():
                yield (*container.path, *place, index), path, path == text
    for path, variable in container.variables():
        text = variable.get("value")
        if isinstance(text, str) and _PATH.fullmatch(text):
            yield (*path, "value"), text, True


def _files(objects: Objects, workload: Workload) -> dict[str, Collection[str] | None]:
    """Return the volumes made of files, name → the files; None where they are not known."""
    known = objects.once(named_objects.there)
    return {
        str(volume.get("name")): volumes.files(volume, known)
        for _, volume in workload.volumes()
        if volumes.sources(volume)
    }


def _expanded(container: Container, text: str) -> list[str]:
    """Return what a text with $(VARIABLES) is in each pod; nothing where one can't know."""
    workload = container.workload
    pods = [f"{workload.manifest.name}-{ordinal}" for ordinal in workload.ordinals()]
    own = {str(one.get("name")) for _, one in container.variables() if containers.is_pod_name(one)}
    of_pods = bool(own & containers.references(text))
    if of_pods and workload.manifest.kind != "StatefulSet":
        return []
    values = [containers.values(container, pod) for pod in (pods if of_pods else [""])]
    is_known = all(containers.references(text) <= known.keys() for known in values)
    return [containers.expanded(text, known) for known in values] if is_known else []
