"""Whether the shards of a run have looked at the same files as each other and as the join."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.core import git
from scripts.core.findings import UsageError
from scripts.core.sentences import joined
from scripts.core.shards import Report
from scripts.environments import layout
from scripts.output import render_cache

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
    packages = render_cache.digest(root, root / "tools/python", "tools/python")
    inputs = render_cache.inputs(root, names)
    digests = {n: f"{packages} {inputs[n]} {render_cache.found(root, n)}" for n in names}
    return {name: hashlib.sha256(digest.encode()).hexdigest() for name, digest in digests.items()}
