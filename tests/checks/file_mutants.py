"""Mutants of files that people write: each is a copy of the example with one wrong edit.

An edit of an input is no mutant where nothing would behave otherwise, as in mutants.py.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from scripts.checks import gate
from scripts.core.findings import Finding
from scripts.rendering import chart_files, pipeline
from scripts.rules.snapshot import Objects
from tests.checks import mutants
from tests.checks.mutants import Operator
from tests.conftest import EXAMPLE, ROOT, copy
from tests.rules import examples

MOST = 2
"""Mutants of an operator that are tried each time."""
GATE = ("noxfile.py", ".github")
"""What a copy has beside inputs and output."""


@dataclass(frozen=True, slots=True)
class FileMutant:
    """A file with one break."""

    name: str
    operator: Operator
    file: str
    text: str


@lru_cache
def operators() -> list[Operator]:
    """Return all operators on files."""
    return [
        mutants.operator(family, name, {"at": found["file"], **found}, MOST)
        for family, group in mutants.read("-files").items()
        for name, found in group.items()
    ]


def file_mutants(most: int | None = None) -> list[FileMutant]:
    """Return the mutants of files, of each operator no more; digests of names choose."""
    chosen = list[FileMutant]()
    for operator in operators():
        made = {one.name: one for one in _of(operator)}
        by_digest = sorted(made, key=lambda name: hashlib.sha256(name.encode()).digest())
        chosen += (made[name] for name in sorted(by_digest[: most or operator.most]))
    return chosen


def _of(operator: Operator) -> Iterator[FileMutant]:
    for file in _files():
        if operator.where.fullmatch(file):
            text = (EXAMPLE / file).read_text("utf-8")
            for other in mutants.others(operator, text, (), text):
                name = f"{file}: {operator.name}: {_lines(text, other)}"
                yield FileMutant(name, operator, file, other)


@lru_cache
def _files() -> list[str]:
    parts = ("argocd", "base", "chart", "overlays", *GATE)
    found = [path for part in parts for path in (EXAMPLE / part, *(EXAMPLE / part).rglob("*"))]
    files = (path.relative_to(EXAMPLE).as_posix() for path in found if path.is_file())
    return sorted(file for file in files if "/manifests/" not in file)


def _lines(old: str, new: str) -> str:
    """Return the first line that is otherwise, in words that fit on a line."""
    after = new.split("\n")
    for number, line in enumerate(old.split("\n")):
        if number >= len(after) or after[number] != line:
            became = after[number] if number < len(after) else ""
            shown = f"line {number + 1}, {line.strip()[:50]} → {became.strip()[:60]}"
            return shown.encode("unicode_escape", "replace").decode().replace("\\u2192", "→")
    return f"and {after[-1][:60] or after[-2][:60]}"


# What is found


@dataclass(frozen=True, slots=True)
class Found:
    """What the layers report of a copy: findings, and its objects if it can be rendered."""

    findings: tuple[Finding, ...]
    objects: Objects | None = None


@lru_cache
def _folder() -> Path:
    """Return a copy of this repository, which is as it was between two mutants."""
    _folder_of.append(tempfile.TemporaryDirectory(prefix="mutants-"))
    target = Path(_folder_of[0].name)
    copy(target)
    shutil.copytree(EXAMPLE / ".github", target / ".github")
    shutil.copy(EXAMPLE / "noxfile.py", target)
    (target / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "__main__.py", target / "scripts")
    return target


_folder_of: list[tempfile.TemporaryDirectory[str]] = []


def found(mutant: FileMutant) -> Found:
    """Return what the layers report of a mutant."""
    root = _folder()
    path = root / mutant.file
    before = path.read_bytes()
    path.write_bytes(mutant.text.encode())
    chart_files.reject.cache_clear()
    try:
        return _found(root, mutant.file)
    finally:
        path.write_bytes(before)


def _found(root: Path, file: str) -> Found:
    if file.startswith(GATE):
        return Found(tuple(gate.check(root)))
    name = file.split("/")[1] if file.startswith("overlays/") else "prod"
    made = pipeline.render(root, name)
    if made.findings:
        return Found(made.findings)
    return Found((), replace(examples.objects(name), **_rendered(made)))


def _rendered(made: pipeline.Rendering) -> dict[str, Any]:
    project, application = made.settings
    return {
        "manifests": made.manifests,
        "project": project,
        "application": application,
        "zones": made.zones,
        "namespace": made.namespace,
        "given": made.given,
    }
