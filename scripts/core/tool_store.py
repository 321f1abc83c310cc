"""Tools and schemas that all clones of one user share, so that the second clone makes none of them.

The store is $LINEA_TOOLS, or linea-stack/tools in the user's cache folder. An entry is a folder
with the tool, under the name that it has in .tools/, and with its SHA-256. Entries appear with
one rename, and one that does not have its SHA-256 is deleted, so neither a torn nor a changed tool
is used. Clones get hard links where the file system allows it, otherwise copies.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from scripts.core.findings import UsageError

VARIABLE = "LINEA_TOOLS"
"""Environment variable with the folder of the store; if it is empty, there is no store."""
_DEFAULT = Path("linea-stack") / "tools"
_SUM, _UNFINISHED = "sha256", ".unfinished-"

KEPT_S = 60 * 86400.0
"""How long a tool is kept after its last use."""
_BLOCK = 1 << 20


def folder() -> Path | None:
    """Return the folder of the store, or None if there is no safe one.

    It must be the user's own and writable by no other user: its programs are run. Raises UsageError
    if $LINEA_TOOLS names a folder that is not so.
    """
    named = os.environ.get(VARIABLE)
    if named is not None:
        if not named:
            return None
        if (why := _unsafe(Path(named))) is not None:
            raise UsageError(f"{VARIABLE}={named}: {why}")
        return Path(named)
    # https://specifications.freedesktop.org/basedir-spec/latest: a relative path is ignored.
    cache = os.environ.get("XDG_CACHE_HOME", "")
    home = os.environ.get("HOME", "")
    base = Path(cache) if cache.startswith("/") else Path(home) / ".cache" if home else None
    found = base / _DEFAULT if base else None
    return None if found is None or _unsafe(found) is not None else found


def _unsafe(found: Path) -> str | None:
    """Return why a folder can't be the store; create it if necessary."""
    if not found.is_absolute():
        return "it is not an absolute path: write one that begins with /"
    try:
        found.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = found.stat()
    except OSError as error:
        return f"it can't be created ({error.strerror}): write a folder of your own"
    if state.st_uid != os.geteuid():
        return "it belongs to another user, who could change the programs: write a folder of yours"
    if state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "other users may write to it, and could change the programs: run chmod go-w on it"
    if not os.access(found, os.W_OK | os.X_OK):
        return "it is not writable: write a folder of your own"
    return None


def take(name: str, target: Path) -> bool:
    """Put a tool of the store at a path that is free; return whether the store has it."""
    store = folder()
    if store is None or not (entry := store / name).is_dir():
        return False
    try:
        wanted = (entry / _SUM).read_text("ascii", "replace").strip()
        # The copy is compared: what changes in the store meanwhile is not used either.
        _link(entry / "tool", target)
        if digest(target) == wanted:
            os.utime(entry / _SUM)
            return True
    except OSError:  # incomplete, or another clone has deleted it
        pass
    _discard(entry)
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
    return False


def add(name: str, tool: Path) -> None:
    """Add an installed tool; whatever goes wrong, only the store lacks it then."""
    store = folder()
    if store is None or tool.is_symlink():
        return
    with contextlib.suppress(OSError), _unfinished(store) as made:
        _link(tool, made / "tool")
        (made / _SUM).write_text(f"{digest(made / 'tool')}\n", "ascii")
        # Fails if another clone was faster; its tool is as good.
        os.rename(made, store / name)
    _prune(store)


@contextlib.contextmanager
def _unfinished(store: Path) -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=store))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's files with their names and modes."""
    if not path.is_dir():
        return _of_file(path)
    files = sorted(each for each in path.rglob("*") if not each.is_dir())
    lines = (f"{_of_file(each)}  {each.relative_to(path).as_posix()}\n" for each in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _of_file(path: Path) -> str:
    found = hashlib.sha256(b"x" if path.stat().st_mode & stat.S_IXUSR else b"-")
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


def _link(source: Path, target: Path) -> None:
    """Make a file or folder appear at another path, too; copy it where that is impossible."""
    if source.is_dir():
        shutil.copytree(source, target, copy_function=_link_file)
    else:
        _link_file(str(source), str(target))


def _link_file(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def _discard(entry: Path) -> None:
    """Delete an entry; no other clone sees half of it."""
    with contextlib.suppress(OSError), _unfinished(entry.parent) as place:
        os.rename(entry, place / "entry")


def _prune(store: Path) -> None:
    """Delete what has not been used for long, and what killed installations have left."""
    end = time.time() - KEPT_S
    for entry in store.iterdir():
        with contextlib.suppress(OSError):
            marker = entry if entry.name.startswith(_UNFINISHED) else entry / _SUM
            if marker.stat().st_mtime < end:
                _discard(entry)
