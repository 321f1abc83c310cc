"""Variables: what containers and the scripts that they run read of their environment is there."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from scripts.chain.node_config import BESU, MARU
from scripts.core import paths
from scripts.kubernetes import containers, volumes
from scripts.kubernetes.containers import PROBES, Container
from scripts.kubernetes.manifest import Where
from scripts.rules import named_objects
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, once

_SHELLS = ("sh", "bash")
_SHELL = "https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html#tag_19_06_02"
_VARIABLES = "https://kubernetes.io/docs/tasks/inject-data-application/define-environment-variable-container/"
_DEPENDENT = (
    "https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-"
    "variables/"
)
_LIKE_A_VARIABLE = re.compile("[A-Z_][A-Z0-9_]*")
_OF_SERVICES = re.compile("KUBERNETES_(SERVICE|PORT)(_.*)?|.*_(SERVICE_(HOST|PORT.*)|PORT(_.*)?)")
"""Variables that the kubelet gives containers of Services."""
_NEAR = 0.85
"""How alike two names must be for one to be a misspelling of the other."""

_SOURCED = re.compile(r"^\s*\. \"?\$\{0%/\*\}/([-\w.]+)\"?", re.MULTILINE)
"""A file beside the script, which it reads as a part of itself."""
_READ = re.compile(r"\$\{?([A-Z_][A-Z0-9_]+)")
_REQUIRED = re.compile(r"\$\{([A-Z_]+)(:?)\?")
"""${NAME:?} of a shell: it must not be empty either; ${NAME?}: it must be there."""
_NEEDED = re.compile(r"^\s*need ([A-Z_ ]+)$", re.MULTILINE)

_OF_ALL = ("HOME",)
_OF_PROGRAMS = {
    BESU: ("BESU_OPTS", "JAVA_OPTS", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS"),
    MARU: ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS"),
    "ethstats": ("PORT", "WS_SECRET"),
}
"""What programs themselves read."""
_REMOTE = re.compile("RCLONE_CONFIG_([A-Z0-9]+)_([A-Z0-9_]+)")
_OF_REMOTES = (
    "TYPE",
    "PROVIDER",
    "ENV_AUTH",
    "REGION",
    "ENDPOINT",
    "ACCESS_KEY_ID",
    "SECRET_ACCESS_KEY",
    "SESSION_TOKEN",
    "FORCE_PATH_STYLE",
    "STORAGE_CLASS",
    "LOCATION_CONSTRAINT",
)
_REPORTED = ("ETHSTATS_SECRET", "ETHSTATS_HOST", "POD_NAME")
"""How, where and as whom a node reports to EthStats."""


@rule(_VARIABLES, outcome=Outcome.HIDDEN)
def unknown_environment_variable(objects: Objects) -> Iterator[Problem]:
    """A variable is one that the container's program or script reads, where it is like one.

    A misspelt one is read by nobody: the program takes its default, as if nothing had been said.
    """
    for container, own, texts in objects.once(_environments):
        required = _required(texts, own)
        read = _read(objects, container, own, texts)
        for name, (path, _) in own.items():
            near = _nearest(name, read - own.keys() - set(required)) if name not in read else ""
            if near:
                message = f"nothing in the container {container.name} reads {name}, but {near}"
                manifest = container.workload.manifest
                yield Problem(manifest, (*path, "name"), message, f"write {near}")


@rule(_DEPENDENT)
def unresolved_environment_variable(objects: Objects) -> Iterator[Problem]:
    """A $(VARIABLE) is one that the container has, and one above the variable that uses it.

    Else it is not replaced: the program gets the text $(VARIABLE).
    """
    for workload in objects.makers:
        linked = workload.pod_spec.get("enableServiceLinks") is not False
        for container in containers.of(workload):
            names = _variables(objects, container)
            if names is None:
                continue
            for path, text, above in _texts(container):
                allowed = names if above is None else names - _own(container) | above
                for name in sorted(containers.references(text) - allowed):
                    if not _LIKE_A_VARIABLE.fullmatch(name):
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
    return frozenset(str(one.get("name")) for _, one in container.variables())


def _variables(objects: Objects, container: Container) -> frozenset[str] | None:
    """Return the names of a container's variables; None where one can't know all."""
    found = set(_own(container))
    for source in container.env_sources():
        if source.prefix is None:
            continue
        keys = objects.once(named_objects.there).get((source.kind, source.name))
        if keys is None:
            return None
        found |= {f"{source.prefix}{key}" for key in keys}
    return frozenset(found)


def _texts(container: Container) -> Iterator[tuple[Where, str, frozenset[str] | None]]:
    """Yield the texts that may use variables, with those above, where the order counts."""
    for path, text in container.words():
        yield path, text, None
    above = set[str]()
    for path, variable in container.variables():
        if isinstance(variable.get("value"), str):
            yield (*path, "value"), variable["value"], frozenset(above)
        above.add(str(variable.get("name")))
    for path, mount in container.mounts():
        if isinstance(mount.get("subPathExpr"), str):
            yield (*path, "subPathExpr"), mount["subPathExpr"], None


@rule(_SHELL)
def missing_environment_variable(objects: Objects) -> Iterator[Problem]:
    """A script finds the variables in its container that it can't do without.

    It ends at once else: the container restarts for ever, or a backup is never made.
    """
    for container, own, texts in objects.once(_environments):
        missing = [name for name in _required(texts, own) if not own.get(name, ((), ""))[1]]
        if not missing:
            continue
        names = " and ".join(missing)
        script = next(iter(_scripts(container)))[1]
        message = f"{script} of {container.name} can't do without {names}: it fails at once"
        path: Where = (*container.path, "env")
        fix = f"give the container {names}, as the script says at its beginning"
        unread = own.keys() - _read(objects, container, own, texts)
        for wrong in sorted(unread):
            if near := _nearest(wrong, missing):
                path, fix = (*own[wrong][0], "name"), f"write {near} instead of {wrong}"
        yield Problem(container.workload.manifest, path, message, fix)


@rule("docs/chain.md")
def incomplete_ethstats_settings(objects: Objects) -> Iterator[Problem]:
    """A node that reports to EthStats is told where, with which secret, and as whom.

    Without one of them its script ends with an error, or it reports nothing.
    """
    for container, own, texts in objects.once(_environments):
        missing = [name for name in _REPORTED if name not in own]
        told = [name for name in _REPORTED[:2] if name in own]
        if not told or not missing or not all(name in _READ.findall(texts) for name in _REPORTED):
            continue
        unread = own.keys() - _read(objects, container, own, texts)
        if not any(_nearest(wrong, missing) for wrong in unread):
            comes = "it reports nothing" if missing == ["ETHSTATS_SECRET"] else "it does not start"
            names = " and ".join(missing)
            message = f"the container {container.name} has {told[0]}, and not {names}: {comes}"
            path = (*container.path, "env")
            fix = f"add {names}, or remove {' and '.join(told)}"
            yield Problem(container.workload.manifest, path, message, fix)


@rule("https://rclone.org/docs/")
def incomplete_rclone_remote(objects: Objects) -> Iterator[Problem]:
    """A remote of rclone's that variables describe has a type and, for S3, credentials.

    Without a type there is no such remote, and without credentials S3 refuses it: no backup is
    made.
    """
    for container, own, _ in objects.once(_environments):
        remotes: dict[str, dict[str, Any]] = {}
        for name, (_, value) in own.items():
            if found := _REMOTE.fullmatch(name):
                remotes.setdefault(found[1], {})[found[2]] = value
        for remote, options in remotes.items():
            wrong = _incomplete(options)
            if not wrong or any(_nearest(name, {wrong} - options.keys()) for name in options):
                continue
            variable = f"RCLONE_CONFIG_{remote}_{wrong}"
            what, fix = "type", f"add {variable}, like s3"
            if wrong != "TYPE":
                what, fix = "credentials", f'write {variable}: "true", or add an access key'
            message = f"the remote {remote.lower()} of {container.name} has no {what}: it fails"
            path, _ = own.get(variable, ((*container.path, "env"), ""))
            yield Problem(container.workload.manifest, path, message, fix)


def _incomplete(options: Mapping[str, Any]) -> str:
    """Return what a remote lacks that can't be used as it is."""
    if "TYPE" not in options:
        return "TYPE"
    by_itself = str(options.get("ENV_AUTH")).lower() in ("true", "?")
    found = options["TYPE"] != "s3" or by_itself or "ACCESS_KEY_ID" in options
    return "" if found else "ENV_AUTH"


