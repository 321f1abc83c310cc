"""The forms of tokens that gitleaks knows, as a table: scripts/core/secret-forms.json.

The table is made from config/gitleaks.toml of gitleaks/gitleaks at the version of tools/gitleaks:

    git show v8.30.1:config/gitleaks.toml >gitleaks.toml
    python -m scripts.core.secret_forms v8.30.1 gitleaks.toml

It has the rules that recognize a token by itself, such as glpat-…, and not those that need a name
beside it. `nox -s policy` runs gitleaks with all of its rules.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections import Counter
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("secret-forms.json")

_OF_A_NAME = "{0,50}?"
"""In each rule for a name and a value."""
_LEFT_OUT = {
    "curl-auth-header",
    "curl-auth-user",
    "facebook-access-token",
    "flutterwave-public-key",
    "freemius-secret-key",
    "jwt",
    "jwt-base64",
    "kubernetes-secret-yaml",
    "nuget-config-password",
    "private-key",
    "sourcegraph-access-token",
    "twilio-api-key",
}
"""Rules for commands, for other files, and for forms that digests or secret_detection.py have."""
_SHORTEST = 16
"""No token is shorter."""
_LINES = 64
"""Lines of a block: files that differ in a name have most of their blocks in common."""


@dataclass(frozen=True, slots=True)
class Form:
    """A form of tokens."""

    id: str
    keywords: tuple[str, ...]
    """In lower case, on one line; one of them is in each text with such a token."""
    pattern: re.Pattern[str]
    entropy: float
    """The least Shannon entropy of a token, in bits for each character."""
    allowed: tuple[re.Pattern[str], ...]
    """What tokens in examples look like."""


@cache
def _rows() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(TABLE.read_text("utf-8"))["forms"]
    return rows


@cache
def _form(index: int) -> Form:
    """Return a form of the table; only those are compiled of which a text has a keyword."""
    row = _rows()[index]
    return Form(
        row["id"],
        tuple(row["keywords"]),
        re.compile(row["regex"]),
        row["entropy"],
        tuple(map(re.compile, row["allowed"])),
    )


@cache
def _keywords() -> dict[str, list[int]]:
    """Return keyword → the indexes of its forms, without compiling them."""
    found: dict[str, list[int]] = {}
    for index, row in enumerate(_rows()):
        for keyword in row["keywords"]:
            found.setdefault(keyword, []).append(index)
    return found


@lru_cache(maxsize=4096)
def _possible(lower: str) -> frozenset[int]:
    """Return the indexes of the forms of which a text in lower case has a keyword."""
    found = (of for keyword, of in _keywords().items() if keyword in lower)
    return frozenset(index for of in found for index in of)


@lru_cache(maxsize=4096)
def tokens(text: str) -> tuple[tuple[str, int, int], ...]:
    """Return the id of the form, the start and the end of each token in a text."""
    if len(text) < _SHORTEST:
        return ()
    lines = text.lower().split("\n")
    starts = range(0, len(lines), _LINES)
    indexes = {at for start in starts for at in _possible("\n".join(lines[start : start + _LINES]))}
    return tuple(
        (form.id, *match.span(1 if match.lastindex else 0))
        for form in map(_form, sorted(indexes))
        for match in form.pattern.finditer(text)
        if _is_token(form, match[1] if match.lastindex and match[1] else match[0])
    )


def _is_token(form: Form, token: str) -> bool:
    counts = Counter(token)
    bits = -sum(n / len(token) * math.log2(n / len(token)) for n in counts.values())
    return bits >= form.entropy and not any(each.search(token) for each in form.allowed)


def table(version: str, text: str) -> dict[str, Any]:
    """Return the table of a gitleaks.toml."""
    import tomllib

    rows = [
        {
            "id": rule["id"],
            "keywords": rule["keywords"],
            "regex": _python(rule["regex"]),
            "entropy": rule.get("entropy", 0),
            "allowed": [
                _python(regex)
                for entry in rule.get("allowlists", ())
                if not entry.get("regexTarget")
                for regex in entry.get("regexes", ())
            ],
        }
        for rule in tomllib.loads(text)["rules"]
        if "regex" in rule and _OF_A_NAME not in rule["regex"] and rule["id"] not in _LEFT_OUT
    ]
    return {"source": f"config/gitleaks.toml of gitleaks/gitleaks {version}", "forms": rows}


def _python(regex: str) -> str:
    """Return an expression of Go's regexp as one of Python's re with the same matches."""
    regex = regex.replace("[[:alnum:]]", "[0-9A-Za-z]").replace(r"\z", r"\Z")
    while (at := regex.find("(?i)", 1)) > 0:
        end = _group_end(regex, at + 4)
        regex = f"{regex[:at]}(?i:{regex[at + 4 : end]}){regex[end:]}"
    return regex


def _group_end(regex: str, start: int) -> int:
    """Return where the group ends with a flag: the flag counts up to there."""
    depth, index, is_set = 0, start, False
    while index < len(regex):
        char = regex[index]
        if char == "\\":
            index += 1
        elif char in "[]":
            is_set = char == "["
        elif not is_set and char == "(":
            depth += 1
        elif not is_set and char == ")":
            if not depth:
                return index
            depth -= 1
        index += 1
    return len(regex)


def main(version: str, file: str) -> None:
    """Write the table."""
    made = table(version, Path(file).read_text("utf-8"))
    TABLE.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
