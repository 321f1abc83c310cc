"""List the rules across objects: what each checks, and why."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

EXAMPLES = ("nox -s rules", "nox -s rules -- --format json")
INTERRUPTED = "nothing was written"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        "--format", choices=("text", "markdown", "json"), default="text", help="default: text"
    )


def run(_: Path, options: argparse.Namespace) -> int:
    """Write the list, and return the exit code."""
    from scripts.documentation import rules_table

    rules_table.write(options.format, sys.stdout)
    return 0
