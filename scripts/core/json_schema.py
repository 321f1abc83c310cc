"""Check data against JSON Schemas: one finding for each mistake, at its line.

A validator reports each keyword that fails, so one mistake often causes several errors: a
misspelled key is also a missing one, a value in a wrong form is also too short. Here each mistake
is one finding.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema_rs

from scripts.core import advice, safe_files
from scripts.core import schema_messages as messages
from scripts.core import schema_paths as paths
from scripts.core.edits import Action
from scripts.core.findings import Finding, may_be_secret
from scripts.core.fixes import Change, Fix
from scripts.core.paths import ValuePath, get
from scripts.core.schema_messages import label
from scripts.core.schema_paths import Schema
from scripts.core.yamlio import Document

Locate = Callable[[list[str | int]], tuple[Document, list[str | int]]]
"""From a path in merged data to the document that sets it, and the path there."""

Absent = Callable[[list[str | int], str], Finding | None]
"""From the path of a missing key and a fix to a finding of its own; None for the usual one."""

_DEFAULT = Fix("; for the default, remove the line", [Change(Action.REMOVE, ())], is_safe=False)

_Place = tuple[str | int, ...]

_UNKNOWN = ("AdditionalProperties", "UnevaluatedProperties")

_FIRST = ("Type", "Constant", "Enum", "Not", "Pattern", "Format", "MinLength", "MaxLength")
"""Of several errors of one value, the first one in this order is reported."""


@dataclass(frozen=True, slots=True)
class _Error:
    """An error of the validator."""

    kind: str
    """The name of the class in jsonschema_rs.ValidationErrorKind."""
    path: _Place
    """In the data."""
    keyword: _Place
    """In the schema."""
    detail: Any
    """The instance of that class."""
    value: Any

    @property
    def identity(self) -> tuple[object, ...]:
        """What stays the same if the data change elsewhere."""
        return self.kind, self.path, self.keyword, getattr(self.detail, "property", "")


@dataclass(frozen=True, slots=True)
class _Checked:
    """Data with errors, their schema, and where they come from."""

    data: Any
    root: Schema
    locate: Locate

    def fits(self, part: Schema, value: Any) -> bool:
        """Return whether a value is valid against a part of the schema."""
        context = {k: v for k, v in self.root.items() if k in ("$schema", "$defs", "definitions")}
        return jsonschema_rs.is_valid({**context, "allOf": [part]}, value, validate_formats=True)

    def finding(self, path: ValuePath, rule: str, message: str, fix: str) -> Finding:
        """Return a finding at the line that sets the value at the path."""
        document, inside = self.locate(list(path))
        return document.finding(rule, inside, message, fix)

    def applying(self, path: ValuePath) -> list[Schema]:
        """Return the subschemas for a path of the data."""
        return paths.applying(self.root, path)


@lru_cache
def read(path: Path) -> dict[str, Any]:
    """Return the JSON Schema of a file; raises UserError or ValueError where it has none."""
    found = json.loads(safe_files.read(path, path.parent))
    if not isinstance(found, dict):
        raise ValueError("a JSON Schema is a mapping here")
    return found


_OWN = {"x-required": "required", "x-not": "not"}
"""Keywords that only this program reads → what they mean. x-required: a single file may lack keys
that are required after all files are merged. x-not: Helm itself would only report "'not' failed",
so the chart's templates reject the value."""


@lru_cache
def _of_merged(path: Path) -> dict[str, Any]:
    """Return the JSON Schema for merged data, with the keywords that only this program reads."""
    read(path)  # raises for what is not a valid schema

    def complete(part: dict[str, Any]) -> dict[str, Any]:
        return {_OWN.get(key, key): value for key, value in part.items()}

    found: dict[str, Any] = json.loads(safe_files.read(path, path.parent), object_hook=complete)
    return found


@lru_cache
def _validator(path: Path) -> jsonschema_rs.Validator:
    # Messages contain the mask instead of the value, which may be a secret.
    return jsonschema_rs.validator_for(_of_merged(path), mask="it", validate_formats=True)


def check(document: Document, schema: Path) -> list[Finding]:
    """Return the mistakes in a document that is not merged with others."""
    return check_merged(document.data, schema, lambda path: (document, path))


def check_merged(
    data: Any, schema: Path, locate: Locate, absent: Absent = lambda *_: None
) -> list[Finding]:
    """Return the mistakes in data that are merged from several documents."""
    validator = _validator(schema)
    errors = list(_errors(validator, data))
    if not errors:
        return []
    checked = _Checked(data, _of_merged(schema), locate)
    unknown = _unknown(checked, errors)
    left = _without_consequences(validator, data, errors, unknown)
    removed = [_at_removed(checked, error, absent) for error in left]
    left = [error for error, finding in zip(left, removed, strict=True) if not finding]
    found = {_at_unknown(checked, path, targets) for path, targets in unknown.items()}
    found.update(filter(None, removed))
    found.update(_at_missing(checked, left))
    found.update(_at_values(checked, left))
    return sorted(found)


