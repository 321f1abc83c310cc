"""Waiting ends where nothing moves."""

from __future__ import annotations

import itertools

import pytest

from tests import waits
from tests.waits import until


def test_waiting_ends_where_nothing_moves_and_no_earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "STILL_S", 0.5)
    with pytest.raises(AssertionError, match=r"^a block: nothing has moved for 0\.5 s$"):
        until(lambda: False, "a block")
    steps = itertools.count()
    assert until(lambda: next(steps) > 30, "steps", lambda: next(steps))
