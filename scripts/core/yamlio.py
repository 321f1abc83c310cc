"""Load YAML strictly, with positions; dump canonical YAML.

Only the part of YAML is accepted that all parsers read alike. A scalar that YAML 1.1 (PyYAML, Helm,
kubectl) and YAML 1.2 (editors, other tools) read differently is an error.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never

import yaml

from scripts.core import safe_files, yaml_text
from scripts.core.edits import Action, Edit
from scripts.core.findings import Finding, UserError, may_be_secret
from scripts.core.fixes import Fix
from scripts.core.paths import ValuePath

MAX_NODES = 50_000
"""Nodes of a document after its aliases are expanded; an environment has a few thousand."""

MAX_DEPTH = 64
"""Levels of nesting in a document; a Kubernetes object has about twenty."""

_PREFIX = "tag:yaml.org,2002:"
_KINDS = {"str", "bool", "int", "float", "timestamp", "null"}
_MOST_SHOWN = 32
_MOST_EXACT = 2**53
"""Helm reads numbers as 64-bit floats: it rounds integers above this."""
_JSON_INT = re.compile(r"-?(0|[1-9][0-9]*)")
_JSON_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]+([eE][-+]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document: its data, with the types of JSON, and the position of each part."""

    file: str
    """Relative to the repository, with forward slashes."""
    data: Any
    node: yaml.Node | None
    number: int = 0
    """Of the document in the file, from 0."""

    def position(self, path: ValuePath) -> tuple[int, int]:
        """Return the line and column (from 1) of the key or item at the path.

        If the document has nothing at the path, return the position of the last part that exists.
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
        """Return a scalar as it is written in the file; None if there is none at the path."""
        node = self.node
        for part in path:
            children = _children(node) if node is not None else ()
            node = next((child for key, _, child in children if key == part), None)
        return node.value if isinstance(node, yaml.ScalarNode) else None

    def finding(self, rule: str, path: ValuePath, message: str, fix: str, **more: str) -> Finding:
        """Return a finding at the path's position, with the edits of its fix."""
        line, column = self.position(path)
        edits = fix.edits(self.file, path, self.data, self.number) if isinstance(fix, Fix) else ()
        found = Finding(self.file, line, column, rule, message, str(fix), **more)  # type: ignore[arg-type]
        return found.with_edits(edits, is_safe=isinstance(fix, Fix) and fix.is_safe)


def load(path: Path, root: Path) -> Document:
    """Return the only document of a file that people write.

    Raises UserError for YAML that parsers read differently: bytes that are not UTF-8, tabs,
    duplicate keys, keys that are not strings, tags, merge keys, recursive or exploding aliases,
    ambiguous scalars; and for a second document.
    """
    documents = load_all(path, root)
    if len(documents) == 1:
        return documents[0]
    message = "a second YAML document begins here; the file may have only one"
    fix = "move the keys of the second document into the first one, and remove the line ---"
    raise UserError(documents[1].finding("multiple-yaml-documents", [], message, fix))


def load_all(path: Path, root: Path) -> list[Document]:
    """Return all documents of a file; for an empty file, one without data. Raises as load does."""
    file, text = safe_files.name(path, root), _text(path, root)
    documents = list[Document]()
    try:
        loader = yaml.CSafeLoader(text)
        while loader.check_node():
            node = loader.get_node()
            assert node is not None  # for mypy: check_node returned true
            _inspect(node, file, len(documents))
            data = loader.construct_document(node)
            documents.append(Document(file, data, node, len(documents)))
    except yaml.reader.ReaderError as error:
        line = text.encode()[: error.position].count(b"\n") + 1
        message = f"the character U+{error.character:04X} is not allowed in YAML"
        finding = Finding(file, line, 0, "yaml-syntax", message, f"remove U+{error.character:04X}")
        raise UserError(finding) from None
    except yaml.MarkedYAMLError as error:
        raise UserError(syntax(error, file, text)) from None
    return documents or [Document(file, None, None)]


def _text(path: Path, root: Path) -> str:
    raw = safe_files.read(path, root)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].rpartition(b"\n")[2]
        line, column = raw[: error.start].count(b"\n") + 1, len(before.decode()) + 1
        message = f"the byte 0x{raw[error.start]:02x} is not valid UTF-8"
        fix = "save the file as UTF-8"
        raise UserError(
            Finding(safe_files.name(path, root), line, column, "not-utf-8", message, fix)
        ) from None


