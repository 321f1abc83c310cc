"""Write the manifests and Argo CD Applications of environments."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scripts.commands import arguments as shared
from scripts.commands import check
from scripts.core import findings
from scripts.core.findings import UsageError

EXAMPLES = ("nox -s render", "nox -s render -- prod")
INTERRUPTED = "the output of each environment is entirely old or entirely new"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    shared.environments(parser)
    shared.findings_format(parser)
    parser.add_argument(
        "--check",
        action="store_true",
        help="the same as nox -s check: write nothing; exit 1 if the output is out of date",
    )
    shared.shard(parser)


def run(root: Path, options: argparse.Namespace) -> int:
    """Render, and return the exit code."""
    if options.check:
        return check.run(root, options)
    if options.shard:
        raise UsageError("--shard needs --check: render writes all environments")
    from scripts.output import update

    # With other formats, stdout must be one document.
    stream = sys.stdout if options.format == "text" else sys.stderr
    update.update(root, options.environments, stream)
    findings.write([], options.format, sys.stdout)
    return 0