def _errors(validator: jsonschema_rs.Validator, data: Any) -> Iterator[_Error]:
    for error in validator.iter_errors(data):
        yield from _flat(error, data)


def _flat(error: Any, data: Any) -> Iterator[_Error]:
    """Yield the error; of a value with alternatives, the errors of the only one that it can be."""
    kind = type(error.kind).__name__
    if kind in ("AnyOf", "OneOfNotValid"):
        forms = [
            form
            for form in error.kind.context
            if not any(e.instance_path == error.instance_path and _other_form(e) for e in form)
        ]
        if len(forms) == 1 < len(error.kind.context):
            for inner in forms[0]:
                yield from _flat(inner, data)
            return
    path, keyword = _place(error.instance_path, data), tuple(error.schema_path)
    yield _Error(kind, path, keyword, error.kind, error.instance)


def _place(path: Sequence[str | int], data: Any) -> _Place:
    """Return a path whose keys are texts: an error has numbers also for keys of digits."""
    place: _Place = ()
    for part in path:
        place += (str(part) if isinstance(get(data, place), dict) else part,)
    return place


def _other_form(error: Any) -> bool:
    return type(error.kind).__name__ in ("Type", "Constant", "Enum", "FalseSchema")


# Keys


def _unknown(checked: _Checked, errors: Iterable[_Error]) -> dict[_Place, Sequence[ValuePath]]:
    """Return the paths of unknown keys, each with the paths where it may belong."""
    found = dict[_Place, Sequence[ValuePath]]()
    for error in errors:
        if error.kind in _UNKNOWN:
            for key in error.detail.unexpected:
                place = (*error.path, key)
                document, inside = checked.locate(list(place))
                above = paths.before(get(document.data, inside[:-1]), key)
                value = get(checked.data, place)
                found[place] = paths.meant(
                    checked.root, error.path, key, value, above, checked.fits
                )
    return found


def _without_consequences(
    validator: jsonschema_rs.Validator,
    data: Any,
    errors: Sequence[_Error],
    unknown: dict[_Place, Sequence[ValuePath]],
) -> list[_Error]:
    """Return the errors that remain after each unknown key is moved to where it belongs."""
    certain = {path: targets[0] for path, targets in unknown.items() if len(targets) == 1}
    for path, target in certain.items():
        data = paths.moved(data, path, target)
    stay = {error.identity for error in _errors(validator, data)} if certain else set()
    return [error for error in errors if not certain or error.identity in stay]


def _at_unknown(checked: _Checked, path: _Place, targets: Sequence[ValuePath]) -> Finding:
    known = paths.keys(checked.root, path[:-1])
    fix = messages.moving(path[:-1], str(path[-1]), targets, known)
    return checked.finding(path, "unknown-key", f"{label(path)} is an unknown key", fix)


def _at_removed(checked: _Checked, error: _Error, absent: Absent) -> Finding | None:
    """Return the finding that the caller has for a missing key."""
    if error.kind != "Required":
        return None
    path = [*error.path, error.detail.property]
    return absent(path, f"{messages.advice(checked.applying(path))}" + _DEFAULT)


def _at_missing(checked: _Checked, errors: Sequence[_Error]) -> Iterator[Finding]:
    """Yield one finding for each mapping without keys that it needs."""
    to_choose = {(e.path, key) for e in errors for key in _choice(checked, e)}
    by_mapping = dict[_Place, dict[str, _Error]]()
    for error in errors:
        if error.kind == "Required" and (error.path, error.detail.property) not in to_choose:
            by_mapping.setdefault(error.path, {})[error.detail.property] = error
    for path, missing in by_mapping.items():
        names = list(missing)
        own = paths.subschema(checked.root, missing[names[0]].keyword[:-1])
        message = messages.missing(path, names)
        if because := [key for error in missing.values() for key in _asking(checked, error)]:
            message = f"{label([*path, because[0]])} needs {label([*path, names[0]])}"
        examples = {name: messages.example(checked.applying([*path, name])) for name in names}
        fix = messages.advice([own]) if "errorMessage" in own else messages.adding(path, examples)
        inside = checked.applying([*path, names[0]])
        if examples == {names[0]: None} and messages.first(inside, "type") == "object":
            fix = messages.advice(inside) if messages.first(inside, "errorMessage") else fix
        if because and (rival := _rival(checked, path, names[0])):
            fix = messages.replacing(path, rival, names[0], examples[names[0]])
        yield checked.finding(path, "missing-key", message, fix)


def _asking(checked: _Checked, error: _Error) -> Iterator[str]:
    """Yield the keys of the same mapping that need the missing one."""
    for length, part in enumerate(error.keyword):
        if part == "dependentRequired":
            needs = paths.subschema(checked.root, error.keyword[: length + 1])
            there = get(checked.data, error.path)
            yield from (k for k, v in needs.items() if k in there and error.detail.property in v)


