"""Environment variables: containers have those that their programs and scripts read."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from scripts.chain import block_time
from scripts.chain.node_config import BESU, MARU
from scripts.core import advice, paths
from scripts.core.edits import Action
from scripts.core.findings import Severity
from scripts.core.fixes import Change, Fix
from scripts.core.yamlio import flow
from scripts.kubernetes import containers, services, volumes
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
_ETHSTATS_SECRET = ("linea-stack-ethstats-secret", "secret")
"""The chart's default for that secret: its name, and the key."""
_OF_SCRIPTS = {
    "KEY_FILE": "/secrets/p2p/key",
    "PREFIX": "the backups' folder in the bucket, for example linea-prod/linea-stack",
    "RPC_URL": "http://linea-stack-besu:8545",
    "SECRETS_DIR": "/secrets/tx-sender",
    "SECRET_FILE": "/secrets/engine/jwt",
    "SOURCE_DIR": "/source",
    "TARGET_DIR": "/target",
    "WORK_DIR": "/run/tx-sender",
}
"""The variables that the chart's scripts require, with the values that its templates give them."""
_FROM_VALUES = {
    "AMOUNT_WEI": "txSender.amount",
    "BACKUP": "restore.backup",
    "BUCKET": "backup.storage.bucket",
    "INTERVAL_SECONDS": "txSender.interval",
    "RETENTION_DAYS": "backup.retention.days",
    "RETENTION_KEEP": "backup.retention.keep",
}
"""Those whose values come from the chart's values, with the keys."""


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
                    f"nothing in {called(container)} reads the environment variable {name}, which "
                    f"is probably meant as {near}: it has no effect"
                )
                manifest = container.workload.manifest
                fix = advice.saying(f"rename {name} to {near}", near)
                yield Problem(manifest, (*path, "name"), message, fix)


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
                        f"{called(container)} has no environment variable {name}: $({name}) is not "
                        "expanded"
                    )
                    near = difflib.get_close_matches(name, allowed, 1)
                    fix = f"add {name} to env"
                    if own := ", ".join(sorted(_own(container))):
                        fix = f"write another variable ({own}); if {name} is intended, {fix}"
                    if near:
                        words = f"write $({near[0]}) instead of $({name})"
                        fix = advice.in_text(words, text, f"$({name})", f"$({near[0]})")
                    if name in names:
                        user = paths.get(workload.manifest.object, (*path[:-1], "name"))
                        message = (
                            f"in env of {called(container)}, {name} is below {user}, which uses "
                            f"it: $({name}) is not expanded"
                        )
                        fix = f"move {name} above {user}"
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
            f"{names} {'is' if len(missing) == 1 else 'are'} missing or empty in env of "
            f"{called(container)}: {script} needs {'it' if len(missing) == 1 else 'them'}, and "
            "fails at once"
        )
        path: Where = (*container.path, "env")
        fix: str = "set " + " and ".join(
            f"{name} to {_value(objects, container, name)}" for name in missing
        )
        unread = own.keys() - _read(objects, container, own, texts)
        for wrong in sorted(unread):
            if near := _nearest(wrong, missing):
                path = (*own[wrong][0], "name")
                fix = advice.saying(f"rename {wrong} to {near}", near)
        yield Problem(container.workload.manifest, path, message, fix)


def _value(objects: Objects, container: Container, name: str) -> str:
    """Return the value of a variable that a script requires, as the chart's templates set it."""
    if name == "PEERS":
        sequencer = objects.component("sequencer")
        pods = sequencer.pod_names() if sequencer else []
        service = sequencer.get("spec", "serviceName") if sequencer else ""
        return " ".join(f"{pod}.{service}" for pod in pods) or '""'
    if name == "PARTS":
        component = container.workload.manifest.component
        return {"sequencer": "besu", "maru": "maru"}.get(component, "besu maru")
    if name in _FROM_VALUES:
        return f"the value of {_FROM_VALUES[name]} in the values"
    return _OF_SCRIPTS.get(name, "the value that the script expects")


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
            effect = "does not report to EthStats" if is_silent else "does not start"
            names = " and ".join(missing)
            message = f"{called(container)} has {present[0]} but not {names}: the node {effect}"
            path = (*container.path, "env")
            added = " and ".join(flow(_reported(objects, name)) for name in missing)
            changes = [Change(Action.APPEND, (), _reported(objects, name)) for name in missing]
            fix = Fix(f"add {added} to env", changes)
            yield Problem(container.workload.manifest, path, message, fix)


