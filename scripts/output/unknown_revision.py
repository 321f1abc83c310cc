"""Say how to get a revision that git does not know, for example in a clone of one branch."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from scripts.core import programs
from scripts.core.programs import QUERY_TIMEOUT_S

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_RELATIVE = re.compile(r"(?P<base>[^~^@]+)(?:[~^]|@\{).*")
_NAME = re.compile(r"[\w][\w.+/-]*")
"""What can be the name of a branch or tag, without `..`; see git-check-ref-format(1)."""


def advice(root: Path, revision: str) -> str:
    """Return what to do about a revision that git does not know.

    A shallow clone, or one of a single branch, has neither earlier commits nor other branches. Its
    refspec has only that branch, so a plain `git fetch` does not get others, either
    (https://git-scm.com/docs/git-clone, --single-branch).
    """
    general = "write a branch, tag or commit of this repository"
    remotes = _lines(root, "remote")
    if not remotes:
        return f"{general}; this one has no remote to fetch others from"
    remote = "origin" if "origin" in remotes else remotes[0]
    is_shallow = _lines(root, "rev-parse", "--is-shallow-repository") == ["true"]
    if relative := _RELATIVE.fullmatch(revision):
        if not _lines(root, "rev-parse", "--verify", "--quiet", f"{relative['base']}^{{commit}}"):
            return advice(root, relative["base"])
        if is_shallow:
            return f"this clone is shallow; run git fetch --unshallow {remote} for earlier commits"
        return f"{relative['base']} is known, but not {revision}; git log shows which commits exist"
    if _COMMIT.fullmatch(revision):
        if not revision.strip("0"):
            return f"{general}; CI writes zeros if a branch has no earlier commit"
        return f"run git fetch {remote} {revision}"
    if not _NAME.fullmatch(revision) or ".." in revision:
        return general
    first, slash, rest = revision.removeprefix("refs/remotes/").partition("/")
    if slash and first in remotes:
        known = _lines(root, "for-each-ref", "--format=%(refname:lstrip=2)", "refs/remotes")
        near = difflib.get_close_matches(f"{first}/{rest}", known, 1, cutoff=0.8)
        question = f"did you mean {near[0]}? otherwise " if near else ""
        return f"{question}run git fetch {first} {rest}:refs/remotes/{first}/{rest}"
    name = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
    if revision.startswith("refs/tags/") or re.match(r"v?\d+\.", revision):
        return f"if it is a tag, run git fetch {remote} tag {name}"
    if _lines(root, "rev-parse", "-q", "--verify", f"refs/remotes/{remote}/{name}"):
        return f"write {remote}/{name}: this clone has no local branch {name}"
    return (
        f"if it is a branch, run git fetch {remote} {name}:refs/remotes/{remote}/{name} and write "
        f"{remote}/{name}; if it is a tag, run git fetch {remote} tag {name}"
    )


def _lines(root: Path, *arguments: str) -> list[str]:
    done = programs.run(["git", *arguments], "git", QUERY_TIMEOUT_S, cwd=root)
    return done.stdout.split() if not done.returncode else []
