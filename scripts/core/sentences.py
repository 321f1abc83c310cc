"""Parts of sentences that messages share."""

from __future__ import annotations

from collections.abc import Iterable


def joined(words: Iterable[str], conjunction: str = "and") -> str:
    """Return words as a list in a sentence: a, b and c; empty for no words."""
    *most, end = [*words] or [""]
    return f"{', '.join(most)} {conjunction} {end}" if most else end
