"""The committed output of environments: read it, compare it, replace it at once.

An environment's output is overlays/<env>/manifests/ and its two files in argocd/. The new output is
first staged in .render/. One rename marks it as ready, which is the journal. Then it replaces the
old output. After a crash before that rename, the old output is still there; after a later crash,
the next command completes the replacement. The kernel swaps the folder of manifests in one step, so
no process ever sees half of it.
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

from scripts.core import backup_files, safe_files
from scripts.core.findings import Finding, UsageError, UserError
from scripts.environments import git_index, layout

_WORK = ".render"
_DIGEST = "digest"


def read(root: Path, name: str) -> dict[str, bytes]:
    """Return file → contents of the environment's output in the working tree.

    Raises UserError for files that render did not write, as it never deletes these.
    """
    output = {}
    folder = root / layout.manifests_folder(name)
    if folder.is_symlink() or (os.path.lexists(folder) and not folder.is_dir()):
        raise UserError(_no_folder(layout.manifests_folder(name)))
    entries = safe_files.entries(folder, root)
    argocd = [root / layout.argocd_file(kind, name) for kind in layout.ARGOCD_FOLDERS]
    findings = [
        safe_files.outside(path.parent, root)
        for path in argocd
        if safe_files.leaves(path.parent, root)
    ]
    for path in [*entries, *(path for path in argocd if os.path.lexists(path))]:
        if backup_files.is_of_system(path.name):
            continue  # Argo CD does not read it, and the next render removes it
        file = safe_files.name(path, root)
        if path.is_symlink() or not path.is_file():
            findings.append(_unmanaged(file))
            continue
        raw = path.read_bytes()
        if not layout.is_written(raw):
            findings.append(_unmanaged(file))
        output[file] = raw
    if findings:
        raise UserError(*findings)
    return output


def read_root(root: Path) -> bytes | None:
    """Return the contents of argocd/root.yaml; None if there is none.

    Raises UserError for a file that render did not write.
    """
    path = root / layout.ROOT_FILE
    if not os.path.lexists(path):
        return None
    raw = safe_files.read(path, root)
    if layout.is_written(raw):
        return raw
    message = (
        "render did not write this file: it writes the app of apps for the repository in"
        f" {layout.BASE}"
    )
    fix = f"move {layout.ROOT_FILE} away, run nox -s render, and compare the two"
    raise UserError(Finding(layout.ROOT_FILE, 0, 0, "unmanaged-file", message, fix))


def _no_folder(file: str) -> Finding:
    message = f"{file} must be a folder, which render writes"
    fix = f"remove {file}, and run nox -s render"
    return Finding(file, 0, 0, "unmanaged-file", message, fix)


def _unmanaged(file: str) -> Finding:
    folder, _, name = file.rpartition("/")
    message = f"render did not write {name}, and only rendered files may be in {folder}"
    fix = (
        f"move {name} to another folder, or delete it; for a new object, write a template in chart/"
    )
    if backup_files.original(name):
        fix = f"remove {name}: it is the backup of a file that render writes"
    return Finding(file, 0, 0, "unmanaged-file", message, fix)


def orphans(root: Path) -> list[str]:
    """Return the rendered files in argocd/ of environments that no longer exist.

    Raises UserError for other files there that render did not write.
    """
    files, findings = [], []
    for kind in layout.ARGOCD_FOLDERS:
        for path in safe_files.entries(root / "argocd" / kind, root):
            if path.suffix == ".yaml" and (root / "overlays" / path.stem).is_dir():
                continue
            if backup_files.is_of_system(path.name) or _is_elsewhere(root, path):
                continue
            file = safe_files.name(path, root)
            if path.is_file() and layout.is_written(path.read_bytes()):
                files.append(file)
            else:
                findings.append(_unmanaged(file))
    if findings:
        raise UserError(*findings)
    return files


def _is_elsewhere(root: Path, path: Path) -> bool:
    """Return whether git has the environment of a file in argocd/, but not the working tree."""
    return path.stem in git_index.read(root).environments


def digest(contents: Mapping[str, bytes]) -> str:
    """Return the SHA-256 of names and contents."""
    total = hashlib.sha256()
    for name in sorted(contents):
        total.update(os.fsencode(f"{name}\0{len(contents[name])}\0"))
        total.update(contents[name])
    return total.hexdigest()


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Lock the repository for a render, and complete what a killed render had begun.

    A second render waits for the first. Raises UsageError if the folder is not writable.
    """
    if (root / _WORK).is_symlink():
        # Renaming needs the staged files to be on the file system of their target.
        raise UsageError(f"{_WORK} is a symbolic link: remove it, and render creates the folder")
    with _as_usage_error(root):
        (root / _WORK).mkdir(exist_ok=True)
        lock = os.open(root / _WORK / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another render in this repository …", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        with _as_usage_error(root), _uninterrupted():
            _recover(root)
        yield
    finally:
        os.close(lock)


def recover(root: Path) -> None:
    """Complete what a killed render had begun, if anything."""
    if any((root / _WORK / "ready").glob("*")):
        with locked(root):
            pass


@contextlib.contextmanager
def staging(root: Path) -> Iterator[None]:
    """Delete what is staged when the block ends in any way; call it inside `locked()`."""
    try:
        yield
    finally:
        shutil.rmtree(root / _WORK / "staged", ignore_errors=True)


def commit(
    root: Path, names: Sequence[str], remove: Sequence[str], root_text: str | None = None
) -> None:
    """Replace the output of environments by what is staged, and remove the named files.

    root_text: the new text of argocd/root.yaml; None if it does not change.

    Raises UsageError for an error of the file system.
    """
    with _as_usage_error(root, "the next render completes this one"), _uninterrupted():
        for name in names:
            ready = root / _WORK / "ready" / name
            ready.parent.mkdir(exist_ok=True)
            os.rename(root / _WORK / "staged" / name, ready)
            _replace(root, ready, is_new=True)
        for file in remove:
            (root / file).unlink()
        if root_text is not None:
            new = root / _WORK / "staged" / "root.yaml"
            new.parent.mkdir(exist_ok=True)
            new.write_bytes(root_text.encode())
            os.replace(new, root / layout.ROOT_FILE)


def stage(root: Path, name: str, output: layout.Files) -> None:
    """Stage an environment's new output for commit(); call it inside `staging()`.

    Raises UsageError if the disk is full, or if a folder that commit() needs is not writable; the
    committed output is then unchanged.
    """
    with _as_usage_error(root):
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
    inside, manifests = layout.manifests_folder(name) + "/", {}
    for file, text in output.items():
        raw = text.encode()
        if file.startswith(inside):
            manifests[file.removeprefix(inside)] = raw
        # Not Path.write_bytes, which takes longer: there are many files.
        with open(f"{folder}/{file}", "wb") as stream:  # noqa: PTH123
            stream.write(raw)
    (folder / _DIGEST).write_text(digest(manifests))


def _has_digest(folder: Path, wanted: str) -> bool:
    """Return whether a folder has exactly the files of that digest."""
    try:
        return digest({path.name: path.read_bytes() for path in folder.iterdir()}) == wanted
    except OSError:  # it does not exist, or contains a folder
        return False


def _recover(root: Path) -> None:
    for ready in sorted((root / _WORK / "ready").glob("*")):
        _replace(root, ready)
    shutil.rmtree(root / _WORK / "staged", ignore_errors=True)


def _replace(root: Path, ready: Path, *, is_new: bool = False) -> None:
    """Replace an environment's output by a staged one; after a crash, do the remaining steps.

    is_new: this process has staged it, so that nothing of it is replaced yet.
    """
    name = ready.name
    new, target = ready / layout.manifests_folder(name), root / layout.manifests_folder(name)
    if target.parent.is_dir():
        wanted = (ready / _DIGEST).read_text()
        if is_new or not _has_digest(target, wanted):
            if not is_new and not _has_digest(new, wanted):
                # It was replaced before a crash, and someone has changed it since: keep that.
                _discard(root, ready)
                return
            read(root, name)  # raises UserError for files that render did not write
            if target.is_dir():
                _exchange(new, target)
            else:
                os.rename(new, target)
        for kind in layout.ARGOCD_FOLDERS:
            file = ready / layout.argocd_file(kind, name)
            if file.is_file():
                (root / "argocd" / kind).mkdir(parents=True, exist_ok=True)
                os.replace(file, root / layout.argocd_file(kind, name))
    _discard(root, ready)


def _discard(root: Path, ready: Path) -> None:
    # The rename comes first, as recovery must never see half of the journal.
    discarded = root / _WORK / "staged" / f".{ready.name}-{os.getpid()}-{time.monotonic_ns()}"
    discarded.parent.mkdir(exist_ok=True)
    os.rename(ready, discarded)
    shutil.rmtree(discarded, ignore_errors=True)


def _exchange(new: Path, target: Path) -> None:
    """Swap two folders in one step, with renameat2(2) on Linux and renamex_np(2) on macOS."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    swap = 2  # RENAME_EXCHANGE and RENAME_SWAP
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
    # The file system can't swap: rename twice. After a crash in between, recovery does the second.
    old = new.with_name("manifests.old")
    shutil.rmtree(old, ignore_errors=True)
    os.rename(target, old)
    os.rename(new, target)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Delay Ctrl-C until the block has ended.

    Blocking the signals is not enough: the threads of Helm's engine would receive them.
    """
    delayed = list[int]()
    before = {
        number: signal.signal(number, lambda number, _: delayed.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if delayed:
        signal.raise_signal(delayed[0])


@contextlib.contextmanager
def _as_usage_error(root: Path, state: str = "the manifests are unchanged") -> Iterator[None]:
    """Turn errors of the file system into a UsageError, which also tells the resulting state."""
    try:
        yield
    except OSError as error:
        problem = {
            errno.ENOSPC: "the disk is full",
            errno.EDQUOT: "the disk quota is used up",
            errno.EROFS: "the file system is read-only",
            errno.EACCES: "no permission to write",
            errno.EPERM: "no permission to write",
        }.get(error.errno or 0, error.strerror or str(error))
        name = str(error.filename or root)
        with contextlib.suppress(ValueError):
            name = Path(name).relative_to(root).as_posix()
        raise UsageError(f"{name}: {problem}; {state}") from error
