"""TOML and JSON in, with positions: the configuration files inside rendered objects."""

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
_TOLD = re.compile(r" \(at line (\d+), column (\d+)\)$")

Path = tuple[str | int, ...]


@lru_cache
def toml(text: str, file: str) -> Document:
    """Return a TOML text (https://toml.io/en/v1.0.0) as a document.

    file: what the document's findings name as their file.
    Raises UserError for what is no TOML, and for dates, which no program here reads.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = _TOLD.search(str(error))
        message = _TOLD.sub("", str(error))
        # At the document's end, the last line is as near as it gets.
        line, column = map(int, place.groups()) if place else (len(text.splitlines()), 0)
        fix = "mend the TOML at this place, or just above it"
        raise UserError(Finding(file, line, column, "toml-syntax", message, fix)) from None
    document = Document(file, data, _node(data, (), _places(text), _mark(0, 0)))
    for path, value in _leaves(data, ()):
        if isinstance(value, datetime.date | datetime.time):
            named, fix = ".".join(map(str, path)), "put it in quotes"
            raise UserError(document.finding("wrong-type", path, f"{named} is a date", fix))
    return document


@lru_cache
def from_json(text: str, file: str) -> Document:
    """Return a JSON text as a document, as toml does; raises UserError for what is no JSON."""
    try:
        data = json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        fix = "mend the JSON at this place, or just above it"
        found = Finding(file, error.lineno, error.colno, "json-syntax", error.msg, fix)
        raise UserError(found) from None
    except (RecursionError, ValueError):
        message, fix = "a number or a depth that JSON does not have", "write plain numbers"
        raise UserError(Finding(file, 0, 0, "json-syntax", message, fix)) from None
    try:
        node = yaml.compose(text, yaml.CSafeLoader)
    except yaml.YAMLError:  # tabs between its parts: JSON, and no YAML
        node = None
    return Document(file, data, node)


def flat(document: Document) -> Document:
    """Return the document without its tables: each key at the top, the first where one is twice."""
    data: dict[str, Any] = {}
    nodes: list[tuple[yaml.Node, yaml.Node]] = []

    def visit(table: dict[str, Any], node: yaml.Node) -> None:
        for (key, value), pair in zip(table.items(), node.value, strict=True):
            if isinstance(value, dict):
                visit(value, pair[1])
            elif key not in data:
                data[key] = value
                nodes.append(pair)

    assert document.node is not None  # as toml makes it
    visit(document.data, document.node)
    return Document(document.file, data, yaml.MappingNode("", nodes, document.node.start_mark))


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _leaves(data: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(data, dict | list):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from _leaves(value, (*path, key))
    else:
        yield path, data


def _places(text: str) -> dict[Path, tuple[int, int]]:
    """Return line and column, from 0, of tables and keys; those inside of a value have none."""
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
