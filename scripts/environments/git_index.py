"""What git has of the repository, but not the working tree, and what git would never get of it.

A file that is absent is not always gone: a sparse checkout leaves files out, and the folder of a
submodule is empty until it is updated. Nothing may be deleted, called unused or created again
because of that. Source: https://git-scm.com/docs/git-sparse-checkout,
https://git-scm.com/docs/git-ls-files (the tags of -v).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from scripts.core import git
from scripts.core.findings import Finding

PARTS = ("argocd/", "base/", "chart/", "overlays/")
"""The folders with the output of environments and its inputs."""

_MODULE = "160000"
_MOST_IGNORED = 200
_ENVIRONMENT = re.compile(r"overlays/([^/]+)(?:/environment\.yaml)?")
_USED = re.compile(
    r"overlays/[^/]+/(?:(?:environment|network|values)\.yaml|(?:patches|objects|manifests)/[^/]+\.yaml)"
    r"|argocd/(?:projects/|applications/)?[^/]+\.yaml|base/(?:(?:crds|objects|patches|profiles)/)?[^/]+\.yaml"
    r"|chart/(?:(?:templates|files)/.+|[^/]+\.(?:yaml|json)|\.helmignore)"
)
"""The files that render reads and writes."""


@dataclass(frozen=True, slots=True)
class Index:
    """The entries of git's index that differ from the working tree without git saying so."""

    absent: tuple[str, ...] = ()
    """Files that git leaves out of the working tree."""
    modules: tuple[str, ...] = ()
    """The folders of submodules that are not checked out."""
    hidden: tuple[tuple[str, str], ...] = ()
    """Files of which git ignores changes, with the blob that it has."""
    assumed: frozenset[str] = frozenset()
    """Those of the files above that are marked as unchanged; the others are skipped."""

    @property
    def environments(self) -> list[str]:
        """Return the environments that git has and that are not in the working tree."""
        matches = (_ENVIRONMENT.fullmatch(path) for path in (*self.absent, *self.modules))
        return sorted({match[1] for match in matches if match})

    def within(self, *folders: str) -> list[str]:
        """Return the files and submodules that are absent in folders, or that contain them."""
        every = (*self.absent, *self.modules)
        return [
            p for p in every if any(f"{p}/".startswith(f) or f.startswith(f"{p}/") for f in folders)
        ]


@lru_cache
def read(root: Path) -> Index:
    """Return the index; it is empty without git."""
    absent, modules, hidden = list[str](), list[str](), list[tuple[str, str]]()
    assumed = set[str]()
    for entry in _git(root, "ls-files", "-z", "-v", "-s", "--", *PARTS):
        meta, _, path = entry.partition("\t")
        tag, mode, name, _ = meta.split()
        if mode == _MODULE:
            if not os.path.lexists(root / path / ".git"):
                modules.append(path)
        elif tag == "S" or tag.islower():
            if tag not in "Ss":
                assumed.add(path)
            if os.path.lexists(root / path):
                hidden.append((path, name))
            else:
                absent.append(path)
    return Index(tuple(absent), tuple(modules), tuple(hidden), frozenset(assumed))


def how_to_get(root: Path, paths: Sequence[str]) -> str:
    """Return the command that brings absent files into the working tree."""
    modules = [path for path in paths if path in read(root).modules]
    if modules:
        return f"run git submodule update --init {' '.join(modules)}"
    if _git(root, "config", "--bool", "core.sparseCheckout") == ["true\n"]:
        return f"run git sparse-checkout add {' '.join(_folders(paths))}"
    marked = [
        path for path in paths if (path in read(root).assumed) is (paths[0] in read(root).assumed)
    ]
    files = " ".join(marked)
    return f"run {_track(root, paths[0], files)} && git checkout -- {files}"


def _track(root: Path, path: str, files: str = "") -> str:
    """Return the command that makes git look at a file again, and at others with its mark."""
    option = "assume-unchanged" if path in read(root).assumed else "skip-worktree"
    return f"git update-index --no-{option} {files or path}"


def _folders(paths: Iterable[str]) -> list[str]:
    """Return the folders of paths that belong together: an environment's, argocd, base, chart."""
    parts = (path.split("/") for path in paths)
    return sorted({"/".join(part[: 2 if part[0] == "overlays" else 1]) for part in parts})


