"""Secrets: none in git, and each readable only by the component that needs it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from scripts.core import advice, paths, secret_detection
from scripts.kubernetes import containers, volumes
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import Workload
from scripts.rules.pod_templates import called
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_OPTION = re.compile(r"--?([A-Za-z][\w.-]*)[= ](.+)", re.DOTALL)


@rule("https://kubernetes.io/docs/concepts/security/secrets-good-practices/", outcome=Outcome.RISK)
def secret_in_plain_text(objects: Objects) -> Iterator[Problem]:
    """Passwords, tokens and private keys come from Secrets and are never in git.

    Otherwise everyone with access to the repository, now or later, can use the secret to sign
    blocks, spend funds or read backups. Git keeps it in its history after it is removed.
    """
    references = {m.name for m in objects.of_kind("ExternalSecret", "Secret")}
    references |= set(objects.given.objects.get("Secret", {}))
    for workload in objects.makers:
        manifest = workload.manifest
        for container in containers.of(workload):
            for path, what in _in_container(container, references):
                variable = manifest.get(*path[:-1], "name") if path[-1] == "value" else None
                holder = f"{variable or 'an argument'} of {called(container)}"
                fix = "replace value by valueFrom: {secretKeyRef: {name: …, key: …}}"
                other = (
                    "write $(KEY) in the argument, and add KEY with valueFrom.secretKeyRef to env"
                )
                if variable and what == "a URL with a password":
                    fix = (
                        "remove the user and the password from the URL, and write them in a Secret"
                    )
                yield _problem(manifest, path, what, holder, fix if variable else other)
        if workload.template:
            place: Where = (*workload.template, "metadata", "annotations")
            yield from _in_annotations(manifest, place, manifest.get(*place))
    for manifest in objects.manifests:
        place = ("metadata", "annotations")
        yield from _in_annotations(manifest, place, manifest.annotations)
    for manifest in objects.of_kind("ConfigMap"):
        data = manifest.object.get("data")
        for key, value in data.items() if isinstance(data, dict) else ():
            what = secret_detection.in_text(value) if isinstance(value, str) else ""
            if what or (what := secret_detection.as_named(key, value, references)):
                fix = f"move {key} to a Secret, and mount that Secret in the pods"
                yield _problem(manifest, ("data", key), what, f"{key} of {manifest.label}", fix)


def _problem(manifest: Manifest, path: Where, what: str, holder: str, fix: str) -> Problem:
    message = f"{holder} contains {what}: everyone who can read the repository can use it"
    secret = what.removeprefix("a URL with ").partition(" ")[2]
    fix += f"; then replace the {secret} by a new one, because git keeps the old one"
    return Problem(manifest, path, message, fix)


def _in_container(container: Container, references: set[str]) -> Iterator[tuple[Where, str]]:
    """Yield the path of each field of a container that contains a secret, and its kind."""
    for path, variable in container.variables():
        value = variable.get("value")
        what = secret_detection.in_text(value) if isinstance(value, str) else ""
        if what or (
            what := secret_detection.as_named(str(variable.get("name", "")), value, references)
        ):
            yield (*path, "value"), what
    for field in ("command", "args"):
        words = container.get(field)
        before = ""
        for index, word in enumerate(words if isinstance(words, list) else ()):
            if not isinstance(word, str):
                continue
            option = _OPTION.fullmatch(word)
            name, value = option.groups() if option else (before, word)
            what = secret_detection.in_text(word) or (
                secret_detection.as_named(name, value, references) if name else ""
            )
            if what:
                yield (*container.path, field, index), what
            before = word.lstrip("-") if word.startswith("-") and "=" not in word else ""


def _in_annotations(manifest: Manifest, path: Where, annotations: Any) -> Iterator[Problem]:
    for key, value in annotations.items() if isinstance(annotations, dict) else ():
        if not isinstance(value, str) or str(key).startswith("checksum/"):
            continue
        name = str(key).rpartition("/")[2]
        what = secret_detection.in_text(value)
        # An annotation named "secret" contains the name of a Secret.
        if not what and secret_detection.is_password(name):
            what = secret_detection.as_named(name, value, set())
        if not what and secret_detection.is_key(name, value):
            what = "a 32-byte key"
        if what:
            fix = "remove the annotation, and mount a Secret in the pods that need its value"
            yield _problem(manifest, (*path, key), what, f"the annotation {key}", fix)


_CHAIN = {"backup", "besu", "ethstats", "maru", "restore-drill", "sequencer", "tx-sender"}
_READERS = {
    "jwt": {"maru", "sequencer"},
    "secret": {"besu", "ethstats", "sequencer"},
    "AWS_ACCESS_KEY_ID": {"backup", "besu", "maru", "restore-drill", "sequencer"},
    "AWS_SECRET_ACCESS_KEY": {"backup", "besu", "maru", "restore-drill", "sequencer"},
}
"""Keys that several components read, with these components (chart/README.md): the JWT secret of the
Engine API, the secret of EthStats, and the credentials of backups. Other keys have one reader."""


@rule("chart/README.md", outcome=Outcome.RISK)
def secret_of_another_component(objects: Objects) -> Iterator[Problem]:
    """A component reads only its own Secrets.

    Otherwise the private key of a validator or an account is exposed to pods that do not need it,
    and two nodes with the same key sign conflicting blocks.
    """
    readers = dict[tuple[str, str], list[tuple[Workload, Where]]]()
    for workload in objects.makers:
        for name, key, path in _secrets(workload):
            readers.setdefault((name, key), []).append((workload, path))
    reported = set[tuple[str, str]]()
    for (name, key), users in readers.items():
        components = list(dict.fromkeys(workload.component for workload, _ in users))
        allowed = _READERS.get(key) or {_owner(objects, name, components)}
        for workload, path in users:
            component = workload.component
            place = (workload.manifest.label, name)
            if component in allowed or place in reported or not _CHAIN & {*components, *allowed}:
                continue
            reported.add(place)
            owners = " and ".join(sorted(allowed))
            message = (
                f"the component {component} reads Secret/{name}, which is only for {owners}: an"
                f" attacker in a pod of {component} gets its keys"
            )
            fix = f"remove the reference; if {component} needs a Secret here, name one that only"
            fix += f" {component} reads"
            yield Problem(workload.manifest, path, message, fix)


def _owner(objects: Objects, name: str, readers: Sequence[str]) -> str:
    """Return the component of a Secret: by its manifest, its name, or its first reader."""
    manifest = objects.find("ExternalSecret", name)
    if manifest and manifest.component in _CHAIN:
        return manifest.component
    named = [one for one in sorted(_CHAIN) if re.search(rf"(^|-){one}(-|$)", name)]
    return named[0] if named else readers[0]


def _secrets(workload: Workload) -> Iterator[tuple[str, str, Where]]:
    """Yield name, key and place of the Secrets that pods read; an empty key means all keys."""
    for path, volume in workload.volumes():
        for source in volumes.sources(volume):
            if source.kind == "Secret":
                for key in [key for _, key, _ in source.items or ()] or [""]:
                    yield source.name, key, (*path, *source.name_path)
    for container in containers.of(workload):
        for read in container.env_sources():
            if read.kind == "Secret":
                yield read.name, read.key, (*read.path, "name")


_OTHERS = 0o007
"""The bits of a file mode for all other users."""


@rule("https://kubernetes.io/docs/concepts/configuration/secret/", outcome=Outcome.RISK)
def world_readable_secret_file(objects: Objects) -> Iterator[Problem]:
    """Only the user and the group of the pod can read the files of a Secret.

    Otherwise every program in the pod can read them, whichever user it runs as. The default mode of
    Kubernetes is 0644, which every user can read.
    """
    for workload in objects.makers:
        for place, volume in workload.volumes():
            for path, mode in _modes(volume):
                if isinstance(mode, int) and mode & _OTHERS:
                    message = (
                        f"every user in the pod can read the secret files of the volume"
                        f" {volume.get('name')} (mode {mode:04o})"
                    )
                    fix = advice.write(path[-1], 288) + ", which is 0440 in octal"
                    yield Problem(workload.manifest, (*place, *path), message, fix)


def _modes(volume: dict[str, Any]) -> Iterator[tuple[Where, Any]]:
    """Yield the modes of a volume's files that come from Secrets, each with its path."""
    secrets = [source for source in volumes.sources(volume) if source.kind == "Secret"]
    for kind in dict.fromkeys(source.path[0] for source in secrets):
        yield (kind, "defaultMode"), paths.get(volume, (kind, "defaultMode")) or 0o644
    for source in secrets:
        for path, _, _ in source.items or ():
            yield (*path, "mode"), paths.get(volume, (*path, "mode"))
