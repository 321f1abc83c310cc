"""Apply edits to the text of a YAML file; all other lines, comments and quotes stay as they are.

Parsers that keep comments attach them to values, so they lose or move some when a value goes
(ruamel.yaml loses the comments below the last key of a mapping that is removed). Here, the
positions of the parser decide which characters are replaced, and nothing else is replaced.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from scripts.core import edits as data_edits
from scripts.core import paths
from scripts.core.edits import Action, CannotApplyError, Edit
from scripts.core.paths import ValuePath
from scripts.core.yamlio import flow

MOST_COLUMNS = 100
"""The longest line in which a mapping or list is written, if it can be written in several."""

_COMMENT = re.compile(r"(^|\s)#", re.MULTILINE)
_MARKER = re.compile(r"^---(?=\s|\Z)", re.MULTILINE)
_BREAK = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")


def applied(text: str, edits: Sequence[Edit]) -> str:
    """Return the text with the edits.

    Raises CannotApplyError if an edit does not fit the text, or would also change or lose
    other text: a comment inside of the value, or places that have the value by an alias.
    """
    for edit in edits:
        start, end = _document(text, edit.document)
        part = text[start:end]
        data, node = _parsed(part)
        after = _edited(part, node, edit)
        if _json(_parsed(after)[0]) != _json(data_edits.applied(data, [edit])):
            raise CannotApplyError
        text = text[:start] + after + text[end:]
    return text


def _document(text: str, number: int) -> tuple[int, int]:
    """Return where a document of a file begins and ends; number: from 0."""
    starts = [match.start() for match in _MARKER.finditer(text)]
    above = text[: starts[0]].splitlines() if starts else []
    if any(line.strip() and not line.startswith(("#", "%")) for line in above):
        starts.insert(0, 0)
    starts = [0, *starts[1:]]
    if number >= len(starts):
        raise CannotApplyError
    return starts[number], [*starts, len(text)][number + 1]


def _parsed(text: str) -> tuple[Any, yaml.Node | None]:
    """Return the data and the node of the only document in a text."""
    try:
        loader = yaml.CSafeLoader(text)
        node = loader.get_single_node()
        return (loader.construct_document(node) if node else None), node
    except (yaml.YAMLError, ValueError):
        raise CannotApplyError from None


def _json(data: Any) -> str:
    """Return what makes data equal: values with their types, and the order of keys."""
    return json.dumps(data, default=str)


def _edited(text: str, node: yaml.Node | None, edit: Edit) -> str:
    found = _Text(text)
    if edit.action is Action.RENAME:
        key, _ = found.entry(node, edit.path)
        return found.replaced(found.start(key), found.end(key), flow(edit.value))
    if edit.action is Action.REMOVE:
        return found.without(node, edit.path)
    if edit.action is Action.MOVE:
        found.entry(node, edit.path)
        value = paths.get(_parsed(text)[0], edit.path)
        if _COMMENT.search(found.lines_of(node, edit.path)):
            raise CannotApplyError
        shorter = found.without(node, edit.path)
        moved = Edit(edit.file, Action.WRITE, edit.value, value)
        return _edited(shorter, _parsed(shorter)[1], moved)
    return found.written(node, edit)


class _Text:
    """A text, with the offsets of its nodes."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.starts = [0, *(match.end() for match in _BREAK.finditer(text))]
        self.newline = "\r\n" if "\r\n" in text else "\n"

    def start(self, node: yaml.Node) -> int:
        """Return the offset at which a node begins."""
        return self.starts[node.start_mark.line] + int(node.start_mark.column)

    def end(self, node: yaml.Node) -> int:
        """Return the offset after the last character of a node, without comments behind it."""
        if isinstance(node, yaml.CollectionNode) and not node.flow_style:
            last = node.value[-1]
            return self.end(last[1] if isinstance(node, yaml.MappingNode) else last)
        offset = self.starts[node.end_mark.line] + int(node.end_mark.column)
        is_block = isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
        return len(self.text[:offset].rstrip()) if is_block else offset

    def line_start(self, offset: int) -> int:
        """Return the offset at which the line begins."""
        return max(start for start in self.starts if start <= offset)

    def line_end(self, offset: int) -> int:
        """Return the offset after the line, with its line break."""
        return next((start for start in self.starts if start > offset), len(self.text))

    def replaced(self, start: int, end: int, by: str) -> str:
        """Return the text with another text from one offset to another."""
        return self.text[:start] + by + self.text[end:]

    def entry(self, root: yaml.Node | None, path: ValuePath) -> tuple[yaml.Node, yaml.Node]:
        """Return the nodes of a key and its value, or twice that of an item of a list."""
        node, found = root, None
        for part in path:
            found = next((each for name, each in _entries(node) if name == part), None)
            if found is None:
                raise CannotApplyError
            node = found[1]
        if found is None:
            raise CannotApplyError
        return found

    def column(self, above: yaml.Node, offset: int) -> int:
        """Return the column of an entry of a block: that of its key, or of its dash."""
        if isinstance(above, yaml.SequenceNode):
            return int(above.start_mark.column)
        return offset - self.line_start(offset)

    def lines_of(self, root: yaml.Node | None, path: ValuePath) -> str:
        """Return the lines of a key and its value."""
        key, value = self.entry(root, path)
        end = self.end(value)
        return self.text[self.line_start(self.start(key)) : self.line_end(max(end - 1, 0))]

    def without(self, root: yaml.Node | None, path: ValuePath) -> str:
        """Return the text without a key or an item."""
        key, value = self.entry(root, path)
        above = self.entry(root, path[:-1])[1] if path[1:] else root
        siblings = [each for _, each in _entries(above)]
        index = next(i for i, each in enumerate(siblings) if each[0] is key)
        start, end = self.start(key), self.end(value)
        if _COMMENT.search(self.text[start:end]):
            raise CannotApplyError
        if len(siblings) == 1:
            empty = "{}" if isinstance(above, yaml.MappingNode) else "[]"
            return self.put(root, path[:-1], empty)
        assert isinstance(above, yaml.CollectionNode)  # for mypy: it has entries
        following = self.start(siblings[index + 1][0]) if index + 1 < len(siblings) else None
        if above.flow_style:
            previous = self.end(siblings[index - 1][1])
            span = (start, following) if following is not None else (previous, end)
            return self.replaced(*span, "")
        begin = self.line_start(start)
        head = self.text[begin:start]
        if head.strip() and isinstance(above, yaml.MappingNode):  # the first key behind a dash
            if following is None or _COMMENT.search(self.text[start:following]):
                raise CannotApplyError
            return self.replaced(start, following, "")
        if head.strip(" -"):
            raise CannotApplyError
        return self.replaced(begin, self.line_end(max(end - 1, begin)), "")

    def put(self, root: yaml.Node | None, path: ValuePath, value: str) -> str:
        """Return the text with one line instead of the value of a key, or of an item."""
        if not path:
            raise CannotApplyError
        key, old = self.entry(root, path)
        start, end = self.start(old), self.end(old)
        if key is not old and not (isinstance(old, yaml.ScalarNode) and old.style is not None):
            # A block begins in another line than its key, and an empty value has no place.
            start = self.text.index(":", self.end(key)) + 1
            value = f" {value}"
        if start == end and value[:1] != " ":
            value = f" {value}"
        if _COMMENT.search(self.text[start:end]):
            raise CannotApplyError
        return self.replaced(start, max(start, end), value)

    def written(self, root: yaml.Node | None, edit: Edit) -> str:
        """Return the text with a value at a path, which may not exist yet."""
        path, value = [*edit.path], edit.value
        if edit.action is Action.APPEND:
            items = self.existing(root, path)
            if items is None or items == "":
                value = [value]
            else:
                path.append(len(items.value) if isinstance(items, yaml.SequenceNode) else 0)
        length = len(path)
        while length and self.existing(root, path[:length]) is None:
            length -= 1
            if length < len(path) - 1:
                value = {path[length + 1]: value}
        if length == len(path):
            return self.replacing(root, path, value)
        return self.inserting(root, path[:length], path[length], value)

    def existing(self, root: yaml.Node | None, path: ValuePath) -> yaml.Node | str | None:
        """Return the node of a value; "" if it is empty, and None if there is none."""
        if not path:
            return root or ""
        try:
            node = self.entry(root, path)[1]
        except CannotApplyError:
            return None
        return "" if _is_empty(node) else node

    def replacing(self, root: yaml.Node | None, path: ValuePath, value: Any) -> str:
        """Return the text with another value at the path."""
        key, old = self.entry(root, path)
        lines = isinstance(old, yaml.ScalarNode) and old.style == "|" and isinstance(value, str)
        if lines and value.endswith("\n") and not value.startswith((" ", "\n")):
            first = next(line for line in old.value.splitlines() if line.strip())
            at = self.text.index(first, self.start(old))
            indent = " " * (at - self.line_start(at))
            start = self.line_start(at)
            body = "".join(
                indent + each if each.strip() else each for each in value.splitlines(keepends=True)
            )
            return self.replaced(start, self.end(old), body.rstrip("\n"))
        one_line = flow(value)
        column = self.start(key) - self.line_start(self.start(key))
        if column + len(str(path[-1])) + len(one_line) + 2 > MOST_COLUMNS:
            return self.in_lines(root, path, value)
        return self.put(root, path, one_line)

    def in_lines(self, root: yaml.Node | None, path: ValuePath, value: Any) -> str:
        """Return the text with a value that is too long for one line."""
        if not value or not isinstance(value, dict | list) or self.is_in_flow(root, path):
            return self.put(root, path, flow(value))
        key, _ = self.entry(root, path)
        column = self.start(key) - self.line_start(self.start(key))
        marker = "\0"
        body = self.newline + self.newline.join(_block(value, column + 2))
        return self.put(root, path, marker).replace(f" {marker}", body).replace(marker, body)

    def is_in_flow(self, root: yaml.Node | None, path: ValuePath) -> bool:
        """Return whether one of the collections around a value is written in brackets."""
        nodes = [root, *(self.entry(root, path[:n])[1] for n in range(1, len(path)))]
        return any(isinstance(node, yaml.CollectionNode) and node.flow_style for node in nodes)

    def inserting(self, root: yaml.Node | None, path: ValuePath, key: str | int, value: Any) -> str:
        """Return the text with a new entry of the mapping or list at the path."""
        above = self.existing(root, path)
        new = {key: value} if isinstance(key, str) else [value]
        if above is None or (isinstance(above, yaml.ScalarNode) or (path and above == "")):
            if above is not None and above != "":
                raise CannotApplyError
            return self.replaced_by_block(root, path, new)
        if above == "":
            head = self.text if not self.text or self.text.endswith("\n") else self.text + "\n"
            return head + self.newline.join(_block(new, 0)) + self.newline
        assert isinstance(above, yaml.CollectionNode)  # for mypy
        if isinstance(above, yaml.SequenceNode) is isinstance(key, str):
            raise CannotApplyError
        if above.flow_style:
            if not above.value and not self.is_in_flow(root, path) and path:
                return self.replaced_by_block(root, path, new)
            at = self.end(_entries_of(above)[-1][1]) if above.value else self.start(above) + 1
            text = flow(new)[1:-1]
            return self.replaced(at, at, f", {text}" if above.value else text)
        last = self.end(above)
        first = _entries_of(above)[0][0]
        column = self.column(above, self.start(first))
        at = self.line_end(max(last - 1, 0))
        lines = self.newline.join(_block(new, column)) + self.newline
        if at == len(self.text) and not self.text.endswith(("\n", "\r")):
            lines = self.newline + lines
        return self.replaced(at, at, lines)

    def replaced_by_block(self, root: yaml.Node | None, path: ValuePath, new: Any) -> str:
        """Return the text with a block instead of an empty value."""
        if self.is_in_flow(root, path):
            return self.put(root, path, flow(new))
        key, old = self.entry(root, path)
        if key is old:
            return self.put(root, path, flow(new))
        column = self.start(key) - self.line_start(self.start(key))
        colon = self.text.index(":", self.end(key)) + 1
        end = max(self.end(old), colon)
        rest = self.line_end(max(end - 1, 0))
        tail = self.text[end:rest].rstrip()
        body = self.newline.join(_block(new, column + 2)) + self.newline
        return self.text[:colon] + tail + self.newline + body + self.text[rest:]


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _entries(node: yaml.Node | None) -> Iterator[tuple[Any, tuple[yaml.Node, yaml.Node]]]:
    """Yield each key with its node and that of its value, or each index with its item twice."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key.value, (key, value)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield index, (item, item)


def _entries_of(node: yaml.Node) -> list[tuple[yaml.Node, yaml.Node]]:
    return [each for _, each in _entries(node)]


def _block(value: Any, indent: int) -> Iterator[str]:
    """Yield the lines of a mapping or a list as a block; inner ones that are short stay in one."""
    pad = " " * indent
    if isinstance(value, dict):
        for key, inner in value.items():
            line = f"{pad}{flow(key)}: {flow(inner)}"
            if len(line) <= MOST_COLUMNS or not isinstance(inner, dict | list) or not inner:
                yield line
            else:
                yield f"{pad}{flow(key)}:"
                yield from _block(inner, indent + 2)
        return
    for item in value:
        line = f"{pad}- {flow(item)}"
        if len(line) <= MOST_COLUMNS or not isinstance(item, dict | list) or not item:
            yield line
        else:
            first, *rest = _block(item, indent + 2)
            yield f"{pad}- {first.lstrip()}"
            yield from rest
