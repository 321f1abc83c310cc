"""Edits: changes of single values in data, which a program can apply."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from scripts.core.paths import ValuePath


class Action(StrEnum):
    """What an edit does with the value at its path."""

    WRITE = "write"
    """Replace the value, or add it, with the mappings around it that do not exist."""
    APPEND = "append"
    """Add an item at the end of the list, which is created if it does not exist."""
    REMOVE = "remove"
    """Remove the key or the item."""
    RENAME = "rename"
    """Write another key, with the same value."""
    MOVE = "move"
    """Remove the key, and write it at another path."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of one value in a file."""

    file: str
    """Relative to the repository, with forward slashes."""
    action: Action
    path: tuple[str | int, ...]
    value: Any = None
    """The new value or item; of RENAME the new key, of MOVE the new path."""
    old: Any = None
    """The present value, if it is no secret; None if there is none."""
    document: int = 0
    """The index of the YAML document in the file."""


class CannotApplyError(Exception):
    """The data are not as the edit expects them."""


def applied(data: Any, edits: Iterable[Edit]) -> Any:
    """Return data with the edits; keys keep their order.

    Raises CannotApplyError if there is nothing to change, or something in the way.
    """
    changed = copy.deepcopy(data)
    for edit in edits:
        changed = _applied(changed, edit)
    return changed


def _applied(data: Any, edit: Edit) -> Any:
    if not edit.path:
        if edit.action is not Action.WRITE:
            raise CannotApplyError
        return copy.deepcopy(edit.value)
    if edit.action is Action.WRITE:
        return _written(data, edit.path, edit.value)
    if edit.action is Action.APPEND:
        return _written(data, edit.path, [*(_at(data, edit.path, missing=[]) or []), edit.value])
    above, key = _at(data, edit.path[:-1]), edit.path[-1]
    value = _at(above, [key])
    if edit.action is Action.RENAME:
        if not isinstance(above, dict) or edit.value in above:
            raise CannotApplyError
        renamed = {edit.value if k == key else k: v for k, v in above.items()}
        return _written(data, edit.path[:-1], renamed)
    del above[key]
    if edit.action is Action.MOVE:
        if _at(data, edit.value, missing=CannotApplyError) is not CannotApplyError:
            raise CannotApplyError
        return _written(data, edit.value, value)
    return data


def _at(data: Any, path: ValuePath, **missing: Any) -> Any:
    """Return the value at the path; if there is none, `missing`, or raise CannotApplyError."""
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            if "missing" in missing:
                return missing["missing"]
            raise CannotApplyError from None
    return data


def _written(data: Any, path: ValuePath, value: Any) -> Any:
    """Return the data with a value at the path."""
    if not path:
        return copy.deepcopy(value)
    key, *rest = path
    if isinstance(key, int):
        if not isinstance(data, list) or key > len(data):
            raise CannotApplyError
        there = data[key] if key < len(data) else None
        return [*data[:key], _written(there, rest, value), *data[key + 1 :]]
    if not isinstance(data, dict | None):
        raise CannotApplyError
    return {**(data or {}), key: _written((data or {}).get(key), rest, value)}
