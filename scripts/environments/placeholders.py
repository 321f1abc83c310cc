"""Placeholders: names in the inputs of an environment that only stand for one's own.

base/placeholders.yaml defines them. Without that file, nothing is a placeholder.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from scripts.core import json_schema
from scripts.core.findings import Finding, UserError
from scripts.core.paths import ValuePath
from scripts.core.repository import PROGRAM
from scripts.core.yamlio import Document
from scripts.environments import environment
from scripts.environments.environment import Environment

FILE = "base/placeholders.yaml"
SCHEMA = PROGRAM / "placeholders.schema.json"
RULE = "placeholder"
COMMAND = "nox -s adopt"

_VALIDATORS: ValuePath = ("network", "validators")
_NO_NAMES = ("genesis", "network")
"""Keys of values whose texts are long, and have no names: validators are compared by themselves."""


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A placeholder, in words for a message."""

    name: str
    consequence: str
    fix: str


@dataclass(frozen=True, slots=True)
class Definition:
    """What is a placeholder."""

    hosts: re.Pattern[str] | None
    accounts: re.Pattern[str] | None
    addresses: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    buckets: re.Pattern[str] | None
    validators: frozenset[str]
    """In lower case."""

    def found(self, text: str) -> Placeholder | None:
        """Return the first placeholder in a text."""
        if self.hosts and (match := self.hosts.search(text)):
            consequence = "no one can register the name, so nothing answers there"
            return Placeholder(match[0], consequence, "write your own name")
        if self.accounts and (match := self.accounts.search(text)):
            consequence = "the AWS account is that of AWS's documentation"
            return Placeholder(match[0], consequence, "write the number of your own AWS account")
        if self.buckets and (match := self.buckets.search(text)):
            consequence = "AWS reserves the name for documentation, so there is no such bucket"
            return Placeholder(match[0], consequence, "write the name of your own bucket")
        if self.addresses and _overlaps(text, self.addresses):
            consequence = "the addresses are reserved for documentation, so no machine has them"
            return Placeholder(text, consequence, "write your own addresses")
        return None


def _overlaps(text: str, networks: tuple[Any, ...]) -> bool:
    if not re.fullmatch(r"[0-9a-fA-F.:]+(/\d+)?", text):
        return False
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return any(network.version == each.version and network.subnet_of(each) for each in networks)


def definition(root: Path) -> Definition | None:
    """Return what is a placeholder in a repository; None if it does not say.

    Raises UserError if the definition is invalid.
    """
    if not os.path.lexists(root / FILE):
        return None
    document = environment.read(root / FILE, root)
    if wrong := json_schema.check(document, SCHEMA):
        raise UserError(*wrong)
    lists = {key: tuple(values) for key, values in document.data.items()}
    return _compiled(tuple(sorted(lists.items())))


@lru_cache
def _compiled(lists: tuple[tuple[str, tuple[str, ...]], ...]) -> Definition:
    names = dict(lists)

    def any_of(alternatives: Iterable[str], before: str, after: str) -> re.Pattern[str] | None:
        words = "|".join(alternatives)
        return re.compile(f"{before}(?:{words}){after}", re.IGNORECASE) if words else None

    # A single word is a host only below others: x.example, not an example.
    hosts = (
        rf"(?:[\w-]+\.){'*' if '.' in each else '+'}{re.escape(each)}"
        for each in names.get("hosts", ())
    )
    return Definition(
        any_of(hosts, r"(?<![\w.-])", r"(?![\w-]|\.\w)"),
        any_of(map(re.escape, names.get("accounts", ())), r"(?<!\d)", r"(?!\d)"),
        tuple(ipaddress.ip_network(each, strict=False) for each in names.get("addresses", ())),
        any_of(map(re.escape, names.get("buckets", ())), r"(?<![\w.-])", r"[\w.-]*"),
        frozenset(each.lower() for each in names.get("validators", ())),
    )


def findings(root: Path, found: Environment) -> list[Finding]:
    """Return the placeholders of an environment, each at its line."""
    known = definition(root)
    if known is None:
        return []
    base = environment.read(root / "base" / "environment.yaml", root)
    documents = [base, found.document, *found.layers[1:], *(p.document for p in found.patches)]
    documents += [own.document for own in found.objects]
    reported = list[Finding]()
    for document in documents:
        own = "" if document.file.startswith("base/") else found.name
        for path, placeholder in _of_document(document, known, found.name):
            message = f"{placeholder.name} is a placeholder: {placeholder.consequence}"
            fix = placeholder.fix if own else f"{placeholder.fix}, or run {COMMAND}"
            reported.append(document.finding(RULE, path, message, fix, environment=own))
    return reported


def _of_document(
    document: Document, known: Definition, name: str
) -> Iterator[tuple[ValuePath, Placeholder]]:
    """Yield the path of each placeholder in a file."""
    for path, text in strings(document.data):
        if path[0] not in _NO_NAMES and (placeholder := known.found(text)):
            yield path, placeholder
    if index := next(_examples(document.data, known), None):
        consequence = "the keys of the example's validators do not exist, so there are no blocks"
        fix = f"remove {document.file}, and run nox -s network -- {name}"
        yield (*_VALIDATORS, index[0], "address"), Placeholder(index[1], consequence, fix)


def _examples(data: Any, known: Definition) -> Iterator[tuple[int, str]]:
    """Yield index and address of each validator of an example."""
    network = data.get("network") if isinstance(data, dict) else None
    listed = network.get("validators") if isinstance(network, dict) else None
    for index, each in enumerate(listed if isinstance(listed, list) else ()):
        address = str(each.get("address") if isinstance(each, dict) else "")
        if address.lower() in known.validators:
            yield index, address


def has_example_chain(root: Path, data: Any) -> bool:
    """Return whether values have the validators of an example."""
    known = definition(root)
    return known is not None and any(_examples(data, known))


def strings(
    data: Any, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield the path of each string in data, and the string."""
    if isinstance(data, str):
        yield path, data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from strings(value, (*path, str(key)))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from strings(value, (*path, index))
