"""Files: the paths that containers use exist in the volumes that they mount."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from scripts.chain.node_config import BESU, MARU, Node, Setting
from scripts.core import advice, paths
from scripts.kubernetes import containers, volumes
from scripts.kubernetes.containers import HANDLERS, Container
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.volumes import File
from scripts.kubernetes.workloads import Workload
from scripts.rules import named_objects
from scripts.rules.pod_templates import called
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects

_VOLUMES = "https://kubernetes.io/docs/concepts/storage/volumes/"
_PATH = re.compile(r"(?:^|[=,\s])(/[-\w./]*[-\w.])(?=$|[,\s])")
"""An absolute path in an argument, or after its =."""
_QUOTED = re.compile(r"\"(/[-\w./]*[-\w.])\"")
_BELOW = re.compile(r"\$\{?([A-Z_]+)\}?/([\w.-]*\w)(?=[\s\")]|$)", re.MULTILINE)
"""A file that a script reads in a folder from a variable, $FOLDER/file."""
_SOURCED = re.compile(r"^\s*\. \"?\$\{0%/\*\}/([-\w.]+)\"?", re.MULTILINE)
"""A file in the same folder that a script sources."""
_MISSPELT = 0.9
"""How similar a path must be to a mountPath to count as a misspelling."""

_OF_NODES = {
    BESU: ("node-private-key-file", "engine-jwt-secret", "static-nodes-file"),
    MARU: ("persistence.private-key-path",),
}
_OPTIONS = ("config-file", "genesis-file", "maru-genesis-file", "config")
_LOG4J = "-Dlog4j2.configurationFile="
_FAILS = "the container or its probe fails"


@rule(_VOLUMES + "#using-subpath")
def missing_sub_path(objects: Objects) -> Iterator[Problem]:
    """A subPath of a ConfigMap, Secret or projected volume is a file of the volume.

    Otherwise an empty directory is mounted instead of the file.
    """
    for workload in objects.makers:
        holds, places = _files(objects, workload), volumes.names(workload)
        for container in containers.of(workload):
            for path, mount in container.mounts():
                field = "subPathExpr" if "subPathExpr" in mount else "subPath"
                known = holds.get(str(mount.get("name")))
                if known is None or not isinstance(mount.get(field), str):
                    continue
                wanted = _expanded(container, mount[field])
                for name in wanted:
                    if _lacks(known, name):
                        message = (
                            f"{called(container)} mounts {name} of the volume {mount['name']}, "
                            f"which has {_only(known)}: an empty directory is mounted instead"
                        )
                        near = difflib.get_close_matches(name, known, 1)
                        fix = (
                            advice.write("subPath", near[0])
                            if near
                            else "write one of these in subPath"
                        )
                        where = (*path, field)
                        if field == "subPathExpr":
                            fix = _item_to_write(workload, str(mount["name"]), name, wanted)
                            where = places.get(str(mount["name"]), where)
                        yield Problem(workload.manifest, where, message, fix)
                        break


def _item_to_write(workload: Workload, volume: str, name: str, wanted: Collection[str]) -> str:
    """Return the fix for a volume that lacks one of the files that pods mount."""
    for source in volumes.sources(volumes.by_name(workload, volume) or {}):
        for _, _, file in source.items or ():
            if file not in wanted:
                return f"write path: {name} instead of {file} in the items of the volume {volume}"
        if source.items is None:
            return f"add the key {name} to {source.kind}/{source.name}"
    return f"add an item with path: {name} to the items of the volume {volume}"


@rule(_VOLUMES)
def file_not_mounted(objects: Objects) -> Iterator[Problem]:
    """A file that a container runs, reads or gets as an option is mounted at its path.

    Otherwise the pod ends in CrashLoopBackOff, or its probe fails. Without its key file, Maru
    generates a new key, and is no longer a validator.
    """
    reported = dict[tuple[str, Where], set[str]]()
    for workload in objects.makers:
        holds = _files(objects, workload)
        every = list(containers.of(workload))
        folders = {
            mount["mountPath"].rstrip("/")
            for container in every
            for _, mount in container.mounts()
            if isinstance(mount.get("mountPath"), str)
        }
        for container in every:
            done = set[Where]()
            for path, text, whole in (*_paths(container), *_in_files(objects, container)):
                problem = _missing_file(objects, container, path, text, holds, folders, whole)
                if problem and problem.path not in done:
                    done.add(problem.path)
                    reported.setdefault(container.place, set()).add(text)
                    yield problem
    yield from _missing_files_of_nodes(objects, reported)
    yield from _missing_sourced_files(objects)


@rule("https://docs.oracle.com/en/java/javase/25/docs/specs/man/java.html")
def missing_java_jar(objects: Objects) -> Iterator[Problem]:
    """A java command that runs a jar has -jar, followed by the jar.

    Otherwise java reads the next argument as a class name, or as the jar, and exits at once.
    """
    for container in objects.containers:
        words = container.words()
        texts = [word for _, word in words]
        for (path, word), before, after in zip(words, ["", *texts], [*texts[1:], ""], strict=False):
            message, fix = "", ""
            if word == "-jar" and not after.endswith(".jar"):
                message = (
                    f"-jar of {called(container)} is followed by {after or 'nothing'}, not by a jar"
                )
                path = (*path[:-1], int(path[-1]) + 1)
                is_maru = container.image == "maru"
                fix = f"add {'maru.jar' if is_maru else 'the path of the jar'} after -jar"
            elif word.endswith(".jar") and before != "-jar" and _is_class(texts, word):
                message = f"the argument {word} of {called(container)} has no -jar before it"
                fix = f"add the argument -jar before {word}"
            if message:
                message += ": java exits at once"
                yield Problem(container.workload.manifest, path, message, fix)


def _is_class(texts: Sequence[str], word: str) -> bool:
    """Return whether java would read a jar as the main class: only options are before it."""
    before = texts[: texts.index(word)]
    options = [text for text in before if text.startswith("-")]
    known = {"-jar", "-cp", "-classpath", "--class-path", "-p", "--module-path", "-m"}
    java = any(text.rpartition("/")[2] == "java" for text in before)
    jvm = java or any(text.startswith(("-D", "-X")) for text in options)
    return jvm and not known & set(options)


def _missing_sourced_files(objects: Objects) -> Iterator[Problem]:
    """Yield the missing files that scripts in ConfigMaps source from their own folder."""
    for manifest in objects.of_kind("ConfigMap"):
        found = manifest.object.get("data")
        data = found if isinstance(found, dict) else {}
        for name, text in data.items():
            for found_at in _SOURCED.finditer(text) if isinstance(text, str) else ():
                beside = found_at[1]
                if beside in data:
                    continue
                message = (
                    f"{name} of {manifest.label} sources {beside}, which is not in the same "
                    "ConfigMap: the script fails at once"
                )
                near = difflib.get_close_matches(beside, [key for key in data if key != name], 1)
                fix = f"add the key {beside}, with the text of that script, to {manifest.label}"
                if near:
                    fix = f"write {near[0]} instead of {beside} in {name}"
                line = text.count("\n", 0, found_at.start(1)) + 1
                yield Problem(manifest, ("data", name), message, fix, line=line)


def _missing_files_of_nodes(
    objects: Objects, reported: dict[tuple[str, Where], set[str]]
) -> Iterator[Problem]:
    """Yield the missing files in settings of Besu and Maru, except those already reported."""
    for node in objects.nodes:
        done = reported.setdefault(node.container.place, set())
        for setting in _file_settings(node):
            for path in str(setting.value).split(","):
                file = node.file(path)
                of_one = len(node.ordinals) == 1 < node.workload.most and node.pod in path
                if _is_there(setting, file, of_one) or path in done or (done and not file.kind):
                    continue
                done.add(path)
                problem = _missing_setting_file(objects, setting, path, file, node)
                if file.kind:  # its volume has no such item
                    where = node.volume(file)
                    problem = Problem(node.workload.manifest, where, problem.message, problem.fix)
                    source = objects.find(file.kind, file.name)
                    if of_one and source and not paths.has(source.object, ("data", file.key)):
                        fix = f"add the key {file.key} to {source.label}, as for the other pods"
                        problem = Problem(source, ("data", file.key), problem.message, fix)
                yield problem


def _missing_file(
    objects: Objects,
    container: Container,
    path: Where,
    text: str,
    holds: Mapping[str, Collection[str] | None],
    folders: set[str],
    whole: bool,
) -> Problem | None:
    """Return a problem if a file that a container uses is certainly missing."""
    workload = container.workload
    mounted = [
        (where.rstrip("/"), mount)
        for _, mount in container.mounts()
        if isinstance(where := mount.get("mountPath"), str)
    ]
    under = volumes.mounted(container, text)
    if under is None or not under.folder:
        elsewhere, fix = _elsewhere(text, mounted, holds)
        if not elsewhere:
            return _not_mounted(container, text, folders)
        message = f"{called(container)} uses {text}, but {elsewhere}: {_FAILS}"
        right = _used(container, text, mounted, holds) if whole else ""
        if right:
            return Problem(workload.manifest, path, message, advice.instead(text, right))
        return Problem(workload.manifest, (*container.path, "volumeMounts"), message, fix)
    folder, volume, name = under.folder, under.volume, text[len(under.folder) + 1 :]
    known = holds.get(volume)
    if not name or known is None or {"subPath", "subPathExpr"} & under.mount.keys():
        return None
    if not _lacks(known, name):
        return None
    message = (
        f"{called(container)} uses {text}, but the volume {volume} has {_only(known)}: {_FAILS}"
    )
    item = _missing_item(objects, workload, volume, name)
    if item:
        return Problem(workload.manifest, item[0], message, item[1])
    # Files in options of Besu and Maru are checked by _missing_files_of_nodes.
    if not whole:
        return None
    close = difflib.get_close_matches(name, known, 1)
    fix = _key_to_add(workload, volume, name)
    if close:
        right = f"{folder}/{close[0]}"
        written = workload.manifest.get(*path)
        fix = advice.in_text(f"write {right} instead of {text}", written, text, right)
    return Problem(workload.manifest, path, message, fix)


def _not_mounted(container: Container, text: str, folders: set[str]) -> Problem | None:
    """Return a problem if only other containers mount the volume of a path."""
    near = sorted(folder for folder in folders if _inside(f"{text}/", folder))
    if not near:
        return None
    other, mount = _mounted_at(container.workload, near[0])
    message = (
        f"{called(container)} uses {text}, but does not mount the volume {mount.get('name')} "
        f"at {near[0]}, as {called(other)} does: {_FAILS}"
    )
    # In a volume that containers share, each has a folder of its name.
    inner = {"subPath": container.name} if mount.get("subPath") == other.name else {}
    item = {"name": mount.get("name"), "mountPath": near[0]} | inner
    fix = advice.add_item(item, "volumeMounts") + f" of {called(container)}"
    path = (*container.path, "volumeMounts")
    return Problem(container.workload.manifest, path, message, fix)


def _key_to_add(workload: Workload, volume: str, name: str) -> str:
    """Return the fix for a volume that lacks a file with an unusual name."""
    owners = [
        f"{s.kind}/{s.name}"
        for s in volumes.sources(volumes.by_name(workload, volume) or {})
        if s.name
    ]
    owner = owners[0] if owners else f"the volume {volume}"
    return f"write the path of one of these files; if {name} is intended, add it to {owner}"


def _mounted_at(workload: Workload, folder: str) -> tuple[Container, Mapping[str, Any]]:
    """Return the first mount at a path in a workload, with its container."""
    return next(
        (container, mount)
        for container in containers.of(workload)
        for _, mount in container.mounts()
        if str(mount.get("mountPath")).rstrip("/") == folder
    )


def _missing_item(
    objects: Objects, workload: Workload, volume: str, name: str
) -> tuple[Where, str] | None:
    """Return the path of a volume's items that miss a file of its source, and what to write."""
    known = objects.once(named_objects.there)
    for path, found in workload.volumes():
        for source in volumes.sources(found) if found.get("name") == volume else ():
            if source.items is None or len(source.path) > 1:
                continue
            for place, key, _ in source.items:
                if key == name:
                    fix = f"write {{key: {name}, path: {name}}} in the items of the volume {volume}"
                    return (*path, *place, "path"), fix
            keys = known.get((source.kind, source.name))
            if keys is None or name in keys:
                fix = f"add {{key: {name}, path: {name}}} to the items of the volume {volume}"
                return (*path, *source.path, "items"), fix
    return None


