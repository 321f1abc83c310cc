"""Validate manifests with kubeconform against the cluster's own schemas, strictly and offline."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jsonschema_rs
import yaml

from scripts.checks import api_schemas, openapi
from scripts.core import paths, programs, schema_messages, schema_paths, toolchain
from scripts.core.findings import UsageError
from scripts.core.schema_messages import label
from scripts.core.sentences import joined
from scripts.environments import custom_kinds
from scripts.kubernetes.manifest import Manifest

TIMEOUT_S = 600

_GO = {"GOGC": "400", "GOMAXPROCS": "1", "GOMEMLIMIT": "250MiB"}
"""Less garbage collection: it takes a quarter of the time with Go's defaults."""

# kubeconform's list of errors omits errors that share a parent; its message has all of them.
_ERROR = re.compile(r"\s+- at '((?:[^'\\]|\\.)*)': ")
_GROUP = re.compile(r"validation failed|'?(?:allOf|anyOf|oneOf)'? failed.*|\$ref .*failed.*")
_UNKNOWN = re.compile(r"additional properties (.*) not allowed")
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'")
FREE = {"annotations", "labels", "matchLabels", "nodeSelector"}
"""Fields with free keys: every key is allowed that has the right form."""
_TEXTS = {*FREE, "args", "command", "data", "stringData", "value"}
"""Fields that may have any text as their value, or as the values of their keys."""
_CLOSED = {"fieldPath": "the path of a field of the pod, for example metadata.name"}
"""Field that has only certain texts → what it may have."""
_FORMS = {
    openapi.QUANTITY: ("is not a quantity", "write a quantity, for example 500m or 2Gi"),
    openapi.BASE64: ("is not valid base64", "write the text in base64, or write it in stringData"),
    openapi.DURATION: ("is not a duration", "write a duration, for example 30s or 1h30m"),
    openapi.LABEL: (
        "is not a valid label value",
        "write at most 63 letters, digits, -, _ and ., for example team-a",
    ),
}
"""Pattern of the generated schemas → what is wrong, and what to write."""
_KEY = (
    "is not a valid key",
    "write at most 63 letters, digits, -, _ and ., with or without a prefix such as example.com/",
)


@dataclass(frozen=True, slots=True, order=True)
class InvalidField:
    """An invalid field of an object."""

    file: str
    """The name of the text that contains the object."""
    kind: str
    name: str
    path: tuple[str | int, ...]
    """To the field, from the object; to its parent if the field is missing or unknown."""
    message: str


Schemas = Mapping[str, openapi.Schema]
"""File name, as openapi.file_name returns it → the schema of a kind."""


def check(
    files: Mapping[str, str], kubernetes_version: str, own: Schemas = MappingProxyType({})
) -> list[InvalidField]:
    """Return all invalid fields in texts of YAML, sorted.

    files: any name → its text. kubernetes_version: a minor version like 1.34. own: the schemas of
    the kinds in base/crds/. An object is invalid, too, if neither this Kubernetes version, nor a
    pinned operator, nor base/crds/ has its kind. Raises UsageError if the tool or the schemas are
    not available.
    """
    if not files:
        return []
    with tempfile.TemporaryDirectory(prefix="schemas-") as folder:
        for name, schema in own.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(schema), "utf-8")
        locations = [f"{folder}/{openapi.LOCATION}"] if own else []
        return _check(files, kubernetes_version, locations)


def _check(
    files: Mapping[str, str], kubernetes_version: str, locations: Sequence[str]
) -> list[InvalidField]:
    program = toolchain.tool("kubeconform")
    # One worker: each would compile the schemas of all kinds, which takes most of the time.
    command: list[str | Path] = [program, "-strict", "-output", "json", "-n", "1"]
    # The first that has a kind decides: no file in base/crds/ replaces a schema of Kubernetes.
    for location in (*api_schemas.locations(kubernetes_version), *locations):
        command += ["-schema-location", location]
    alike: dict[str, list[str]] = {}
    for name, text in files.items():
        alike.setdefault(_reduced(text), []).append(name)
    # Together in one file, the objects take less time. Only errors need to name the file.
    if not _results(command, {"all.yaml": "\n---\n".join(alike)}):
        return []
    numbered = [(f"{number}.yaml", text) for number, text in enumerate(alike)]
    wrong = {os.path.normpath(each["filename"]) for each in _results(command, dict(numbered))}
    suspects = [name for file, text in numbered if file in wrong for name in alike[text]]
    own = dict(zip((f"{number}.yaml" for number in range(len(suspects))), suspects, strict=True))
    problems = set()
    for result in _results(command, {file: files[name] for file, name in own.items()}):
        file = own[os.path.normpath(result["filename"])]
        for path, message in _errors(result, files[file], kubernetes_version):
            problems.add(InvalidField(file, result["kind"], result["name"], path, message))
    return sorted(problems, key=lambda p: (p.file, p.kind, p.name, [*map(str, p.path)], p.message))


