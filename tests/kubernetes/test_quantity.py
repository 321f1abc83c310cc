"""Amounts of resources are read as Kubernetes reads them, exactly."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.kubernetes import quantity

GIB = 1024**3


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1n", "0.000000001"),
        ("1u", "0.000001"),
        ("250m", "0.25"),
        ("3", "3"),
        (3, "3"),
        (0.5, "0.5"),
        ("2k", "2000"),
        ("2M", "2000000"),
        ("2G", "2000000000"),
        ("2T", "2000000000000"),
        ("2P", "2000000000000000"),
        ("2E", "2000000000000000000"),
        ("1Ki", "1024"),
        ("1Mi", str(1024**2)),
        ("1.5Gi", str(3 * 1024**3 // 2)),
        ("1Ti", str(1024**4)),
        ("1Pi", str(1024**5)),
        ("1Ei", str(1024**6)),
        ("12e6", "12000000"),
        ("12E6", "12000000"),
        ("5e-3", "0.005"),
        (".5", "0.5"),
        ("1.", "1"),
        ("+1", "1"),
        ("-1", "-1"),
    ],
)
def test_an_amount_is_read_exactly(text: Any, amount: str) -> None:
    assert quantity.parse(text) == Decimal(amount)


@pytest.mark.parametrize(
    "text",
    ["", ".", "10GB", "1K", "1ki", "1 Gi", "1mi", "0x1", "1e", "1e1234", "²", True, None, []],
)
def test_what_kubernetes_would_not_read_is_no_amount(text: Any) -> None:
    assert quantity.parse(text) is None


@given(
    st.sampled_from(["requests.cpu", "limits.memory", "requests.storage", "pods"]),
    st.decimals(0, 2**60, places=3),
)
def test_an_amount_that_is_shown_is_that_amount(resource: str, amount: Decimal) -> None:
    assert quantity.parse(quantity.shown(resource, amount)) == amount
    enough = quantity.parse(quantity.least(resource, amount))
    step = GIB if quantity.of_bytes(resource) else 1
    assert enough is not None
    assert amount <= enough < amount + step
