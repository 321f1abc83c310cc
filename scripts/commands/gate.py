"""Check that CI runs what a pull request must pass, and that its failure counts."""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.commands import arguments as shared
from scripts.commands import reporting

EXAMPLES = ("nox -s lint",)
INTERRUPTED = "nothing was written"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    shared.findings_format(parser)


def run(root: Path, options: argparse.Namespace) -> int:
    """Check the workflows and CODEOWNERS, and return the exit code."""
    from scripts.checks import gate

    return reporting.report(gate.check(root), options.format)
