"""Where to change an invalid option: in a patch, in a file of the chart, or in the values."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scripts.checks.node_options import InvalidOption
from scripts.core import paths, safe_files
from scripts.core.findings import Finding
from scripts.environments.environment import Environment
from scripts.kubernetes.manifest import Manifest, Where
from scripts.rendering import input_edits, provenance


def located(
    root: Path, inputs: Environment, manifests: Iterable[Manifest], problem: InvalidOption
) -> Finding:
    """Return the problem as a finding at the input to change.

    That is the patch that changes the field, otherwise the chart's file with the same line,
    otherwise the place that provenance finds.
    """
    manifest = next(m for m in manifests if (m.kind, m.name) == (problem.kind, problem.name))
    place, message = None, problem.message
    if problem.line and not _patched(inputs, manifest, problem.path):
        place = _in_chart(root, paths.get(manifest.object, problem.path), problem)
    if problem.line and not place:
        # Then the finding is at the place of the whole text.
        key = str(problem.path[-1])
        message = f"{key}, line {problem.line}{message.removeprefix(key)}"
    file, line, column = place or provenance.of_field(root, inputs, manifest, problem.path)
    finding = Finding(
        file,
        line,
        column,
        problem.rule,
        message,
        str(problem.fix),
        manifest.label,
        inputs.name,
        problem.severity,
    )
    return input_edits.added(root, inputs, manifest, problem.path, problem.fix, finding)


def _patched(inputs: Environment, manifest: Manifest, path: Where) -> bool:
    pointer = "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)
    return any(
        operation["op"] != "test" and pointer.startswith(operation["path"])
        for patch in inputs.patches
        if patch.document.file in manifest.patches
        for operation in patch.operations
    )


def _in_chart(root: Path, text: Any, problem: InvalidOption) -> tuple[str, int, int] | None:
    """Return the place of the problem's line in the chart's file that is most like the text."""
    lines = {line.strip() for line in str(text).splitlines()}
    best, most = None, 0
    for path in sorted((root / "chart" / "files").rglob("*")):
        if path.suffix not in (".toml", ".json") or not path.is_file():
            continue
        own = safe_files.read(path, root).decode("utf-8", "replace").splitlines()
        alike = sum(line.strip() in lines for line in own if line.strip())
        if alike > most and problem.text in own:
            column = len(problem.text) - len(problem.text.lstrip()) + 1
            best, most = (safe_files.name(path, root), own.index(problem.text) + 1, column), alike
    return best