def _file_settings(node: Node) -> Iterator[Setting]:
    """Yield the settings whose value is the path of a file."""
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
    """Return whether a file exists, or another rule or check reports that it does not.

    of_one: it is the file of one pod, and other pods have their own.
    """
    if not file.kind:
        return False
    # Missing configurations are reported by checks/node_options, and missing keys by rules/chain.
    configs = ("--config", "--config-file")
    reported = file.kind == "ConfigMap" and setting.called in configs and not of_one
    inner = file.mounted.inner if file.mounted else ""
    reported = reported or (file.kind == "Secret" and ("key" in setting.called.lower()))
    return reported or file.is_there is not False or (inner == "." and "key" in setting.called)


def _missing_setting_file(
    objects: Objects, setting: Setting, path: str, file: File, node: Node
) -> Problem:
    """Return the problem of a setting whose file is missing."""
    folder, _, name = path.rpartition("/")
    missing = f"no volume is mounted at {folder}"
    fix = f"mount the volume that has {name} at {folder}, or write the path of a mounted file"
    if file.kind and file.mounted:
        volume, known = file.mounted.volume, objects.once(named_objects.there)
        missing = f"{file.kind}/{file.name} has no {file.key}"
        fix = f"add the key {file.key} to {file.kind}/{file.name}"
        files = volumes.files(volumes.by_name(node.workload, volume) or {}, known) or {}
        if file.key in (known.get((file.kind, file.name)) or ()):
            missing = f"the volume {volume} has no {file.key}"
            fix = f"add {{key: {file.key}, path: {file.key}}} to the items of the volume {volume}"
        elif near := difflib.get_close_matches(name, files, 1):
            right, written = f"{folder}/{near[0]}", setting.manifest.get(*setting.path)
            fix = advice.in_text(f"write {right} instead of {path}", written, path, right)
    message = (
        f"{setting.called} of the container {node.name} is {path}, but {missing}: the node can't "
        "read the file"
    )
    return Problem(setting.manifest, setting.path, message, fix)


