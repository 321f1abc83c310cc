"""The git repository that Argo CD follows: a bare one, and a checkout that is pushed to it."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

import yaml

from scripts.core import programs
from scripts.core.findings import UsageError

GIT_S = 900.0
ADDRESSES = ("base/environment.yaml", "argocd/**/*.yaml")
"""The files that contain the address of the repository."""


class Remote:
    """A copy of a repository, in which its own address replaces the original one."""

    def __init__(self, folder: Path, source: Path) -> None:
        """Create both empty. source: the repository to copy from."""
        self.bare, self.checkout, self._source = folder / "remote.git", folder / "checkout", source
        self._git("init", "--quiet", "--bare", "--initial-branch=main", str(self.bare), at=folder)
        self._git("clone", "--quiet", str(self.bare), str(self.checkout), at=folder)
        self._git("checkout", "--quiet", "-B", "main")

    @property
    def url(self) -> str:
        """The address for Argo CD."""
        return f"file://{self.bare}"

    def take(self, revision: str = "") -> None:
        """Make the checkout equal to a revision of the source, or to its working tree.

        Of the working tree, it takes the files that git tracks or would add. Raises UsageError if
        the revision does not exist.
        """
        for each in self.checkout.iterdir():
            if each.is_dir() and not each.is_symlink():
                if each.name != ".git":
                    shutil.rmtree(each)
            else:
                each.unlink()
        if revision:
            archive = self.checkout / ".git" / "taken.tar"
            self._git("archive", f"--output={archive}", revision, at=self._source)
            with tarfile.open(archive) as opened:
                opened.extractall(self.checkout, filter="data")
            archive.unlink()
        else:
            self._take_files()
        base = yaml.safe_load((self.checkout / ADDRESSES[0]).read_text("utf-8"))
        old_url = base["repository"]["url"]
        for pattern in ADDRESSES:
            for file in self.checkout.glob(pattern):
                text = file.read_text("utf-8")
                file.write_text(text.replace(old_url, self.url), "utf-8")

    def _take_files(self) -> None:
        known = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
        for name in filter(None, self._git(*known, at=self._source).split("\0")):
            file, target = self._source / name, self.checkout / name
            if file.is_file() or file.is_symlink():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, target, follow_symlinks=False)

    def push(self, message: str) -> str:
        """Commit the whole checkout and push it; return the revision."""
        revision = self.commit(message)
        self._git("push", "--quiet", "origin", "main")
        return revision

    def commit(self, message: str) -> str:
        """Commit the whole checkout; return the revision."""
        self._git("add", "--all")
        self._git("commit", "--quiet", "--allow-empty", f"--message={message}")
        return self.revision()

    def revert(self) -> str:
        """Revert the last commit, push that, and return the new revision."""
        self._git("revert", "--no-edit", "HEAD")
        self._git("push", "--quiet", "origin", "main")
        return self.revision()

    def return_to(self, revision: str) -> str:
        """Restore a revision by a new commit, push it, and return the new revision."""
        self._git("rm", "--quiet", "-r", "--force", "--ignore-unmatch", ".")
        self._git("checkout", "--quiet", revision, "--", ".")
        return self.push(f"as in {revision}")

    def revision(self) -> str:
        """Return the checkout's revision."""
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *arguments: str, at: Path | None = None) -> str:
        """Run git, and return its output. Raises UsageError with its errors if it fails."""
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "LC_ALL": "C"}
        for role in ("AUTHOR", "COMMITTER"):
            environment |= {f"GIT_{role}_NAME": "linea", f"GIT_{role}_EMAIL": "linea@localhost"}
        cwd = at or self.checkout
        done = programs.run(["git", *arguments], "git", GIT_S, cwd=cwd, environment=environment)
        if done.returncode:
            raise UsageError(f"git {arguments[0]} failed: {done.stderr.strip()}")
        return done.stdout
