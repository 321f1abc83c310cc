"""Hide secrets from reports, in whatever field or text they are. Pure.

It hides what validate detects as a secret (core/secret_detection.py), and all that looks like one:
a hidden line does no harm, but a shown secret does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scripts.core import secret_detection

HIDDEN = secret_detection.HIDDEN

_OPTION = re.compile(r"-{1,2}([A-Za-z][\w.-]*)[= ](.+)", re.DOTALL)
_PAIR = re.compile(
    r"(?=(?:\b([A-Za-z][\w.-]*)[\"'\\]*[ \t]*[:=]|(?<![\w-])--?([A-Za-z][\w.-]*)[ \t])"
    r"[ \t]*[\"'\\]*([^\s\"'\\,;]+))"
)
"""name=value, "name": "value", --name value: anywhere in a line, also nested."""
_APPLIED = "last-applied-configuration"
"""An annotation of kubectl with the whole last applied object, even of a Secret."""
_PRIVATE_KEY = "PRIVATE KEY-----"


def is_wholly(kind: str, fields: Sequence[str]) -> bool:
    """Return whether a field of a kind of object is hidden with everything below it."""
    return (kind == "Secret" and fields[0] in ("data", "stringData")) or _short(
        fields[-1]
    ) == _APPLIED


def value(name: str, data: Any) -> Any:
    """Return a value with all secrets in it replaced.

    name: of the field, or of the variable whose value it is.
    """
    if isinstance(data, dict):
        return {key: value(called(key, data), each) for key, each in data.items()}
    if isinstance(data, list):
        return [value(option_name, each) for option_name, each in _words(data)]
    if name == _APPLIED:
        return HIDDEN
    if isinstance(data, str) and not secret_detection.as_named(name, data, ()):
        return text(data)
    return HIDDEN if secret_detection.as_named(name, data, ()) else data


def called(key: Any, siblings: Mapping[str, Any]) -> str:
    """Return the name of a field; for the value of a variable, the variable's name."""
    return _short(str(siblings["name"] if key == "value" and "name" in siblings else key))


def _short(key: str) -> str:
    """Return the key of an annotation without its domain."""
    return key.rpartition("/")[2]


def option(words: list[Any], index: int) -> str:
    """Return the option whose value a word of a command line is; empty if there is none."""
    before = words[index - 1] if 0 < index <= len(words) else ""
    is_option = isinstance(before, str) and before.startswith("-") and "=" not in before
    return before.lstrip("-") if is_option else ""


def _words(words: list[Any]) -> Iterator[tuple[str, Any]]:
    for index, word in enumerate(words):
        yield option(words, index), word


def text(data: str) -> str:
    """Return a text without lines that contain a secret; a private key is hidden whole."""
    if _PRIVATE_KEY in data:
        return HIDDEN
    lines = [HIDDEN if in_line(line) else line for line in data.split("\n")]
    if secret_detection.in_text(data) and HIDDEN not in lines:
        return HIDDEN
    return "\n".join(lines)


def in_line(line: str) -> bool:
    """Return whether a line of a text, or an argument, contains a secret."""
    if (match := _OPTION.fullmatch(line)) and secret_detection.as_named(match[1], match[2], ()):
        return True
    if secret_detection.in_text(f"{line}\n"):
        return True
    pairs = ((match[1] or match[2], match[3]) for match in _PAIR.finditer(line))
    return any(secret_detection.as_named(name, content, ()) for name, content in pairs)