_HEADER = re.compile(r"(?:#.*\n)*")
_NAMESPACE = re.compile(
    r"(apiVersion: \S+\nkind: \S+\nmetadata:\n(?:  .*\n)*?  namespace: )([a-z][-a-z0-9]{5,62})\n"
)
"""The namespace of an object; shorter words could be no texts, such as false."""
_DATA = re.compile(r"apiVersion: v1\nkind: ConfigMap\n(?:.*\n)*?data:\n")
_BLOCK = re.compile(r"(\n  \S+: )\|-?\n(?:    .*\n|\n)+")


def _reduced(text: str) -> str:
    """Return a shorter text that is valid if, and only if, the text is; environments share most.

    No schema restricts the namespace of an object (openapi.METADATA), nor the texts of a ConfigMap.
    text: as render writes it; another text is returned as it is.
    """
    text = text[_HEADER.match(text).end() :]  # type: ignore[union-attr]
    if found := _NAMESPACE.match(text):
        text = f"{found[1]}namespace\n{text[found.end() :]}"
    if found := _DATA.match(text):
        text = text[: found.end() - 1] + _BLOCK.sub(r"\1text\n", text[found.end() - 1 :])
    return text


def _results(command: Sequence[str | Path], files: Mapping[str, str]) -> list[dict[str, str]]:
    """Return what kubeconform reports on files: name → text."""
    with tempfile.TemporaryDirectory(prefix="kubeconform-") as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text, "utf-8")
        done = programs.run(
            [*command, "."],
            "kubeconform",
            TIMEOUT_S,
            cwd=Path(folder),
            environment=os.environ | _GO,
        )
    try:
        return json.loads(done.stdout)["resources"] or []
    except (ValueError, KeyError):
        output = (done.stderr or done.stdout).strip()
        raise UsageError(
            f"kubeconform failed with exit code {done.returncode}: {output[-2000:]}"
        ) from None


