"""Documents of people against JSON Schemas, told with the line to change."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema_rs

from scripts.core import safe_files
from scripts.core.findings import Finding, may_be_secret
from scripts.core.yamlio import Document

Locate = Callable[[list[str | int]], tuple[Document, list[str | int]]]
"""From a path in merged data to the document that sets it, and the path there."""

Absent = Callable[[list[str | int]], Finding | None]
"""From the path of a required key that is missing to a finding of its own, if there is one."""


@lru_cache
def read(path: Path) -> dict[str, Any]:
    """Return the JSON Schema of a file; raises UserError or ValueError where it has none."""
    found = json.loads(safe_files.read(path, path.parent))
    if not isinstance(found, dict):
        raise ValueError("a JSON Schema is a mapping here")
    return found


@lru_cache
def _validator(path: Path) -> jsonschema_rs.Validator:
    # The mask stands in messages where the value itself would: it could be a secret.
    return jsonschema_rs.validator_for(read(path), mask="it", validate_formats=True)


def check(document: Document, schema: Path) -> list[Finding]:
    """Return what the schema refuses in the document."""
    return check_merged(document.data, schema, lambda path: (document, path))


def check_merged(
    data: Any, schema: Path, locate: Locate, absent: Absent | None = None
) -> list[Finding]:
    """Return what the schema refuses in data merged from several documents."""
    found = set[Finding]()
    for error in _validator(schema).iter_errors(data):
        own = _of_absent(error, absent) if absent else None
        found |= {own} if own else {*_told(error, read(schema), locate)}
    return sorted(found)


def _of_absent(error: Any, absent: Absent) -> Finding | None:
    is_required = type(error.kind).__name__ == "Required"
    return absent([*error.instance_path, error.kind.property]) if is_required else None


def _told(error: Any, schema: dict[str, Any], locate: Locate) -> Iterable[Finding]:
    path, kind = list(error.instance_path), type(error.kind).__name__
    where = ".".join(map(str, path)) or "the file"

    def finding(at: list[str | int], rule: str, message: str, fix: str) -> Finding:
        document, inside = locate(at)
        return document.finding(rule, inside, message, fix)

    if kind == "AdditionalProperties":
        known = _known(schema, list(error.schema_path))
        for key in error.kind.unexpected:
            named = ".".join(map(str, [*path, key]))
            near = difflib.get_close_matches(key, known, 1)
            fix = f"write {near[0]}" if near else f"remove it; known are {', '.join(known)}"
            yield finding([*path, key], "unknown-key", f"{named} is not known", fix)
    elif kind == "Required":
        named = ".".join(map(str, [*path, error.kind.property]))
        yield finding(path, "missing-key", f"{named} is missing", f"add {error.kind.property}")
    elif kind == "Type":
        message = f"{where} is {_type(error.instance, path)}"
        yield finding(path, "wrong-type", message, f"write {_types(error.kind.types)}")
    elif kind in ("Enum", "Constant"):
        options = error.kind.options if kind == "Enum" else [error.kind.expected_value]
        near = difflib.get_close_matches(str(error.instance), map(str, options), 1)
        fix = "write " + " or ".join(json.dumps(option) for option in near or options)
        message = f"{where} is {shown(error.instance, path)}"
        yield finding(path, "wrong-value", message, fix)
    elif kind == "Not":
        message = f"{where} is {shown(error.instance, path)}"
        fix = f"write {_described(schema, list(error.schema_path)) or 'another'}"
        yield finding(path, "wrong-value", message, fix)
    elif kind in ("Pattern", "Format"):
        message = f"{where} is {shown(error.instance, path)}"
        form = error.kind.pattern if kind == "Pattern" else error.kind.format
        otherwise = f"write what matches {form}"
        fix = _hint(schema, list(error.schema_path), otherwise)
        yield finding(path, "wrong-value", message, fix)
    elif kind in ("OneOfNotValid", "OneOfMultipleValid"):
        forms = _parent(schema, list(error.schema_path))["oneOf"]
        needed = [key for form in forms if form is not True for key in form.get("required", ())]
        message = f"{where} matches not exactly one of the forms that it may have"
        if needed:
            message = f"{where} needs {' or '.join(needed)}, exactly one of them"
        fix = _hint(schema, list(error.schema_path), "write one form")
        yield finding(path, "wrong-value", message, fix)
    elif kind == "PropertyNames":
        key = error.kind.error.instance
        message = f"{where} can't have the key {key}"
        fix = _hint(schema, list(error.schema_path), "write another key")
        yield finding([*path, key], "wrong-key", message, fix)
    elif kind in _BOUNDS:
        fix = _BOUNDS[kind].format(getattr(error.kind, "limit", ""))
        if described := _described(schema, list(error.schema_path)):
            fix += f" ({described})"
        yield finding(path, "wrong-value", f"{where}: {error.message}", fix)
    else:
        fix = _hint(schema, list(error.schema_path), "write another")
        yield finding(path, "wrong-value", f"{where}: {error.message}", fix)


_BOUNDS = {
    "Minimum": "write at least {}",
    "Maximum": "write at most {}",
    "MinLength": "write at least {} characters",
    "MaxLength": "write at most {} characters",
    "MinItems": "write no fewer than {}",
    "MaxItems": "write no more than {}",
    "UniqueItems": "write each item once",
}

_CREDENTIALS = re.compile(r"//[^/@\s]*@")
_MOST_SHOWN = 40


def shown(value: Any, path: Sequence[str | int]) -> str:
    """Return a value as a message may tell it: short, and never what could be a secret."""
    if may_be_secret(path):
        return "something not shown here"
    text = _CREDENTIALS.sub("//…@", json.dumps(value, ensure_ascii=False))
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}..."


def _type(value: Any, path: Sequence[str | int]) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", str: "a text"}
    names |= {dict: "a mapping", list: "a list", type(None): "empty"}
    name = names[type(value)]
    plain = value is None or isinstance(value, dict | list)
    return name if plain else f"{name}: {shown(value, path)}"


def _types(types: list[str]) -> str:
    names = {
        "object": "a mapping (key: value)",
        "array": "a list (- item)",
        "string": "a text, in quotes where it looks like a number",
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
        "null": "nothing",
    }
    return " or ".join(names[name] for name in types)


def _parent(schema: dict[str, Any], path: list[Any]) -> dict[str, Any]:
    """Return the subschema that holds the keyword at the end of the path."""
    found: Any = schema
    for part in path[:-1]:
        found = found[part] if isinstance(found, list) else found.get(str(part), {})
    return found if isinstance(found, dict) else {}


def _known(schema: dict[str, Any], path: list[Any]) -> list[str]:
    return sorted(_parent(schema, path).get("properties", {}))


def _hint(schema: dict[str, Any], path: list[Any], otherwise: str) -> str:
    described = _described(schema, path)
    return f"write another; this is {described}" if described else otherwise


def _described(schema: dict[str, Any], path: list[Any]) -> str:
    """Return what the schema says of the value, to go on with inside a sentence."""
    described = str(_parent(schema, path).get("description", ""))
    if described[1:2].islower() or described[1:2] == " ":
        described = described[0].lower() + described[1:]
    return described