@rule("docs/chain.md")
def ethstats_secret_mismatch(objects: Objects) -> Iterator[Problem]:
    """Nodes report to EthStats with the secret that it knows.

    With another, it turns them away, and its page stays empty.
    """
    server = {
        _reference(variable)
        for container in objects.containers
        for _, variable in container.variables()
        if variable.get("name") == "WS_SECRET"
    } - {None}
    for container, own, _ in objects.once(_environments):
        if container.workload.manifest.component == "ethstats" and "WS_SECRET" not in own:
            if any(_nearest(name, ["WS_SECRET"]) for name in own):
                continue
            message = f"{container.name} has no WS_SECRET: it turns away whoever reports to it"
            fix = "add WS_SECRET, from the Secret and the key that ETHSTATS_SECRET has"
            yield Problem(container.workload.manifest, (*container.path, "env"), message, fix)
    for container in objects.containers:
        for place, variable in container.variables():
            told = _reference(variable) if variable.get("name") == "ETHSTATS_SECRET" else None
            if told is None or len(server) != 1 or told in server:
                continue
            (known,) = server
            message = (
                f"{container.name} of {container.workload.manifest.label} reports to EthStats with "
                f"the secret {told}, and EthStats knows {known}: it is turned away"
            )
            path = (*place, "valueFrom", "secretKeyRef", "name")
            fix = "write the Secret and the key that EthStats has"
            yield Problem(container.workload.manifest, path, message, fix)


