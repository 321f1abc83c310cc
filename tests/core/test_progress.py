"""Long steps print what they do and how long it has taken."""

from __future__ import annotations

import re
import time

import pytest

from scripts.core import progress


def test_the_innermost_of_nested_steps_prints_how_long_it_has_been_running(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "PROGRESS_AFTER_S", 0.0)
    monkeypatch.setattr(progress, "PROGRESS_EVERY_S", 0.01)
    printed, wanted = "", r"^inner … \d+ s; 1 min \d+ s in all$"
    with progress.progress("outer"), progress.progress("inner", time.monotonic() - 65):
        while not re.search(wanted, printed, re.MULTILINE) or "outer …\n" not in printed:
            printed += capsys.readouterr().err
    assert "outer … " not in printed


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (754.0, "12 min 34 s")]
)
def test_a_duration_has_minutes_and_seconds(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text
