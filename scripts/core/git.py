"""Run git in a repository, and read the contents of its objects."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from scripts.core import programs
from scripts.core.findings import UsageError


def run(root: Path, *arguments: str, given: str = "") -> str:
    """Return git's output; given: its standard input.

    Raises UsageError with git's message if it fails, or if there is no git.
    """
    command = ["git", *arguments]
    done = programs.run(command, "git", programs.QUERY_TIMEOUT_S, cwd=root, given=given)
    if done.returncode:
        raise UsageError(f"git: {done.stderr.strip().removeprefix('fatal: ')}")
    return done.stdout


def ask(root: Path, *arguments: str) -> str:
    """Return git's output; empty without git, outside of a repository, or if it fails."""
    try:
        done = programs.run(["git", *arguments], "git", programs.QUERY_TIMEOUT_S, cwd=root)
    except UsageError:
        return ""
    return "" if done.returncode else done.stdout


def contents(root: Path, blobs: Iterable[str]) -> dict[str, bytes]:
    """Return blob → its contents, with one process for all.

    Raises UsageError if git does not have one of them.
    """
    wanted = sorted({*blobs})
    if not wanted:
        return {}
    command = ["git", "cat-file", "--batch"]
    given = "".join(f"{blob}\n" for blob in wanted)
    done = programs.run(command, "git", programs.QUERY_TIMEOUT_S, cwd=root, given=given)
    raw, found, at = done.stdout.encode("utf-8", "surrogateescape"), dict[str, bytes](), 0
    for blob in wanted:
        end = raw.find(b"\n", at)
        words = raw[at:end].split()
        if len(words) != 3:
            why = done.stderr.strip().removeprefix("fatal: ") or f"{blob} is missing"
            raise UsageError(f"git cat-file: {why}: run git fetch --refetch")
        size = int(words[2])
        found[blob] = raw[end + 1 : end + 1 + size]
        at = end + 1 + size + 1
    return found
