"""Find the line of the chart that a change broke.

If templates or files of the chart differ from the last commit and an environment's inputs do not,
whatever is rendered otherwise comes from the chart, and no value is to blame. In CI, and after a
commit, it is the difference from the revision that the change is compared with.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from scripts.core import git, paths, safe_files
from scripts.core.findings import Finding
from scripts.environments import layout
from scripts.environments.environment import Environment
from scripts.kubernetes.manifest import Manifest

_CHART = ("chart/templates/", "chart/files/")
_HUNK = re.compile(r"@@ -\S+ \+(\d+)(?:,(\d+))? @@")
_POSITION = re.compile(r"linea-stack/(templates/[^:\s)]+):(\d+)")
_DEFINED = re.compile(r"""\{\{-?\s*define\s+["`]([^"`]+)["`]""")
_INCLUDED = re.compile(r"""\b(?:include|template)\s+["`]([^"`]+)["`]""")
_NO_TEMPLATE = re.compile(r'no template "([^"]+)" associated|template "([^"]+)" not defined')


@dataclass(frozen=True, slots=True)
class Line:
    """A changed line of the chart; for a removed one, the line before it."""

    file: str
    number: int
    text: str
    """What the line is, or was if it is removed."""


def place(
    root: Path, environment: Environment, manifest: Manifest, path: Sequence[str | int]
) -> tuple[str, int, int] | None:
    """Return file, line and column of the change of the chart that decides a field.

    None if the chart is as before, or the environment's inputs are not, or the field is what it
    was.
    """
    if environment.release or not manifest.template.startswith("chart/"):
        return None
    name = environment.name
    lines = changed(root, name)
    if not lines or _value(manifest.object, path) == _committed(root, name, manifest, tuple(path)):
        return None
    words = [str(part).rpartition("/")[2] for part in path if isinstance(part, str)]
    content = paths.get(manifest.object, path)
    if isinstance(content, str | int | float) and not isinstance(content, bool):
        words.append(str(content))

    def score(line: Line) -> tuple[bool, int, bool]:
        known = sum(word in line.text for word in words[-2:])
        return line.file == manifest.template or known > 0, known, line.file == manifest.template

    best = max(lines, key=score)
    return (best.file, best.number, 1) if score(best)[0] or len(_files(lines)) == 1 else None


def _files(lines: Sequence[Line]) -> set[str]:
    return {line.file for line in lines}


def of_failure(root: Path, environment: Environment, failure: Finding) -> Finding | None:
    """Return a template's failure as a finding in the chart; None if a value may be its cause."""
    if environment.release:  # it does not change
        return None
    missing = _NO_TEMPLATE.search(failure.message)
    if missing:
        return _without_template(root, failure, missing[1] or missing[2])
    lines = changed(root, environment.name)
    if not lines:
        return None
    # Helm names the chain of including templates; the last one fails.
    files = {line.file for line in lines}
    for template, number in reversed(_POSITION.findall(failure.message)):
        if f"chart/{template}" in files:
            return replace(failure, file=f"chart/{template}", line=int(number))
    if failure.line:
        return failure
    own = [line for line in lines if line.file == failure.file] or list(lines)
    return replace(failure, file=own[0].file, line=own[0].number)


def _without_template(root: Path, failure: Finding, name: str) -> Finding:
    """Return the finding that a template is included, and that no file defines it."""
    defined, included, uses = set[str](), set[str](), list[tuple[str, int, int]]()
    for path in sorted((root / "chart" / "templates").rglob("*")):
        text = path.read_text("utf-8", "replace") if path.is_file() else ""
        defined |= set(_DEFINED.findall(text))
        included |= set(_INCLUDED.findall(text))
        for number, line in enumerate(text.splitlines(), 1):
            column = line.find(f'"{name}"') + 1
            if column:
                uses.append((safe_files.name(path, root), number, column))
    place = uses[0] if uses else (failure.file, failure.line, 0)
    more = f" and in {len(uses) - 1} more lines" if len(uses) > 1 else ""
    message = f"no file of the chart defines the template {name}, which is included here{more}"
    fix = f"define {name} in chart/templates/, or remove the include"
    # A definition that was renamed is included nowhere by its new name.
    if near := _renamed(name, defined - included):
        each = "each include" if more else "the include"
        fix = f"write {near} in {each}, or rename the definition of {near} to {name}"
    return Finding(*place, failure.rule, message, fix)


def _renamed(name: str, defined: Collection[str]) -> str | None:
    """Return the name that a template probably has now: one with the same word, or a near one."""
    word = name.rpartition(".")[2].lower()
    same = [other for other in sorted(defined) if word in other.lower()]
    near = difflib.get_close_matches(name, sorted(defined), 1, cutoff=0.8)
    return next(iter([*same, *near]), None)


_bases = ["HEAD"]
"""The revisions with which the chart is compared, the first that it differs from."""


def compare_with(revision: str) -> None:
    """Also compare with this revision, if the chart is as in the last commit; empty for none."""
    _bases[1:] = [revision] if revision else []
    _change.cache_clear()


def changed(root: Path, name: str) -> tuple[Line, ...]:
    """Return the lines of the chart that differ from the last commit, or from the base.

    It is empty if inputs of the environment, or defaults of the chart, differ, too.
    """
    return _change(root, name)[1]


@lru_cache
def _change(root: Path, name: str) -> tuple[str, tuple[Line, ...]]:
    """Return the revision with which the chart is compared, and the lines that differ."""
    for base in _bases:
        options = ("--verify", "--quiet", "--end-of-options", f"{base}^{{commit}}")
        revision = git.ask(root, "rev-parse", *options).strip()
        lines = _changed(root, revision, "chart") if revision else ()
        if lines:
            own = (f"overlays/{name}", f":(exclude){layout.manifests_folder(name)}")
            others = _changed(root, revision, "base", *own)
            is_alone = not others and all(line.file.startswith(_CHART) for line in lines)
            return revision, lines if is_alone else ()
    return "HEAD", ()


@lru_cache
def _changed(root: Path, revision: str, *parts: str) -> tuple[Line, ...]:
    options = ("--no-ext-diff", "--no-color", "--no-renames", "--no-prefix", "--relative")
    command = ("-c", "core.quotePath=false", "diff", revision, "-U0", *options, "--", *parts)
    lines = list(_lines(git.ask(root, *command)))
    others = git.ask(root, "ls-files", "-z", "-o", "--exclude-standard", "--", *parts)
    for file in others.split("\0"):
        if file:
            lines += _whole(root, file)
    return tuple(lines)


def _whole(root: Path, file: str) -> Iterator[Line]:
    if not file.startswith(_CHART):
        yield Line(file, 1, "")
        return
    for number, text in enumerate((root / file).read_text("utf-8", "replace").splitlines(), 1):
        yield Line(file, number, text)


def _lines(diff: str) -> Iterator[Line]:
    """Yield the changed lines of a diff without context."""
    file, number, before = "", 0, 0
    for text in diff.split("\n"):
        if text.startswith("--- ") and not before:
            file = text[4:].rstrip("\t")
        elif text.startswith("+++ ") and not before:
            file = file if text[4:] == "/dev/null" else text[4:].rstrip("\t")
        elif match := _HUNK.match(text):
            number, before = int(match[1]), 1
        elif text.startswith("diff --git "):
            before = 0
        elif before and text.startswith("-"):
            yield Line(file, max(number, 1), text[1:])
        elif before and text.startswith("+"):
            yield Line(file, number, text[1:])
            number += 1


def _value(data: Any, path: Sequence[str | int]) -> str:
    """Return what a field is, so that 443 and "443" differ; empty if there is none."""
    return json.dumps(paths.get(data, path), sort_keys=True, default=str)


def _committed(root: Path, name: str, manifest: Manifest, path: tuple[str | int, ...]) -> str:
    file = f"{layout.manifests_folder(name)}/{manifest.file_name}"
    return _value(_old(root, _change(root, name)[0], file), path)


@lru_cache(maxsize=512)
def _old(root: Path, revision: str, file: str) -> Mapping[str, Any]:
    """Return the object of a rendered file in a revision; empty if there is none."""
    try:
        data = yaml.load(git.ask(root, "show", f"{revision}:./{file}"), yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
