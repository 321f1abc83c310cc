"""Rebuild frozen dataclasses from the plain data that dataclasses.asdict and JSON make of them."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

Made = TypeVar("Made")


def rebuilt(kind: type[Made], data: Mapping[str, Any], **later: type) -> Made:
    """Return the dataclass of the kind with the data, which asdict and JSON have made plain.

    later: classes that the kind's module imports only for type checkers. Raises LookupError or
    TypeError for other data.
    """
    result: Made = _value(kind, data, tuple(sorted(later.items(), key=lambda item: item[0])))
    return result


@cache
def _hints(kind: type, later: tuple[tuple[str, type], ...]) -> dict[str, Any]:
    return typing.get_type_hints(kind, localns=dict(later))


def _value(kind: Any, data: Any, later: tuple[tuple[str, type], ...]) -> Any:
    if data is None or kind is Any:
        return data
    if isinstance(kind, types.UnionType):  # X | None
        kind = next(each for each in typing.get_args(kind) if each is not types.NoneType)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = _hints(kind, later)
        return kind(**{name: _value(hints[name], value, later) for name, value in data.items()})
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        is_choice = isinstance(item, types.UnionType)  # str | int stays as it is
        return tuple(each if is_choice else _value(item, each, later) for each in data)
    return kind(data) if isinstance(kind, type) and issubclass(kind, StrEnum) else data
