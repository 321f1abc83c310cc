"""Annotations that controllers read: which ones exist, and the form of their values.

The table names the version of each controller; tests/kubernetes/annotation_sources.py made it.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("annotations.json")

ALB = "alb.ingress.kubernetes.io/"
"""The prefix of the AWS Load Balancer Controller's annotations on Ingresses."""
NLB = "service.beta.kubernetes.io/"
"""The prefix of its annotations on Services."""
CONTROLLER = "the AWS Load Balancer Controller"

_SIMILAR_PREFIX = 0.9
"""How alike two prefixes are if one is a typo of the other: nginx.ingress… is not one of alb.…"""


@dataclass(frozen=True, slots=True)
class Form:
    """What a controller accepts as the value of an annotation or an attribute."""

    type: str = "text"
    """boolean, duration, integer, json, list, map, text or ttl."""
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    also: int | None = None
    """A number outside of the range that is valid, too."""
    kinds: tuple[str, ...] = ()
    """The kinds of objects whose annotation is read; empty for every kind."""
    balancers: tuple[str, ...] = ()
    """For an attribute: the types of load balancers that have it."""


@dataclass(frozen=True, slots=True)
class Reader:
    """The annotations with one prefix."""

    prefix: str
    name: str
    """The program that reads them."""
    forms: Mapping[str, Form]
    legacy: frozenset[str]
    """Names that only the cloud provider's own controller reads."""

    def form(self, name: str) -> Form | None:
        """Return the form of an annotation, by its name without the prefix; None if unknown."""
        if name in self.forms:
            return self.forms[name]
        starts = (known[:-1] for known in self.forms if known.endswith("*"))
        start = next((own for own in starts if name.startswith(own) and name != own), None)
        return self.forms[f"{start}*"] if start else None

    def nearest(self, name: str) -> str:
        """Return the known name that is most similar to an unknown one; empty if none is."""
        known = [each for each in self.forms if not each.endswith("*")]
        near = difflib.get_close_matches(name.lower(), known, 1)
        return near[0] if near else ""


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(TABLE.read_text("utf-8"))
    return table


def _form(data: Mapping[str, Any], kinds: tuple[str, ...]) -> Form:
    fields = {key: tuple(v) if isinstance(v, list) else v for key, v in data.items()}
    return Form(**({"kinds": kinds} | fields))


@cache
def readers() -> dict[str, Reader]:
    """Return prefix → the annotations with it."""
    return {
        prefix: Reader(
            prefix,
            data["reader"],
            {n: _form(form, tuple(data.get("kinds") or ())) for n, form in data["names"].items()},
            frozenset(data.get("legacy", ())),
        )
        for prefix, data in _table()["prefixes"].items()
    }


@cache
def attributes(annotation: str) -> dict[str, Form]:
    """Return the attributes in an annotation: load-balancer-, target-group- or listener-…"""
    return {name: _form(data, ()) for name, data in _table()["attributes"][annotation].items()}


@cache
def ssl_policies() -> tuple[str, ...]:
    """Return the security policies of AWS's load balancers."""
    return tuple(_table()["ssl-policies"])


@cache
def regions() -> dict[str, str]:
    """Return region → partition of the regions of AWS that botocore has."""
    return {name: each["partition"] for each in _table()["regions"] for name in each["regions"]}


def partition(region: str) -> str:
    """Return the partition of a region, also of a newer one; empty if the name is invalid."""
    known = regions()
    directions = {name.split("-")[-2] for name in known}
    for each in _table()["regions"]:
        if re.fullmatch(each["pattern"], region, re.ASCII):
            return each["partition"] if region.split("-")[-2] in directions else ""
    return ""


def version(source: str) -> str:
    """Return the version of a source of the table."""
    return str(_table()["sources"][source])


def split(key: str) -> tuple[Reader, str] | None:
    """Return the reader of an annotation and its name without the prefix; None if unknown."""
    prefix, slash, name = key.partition("/")
    reader = readers().get(f"{prefix}{slash}")
    if reader is None or not (reader.prefix != NLB or name.startswith(_OF_BALANCERS)):
        return None
    return reader, name


_OF_BALANCERS = ("aws-", "load-balancer-source-ranges", "actions.")
"""Other annotations with the prefix belong to other clouds: azure-load-balancer-internal."""


def similar_prefix(key: str) -> Reader | None:
    """Return the reader whose prefix an annotation misspells; None if it misspells none."""
    prefix, _, name = key.partition("/")
    reader = _misspelled(prefix)
    return reader if reader and reader.form(name) else None


@cache
def _misspelled(prefix: str) -> Reader | None:
    known = {own.rstrip("/"): reader for own, reader in readers().items()}
    near = difflib.get_close_matches(prefix, known, 1, _SIMILAR_PREFIX)
    return known[near[0]] if near and prefix not in known else None


# How the controller reads values: pkg/annotations/parser.go of the AWS Load Balancer Controller.

_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


def boolean(text: str) -> bool | None:
    """Return a value as Go's strconv.ParseBool reads it; None if it fails."""
    return True if text in _TRUE else False if text in _FALSE else None


def string_list(text: str) -> list[str]:
    """Return the items of a list, which commas separate."""
    return [item.strip() for item in text.split(",") if item.strip()]


def string_map(text: str) -> dict[str, str] | None:
    r"""Return the pairs of a map like k1=v1,k2=v2, where \, is a comma in a value.

    None if the controller can't read it: a part without = or without a key.
    """
    pairs = dict[str, str]()
    for part in _pairs(text):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            return None
        pairs[key.strip()] = value.strip()
    return pairs


def _pairs(text: str) -> Iterator[str]:
    """Yield the parts of a map; a comma ends a part only if another key follows."""
    part, characters = "", iter(enumerate(text))
    for index, character in characters:
        rest = text[index + 1 :].strip()
        if character == "\\" and index + 1 < len(text):
            part += next(characters)[1]
        elif character == "," and rest:
            yield part.strip()
            part = ""
            if "=" not in rest:
                yield rest
                return
        else:
            part += character
    if part:
        yield part.strip()
