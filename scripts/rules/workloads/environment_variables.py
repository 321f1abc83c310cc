"""Environment variables: containers have those that their programs and scripts read."""

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
from scripts.rules.pod_templates import called
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
"""Variables that the kubelet adds to containers for Services."""
_NEAR = 0.85
"""How similar two names must be for one to count as a misspelling of the other."""

_SOURCED = re.compile(r"^\s*\. \"?\$\{0%/\*\}/([-\w.]+)\"?", re.MULTILINE)
"""A file in the same folder that a script sources."""
_READ = re.compile(r"\$\{?([A-Z_][A-Z0-9_]+)")
_REQUIRED = re.compile(r"\$\{([A-Z_]+)(:?)\?")
"""In a shell, ${NAME:?} must be set and not empty, and ${NAME?} must be set."""
_NEEDED = re.compile(r"^\s*need ([A-Z_ ]+)$", re.MULTILINE)

_OF_ALL = ("HOME",)
_OF_PROGRAMS = {
    BESU: ("BESU_OPTS", "JAVA_OPTS", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS"),
    MARU: ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS"),
    "ethstats": ("PORT", "WS_SECRET"),
}
"""The variables that programs themselves read."""
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
"""With these, a node reports to EthStats: the secret, the host, and its own name."""


@rule(_VARIABLES, outcome=Outcome.HIDDEN)
def unknown_environment_variable(objects: Objects) -> Iterator[Problem]:
    """The name of an environment variable is not a misspelling of one that the container reads.

    Otherwise the program ignores the variable, and uses its default.
    """
    for container, own, texts in objects.once(_environments):
        required = _required(texts, own)
        read = _read(objects, container, own, texts)
        for name, (path, _) in own.items():
            near = _nearest(name, read - own.keys() - set(required)) if name not in read else ""
            if near:
                message = (
                    f"nothing in {called(container)} reads {name}, which is probably "
                    f"meant as {near}: it has no effect"
                )
                manifest = container.workload.manifest
                yield Problem(manifest, (*path, "name"), message, f"write {near}")


@rule(_DEPENDENT)
def unresolved_environment_variable(objects: Objects) -> Iterator[Problem]:
    """A $(VARIABLE) refers to a variable of the container that is defined above its use.

    Otherwise it is not expanded: the program gets the literal text $(VARIABLE).
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
                        f"{called(container)} has no variable {name}: $({name}) is not expanded"
                    )
                    near = difflib.get_close_matches(name, allowed, 1)
                    fix = f"write $({near[0]})" if near else f"add {name} to env"
                    if name in names:
                        message = (
                            f"the variable {name} is defined below the variable that uses it: "
                            f"$({name}) is not expanded"
                        )
                        fix = f"move {name} above this variable"
                    yield Problem(workload.manifest, path, message, fix)


def _own(container: Container) -> frozenset[str]:
    return frozenset(str(one.get("name")) for _, one in container.variables())


def _variables(objects: Objects, container: Container) -> frozenset[str] | None:
    """Return the names of a container's variables; None if some of them are not known."""
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
    """Yield the texts that may use $(VARIABLES), with the variables above if the order matters."""
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
    """A container has the environment variables that its script requires.

    Otherwise the script exits at once: the pod ends in CrashLoopBackOff, or no backup is made.
    """
    for container, own, texts in objects.once(_environments):
        missing = [name for name in _required(texts, own) if not own.get(name, ((), ""))[1]]
        if not missing:
            continue
        names = " and ".join(missing)
        script = next(iter(_scripts(container)))[1]
        message = (
            f"{script} of {called(container)} requires {names}, which "
            f"{'is' if len(missing) == 1 else 'are'} missing or empty: the script fails at once"
        )
        path: Where = (*container.path, "env")
        fix = f"add {names} to env, as described at the top of the script"
        unread = own.keys() - _read(objects, container, own, texts)
        for wrong in sorted(unread):
            if near := _nearest(wrong, missing):
                path, fix = (*own[wrong][0], "name"), f"write {near} instead of {wrong}"
        yield Problem(container.workload.manifest, path, message, fix)


@rule("docs/chain.md")
def incomplete_ethstats_settings(objects: Objects) -> Iterator[Problem]:
    """A node that reports to EthStats has the variables for the host, the secret and its name.

    Otherwise its script exits with an error, or the node is missing on the EthStats page.
    """
    for container, own, texts in objects.once(_environments):
        missing = [name for name in _REPORTED if name not in own]
        present = [name for name in _REPORTED[:2] if name in own]
        reads_all = all(name in _READ.findall(texts) for name in _REPORTED)
        if not present or not missing or not reads_all:
            continue
        unread = own.keys() - _read(objects, container, own, texts)
        if not any(_nearest(wrong, missing) for wrong in unread):
            is_silent = missing == ["ETHSTATS_SECRET"]
            effect = "it does not report to EthStats" if is_silent else "it does not start"
            names = " and ".join(missing)
            message = f"{called(container)} has {present[0]} but not {names}: {effect}"
            path = (*container.path, "env")
            fix = f"add {names}, or remove {' and '.join(present)}"
            yield Problem(container.workload.manifest, path, message, fix)


@rule("https://rclone.org/docs/")
def incomplete_rclone_remote(objects: Objects) -> Iterator[Problem]:
    """An rclone remote that is configured by variables has a type and, for S3, credentials.

    Otherwise no backup is made: rclone doesn't know a remote without a type, and S3 answers 403
    without credentials.
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
            what, fix = "type", f"add {variable}, for example s3"
            if wrong != "TYPE":
                what, fix = "credentials", f'write {variable}: "true", or add an access key'
            message = (
                f"the rclone remote {remote.lower()} of {called(container)} has no "
                f"{what}: every copy to it fails"
            )
            path, _ = own.get(variable, ((*container.path, "env"), ""))
            yield Problem(container.workload.manifest, path, message, fix)


def _incomplete(options: Mapping[str, Any]) -> str:
    """Return the option that a remote lacks; "" if it is complete."""
    if "TYPE" not in options:
        return "TYPE"
    from_environment = str(options.get("ENV_AUTH")).lower() in ("true", "?")
    is_complete = options["TYPE"] != "s3" or from_environment or "ACCESS_KEY_ID" in options
    return "" if is_complete else "ENV_AUTH"


@rule("docs/chain.md")
def ethstats_secret_mismatch(objects: Objects) -> Iterator[Problem]:
    """Nodes and EthStats use the same secret.

    Otherwise EthStats rejects the reports, and its page stays empty.
    """
    server = {
        secret
        for container in objects.containers
        for _, variable in container.variables()
        if variable.get("name") == "WS_SECRET" and (secret := _reference(variable))
    }
    for container, own, _ in objects.once(_environments):
        if container.workload.manifest.component == "ethstats" and "WS_SECRET" not in own:
            if any(_nearest(name, ["WS_SECRET"]) for name in own):
                continue
            message = (
                f"{called(container)} has no WS_SECRET: EthStats rejects the reports of all nodes"
            )
            fix = "add WS_SECRET with the secretKeyRef of the nodes' ETHSTATS_SECRET"
            yield Problem(container.workload.manifest, (*container.path, "env"), message, fix)
    for container in objects.containers:
        for place, variable in container.variables():
            secret = _reference(variable) if variable.get("name") == "ETHSTATS_SECRET" else None
            if secret is None or len(server) != 1 or secret in server:
                continue
            (expected,) = server
            message = (
                f"{container.name} of {container.workload.manifest.label} reports to EthStats with "
                f"the secret {secret}, and EthStats expects {expected}: it rejects the reports"
            )
            path = (*place, "valueFrom", "secretKeyRef", "name")
            name, _, key = expected.partition("/")
            fix = f"write secretKeyRef: {{name: {name}, key: {key}}}"
            yield Problem(container.workload.manifest, path, message, fix)


def _reference(variable: Mapping[str, Any]) -> str | None:
    """Return the Secret/key that a variable refers to; None without a secretKeyRef."""
    found = paths.get(variable, ["valueFrom", "secretKeyRef"])
    return f"{found.get('name')}/{found.get('key')}" if isinstance(found, dict) else None


Own = Mapping[str, tuple[Where, Any]]


@once
def _environments(objects: Objects) -> Iterator[tuple[Container, Own, str]]:
    """Yield the containers whose variables are all known, with these and the text of its scripts.

    Variables are by name, each with its path and value.
    """
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
    """Yield the scripts that a container runs in a shell: its command, and those of its probes."""
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
    """Return the text of a script, with the files that it sources from its own folder."""
    text = _text(objects, container, path)
    beside = [f"{path.rpartition('/')[0]}/{name}" for name in _SOURCED.findall(text)]
    return "\n".join([text, *(_text(objects, container, other) for other in beside)])


def _text(objects: Objects, container: Container, path: str) -> str:
    """Return the text of a file in a container; "" if it is not in a ConfigMap."""
    first = f"{container.workload.manifest.name}-{container.workload.ordinals().start}"
    file = volumes.file(container, path, first, objects.once(named_objects.there))
    manifest = objects.find("ConfigMap", file.name) if file.kind == "ConfigMap" else None
    found = manifest.get("data", file.key) if manifest else None
    return found if isinstance(found, str) else ""


def _required(texts: str, own: Own) -> Sequence[str]:
    """Return the variables that scripts require, except those that may be empty and are set."""
    found = [name for name, colon in _REQUIRED.findall(texts) if colon or name not in own]
    found += [name for names in _NEEDED.findall(texts) for name in names.split()]
    return list(dict.fromkeys(found))


def _read(objects: Objects, container: Container, own: Own, texts: str) -> set[str]:
    """Return the variables that a container's program and scripts are known to read."""
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
    """Return the most similar known name, or "".

    Of rclone's variables, only the part after the remote's name is compared.
    """
    remote = _REMOTE.fullmatch(wrong)
    start = wrong[: remote.start(2)] if remote else ""
    parts = [name[len(start) :] for name in known if name.startswith(start)]
    near = difflib.get_close_matches(wrong[len(start) :], parts, 1, _NEAR)
    return start + near[0] if near else ""
