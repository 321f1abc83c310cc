"""Where to change an invalid option: in a patch, in a file of the chart, or in the values."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from scripts.checks.node_options import InvalidOption
from scripts.core import paths
from scripts.core.findings import Finding
from scripts.environments.environment import Environment
from scripts.kubernetes.manifest import Manifest, Where
from scripts.rendering import block_lines, input_edits, provenance


def located(
    root: Path, inputs: Environment, manifests: Iterable[Manifest], problem: InvalidOption
) -> Finding:
    """Return the problem as a finding at the input to change.

    That is the patch that changes the field, otherwise the chart's file with the same line,
    otherwise the place that provenance finds; in a block of YAML, the line in it.
    """
    manifest = next(m for m in manifests if (m.kind, m.name) == (problem.kind, problem.name))
    message, place = problem.message, None
    text = str(paths.get(manifest.object, problem.path))
    if problem.line and not _patched(inputs, manifest, problem.path):
        place = block_lines.in_chart(root, inputs, problem.path, text, problem.text)
    if place is None:
        whole = provenance.of_field(root, inputs, manifest, problem.path)
        place = block_lines.located(root, inputs, whole, problem.line, text)
        if problem.line and place == whole:
            key = str(problem.path[-1])
            message = f"{key}, line {problem.line}{message.removeprefix(key)}"
    file, line, column = place
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
