"""Fail if the committed manifests are out of date, and show how they differ; write nothing."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scripts.commands import arguments as shared
from scripts.commands import reporting
from scripts.environments import layout

EXAMPLES = ("nox -s check", "nox -s check -- prod --format github")
INTERRUPTED = "nothing was written"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    shared.environments(parser)
    shared.findings_format(parser)


def run(root: Path, options: argparse.Namespace) -> int:
    """Compare, and return the exit code."""
    if options.format != "text":
        from scripts.checks import layers

        renderings = layers.rendered(root, layout.environments(root, options.environments))
        return reporting.report(layers.compare(root, renderings), options.format)
    from scripts.output import update

    if not update.difference(root, options.environments, sys.stdout):
        print("the committed manifests are up to date")
        return 0
    message = "the committed manifests are out of date: run nox -s render, and commit"
    print(f"{options.command}: {message}", file=sys.stderr)
    return 1
