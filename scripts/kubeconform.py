"""Manifests → what kubeconform says against the cluster's own schemas, strictly and offline."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema_rs
import yaml

from scripts import openapi, schema_places, schema_words, schemas, tools, yamlio
from scripts.findings import UsageError
from scripts.schema_words import label

TIMEOUT_S = 600

# kubeconform's own list of errors leaves out those that share a parent; its message has them all.
_ERROR = re.compile(r"\s+- at '((?:[^'\\]|\\.)*)': ")
_GROUP = re.compile(r"validation failed|'?(?:allOf|anyOf|oneOf)'? failed.*|\$ref .*failed.*")
_UNKNOWN = re.compile(r"additional properties (.*) not allowed")
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'")
FREE = {"annotations", "labels", "matchLabels", "nodeSelector"}
"""Fields whose keys are anybody's, if they have the form of one."""
_KEY_FORM = "letters, digits, - _ . only, at most 63, perhaps after a DNS name and a /"
_FORMS = {
    openapi.QUANTITY: "is no quantity like 500m or 2Gi",
    openapi.BASE64: "is not base64",
    openapi.DURATION: "is no duration like 30s or 1h30m",
    openapi.LABEL: "is no value of a label: letters, digits, - _ . only, at most 63",
}


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """What is wrong with one field of one object."""

    file: str
    """The key of the text it stands in."""
    kind: str
    name: str
    path: tuple[str | int, ...]
    """To the field, from the object; to its parent where the field is missing or unknown."""
    message: str


