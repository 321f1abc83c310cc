"""Fixes: whether the most similar word is safe to write."""

from __future__ import annotations

import pytest

from scripts.core import advice
from scripts.core.fixes import is_slip


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("persistance", "persistence"),
        ("sise", "size"),
        ("cdir", "cidr"),
        ("hots", "host"),
        ("host", "hosts"),
        ("rpcfrom", "rpcFrom"),
        ("rpc-from", "rpcFrom"),
        ("Haard", "hard"),
        ("CPU", "cpu"),
        ("Forbidden", "Forbid"),
    ],
)
def test_a_slip_is_safe_to_correct(wrong: str, right: str) -> None:
    assert is_slip(wrong, right)
    assert is_slip(right, wrong)
    assert advice.write_value(right).if_slip(wrong, right).is_safe


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("size", "beside"), ("cpu", "gpu"), ("on", "off"), ("min", "max"), ("region", "origin")],
)
def test_another_word_is_not_a_slip(wrong: str, right: str) -> None:
    assert not is_slip(wrong, right)
    assert not advice.write_value(right).if_slip(wrong, right).is_safe
    assert advice.write_value(right).if_slip(wrong, right).changes
