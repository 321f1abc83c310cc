"""Compare two objects field by field, by meaning. Pure.

Items of lists are matched by the keys by which Kubernetes matches them (x-kubernetes-list-map-keys
of its OpenAPI), so that items in another order are one change. TOML and JSON in ConfigMaps are
compared by their keys. The result contains no value that may be a secret.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import zip_longest
from typing import Any

from scripts.impact.compare import equivalence, redaction
from scripts.impact.compare.redaction import HIDDEN
from scripts.kubernetes.manifest import Manifest, Where

KEYS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "claims": (("name",),),
    "containers": (("name",),),
    "env": (("name",),),
    "ephemeralContainers": (("name",),),
    "evictionResponders": (("name",),),
    "healthConditions": (("status", "reason"),),
    "hostAliases": (("ip",),),
    "imagePullSecrets": (("name",),),
    "initContainers": (("name",),),
    "ports": (("containerPort", "protocol"), ("port", "protocol")),
    "resourceClaims": (("name",),),
    "schedulingGates": (("name",),),
    "secrets": (("name",),),
    "topologySpreadConstraints": (("topologyKey", "whenUnsatisfiable"),),
    "volumeDevices": (("devicePath",),),
    "volumeMounts": (("mountPath",),),
    "volumes": (("name",),),
}
"""List → the fields that identify its items, in Kubernetes' own types."""
_ALSO: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "data": (("secretKey",),),
    "groups": (("name",),),
    "limits": (("type",),),
    "namespaceResourceWhitelist": (("group", "kind"),),
    "paths": (("path",),),
    "rules": (("alert",), ("record",), ("host",)),
}
"""The same for lists that Kubernetes replaces as a whole, and for lists of operators."""


class Item(str):
    """The name of a list's item in a path."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Change:
    """A field that differs; None stands for a missing field."""

    path: Where
    """With an Item instead of an index if items have names."""
    old: Any
    new: Any
    lines: tuple[str, ...] = ()
    """Of a text: its diff, each line with -, + or a space before it."""
    note: str = ""
    """The kind of difference if the content is the same: order, the same TOML."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference between an old and a new object."""

    changes: tuple[Change, ...]
    """Empty if the objects differ only in form."""

    def within(self, *path: str | int) -> list[Change]:
        """Return the changes at a path and below."""
        return [each for each in self.changes if each.path[: len(path)] == path]


def between(old: Manifest, new: Manifest) -> Difference:
    """Return the difference between two objects."""
    if old.object == new.object:
        return Difference(())
    comparison = _Comparison(new.kind, is_exact=new.is_custom)
    return Difference(tuple(comparison.mapping((), (), old.object, new.object)))


