"""The words of fixes with edits: write, add, remove."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scripts.core.edits import Action
from scripts.core.fixes import Change, Fix
from scripts.core.paths import ValuePath
from scripts.core.yamlio import flow

Key = str | int | ValuePath
"""A field, with those above it before dots; or its path, if names in it have dots."""


def write(key: Key, value: Any, *, above: ValuePath = (), is_whole: bool = False) -> Fix:
    """Return the fix to write a field of the mapping at or around the finding's place.

    above: fields between that place and the key, which the words do not repeat.
    is_whole: whether they begin at the root of the object.
    """
    path = parts(key)
    words = f"write {'.'.join(map(str, path))}: {flow(value)}"
    return Fix(words, [Change(Action.WRITE, (*above, *path), value, is_whole)])


def write_value(value: Any, shown: str = "") -> Fix:
    """Return the fix to write a value at the place of the finding."""
    return Fix(f"write {shown or _shown(value)}", [Change(Action.WRITE, (), value)])


def saying(words: str, value: Any, key: Key = (), *, is_safe: bool = True) -> Fix:
    """Return the fix to write a field, in words of its own; see write."""
    return Fix(words, [Change(Action.WRITE, parts(key), value)], is_safe=is_safe)


def rename(words: str, key: str) -> Fix:
    """Return the fix to write another key for the value at the place of the finding."""
    return Fix(words, [Change(Action.RENAME, (), key)])


def in_text(words: str, whole: Any, old: str, new: str) -> Fix:
    """Return the fix to replace a part of the text at the place of the finding.

    whole: that text; the fix has no edit if it does not have the part exactly once.
    """
    is_clear = isinstance(whole, str) and whole.count(old) == 1
    return Fix(words, [Change(Action.WRITE, (), whole.replace(old, new))] if is_clear else ())


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
    words = f"add {_shown(item)} to {called or '.'.join(map(str, path))}"
    return Fix(words, [Change(Action.APPEND, (*above, *path), item)])


def add_to(words: str, items: Sequence[Any], key: Key = ()) -> Fix:
    """Return the fix to add items to the list at the place of the finding, or at a key there."""
    shown = ", ".join(map(flow, items))
    changes = [Change(Action.APPEND, parts(key), item) for item in items]
    return Fix(f"add to {words}: {shown}", changes if "<" not in shown else ())


def write_all(values: Mapping[str, Any]) -> Fix:
    """Return the fix to write several fields."""
    shown = [f"{key}: {flow(value)}" for key, value in values.items()]
    changes = [Change(Action.WRITE, parts(key), value) for key, value in values.items()]
    return Fix(f"write {' and '.join(shown)}", changes)


def remove(words: str, key: Key = ()) -> Fix:
    """Return the fix to remove a field or an item: the finding's own, or another one."""
    return Fix(f"remove {words}", [Change(Action.REMOVE, parts(key))])


def write_values(key: str, value: Any, where: str = "") -> Fix:
    """Return the fix to write one of the environment's values; other keys of a mapping stay.

    A value with <…> has no edit: people must fill it in.
    """
    path, shown = parts(key), flow(value)
    inner = value.items() if isinstance(value, dict) else ()
    changes = [Change(Action.WRITE, (*path, name), one) for name, one in inner]
    changes = changes or [Change(Action.WRITE, path, value)]
    return Fix(f"write {key}: {shown}{where}", (), changes if "<" not in shown else ())


def _shown(value: Any) -> str:
    """Return a value for a message: arguments of programs have no quotes there."""
    return value if isinstance(value, str) and value.startswith("-") else flow(value)


def parts(key: Key) -> tuple[str | int, ...]:
    """Return the path of a key: app.kubernetes.io/name is one name, spec.replicas are two."""
    if isinstance(key, int):
        return (key,)
    if not isinstance(key, str):
        return tuple(key)
    return (key,) if "/" in key else tuple(key.split("."))
