"""What differs between two objects, field by field, by meaning. Pure.

Items of lists are matched as Kubernetes matches them (x-kubernetes-list-map-keys of its OpenAPI),
so that one which moves is told as such; the texts that a ConfigMap holds are looked into. Nothing
that may be a secret comes out of here.
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
"""List → the fields that tell its items apart, in Kubernetes' own types."""
_ALSO: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "data": (("secretKey",),),
    "groups": (("name",),),
    "limits": (("type",),),
    "namespaceResourceWhitelist": (("group", "kind"),),
    "paths": (("path",),),
    "rules": (("alert",), ("record",), ("host",)),
}
"""The same of lists that Kubernetes takes as they stand, and of those of operators."""


class Item(str):
    """The name of an item of a list, in a path."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Change:
    """A field that is another; None stands for one that is not there."""

    path: Where
    """With an Item in the place of an index, where items have names."""
    old: Any
    new: Any
    lines: tuple[str, ...] = ()
    """Of a text: the lines of its own difference, each with -, + or a space before it."""
    note: str = ""
    """How it is another, where its items or what it says are not: order, the same TOML."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between an object as it was and as it is."""

    changes: tuple[Change, ...]
    """None, where only the spelling differs."""

    def within(self, *path: str | int) -> list[Change]:
        """Return the changes at a path and below."""
        return [each for each in self.changes if each.path[: len(path)] == path]


def between(old: Manifest, new: Manifest) -> Difference:
    """Return what differs between two objects."""
    if old.object == new.object:
        return Difference(())
    walk = _Walk(new.kind, is_exact=new.is_custom)
    return Difference(tuple(walk.mapping((), (), old.object, new.object)))


@dataclass(frozen=True, slots=True)
class _Walk:
    kind: str
    is_exact: bool
    """Nobody adds defaults or reads amounts: a text's own data, or a custom resource."""

    def mapping(
        self, path: Where, fields: tuple[str, ...], old: Mapping[str, Any], new: Mapping[str, Any]
    ) -> Iterator[Change]:
        for key in dict.fromkeys((*old, *new)):
            was, now = old.get(key), new.get(key)
            if self.is_exact:
                if was is None and now is None and (key in old) != (key in new):
                    nulls = ["null" if key in x else None for x in (old, new)]
                    yield Change((*path, key), nulls[0], nulls[1])
            else:
                was, now = self._said(fields, key, was, now, old, new)
            names = redaction.called(key, old), redaction.called(key, new)
            yield from self.value((*path, key), (*fields, key), was, now, names)

    def _said(
        self,
        fields: tuple[str, ...],
        key: str,
        was: Any,
        now: Any,
        old: Mapping[str, Any],
        new: Mapping[str, Any],
    ) -> tuple[Any, Any]:
        """Return the two values of a field, with the default of the one that says nothing."""
        was, now = (None if equivalence.is_empty(key, each) else each for each in (was, now))
        if was is None and now is not None:
            was = equivalence.default(self.kind, fields, key, old)
        elif now is None and was is not None:
            now = equivalence.default(self.kind, fields, key, new)
        return was, now

    def value(
        self, path: Where, fields: tuple[str, ...], old: Any, new: Any, names: Iterable[str]
    ) -> Iterator[Change]:
        """Yield what differs in a value; names: what the field is called, for what it may hold."""
        if self._is_same(fields, old, new):
            return
        if isinstance(old, dict) and isinstance(new, dict):
            yield from self.mapping(path, fields, old, new)
        elif isinstance(old, list) and isinstance(new, list):
            yield from self.items(path, fields, old, new)
        elif redaction.is_wholly(self.kind, fields):
            was, now = (None if each is None else HIDDEN for each in (old, new))
            yield Change(path, was, now)
        elif isinstance(old, str) and isinstance(new, str) and _is_text(fields, old, new):
            yield from self._text(path, old, new, names)
        else:
            was, now = old, new
            for name in names:
                was, now = redaction.value(name, was), redaction.value(name, now)
            yield Change(path, was, now)

    def _is_same(self, fields: tuple[str, ...], old: Any, new: Any) -> bool:
        if not self.is_exact:
            return equivalence.same(self.kind, fields, old, new)
        # 1, 1.0 and true are equal to Python, and to no reader of a configuration.
        return type(old) is type(new) and not isinstance(old, dict | list) and bool(old == new)

    def items(
        self, path: Where, fields: tuple[str, ...], old: list[Any], new: list[Any]
    ) -> Iterator[Change]:
        name = None if not self.kind else _naming(fields[-1], old, new)
        if name is None:
            yield from self._in_order(path, fields, old, new)
            return
        was, now = ({name(item): item for item in items} for items in (old, new))
        for key in dict.fromkeys((*was, *now)):
            yield from self.value((*path, key), fields, was.get(key), now.get(key), (key,))
        kept = [[key for key in keys if key in was and key in now] for keys in (was, now)]
        if kept[0] != kept[1]:
            yield Change(path, kept[0], kept[1], note="order")

    def _in_order(
        self, path: Where, fields: tuple[str, ...], old: list[Any], new: list[Any]
    ) -> Iterator[Change]:
        was, now = (
            [json.dumps(one, sort_keys=True, default=repr) for one in x] for x in (old, new)
        )
        matcher = difflib.SequenceMatcher(None, was, now, autojunk=False)
        for what, i, i_end, j, j_end in matcher.get_opcodes():
            if what == "equal":
                continue
            pairs = zip_longest(range(i, i_end), range(j, j_end))
            for first, second in pairs:
                at = second if second is not None else first
                one = None if first is None else old[first]
                other = None if second is None else new[second]
                names = [redaction.option(x, k) for x, k in ((old, first), (new, second)) if k]
                yield from self.value((*path, at), fields, one, other, names or ("",))

    def _text(self, path: Where, old: str, new: str, names: Iterable[str]) -> Iterator[Change]:
        """Yield what differs in a text: field by field, where both are TOML or JSON."""
        form, read = _reader(str(path[-1]), old)
        was, now = (read(text) for text in (old, new))
        note = ""
        if isinstance(was, dict | list) and type(was) is type(now):
            changes = tuple(_Walk("", is_exact=True).value(path, ("",), was, now, ("",)))
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
    """Return the lines that differ with one around them, what can't be seen written out."""
    diff = list(difflib.unified_diff(old.split("\n"), new.split("\n"), lineterm="", n=1))
    return [_visible(line) for line in diff[2:] if not line.startswith("@@")]


def _visible(line: str) -> str:
    return "".join(c if c.isprintable() or c == "\t" else ascii(c)[1:-1] for c in line)


def shown(path: Where) -> str:
    """Return a path as people write it: spec.containers[besu].ports[0], data[a.toml].key."""
    parts = (
        f"[{part}]" if isinstance(part, Item | int) or "." in str(part) else f".{part}"
        for part in path
    )
    return "".join(parts).removeprefix(".")


def compact(value: Any) -> str:
    """Return a value in one line."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _naming(field: str, *lists: Sequence[Any]) -> Callable[[Any], Item] | None:
    """Return what names the items of lists, by fields that all have and no two share."""
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
    """Return what a text is, by its name or its beginning, and what reads it."""
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