def _rival(checked: _Checked, path: _Place, key: str) -> str | None:
    """Return the key that exists and excludes the missing one."""
    for part in checked.applying(path):
        keys = [str(name) for form in part.get("oneOf", ()) for name in form.get("required", ())]
        there = [name for name in keys if name != key and name in get(checked.data, path)]
        if key in keys and there:
            return there[0]
    return None


def _choice(checked: _Checked, error: _Error) -> list[str]:
    """Return the keys of which a mapping needs exactly one, if that is the error."""
    if error.kind not in ("OneOfNotValid", "OneOfMultipleValid"):
        return []
    forms = paths.subschema(checked.root, error.keyword[:-1])["oneOf"]
    required = [form.get("required", ()) for form in forms if isinstance(form, dict)]
    return [key for keys in required for key in keys] if isinstance(error.value, dict) else []


# Values


def _at_values(checked: _Checked, errors: Iterable[_Error]) -> Iterator[Finding]:
    """Yield one finding for each value, but none inside a value of a wrong type."""
    by_place = dict[_Place, list[_Error]]()
    for error in errors:
        if error.kind != "Required" and error.kind not in _UNKNOWN:
            by_place.setdefault(error.path, []).append(error)
    wrong = {path for path, each in by_place.items() if any(e.kind == "Type" for e in each)}
    for path, each in by_place.items():
        if any(path[:length] in wrong for length in range(len(path))):
            continue
        names = [error for error in each if error.kind == "PropertyNames"]
        for error in names if path not in wrong else ():
            yield _at_name(checked, error)
        others = [error for error in each if error.kind != "PropertyNames"]
        if others:
            yield _at_value(checked, min(others, key=_rank))


def _rank(error: _Error) -> int:
    return _FIRST.index(error.kind) if error.kind in _FIRST else len(_FIRST)


def _at_name(checked: _Checked, error: _Error) -> Finding:
    key = error.detail.error.instance
    parts = [paths.subschema(checked.root, error.keyword[:-1])]
    near = difflib.get_close_matches(key, map(str, messages.first(parts, "examples") or ()), 1)
    what = f"the key {key}" + (f" of {label(error.path)}" if error.path else "")
    message = f"{what} is not a valid {messages.first(parts, 'title') or 'name'}"
    if type(error.detail.error.kind).__name__ == "Not":
        message = f"{what} is not allowed"
    fix = messages.advice(parts)
    if near:
        renamed = Fix(f"write {near[0]}", [Change(Action.RENAME, (), near[0])])
        fix = renamed.if_slip(str(key), near[0])
    return checked.finding([*error.path, key], "wrong-key", message, fix)


def _at_value(checked: _Checked, error: _Error) -> Finding:
    path, value, detail = error.path, error.value, error.detail
    own = paths.subschema(checked.root, error.keyword[:-1])
    applying = checked.applying(path)
    parts = [own, *applying]

    def valid(other: Any) -> bool:
        return all(checked.fits(part, other) for part in [own, *applying[:1]])

    rule, message, fix = "wrong-value", messages.invalid(value, path, parts), messages.advice(parts)
    if error.kind == "Type":
        rule, message = "wrong-type", messages.wrong_type(value, path, detail.types)
        document, inside = checked.locate(list(path))
        retyped = messages.retyped(value, document.scalar(inside), path, valid)
        fix = retyped or messages.of_type(value, detail.types, parts)
        if value is None and path and not paths.required(checked.root, path):
            fix = f"{fix}{', or [] for none' if valid([]) else ''}" + _DEFAULT
    elif error.kind in ("Enum", "Constant"):
        options = detail.options if error.kind == "Enum" else [detail.expected_value]
        message = message if len(options) > 1 else messages.forbidden(value, path)
        fix = messages.nearest(value, options)
    elif error.kind == "Not":
        right = None
        is_one = any("enum" in part["not"] for part in parts if "not" in part)
        if isinstance(value, str) and not may_be_secret(path) and not is_one:
            right = messages.repaired(value, parts, valid)
        fix, message = right or fix, message if right else messages.forbidden(value, path)
    elif error.kind in ("Pattern", "Format"):
        if isinstance(value, str) and not may_be_secret(path):
            fix = messages.repaired(value, parts, valid) or fix
    elif error.kind in messages.BOUNDS:
        message = messages.out_of_bounds(value, path, error.kind, detail.limit)
        if error.kind == "MinItems":
            fix = messages.another_item(applying, checked.applying([*path, paths.ITEM]))
    elif error.kind == "UniqueItems":
        index = next(i for i, item in enumerate(value) if item in value[:i])
        path, other = (*path, index), label([*error.path, value.index(value[index])])
        message, fix = f"{label(path)} is the same as {other}", advice.remove(label(path))
    elif keys := _choice(checked, error):
        message = messages.none_or_several(value, path, keys)
        examples = [messages.example(checked.applying([*path, key])) for key in keys]
        fix = messages.choose(value, path, keys, examples)
    return checked.finding(path, rule, message, fix)