def check(files: Mapping[str, str], kubernetes_version: str) -> list[Problem]:
    """Return all that is wrong in texts of YAML, sorted.

    files: a name of the caller's → its text. kubernetes_version: a minor version like 1.34.
    An object of a kind that neither this Kubernetes nor a pinned operator has is a problem, too.
    Raises UsageError where the tool or the schemas can't be had.
    """
    if not files:
        return []
    program = tools.tool("kubeconform")
    command: list[str | Path] = [program, "-strict", "-output", "json", "-n", str(_processors())]
    for location in schemas.locations(kubernetes_version):
        command += ["-schema-location", location]
    names = dict(zip((f"{number}.yaml" for number in range(len(files))), files, strict=True))
    with tempfile.TemporaryDirectory(prefix="kubeconform-") as folder:
        for own, name in names.items():
            (Path(folder) / own).write_text(files[name], "utf-8")
        done = tools.run([*command, "."], "kubeconform", TIMEOUT_S, cwd=Path(folder))
    try:
        results = json.loads(done.stdout)["resources"] or []
    except (ValueError, KeyError):
        told = (done.stderr or done.stdout).strip()
        raise UsageError(f"kubeconform ended with {done.returncode}: {told[-2000:]}") from None
    found = set()
    for result in results:
        file = names[os.path.normpath(result["filename"])]
        for path, message in _errors(result, files[file], kubernetes_version):
            found.add(Problem(file, result["kind"], result["name"], path, message))
    return sorted(found, key=lambda p: (p.file, p.kind, p.name, [*map(str, p.path)], p.message))


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _errors(
    result: Mapping[str, str], text: str, kubernetes_version: str
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    told = result["msg"]
    if "could not find schema for" in told:
        where = f"Kubernetes {kubernetes_version} and the pinned operators have"
        yield ("apiVersion",), f"{where} no {result['kind']} of {result['version']}"
        return
    parts = _ERROR.split(told)[1:]
    leaves = [
        (pointer, message)
        for pointer, message in zip(parts[::2], parts[1::2], strict=True)
        if not _GROUP.fullmatch(message)
    ]
    if not leaves:
        yield (), told
        return
    found = _object(text, result)
    for pointer, message in leaves:
        path = _path(pointer.replace("\\'", "'"), found)
        unknown = _UNKNOWN.fullmatch(message.strip())
        for key in _QUOTED.findall(unknown.group(1)) if unknown else ():
            if path and path[-1] in FREE:
                yield (*path, key), f"{key!r} is no key of {path[-1]}: {_KEY_FORM}"
            else:
                yield path, f"additional properties '{key}' not allowed"
        if not unknown:
            yield path, _plain(message)


def _object(text: str, result: Mapping[str, str]) -> Any:
    """Return the object of the text that a result is about."""
    for found in yaml.load_all(text, yaml.CSafeLoader):
        metadata = (found or {}).get("metadata") or {}
        if (found or {}).get("kind") == result["kind"] and metadata.get("name") == result["name"]:
            return found
    return None


def _path(pointer: str, found: Any) -> tuple[str | int, ...]:
    """Return a JSON pointer's parts, numbers where the object has a list."""
    path: list[str | int] = []
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and key.isdigit():
            path.append(int(key))
            found = found[int(key)] if int(key) < len(found) else None
        else:
            path.append(key)
            found = found.get(key) if isinstance(found, dict) else None
    return tuple(path)


def _plain(message: str) -> str:
    """Return the message without what only a reader of the schema understands."""
    for pattern, meaning in _FORMS.items():
        if message.endswith(f"does not match pattern {_quoted(pattern)}"):
            value = message.partition(" does not match")[0]
            # What is no base64 may be a secret all the same.
            return f"the value {meaning}" if pattern == openapi.BASE64 else f"{value} {meaning}"
    return message.replace("want null or ", "want ").strip()


def _quoted(text: str) -> str:
    """Return the text as kubeconform quotes it."""
    return "'" + text.replace("\\", "\\\\") + "'"


_MISSING = re.compile(r"missing propert(?:y|ies) (.*)")
_TYPES = re.compile(r"got \w+, want ([\w ]+)")


def sentences(
    problem: Problem, found: Mapping[str, Any], kubernetes_version: str
) -> tuple[str, str]:
    """Return what is wrong with a field of an object, and what to write instead."""
    path, message = problem.path, problem.message
    if path == ("apiVersion",):
        return message, "write an apiVersion and kind that exist"
    fields = [problem.kind.lower(), *(part for part in path if isinstance(part, str))]
    explained = f"write what `kubectl explain {'.'.join(fields)}` describes"
    if unknown := _UNKNOWN.fullmatch(message):
        (key,) = _QUOTED.findall(unknown.group(1))
        root = _schema(found, problem.kind, kubernetes_version)
        value = yamlio.get(found, [*path, key])
        targets = schema_places.meant(root, path, key, value, None, lambda *_: True)
        fix = schema_words.moving(path, key, targets, schema_places.keys(root, path))
        of = _called(found, problem.kind, kubernetes_version)
        return f"{of} has no field {label([*path, key])}", fix
    if missing := _MISSING.fullmatch(message):
        keys = _QUOTED.findall(missing.group(1))
        return schema_words.lacking(path, keys), schema_words.adding(path, dict.fromkeys(keys))
    if wanted := _TYPES.fullmatch(message):
        types, value = wanted.group(1).split(" or "), yamlio.get(found, path)
        # A Secret's fields have other names than what is secret elsewhere.
        place = (*path[:-1], "secret") if problem.kind == "Secret" else path
        told = schema_words.wrong_type(value, place, types).replace(label(place), label(path))

        def valid(other: Any) -> bool:
            return jsonschema_rs.is_valid({"type": types}, other)

        return told, schema_words.retyped(value, None, place, valid) or explained
    if FREE.intersection(path):
        explained = "write it in that form"
    return f"Kubernetes {kubernetes_version} rejects {label(path)}: {message}", explained


def _called(found: Mapping[str, Any], kind: str, kubernetes_version: str) -> str:
    """Return a kind, with the version of Kubernetes where it is one of its own."""
    group = str(found.get("apiVersion")).rpartition("/")[0]
    own = "." not in group or group.endswith(".k8s.io")
    return f"a {kind} of Kubernetes {kubernetes_version}" if own else f"the kind {kind}"


def _schema(found: Mapping[str, Any], kind: str, kubernetes_version: str) -> dict[str, Any]:
    """Return the schema of an object's kind; an empty one where there is none."""
    file = openapi.file_name(str(found.get("apiVersion")), kind)
    for location in schemas.locations(kubernetes_version):
        path = Path(location.removesuffix(openapi.LOCATION)) / file
        if path.is_file():
            schema: dict[str, Any] = json.loads(path.read_text("utf-8"))
            return schema
    return {}
