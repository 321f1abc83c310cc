"""Say on stderr what takes long, and for how long it has."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

PROGRESS_AFTER_S = 1.0
PROGRESS_EVERY_S = 20.0

_steps: list[threading.Event] = []
"""The ends of the steps that are under way, the innermost last."""


@contextlib.contextmanager
def progress(text: str, begun: float | None = None) -> Iterator[None]:
    """Say on stderr what is being done once it takes longer than a second, then for how long.

    begun: the monotonic time when the first of several such steps began, to say their sum, too.
    Of steps within steps, only the innermost says for how long.
    """
    start, ended = time.monotonic(), threading.Event()

    def tell() -> None:
        if ended.wait(PROGRESS_AFTER_S):
            return
        say(f"{text} …")
        while not ended.wait(PROGRESS_EVERY_S):
            if _steps[-1:] == [ended]:
                now, since = time.monotonic(), ""
                if begun is not None and start - begun >= 1:
                    since = f"; {duration(now - begun)} in all"
                say(f"{text} … {duration(now - start)}{since}")

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    _steps.append(ended)
    try:
        yield
    finally:
        _steps.remove(ended)
        ended.set()
        thread.join()


def duration(seconds: float) -> str:
    """Return a duration for people: 45 s, 3 min 5 s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def say(text: str) -> None:
    """Write a line on stderr."""
    print(text, file=sys.stderr, flush=True)
