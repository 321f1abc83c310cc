"""The repository that tests stand on: this one's chart and program, with frozen environments.

tests/example/ has the environments, base/ and CODEOWNERS. Everything else is this repository's own.
All is composed and rendered once for each state of these files, in a
folder that all runs share, and committed to a git repository of its own, as an adopter's is. Tests
read it; `copy` in tests/conftest.py makes one that a test may change.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from scripts.environments import layout
from tests.git import attempt, git

ROOT = Path(__file__).resolve().parent.parent

FROZEN = Path("tests/example")
"""What the example has instead of this repository's files."""
SHARED = (".gitattributes", ".github", "argocd", "chart", "noxfile.py", "tools/python")
"""What it has of this repository, without what render wrote."""
PARTS = ("argocd", "base", "chart", "overlays", "tools/python")
"""What a repository needs to be rendered and validated."""

STORE = ROOT / ".nox" / "example"
"""Not in .tools: it is made again within seconds."""
KEPT_S = 86400.0
"""How long an example of other files is kept after its last use."""


def path() -> Path:
    """Return the composed and rendered example; it is made if there is none of these files.

    Raises RuntimeError with what render prints if it can't be rendered.
    """
    target = STORE / _digest(ROOT)
    STORE.mkdir(parents=True, exist_ok=True)
    with (STORE / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not _is_as_made(target):
            shutil.rmtree(target, ignore_errors=True)
            _make(target)
        os.utime(target)
        for other in STORE.iterdir():
            if other.is_dir() and other.stat().st_mtime < time.time() - KEPT_S:
                shutil.rmtree(other, ignore_errors=True)
    return target


def _is_as_made(target: Path) -> bool:
    """Return whether the example is there, and no test has written to it."""
    if not (target / ".git").is_dir():
        return False
    state = attempt(target, "status", "--porcelain", "--ignored")
    return state.returncode == 0 and not state.stdout


def _make(target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="tmp-", dir=STORE) as temporary:
        made = Path(temporary) / "made"
        compose(ROOT, made)
        git(made, "init", "-q", "-b", "main")
        commit(made, "the example")
        os.rename(made, target)


def with_history(revision: str, folder: Path) -> Path:
    """Return a repository with two commits: the example at a revision of this repository, and now.

    folder: an empty one, to work in. Before the example existed, a revision's own environments
    stand for it. Raises CalledProcessError if git does not know the revision.
    """
    archive, source, made = folder / "archive.tar", folder / "source", folder / "repository"
    git(ROOT, "archive", f"--output={archive}", revision)
    with tarfile.open(archive) as opened:
        opened.extractall(source, filter="data")
    archive.unlink()
    compose(source, made)
    git(made, "init", "-q", "-b", "main")
    commit(made, f"the example at {revision}")
    for each in made.iterdir():
        if each.name != ".git":
            shutil.rmtree(each) if each.is_dir() else each.unlink()
    for part in PARTS:
        whole = path() / part
        shutil.copytree(whole, made / part) if whole.is_dir() else shutil.copy2(whole, made / part)
    commit(made, "the example")
    return made


def compose(source: Path, target: Path) -> None:
    """Write the example of a checkout to a folder, rendered by that checkout's own program."""
    frozen = source / FROZEN
    for part in SHARED if frozen.is_dir() else PARTS:
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, ignore=_written)
        else:
            shutil.copy2(source / part, target / part)
    if frozen.is_dir():
        about = shutil.ignore_patterns("README.md")
        shutil.copytree(frozen, target, dirs_exist_ok=True, ignore=about)
    command = [sys.executable, "-m", "scripts", "--repository", str(target), "render"]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"tests/example/ can't be rendered:\n{done.stdout}{done.stderr}")
    shutil.rmtree(target / ".render", ignore_errors=True)


def commit(root: Path, message: str) -> None:
    """Commit all files of an example."""
    git(root, "add", "--all", "--force")
    git(root, "commit", "-q", "-m", message)


def _written(folder: str, names: list[str]) -> set[str]:
    """Return what compose leaves out of a folder, because render writes it."""
    return {name for name in names if is_written(Path(folder, name))}


def is_written(file: Path) -> bool:
    """Return whether render wrote a file."""
    return file.suffix == ".yaml" and file.is_file() and layout.is_written(file.read_bytes())


def _digest(source: Path) -> str:
    """Return a digest of all that the example is made from."""
    found = hashlib.sha256(sys.version.encode())
    for file in sources(source):
        content = file.read_bytes()
        name = file.relative_to(source).as_posix()
        found.update(f"{name}\0{file.stat().st_mode}\0{len(content)}\0".encode() + content)
    return found.hexdigest()[:16]


def sources(source: Path) -> Iterator[Path]:
    """Yield the files that the example is made from."""
    yield Path(__file__)
    for part in (*SHARED, str(FROZEN), "scripts"):
        for file in sorted((source / part, *(source / part).rglob("*"))):
            if file.is_file() and "__pycache__" not in file.parts and not is_written(file):
                yield file
