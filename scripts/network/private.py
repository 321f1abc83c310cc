"""Private files: their owner's alone from the first moment on, and a key is never replaced."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from scripts import files
from scripts.findings import Finding, Severity, UserError

TOP = ".secrets"

_FOLDER, _FILE = 0o700, 0o600
_NEW = ".new"
_MOST_BYTES = 64 * 1024


def folder(root: Path, name: str) -> Path:
    """Return where an environment's private files stand: one folder a Secret, one file a key."""
    return root / TOP / name


def inspect(root: Path, name: str) -> list[Finding]:
    """Return a warning for each file and folder that others could use, and close it to them.

    Raises UserError for a link, or what is neither file nor folder, anywhere among them.
    """
    top = folder(root, name)
    warnings = []
    for path in (top.parent, top):
        if os.path.lexists(path):
            warnings += _inspect(path, root, must_be_folder=True)
    for path in sorted(top.rglob("*")):
        warnings += _inspect(path, root)
    return warnings


def _inspect(path: Path, root: Path, *, must_be_folder: bool = False) -> list[Finding]:
    mode = path.lstat().st_mode
    file = files.name(path, root)
    if stat.S_ISLNK(mode):
        message = "this is a symbolic link: what is private could end up anywhere"
        raise _refused(file, message, "put the folder or file itself here")
    if not stat.S_ISDIR(mode) and (must_be_folder or not stat.S_ISREG(mode)):
        message = "this is no folder" if must_be_folder else "this is neither file nor folder"
        raise _refused(file, message, "remove it")
    wanted = _FOLDER if stat.S_ISDIR(mode) else _FILE
    if not stat.S_IMODE(mode) & ~wanted:
        return []
    path.chmod(wanted)
    message = f"its mode was {stat.S_IMODE(mode):04o}: others on this machine could use it"
    fix = f"its mode is {wanted:04o} now; where others were on this machine, make a new chain"
    return [Finding(file, 0, 0, "open-to-others", message, fix, severity=Severity.WARNING)]


def read(path: Path) -> str | None:
    """Return what a private file holds, None where it isn't there; inspect() comes first.

    What is no text comes back as other characters, for whoever reads it to refuse.
    """
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(opened, "rb") as file:
        return file.read(_MOST_BYTES).decode("ascii", "replace")


def write(root: Path, name: str, contents: dict[str, str], *, replace: bool = False) -> None:
    """Write files, by path under the environment's folder; on disk, whole, when this returns.

    Raises OSError with the file's name where the system refuses, and FileExistsError for a file
    that is there, unless it may be replaced.
    """
    top = folder(root, name)
    changed = set[Path]()
    for made in (top.parent, top):
        _make_folder(made)
    ignore = top.parent / ".gitignore"
    if not os.path.lexists(ignore):
        put(ignore, "*\n", top / _NEW, _FILE)
    for path, text in contents.items():
        _make_folder((top / path).parent)
        put(top / path, text, top / _NEW, _FILE, replace=replace)
        changed |= {top / path, top, top.parent}
    for made in {path.parent for path in changed}:
        _sync(made)


def put(path: Path, text: str, new: Path, mode: int, *, replace: bool = False) -> None:
    """Write a file under another name of the same file system, and then give it its own.

    Call it while the repository is locked. Raises as write does.
    """
    try:
        new.unlink(missing_ok=True)  # half of what a killed run was writing
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(new, flags, mode), "w", encoding="utf-8") as file:
            if mode == _FILE:  # whatever the umask took away
                os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(new, path)
        else:
            os.link(new, path)
            new.unlink()
    except OSError as error:
        new.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(_FOLDER)
    except FileExistsError:
        return
    path.chmod(_FOLDER)


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _refused(file: str, message: str, fix: str) -> UserError:
    return UserError(Finding(file, 0, 0, "no-private-file", message, fix))
