"""Print progress of slow work to stderr: what is being done, and for how long."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

PROGRESS_AFTER_S = 1.0
PROGRESS_EVERY_S = 20.0

_steps: list[threading.Event] = []
"""The end events of the steps that are running, the innermost last."""


@contextlib.contextmanager
def progress(text: str, begun: float | None = None) -> Iterator[None]:
    """Print the text once the step takes longer than a second, then how long it has been running.

    begun: the monotonic time at which the first of several such steps began; the total is printed,
    too. Of nested steps, only the innermost prints its time.
    """
    start, ended = time.monotonic(), threading.Event()

    def report() -> None:
        if ended.wait(PROGRESS_AFTER_S):
            return
        say(f"{text} …")
        while not ended.wait(PROGRESS_EVERY_S):
            if _steps[-1:] == [ended]:
                now, since = time.monotonic(), ""
                if begun is not None and start - begun >= 1:
                    since = f"; {duration(now - begun)} in all"
                say(f"{text} … {duration(now - start)}{since}")

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    _steps.append(ended)
    try:
        yield
    finally:
        _steps.remove(ended)
        ended.set()
        thread.join()


def duration(seconds: float) -> str:
    """Return a duration as text, like 45 s or 3 min 5 s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def say(text: str) -> None:
    """Print a line to stderr."""
    print(text, file=sys.stderr, flush=True)