def syntax(error: yaml.MarkedYAMLError, file: str, text: str) -> Finding:
    """Return the finding for a text that is not valid YAML."""
    mark = error.problem_mark or error.context_mark
    if "quoted scalar" in (error.context or ""):
        mark = error.context_mark  # the opening quote; problem_mark is the end of the file
    conflict = re.search(r"^(<<<<<<<|>>>>>>>) ", text, re.MULTILINE)
    if conflict:
        line = text[: conflict.start()].count("\n") + 1
        message = "the file has an unresolved merge conflict"
        fix = "keep one version, and remove the lines <<<<<<<, ======= and >>>>>>>"
        return Finding(file, line, 1, "merge-conflict", message, fix)
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    problem = error.problem or "unknown error"
    lines = text.splitlines()
    here = lines[line - 1] if 0 < line <= len(lines) else ""
    if "\\t" in problem or "\t" in here[: len(here) - len(here.lstrip())]:
        message = "the line is indented with a tab, which YAML does not allow"
        return Finding(file, line, column, "yaml-tab", message, "indent with spaces")
    message = f"invalid YAML: {', '.join(part for part in (error.context, problem) if part)}"
    fix = next(
        (fix for words, fix in _FIXES.items() if words in message),
        "correct the YAML in this line or above it",
    )
    return Finding(file, line, column, "yaml-syntax", message, fix)


_FIXES = {
    "undefined alias": "write the value itself, or define the anchor (&name) above its alias",
    "quoted scalar": "close the quotation mark that opens here",
    "expected ',' or ']'": "close the bracket that opens here: write ]",
    "expected ',' or '}'": "close the brace that opens here: write }",
    "maximum nesting depth": "write fewer levels of [ and {, or close those that are open",
    "mapping values are not allowed": "put a text that contains a colon and a space in quotes",
    "block mapping, did not find expected key": (
        "indent this line exactly like the other keys of its mapping"
    ),
}
"""Words of libyaml → what to write."""


