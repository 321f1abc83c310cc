"""What a report may not show: values that open something, in whatever field or text. Pure.

What validate calls a secret (plaintext.py) is hidden, and all that looks like one: here a line too
few does no harm, and a line too many does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scripts.core import secret_detection

HIDDEN = "(not shown)"

_OPTION = re.compile(r"-{1,2}([A-Za-z][\w.-]*)[= ](.+)", re.DOTALL)
_PAIR = re.compile(
    r"(?=(?:\b([A-Za-z][\w.-]*)[\"'\\]*[ \t]*[:=]|(?<![\w-])--?([A-Za-z][\w.-]*)[ \t])"
    r"[ \t]*[\"'\\]*([^\s\"'\\,;]+))"
)
"""name=value, "name": "value", --name value: anywhere in a line, also where one holds another."""
_APPLIED = "last-applied-configuration"
"""An annotation of kubectl: it holds an object as it was; of a Secret, too."""
_PRIVATE_KEY = "PRIVATE KEY-----"


def is_wholly(kind: str, fields: Sequence[str]) -> bool:
    """Return whether nothing below a field of a kind of object is shown."""
    return (kind == "Secret" and fields[0] in ("data", "stringData")) or _short(
        fields[-1]
    ) == _APPLIED


def value(name: str, found: Any) -> Any:
    """Return a value, or all that it holds, with secrets replaced.

    name: what the field is called, or the variable that it is the value of.
    """
    if isinstance(found, dict):
        return {key: value(called(key, found), each) for key, each in found.items()}
    if isinstance(found, list):
        return [value(before, each) for before, each in _words(found)]
    if name == _APPLIED:
        return HIDDEN
    if isinstance(found, str) and not secret_detection.as_named(name, found, ()):
        return text(found)
    return HIDDEN if secret_detection.as_named(name, found, ()) else found


def called(key: Any, siblings: Mapping[str, Any]) -> str:
    """Return what a field is called: the value of a variable, as the variable is."""
    return _short(str(siblings["name"] if key == "value" and "name" in siblings else key))


def _short(key: str) -> str:
    """Return a key without the domain that annotations have before theirs."""
    return key.rpartition("/")[2]


def option(words: list[Any], index: int) -> str:
    """Return the option whose value a word of a command line is; nothing where it is of none."""
    before = words[index - 1] if 0 < index <= len(words) else ""
    is_option = isinstance(before, str) and before.startswith("-") and "=" not in before
    return before.lstrip("-") if is_option else ""


def _words(words: list[Any]) -> Iterator[tuple[str, Any]]:
    for index, word in enumerate(words):
        yield option(words, index), word


def text(found: str) -> str:
    """Return a text with the lines that hold a secret replaced; nothing of one that is a key."""
    if _PRIVATE_KEY in found:
        return HIDDEN
    lines = [HIDDEN if in_line(line) else line for line in found.split("\n")]
    if secret_detection.in_text(found) and HIDDEN not in lines:
        return HIDDEN
    return "\n".join(lines)


def in_line(line: str) -> bool:
    """Return whether a line of a text, or an argument, holds a secret."""
    if (given := _OPTION.fullmatch(line)) and secret_detection.as_named(given[1], given[2], ()):
        return True
    if secret_detection.in_text(f"{line}\n"):
        return True
    pairs = ((match[1] or match[2], match[3]) for match in _PAIR.finditer(line))
    return any(secret_detection.as_named(name, held, ()) for name, held in pairs)