def not_checked_out(root: Path, name: str) -> list[Finding]:
    """Return a finding if git has inputs of an environment that are not in the working tree."""
    index, own = read(root), f"overlays/{name}/"
    paths = [
        path
        for path in index.within(own, "base/", "chart/")
        if path in index.modules
        or (_USED.fullmatch(path) and not path.startswith(f"{own}manifests/"))
    ]
    if not paths:
        return []
    more = f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
    message = f"git has {paths[0]}{more}, but this checkout leaves it out: {name} is incomplete"
    fix = how_to_get(root, paths)
    return [Finding(paths[0], 0, 0, "not-checked-out", message, fix)]


def hidden_changes(root: Path) -> list[Finding]:
    """Return a finding for each file whose changes git will never commit."""
    findings = []
    for path, committed in read(root).hidden:
        if (
            _USED.fullmatch(path)
            and (root / path).is_file()
            and blob((root / path).read_bytes()) != committed
        ):
            message = (
                "git ignores changes of this file (skip-worktree or assume-unchanged), so that a "
                "commit has the old contents"
            )
            fix = f"run {_track(root, path)}"
            findings.append(Finding(path, 0, 0, "not-in-git", message, fix))
    return findings


def never_added(root: Path) -> list[Finding]:
    """Return a finding for each file that is read or written here, and that git never gets.

    A .gitignore has it, or it is in a repository of its own.
    """
    ignored = [
        path
        for path in _git(root, "ls-files", "-z", "-o", "-i", "--exclude-standard", "--", *PARTS)
        if _USED.fullmatch(path)
    ]
    findings = [_ignored(*match) for match in _lines_of_gitignore(root, ignored)]
    for path in untracked(root, PARTS):
        if path.endswith("/"):
            message = f"{path} is a git repository of its own: git adds none of its files"
            fix = f"remove {path}.git"
            findings.append(Finding(path.rstrip("/"), 0, 0, "not-in-git", message, fix))
    return findings


_MATCH = re.compile(r"(?P<file>.*?):(?P<line>\d+):(?P<pattern>.*)\t(?P<path>.*)")


def _lines_of_gitignore(root: Path, paths: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return each line that ignores some of the files: where it is, the line, and the first file.

    One line often ignores a whole folder.
    """
    if not paths:
        return []
    options = ("-c", "core.quotePath=false", "check-ignore", "-v", "--no-index")
    lines = "".join(_git(root, *options, "--", *paths[:_MOST_IGNORED])).splitlines()
    found = dict[tuple[str, str], str]()
    for match in filter(None, map(_MATCH.fullmatch, lines)):
        is_own = not Path(match["file"]).is_absolute()
        place = (
            f"line {match['line']} of {match['file']}"
            if is_own
            else "the file of core.excludesFile"
        )
        found.setdefault((place, match["pattern"]), match["path"])
    return [(place, pattern, path) for (place, pattern), path in found.items()]


def _ignored(place: str, pattern: str, path: str) -> Finding:
    message = f"git ignores {path} ({pattern} in {place}): neither CI nor Argo CD gets it"
    fix = f"remove {pattern} from {place}; if other files need it, run git add --force {path}"
    return Finding(path, 0, 0, "not-in-git", message, fix)


def untracked(root: Path, folders: Sequence[str]) -> list[str]:
    """Return the files in folders that git does not have yet and does not ignore."""
    return _git(root, "ls-files", "-z", "-o", "--exclude-standard", "--", *folders)


def waiting(root: Path, names: Sequence[str]) -> str:
    """Return a sentence if git does not have all rendered files of environments yet."""
    folders = [f"overlays/{name}/manifests/" for name in names]
    folders += [
        f"argocd/{kind}/{name}.yaml" for kind in ("projects", "applications") for name in names
    ]
    files = untracked(root, folders) if names else []
    if not files:
        return ""
    count = f"{len(files)} of these files" if len(files) > 1 else files[0]
    return f"git does not have {count} yet: run git add {' '.join(_folders(files))}"


def blob(raw: bytes) -> str:
    """Return git's name of a blob with these contents: the SHA-1 of a header and the contents."""
    return hashlib.sha1(b"blob %d\0" % len(raw) + raw, usedforsecurity=False).hexdigest()


def _git(root: Path, *arguments: str) -> list[str]:
    """Return the entries of git's output; none without git, or outside of a repository."""
    return [entry for entry in git.ask(root, *arguments).split("\0") if entry]