def _reference(variable: Mapping[str, Any]) -> str | None:
    """Return Secret/key of a variable."""
    found = paths.get(variable, ["valueFrom", "secretKeyRef"])
    return f"{found.get('name')}/{found.get('key')}" if isinstance(found, dict) else None


Own = Mapping[str, tuple[Where, Any]]


@once
def _environments(objects: Objects) -> Iterator[tuple[Container, Own, str]]:
    """Yield the containers whose variables are all known: name → path and value, its scripts."""
    for container in objects.containers:
        if container.get("envFrom"):
            continue
        own = {
            str(variable.get("name")): (
                path,
                variable.get("value", "?" if "valueFrom" in variable else ""),
            )
            for path, variable in container.variables()
        }
        texts = [_script(objects, container, path) for _, path in _scripts(container)]
        yield container, own, "\n".join(texts)


def _scripts(container: Container) -> Iterator[tuple[Where, str]]:
    """Yield the scripts that shells of a container run: its command, and those of its probes."""
    commands: list[Where] = [("command",)]
    commands += [(probe, "exec", "command") for probe in PROBES]
    for path in commands:
        words = container.get(*path)
        if not isinstance(words, list) or len(words) < 2:
            continue
        shell, script = str(words[0]).rpartition("/")[2], str(words[1])
        if shell in _SHELLS and script.startswith("/"):
            yield (*container.path, *path, 1), script


def _script(objects: Objects, container: Container, path: str) -> str:
    """Return the text of a script, with what it reads of the files beside it."""
    text = _text(objects, container, path)
    beside = [f"{path.rpartition('/')[0]}/{name}" for name in _SOURCED.findall(text)]
    return "\n".join([text, *(_text(objects, container, other) for other in beside)])


def _text(objects: Objects, container: Container, path: str) -> str:
    """Return a file of a container, where a ConfigMap of the environment holds it."""
    first = f"{container.workload.manifest.name}-{container.workload.ordinals().start}"
    file = volumes.file(container, path, first, objects.once(named_objects.there))
    manifest = objects.find("ConfigMap", file.name) if file.kind == "ConfigMap" else None
    found = manifest.get("data", file.key) if manifest else None
    return found if isinstance(found, str) else ""


def _required(texts: str, own: Own) -> Sequence[str]:
    """Return the variables without which the scripts end; some may be empty, if they are there."""
    found = [name for name, colon in _REQUIRED.findall(texts) if colon or name not in own]
    found += [name for names in _NEEDED.findall(texts) for name in names.split()]
    return list(dict.fromkeys(found))


def _read(objects: Objects, container: Container, own: Own, texts: str) -> set[str]:
    """Return the variables that a container's program and its scripts read, as far as known."""
    programs = [
        node.program for node in objects.programs if node.container.place == container.place
    ]
    programs += [str(container.workload.manifest.component)]
    remotes = {found[1] for name in own if (found := _REMOTE.fullmatch(name))}
    return {
        *_READ.findall(texts),
        *(name for names in _NEEDED.findall(texts) for name in names.split()),
        *_OF_ALL,
        *(name for program in programs for name in _OF_PROGRAMS.get(program, ())),
        *(f"RCLONE_CONFIG_{remote}_{name}" for remote in remotes for name in _OF_REMOTES),
    }


def _nearest(wrong: str, known: Iterable[str]) -> str:
    """Return the name that is meant, if it is like one; of rclone's, the option's part counts."""
    remote = _REMOTE.fullmatch(wrong)
    start = wrong[: remote.start(2)] if remote else ""
    parts = [name[len(start) :] for name in known if name.startswith(start)]
    near = difflib.get_close_matches(wrong[len(start) :], parts, 1, _NEAR)
    return start + near[0] if near else ""
