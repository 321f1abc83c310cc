"""Texts → the secrets in them: passwords, tokens, private keys, by their names and their looks."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any

_STRONG = re.compile(r"passw(or)?d|passwd|passphrase|mnemonic", re.IGNORECASE)
_WEAK = re.compile(
    r"secret|token|jwt|credentials?|(private|api|access|signing|encryption)[-_.]?key([-_.]?id)?",
    re.IGNORECASE,
)
_NAMED = re.compile(rf"(^|.*[-_.]|.*[a-z])({_STRONG.pattern}|{_WEAK.pattern})$", re.IGNORECASE)
"""What a field is called that holds a secret itself: not its file, its name, its address."""
_MAY_BE_KEY = re.compile(r"key|secret|jwt|seed", re.IGNORECASE)
_IS_PUBLIC = re.compile(r"pub|hash|sum|peer|node-?id|digest|root", re.IGNORECASE)
_HEX_KEY = re.compile(r"(0x)?(08021220)?[0-9a-fA-F]{64}")
"""32 bytes; those of Maru with the head of their protobuf."""
_NOT_ITSELF = re.compile(
    r"[$<{/.].*|.*\$[({A-Za-z].*|true|false|null|none|unused|0x[0-9a-fA-F]{40}", re.IGNORECASE
)
"""A variable, a placeholder, a path, a switch, an address: nothing that opens anything."""
_ASSIGNED = re.compile(
    rf"^[ \t]*(?:export |- )?[\"']?([\w.-]*(?:{_STRONG.pattern}|{_WEAK.pattern}|key|seed))[\"']?"
    r"[ \t]*[:=][ \t]*[\"']?([^\s\"',;#)]+)",
    re.IGNORECASE,
)
_HINTS = ("passw", "passphrase", "mnemonic", "secret", "token", "jwt", "credential", "key", "seed")
"""One of them is in every such name: looking for words is a hundred times faster than matching."""
_REPORTS = re.compile(r"ethstats[\"']?[ \t]*[= :][ \t]*[\"']?[^\s:@\"'$]+:([^\s@\"'$]+)@")

_KNOWN = (
    ("-----BEGIN ", re.compile(r"-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----"), "a private key"),
    ("AKIA", re.compile(r"\bAKIA[A-Z0-9]{16}\b"), "an access key of AWS"),
    ("ASIA", re.compile(r"\bASIA[A-Z0-9]{16}\b"), "an access key of AWS"),
    ("eyJ", re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+"), "a JSON web token"),
    ("://", re.compile(r"://[^/\s:@$<{\"']*:[^/\s@$<{\"']+@"), "an address with a password"),
    ("ghp_", re.compile(r"\bghp_[A-Za-z0-9]{36}\b"), "a token of GitHub"),
    ("github_pat_", re.compile(r"\bgithub_pat_\w{22,}"), "a token of GitHub"),
    ("ethstats", _REPORTS, "EthStats' password"),
)
"""A text that every such secret has, what it looks like, and what it is called."""


def as_named(name: str, value: Any, references: Collection[str]) -> str:
    """Return what a field holds by its name; nothing where that is no secret."""
    text = str(value).strip() if isinstance(value, str | int) else ""
    if isinstance(value, bool) or not text or "\n" in text:
        return ""
    if is_key(name, text):
        return "32 bytes of a key"
    named = _NAMED.fullmatch(name)
    if not named or _NOT_ITSELF.fullmatch(text) or text in references:
        return ""
    if is_password(named[2]):
        return "a password"
    return "" if text.isdecimal() else "a secret"


def is_password(name: str) -> bool:
    """Return whether a name says that it is of a password."""
    return bool(_STRONG.search(name))


def is_key(name: str, value: str) -> bool:
    """Return whether a value is 32 bytes in hex, of which the name says that they are secret."""
    return bool(
        _HEX_KEY.fullmatch(value) and _MAY_BE_KEY.search(name) and not _IS_PUBLIC.search(name)
    )


@lru_cache(maxsize=4096)
def in_text(text: str) -> str:
    """Return what secret a text has somewhere; nothing where it has none."""
    for hint, pattern, what in _KNOWN:
        if hint in text and pattern.search(text):
            return what
    for line in _lines_with_hints(text) if "\n" in text else ():
        found = _ASSIGNED.match(line)
        if not found:
            continue
        name, value = found[1], found[found.lastindex or 1]
        what = as_named(name, value, ())
        # In a file, what is called a secret may as well be its name.
        if what and (what != "a secret" or _looks_random(value)):
            return str(what)
    return ""


def _lines_with_hints(text: str) -> Iterator[str]:
    lower, seen = text.lower(), set[int]()
    for hint in _HINTS:
        at = lower.find(hint)
        while at >= 0:
            start, end = text.rfind("\n", 0, at) + 1, text.find("\n", at)
            end = len(text) if end < 0 else end
            if start not in seen:
                seen.add(start)
                yield text[start:end]
            at = lower.find(hint, end)


def _looks_random(value: str) -> bool:
    return len(value) >= 16 and bool(re.search("[0-9]", value) and re.search("[A-Za-z]", value))
