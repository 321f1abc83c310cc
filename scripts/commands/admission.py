"""Check objects with Kubernetes' own validation, and with --against also updates of them."""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.commands import arguments as shared
from scripts.commands import reporting
from scripts.environments import layout

EXAMPLES = (
    "nox -s admission",
    "nox -s admission -- prod --against origin/main --format github",
)
INTERRUPTED = "nothing was written"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    shared.environments(parser)
    shared.findings_format(parser)
    shared.against(parser)


def run(root: Path, options: argparse.Namespace) -> int:
    """Check the objects, and return the exit code."""
    from scripts.checks import admission, layers
    from scripts.rendering import chart_changes

    chart_changes.compare_with(options.against)
    names = layout.environments(root, options.environments)
    result = admission.check(root, layers.rendered(root, names), options.against)
    reporting.not_compared(root, options.against)
    code = reporting.report(result.findings, options.format)
    if options.format == "text":
        for version, count in sorted(result.checked.items()):
            print(f"checked as Kubernetes {version} does: {count} objects")
        if result.skipped:
            kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(result.skipped.items()))
            print(f"not checked, as their controllers validate them: {kinds}")
        if not code:
            print(f"accepted: {layout.called(names)}")
    return code
