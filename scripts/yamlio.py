"""YAML in with positions, strictly; canonical YAML out.

Input is the part of YAML that every reader understands alike. A scalar that YAML 1.1 (PyYAML,
Helm, kubectl) and YAML 1.2 (editors, other tools) read differently is refused rather than guessed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Never

import yaml

from scripts import files
from scripts.findings import Finding, UserError, may_be_secret

MAX_NODES = 50_000
"""Nodes of one document after its aliases are followed; a whole environment has some thousands."""

MAX_DEPTH = 64
"""Levels of one document; a Kubernetes object has some twenty."""

_PREFIX = "tag:yaml.org,2002:"
_KINDS = {"str", "bool", "int", "float", "timestamp", "null"}
_MOST_SHOWN = 32
_MOST_EXACT = 2**53
"""Helm reads numbers as 64-bit floats: it rounds whole numbers beyond this."""
_JSON_INT = re.compile(r"-?(0|[1-9][0-9]*)")
_JSON_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]+([eE][-+]?[0-9]+)?")
_ELSEWHERE_A_NUMBER = re.compile(
    r"[-+]?(0[oO][0-7_]+|0[xX][0-9a-fA-F_]+|0[bB][01_]+|[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?"
    r"|\.[0-9_]+([eE][-+]?[0-9]+)?|\.(inf|Inf|INF)|\.(nan|NaN|NAN))\Z"
)
_ELSEWHERE_A_BOOLEAN = re.compile(r"[yYnN]\Z")

ValuePath = Sequence[str | int]
"""Keys and indices from the root of a document to a part of it."""


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML file: its data (as JSON has them), and where each part of it stands."""

    file: str
    """Relative to the repository, with forward slashes."""
    data: Any
    node: yaml.Node | None

    def position(self, path: ValuePath) -> tuple[int, int]:
        """Return the line and column (from 1) of the key or item at the path.

        Where the path leads out of the document, the last part that is there counts.
        """
        node = self.node
        if node is None:
            return 1, 1
        mark = node.start_mark
        for part in path:
            for key, place, child in _children(node):
                if key == part:
                    mark, node = place.start_mark, child
                    break
            else:
                break
        return mark.line + 1, mark.column + 1

    def scalar(self, path: ValuePath) -> str | None:
        """Return a scalar as it is written in the file; None where there is none at the path."""
        node = self.node
        for part in path:
            children = _children(node) if node is not None else ()
            node = next((child for key, _, child in children if key == part), None)
        return node.value if isinstance(node, yaml.ScalarNode) else None

    def finding(self, rule: str, path: ValuePath, message: str, fix: str, **more: str) -> Finding:
        """Return a finding at the path's position."""
        line, column = self.position(path)
        return Finding(self.file, line, column, rule, message, fix, **more)  # type: ignore[arg-type]


def has(data: Any, path: ValuePath) -> bool:
    """Return whether the data have something at the path."""
    for part in path:
        if isinstance(data, list):
            there = isinstance(part, int) and part < len(data)
        else:
            there = isinstance(data, dict) and part in data
        if not there:
            return False
        data = data[part]
    return True


def get(data: Any, path: ValuePath) -> Any:
    """Return what the data have at the path; None where they have nothing there."""
    # Rules ask this more than all else, so it does not ask has().
    for part in path:
        if isinstance(data, dict):
            if part not in data:
                return None
        elif not (isinstance(data, list) and isinstance(part, int) and part < len(data)):
            return None
        data = data[part]
    return data


def load(path: Path, root: Path) -> Document:
    """Return the one document of a file that people write.

    Raises UserError for what can't be read the same way everywhere: bytes that are no UTF-8,
    tabs, duplicate and non-string keys, tags, merge keys, recursive or exploding aliases, scalars
    whose meaning depends on the reader; and for a second document.
    """
    documents = load_all(path, root)
    if len(documents) == 1:
        return documents[0]
    message, fix = "a second document begins here", "keep one document: remove the line ---"
    raise UserError(documents[1].finding("yaml-documents", [], message, fix))


def load_all(path: Path, root: Path) -> list[Document]:
    """Return all documents of a file; an empty file has one, without data. Raises as load does."""
    file, text = files.name(path, root), _text(path, root)
    documents = []
    try:
        loader = yaml.CSafeLoader(text)
        while loader.check_node():
            node = loader.get_node()
            assert node is not None  # for mypy: check_node has seen it
            _inspect(node, file)
            documents.append(Document(file, loader.construct_document(node), node))
    except yaml.reader.ReaderError as error:
        line = text.encode()[: error.position].count(b"\n") + 1
        message = f"the character U+{error.character:04X} is not allowed in YAML"
        found = Finding(file, line, 0, "yaml-syntax", message, "remove the character")
        raise UserError(found) from None
    except yaml.MarkedYAMLError as error:
        raise UserError(syntax(error, file, text)) from None
    return documents or [Document(file, None, None)]


