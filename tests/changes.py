"""Changes of environments, each named for what it does: a catalogue to predict and to try.

A file of tests/changes/ says in its first line what the change does, and then:

- `of`: the overlay that it is a change of;
- `before`: what must be so already, before and after the change; may be left out;
- `change`: what the change itself does.

Both hold what differs from the overlay: `values` and `environment` are merged into values.yaml
and environment.yaml (null takes the chart's default away), `files` are written into the overlay
(null deletes one), and `edits` replaces parts of files, by what stands there now: of the overlay's,
or of the chart's, which is then another for this environment alone.
What is of `manifests/` is done to what render has written, as somebody does who edits it by hand.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from scripts.environments import environment
from tests.conftest import ROOT, Repository
from tests.copies import copy_environment

FOLDER = Path(__file__).with_name("changes")
_CHART, _MANIFESTS = "chart/", "manifests/"


@dataclass(frozen=True, slots=True)
class Side:
    """What differs from an overlay."""

    values: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str | None] = field(default_factory=dict)
    """Path in the overlay → text; None deletes it."""
    edits: dict[str, dict[str, str]] = field(default_factory=dict)
    """Path in the overlay or of the chart → what stands there → what is to."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one environment."""

    name: str
    about: str
    """What it does: one line."""
    of: str
    """The overlay that it is a change of."""
    before: Side
    after: Side
    """What it does, beside all of `before`."""

    def sides(self, *, changed: bool) -> list[Side]:
        """Return what differs from the overlay: before the change, or after it."""
        return [self.before, self.after] if changed else [self.before]


def load(name: str) -> Change:
    """Return the change of a name: that of its file without .yaml."""
    text = (FOLDER / f"{name}.yaml").read_text("utf-8")
    about, _, _ = text.removeprefix("# ").partition("\n")
    data = yaml.safe_load(text)
    before, after = Side(**data.get("before", {})), Side(**data["change"])
    return Change(name, about, data["of"], before, after)


def catalogue() -> list[Change]:
    """Return all changes, by name."""
    return [load(file.stem) for file in sorted(FOLDER.glob("*.yaml"))]


def write(
    repository: Repository,
    changes: Mapping[str, Change],
    *,
    changed: bool,
    under: Callable[[Change], Mapping[str, Any]] = lambda _: {},
) -> None:
    """Write environments as they are before their changes, or after them, and render them.

    changes: by the name of the environment; where that is the overlay's own, the overlay itself is
    changed, else a copy of it with a namespace and a chain of its own. under: values that the
    environment of a change has, where that does not say otherwise.
    """
    for number, (name, change) in enumerate(sorted(changes.items())):
        target = repository / f"overlays/{name}"
        shutil.rmtree(target, ignore_errors=True)
        source = ROOT / "overlays" / change.of
        if name == change.of:
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("manifests"))
        else:
            copy_environment(source, target, number)
        _merge(target / "values.yaml", under(change))
        for side in change.sides(changed=changed):
            _merge(target / "values.yaml", side.values)
            _merge(target / "environment.yaml", side.environment)
            _put(target, name, change, side, to_manifests=False)
    _render(repository, *changes)
    for name, change in changes.items():
        sides = change.sides(changed=changed)
        with _other_chart(repository, sides) as is_other:
            if is_other:
                _render(repository, name)
        for side in sides:
            _put(repository / f"overlays/{name}", name, change, side, to_manifests=True)


def commit(repository: Repository, message: str) -> str:
    """Commit all of a repository's files, which becomes one of git at first; return the revision.

    It is the same for the same files and message, whoever commits them, and when.
    """
    if not (repository / ".git").exists():
        _git(repository, "init", "--quiet", "--initial-branch=main")
        (repository / ".git/info/exclude").write_text(".render/\n", "utf-8")
    _git(repository, "add", "--all")
    _git(repository, "commit", "--quiet", "--allow-empty", f"--message={message}")
    return _git(repository, "rev-parse", "HEAD").strip()


def _git(repository: Repository, *arguments: str) -> str:
    who = {f"GIT_{role}_NAME": "linea" for role in ("AUTHOR", "COMMITTER")}
    who |= {f"GIT_{role}_EMAIL": "linea@localhost" for role in ("AUTHOR", "COMMITTER")}
    who |= {f"GIT_{role}_DATE": "2026-01-01T00:00:00Z" for role in ("AUTHOR", "COMMITTER")}
    done = subprocess.run(
        ["git", *arguments],
        cwd=repository.root,
        env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "LC_ALL": "C", **who},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    return done.stdout


def _merge(file: Path, patch: Mapping[str, Any]) -> None:
    if patch:
        merged = environment.merge(yaml.safe_load(file.read_text("utf-8")), dict(patch))
        file.write_text(yaml.safe_dump(merged, sort_keys=False), "utf-8")


def _put(overlay: Path, name: str, change: Change, side: Side, *, to_manifests: bool) -> None:
    """Write, delete and edit files of the overlay: its inputs, or what render has written."""
    own = f"linea-{change.of}", f"linea-{name}"
    for path, text in side.files.items():
        if path.startswith(_MANIFESTS) is to_manifests:
            if text is None:
                (overlay / path).unlink()
                continue
            (overlay / path).parent.mkdir(exist_ok=True)
            (overlay / path).write_text(text.replace(*own), "utf-8")
    for path, parts in side.edits.items():
        if not path.startswith(_CHART) and path.startswith(_MANIFESTS) is to_manifests:
            _edit(overlay / path, parts)


def _edit(file: Path, parts: Mapping[str, str]) -> None:
    text = file.read_text("utf-8")
    for old, new in parts.items():
        assert old in text, f"{file} has no {old!r}"
        text = text.replace(old, new)
    file.write_text(text, "utf-8")


@contextmanager
def _other_chart(repository: Repository, sides: list[Side]) -> Iterator[bool]:
    """Have the chart as the sides want it; say whether that is another."""
    edits = [(path, parts) for side in sides for path, parts in side.edits.items()]
    edits = [(path, parts) for path, parts in edits if path.startswith(_CHART)]
    kept = {path: (repository / path).read_text("utf-8") for path, _ in edits}
    for path, parts in edits:
        _edit(repository / path, parts)
    try:
        yield bool(edits)
    finally:
        for path, text in kept.items():
            (repository / path).write_text(text, "utf-8")


def _render(repository: Repository, *names: str) -> None:
    done = repository.run("render", *names)
    assert not done.code, done.out + done.err
