"""Find the line of a file of the chart that a ConfigMap has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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
