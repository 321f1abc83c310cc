"""Which environments a change may concern: those whose files differ from a git revision.

Files that are not listed here decide nothing that `nox -s validate` reports about one environment:
most pages of the docs, tests, workflows. What it reports about several environments, or about files
of none, it looks for in any case.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.core import git
from scripts.environments import layout
from scripts.output import git_revision

SHARED = (
    "base/",
    "chart/",
    "docs/metrics.md",
    "docs/runbooks/",
    "scripts/",
    "tools/kubeconform/",
    "tools/python/pipeline.txt",
    "tools/schemas/",
)
"""The files, or the folders with those, that decide what is reported about every environment."""


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change concerns."""

    environments: tuple[str, ...]
    """The environments that may have other findings than before, sorted."""
    left_out: tuple[str, ...]
    """The other environments, sorted."""
    shared: tuple[str, ...]
    """The changed files that concern all environments."""


def since(root: Path, revision: str, names: Sequence[str]) -> Changed:
    """Return what differs between a revision and the working tree, with files not yet committed.

    names: the environments that are there. Raises UsageError for an unknown revision.
    """
    return of_files(_files(root, revision), names)


def of_files(files: Iterable[str], names: Sequence[str]) -> Changed:
    """Return which of the environments changed files concern."""
    differing = sorted({*files})
    if shared := tuple(file for file in differing if file.startswith(SHARED)):
        return Changed(tuple(names), (), shared)
    own = {layout.environment_of(file) for file in differing}
    concerned = tuple(name for name in names if name in own)
    return Changed(concerned, tuple(name for name in names if name not in own), ())


def _files(root: Path, revision: str) -> list[str]:
    """Return the files that differ; of a file that has moved, the old name and the new one."""
    tree = git_revision.tree(root, revision)
    differing = ["diff", "--name-only", "-z", "--relative", "--no-renames", "--no-ext-diff", tree]
    untracked = ["ls-files", "-z", "--others", "--exclude-standard"]
    listed = (git.run(root, *arguments) for arguments in (differing, untracked))
    return [file for text in listed for file in text.split("\0") if file]
