"""What was read from files, remembered by what the file system says about them.

As in git's index, a file that has the same size, times and inode as before has the same contents:
to ask for these is a hundred times as fast as to read a thousand environments. A file that changed
just before it was read is not remembered, as a second change could leave its times as they are; a
symbolic link is neither, as its target changes without it. What the program read before it was
changed itself counts for nothing.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from scripts.core import result_store
from scripts.core.repository import PROGRAM

Fact = TypeVar("Fact")
"""Plain data, as JSON has them."""

_STORE = "facts"
_FORMAT = "1"
SETTLED_NS = 3_000_000_000
"""How long a file must have been unchanged: longer than the file system's clock takes to tick."""

_SKIPPED = "__pycache__"


def learn(root: Path, name: str, paths: Iterable[str | Path], read: Callable[[], Fact]) -> Fact:
    """Return what `read` returns, without calling it if the files at the paths are as they were.

    name: of the fact. paths: all that it is read from: files, and folders for the names in them.
    """
    known = _known(root)
    files = [os.fspath(path) for path in paths]
    began = time.time_ns()
    signature, newest = _signature(files)
    found = known.facts.get(name)
    if found and found[0] == signature:
        fact: Fact = found[1]
        return fact
    fact = read()
    if newest + SETTLED_NS < began and _signature(files)[0] == signature:
        known.facts[name] = [signature, fact]
        known.is_changed = True
    elif known.facts.pop(name, None):
        known.is_changed = True
    return fact


def forget(root: Path) -> None:
    """Read everything again in this run."""
    _known(root).facts.clear()


def save(root: Path) -> None:
    """Keep what is known for the next run; if that fails, it only takes longer."""
    known = _known(root)
    if not known.is_changed:
        return
    known.is_changed = False
    result_store.write(root, _STORE, _STORE, known.program, known.facts)


class _Known:
    """The facts of a repository: name → signature and fact."""

    def __init__(self, root: Path) -> None:
        self.is_changed = False
        self.program = _program()
        self.facts: dict[str, Any] = result_store.read(root, _STORE, _STORE, self.program) or {}


@lru_cache(maxsize=4)
def _known(root: Path) -> _Known:
    return _Known(root)


@lru_cache
def _program() -> str:
    return _FORMAT + _signature(str(path) for path in tree(PROGRAM))[0]


def tree(folder: Path) -> Iterator[Path]:
    """Yield a folder and all that is in it, without what Python compiles."""
    yield folder
    for above, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != _SKIPPED]
        yield from (Path(above, name) for name in (*folders, *files))


def _signature(paths: Iterable[str]) -> tuple[str, int]:
    """Return what the file system says about files, and the time of the last change.

    The time is in nanoseconds since 1970; it never ends for what can't be trusted.
    """
    total, newest = hashlib.sha256(), 0
    for path in paths:
        try:
            state = os.lstat(path)
        except OSError:
            total.update(f"{path}\0-\n".encode(errors="surrogateescape"))
            continue
        kind = stat.S_IFMT(state.st_mode)
        if kind == stat.S_IFDIR:
            try:
                names = "\0".join(sorted(os.listdir(path)))  # noqa: PTH208 - many folders
            except OSError:
                newest = 1 << 80
                names = ""
            total.update(f"{path}\0{state.st_mode}\0{names}\n".encode(errors="surrogateescape"))
            continue
        if kind != stat.S_IFREG:
            newest = 1 << 80
        newest = max(newest, state.st_mtime_ns, state.st_ctime_ns)
        parts = (state.st_mode, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
        total.update(f"{path}\0{parts}\n".encode(errors="surrogateescape"))
    return total.hexdigest(), newest
