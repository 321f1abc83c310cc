"""Git, as all tests run it: without anybody's settings, with one author and one date."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SETTINGS = ("-c", "gc.auto=0", "-c", "safe.directory=*")

NOBODY = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "LC_ALL": "C",
    **{f"GIT_{role}_NAME": "linea" for role in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{role}_EMAIL": "linea@localhost" for role in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{role}_DATE": "2026-01-01T00:00:00Z" for role in ("AUTHOR", "COMMITTER")},
}
"""The environment of git. With it, a revision depends on files, messages and parents only."""


def git(root: Path, *arguments: str) -> str:
    """Run git, and return its output; raises CalledProcessError, with what git says of it."""
    done = attempt(root, *arguments)
    try:
        done.check_returncode()
    except subprocess.CalledProcessError as error:
        error.add_note(done.stderr)
        raise
    return done.stdout


def attempt(root: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run git, which may fail, and return how it ended."""
    return subprocess.run(
        ["git", *SETTINGS, *arguments],
        cwd=root,
        env=os.environ | NOBODY | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def write(root: Path, files: dict[str, str]) -> None:
    """Write files, by path, and the folders above them."""
    for path, text in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")


def committed(root: Path, files: dict[str, str]) -> Path:
    """Create a repository with one commit of the files, and return its path."""
    write(root, files)
    git(root, "init", "-q", "-b", "main")
    commit(root)
    return root


def commit(root: Path) -> None:
    """Commit all files, also those that git would ignore."""
    git(root, "add", "--all", "--force")
    git(root, "commit", "-q", "--allow-empty", "-m", "x")


def commit_on(root: Path, date: str) -> None:
    """Commit all files on a date, like 2026-03-01T00:00:00Z."""
    git(root, "add", "--all")
    dates = {f"GIT_{role}_DATE": date for role in ("AUTHOR", "COMMITTER")}
    attempt(root, "commit", "-q", "--allow-empty", "-m", date, **dates).check_returncode()


def shallow(root: Path, target: Path) -> Path:
    """Clone the last commit only, and return the clone's path."""
    git(root, "clone", "-q", "--depth=1", root.as_uri(), str(target))
    return target
