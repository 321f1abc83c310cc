"""Look up a part of nested data by its path: the keys and indices that lead to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

ValuePath = Sequence[str | int]
"""Keys and indices from the root of a document to a part of it."""


def has(data: Any, path: ValuePath) -> bool:
    """Return whether the data have a value at the path."""
    for part in path:
        if isinstance(data, list):
            exists = isinstance(part, int) and part < len(data)
        else:
            exists = isinstance(data, dict) and part in data
        if not exists:
            return False
        data = data[part]
    return True


def get(data: Any, path: ValuePath) -> Any:
    """Return the value at the path; None if there is none."""
    # It does not call has(): rules call this function most often of all.
    for part in path:
        if isinstance(data, dict):
            if part not in data:
                return None
        elif not (isinstance(data, list) and isinstance(part, int) and part < len(data)):
            return None
        data = data[part]
    return data