@dataclass(frozen=True, slots=True)
class _Comparison:
    kind: str
    is_exact: bool
    """Defaults and equal amounts count as differences: in texts and in custom resources."""

    def mapping(
        self, path: Where, fields: tuple[str, ...], old: Mapping[str, Any], new: Mapping[str, Any]
    ) -> Iterator[Change]:
        for key in dict.fromkeys((*old, *new)):
            first, second = old.get(key), new.get(key)
            if self.is_exact:
                if first is None and second is None and (key in old) != (key in new):
                    nulls = ["null" if key in each else None for each in (old, new)]
                    yield Change((*path, key), nulls[0], nulls[1])
            else:
                first, second = self._with_defaults(fields, key, old, new)
            names = redaction.called(key, old), redaction.called(key, new)
            yield from self.value((*path, key), (*fields, key), first, second, names)

    def _with_defaults(
        self, fields: tuple[str, ...], key: str, old: Mapping[str, Any], new: Mapping[str, Any]
    ) -> tuple[Any, Any]:
        """Return both values of a field; if one is missing, its default."""
        first, second = (
            None if equivalence.is_empty(key, each.get(key)) else each.get(key)
            for each in (old, new)
        )
        if first is None and second is not None:
            first = equivalence.default(self.kind, fields, key, old)
        elif second is None and first is not None:
            second = equivalence.default(self.kind, fields, key, new)
        return first, second

    def value(
        self, path: Where, fields: tuple[str, ...], old: Any, new: Any, names: Iterable[str]
    ) -> Iterator[Change]:
        """Yield the changes of a value; names: of the field, to detect secrets."""
        if self._is_same(fields, old, new):
            return
        if isinstance(old, dict) and isinstance(new, dict):
            yield from self.mapping(path, fields, old, new)
        elif isinstance(old, list) and isinstance(new, list):
            yield from self.items(path, fields, old, new)
        elif redaction.is_wholly(self.kind, fields):
            hidden = [None if each is None else HIDDEN for each in (old, new)]
            yield Change(path, hidden[0], hidden[1])
        elif isinstance(old, str) and isinstance(new, str) and _is_text(fields, old, new):
            yield from self._text(path, old, new, names)
        else:
            for name in names:
                old, new = redaction.value(name, old), redaction.value(name, new)
            yield Change(path, old, new)

    def _is_same(self, fields: tuple[str, ...], old: Any, new: Any) -> bool:
        if not self.is_exact:
            return equivalence.same(self.kind, fields, old, new)
        # 1, 1.0 and true are equal in Python, but not in a configuration.
        return type(old) is type(new) and not isinstance(old, dict | list) and bool(old == new)

    def items(
        self, path: Where, fields: tuple[str, ...], old: list[Any], new: list[Any]
    ) -> Iterator[Change]:
        name = None if not self.kind else _naming(fields[-1], old, new)
        if name is None:
            yield from self._in_order(path, fields, old, new)
            return
        first, second = ({name(item): item for item in items} for items in (old, new))
        for key in dict.fromkeys((*first, *second)):
            yield from self.value((*path, key), fields, first.get(key), second.get(key), (key,))
        kept = [[key for key in keys if key in first and key in second] for keys in (first, second)]
        if kept[0] != kept[1]:
            yield Change(path, kept[0], kept[1], note="order")

    def _in_order(
        self, path: Where, fields: tuple[str, ...], old: list[Any], new: list[Any]
    ) -> Iterator[Change]:
        texts = [
            [json.dumps(item, sort_keys=True, default=repr) for item in items]
            for items in (old, new)
        ]
        matcher = difflib.SequenceMatcher(None, texts[0], texts[1], autojunk=False)
        for what, i, i_end, j, j_end in matcher.get_opcodes():
            if what == "equal":
                continue
            pairs = zip_longest(range(i, i_end), range(j, j_end))
            for first, second in pairs:
                index = second if second is not None else first
                old_item = None if first is None else old[first]
                new_item = None if second is None else new[second]
                places = ((old, first), (new, second))
                names = [redaction.option(items, at) for items, at in places if at] or [""]
                yield from self.value((*path, index), fields, old_item, new_item, names)

    def _text(self, path: Where, old: str, new: str, names: Iterable[str]) -> Iterator[Change]:
        """Yield the changes of a text: field by field if both are TOML or JSON."""
        form, read = _reader(str(path[-1]), old)
        first, second = (read(text) for text in (old, new))
        note = ""
        if isinstance(first, dict | list) and type(first) is type(second):
            changes = tuple(_Comparison("", is_exact=True).value(path, ("",), first, second, ("",)))
            if changes:
                yield from changes
                return
            note = f"the same {form}"
        if any(redaction.value(name, each) == HIDDEN for name in names for each in (old, new)):
            yield Change(path, HIDDEN, HIDDEN)
            return
        lines = _lines(old, new)
        if any(HIDDEN in redaction.text(each) for each in (old, new)):
            lines = [
                f"{line[0]}{HIDDEN}" if redaction.in_line(line[1:]) else line for line in lines
            ]
        yield Change(path, None, None, tuple(lines), note)


def _lines(old: str, new: str) -> list[str]:
    """Return the diff with one line of context; invisible characters are escaped."""
    diff = list(difflib.unified_diff(old.split("\n"), new.split("\n"), lineterm="", n=1))
    return [_visible(line) for line in diff[2:] if not line.startswith("@@")]


def _visible(line: str) -> str:
    return "".join(c if c.isprintable() or c == "\t" else ascii(c)[1:-1] for c in line)


def shown(path: Where) -> str:
    """Return a path in readable form: spec.containers[besu].ports[0], data[a.toml].key."""
    parts = (
        f"[{part}]" if isinstance(part, Item | int) or "." in str(part) else f".{part}"
        for part in path
    )
    return "".join(parts).removeprefix(".")


def compact(value: Any) -> str:
    """Return a value in one line."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _naming(field: str, *lists: Sequence[Any]) -> Callable[[Any], Item] | None:
    """Return the function that names the items of lists, by fields that identify every item."""
    for choice in KEYS.get(field) or _ALSO.get(field, ()):

        def name(item: Mapping[str, Any], choice: Sequence[str] = choice) -> Item:
            defaults = {"protocol": "TCP"}
            return Item("/".join(str(item.get(part, defaults.get(part, ""))) for part in choice))

        every = all(
            isinstance(item, dict) and choice[0] in item for items in lists for item in items
        )
        if every and all(len({name(item) for item in items}) == len(items) for items in lists):
            return name
    return None


def _is_text(fields: Sequence[str], *texts: str) -> bool:
    return fields[0] in ("data", "binaryData") or any("\n" in text for text in texts)


def _reader(name: str, text: str) -> tuple[str, Callable[[str], Any]]:
    """Return the format of a text, by its name or its start, and the parser."""
    if name.endswith(".toml"):
        return "TOML", _toml
    is_json = name.endswith(".json") or text.lstrip().startswith("{")
    return ("JSON", _json) if is_json else ("", lambda _: None)


def _toml(text: str) -> Any:
    try:
        return tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, RecursionError):
        return None


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError):
        return None
