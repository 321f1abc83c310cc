"""Write the generated text: the chart's values (README, schema), the rules (docs/rules.md)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

EXAMPLES = ("nox -s docs", "nox -s docs -- --check")
INTERRUPTED = "run it again"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if a file is out of date"
    )


def run(root: Path, options: argparse.Namespace) -> int:
    """Write the generated text, and return the exit code."""
    from scripts.documentation import rules_table, values_table

    stale = values_table.update(root, check=options.check)
    if rules_table.update(root, check=options.check):
        stale.append("docs/rules.md")
    for file in stale if options.check else ():
        print(f"{file} is out of date: run nox -s docs", file=sys.stderr)
    return int(bool(stale) and options.check)
