"""Changes of environments, each named for what it does, to test predictions.

The first line of a file in tests/changes/ says what the change does. Its keys are:

- `of`: the overlay to change;
- `before`: overrides of the overlay before and after the change; optional;
- `change`: overrides of the overlay after the change.

Overrides are: `values` and `environment`, which are merged into values.yaml and environment.yaml
(null removes the chart's default); `files`, which are written into the overlay (null deletes one);
and `edits`, which replace texts in files of the overlay or of the chart, in the chart for this
environment only. Paths in `manifests/` change the rendered output, like a manual edit.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from scripts.environments import environment
from tests.conftest import EXAMPLE, ROOT, Repository
from tests.environment_copies import copy_environment
from tests.git import git

FOLDER = ROOT / "tests" / "changes"
_CHART, _MANIFESTS = "chart/", "manifests/"


@dataclass(frozen=True, slots=True)
class Overrides:
    """Differences from an overlay."""

    values: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str | None] = field(default_factory=dict)
    """Path in the overlay → text; None deletes it."""
    edits: dict[str, dict[str, str]] = field(default_factory=dict)
    """Path in the overlay or of the chart → old text → new text."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one environment."""

    name: str
    about: str
    """What it does, in one line."""
    of: str
    """The overlay to change."""
    before: Overrides
    """Before and after the change."""
    after: Overrides
    """Only after the change."""

    def overrides(self, *, changed: bool) -> list[Overrides]:
        """Return the differences from the overlay, before or after the change."""
        return [self.before, self.after] if changed else [self.before]


def load(name: str) -> Change:
    """Return the change with a name, which is its file's name without .yaml."""
    text = (FOLDER / f"{name}.yaml").read_text("utf-8")
    about, _, _ = text.removeprefix("# ").partition("\n")
    data = yaml.safe_load(text)
    before, after = Overrides(**data.get("before", {})), Overrides(**data["change"])
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
    """Write environments in their state before or after their changes, and render them.

    changes: by the name of the environment. If it is the overlay's own name, the overlay itself is
    changed, otherwise a copy of it with its own namespace and chain. under: values for the
    environment of a change, which the change may override.
    """
    for number, (name, change) in enumerate(sorted(changes.items())):
        target = repository / f"overlays/{name}"
        shutil.rmtree(target, ignore_errors=True)
        source = EXAMPLE / "overlays" / change.of
        if name == change.of:
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("manifests"))
        else:
            copy_environment(source, target, number)
        _merge(target / "values.yaml", under(change))
        for overrides in change.overrides(changed=changed):
            _merge(target / "values.yaml", overrides.values)
            _merge(target / "environment.yaml", overrides.environment)
            _put(target, name, change, overrides, to_manifests=False)
    _render(repository, *changes)
    for name, change in changes.items():
        every = change.overrides(changed=changed)
        with _edited_chart(repository, every) as is_edited:
            if is_edited:
                _render(repository, name)
        for overrides in every:
            _put(repository / f"overlays/{name}", name, change, overrides, to_manifests=True)


def commit(repository: Repository, message: str) -> str:
    """Commit all files of a repository, initialize git if necessary, and return the revision.

    The revision depends on files and messages only, not on user or time.
    """
    if not (repository / ".git").exists():
        git(repository.root, "init", "--quiet", "--initial-branch=main")
        (repository / ".git/info/exclude").write_text(".render/\n", "utf-8")
    git(repository.root, "add", "--all")
    git(repository.root, "commit", "--quiet", "--allow-empty", f"--message={message}")
    return git(repository.root, "rev-parse", "HEAD").strip()


def _merge(file: Path, patch: Mapping[str, Any]) -> None:
    if patch:
        merged = environment.merge(yaml.safe_load(file.read_text("utf-8")), dict(patch))
        file.write_text(yaml.safe_dump(merged, sort_keys=False), "utf-8")


def _put(
    overlay: Path, name: str, change: Change, overrides: Overrides, *, to_manifests: bool
) -> None:
    """Write, delete and edit files of the overlay: its inputs, or its rendered output."""
    own = f"linea-{change.of}", f"linea-{name}"
    for path, text in overrides.files.items():
        if path.startswith(_MANIFESTS) is to_manifests:
            if text is None:
                (overlay / path).unlink()
                continue
            (overlay / path).parent.mkdir(exist_ok=True)
            (overlay / path).write_text(text.replace(*own), "utf-8")
    for path, parts in overrides.edits.items():
        if not path.startswith(_CHART) and path.startswith(_MANIFESTS) is to_manifests:
            _edit(overlay / path, parts)


def _edit(file: Path, parts: Mapping[str, str]) -> None:
    text = file.read_text("utf-8")
    for old, new in parts.items():
        assert old in text, f"{file} has no {old!r}"
        text = text.replace(old, new)
    file.write_text(text, "utf-8")


@contextmanager
def _edited_chart(repository: Repository, every: list[Overrides]) -> Iterator[bool]:
    """Edit the chart as overrides demand, and restore it; yield whether there are edits."""
    edits = [(path, parts) for overrides in every for path, parts in overrides.edits.items()]
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
