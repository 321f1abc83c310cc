"""Made-up tokens, in parts: no file of this repository has one that a scanner would find."""

from __future__ import annotations

import hashlib
import string
from collections.abc import Sequence

_LETTERS = string.ascii_letters + string.digits
_SETS = {
    "upper": string.ascii_uppercase + "234567",
    "digits": string.digits,
    "hex": string.digits + "abcdef",
    "bech": "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L",
}
"""What an operator may write after a number, for characters other than letters and digits."""


def token(parts: Sequence[str | int]) -> str:
    """Return the texts, and for each number so many characters that look random."""
    made = list[str]()
    for index, part in enumerate(parts):
        if isinstance(part, int):
            following = str(parts[index + 1]) if index + 1 < len(parts) else ""
            made.append(_random(part, _SETS.get(following, _LETTERS), seed="".join(made)))
        elif not (part in _SETS and index and isinstance(parts[index - 1], int)):
            made.append(part)
    return "".join(made)


def _random(length: int, letters: str, seed: str) -> str:
    digests = (hashlib.sha256(f"{seed}{n}".encode()).digest() for n in range(length))
    return "".join(letters[digest[0] % len(letters)] for digest in digests)
