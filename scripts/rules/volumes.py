"""Volumes: what the containers of a pod mount, call and start by is in the pod."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scripts import yamlio
from scripts.manifest import Where
from scripts.rules import mentions
from scripts.rules.objects import Container, Objects, containers, ordinals, pod
from scripts.rules.rule import Problem, rule
from scripts.workloads import Workload, mappings

_VOLUMES = "https://kubernetes.io/docs/concepts/storage/volumes/"
_VARIABLES = (
    "https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-"
    "variables/"
)
_APPLY = "https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy"
_REFERENCE = re.compile(r"\$(\$|\(([-._a-zA-Z][-._a-zA-Z0-9]*)\))")
"""$(NAME); or $$, which stands for a $."""
_LIKE_A_VARIABLE = re.compile("[A-Z_][A-Z0-9_]*")
_OF_SERVICES = re.compile("KUBERNETES_(SERVICE|PORT)(_.*)?|.*_(SERVICE_(HOST|PORT.*)|PORT(_.*)?)")
"""Variables that the kubelet gives containers of Services."""
_HOOKS = "https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/"
_HANDLERS: tuple[Where, ...] = (
    ("livenessProbe",),
    ("readinessProbe",),
    ("startupProbe",),
    ("lifecycle", "postStart"),
    ("lifecycle", "preStop"),
)
_ACTIONS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_PATH = re.compile(r"(?:^|[=,\s])(/[-\w./]*[-\w.])(?=$|[,\s])")
"""An absolute path in an argument, or after its =."""
_QUOTED = re.compile(r"\"(/[-\w./]*[-\w.])\"")
_MISSPELT = 0.9
"""How near two paths must be for one to be taken for the other."""
_REFUSED = "a cluster refuses that"
_POD_NAME = "metadata.name"


@rule(_VOLUMES)
def mount_without_volume(objects: Objects) -> Iterator[Problem]:
    """What a container mounts is a volume of its pod, or a claim of its StatefulSet.

    The API server refuses anything else, and the sync fails.
    """
    for workload in objects.makers:
        known = volumes(workload)
        for container in containers(workload):
            for path, mount in mounts(container):
                name = str(mount.get("name"))
                if name not in known:
                    near = difflib.get_close_matches(name, known, 1)
                    message = (
                        f"the container {container.name} mounts the volume {name}, which"
                        f" {workload.manifest.label} does not have: {_REFUSED}"
                    )
                    fix = f"write {near[0]}" if near else "add the volume, or remove the mount"
                    yield Problem(workload.manifest, (*path, "name"), message, fix)


@rule(_VOLUMES)
def volume_not_mounted(objects: Objects) -> Iterator[Problem]:
    """A volume of a pod is mounted by one of its containers.

    Else the files that were meant to be there are not, and what is written is lost.
    """
    for workload in objects.makers:
        mounted = {str(m.get("name")) for one in containers(workload) for _, m in mounts(one)}
        for name, path in volumes(workload).items():
            if name not in mounted:
                label = workload.manifest.label
                message = f"no container of {label} mounts the volume {name}: nobody has use of it"
                fix = "mount it, or remove it"
                yield Problem(workload.manifest, path, message, fix)


@rule(_VOLUMES)
def mounts_on_one_path(objects: Objects) -> Iterator[Problem]:
    """A container mounts one volume on a path.

    The API server refuses two, and the sync fails.
    """
    for workload in objects.makers:
        for container in containers(workload):
            first: dict[str, Where] = {}
            for path, mount in mounts(container):
                where = mount.get("mountPath", mount.get("devicePath"))
                if not isinstance(where, str):
                    continue
                other = first.setdefault(where.rstrip("/"), path)
                if other != path:
                    message = (
                        f"the container {container.name} mounts two volumes on {where}: {_REFUSED}"
                    )
                    fix = "mount one of them elsewhere"
                    yield Problem(workload.manifest, (*path, "mountPath"), message, fix)


def mounts(container: Container) -> Iterator[tuple[Where, dict[str, Any]]]:
    """Yield what a container mounts, files and devices, each with its path."""
    for field in ("volumeMounts", "volumeDevices"):
        for index, mount in mappings(container.data.get(field)):
            yield (*container.path, field, index), mount


def volumes(workload: Workload) -> dict[str, Where]:
    """Return the names of a pod's volumes and of its StatefulSet's claims, with their paths."""
    path, spec = pod(workload)
    found: dict[str, Where] = {
        str(volume["name"]): (*path, "volumes", index)
        for index, volume in mappings(spec.get("volumes"))
        if "name" in volume
    }
    field: Where = ("spec", "volumeClaimTemplates")
    for index, template in mappings(workload.get(*field)):
        found[str(yamlio.get(template, ["metadata", "name"]))] = (*field, index)
    return found


@rule(_VOLUMES)
def volume_without_one_source(objects: Objects) -> Iterator[Problem]:
    """A volume of a pod has one source, and a ConfigMap's or Secret's has a name.

    The API server refuses anything else, and the sync fails.
    """
    for workload in objects.makers:
        path, spec = pod(workload)
        for index, volume in mappings(spec.get("volumes")):
            label, name = workload.manifest.label, volume.get("name")
            place: Where = (*path, "volumes", index)
            sources = [key for key, value in volume.items() if key != "name" and value is not None]
            if len(sources) != 1:
                what = " and ".join(sources) or "no source"
                message = f"the volume {name} of {label} has {what}: {_REFUSED}"
                yield Problem(
                    workload.manifest, place, message, "write one source, like emptyDir: {}"
                )
                continue
            field = {"configMap": "name", "secret": "secretName"}.get(sources[0])
            if field and not yamlio.get(volume, [sources[0], field]):
                message = f"the volume {name} of {label} names no {sources[0]}: {_REFUSED}"
                yield Problem(workload.manifest, (*place, sources[0]), message, f"write {field}")


@rule(_HOOKS)
def handler_without_one_action(objects: Objects) -> Iterator[Problem]:
    """A probe or a lifecycle hook does one thing: exec, httpGet, tcpSocket, grpc or sleep.

    The API server refuses anything else, and the sync fails.
    """
    for workload in objects.makers:
        for container in containers(workload):
            for place in _HANDLERS:
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


@rule(_APPLY)
def name_twice(objects: Objects) -> Iterator[Problem]:
    """Containers, volumes, and a container's ports and variables, each have a name of their own.

    The API server refuses two of one name, or one hides the other.
    """
    for workload in objects.makers:
        path, spec = pod(workload)
        everything = list(containers(workload))
        yield from _twice(workload, [((*c.path, "name"), c.name) for c in everything], "container")
        named = [
            ((*path, "volumes", i, "name"), str(volume.get("name")))
            for i, volume in mappings(spec.get("volumes"))
        ]
        yield from _twice(workload, named, "volume")
        for container in everything:
            for field, what in (("env", "variable"), ("ports", "port")):
                named = [
                    ((*container.path, field, i, "name"), str(item["name"]))
                    for i, item in mappings(container.data.get(field))
                    if "name" in item
                ]
                yield from _twice(workload, named, what, f"the container {container.name} of ")


def _twice(
    workload: Workload, named: Sequence[tuple[Where, str]], what: str, where: str = ""
) -> Iterator[Problem]:
    seen = set[str]()
    for path, name in named:
        if name in seen:
            message = (
                f"{where}{workload.manifest.label} has two {what}s named {name}: {_REFUSED}, or one"
                " hides the other"
            )
            yield Problem(workload.manifest, path, message, "remove one, or rename it")
        seen.add(name)


@rule(_VOLUMES + "#using-subpath")
def sub_path_missing(objects: Objects) -> Iterator[Problem]:
    """A subPath of a volume made of files is one of the files.

    Else an empty folder is mounted in its place.
    """
    for workload in objects.makers:
        holds, places = _files(objects, workload), volumes(workload)
        for container in containers(workload):
            values = _constants(container)
            for path, mount in mounts(container):
                field = "subPathExpr" if "subPathExpr" in mount else "subPath"
                known = holds.get(str(mount.get("name")))
                if known is None or not isinstance(mount.get(field), str):
                    continue
                for name in _expanded(workload, mount[field], values):
                    if _lacks(known, name):
                        message = (
                            f"the container {container.name} mounts {name} of the volume"
                            f" {mount['name']}, which has only {', '.join(sorted(known))}"
                        )
                        near = difflib.get_close_matches(name, known, 1)
                        fix = f"write {near[0] if near else 'one that it has'}"
                        where = (*path, field)
                        if field == "subPathExpr":
                            fix = f"add {name} to the volume's items"
                            where = places.get(str(mount["name"]), where)
                        yield Problem(workload.manifest, where, message, fix)
                        break


@rule(_VOLUMES + "#configmap")
def script_missing(objects: Objects) -> Iterator[Problem]:
    """A file that a container starts, or is told of by its path, is mounted there.

    Else the container ends at once, or its probe fails.
    """
    for workload in objects.makers:
        holds, config = _files(objects, workload), _config_maps(workload)
        everything = list(containers(workload))
        folders = {
            mount["mountPath"].rstrip("/")
            for one in everything
            for _, mount in mounts(one)
            if isinstance(mount.get("mountPath"), str)
        }
        for container in everything:
            told = set[Where]()
            for path, text, whole in (*_paths(container), *_in_files(objects, container, config)):
                found = _no_file(workload, container, path, text, holds, folders, whole)
                for problem in found:
                    if problem.path not in told:
                        told.add(problem.path)
                        yield problem


def _no_file(
    workload: Workload,
    container: Container,
    path: Where,
    text: str,
    holds: Mapping[Any, frozenset[str] | None],
    folders: set[str],
    whole: bool,
) -> Iterator[Problem]:
    """Yield that a file is not where a container looks for it, if what is there is known."""
    mounted = [
        (where.rstrip("/"), mount)
        for _, mount in mounts(container)
        if isinstance(where := mount.get("mountPath"), str)
    ]
    under = [one for one in mounted if _inside(f"{text}/", one[0])]
    if not under:
        elsewhere = _elsewhere(text, mounted, holds)
        if elsewhere:
            message = f"the container {container.name} uses {text}, but {elsewhere}"
            place = (*container.path, "volumeMounts")
            yield Problem(workload.manifest, place, message, "mount it there, or write its path")
            return
        if near := [folder for folder in folders if _inside(f"{text}/", folder)]:
            message = (
                f"the container {container.name} uses {text}, and mounts nothing at {near[0]},"
                " as another container of the pod does"
            )
            where = (*container.path, "volumeMounts")
            yield Problem(workload.manifest, where, message, f"mount it at {near[0]} here, too")
        return
    folder, mount = max(under, key=lambda found: len(found[0]))
    known = holds.get(str(mount.get("name")))
    # What an option says of Besu's and Maru's files, their own checks look after.
    if known is None or "subPath" in mount or "subPathExpr" in mount or not whole:
        return
    name = text[len(folder) + 1 :]
    if name and _lacks(known, name):
        message = (
            f"the container {container.name} uses {text}, and the volume {mount['name']} has no"
            f" {name}; it has {', '.join(sorted(known))}"
        )
        near = difflib.get_close_matches(name, known, 1)
        fix = f"write {folder}/{near[0]}" if near else f"add {name} to what is mounted at {folder}"
        yield Problem(workload.manifest, path, message, fix)


def _config_maps(workload: Workload) -> dict[Any, Any]:
    """Return volume → the name of the ConfigMap that it is made of."""
    _, spec = pod(workload)
    return {
        str(volume.get("name")): yamlio.get(volume, ["configMap", "name"])
        for _, volume in mappings(spec.get("volumes"))
        if "configMap" in volume
    }


def _in_files(
    objects: Objects, container: Container, config: Mapping[Any, Any]
) -> Iterator[tuple[Where, str, bool]]:
    """Yield the absolute paths in the files that a container is told to read."""
    named = {path for _, path, _ in _paths(container)}
    for _, mount in mounts(container):
        manifest = objects.find("ConfigMap", config.get(str(mount.get("name"))))
        data = manifest.object.get("data") if manifest else None
        for file, text in data.items() if isinstance(data, dict) else ():
            if f"{mount.get('mountPath')}/{file}" in named and isinstance(text, str):
                for path in _QUOTED.findall(text):
                    yield (*container.path, "volumeMounts"), path, False


def _elsewhere(
    text: str,
    mounted: Sequence[tuple[str, Mapping[str, Any]]],
    holds: Mapping[Any, frozenset[str] | None],
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


def _inside(path: str, folder: str) -> bool:
    return bool(folder) and path.startswith(f"{folder}/")


def _lacks(known: frozenset[str], name: str) -> bool:
    """Return whether there is no file, and no folder, of that name among the files."""
    name = name.strip("/")
    return name not in known and not any(file.startswith(f"{name}/") for file in known)


def _paths(container: Container) -> Iterator[tuple[Where, str, bool]]:
    """Yield the absolute paths that a container is told, each with whether it is all of a text."""
    lists: list[Where] = [("command",), ("args",)]
    lists += [(probe, "exec", "command") for probe in ("livenessProbe", "readinessProbe")]
    lists += [("startupProbe", "exec", "command"), ("lifecycle", "preStop", "exec", "command")]
    for place in lists:
        found = container.get(*place)
        for index, text in enumerate(found if isinstance(found, list) else []):
            for path in _PATH.findall(text) if isinstance(text, str) else ():
                yield (*container.path, *place, index), path, path == text
    for index, variable in mappings(container.data.get("env")):
        text = variable.get("value")
        if isinstance(text, str) and _PATH.fullmatch(text):
            yield (*container.path, "env", index, "value"), text, True


def _files(objects: Objects, workload: Workload) -> dict[Any, frozenset[str] | None]:
    """Return the volumes made of files, name → the files; None where they are not known."""
    _, spec = pod(workload)
    found: dict[Any, frozenset[str] | None] = {}
    for _, volume in mappings(spec.get("volumes")):
        sources = [volume]
        if isinstance(volume.get("projected"), dict):
            sources = [one for _, one in mappings(volume["projected"].get("sources"))]
        parts = [_of_source(objects, source) for source in sources]
        if parts and all(part != frozenset() for part in parts):
            known = [part for part in parts if part is not None]
            complete = len(known) == len(parts)
            found[str(volume.get("name"))] = frozenset().union(*known) if complete else None
    return found


def _of_source(objects: Objects, source: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the files of a volume's source: none if it is of another kind, None if not known."""
    for field, kind, name in (
        ("configMap", "ConfigMap", "name"),
        ("secret", "Secret", "secretName"),
        ("downwardAPI", "", ""),
        ("serviceAccountToken", "", ""),
        ("clusterTrustBundle", "", ""),
    ):
        inner = source.get(field)
        if not isinstance(inner, dict):
            continue
        if "items" in inner:
            return frozenset(str(item.get("path")) for _, item in mappings(inner["items"]))
        if not kind:
            return frozenset({str(inner.get("path", "token"))})
        return objects.once(mentions.there).get((kind, str(inner.get(name, inner.get("name")))))
    return frozenset()


