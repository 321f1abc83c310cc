"""Read the YAML that templates render, part by part, as environments share most parts.

A parser of YAML decides what each part is; here, a document is only divided where that can't change
what it is: before a key or an item of its outermost block, and so on inwards. If a part is anything
else than it must be for that, the parser gets the document as a whole.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any

from scripts.core import yaml_text

Parser = Callable[[str], str]
"""Returns a mapping in YAML as JSON; raises ValueError if the text is not one."""

_SHORT = 400
"""A part of fewer characters is not divided."""
_LONG = 20_000
"""A document of more characters is not kept: it has dashboards, which each environment has alone"""

_COPIED = (dict, list, str)
_NAME = re.compile("[a-z][a-z0-9-]*[a-z0-9]")
_WORD = 5
"""Letters in the longest word that stands for another value than its letters: false."""

_BEGIN = re.compile(r"\n---(?=\s|$)")
_MARKS = re.compile(r"\n(?:---|\.\.\.|%)")
"""How marks of documents, and directives, begin."""
_OTHER_ENDS = re.compile("[\x85\u2028\u2029\ufeff]")
"""What also ends a line in YAML 1.1, and the byte order mark."""
_FIRST = re.compile(r"(?: *(?:#.*)?\n)*( *)(- |[A-Za-z_])")
"""The first line that is not a comment: its indentation, and how it goes on."""
_HEAD = re.compile(r" *[A-Za-z_][\w./-]*: *\n")
"""The line of a key with a value in the next lines."""
_TEXT = re.compile(r" *[A-Za-z_][\w./-]*: \|\n( +)[^ \n]")
"""The line of a key with a literal block, and the indentation of the block."""
_ITEM = re.compile(r" *- [A-Za-z_][\w./-]*:[ \n]")
"""The first line of an item that is a mapping."""


class _NotSimpleError(ValueError):
    """The document can't be divided here."""


def split(text: str) -> list[str]:
    """Return the documents of a text."""
    marks = [match.start() for match in _BEGIN.finditer(f"\n{text}")]
    # Searched in a text that is longer by one; the mark itself has three characters.
    starts, ends = [0, *(mark + 3 for mark in marks)], [*marks, len(text)]
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]


def data(text: str, parser: Parser, name: str = "") -> Any:
    """Return the data of a document, which belong to the caller alone; raises as the parser.

    name: a word in which environments differ, such as their namespace. Documents that differ in
    nothing else are read once, with another word instead: no parser sees more than a word in it.
    """
    stand_in = _stand_in(name)
    read = _document if len(text) <= _LONG else _document.__wrapped__
    # Behind a backslash, a word could be more than itself.
    if stand_in and name in text and stand_in not in text and "\\" not in text:
        with contextlib.suppress(ValueError):
            return _copied(read(text.replace(name, stand_in), parser), stand_in, name)
    return _copied(read(text, parser))


@lru_cache
def _stand_in(name: str) -> str:
    """Return a word of the same length that is found nowhere; empty for a name that is not a word.

    A word has a letter that no number, time or constant has, so that it is a text wherever it is.
    """
    is_word = _NAME.fullmatch(name) and set(name) & set("ghjklmpqrsuvwy") and len(name) > _WORD
    # No end of it is a beginning of it, so that what stands around it makes no other one.
    return f"y{'q' * (len(name) - 2)}w" if is_word else ""


def _copied(value: Any, old: str = "", new: str = "") -> Any:
    """Return a copy, with a new word instead of an old one in all texts."""
    if type(value) is str:
        return value.replace(old, new) if old else value
    if type(value) is list:
        return [_copied(v, old, new) if type(v) in _COPIED else v for v in value]
    if type(value) is not dict:
        return value
    copy = {k: _copied(v, old, new) if type(v) in _COPIED else v for k, v in value.items()}
    if old and any(old in key for key in copy):
        return dict(sorted((key.replace(old, new), v) for key, v in copy.items()))
    return copy


