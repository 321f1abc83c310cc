"""Load TOML and JSON with positions: the configuration files inside rendered objects."""

from __future__ import annotations

import datetime
import json
import re
import tomllib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import yaml

from scripts.core.findings import Finding, UserError
from scripts.core.yamlio import Document

_KEY = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')"""
_KEYS = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_HEADER = re.compile(rf"\s*\[\[?\s*(?P<keys>{_KEYS})\s*\]\]?")
_ENTRY = re.compile(rf"\s*(?P<keys>{_KEYS})\s*=")
_POSITION = re.compile(r" \(at line (\d+), column (\d+)\)$")
"""The end of tomllib's messages."""

Path = tuple[str | int, ...]


_QUOTES = "\u201c\u201d\u201e\u2018\u2019"
"""The quotes of word processors."""


@lru_cache
def toml(text: str, file: str) -> Document:
    """Return a TOML text (https://toml.io/en/v1.0.0) as a document.

    file: the file that the document's findings name.
    Raises UserError for invalid TOML, and for dates, which Besu and Maru do not read.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        position = _POSITION.search(str(error))
        problem = _POSITION.sub("", str(error))
        message = f"invalid TOML: {problem}"
        # An error at the end of the document has no position: use the last line.
        line, column = map(int, position.groups()) if position else (len(text.splitlines()), 0)
        fix = "correct the TOML in this line or above it"
        if "Illegal character '\\n'" in problem:
            message, fix = (
                "invalid TOML: a string is not closed",
                'write " at the end of the string',
            )
        here = text.splitlines()[line - 1 : line]
        if wrong := [quote for quote in _QUOTES if quote in "".join(here)]:
            message = f"invalid TOML: {' and '.join(wrong)} are not quotes for TOML"
            fix = f'write " instead of {" and ".join(wrong)}'
        raise UserError(Finding(file, line, column, "toml-syntax", message, fix)) from None
    document = Document(file, data, _node(data, (), _places(text), _mark(0, 0)))
    for path, value in _leaves(data, ()):
        if isinstance(value, datetime.date | datetime.time):
            name = ".".join(map(str, path))
            message = f"{name} is a date, which no option takes"
            fix = f"put the value of {name} in quotes"
            raise UserError(document.finding("wrong-type", path, message, fix))
    return document


@lru_cache
def from_json(text: str, file: str) -> Document:
    """Return a JSON text as a document, as toml does.

    Raises UserError for invalid JSON, and for a key that is in an object twice.
    """
    repeated = list[str]()

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [key for key, _ in pairs]
            repeated.extend(key for key in found if names.count(key) > 1)
        return found

    try:
        data = json.loads(text, parse_constant=_reject, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        message = f"invalid JSON: {error.msg}"
        fix = "correct the JSON in this line or above it"
        if "delimiter" in error.msg:
            fix = "add the comma or the closing } or ] that is missing in this line or above it"
        elif error.msg.startswith(("Expecting property name", "Illegal trailing comma")):
            fix = "write each key in double quotes, and no comma after the last entry"
        finding = Finding(file, error.lineno, error.colno, "json-syntax", message, fix)
        raise UserError(finding) from None
    except RecursionError:
        message, fix = "invalid JSON: nested too deeply", "write fewer levels of { and ["
        raise UserError(Finding(file, 0, 0, "json-syntax", message, fix)) from None
    except ValueError:
        message = "invalid JSON: a number is too long, NaN or infinite"
        fix = "write each number with at most 300 digits, and neither NaN nor Infinity"
        raise UserError(Finding(file, 0, 0, "json-syntax", message, fix)) from None
    try:
        node = yaml.compose(text, yaml.CSafeLoader)
    except yaml.YAMLError:  # JSON allows tabs between its parts, and YAML does not
        node = None
    if repeated:
        raise UserError(_duplicate(file, node, repeated[0]))
    return Document(file, data, node)


def _duplicate(file: str, node: yaml.Node | None, key: str) -> Finding:
    """Return the finding for a key that an object of a JSON text has twice."""
    message = f"duplicate key {key}: programs read only one of the values"
    fix = f"keep one {key}"
    for lines in _repeated(node, key):
        line, column = lines[-1]
        above = line - lines[0][0]
        where = "in this line" if not above else f"{above} line{'s' if above > 1 else ''} above"
        fix = f"remove the {key} here or the one {where}, whichever has the wrong value"
        return Finding(file, line, column, "duplicate-key", message, fix)
    return Finding(file, 0, 0, "duplicate-key", message, fix)


def _repeated(node: yaml.Node | None, key: str) -> Iterator[list[tuple[int, int]]]:
    """Yield the positions of a key in each mapping that has it more than once."""
    if isinstance(node, yaml.MappingNode):
        marks = [name.start_mark for name, _ in node.value if name.value == key]
        if len(marks) > 1:
            yield [(mark.line + 1, mark.column + 1) for mark in marks]
        for _, value in node.value:
            yield from _repeated(value, key)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated(item, key)


def flat(document: Document) -> Document:
    """Return the document with the keys of its tables at the top; the first of equal keys wins."""
    data: dict[str, Any] = {}
    nodes: list[tuple[yaml.Node, yaml.Node]] = []

    def visit(table: dict[str, Any], node: yaml.Node) -> None:
        for (key, value), pair in zip(table.items(), node.value, strict=True):
            if isinstance(value, dict):
                visit(value, pair[1])
            elif key not in data:
                data[key] = value
                nodes.append(pair)

    assert document.node is not None  # toml() always sets it
    visit(document.data, document.node)
    return Document(document.file, data, yaml.MappingNode("", nodes, document.node.start_mark))


def _reject(constant: str) -> None:
    raise ValueError(constant)


def _leaves(data: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(data, dict | list):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from _leaves(value, (*path, key))
    else:
        yield path, data


def _places(text: str) -> dict[Path, tuple[int, int]]:
    """Return the line and column, from 0, of tables and keys, but not of those inside a value."""
    places: dict[Path, tuple[int, int]] = {}
    table: Path = ()
    for number, line in enumerate(text.split("\n")):
        header, entry = _HEADER.match(line), _ENTRY.match(line)
        if header:
            table = path = _parts(header["keys"])
        elif entry:
            path = (*table, *_parts(entry["keys"]))
        else:
            continue
        for length in range(1, len(path) + 1):
            places.setdefault(path[:length], (number, len(line) - len(line.lstrip())))
    return places


def _parts(keys: str) -> Path:
    return tuple(key.strip("\"'") for key in re.findall(_KEY, keys))


def _mark(line: int, column: int) -> yaml.Mark:
    return yaml.Mark("", 0, line, column, None, 0)


def _node(
    data: Any, path: Path, places: dict[Path, tuple[int, int]], above: yaml.Mark
) -> yaml.Node:
    mark = _mark(*places[path]) if path in places else above
    if isinstance(data, dict):
        pairs = []
        for key, value in data.items():
            node = _node(value, (*path, key), places, mark)
            pairs.append((yaml.ScalarNode("", key, node.start_mark), node))
        return yaml.MappingNode("", pairs, mark)
    if isinstance(data, list):
        items = [_node(item, (*path, i), places, mark) for i, item in enumerate(data)]
        return yaml.SequenceNode("", items, mark)
    return yaml.ScalarNode("", "", mark)
