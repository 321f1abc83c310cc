"""Whether the shards of a run have looked at the same files as each other and as the join."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.core import git
from scripts.core.findings import UsageError
from scripts.core.repository import PROGRAM
from scripts.core.sentences import joined
from scripts.core.shards import Report
from scripts.environments import layout, releases
from scripts.output import committed

COMMIT, KEYS = "commit", "keys"


def about(root: Path, names: Sequence[str]) -> dict[str, object]:
    """Return what identifies the files that a shard with these environments looks at."""
    return {COMMIT: _commit(root), KEYS: _keys(root, names)}


def check(root: Path, reports: Sequence[Report]) -> None:
    """Raise UsageError unless the shards have all environments, each as it is here."""
    command, keys = reports[0].command, _keys(root, layout.environments(root))
    for report in reports:
        theirs: Mapping[str, str] = report.about[KEYS]
        other = sorted(name for name, key in theirs.items() if keys.get(name) != key)
        if other or report.about[COMMIT] != _commit(root):
            what = f"other files of {layout.called(other)}" if other else "another commit"
            raise UsageError(
                f"{report.file} is about {what} than this checkout has, or from another version of"
                f" Python: run nox -s join with the files and the Python of nox -s {command}"
            )
    missing = keys.keys() - {name for report in reports for name in report.about[KEYS]}
    if missing:
        raise UsageError(
            f"no shard of {command} has {joined(sorted(missing))}: run all shards again"
        )


def _commit(root: Path) -> str:
    return git.ask(root, "rev-parse", "HEAD").strip()


def _keys(root: Path, names: Sequence[str]) -> dict[str, str]:
    """Return environment → a digest of all that decides its findings, wherever the checkout is."""
    shared = {"python": sys.version.encode()}
    for folder in (root / "chart", root / "base", root / "tools/python", PROGRAM):
        shared |= _contents(folder, folder.parent)
    common = committed.digest(shared)
    keys = {}
    for name in names:
        own = _contents(root / "overlays" / name, root)
        for kind in layout.ARGOCD_FOLDERS:
            own |= _contents(root / layout.argocd_file(kind, name), root)
        release = releases.digest(root, releases.written(root, name))
        digest = f"{common} {committed.digest(own)} {release}"
        keys[name] = hashlib.sha256(digest.encode()).hexdigest()
    return keys


def _contents(path: Path, root: Path) -> dict[str, bytes]:
    """Return path → contents of a file, or of all files in a folder; of a link, where it leads."""
    contents = {}
    for each in [path, *path.rglob("*")]:
        if each.is_symlink():
            raw = os.fsencode(each.readlink())
        elif each.is_file() and "__pycache__" not in each.parts:
            raw = each.read_bytes()
        else:
            continue
        contents[each.relative_to(root).as_posix()] = raw
    return contents
