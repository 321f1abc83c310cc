"""Secrets: none in git, and each read by those alone whom it is for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from scripts.core import paths, secret_detection
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
    """Passwords, tokens and private keys come from Secrets, never from what is in git.

    Else whoever may read the repository, or once could, may do what the secret opens: sign blocks,
    send the funds of an account, read backups. It stays in git's history after it is removed.
    """
    references = {m.name for m in objects.of_kind("ExternalSecret", "Secret")}
    references |= set(objects.given.objects.get("Secret", {}))
    for workload in objects.makers:
        manifest = workload.manifest
        for container in containers.of(workload):
            for path, what in _in_container(container, references):
                named = manifest.get(*path[:-1], "name") if path[-1] == "value" else None
                holder = f"{named or 'an argument'} of {called(container)}"
                yield _told(manifest, path, what, holder)
        if workload.template:
            place: Where = (*workload.template, "metadata", "annotations")
            yield from _in_notes(manifest, place, manifest.get(*place))
    for manifest in objects.manifests:
        place = ("metadata", "annotations")
        yield from _in_notes(manifest, place, manifest.annotations)
    for manifest in objects.of_kind("ConfigMap"):
        data = manifest.object.get("data")
        for key, value in data.items() if isinstance(data, dict) else ():
            what = secret_detection.in_text(value) if isinstance(value, str) else ""
            if what or (what := secret_detection.as_named(key, value, references)):
                yield _told(manifest, ("data", key), what, f"{key} of {manifest.label}")


def _told(manifest: Manifest, path: Where, what: str, holder: str) -> Problem:
    message = f"{holder} holds {what}: all who can read the repository have it"
    fix = (
        "take another one into use, as git keeps this one for ever, and keep that in a Secret: "
        "valueFrom.secretKeyRef, or a file of a volume"
    )
    return Problem(manifest, path, message, fix)


def _in_container(container: Container, references: set[str]) -> Iterator[tuple[Where, str]]:
    """Yield the path of each field of a container that holds a secret, and what it is."""
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


def _in_notes(manifest: Manifest, path: Where, notes: Any) -> Iterator[Problem]:
    for key, value in notes.items() if isinstance(notes, dict) else ():
        if not isinstance(value, str) or str(key).startswith("checksum/"):
            continue
        name = str(key).rpartition("/")[2]
        what = secret_detection.in_text(value)
        # An annotation that is called a secret names one.
        if not what and secret_detection.is_password(name):
            what = secret_detection.as_named(name, value, set())
        if not what and secret_detection.is_key(name, value):
            what = "a 32-byte key"
        if what:
            yield _told(manifest, (*path, key), what, f"the annotation {key}")


_CHAIN = {"backup", "besu", "ethstats", "maru", "sequencer", "tx-sender"}
_READERS = {
    "jwt": {"maru", "sequencer"},
    "secret": {"besu", "ethstats", "sequencer"},
    "AWS_ACCESS_KEY_ID": {"backup", "besu", "maru", "sequencer"},
    "AWS_SECRET_ACCESS_KEY": {"backup", "besu", "maru", "sequencer"},
}
"""Of the keys that several components read, by chart/README.md, who may: the Engine API's secret,
EthStats', and what reads and writes backups. Every other key has one reader."""


@rule("chart/README.md", outcome=Outcome.RISK)
def secret_of_another_component(objects: Objects) -> Iterator[Problem]:
    """A component reads its own Secrets, and no other's.

    Else the private key of a validator or of an account lies where it is not needed, and two
    nodes with one key sign against each other.
    """
    readers = dict[tuple[str, str], list[tuple[Workload, Where]]]()
    for workload in objects.makers:
        for name, key, path in _secrets(workload):
            readers.setdefault((name, key), []).append((workload, path))
    told = set[tuple[str, str]]()
    for (name, key), found in readers.items():
        components = list(dict.fromkeys(workload.component for workload, _ in found))
        allowed = _READERS.get(key) or {_owner(objects, name, components)}
        for workload, path in found:
            component = workload.component
            seen = (workload.manifest.label, name)
            if component in allowed or seen in told or not _CHAIN & {*components, *allowed}:
                continue
            told.add(seen)
            whose = " and ".join(sorted(allowed))
            message = f"{component} reads the Secret {name}, which is {whose}'s alone"
            fix = f"name the Secret of {component}, or remove it here"
            yield Problem(workload.manifest, path, message, fix)


def _owner(objects: Objects, name: str, readers: Sequence[str]) -> str:
    """Return whose Secret it is: its manifest says so, or its name; else who reads it first."""
    manifest = objects.find("ExternalSecret", name)
    if manifest and manifest.component in _CHAIN:
        return manifest.component
    named = [one for one in sorted(_CHAIN) if re.search(rf"(^|-){one}(-|$)", name)]
    return named[0] if named else readers[0]


def _secrets(workload: Workload) -> Iterator[tuple[str, str, Where]]:
    """Yield name, key and place of the Secrets that pods read; no key where they read them all."""
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
"""The bits of a file's mode that are for everybody."""


@rule("https://kubernetes.io/docs/concepts/configuration/secret/", outcome=Outcome.RISK)
def world_readable_secret_file(objects: Objects) -> Iterator[Problem]:
    """The files of a Secret can be read by the pod's user and group only.

    Else every program of the pod reads them, whichever user it runs as. Kubernetes makes them so
    (0644) where nothing is said.
    """
    for workload in objects.makers:
        for place, volume in workload.volumes():
            for path, mode in _modes(volume):
                if isinstance(mode, int) and mode & _OTHERS:
                    message = (
                        f"the files of the volume {volume.get('name')}, which are secret, can be "
                        f"read by everybody in the pod (mode {mode:04o})"
                    )
                    fix = "write 0440: in YAML, 288"
                    yield Problem(workload.manifest, (*place, *path), message, fix)


def _modes(volume: dict[str, Any]) -> Iterator[tuple[Where, Any]]:
    """Yield the modes of a volume's files that come from Secrets, each with its path."""
    held = [source for source in volumes.sources(volume) if source.kind == "Secret"]
    for kind in dict.fromkeys(source.path[0] for source in held):
        yield (kind, "defaultMode"), paths.get(volume, (kind, "defaultMode")) or 0o644
    for source in held:
        for path, _, _ in source.items or ():
            yield (*path, "mode"), paths.get(volume, (*path, "mode"))