def _constants(container: Container) -> dict[str, str]:
    """Return the variables of a container that one can know: texts, and the pod's name."""
    found = {}
    for _, variable in mappings(container.data.get("env")):
        value, field = variable.get("value"), yamlio.get(variable, ["valueFrom", "fieldRef"])
        if isinstance(value, str) and "$(" not in value:
            found[str(variable.get("name"))] = value
        elif isinstance(field, dict) and field.get("fieldPath") == _POD_NAME:
            found[str(variable.get("name"))] = _POD_NAME
    return found


def _expanded(workload: Workload, text: str, values: Mapping[str, str]) -> list[str]:
    """Return what a text with $(VARIABLES) is in each pod; nothing where one can't know."""
    names = [name for _, name in _REFERENCE.findall(text) if name]
    if any(name not in values for name in names):
        return []
    of_pods = any(values[name] == _POD_NAME for name in names)
    if of_pods and workload.manifest.kind != "StatefulSet":
        return []
    pods = [f"{workload.manifest.name}-{ordinal}" for ordinal in ordinals(workload)]

    def of(name: str) -> str:
        def value(match: re.Match[str]) -> str:
            if not match[2]:
                return "$"
            return name if values[match[2]] == _POD_NAME else values[match[2]]

        return _REFERENCE.sub(value, text)

    return [of(name) for name in (pods if of_pods else [""])]


