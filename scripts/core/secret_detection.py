"""Detect secrets in texts: passwords, tokens and private keys, by their names and their form."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any

from scripts.core import secret_forms

_STRONG = re.compile(r"passw(or)?d|passwd|passphrase|mnemonic", re.IGNORECASE)
_WEAK = re.compile(
    r"secret|token|jwt|credentials?|(private|api|access|signing|encryption)[-_.]?key([-_.]?id)?",
    re.IGNORECASE,
)
_NAMED = re.compile(rf"(^|.*[-_.]|.*[a-z])({_STRONG.pattern}|{_WEAK.pattern})$", re.IGNORECASE)
"""The name of a field that holds a secret itself, not the secret's file, name or URL."""
_MAY_BE_KEY = re.compile(r"key|secret|jwt|seed", re.IGNORECASE)
_IS_PUBLIC = re.compile(r"pub|hash|sum|peer|node-?id|digest|root", re.IGNORECASE)
_HEX_KEY = re.compile(r"(0x)?(08021220)?[0-9a-fA-F]{64}")
"""32 bytes; Maru's keys have the header of their protobuf encoding in front."""
_NO_SECRET = re.compile(
    r"[$<{/.].*|.*\$[({A-Za-z].*|true|false|null|none|unused|0x[0-9a-fA-F]{40}", re.IGNORECASE
)
"""A variable, a placeholder, a path, a boolean or an account's address: no secret."""
_ASSIGNED = re.compile(
    rf"^[ \t]*(?:export |- )?[\"']?([\w.-]*(?:{_STRONG.pattern}|{_WEAK.pattern}|key|seed))[\"']?"
    r"[ \t]*[:=][ \t]*[\"']?([^\s\"',;#)]+)",
    re.IGNORECASE,
)
_HINTS = ("passw", "passphrase", "mnemonic", "secret", "token", "jwt", "credential", "key", "seed")
"""Each such name contains one of them; searching for words is 100 times faster than matching."""
_REPORTS = re.compile(r"ethstats[\"']?[ \t]*[= :][ \t]*[\"']?[^\s:@\"'$]+:([^\s@\"'$]+)@")

_KNOWN = (
    ("-----BEGIN ", re.compile(r"-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----"), "a private key"),
    ("AKIA", re.compile(r"\bAKIA[A-Z0-9]{16}\b"), "an AWS access key"),
    ("ASIA", re.compile(r"\bASIA[A-Z0-9]{16}\b"), "an AWS access key"),
    ("eyJ", re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+"), "a JSON web token"),
    ("://", re.compile(r"://[^/\s:@$<{\"']*:[^/\s@$<{\"']+@"), "a URL with a password"),
    ("ghp_", re.compile(r"\bghp_[A-Za-z0-9]{36}\b"), "a GitHub token"),
    ("github_pat_", re.compile(r"\bgithub_pat_\w{22,}"), "a GitHub token"),
    ("ethstats", _REPORTS, "an EthStats password"),
    ("infura.io/", re.compile(r"\binfura\.io/(?:ws/)?v3/[0-9a-f]{32}\b"), "an Infura API key"),
    ("alchemy.com/", re.compile(r"\balchemy\.com/v2/[\w-]{20,}"), "an Alchemy API key"),
    ("quiknode.pro/", re.compile(r"\bquiknode\.pro/[0-9a-f]{32,}"), "a QuickNode API key"),
    ("/webhooks/", re.compile(r"/api/webhooks/[0-9]{17,20}/[\w-]{60,}"), "a Discord webhook"),
    (":AA", re.compile(r"\b[0-9]{8,10}:AA[\w-]{33}\b"), "a Telegram bot token"),
    ("AccountKey=", re.compile(r"AccountKey=[A-Za-z0-9+/]{86}=="), "an Azure storage key"),
    ("earer ", re.compile(r"\b[Bb]earer (?=\S*[0-9])[A-Za-z0-9_.~+/-]{20,}=*"), "a bearer token"),
    (
        "asic ",
        re.compile(r"\b[Bb]asic (?=\S*[0-9=])[A-Za-z0-9+/]{16,}={0,2}(?![\w/ ])"),
        "a password for HTTP",
    ),
)
"""Of each kind of secret: a text that is always part of it, its form, and its name in messages."""


def as_named(name: str, value: Any, references: Collection[str]) -> str:
    """Return the kind of secret that a field holds, by the field's name; empty if none.

    references: values that are names of other objects, such as Secrets.
    """
    text = str(value).strip() if isinstance(value, str | int) else ""
    if isinstance(value, bool) or not text or "\n" in text:
        return ""
    if is_key(name, text):
        return "a 32-byte key"
    match = _NAMED.fullmatch(name)
    if not match or _NO_SECRET.fullmatch(text) or text in references:
        return ""
    if is_password(match[2]):
        return "a password"
    return "" if text.isdecimal() else "a secret"


def is_password(name: str) -> bool:
    """Return whether a name is that of a password."""
    return bool(_STRONG.search(name))


def is_key(name: str, value: str) -> bool:
    """Return whether a value is 32 bytes in hex, under a name of a secret."""
    return bool(
        _HEX_KEY.fullmatch(value) and _MAY_BE_KEY.search(name) and not _IS_PUBLIC.search(name)
    )


@lru_cache(maxsize=4096)
def in_text(text: str) -> str:
    """Return the kind of the first secret in a text; empty if there is none."""
    for hint, pattern, kind in _KNOWN:
        if hint in text and pattern.search(text):
            return kind
    for form, *_ in secret_forms.tokens(text):
        return f"a token ({form})"
    for line in _lines_with_hints(text) if "\n" in text else ():
        if kind := _assigned(line):
            return kind
    return ""


@lru_cache(maxsize=4096)
def _assigned(line: str) -> str:
    """Return the kind of secret that a line of a file assigns to a name; empty if there is none."""
    match = _ASSIGNED.match(line)
    if not match:
        return ""
    name, value = match[1], match[match.lastindex or 1]
    kind = as_named(name, value, ())
    # In a file, a field called "secret" may also hold the name of a Secret.
    return str(kind) if kind and (kind != "a secret" or _looks_random(value)) else ""


HIDDEN = "(not shown)"


def masked(text: str) -> str:
    """Return a text with the secrets in it replaced that their form gives away.

    Every output passes it: messages, differences and reports.
    """
    for hint, pattern, _ in _KNOWN:
        if hint in text:
            text = pattern.sub(_hidden, text)
    for _, start, end in sorted(secret_forms.tokens(text), key=lambda each: -each[1]):
        text = text[:start] + HIDDEN + text[end:]
    return text


def _hidden(match: re.Match[str]) -> str:
    """Return what is shown instead of a secret: a URL keeps its scheme and @, for its host."""
    if match[0].startswith("://"):
        return f"://{HIDDEN}@"
    return match[0] if match[0].startswith("-----BEGIN") else HIDDEN


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
