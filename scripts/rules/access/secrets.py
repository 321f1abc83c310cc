"""Secrets: none in git, and each read by those alone whom it is for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scripts.core import paths, secret_detection
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import mappings
from scripts.rules.pod_templates import Pod, called, pods
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects

_OPTION = re.compile(r"--?([A-Za-z][\w.-]*)[= ](.+)", re.DOTALL)


@rule("https://kubernetes.io/docs/concepts/security/secrets-good-practices/")
def secret_in_plain_text(objects: Objects) -> Iterator[Problem]:
    """Passwords, tokens and private keys come from Secrets, never from what is in git.

    Else whoever may read the repository, or once could, may do what the secret opens: sign blocks,
    send the funds of an account, read backups. It stays in git's history after it is removed.
    """
    references = {m.name for m in objects.of_kind("ExternalSecret", "Secret")}
    references |= set(objects.given.objects.get("Secret", {}))
    for pod in pods(objects):
        for path, container in pod.containers():
            for inner, what in _in_container(container, references):
                named = paths.get(container, (*inner[:2], "name")) or "an argument"
                holder = f"{named} of {called(container)}"
                yield _told(pod.manifest, (*pod.path, *path, *inner), what, holder)
        if template := pod.path[:-1]:
            place: Where = (*template, "metadata", "annotations")
            yield from _in_notes(pod.manifest, place, paths.get(pod.manifest.object, place))
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


def _in_container(
    container: Mapping[str, Any], references: set[str]
) -> Iterator[tuple[Where, str]]:
    """Yield the path of each field of a container that holds a secret, and what it is."""
    for index, variable in mappings(container.get("env")):
        value = variable.get("value")
        what = secret_detection.in_text(value) if isinstance(value, str) else ""
        if what or (
            what := secret_detection.as_named(str(variable.get("name", "")), value, references)
        ):
            yield ("env", index, "value"), what
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
                yield (field, index), what
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


_CHAIN = {"backup", "besu", "ethstats", "maru", "restore-drill", "sequencer", "tx-sender"}
_READERS = {
    "jwt": {"maru", "sequencer"},
    "secret": {"besu", "ethstats", "sequencer"},
    "AWS_ACCESS_KEY_ID": {"backup", "besu", "maru", "restore-drill", "sequencer"},
    "AWS_SECRET_ACCESS_KEY": {"backup", "besu", "maru", "restore-drill", "sequencer"},
}
"""Of the keys that several components read, by chart/README.md, who may: the Engine API's secret,
EthStats', and what reads and writes backups. Every other key has one reader."""


@rule("chart/README.md")
def secret_of_another(objects: Objects) -> Iterator[Problem]:
    """A component reads its own Secrets, and no other's.

    Else the private key of a validator or of an account lies where it is not needed, and two
    nodes with one key sign against each other.
    """
    readers = dict[tuple[str, str], list[tuple[Pod, Where]]]()
    for pod in pods(objects):
        for name, key, path in _secrets(pod):
            readers.setdefault((name, key), []).append((pod, path))
    told = set[tuple[str, str]]()
    for (name, key), found in readers.items():
        components = list(dict.fromkeys(pod.component for pod, _ in found))
        allowed = _READERS.get(key) or {_owner(objects, name, components)}
        for pod, path in found:
            component = pod.component
            seen = (pod.manifest.label, name)
            if component in allowed or seen in told or not _CHAIN & {*components, *allowed}:
                continue
            told.add(seen)
            whose = " and ".join(sorted(allowed))
            message = f"{component} reads the Secret {name}, which is {whose}'s alone"
            fix = f"name the Secret of {component}, or remove it here"
            yield pod.problem(path, message, fix)


def _owner(objects: Objects, name: str, readers: Sequence[str]) -> str:
    """Return whose Secret it is: its manifest says so, or its name; else who reads it first."""
    manifest = objects.find("ExternalSecret", name)
    if manifest and manifest.component in _CHAIN:
        return manifest.component
    named = [one for one in sorted(_CHAIN) if re.search(rf"(^|-){one}(-|$)", name)]
    return named[0] if named else readers[0]


def _secrets(pod: Pod) -> Iterator[tuple[str, str, Where]]:
    """Yield name, key and place of the Secrets that a pod reads; no key where it reads them all."""
    for index, volume in mappings(pod.get("volumes")):
        yield from _keys(volume.get("secret"), "secretName", ("volumes", index, "secret"))
        for number, source in mappings(paths.get(volume, ("projected", "sources"))):
            projected = ("volumes", index, "projected", "sources", number, "secret")
            yield from _keys(source.get("secret"), "name", projected)
    for path, container in pod.containers():
        for index, variable in mappings(container.get("env")):
            found = paths.get(variable, ("valueFrom", "secretKeyRef"))
            if isinstance(found, dict):
                place = (*path, "env", index, "valueFrom", "secretKeyRef", "name")
                yield str(found.get("name")), str(found.get("key")), place
        for index, source in mappings(container.get("envFrom")):
            yield from _keys(
                source.get("secretRef"), "name", (*path, "envFrom", index, "secretRef")
            )


def _keys(secret: Any, field: str, path: Where) -> Iterator[tuple[str, str, Where]]:
    if isinstance(secret, dict):
        listed = [str(item.get("key")) for _, item in mappings(secret.get("items"))]
        for key in listed or [""]:
            yield str(secret.get(field)), key, (*path, field)


_OTHERS = 0o007
"""The bits of a file's mode that are for everybody."""


@rule("https://kubernetes.io/docs/concepts/configuration/secret/")
def secret_file_for_everybody(objects: Objects) -> Iterator[Problem]:
    """The files of a Secret can be read by the pod's user and group only.

    Else every program of the pod reads them, whichever user it runs as. Kubernetes makes them so
    (0644) where nothing is said.
    """
    for pod in pods(objects):
        for index, volume in mappings(pod.get("volumes")):
            for path, mode in _modes(volume):
                if isinstance(mode, int) and mode & _OTHERS:
                    message = (
                        f"the files of the volume {volume.get('name')}, which are secret, can be "
                        f"read by everybody in the pod (mode {mode:04o})"
                    )
                    yield pod.problem(
                        ("volumes", index, *path), message, "write 0440: in YAML, 288"
                    )


def _modes(volume: dict[str, Any]) -> Iterator[tuple[Where, Any]]:
    """Yield the modes of a volume's files that come from Secrets, each with its path."""
    projected = volume.get("projected")
    sources = list(mappings(paths.get(projected, ("sources",))))
    secrets: list[tuple[Where, Any]] = [(("secret",), volume.get("secret"))]
    secrets += [(("projected", "sources", i, "secret"), one.get("secret")) for i, one in sources]
    held = [(path, secret) for path, secret in secrets if isinstance(secret, dict)]
    for kind in {path[0]: None for path, _ in held}:
        yield (kind, "defaultMode"), paths.get(volume, (kind, "defaultMode")) or 0o644
    for path, secret in held:
        for index, item in mappings(secret.get("items")):
            yield (*path, "items", index, "mode"), item.get("mode")
