"""The committed output of environments: read it, compare it, replace it at once.

An environment's output is overlays/<env>/manifests/ and its two files in argocd/. A replacement is
staged whole under .render/, then made valid by one rename (the journal), then carried out. A crash
before that rename leaves the old output; a crash after it is finished by the next command. The
folder of manifests is swapped in one step by the kernel, so nobody ever sees half of it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from scripts.core import safe_files
from scripts.core.findings import Finding, UsageError, UserError
from scripts.environments import layout

_WORK = ".render"
_DIGEST = "digest"


def read(root: Path, name: str) -> dict[str, bytes]:
    """Return the environment's output as it stands in the working tree.

    Raises UserError for what render did not write: it is never deleted, so it must not be there.
    """
    found = {}
    folder = root / layout.manifests_folder(name)
    if folder.is_symlink() or (os.path.lexists(folder) and not folder.is_dir()):
        raise UserError(_foreign(layout.manifests_folder(name)))
    entries = safe_files.entries(folder, root)
    argocd = [root / layout.argocd_file(kind, name) for kind in layout.ARGOCD_FOLDERS]
    findings = [
        safe_files.outside(path.parent, root)
        for path in argocd
        if safe_files.leaves(path.parent, root)
    ]
    for path in [*entries, *(path for path in argocd if os.path.lexists(path))]:
        file = safe_files.name(path, root)
        if path.is_symlink() or not path.is_file():
            findings.append(_foreign(file))
            continue
        raw = path.read_bytes()
        if not layout.is_written(raw):
            findings.append(_foreign(file))
        found[file] = raw
    if findings:
        raise UserError(*findings)
    return found


def _foreign(file: str) -> Finding:
    message = "render did not write this, and would have to delete it"
    fix = "move it away (an object of your own belongs into chart/templates), or delete it yourself"
    return Finding(file, 0, 0, "foreign-file", message, fix)


def orphans(root: Path) -> list[str]:
    """Return the files in argocd/ of environments whose folder is gone.

    Raises UserError for one that render did not write.
    """
    found, findings = [], []
    for kind in layout.ARGOCD_FOLDERS:
        for path in safe_files.entries(root / "argocd" / kind, root):
            if path.suffix == ".yaml" and (root / "overlays" / path.stem).is_dir():
                continue
            file = safe_files.name(path, root)
            if path.is_file() and layout.is_written(path.read_bytes()):
                found.append(file)
            else:
                findings.append(_foreign(file))
    if findings:
        raise UserError(*findings)
    return found


def digest(contents: Mapping[str, bytes]) -> str:
    """Return the SHA-256 of names and contents."""
    total = hashlib.sha256()
    for name in sorted(contents):
        total.update(os.fsencode(f"{name}\0{len(contents[name])}\0"))
        total.update(contents[name])
    return total.hexdigest()


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the repository's render lock, and finish what a killed render had begun.

    A second render waits for the first. Raises UsageError where nothing can be written.
    """
    if (root / _WORK).is_symlink():
        # What is staged must be on the file system of its target, for a rename to put it there.
        raise UsageError(
            f"{_WORK}: this is a symbolic link; remove it, and render makes the folder"
        )
    with _told(root):
        (root / _WORK).mkdir(exist_ok=True)
        lock = os.open(root / _WORK / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another render is at work here; waiting for it …", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        with _told(root), _uninterrupted():
            _recover(root)
        yield
    finally:
        os.close(lock)


def recover(root: Path) -> None:
    """Finish what a killed render had begun, where there is something to finish."""
    if any((root / _WORK / "ready").glob("*")):
        with locked(root):
            pass


@contextlib.contextmanager
def staging(root: Path) -> Iterator[None]:
    """Leave nothing staged behind, however the work inside ends; call it while locked."""
    try:
        yield
    finally:
        shutil.rmtree(root / _WORK / "staged", ignore_errors=True)


def commit(root: Path, names: Sequence[str], remove: Sequence[str]) -> None:
    """Bring the staged outputs of environments into place, and remove the named files.

    Raises UsageError where the file system refuses.
    """
    with _told(root, "the next render finishes what was begun"), _uninterrupted():
        for name in names:
            ready = root / _WORK / "ready" / name
            ready.parent.mkdir(exist_ok=True)
            os.rename(root / _WORK / "staged" / name, ready)
            _carry_out(root, ready)
        for file in remove:
            (root / file).unlink()


def stage(root: Path, name: str, output: layout.Files) -> None:
    """Write an environment's new output to where commit() takes it from; call it while staging.

    Raises UsageError, and has touched nothing that is committed, where the disk is full or a
    folder that commit() needs can't be written.
    """
    with _told(root):
        _stage(root, root / _WORK / "staged" / name, name, output)


def _stage(root: Path, folder: Path, name: str, output: layout.Files) -> None:
    targets = {(root / file).parent for file in output} | {root / "overlays" / name}
    for target in targets:
        target.mkdir(parents=True, exist_ok=True)
        if not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
    for parent in {(folder / file).parent for file in output} | {
        folder / layout.manifests_folder(name)
    }:
        parent.mkdir(parents=True, exist_ok=True)
    for file, text in output.items():
        (folder / file).write_bytes(text.encode())
    inside = layout.manifests_folder(name) + "/"
    manifests = {
        f.removeprefix(inside): t.encode() for f, t in output.items() if f.startswith(inside)
    }
    (folder / _DIGEST).write_text(digest(manifests))


def _is(folder: Path, wanted: str) -> bool:
    """Return whether a folder has exactly the files of that digest."""
    try:
        return digest({path.name: path.read_bytes() for path in folder.iterdir()}) == wanted
    except OSError:  # not there, or with a folder in it
        return False


def _recover(root: Path) -> None:
    for ready in sorted((root / _WORK / "ready").glob("*")):
        _carry_out(root, ready)
    shutil.rmtree(root / _WORK / "staged", ignore_errors=True)


def _carry_out(root: Path, ready: Path) -> None:
    """Bring a whole staged output into place; done again after a crash, it does what is left."""
    name = ready.name
    new, target = ready / layout.manifests_folder(name), root / layout.manifests_folder(name)
    if target.parent.is_dir():
        wanted = (ready / _DIGEST).read_text()
        if not _is(target, wanted):
            if not _is(new, wanted):
                # Carried out before a crash, and what came of it was changed since: leave it so.
                _forget(root, ready)
                return
            read(root, name)  # refuses to go on over what render did not write
            if target.is_dir():
                _exchange(new, target)
            else:
                os.rename(new, target)
        for kind in layout.ARGOCD_FOLDERS:
            file = ready / layout.argocd_file(kind, name)
            if file.is_file():
                (root / "argocd" / kind).mkdir(parents=True, exist_ok=True)
                os.replace(file, root / layout.argocd_file(kind, name))
    _forget(root, ready)


def _forget(root: Path, ready: Path) -> None:
    # Renamed away first: half a journal must never be carried out.
    spent = root / _WORK / "staged" / f".{ready.name}-{os.getpid()}-{time.monotonic_ns()}"
    spent.parent.mkdir(exist_ok=True)
    os.rename(ready, spent)
    shutil.rmtree(spent, ignore_errors=True)


def _exchange(new: Path, target: Path) -> None:
    """Swap two folders in one step, as renameat2(2) on Linux and renamex_np(2) on macOS do."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    swap = 2  # RENAME_EXCHANGE, and RENAME_SWAP too
    names = os.fsencode(new), os.fsencode(target)
    here = -100  # AT_FDCWD
    if hasattr(libc, "renameat2"):
        failed = libc.renameat2(here, names[0], here, names[1], swap)
    elif hasattr(libc, "renamex_np"):
        failed = libc.renamex_np(*names, swap)
    else:
        failed, _ = -1, ctypes.set_errno(errno.ENOSYS)
    if not failed:
        return
    code = ctypes.get_errno()
    if code not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        raise OSError(code, os.strerror(code), str(target))
    # A file system that can't swap: two renames, of which the journal repeats the second.
    old = new.with_name("manifests.old")
    shutil.rmtree(old, ignore_errors=True)
    os.rename(target, old)
    os.rename(new, target)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait for the few renames that belong together.

    Blocking the signals would not do: the threads of Helm's engine would take them.
    """
    late = list[int]()
    before = {
        number: signal.signal(number, lambda number, _: late.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if late:
        signal.raise_signal(late[0])


@contextlib.contextmanager
def _told(root: Path, left: str = "the manifests are as they were") -> Iterator[None]:
    """Turn what the file system refuses into a UsageError, which says how things are left."""
    try:
        yield
    except OSError as error:
        told = {
            errno.ENOSPC: "the disk is full",
            errno.EDQUOT: "the disk quota is used up",
            errno.EROFS: "the file system is read-only",
            errno.EACCES: "no permission to write",
            errno.EPERM: "no permission to write",
        }.get(error.errno or 0, error.strerror or str(error))
        name = str(error.filename or root)
        with contextlib.suppress(ValueError):
            name = Path(name).relative_to(root).as_posix()
        raise UsageError(f"{name}: {told}; {left}") from error
