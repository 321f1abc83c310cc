"""What an environment has had on the branch that Argo CD follows, and since when: git's history.

Argo CD syncs a commit within minutes of its merge, so this is about what the environment ran. What
a cluster really runs, only the cluster knows: nox -s diff.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.core import git, programs
from scripts.core.findings import UsageError
from scripts.environments import releases
from scripts.output import git_revision

_FILES = ("environment.yaml", "values.yaml")


@dataclass(frozen=True, slots=True)
class State:
    """An environment at a commit of the branch."""

    commit: str
    time_s: int
    """When it was committed to the branch, in seconds since 1970."""
    release: str
    """As written; empty if it is rendered from the commit's own chart/ and base/."""
    trees: tuple[str, ...]
    """Of chart/ and base/; empty if git does not have them."""
    values: Any
    """Of its own values.yaml."""


@dataclass(frozen=True, slots=True)
class Period:
    """How long an environment had something on the branch without a break."""

    first: State
    """The commit that brought it."""
    since_s: int
    until_s: int | None
    """None if it still has it."""

    def lasted_s(self, now_s: float) -> float:
        """Return how long it was there."""
        return (self.until_s if self.until_s is not None else now_s) - self.since_s


def states(root: Path, branch: str, name: str) -> list[State]:
    """Return the states of an environment on a branch, the newest first.

    Each is a commit that changed its own files, chart/ or base/, as the branch got it: of a merge,
    the commits that were merged do not count.
    """
    own = [f"overlays/{name}/{file}" for file in _FILES]
    options = ("--first-parent", "--format=%H %ct", branch, "--", *own, *releases.PARTS)
    commits = [line.split() for line in git.run(root, "log", *options).splitlines()]
    prefix = git.ask(root, "rev-parse", "--show-prefix").strip()
    wanted = (*own, "base/environment.yaml", *releases.PARTS)
    ids = _ids(root, [f"{commit}:{prefix}{path}" for commit, _ in commits for path in wanted])
    texts = {ids[f"{commit}:{prefix}{path}"] for commit, _ in commits for path in wanted[:3]}
    contents = git.contents(root, texts - {""})
    found = list[State]()
    for commit, time_s in commits:
        settings, values, base, *trees = (ids[f"{commit}:{prefix}{path}"] for path in wanted)
        if not settings:
            break  # before it, there was no such environment
        release = _release(contents, settings, base)
        if release:
            of = releases.find(root, release)
            trees = [*of.trees] if isinstance(of, releases.Release) else []
        data = git_revision.mapping(contents.get(values, b""))
        found.append(State(commit, int(time_s), release, tuple(trees), data))
    return found


def periods(found: Sequence[State], what: Sequence[Any]) -> Iterator[Period]:
    """Yield the periods of equal states, the newest first.

    what: of each state, what must be equal.
    """
    until: int | None = None
    for index, state in enumerate(found):
        if index + 1 == len(found) or what[index + 1] != what[index]:
            yield Period(state, state.time_s, until)
            until = state.time_s


def _release(contents: dict[str, bytes], own: str, base: str) -> str:
    for blob in (own, base):
        release = git_revision.mapping(contents.get(blob, b"")).get("release")
        if isinstance(release, str):
            return release
    return ""


def _ids(root: Path, names: Sequence[str]) -> dict[str, str]:
    """Return name → git's id of what it names, COMMIT:PATH; empty if there is none."""
    given = "".join(f"{name}\n" for name in names)
    command = ["git", "cat-file", "--batch-check=%(objectname)"]
    done = programs.run(command, "git", programs.QUERY_TIMEOUT_S, cwd=root, given=given)
    lines = done.stdout.splitlines()
    if len(lines) != len(names):
        raise UsageError(f"git cat-file: {done.stderr.strip()}")
    return {
        name: "" if line.endswith(" missing") else line
        for name, line in zip(names, lines, strict=True)
    }
