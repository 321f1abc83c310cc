"""Long sweeps, of which one commit needs only a part: `nox -s tests -- --all-examples` runs all.

Their examples are many of the same kind, whose first look is elsewhere: that a rule reports its
examples, and that each mistake gets its message, is no sweep. A run of some tests (by a path or by
-k) leaves nothing out either. The part is the same in each run, so no commit passes by chance.
"""

from __future__ import annotations

import zlib

import pytest

MARKER = "sampled"

_everything = True
"""Outside of pytest: what is called by name is done wholly."""


def add_option(parser: pytest.Parser) -> None:
    """Let pytest know --all-examples."""
    about = "run all examples of long sweeps, as CI does every night; see tests/sweeps.py"
    parser.addoption("--all-examples", action="store_true", dest="everything", help=about)


def configure(config: pytest.Config) -> None:
    """Decide whether sweeps are whole; workers of pytest get the decision as an option."""
    global _everything
    is_main = not hasattr(config, "workerinput")
    is_narrow = config.args_source is config.ArgsSource.ARGS or config.option.keyword
    if is_main and is_narrow:
        config.option.everything = True
    _everything = config.option.everything


def is_whole() -> bool:
    """Return whether sweeps are whole in this run."""
    return _everything


def has(name: object, one_in: int) -> bool:
    """Return whether this run looks at an example: at all of them, or at one in so many."""
    return _everything or zlib.crc32(str(name).encode()) % one_in == 0


def examples(every: int, some: int) -> int:
    """Return how many examples hypothesis draws."""
    return every if _everything else some


def steps(one_in: int) -> range:
    """Return the steps of some work at which it is to be interrupted, until it has no more."""
    return range(0, 1000, 1 if _everything else one_in)


def leave_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests that are marked as `sampled` and are not in the sample."""
    out = [item for item in items if not _is_in(item)]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if _is_in(item)]


def _is_in(item: pytest.Item) -> bool:
    marker = item.get_closest_marker(MARKER)
    return marker is None or has(item.nodeid, marker.args[0])