def _is_odd(text: str) -> bool:
    """Return whether a text has several documents, or lines that end in another way."""
    return (
        "\r" in text
        or _MARKS.search(f"\n{text}") is not None
        or (not text.isascii() and _OTHER_ENDS.search(text) is not None)
    )


@lru_cache(maxsize=1024)
def _document(text: str, parser: Parser) -> Any:
    if not _is_odd(text):
        with contextlib.suppress(ValueError):
            found = _node(text, parser)
            if isinstance(found, dict):
                return found
    return json.loads(parser(text))


def _node(text: str, parser: Parser) -> Any:
    """Return the data of a mapping or a list of several lines."""
    first = _FIRST.match(text)
    if not first:
        raise _NotSimpleError
    indent = len(first[1])
    # A parser may end the document at such a line, and say nothing of the rest.
    is_list = first[2] == "- "
    less = _less(indent + 1, f" {{{indent}}}- | *#|") if is_list else _less(indent)
    if (indent or is_list) and less.search(f"\n{text}"):
        raise _NotSimpleError
    if is_list:
        return [item for part in _parts(text, indent, "- ") for item in _items(part, parser)]
    entries = dict[str, Any]()
    for part in _parts(text, indent, "[A-Za-z_]"):
        more = _entry(part, indent, parser)
        if more.keys() & entries.keys():
            raise _NotSimpleError
        entries |= more
    return dict(sorted(entries.items()))


def _parts(text: str, indent: int, sign: str) -> list[str]:
    """Return the parts that begin with such a sign; only comments stand before the first."""
    # A pattern that begins with a line end takes a tenth of the time of one that begins with ^.
    starts = [match.start() for match in _beginning(indent, sign).finditer(f"\n{text}")]
    return [text[i:j] for i, j in pairwise([*starts, len(text)])]


@lru_cache
def _beginning(indent: int, sign: str) -> re.Pattern[str]:
    return re.compile(f"\n(?={' ' * indent}{sign})")


@lru_cache
def _less(indent: int, others: str = " *#|") -> re.Pattern[str]:
    """Return a pattern of lines with less indentation, apart from empty ones and such others."""
    return re.compile(f"\n(?! {{{indent}}}|{others} *(?:\n|\\Z))")


def _entry(part: str, indent: int, parser: Parser) -> dict[str, Any]:
    """Return the data of a key with its value."""
    if len(part) < _SHORT:
        return _mapping(part, parser)
    if head := _HEAD.match(part):
        rest = part[head.end() :]
        first = _FIRST.match(rest)
        if first and len(first[1]) + (first[2] == "- ") > indent:
            return {_key(head[0], parser): _node(rest, parser)}
    elif (block := _TEXT.match(part)) and len(block[1]) > indent:
        text = _literal(part[block.start(1) :], len(block[1]))
        if text:
            return {_key(part[: block.start(1)].replace("|", ""), parser): text}
    return _mapping(part, parser)


def _items(part: str, parser: Parser) -> list[Any]:
    """Return the data of an item of a list, as a list."""
    if len(part) >= _SHORT and _ITEM.match(part):
        return [_node(part.replace("- ", "  ", 1), parser)]
    return list(_mapping(f"a:\n{part}", parser)["a"])


def _literal(lines: str, indent: int) -> str:
    """Return the text of a literal block; empty if only a parser knows it."""
    lines = f"\n{lines}"
    if lines[-1] != "\n" or _less(indent, "").search(lines):
        return ""
    text = lines.replace(f"\n{' ' * indent}", "\n")[1:].rstrip("\n") + "\n"
    return text if yaml_text.is_plain_block(text) else ""


def _key(line: str, parser: Parser) -> str:
    """Return the key of a line without a value, or with that of a literal block."""
    key = line.strip().removesuffix("|").strip().removesuffix(":")
    if len(key) > _WORD:
        return key
    ((key, value),) = _mapping(line, parser).items()
    if value is not None:
        raise _NotSimpleError
    return key


@lru_cache(maxsize=8192)
def _mapping(text: str, parser: Parser) -> dict[str, Any]:
    found = json.loads(parser(text))
    if not isinstance(found, dict):
        raise _NotSimpleError
    return found
