"""Resolve a merge's conflicts in rendered files: render them again, and git add them.

Rendered files follow from the inputs, so only conflicts in the inputs need a person. Resolve these
first. It works for a merge, a rebase, a cherry-pick, a revert and a stash.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from scripts.commands import arguments as shared
from scripts.core import findings, git
from scripts.core.findings import Finding, UserError
from scripts.environments import git_index, layout
from scripts.output import committed, git_revision, update

_INPUTS = ("base", "chart", "overlays", "scripts", "tools/python/pipeline.txt")
_OUTPUT = (
    "overlays",
    *(f"argocd/{folder}" for folder in layout.ARGOCD_FOLDERS),
    layout.ROOT_FILE,
)
_DIFFERING = ("ls-files", "-z", "--modified", "--deleted", "--others", "--exclude-standard", "--")
_MARKS = re.compile(rb"^<{7,} ", re.MULTILINE)


EXAMPLES = ("git merge origin/main; nox -s merge",)
INTERRUPTED = "run it again"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    shared.findings_format(parser)


def run(root: Path, options: argparse.Namespace) -> int:
    """Resolve the conflicts, and return the exit code."""
    merge(root, sys.stdout if options.format == "text" else sys.stderr)
    findings.write([], options.format, sys.stdout)
    return 0


def merge(root: Path, stream: TextIO) -> None:
    """Render all environments, stage their output in git's index, and print what was done.

    Raises UserError, and changes nothing, if other files are in conflict, if an input has changes
    that are not staged, or if render finds an error; UsageError outside of a git repository.
    """
    unmerged = _unmerged(root)
    rendered = _rendered(root, unmerged)
    conflicts = [path for path in unmerged if path not in rendered]
    if conflicts:
        raise UserError(*(_conflict(root, path, unmerged[path]) for path in conflicts))
    if inputs := [path for path in _differing(root, _INPUTS) if not _is_output(path)]:
        raise UserError(*map(_not_staged, inputs))
    _remove_leftovers(root)
    update.update(root, (), stream)
    add = rendered | {path for path in _differing(root, _OUTPUT) if _is_output(path)}
    if add:
        paths = "".join(f"{path}\0" for path in sorted(add))
        from_stdin = ("--pathspec-from-file=-", "--pathspec-file-nul")
        git.run(root, "--literal-pathspecs", "add", "--all", *from_stdin, given=paths)
    resolved = f"resolved conflicts in {len(rendered)} rendered files; " if rendered else ""
    print(f"{resolved}staged {len(add)} rendered files; git status shows what is next", file=stream)


def _unmerged(root: Path) -> dict[str, dict[str, str]]:
    """Return path → stage → blob; stages: 1 is the common ancestor, 2 is ours, 3 is theirs."""
    unmerged: dict[str, dict[str, str]] = {}
    for line in _split(git.run(root, "ls-files", "-z", "--unmerged")):
        meta, _, path = line.partition("\t")
        _, blob, stage = meta.split()
        unmerged.setdefault(path, {})[stage] = blob
    return unmerged


def _rendered(root: Path, unmerged: dict[str, dict[str, str]]) -> set[str]:
    """Return the unmerged files of which render wrote every version."""
    versions = [
        (path, blob)
        for path, stages in unmerged.items()
        if _is_output(path)
        for blob in stages.values()
    ]
    texts = git_revision.texts(root, versions)
    others = {path for (path, _), text in texts.items() if not layout.is_written(text.encode())}
    return {path for path, _ in versions} - others


def _is_output(path: str) -> bool:
    return path == layout.ROOT_FILE or bool(git_revision.environment_of(path))


def _conflict(root: Path, path: str, stages: dict[str, str]) -> Finding:
    file = root / path
    raw = file.read_bytes() if file.is_file() else b""
    conflict = _MARKS.search(raw)
    line = raw.count(b"\n", 0, conflict.start()) + 1 if conflict else 0
    message = "git could not merge the two versions of this file"
    fix = f"resolve the conflict, then git add {path}"
    if not {"2", "3"} <= stages.keys():
        message = "one version removes this file, and the other changes it"
        fix = f"run git add {path} to keep the file, or git rm {path} to remove it"
    return Finding(path, line, 1 if line else 0, "merge-conflict", message, fix)


def _not_staged(path: str) -> Finding:
    message = (
        "the file has changes that are not staged: the rendered files would not fit the commit"
    )
    fix = f"run git add {path}, or undo its changes"
    return Finding(path, 0, 0, "not-staged", message, fix)


def _remove_leftovers(root: Path) -> None:
    """Remove the output of environments that one version removes and the other changes."""
    for name in layout.environments(root):
        folder = root / "overlays" / name
        if name in git_index.read(root).environments:
            continue  # a sparse checkout leaves its inputs out
        if [path.name for path in folder.iterdir()] == ["manifests"]:
            committed.read(root, name)  # raises UserError for files that render did not write
            shutil.rmtree(folder)


def _differing(root: Path, folders: tuple[str, ...]) -> Iterator[str]:
    """Return the files of folders that differ from git's index."""
    return _split(git.run(root, *_DIFFERING, *folders))


def _split(output: str) -> Iterator[str]:
    """Return the entries of git's output with -z, without duplicates."""
    return filter(None, dict.fromkeys(output.split("\0")))
