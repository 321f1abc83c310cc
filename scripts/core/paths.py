"""Look up a part of plain data by its path: the keys and indices that lead to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

ValuePath = Sequence[str | int]
"""Keys and indices from the root of a document to a part of it."""


def has(data: Any, path: ValuePath) -> bool:
    """Return whether the data have something at the path."""
    for part in path:
        if isinstance(data, list):
            there = isinstance(part, int) and part < len(data)
        else:
            there = isinstance(data, dict) and part in data
        if not there:
            return False
        data = data[part]
    return True


def get(data: Any, path: ValuePath) -> Any:
    """Return what the data have at the path; None where they have nothing there."""
    # Rules ask this more than all else, so it does not ask has().
    for part in path:
        if isinstance(data, dict):
            if part not in data:
                return None
        elif not (isinstance(data, list) and isinstance(part, int) and part < len(data)):
            return None
        data = data[part]
    return data
