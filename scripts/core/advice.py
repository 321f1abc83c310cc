"""The words of fixes with edits: write, add, remove."""

from __future__ import annotations

from typing import Any

from scripts.core.edits import Action
from scripts.core.fixes import Change, Fix
from scripts.core.paths import ValuePath
from scripts.core.yamlio import flow

Key = str | ValuePath
"""A field, with those above it before dots; or its path, if names in it have dots."""


def write(key: Key, value: Any, *, above: ValuePath = ()) -> Fix:
    """Return the fix to write a field of the mapping at or around the finding's place.

    above: fields between that place and the key, which the words do not repeat.
    """
    path = parts(key)
    words = f"write {'.'.join(map(str, path))}: {flow(value)}"
    return Fix(words, [Change(Action.WRITE, (*above, *path), value)])


def write_value(value: Any, shown: str = "") -> Fix:
    """Return the fix to write a value at the place of the finding."""
    return Fix(f"write {shown or flow(value)}", [Change(Action.WRITE, (), value)])


def instead(old: Any, new: Any) -> Fix:
    """Return the fix to write a value instead of another one at the place of the finding."""
    return Fix(f"write {flow(new)} instead of {flow(old)}", [Change(Action.WRITE, (), new)])


def add(key: Key, value: Any, *, above: ValuePath = (), to: str = "") -> Fix:
    """Return the fix to add a field; to: the name of the mapping in the words."""
    path = parts(key)
    words = f"add {'.'.join(map(str, path))}: {flow(value)}" + (f" to {to}" if to else "")
    return Fix(words, [Change(Action.WRITE, (*above, *path), value)])


def add_item(item: Any, to: Key = (), called: str = "", *, above: ValuePath = ()) -> Fix:
    """Return the fix to add an item to a list; called: the words for the list."""
    path = parts(to)
    words = f"add {flow(item)} to {called or '.'.join(map(str, path))}"
    return Fix(words, [Change(Action.APPEND, (*above, *path), item)])


def remove(words: str, key: Key = ()) -> Fix:
    """Return the fix to remove a field or an item: the finding's own, or another one."""
    return Fix(f"remove {words}", [Change(Action.REMOVE, parts(key))])


def write_values(key: str, value: Any, where: str = "") -> Fix:
    """Return the fix to write one of the environment's values."""
    return Fix(f"write {key}: {flow(value)}{where}", (), [Change(Action.WRITE, parts(key), value)])


def parts(key: Key) -> tuple[str | int, ...]:
    """Return the path of a key: app.kubernetes.io/name is one name, spec.replicas are two."""
    if not isinstance(key, str):
        return tuple(key)
    return (key,) if "/" in key else tuple(key.split("."))
