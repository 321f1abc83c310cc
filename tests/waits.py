"""Wait for a state, and fail only when nothing moves any more."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

STILL_S = 180.0
"""How long nothing may move where something is waited for."""

T = TypeVar("T")


def until(ready: Callable[[], T], what: str, progress: Callable[[], object] | None = None) -> T:
    """Return the first answer that is true; raises AssertionError where nothing moves for STILL_S.

    what: what is waited for, for the message. progress: what changes while something moves, like a
    chain's height; where nothing can be seen to move, time alone counts.
    """
    still_s, looked, last = 0.0, time.monotonic(), progress and progress()
    while not (answer := ready()):
        now, seen = time.monotonic(), progress and progress()
        # A machine that was paused has had no time meanwhile: a look counts as a second at most.
        still_s = 0.0 if seen != last else still_s + min(now - looked, 1.0)
        looked, last = now, seen
        assert still_s < STILL_S, f"{what}: nothing has moved for {STILL_S:g} s"
        time.sleep(0.1)
    return answer
