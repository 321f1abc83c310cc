"""Look up keys in a JSON Schema: what applies to a path, and where an unknown key may belong.

A schema is its data, as json.loads returns them. Only references within the file are followed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from scripts.core.paths import ValuePath, get, has

Schema = dict[str, Any]

Fits = Callable[[Schema, Any], bool]
"""Whether a value is valid against a subschema."""

ITEM = -1
"""The index of a list in a path of the schema: any, or in data the last."""

_DEEPEST = 16
"""Keys below the root. There is a limit, because some schemas refer to themselves."""

MOST = 4
"""Paths that a message suggests."""


def subschema(root: Schema, path: Sequence[str | int]) -> Schema:
    """Return the subschema at a path of the schema itself; empty if it is a boolean."""
    found: Any = root
    for part in path:
        found = found[int(part)] if isinstance(found, list) else found.get(str(part), {})
    return found if isinstance(found, dict) else {}


def applying(root: Schema, path: ValuePath) -> list[Schema]:
    """Return the subschemas for a path of the data, first those that have the path itself.

    Conditions (`if`) are left out.
    """
    found = list(_spread(root, [root]))
    for key in path:
        found = _step(root, found, key)
    return found


def _step(root: Schema, parts: Sequence[Schema], key: str | int) -> list[Schema]:
    return list(_spread(root, [inner for part in parts for inner in _below(part, key)]))


def _spread(root: Schema, parts: Iterable[Any]) -> Iterator[Schema]:
    """Yield subschemas, each followed by those that it refers to or combines."""
    for part in parts:
        if not isinstance(part, dict):
            continue
        yield part
        if "$ref" in part:
            yield from _spread(root, [subschema(root, part["$ref"].split("/")[1:])])
        for keyword in ("allOf", "anyOf", "oneOf"):
            yield from _spread(root, part.get(keyword, ()))


def _below(part: Schema, key: str | int) -> Iterator[Any]:
    if isinstance(key, int):
        yield part.get("items")
    elif key in part.get("properties", {}):
        yield part["properties"][key]
    else:
        patterns = part.get("patternProperties", {}).items()
        named = [inner for pattern, inner in patterns if re.search(pattern, key)]
        yield from named or [part.get("additionalProperties")]


def keys(root: Schema, path: ValuePath) -> list[str]:
    """Return the keys that a mapping at the path may have, sorted."""
    parts = applying(root, path)
    return sorted({key for part in parts for key in part.get("properties", {})})


def required(root: Schema, path: ValuePath) -> bool:
    """Return whether the mapping that has the key at the end of the path always needs it."""
    return any(path[-1] in part.get("required", ()) for part in applying(root, path[:-1]))


def every(root: Schema) -> list[tuple[str | int, ...]]:
    """Return the paths of all keys, with ITEM as the index of lists."""
    found = dict[tuple[str | int, ...], None]()

    def visit(parts: list[Schema], path: tuple[str | int, ...]) -> None:
        if len(path) > _DEEPEST:
            return
        for key in {key: None for part in parts for key in part.get("properties", {})}:
            found[*path, key] = None
            visit(_step(root, parts, key), (*path, key))
        if any(isinstance(part.get("items"), dict) for part in parts):
            visit(_step(root, parts, ITEM), (*path, ITEM))

    visit(list(_spread(root, [root])), ())
    return list(found)


def meant(
    root: Schema, path: ValuePath, key: str, value: Any, before: str | None, fits: Fits
) -> Sequence[ValuePath]:
    """Return where an unknown key of the mapping at the path may belong, the likeliest first.

    before: the key above it in the file. A key can be written differently (tx-sender), have dots
    instead of levels, be a level too low or too high, have a similar name, or be the only one with
    its name.
    """
    known, parts = keys(root, path), key.split(".")
    same = [name for name in known if _letters(name) == _letters(key)]
    if same:
        return [[*path, same[0]]]
    for first in range(len(parts) - 1):
        for nested in ([*path, *parts[first:]], parts[first:]):
            if _fits(root, nested, value, fits):
                return [nested]
    if len(parts) > 1 and parts[0] in known:
        return []
    for length in range(len(path) - 1, -1, -1):  # a level too low
        outside = [*path[:length], key]
        if _fits(root, outside, value, fits):
            return [outside]
    above = [ITEM if isinstance(part, int) else part for part in path]
    named = [list(place) for place in every(root) if place[-1] == key]
    named = [place for place in named if _fits(root, place, value, fits)]
    inside = [[*path, *p[len(path) :]] for p in named if p[: len(path)] == above]
    if beside := [place for place in inside if place[len(path)] == before]:
        return beside[:1]
    shallowest = min(map(len, inside), default=0)
    high = [place for place in inside if len(place) == shallowest]  # a level too high
    near = [[*path, name] for name in difflib.get_close_matches(key, known, 1)]
    if near or high:
        return near + high if len(near + high) <= MOST else near
    return named if len(named) == 1 else []


def _letters(name: str) -> str:
    return re.sub("[-_ .]", "", name).lower()


def _fits(root: Schema, path: ValuePath, value: Any, fits: Fits) -> bool:
    """Return whether the schema has the key at the end of the path and allows the value there."""
    if path[-1] not in keys(root, path[:-1]):
        return False
    return all(fits(part, value) for part in applying(root, path)[:1])


def before(mapping: Any, key: str) -> str | None:
    """Return the key above the given one in a mapping."""
    names = list(mapping) if isinstance(mapping, dict) else []
    index = names.index(key) if key in names else 0
    return names[index - 1] if index else None


def moved(data: Any, path: ValuePath, target: ValuePath) -> Any:
    """Return the data with the value at the path moved to the target; ITEM is the last item."""
    value = get(data, path)
    return _with(_without(data, path), target, value)


def _without(data: Any, path: ValuePath) -> Any:
    if not has(data, path):
        return data
    if len(path) > 1:
        return _changed(data, path[0], _without(data[path[0]], path[1:]))
    return {key: value for key, value in data.items() if key != path[0]}


def _with(data: Any, path: ValuePath, value: Any) -> Any:
    if not path:
        return value
    key = path[0]
    if key == ITEM:
        key = max(len(data) - 1, 0) if isinstance(data, list) else 0
    inside = data[key] if has(data, [key]) else None
    return _changed(data, key, _with(inside, path[1:], value))


def _changed(data: Any, key: str | int, value: Any) -> Any:
    if isinstance(key, int):
        items = list(data) if isinstance(data, list) else []
        return [*items[:key], value, *items[key + 1 :]]
    return {**(data if isinstance(data, dict) else {}), key: value}
