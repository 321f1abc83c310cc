"""Find the line of a file of the chart that a ConfigMap has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.core import paths, safe_files
from scripts.environments.environment import Environment
from scripts.kubernetes.manifest import Manifest


def place(
    root: Path,
    environment: Environment,
    manifest: Manifest,
    path: Sequence[str | int],
    part: str,
) -> tuple[str, int, int] | None:
    """Return the position in chart/files of a whole line of a ConfigMap's entry, if it is there.

    part: the line. Templates may replace words, but keep the lines. So the file is the one with the
    same name, or the end of it, and the most lines in common.
    """
    text = paths.get(manifest.object, path)
    if manifest.kind != "ConfigMap" or len(path) != 2 or not isinstance(text, str):
        return None
    lines, best = text.splitlines(), (0, root, [""])
    number = next((n for n, line in enumerate(lines, 1) if part and part == line.strip()), 0)
    if not number:
        return None
    for file in sorted((environment.source / "chart" / "files").rglob("*")):
        if f"-{path[1]}".endswith(f"-{file.name}") and file.is_file():
            own = file.read_text("utf-8").splitlines()
            best = max(best, (len(set(own) & set(lines)), file, own))
    shared, file, own = best
    if not shared or len(own) != len(lines):
        return None
    line = own[number - 1]
    return safe_files.name(file, root), number, len(line) - len(line.lstrip()) + 1


_MANY_LINES = 2


def is_another(
    before: Mapping[tuple[str, str], Any],
    after: Mapping[tuple[str, str], Any],
    key: tuple[str, str],
    path: Sequence[str | int],
) -> bool:
    """Return whether a field that an experiment has changed keeps less than half of its lines.

    A default that writes one line of a file, such as the level of a log, does not decide the rest.
    Fields other than files of a ConfigMap, files of few lines, and objects that came, went or got
    another name, count as changed.
    """
    if path[0] != "data":
        return True
    old, new = (paths.get(objects.get(key), path) for objects in (before, after))
    if not isinstance(old, str) or not isinstance(new, str) or old.count("\n") < _MANY_LINES:
        return True
    lines = set(old.splitlines())
    return len(lines & set(new.splitlines())) * 2 < len(lines)