def _text(path: Path, root: Path) -> str:
    raw = files.read(path, root)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        message = f"byte 0x{raw[error.start]:02x} is not UTF-8"
        fix = "save the file as UTF-8"
        raise UserError(
            Finding(files.name(path, root), line, 0, "not-utf-8", message, fix)
        ) from None


def syntax(error: yaml.MarkedYAMLError, file: str, text: str) -> Finding:
    """Return what is wrong with a text that is no YAML, and where."""
    mark = error.problem_mark or error.context_mark
    if "quoted scalar" in (error.context or ""):
        mark = error.context_mark  # where the quote opens; the problem is told at the end
    conflict = re.search(r"^(<<<<<<<|>>>>>>>) ", text, re.MULTILINE)
    if conflict:
        line = text[: conflict.start()].count("\n") + 1
        message = "a merge conflict was left in the file"
        fix = "keep one side, and remove the lines <<<<<<<, ======= and >>>>>>>"
        return Finding(file, line, 0, "merge-conflict", message, fix)
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    problem = error.problem or "not YAML"
    lines = text.splitlines()
    here = lines[line - 1] if 0 < line <= len(lines) else ""
    if "\\t" in problem or "\t" in here[: len(here) - len(here.lstrip())]:
        return Finding(
            file, line, column, "yaml-tab", "a tab indents the line", "indent with spaces"
        )
    if "undefined alias" in problem:
        return Finding(
            file,
            line,
            column,
            "yaml-syntax",
            problem,
            "define the anchor (&name) above the alias (*name), or write the value here",
        )
    told = ", ".join(part for part in (error.context, problem) if part)
    return Finding(
        file, line, column, "yaml-syntax", told, "mend the YAML at this place, or just above it"
    )


