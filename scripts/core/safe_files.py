"""Read files of the repository safely: regular files inside it, of a limited size."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from scripts.core.findings import Finding, UserError

MAX_BYTES = 1024 * 1024

RELEASES = ".render/releases"
"""The folders with the chart/ and base/ of releases: each is called KEY@RELEASE."""

_OF_RELEASE = re.compile(re.escape(RELEASES) + r"/[^/@]+@([^/]+)/(.+)")


def read(path: Path, root: Path) -> bytes:
    """Return the contents of a file that people write.

    Raises UserError for a file that is outside the repository, that can't be read, that is not a
    regular file (a pipe or a device may have no end), or that is larger than MAX_BYTES.
    """
    if leaves(path, root):
        raise UserError(outside(path, root))
    try:
        with open(path, "rb", opener=_open_without_blocking) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UserError(_unreadable(path, root, "it is a pipe or a device"))
            raw = b"" if status.st_size > MAX_BYTES else file.read()
    except OSError as error:
        raise UserError(_unreadable(path, root, str(error.strerror), error.errno)) from None
    if status.st_size > MAX_BYTES:
        message = f"the file has {status.st_size} bytes; the maximum is {MAX_BYTES}"
        fix = f"shorten the file to at most {MAX_BYTES} bytes"
        raise UserError(Finding(name(path, root), 0, 0, "file-too-large", message, fix))
    return raw


def entries(folder: Path, root: Path) -> list[Path]:
    """Return the sorted entries of a folder; none if it does not exist.

    Raises UserError for a folder that is outside the repository or can't be read: otherwise it
    would be taken for an empty folder.
    """
    if leaves(folder, root):
        raise UserError(outside(folder, root))
    try:
        return sorted(folder.iterdir()) if os.path.lexists(folder) else []
    except OSError as error:
        message = f"cannot read the folder: {error.strerror}"
        fix = _readable(folder, error.errno)
        raise UserError(
            Finding(name(folder, root), 0, 0, "unreadable-file", message, fix)
        ) from None


def links_out(paths: Iterable[Path], root: Path) -> list[Finding]:
    """Return a finding for each symbolic link that is absolute or points outside the repository.

    An absolute link points outside as soon as the repository is cloned to another place.
    """
    links = [path for path in paths if path.is_symlink()]
    return [outside(p, root) for p in links if p.readlink().is_absolute() or leaves(p, root)]


def reject_unreadable(paths: Iterable[Path], root: Path) -> None:
    """Raise UserError for the first path that Helm could not read, or not to its end."""
    for path in paths:
        if path.is_symlink():
            if leaves(path, root):
                raise UserError(outside(path, root))
            is_loop = Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(path))
            if is_loop or not path.exists():
                message = "the symbolic link points to itself or to nothing"
                fix = "replace the link with a file, or remove the link"
                raise UserError(Finding(name(path, root), 0, 0, "unreadable-file", message, fix))
        if not (path.is_file() or path.is_dir()):
            raise UserError(_unreadable(path, root, "it is a pipe or a device"))
        if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
            raise UserError(_unreadable(path, root, os.strerror(errno.EACCES), errno.EACCES))


def leaves(path: Path, root: Path) -> bool:
    """Return whether the path leads outside the repository; a link to itself does not."""
    return not Path(os.path.realpath(path)).is_relative_to(_real(root))


@lru_cache
def _real(root: Path) -> str:
    return os.path.realpath(root)


def outside(path: Path, root: Path) -> Finding:
    """Return the finding for a symbolic link to something that is not in git."""
    message = "the symbolic link points outside the repository: Argo CD rejects the repository"
    fix = "replace the link with a copy of what it points to"
    return Finding(name(path, root), 0, 0, "symlink-outside-repository", message, fix)


def name(path: Path, root: Path) -> str:
    """Return the path relative to the repository, with forward slashes.

    A file of a release is called chart/values.yaml@v0.4.0.
    """
    relative = path.relative_to(root).as_posix()
    released = _OF_RELEASE.fullmatch(relative)
    return f"{released[2]}@{released[1]}" if released else relative


def _open_without_blocking(path: str, flags: int) -> int:
    # Opening a pipe would block until its other end is open.
    return os.open(path, flags | os.O_NONBLOCK)


def _unreadable(path: Path, root: Path, why: str, number: int | None = None) -> Finding:
    message, fix = f"cannot read the file: {why}", _readable(path, number)
    return Finding(name(path, root), 0, 0, "unreadable-file", message, fix)


def _readable(path: Path, number: int | None) -> str:
    """Return how to make a file or folder readable; number: the system's errno, if there is one."""
    if number == errno.EACCES:
        return f"give yourself the right to read it: chmod u+rX {path.name}"
    kinds = {"symbolic link": path.is_symlink(), "folder": path.is_dir(), "file": path.is_file()}
    what = next((kind for kind, matches in kinds.items() if matches), "pipe or device")
    return f"replace the {what} with a {'folder' if number == errno.ENOTDIR else 'regular file'}"