def _in_files(objects: Objects, container: Container) -> Iterator[tuple[Where, str, bool]]:
    """Yield the absolute paths in the files that a container reads."""
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
    """Yield the files that a script reads in folders from variables."""
    values = containers.values(container, "")
    for name, file in _BELOW.findall(script):
        if values.get(name, "").startswith("/"):
            yield f"{values[name].rstrip('/')}/{file}"


def _elsewhere(
    text: str,
    mounted: Sequence[tuple[str, Mapping[str, Any]]],
    holds: Mapping[str, Collection[str] | None],
) -> tuple[str, str]:
    """Return a clause that says where the file of a path is mounted, and a fix of its mountPath.

    Both are empty if that is not known.
    """
    for folder, mount in mounted:
        for file in holds.get(str(mount.get("name"))) or ():
            if text.endswith(f"/{file}"):
                clause = f"the volume {mount['name']}, which has {file}, is mounted at {folder}"
                wanted = text.removesuffix(f"/{file}")
                return clause, f"write mountPath: {wanted} for the volume {mount['name']}"
    above = [text, *(text[:index] for index, part in enumerate(text) if part == "/" and index)]
    for path in above:
        near = difflib.get_close_matches(path, [folder for folder, _ in mounted], 1, _MISSPELT)
        if near:
            name = dict(mounted)[near[0]].get("name")
            fix = f"write mountPath: {path} for the volume {name}"
            return f"the volume {name} is mounted at {near[0]}", fix
    return "", ""


