"""Write canonical YAML: equal data give equal bytes, and all parsers read the same data.

PyYAML decides how each text, key and number is written; its answers are kept, as environments share
most of them. Only lines and indentation are put together here, which takes a quarter of the time.
Data that is not as simple as that goes to PyYAML as a whole.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

import yaml

NUMBER_IN_OTHER_PARSERS = re.compile(
    r"[-+]?(0[oO][0-7_]+|0[xX][0-9a-fA-F_]+|0[bB][01_]+|[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?"
    r"|\.[0-9_]+([eE][-+]?[0-9]+)?|\.(inf|Inf|INF)|\.(nan|NaN|NAN))\Z"
)
BOOLEAN_IN_OTHER_PARSERS = re.compile(r"[yYnN]\Z")

_PREFIX = "tag:yaml.org,2002:"
_WIDTH = 2**20
"""PyYAML folds longer lines."""
_LONG = 500
"""A text of more characters is not kept: it is often that of one environment."""
_BLANK = re.compile(" +$", re.MULTILINE)
_FIRST = {"apiVersion": 0, "kind": 1, "name": 2, "metadata": 3, "spec": 4}


class _Dumper(yaml.CSafeDumper):
    """Writes strings so that YAML 1.1, YAML 1.2 and Go's parsers all read strings."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _string(dumper: _Dumper, text: str) -> yaml.Node:
    style = None
    if "\n" in text:
        # After a block that keeps its trailing empty lines, libyaml writes a document end (`...`).
        style = '"' if text.endswith("\n\n") or not text.strip("\n") else "|"
    return dumper.represent_scalar(_PREFIX + "str", text, style)


_Dumper.add_representer(str, _string)
_Dumper.add_implicit_resolver(_PREFIX + "float", NUMBER_IN_OTHER_PARSERS, list("-+.0123456789"))
_Dumper.add_implicit_resolver(_PREFIX + "bool", BOOLEAN_IN_OTHER_PARSERS, list("yYnN"))


class _NotSimpleError(Exception):
    """Only PyYAML knows how this is written at its place."""


def text(data: dict[str, Any]) -> str:
    """Return canonical YAML: equal data give equal bytes, whatever the order of their keys.

    data: of JSON's types, so that all keys are strings.
    """
    lines = list[str]()
    try:
        if not data:
            raise _NotSimpleError
        _mapping(data, "", "", lines)
    except _NotSimpleError:
        return by_pyyaml(data)
    return "".join(lines)


def by_pyyaml(data: Any) -> str:
    """Return the same as text(), as PyYAML writes the whole of it."""
    ordered = _ordered(json.loads(json.dumps(data)))
    return str(yaml.dump(ordered, Dumper=_Dumper, sort_keys=False, width=_WIDTH))


def _mapping(data: dict[str, Any], first: str, indent: str, lines: list[str]) -> None:
    """Add the lines of a mapping that is not empty; first: what the first line begins with."""
    for key in _sorted(tuple(data)):
        value = data[key]
        kind = type(value)
        if kind is str:
            lines.append(f"{first}{_key(key)}: {_scalar(value, indent)}\n")
        elif kind is dict and value:
            lines.append(f"{first}{_key(key)}:\n")
            _mapping(value, f"{indent}  ", f"{indent}  ", lines)
        elif kind is list and value:
            lines.append(f"{first}{_key(key)}:\n")
            _list(value, indent, indent, lines)
        else:
            lines.append(f"{first}{_key(key)}: {_other(value)}\n")
        first = indent


def _list(data: list[Any], first: str, indent: str, lines: list[str]) -> None:
    """Add the lines of a list that is not empty."""
    for value in data:
        kind = type(value)
        if kind is str:
            lines.append(f"{first}- {_scalar(value, indent)}\n")
        elif kind is dict and value:
            _mapping(value, f"{first}- ", f"{indent}  ", lines)
        elif kind is list and value:
            _list(value, f"{first}- ", f"{indent}  ", lines)
        else:
            lines.append(f"{first}- {_other(value)}\n")
        first = indent


def _scalar(text: str, indent: str) -> str:
    """Return a string as it stands behind a key of this indentation, without the last line end."""
    if len(text) <= _LONG:
        written = _written(text)
    elif is_plain_block(text):
        return _block(text, f"{indent}  ")
    else:
        written = _written.__wrapped__(text)
    if indent and written[0] == "|":
        return "\n".join(line and f"{indent}{line}" for line in written.split("\n")).lstrip()
    return written


def _block(text: str, indent: str) -> str:
    """Return a text as a literal block, the lines that are not empty with this indentation."""
    head = "|" if text[-1] == "\n" else "|-"
    lines = text.removesuffix("\n").replace("\n", f"\n{indent}")
    if "\n\n" in text:
        lines = _BLANK.sub("", lines)
    return f"{head}\n{indent}{lines}"


@lru_cache(maxsize=64)
def is_plain_block(text: str) -> bool:
    """Return whether a text of several lines is certainly written as it is, as a literal block."""
    return (
        text.isascii()
        and text[0] not in " \n"
        and text[-1] != " "
        and not text.endswith("\n\n")
        and "\n" in text
        and " \n" not in text
        and text.replace("\n", "").isprintable()
    )


@lru_cache(maxsize=16384)
def _written(text: str) -> str:
    """Return a string as PyYAML writes it behind a key without indentation."""
    line = _emitted({"a": text})
    # Another text of several lines depends on where it stands.
    if len(text) >= _WIDTH // 2 or not (line[3:].find("\n") == len(line) - 4 or line[3] == "|"):
        raise _NotSimpleError
    if "\r" in text:
        raise _NotSimpleError
    return line[3:-1]


@lru_cache(maxsize=4096)
def _key(text: str) -> str:
    """Return a key as PyYAML writes it."""
    line = _emitted({text: None})
    if not line.endswith(": null\n") or line.startswith("? ") or line.count("\n") > 1:
        raise _NotSimpleError
    return line.removesuffix(": null\n")


def _other(value: Any) -> str:
    """Return a value that is not a text, without the line end."""
    if value is None:
        return "null"
    kind = type(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is int:
        return str(value)
    if kind in (dict, list):
        return "{}" if kind is dict else "[]"
    if kind is float:
        return _emitted({"a": value})[3:-1]
    raise _NotSimpleError


def _emitted(data: dict[str, Any]) -> str:
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=_WIDTH))


@lru_cache(maxsize=4096)
def _sorted(keys: tuple[str, ...]) -> list[str]:
    """Return keys in their order; the same lists of keys come again and again."""
    if not all(type(key) is str for key in keys):
        raise _NotSimpleError
    return sorted(keys, key=_rank)


def _rank(key: str) -> tuple[int, str]:
    return _FIRST.get(key, 9), key


def _ordered(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _ordered(data[key]) for key in sorted(data, key=_rank)}
    if isinstance(data, list):
        return [_ordered(item) for item in data]
    return data
