"""The place of one line of a text: in a block of YAML in an input, or in a file of the chart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import yaml

from scripts.core import safe_files
from scripts.core.yamlio import Document
from scripts.environments.environment import Environment
from scripts.kubernetes.manifest import Where
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
            written = (
                safe_files.read(environment.path(root, place[0]), root)
                .decode("utf-8-sig")
                .split("\n")
            )
            line = node.start_mark.line + number
            if line < len(written) and written[line].strip() == lines[number - 1].strip():
                own = written[line]
                return place[0], line + 1, len(own) - len(own.lstrip()) + 1
    return place


def in_chart(
    root: Path, environment: Environment, path: Where, text: str, line: str
) -> Place | None:
    """Return the place of a line of a text in the chart's file that is most like the text.

    No container reads dashboards, so their lines are only equal by chance.

    path: of the text in its ConfigMap.
    """
    lines = {own.strip() for own in text.splitlines()}
    suffix, best, most = PurePosixPath(str(path[-1])).suffix, None, 0
    for file in sorted((environment.source / "chart" / "files").rglob("*")):
        if file.suffix != suffix or file.parent.name == "dashboards" or not file.is_file():
            continue
        own = safe_files.read(file, root).decode("utf-8", "replace").splitlines()
        alike = sum(each.strip() in lines for each in own if each.strip())
        if alike > most and line in own:
            column = len(line) - len(line.lstrip()) + 1
            best, most = (safe_files.name(file, root), own.index(line) + 1, column), alike
    return best


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