def _children(node: yaml.Node) -> Iterator[tuple[str | int, yaml.Node, yaml.Node]]:
    """Yield each key or index, the node with its position, and the node of its value."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key.value, key, value
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield index, item, item


def _reject(
    file: str, node: yaml.Node, rule: str, message: str, fix: str, edit: Edit | None = None
) -> Never:
    """Raise UserError at the node; edit: what carries out the fix.

    It is safe if the fix does not depend on what is meant.
    """
    mark = node.start_mark
    found = Finding(file, mark.line + 1, mark.column + 1, rule, message, fix)
    own = [edit] if edit and not may_be_secret(edit.path) else []
    raise UserError(found.with_edits(own, is_safe=" if " not in fix))


def _inspect(root: yaml.Node, file: str, number: int) -> None:
    """Raise UserError for the first part that is valid YAML, but not accepted here.

    number: of the document in the file, from 0.
    """
    count = 0

    def visit(node: yaml.Node, above: tuple[int, ...], path: tuple[str | int, ...]) -> None:
        nonlocal count
        count += 1
        if id(node) in above:
            _reject(
                file,
                node,
                "recursive-yaml-alias",
                "an alias (*name) is inside the value that it stands for: the value has no end",
                "write a value instead of the alias",
            )
        if len(above) > MAX_DEPTH:
            message = f"the document has more than {MAX_DEPTH} levels of nesting"
            fix = f"write at most {MAX_DEPTH} levels of mappings and lists"
            _reject(file, node, "yaml-too-deep", message, fix)
        if count > MAX_NODES:
            _reject(
                file,
                root,
                "yaml-bomb",
                f"the document has more than {MAX_NODES} nodes after its aliases are expanded",
                "write values instead of aliases (*name) of values that contain aliases",
            )
        if isinstance(node, yaml.ScalarNode):
            _inspect_scalar(node, file, path, number)
            return
        if node.tag not in (_PREFIX + "map", _PREFIX + "seq"):
            _reject_tag(file, node)
        seen: dict[str, yaml.Node] = {}
        for key, place, value in _children(node):
            if isinstance(node, yaml.MappingNode):
                _inspect_key(place, seen, file)
                seen[str(key)] = place
            visit(value, (*above, id(node)), (*path, key))

    visit(root, (), ())


def _reject_tag(file: str, node: yaml.Node) -> Never:
    message = f"the YAML tag {node.tag.replace(_PREFIX, '!!')} is not supported"
    fix = f"remove {node.tag.replace(_PREFIX, '!!')}, and write a plain value"
    _reject(file, node, "unsupported-yaml-tag", message, fix)


def _inspect_key(key: yaml.Node, seen: dict[str, yaml.Node], file: str) -> None:
    if key.tag == _PREFIX + "merge":
        _reject(
            file,
            key,
            "yaml-merge-key",
            "the merge key << is not supported: YAML 1.2 does not have it",
            "write the keys themselves instead of <<",
        )
    if not isinstance(key, yaml.ScalarNode):
        message = "a mapping or a list is used as a key, which must be a string"
        fix = "write a string as the key; if {{ … }} is meant as a text, put it in quotes"
        _reject(file, key, "non-string-key", message, fix)
    if key.tag != _PREFIX + "str" or (not key.style and _is_ambiguous(key.value)):
        name, quoted = _shown(key.value)
        is_shown = name == key.value
        subject = f"the key {name}" if is_shown else "the key here"
        message = f"{subject} is not a string in every YAML parser"
        fix = f"write the key in quotes: {quoted}" if is_shown else "write the key in quotes"
        _reject(file, key, "non-string-key", message, fix)
    first = seen.get(key.value)
    if first is not None:
        line = first.start_mark.line + 1
        message = f"duplicate key {key.value}: line {line} already has it"
        fix = f"remove the key here or the one in line {line}, whichever has the wrong value"
        _reject(file, key, "duplicate-key", message, fix)


def _is_ambiguous(text: str) -> bool:
    """Return whether another parser reads the unquoted string as a number or a boolean."""
    return bool(
        yaml_text.NUMBER_IN_OTHER_PARSERS.fullmatch(text)
        or yaml_text.BOOLEAN_IN_OTHER_PARSERS.fullmatch(text)
    )


def _shown(text: str, path: ValuePath = ()) -> tuple[str, str]:
    """Return a scalar as messages show it, without and with quotes.

    Messages do not repeat a long scalar, which could be a private key without quotes.
    """
    if len(text) > _MOST_SHOWN or may_be_secret(path):
        return "the value here", "the value in quotes"
    return text, f"'{text}'"


_INVISIBLE = re.compile("[\u00a0\u00ad\u2007\u200b\u2028\u2029\u202f\u2060\ufeff]")
"""What looks like a space or like nothing, and comes from web pages and word processors."""


def _reject_invisible(character: str, node: yaml.Node, file: str) -> Never:
    code = f"U+{ord(character):04X}"
    space = unicodedata.category(character) in ("Zs", "Zl", "Zp")
    what = "looks like a space" if space else "is invisible"
    message = f"the value contains the character {code}, which {what}: programs read another value"
    fix = f"replace {code} by a space" if space else f"remove {code}"
    _reject(file, node, "invisible-character", message, f"{fix}: type the value again")


def _inspect_scalar(
    node: yaml.ScalarNode, file: str, path: tuple[str | int, ...], document: int
) -> None:
    text, kind = node.value, node.tag.removeprefix(_PREFIX)
    if not text.isascii() and (found := _INVISIBLE.search(text)):
        _reject_invisible(found[0], node, file)
    shown, quoted = _shown(text, path)
    number = f"{quoted} if a string is meant, otherwise a decimal number such as 1000 or 0.5"
    instead = ""
    new: str | bool = text
    if kind == "value" and not node.style:  # YAML 1.1's = without quotes
        instead = quoted
    elif (kind != "str" and node.style) or kind not in _KINDS:
        _reject_tag(file, node)
    elif node.style:
        return
    elif kind == "str":
        if yaml_text.NUMBER_IN_OTHER_PARSERS.fullmatch(text):
            instead = number
        elif yaml_text.BOOLEAN_IN_OTHER_PARSERS.fullmatch(text):
            new = text in "yY"
            instead = f"{str(new).lower()}, or {quoted} if a string is meant"
    elif kind == "bool":
        if text.lower() not in ("true", "false"):
            new = text.lower() in ("yes", "on")
            instead = f"{str(new).lower()}, or {quoted} if a string is meant"
    elif kind == "int":
        if not _JSON_INT.fullmatch(text):
            instead = number
        elif len(text) > 17 or abs(int(text)) > _MOST_EXACT:
            message = f"{shown} is above 2^53, and Helm rounds such numbers"
            edit = Edit(file, Action.WRITE, path, text, document=document)
            _reject(file, node, "inexact-number", message, f"write {quoted}", edit)
    elif kind == "float":
        if not _JSON_FLOAT.fullmatch(text) or not math.isfinite(float(text)):
            instead = number
    elif kind == "timestamp":
        instead = quoted
    if instead:
        message = f"{shown} is not the same value in every YAML parser"
        # What number is meant is not known.
        right = Edit(file, Action.WRITE, path, new, document=document)
        _reject(
            file,
            node,
            "ambiguous-scalar",
            message,
            f"write {instead}",
            right if instead != number else None,
        )


def dump(data: dict[str, Any]) -> str:
    """Return canonical YAML: equal data give equal bytes, whatever the order of their keys.

    data: of JSON's types, so that all keys are strings.
    """
    return yaml_text.text(data)


def flow(value: Any) -> str:
    """Return a value in one line of YAML, as an example to copy."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{flow(key)}: {flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(flow(each) for each in value) + "]"
    if isinstance(value, str):
        try:
            plain = yaml.safe_load(f"[{value}]") == [value] and not _is_ambiguous(value)
        except (yaml.YAMLError, ValueError):
            plain = False
        if plain and not value.startswith("-"):
            return value
    return json.dumps(value, ensure_ascii=False)