def _errors(
    result: Mapping[str, str], text: str, kubernetes_version: str
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield path and message of each error in a result of kubeconform."""
    output = result["msg"]
    if "could not find schema for" in output:
        kind = f"kind {result['kind']} in {result['version']}"
        where = f"Kubernetes {kubernetes_version} and the pinned operators have no"
        yield ("apiVersion",), f"{where} {kind}: the API server rejects the object"
        return
    parts = _ERROR.split(output)[1:]
    leaves = [
        (pointer, message)
        for pointer, message in zip(parts[::2], parts[1::2], strict=True)
        if not _GROUP.fullmatch(message)
    ]
    if not leaves:
        yield (), output
        return
    data = _object(text, result)
    for pointer, message in leaves:
        path = _path(pointer.replace("\\'", "'"), data)
        unknown = _UNKNOWN.fullmatch(message.strip())
        for key in _QUOTED.findall(unknown.group(1)) if unknown else ():
            if path and path[-1] in FREE:
                yield (*path, key), f"{key!r} {_KEY[0]} in {path[-1]}"
            else:
                yield path, f"additional properties '{key}' not allowed"
        if not unknown:
            yield path, _plain(message)


def _object(text: str, result: Mapping[str, str]) -> Any:
    """Return the object of the text that a result is about."""
    for data in yaml.load_all(text, yaml.CSafeLoader):
        metadata = (data or {}).get("metadata") or {}
        if (data or {}).get("kind") == result["kind"] and metadata.get("name") == result["name"]:
            return data
    return None


def _path(pointer: str, data: Any) -> tuple[str | int, ...]:
    """Return the parts of a JSON pointer, with numbers for the items of lists."""
    path: list[str | int] = []
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(data, list) and key.isdigit():
            path.append(int(key))
            data = data[int(key)] if int(key) < len(data) else None
        else:
            path.append(key)
            data = data.get(key) if isinstance(data, dict) else None
    return tuple(path)


def _plain(message: str) -> str:
    """Return the message in words that need no knowledge of the schema."""
    for pattern, (meaning, _) in _FORMS.items():
        if message.endswith(f"does not match pattern {_quoted(pattern)}"):
            value = message.partition(" does not match")[0]
            # The value may be a secret that is not encoded by mistake.
            return f"the value {meaning}" if pattern == openapi.BASE64 else f"{value} {meaning}"
    return message.replace("want null or ", "want ").strip()


def _quoted(text: str) -> str:
    """Return the text as kubeconform quotes it."""
    return "'" + text.replace("\\", "\\\\") + "'"


_MISSING = re.compile(r"missing propert(?:y|ies) (.*)")
_TYPES = re.compile(r"got \w+, want ([\w ]+)")
_OPTIONS = re.compile(r"value must be (?:one of )?(.*)")


def sentences(
    problem: InvalidField,
    found: Mapping[str, Any],
    kubernetes_version: str,
    own: Schemas = MappingProxyType({}),
) -> tuple[str, str]:
    """Return the message about an invalid field of an object, and what to write instead."""
    path, message = problem.path, problem.message
    if path == ("apiVersion",):
        return message, _existing(found, problem.kind, kubernetes_version, own)
    fields = [problem.kind.lower(), *(part for part in path if isinstance(part, str))]
    explained = f"`kubectl explain {'.'.join(fields)}` describes the field"
    if unknown := _UNKNOWN.fullmatch(message):
        (key,) = _QUOTED.findall(unknown.group(1))
        root = _schema(found, problem.kind, kubernetes_version, own)
        value = paths.get(found, [*path, key])
        targets = schema_paths.meant(root, path, key, value, None, lambda *_: True)
        fix = schema_messages.moving(path, key, targets, schema_paths.keys(root, path))
        of = _called(found, problem.kind, kubernetes_version)
        return f"{of} has no field {label([*path, key])}", fix
    if missing := _MISSING.fullmatch(message):
        keys = _QUOTED.findall(missing.group(1))
        wrong = f"{schema_messages.missing(path, keys)}: the API server rejects the object"
        if keys == ["name"] and "ontainers" in str(path[-2:-1]):
            return wrong, f"add the container's name to {label(path)}, for example name: debug"
        return wrong, f"{schema_messages.adding(path, dict.fromkeys(keys))}; {explained}"
    if wanted := _TYPES.fullmatch(message):
        types, value = wanted.group(1).split(" or "), paths.get(found, path)
        # A Secret's fields have other names than what is secret elsewhere.
        place = (*path[:-1], "secret") if problem.kind == "Secret" else path
        wrong = schema_messages.wrong_type(value, place, types).replace(label(place), label(path))

        def valid(other: Any) -> bool:
            return jsonschema_rs.is_valid({"type": types}, other)

        retyped = schema_messages.retyped(value, None, place, valid)
        if retyped and (isinstance(value, str) or _TEXTS.intersection(path)):
            return wrong, retyped
        what = f"{schema_messages.nouns(types)}; {explained}"
        return wrong, f"write {_CLOSED.get(str(path[-1]) if path else '', what)}"
    fix = next((f for words, f in (*_FORMS.values(), _KEY) if words in message), "")
    if options := _OPTIONS.fullmatch(message):
        fix = "write " + joined(_QUOTED.findall(options.group(1)), "or")
    rejected = f"Kubernetes {kubernetes_version} rejects {label(path)}: {message}"
    return rejected, fix or f"write another value; {explained}"


def _existing(data: Mapping[str, Any], kind: str, kubernetes_version: str, own: Schemas) -> str:
    """Return the instruction to write an apiVersion that has the kind, if there is one."""
    names = [Path(name) for name in own if Path(name).name.startswith(f"{kind.lower()}-")]
    found = {_api_version(path, kind) for path in names}
    for location in api_schemas.locations(kubernetes_version):
        folder = Path(location.removesuffix(openapi.LOCATION))
        for path in folder.glob(f"*/{kind.lower()}-*.json"):
            found.add(_api_version(path, kind))
    if found:
        return f"write apiVersion: {joined(sorted(found), 'or')}"
    if Manifest(dict(data), "").is_custom:
        return (
            f"if an operator of the cluster has the kind, copy its CustomResourceDefinition to "
            f"{custom_kinds.FOLDER}/; otherwise remove the {kind}"
        )
    return f"remove the {kind}, or write a kind that Kubernetes {kubernetes_version} has"


def _api_version(schema: Path, kind: str) -> str:
    """Return the apiVersion of the file of a schema."""
    version, group = schema.stem.removeprefix(f"{kind.lower()}-"), schema.parent.name
    return version if group == version else f"{group}/{version}"


def _called(found: Mapping[str, Any], kind: str, kubernetes_version: str) -> str:
    """Return a kind, with the version of Kubernetes if the kind is part of Kubernetes."""
    group = str(found.get("apiVersion")).rpartition("/")[0]
    own = "." not in group or group.endswith(".k8s.io")
    return f"a {kind} of Kubernetes {kubernetes_version}" if own else f"the kind {kind}"


def _schema(
    found: Mapping[str, Any], kind: str, kubernetes_version: str, own: Schemas
) -> dict[str, Any]:
    """Return the schema of an object's kind; empty if there is none."""
    file = openapi.file_name(str(found.get("apiVersion")), kind)
    for location in api_schemas.locations(kubernetes_version):
        path = Path(location.removesuffix(openapi.LOCATION)) / file
        if path.is_file():
            schema: dict[str, Any] = json.loads(path.read_text("utf-8"))
            return schema
    return own.get(file, {})


def place(problem: InvalidField) -> tuple[str | int, ...]:
    """Return the path of the field; kubeconform reports an unknown field at its parent."""
    unknown = _UNKNOWN.fullmatch(problem.message)
    return (*problem.path, *_QUOTED.findall(unknown.group(1))) if unknown else problem.path