def _children(node: yaml.Node) -> Iterator[tuple[str | int, yaml.Node, yaml.Node]]:
    """Yield the key or index, the node that stands for its place, and the node of its value."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key.value, key, value
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield index, item, item


def _refuse(file: str, node: yaml.Node, rule: str, message: str, fix: str) -> Never:
    mark = node.start_mark
    raise UserError(Finding(file, mark.line + 1, mark.column + 1, rule, message, fix))


def _inspect(root: yaml.Node, file: str) -> None:
    """Refuse what is well-formed YAML and still means trouble. UserError names the first place."""
    count = 0

    def visit(node: yaml.Node, above: tuple[int, ...], path: tuple[str | int, ...]) -> None:
        nonlocal count
        count += 1
        if id(node) in above:
            _refuse(
                file,
                node,
                "yaml-recursion",
                "an alias contains itself",
                "write the value out instead of the alias",
            )
        if len(above) > MAX_DEPTH:
            message = f"the document is nested deeper than {MAX_DEPTH} levels"
            _refuse(file, node, "yaml-depth", message, "write it flatter")
        if count > MAX_NODES:
            _refuse(
                file,
                root,
                "yaml-bomb",
                f"the document has more than {MAX_NODES} nodes once its aliases are followed",
                "write the values out instead of aliases of aliases",
            )
        if isinstance(node, yaml.ScalarNode):
            _inspect_scalar(node, file, path)
            return
        if node.tag not in (_PREFIX + "map", _PREFIX + "seq"):
            _refuse(file, node, "yaml-tag", f"the tag {_tag(node)} is not read", "remove the tag")
        seen: dict[str, yaml.Node] = {}
        for key, place, value in _children(node):
            if isinstance(node, yaml.MappingNode):
                _inspect_key(place, seen, file)
                seen[str(key)] = place
            visit(value, (*above, id(node)), (*path, key))

    visit(root, (), ())


def _tag(node: yaml.Node) -> str:
    return node.tag.replace(_PREFIX, "!!")


def _inspect_key(key: yaml.Node, seen: dict[str, yaml.Node], file: str) -> None:
    if key.tag == _PREFIX + "merge":
        _refuse(
            file,
            key,
            "yaml-merge",
            "the merge key << is not part of YAML 1.2",
            "write the keys out, or put them into a profile",
        )
    if not isinstance(key, yaml.ScalarNode):
        message, fix = "a mapping or a list stands where a key must", "put {{ … }} in quotes"
        _refuse(file, key, "yaml-key", message, fix)
    if key.tag != _PREFIX + "str" or (not key.style and _is_something_else_elsewhere(key.value)):
        named, quoted = _named(key.value)
        message = f"the key {named} is no string to every YAML reader"
        fix = f"quote it: {quoted}" if named == key.value else "put it in quotes"
        _refuse(file, key, "yaml-key", message, fix)
    first = seen.get(key.value)
    if first is not None:
        _refuse(
            file,
            key,
            "duplicate-key",
            f"the key {key.value} is here a second time; the first is on line "
            f"{first.start_mark.line + 1}",
            "keep one of the two",
        )


def _is_something_else_elsewhere(text: str) -> bool:
    """Return whether another reader takes the plain text for a number or a boolean."""
    return bool(_ELSEWHERE_A_NUMBER.fullmatch(text) or _ELSEWHERE_A_BOOLEAN.fullmatch(text))


def _named(text: str, path: ValuePath = ()) -> tuple[str, str]:
    """Return how a message calls a scalar, and how it would stand in quotes.

    A long one could be a private key that lacks its quotes: messages don't repeat it.
    """
    if len(text) > _MOST_SHOWN or may_be_secret(path):
        return "this value", "this value in quotes"
    return text, f"'{text}'"


def _inspect_scalar(node: yaml.ScalarNode, file: str, path: ValuePath) -> None:
    text, kind = node.value, node.tag.removeprefix(_PREFIX)
    named, quoted = _named(text, path)
    instead = ""
    if kind == "value" and not node.style:  # YAML 1.1's = without quotes
        instead = quoted
    elif (kind != "str" and node.style) or kind not in _KINDS:
        _refuse(file, node, "yaml-tag", f"the tag {_tag(node)} is not read", "remove the tag")
    elif node.style:
        return
    elif kind == "str":
        if _ELSEWHERE_A_NUMBER.fullmatch(text):
            instead = f"a plain decimal number, or {quoted} for the text"
        elif _ELSEWHERE_A_BOOLEAN.fullmatch(text):
            instead = f"{str(text in 'yY').lower()}, or {quoted} for the text"
    elif kind == "bool":
        if text.lower() not in ("true", "false"):
            instead = f"{str(text.lower() in ('yes', 'on')).lower()}, or {quoted} for the text"
    elif kind == "int":
        if not _JSON_INT.fullmatch(text) or len(text) > 17 or abs(int(text)) > _MOST_EXACT:
            instead = f"a plain decimal number, or {quoted} for the text"
    elif kind == "float":
        if not _JSON_FLOAT.fullmatch(text) or not math.isfinite(float(text)):
            instead = f"a plain decimal number, or {quoted} for the text"
    elif kind == "timestamp":
        instead = quoted
    if instead:
        message = f"{named} is read as different things by different YAML readers"
        _refuse(file, node, "ambiguous-scalar", message, f"write {instead}")


class _Dumper(yaml.CSafeDumper):
    """Emits strings so that YAML 1.1, YAML 1.2 and Go's readers all see strings."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _string(dumper: _Dumper, text: str) -> yaml.Node:
    style = None
    if "\n" in text:
        # A block that keeps empty lines at its end would need a mark after it (`...`).
        style = '"' if text.endswith("\n\n") or not text.strip("\n") else "|"
    return dumper.represent_scalar(_PREFIX + "str", text, style)


_Dumper.add_representer(str, _string)
_Dumper.add_implicit_resolver(_PREFIX + "float", _ELSEWHERE_A_NUMBER, list("-+.0123456789"))
_Dumper.add_implicit_resolver(_PREFIX + "bool", _ELSEWHERE_A_BOOLEAN, list("yYnN"))

_FIRST = {"apiVersion": 0, "kind": 1, "name": 2, "metadata": 3, "spec": 4}


def dump(data: dict[str, Any]) -> str:
    """Return canonical YAML: equal data give equal bytes, whatever order their keys came in.

    data: what JSON can hold; its keys are strings.
    """
    return "".join(_lines(key, data[key]) for key in sorted(data, key=_rank))


def _lines(key: str, value: Any) -> str:
    """Return the lines of a key at the top, put together from parts that may be known already.

    Environments have most of their objects' parts in common, and emitting is what costs most.
    """
    if not isinstance(value, dict) or not value or not key.isidentifier():
        return _emitted(json.dumps({key: value}, sort_keys=True))
    parts = [
        _emitted(json.dumps({key: {inner: value[inner]}}, sort_keys=True))
        for inner in sorted(value, key=_rank)
    ]
    head, _, _ = parts[0].partition("\n")
    return f"{head}\n" + "".join(part.partition("\n")[2] for part in parts)


@lru_cache(maxsize=32768)
def _emitted(encoded: str) -> str:
    data = _ordered(json.loads(encoded))
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=2**20))


def _rank(key: str) -> tuple[int, str]:
    return _FIRST.get(key, 9), key


def _ordered(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _ordered(data[key]) for key in sorted(data, key=_rank)}
    if isinstance(data, list):
        return [_ordered(item) for item in data]
    return data