def _reported(objects: Objects, name: str) -> dict[str, Any]:
    """Return a variable of a node that reports to EthStats, as an item of env."""
    value: dict[str, Any] = {"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    if name == "ETHSTATS_HOST":
        ethstats = objects.component("ethstats")
        hosts = [
            f"{service.name}:{port.number}"
            for service in objects.of_kind("Service")
            for port in services.ports(service)
            if ethstats in objects.behind(service)
        ]
        value = {"value": (hosts or ["linea-stack-ethstats:3000"])[0]}
    elif name == "ETHSTATS_SECRET":
        known = sorted(_references(objects, "WS_SECRET"))
        value = {"valueFrom": _key_of(*(known or [_ETHSTATS_SECRET])[0])}
    return {"name": name, **value}


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
            what, fix = "type", f"in env, set {variable} to s3"
            if wrong != "TYPE":
                what = "credentials"
                fix = (
                    f'in env, set {variable} to "true": rclone then uses the IAM role of the pod, '
                    "or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                )
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
    server = _references(objects, "WS_SECRET")
    for container, own, _ in objects.once(_environments):
        if container.workload.manifest.component == "ethstats" and "WS_SECRET" not in own:
            if any(_nearest(name, ["WS_SECRET"]) for name in own):
                continue
            message = (
                f"{called(container)} has no WS_SECRET: EthStats rejects the reports of all nodes"
            )
            of_nodes = sorted(_references(objects, "ETHSTATS_SECRET")) or [_ETHSTATS_SECRET]
            reference = {"name": "WS_SECRET", "valueFrom": _key_of(*of_nodes[0])}
            fix = advice.add_item(reference, "env")
            yield Problem(container.workload.manifest, (*container.path, "env"), message, fix)
    for container in objects.containers:
        for place, variable in container.variables():
            secret = _reference(variable) if variable.get("name") == "ETHSTATS_SECRET" else None
            if secret is None or len(server) != 1 or secret in server:
                continue
            (expected,) = server
            message = (
                f"ETHSTATS_SECRET of {called(container)} comes from Secret/{secret[0]} (key "
                f"{secret[1]}), but EthStats expects Secret/{expected[0]} (key {expected[1]}): it "
                "rejects the reports"
            )
            path = (*place, "valueFrom", "secretKeyRef", "name")
            fix = advice.write("secretKeyRef", _key_of(*expected)["secretKeyRef"])
            yield Problem(container.workload.manifest, path, message, fix)


def _references(objects: Objects, name: str) -> set[tuple[str, str]]:
    """Return the Secrets, each with its key, that containers have in an environment variable."""
    return {
        secret
        for container in objects.containers
        for _, variable in container.variables()
        if variable.get("name") == name and (secret := _reference(variable))
    }


def _reference(variable: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the Secret that a variable refers to, and the key; None without a secretKeyRef."""
    found = paths.get(variable, ["valueFrom", "secretKeyRef"])
    return (str(found.get("name")), str(found.get("key"))) if isinstance(found, dict) else None


def _key_of(secret: str, key: str) -> dict[str, dict[str, str]]:
    """Return a reference to a key of a Secret."""
    return {"secretKeyRef": {"name": secret, "key": key}}


_TX_SENDER = "chart/files/tx-sender/tx-sender.sh"
_PENDING = re.compile(r"^pending_limit=([0-9]+)", re.MULTILINE)
_INTERVAL = "INTERVAL_SECONDS"


@rule(_TX_SENDER, Severity.WARNING, outcome=Outcome.RISK)
def transfers_faster_than_blocks(objects: Objects) -> Iterator[Problem]:
    """The TX Sender makes no more transfers between two blocks than may be pending.

    Otherwise it waits for the next block again and again, and makes fewer transfers than its
    interval says.
    """
    between = block_time.seconds_between(objects.programs)
    for container, own, texts in objects.once(_environments):
        pending, (path, interval) = _PENDING.search(texts), own.get(_INTERVAL, ((), ""))
        if not pending or not str(interval).isdecimal() or not between:
            continue
        if 0 < int(interval) * int(pending[1]) < between:
            message = (
                f"{container.workload.manifest.label} makes a transfer every {interval} s, at most "
                f"{pending[1]} may be pending, and a block comes every {between} s: it waits, and "
                "makes fewer transfers"
            )
            least = -(-between // int(pending[1]))
            fix = f'write value: "{least}" or more for {_INTERVAL} (in the values: '
            fix += "txSender.interval)"
            yield Problem(container.workload.manifest, (*path, "value"), message, fix)


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