@rule(_VARIABLES)
def variable_missing(objects: Objects) -> Iterator[Problem]:
    """A $(VARIABLE) is one that the container has, and one above the variable that uses it.

    Else it is not replaced: the program gets the text $(VARIABLE).
    """
    for workload in objects.makers:
        _, spec = pod(workload)
        linked = spec.get("enableServiceLinks") is not False
        for container in containers(workload):
            names = _variables(objects, container)
            if names is None:
                continue
            for path, text, above in _texts(container):
                allowed = names if above is None else names - _own(container) | above
                for _, name in _REFERENCE.findall(text):
                    if not name or name in allowed or not _LIKE_A_VARIABLE.fullmatch(name):
                        continue
                    service = _OF_SERVICES.fullmatch(name)
                    if service and (linked or name.startswith("KUBERNETES_")):
                        continue
                    message = (
                        f"the container {container.name} has no variable {name}: $({name}) stays"
                        " as it is"
                    )
                    near = difflib.get_close_matches(name, allowed, 1)
                    fix = f"write $({near[0]})" if near else f"add {name} to env"
                    if name in names:
                        message = (
                            f"{name} stands below the variable that uses it: it is no value yet"
                        )
                        fix = f"write {name} above it"
                    yield Problem(workload.manifest, path, message, fix)


