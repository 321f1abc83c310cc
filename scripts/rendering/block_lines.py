"""The place of one line of a text that an input has as a block: JSON or TOML inside YAML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from scripts.core import safe_files
from scripts.core.yamlio import Document
from scripts.environments.environment import Environment
from scripts.rendering.provenance import Place


def located(root: Path, environment: Environment, place: Place, number: int, text: str) -> Place:
    """Return the place of a line of the text that an input sets at a place.

    That is the place itself if the input does not have the text in a block (`|`): a template may
    have written it, or it is in quotes.

    number: of the line in the text, from 1. text: the whole text, as it was rendered.
    """
    lines = text.split("\n")
    for document in _documents(environment):
        node = _block(document.node, *place[1:]) if document.file == place[0] else None
        if node and 0 < number <= len(lines):
            written = safe_files.read(root / place[0], root).decode("utf-8-sig").split("\n")
            line = node.start_mark.line + number
            if line < len(written) and written[line].strip() == lines[number - 1].strip():
                own = written[line]
                return place[0], line + 1, len(own) - len(own.lstrip()) + 1
    return place


def _documents(environment: Environment) -> Iterator[Document]:
    yield environment.document
    yield from environment.layers
    for patch in environment.patches:
        yield patch.document


def _block(node: yaml.Node | None, line: int, column: int) -> yaml.ScalarNode | None:
    """Return the literal block of the key, or of the operation of a patch, at a position."""
    for key, value in _pairs(node):
        if _is_at(key, line, column) and _is_literal(value):
            return value if isinstance(value, yaml.ScalarNode) else None
        for item in _items(value):
            if _is_at(item, line, column):
                among = [inner for name, inner in _pairs(item) if name.value == "value"]
                return next((i for i in among if isinstance(i, yaml.ScalarNode)), None)
        if found := _block(value, line, column):
            return found
    return None


def _pairs(node: yaml.Node | None) -> Sequence[tuple[yaml.Node, yaml.Node]]:
    return node.value if isinstance(node, yaml.MappingNode) else ()


def _items(node: yaml.Node) -> Sequence[yaml.Node]:
    return node.value if isinstance(node, yaml.SequenceNode) else ()


def _is_at(node: yaml.Node, line: int, column: int) -> bool:
    return (node.start_mark.line + 1, node.start_mark.column + 1) == (line, column)


def _is_literal(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style == "|"
