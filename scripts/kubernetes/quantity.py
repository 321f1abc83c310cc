"""Amounts as Kubernetes writes them, exactly: text → Decimal, and back.

Rules: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from typing import Any

_FORM = re.compile(
    r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:[eE]([+-]?[0-9]+)|([numkMGTPE]|[KMGTPE]i)?)"
)

_MOST_DIGITS = 3
"""Of an exponent: a larger one would only take time."""

_MOST = Decimal(2**63 - 1)
"""Kubernetes caps amounts here."""

_FACTORS = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", 1)},
}

GIB = 1024**3


def parse(value: Any) -> Decimal | None:
    """Return the amount in units, cores or bytes; None where Kubernetes would not read it.

    value: what YAML gives, a text or a number.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    form = _FORM.fullmatch(str(value))
    if form is None:
        return None
    number, exponent, suffix = form.groups()
    if exponent is not None:
        if len(exponent.lstrip("+-")) > _MOST_DIGITS:
            return None
        return _capped(Decimal(f"{number}e{exponent}"))
    return _capped(Decimal(number) * _FACTORS.get(suffix, Decimal(1)))


def notation(value: Any) -> str:
    """Return how the API server keeps an amount: 1000m and 1 alike, 1Gi and 1073741824 not.

    Source: Quantity.CanonicalizeBytes, apimachinery/pkg/api/resource/quantity.go.
    """
    amount, text = parse(value), str(value)
    if amount is None or not amount:
        return ""
    if text.endswith("i"):
        return "binary" if abs(amount) >= 1024 else ""
    if _FORM.fullmatch(text)[2] is None:  # type: ignore[index]
        return ""
    is_plain = amount == amount.to_integral_value() and amount % 1000
    return "" if is_plain else "exponent"


def _capped(amount: Decimal) -> Decimal:
    return max(-_MOST, min(_MOST, amount))


def shown(resource: str, amount: Decimal) -> str:
    """Return the amount for people, in a form that Kubernetes reads: 2.5, 500Gi, 1.5Gi."""
    if not of_bytes(resource):
        return _plain(amount)
    for power, suffix in ((3, "Gi"), (2, "Mi"), (1, "Ki")):
        number = amount / 1024**power
        hundredths = number * 100
        if number >= 1 and hundredths == hundredths.to_integral_value():
            return f"{_plain(number)}{suffix}"
    return _plain(amount)


def least(resource: str, amount: Decimal) -> str:
    """Return the least round amount that is not smaller: whole cores, pods and GiB."""
    if of_bytes(resource):
        return f"{(amount / GIB).to_integral_value(ROUND_CEILING)}Gi"
    return str(amount.to_integral_value(ROUND_CEILING))


def of_bytes(resource: str) -> bool:
    """Return whether the resource, by its name in a quota, is measured in bytes."""
    return resource.endswith(("memory", "storage"))


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