def _own(container: Container) -> frozenset[str]:
    return frozenset(str(one.get("name")) for _, one in mappings(container.data.get("env")))


def _variables(objects: Objects, container: Container) -> frozenset[str] | None:
    """Return the names of a container's variables; None where one can't know all."""
    found = set(_own(container))
    for _, source in mappings(container.data.get("envFrom")):
        for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            if isinstance(source.get(field), dict):
                keys = objects.once(mentions.there).get((kind, str(source[field].get("name"))))
                if keys is None:
                    return None
                found |= {f"{source.get('prefix', '')}{key}" for key in keys}
    return frozenset(found)


def _texts(container: Container) -> Iterator[tuple[Where, str, frozenset[str] | None]]:
    """Yield the texts that may use variables, with those above, where the order counts."""
    for field in ("command", "args"):
        found = container.data.get(field)
        for index, text in enumerate(found if isinstance(found, list) else []):
            if isinstance(text, str):
                yield (*container.path, field, index), text, None
    above = set[str]()
    for index, variable in mappings(container.data.get("env")):
        if isinstance(variable.get("value"), str):
            path: Where = (*container.path, "env", index, "value")
            yield path, variable["value"], frozenset(above)
        above.add(str(variable.get("name")))
    for path, mount in mounts(container):
        if isinstance(mount.get("subPathExpr"), str):
            yield (*path, "subPathExpr"), mount["subPathExpr"], None
