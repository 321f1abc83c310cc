"""What tests have in common: copies of this repository, and its program to run on them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

PARTS = ("argocd", "base", "chart", "overlays", "tools/python")
"""What a repository needs to be rendered and validated."""


@dataclass(frozen=True, slots=True)
class Run:
    """How a run of the program ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Repository:
    """A copy of this repository that a test may change."""

    root: Path

    def __truediv__(self, path: str) -> Path:
        return self.root / path

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of the program on this copy."""
        return [sys.executable, "-m", "scripts", "--repository", str(self.root), *arguments]

    def run(self, *arguments: str, **environment: str) -> Run:
        """Run the program in a process of its own."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
        return Run(done.returncode, done.stdout, done.stderr)

    def write(self, path: str, text: str) -> None:
        """Write a file, and the folders above it."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")

    def replace(self, path: str, old: str, new: str) -> None:
        """Replace a text that must be there."""
        text = (self.root / path).read_text("utf-8")
        assert old in text, f"{path} has no {old!r}"
        self.write(path, text.replace(old, new))

    def files(self, *folders: str) -> dict[str, str]:
        """Return the digests of all files but render's own state, by path."""
        found = {}
        for folder in folders or (".",):
            for path in sorted((self.root / folder).rglob("*")):
                name = path.relative_to(self.root).as_posix()
                if not name.startswith(".render"):
                    found[name] = digest(path)
        return found


def digest(path: Path) -> str:
    """Return what a file, link or folder is, in a line."""
    if path.is_symlink():
        return f"link to {path.readlink()}"
    return "folder" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()


def copy(target: Path) -> Repository:
    """Return a copy of this repository's inputs and output."""
    for part in PARTS:
        shutil.copytree(ROOT / part, target / part, symlinks=True)
    return Repository(target)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Return a copy of this repository that the test may change."""
    return copy(tmp_path / "repository")