def _used(
    container: Container,
    text: str,
    mounted: Sequence[tuple[str, Mapping[str, Any]]],
    holds: Mapping[str, Collection[str] | None],
) -> str:
    """Return the path of a file, if the container uses other files in the same folder."""
    for folder, mount in mounted:
        for file in holds.get(str(mount.get("name"))) or ():
            others = [other for _, other, _ in _paths(container) if other != text]
            if text.endswith(f"/{file}") and any(_inside(other, folder) for other in others):
                return f"{folder}/{file}"
    return ""


def _inside(path: str, folder: str) -> bool:
    return bool(folder) and path.startswith(f"{folder}/")


def _only(files: Collection[str]) -> str:
    """Return what a message says about the files of a volume."""
    plural = "" if len(files) == 1 else "s"
    return f"only the file{plural} {', '.join(sorted(files))}" if files else "no files"


def _lacks(known: Collection[str], name: str) -> bool:
    """Return whether neither a file nor a folder has that name."""
    name = name.strip("/")
    return name not in known and not any(file.startswith(f"{name}/") for file in known)


def _paths(container: Container) -> Iterator[tuple[Where, str, bool]]:
    """Yield the absolute paths in a container, each with whether it is the whole value."""
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
    """Return the files of the volumes that have sources, by name; None if they are not known."""
    known = objects.once(named_objects.there)
    return {
        str(volume.get("name")): volumes.files(volume, known)
        for _, volume in workload.volumes()
        if volumes.sources(volume)
    }


def _expanded(container: Container, text: str) -> list[str]:
    """Return the expansions of a text with $(VARIABLES) in each pod; empty if not known."""
    workload = container.workload
    own = {str(v.get("name")) for _, v in container.variables() if containers.is_pod_name(v)}
    of_pods = bool(own & containers.references(text))
    if of_pods and workload.manifest.kind != "StatefulSet":
        return []
    values = [
        containers.values(container, pod) for pod in (workload.pod_names() if of_pods else [""])
    ]
    is_known = all(containers.references(text) <= known.keys() for known in values)
    return [containers.expanded(text, known) for known in values] if is_known else []
