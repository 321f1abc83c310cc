"""Detect secrets in texts: passwords, tokens and private keys, by their names and their form."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any

from scripts.core import secret_forms

_STRONG = r"passw(or)?d|passwd|passphrase|mnemonic"
_WEAK = r"secret|token|jwt|credentials?|(private|api|access|signing|encryption)[-_.]?key([-_.]?id)?"
_NAMED = rf"(^|.*[-_.]|.*[a-z])({_STRONG}|{_WEAK})$"
"""The name of a field that holds a secret itself, not the secret's file, name or URL."""
_MAY_BE_KEY = r"key|secret|jwt|seed"
_IS_PUBLIC = r"pub|hash|sum|peer|node-?id|digest|root"
_HEX_KEY = r"(0x)?(08021220)?[0-9a-fA-F]{64}"
"""32 bytes; Maru's keys have the header of their protobuf encoding in front."""
_HARMLESS = r"[$<{/.].*|.*\$[({A-Za-z].*|true|false|null|none|unused|0x[0-9a-fA-F]{40}"
"""A variable, a placeholder, a path, a boolean or an account's address: no secret."""
_ASSIGNED = (
    rf"^[ \t]*(?:export |- )?[\"']?([\w.-]*(?:{_STRONG}|{_WEAK}|key|seed))[\"']?"
    r"[ \t]*[:=][ \t]*[\"']?([^\s\"',;#)]+)"
)
_HINTS = ("passw", "passphrase", "mnemonic", "secret", "token", "jwt", "credential", "key", "seed")
"""Each such name contains one of them; searching for words is 100 times faster than matching."""
_REPORTS = r"ethstats[\"']?[ \t]*[= :][ \t]*[\"']?[^\s:@\"'$]+:([^\s@\"'$]+)@"

_KNOWN = (
    ("-----BEGIN ", r"-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----", "a private key"),
    ("AKIA", r"\bAKIA[A-Z0-9]{16}\b", "an AWS access key"),
    ("ASIA", r"\bASIA[A-Z0-9]{16}\b", "an AWS access key"),
    ("eyJ", r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+", "a JSON web token"),
    ("://", r"://[^/\s:@$<{\"']*:[^/\s@$<{\"']+@", "a URL with a password"),
    ("ghp_", r"\bghp_[A-Za-z0-9]{36}\b", "a GitHub token"),
    ("github_pat_", r"\bgithub_pat_\w{22,}", "a GitHub token"),
    ("ethstats", _REPORTS, "an EthStats password"),
    ("infura.io/", r"\binfura\.io/(?:ws/)?v3/[0-9a-f]{32}\b", "an Infura API key"),
    ("alchemy.com/", r"\balchemy\.com/v2/[\w-]{20,}", "an Alchemy API key"),
    ("quiknode.pro/", r"\bquiknode\.pro/[0-9a-f]{32,}", "a QuickNode API key"),
    ("/webhooks/", r"/api/webhooks/[0-9]{17,20}/[\w-]{60,}", "a Discord webhook"),
    (":AA", r"\b[0-9]{8,10}:AA[\w-]{33}\b", "a Telegram bot token"),
    ("AccountKey=", r"AccountKey=[A-Za-z0-9+/]{86}==", "an Azure storage key"),
    ("earer ", r"\b[Bb]earer (?=\S*[0-9])[A-Za-z0-9_.~+/-]{20,}=*", "a bearer token"),
    (
        "asic ",
        r"\b[Bb]asic (?=\S*[0-9=])[A-Za-z0-9+/]{16,}={0,2}(?![\w/ ])",
        "a password for HTTP",
    ),
)
"""Of each kind of secret: a text that is always part of it, its form, and its name in messages.

A form is compiled only for a text with its part: compiling all takes longer than most commands."""


def as_named(name: str, value: Any, references: Collection[str]) -> str:
    """Return the kind of secret that a field holds, by the field's name; empty if none.

    references: values that are names of other objects, such as Secrets.
    """
    text = str(value).strip() if isinstance(value, str | int) else ""
    if isinstance(value, bool) or not text or "\n" in text:
        return ""
    if is_key(name, text):
        return "a 32-byte key"
    match = re.fullmatch(_NAMED, name, re.IGNORECASE)
    if not match or re.fullmatch(_HARMLESS, text, re.IGNORECASE) or text in references:
        return ""
    if is_password(match[2]):
        return "a password"
    return "" if text.isdecimal() else "a secret"


def is_password(name: str) -> bool:
    """Return whether a name is that of a password."""
    return bool(re.search(_STRONG, name, re.IGNORECASE))


def is_key(name: str, value: str) -> bool:
    """Return whether a value is 32 bytes in hex, under a name of a secret."""
    return bool(
        re.fullmatch(_HEX_KEY, value)
        and re.search(_MAY_BE_KEY, name, re.IGNORECASE)
        and not re.search(_IS_PUBLIC, name, re.IGNORECASE)
    )


@lru_cache(maxsize=4096)
def in_text(text: str) -> str:
    """Return the kind of the first secret in a text; empty if there is none."""
    for hint, pattern, kind in _KNOWN:
        if hint in text and re.search(pattern, text):
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
    match = re.match(_ASSIGNED, line, re.IGNORECASE)
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
            text = re.sub(pattern, _hidden, text)
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
