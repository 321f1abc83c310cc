"""The repository's files as they may be read: regular ones, inside it, of a bounded size."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from scripts.core.findings import Finding, UserError

MAX_BYTES = 1024 * 1024


def read(path: Path, root: Path) -> bytes:
    """Return the contents of a file that people write.

    Raises UserError for what leaves the repository, can't be read, is no regular file (a pipe or a
    device has no end) or is larger than MAX_BYTES.
    """
    if leaves(path, root):
        raise UserError(outside(path, root))
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UserError(_unreadable(path, root, "it is a pipe or a device"))
            raw = b"" if status.st_size > MAX_BYTES else file.read()
    except OSError as error:
        raise UserError(_unreadable(path, root, str(error.strerror))) from None
    if status.st_size > MAX_BYTES:
        message = f"the file has {status.st_size} bytes; at most {MAX_BYTES} are read"
        fix = "split or shorten the file"
        raise UserError(Finding(name(path, root), 0, 0, "file-too-large", message, fix))
    return raw


def entries(folder: Path, root: Path) -> list[Path]:
    """Return what is in a folder, sorted; nothing where it isn't there.

    Raises UserError for a folder that leaves the repository or can't be read: it would pass for an
    empty one.
    """
    if leaves(folder, root):
        raise UserError(outside(folder, root))
    try:
        return sorted(folder.iterdir()) if os.path.lexists(folder) else []
    except OSError as error:
        message = f"the folder can't be read: {error.strerror}"
        fix = "make it a folder that you may read"
        raise UserError(
            Finding(name(folder, root), 0, 0, "unreadable-file", message, fix)
        ) from None


def links_out(paths: Iterable[Path], root: Path) -> list[Finding]:
    """Return a finding for each path that is a link out of the repository, or could be one.

    An absolute link leads out wherever the repository stands elsewhere.
    """
    links = [path for path in paths if path.is_symlink()]
    return [outside(p, root) for p in links if p.readlink().is_absolute() or leaves(p, root)]


def refuse_unreadable(paths: Iterable[Path], root: Path) -> None:
    """Raise UserError for the first path that another program could not read, or not to its end."""
    for path in paths:
        if path.is_symlink():
            if leaves(path, root):
                raise UserError(outside(path, root))
            around = Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(path))
            if around or not path.exists():
                message, fix = "the link leads to itself or nowhere", "put the file itself here"
                raise UserError(Finding(name(path, root), 0, 0, "unreadable-file", message, fix))
        if not (path.is_file() or path.is_dir()):
            raise UserError(_unreadable(path, root, "it is a pipe or a device"))
        if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
            raise UserError(_unreadable(path, root, os.strerror(errno.EACCES)))


def leaves(path: Path, root: Path) -> bool:
    """Return whether the path leads out of the repository; a link to itself doesn't."""
    return not Path(os.path.realpath(path)).is_relative_to(_real(root))


@lru_cache
def _real(root: Path) -> str:
    return os.path.realpath(root)


def outside(path: Path, root: Path) -> Finding:
    """Return the finding on a link to what is not in git."""
    message = "this is a symbolic link that leaves the repository"
    fix = "put the file itself here: only what is in git can be reviewed"
    return Finding(name(path, root), 0, 0, "outside-repository", message, fix)


def name(path: Path, root: Path) -> str:
    """Return the path relative to the repository, with forward slashes."""
    return path.relative_to(root).as_posix()


def _without_waiting(path: str, flags: int) -> int:
    # Opening a pipe would wait for its other end.
    return os.open(path, flags | os.O_NONBLOCK)


def _unreadable(path: Path, root: Path, why: str) -> Finding:
    message, fix = f"the file can't be read: {why}", "make it a file that you may read"
    return Finding(name(path, root), 0, 0, "unreadable-file", message, fix)
