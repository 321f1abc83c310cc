"""Check a genesis file against the table of its keys, with exact balances and each account once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from scripts.checks.option_tables import BESU_GENESIS
from scripts.core import json_schema, paths
from scripts.core.findings import Finding
from scripts.core.yamlio import Document

_UNITS = {"": 0, "wei": 0, "gwei": 9, "eth": 18, "ether": 18}
_AMOUNT = re.compile(r"([0-9]{1,40}(?:\.[0-9]{1,40})?(?:e\+?[0-9]{1,2})?) ?([a-z]*)")
_HEX = re.compile(r"[0-9a-f]{1,64}")


def check(document: Document, form: Path) -> list[Finding]:
    """Return the mistakes in a genesis file of Besu or Maru.

    form: the table of its keys.
    """
    found = json_schema.check(document, form)
    if form != BESU_GENESIS:
        return found
    return [*_exact(document, found), *_twice(document)]


def _exact(document: Document, found: list[Finding]) -> Iterator[Finding]:
    """Yield the findings; those about amounts with the same amount as Besu reads it."""
    if not found:
        return
    fixes = dict[tuple[int, int], str]()
    alloc = paths.get(document.data, ["alloc"])
    for address, account in alloc.items() if isinstance(alloc, dict) else ():
        for key, value in account.items() if isinstance(account, dict) else ():
            fix = _wei(value) if key == "balance" else _hex(value)
            if fix:
                fixes[document.position(["alloc", address, key])] = fix
    for key, value in document.data.items() if isinstance(document.data, dict) else ():
        if fix := _hex(value):
            fixes[document.position([key])] = fix
    for finding in found:
        is_value = finding.rule in ("wrong-value", "wrong-type")
        fix = fixes.get((finding.line, finding.column)) if is_value else None
        yield replace(finding, fix=fix) if fix else finding


def _wei(balance: Any) -> str | None:
    """Return how to write an amount of money as Besu reads it; None if it is not clear."""
    if isinstance(balance, bool) or not isinstance(balance, str | int | float):
        return None
    text = str(balance).strip().lower().replace("_", "").replace(",", "")
    found = _AMOUNT.fullmatch(text)
    if found and found[2] in _UNITS:
        wei = Decimal(found[1]).scaleb(_UNITS[found[2]])
        is_whole = wei == wei.to_integral_value()
        return f'write "{int(wei)}", the amount in wei' if is_whole else None
    return f'write "0x{text}"' if _HEX.fullmatch(text) else None


def _hex(value: Any) -> str | None:
    """Return how to write a number as hex; None for other values."""
    is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return f'write "{hex(value)}"' if is_number else None


def _twice(document: Document) -> Iterator[Finding]:
    """Yield the accounts that differ only in the case of their addresses, or in 0x."""
    seen = dict[str, str]()
    alloc = paths.get(document.data, ["alloc"])
    for address in alloc if isinstance(alloc, dict) else ():
        first = seen.setdefault(address.lower().removeprefix("0x"), address)
        if first != address:
            message = f"alloc has the account {address} twice: Besu adds only one of the balances"
            here, above = (document.position(["alloc", each])[0] for each in (address, first))
            lines = f"{here - above} line{'s' if here - above > 1 else ''}"
            fix = f"remove the account here or the one {lines} above, whichever is wrong"
            yield document.finding("duplicate-key", ["alloc", address], message, fix)
