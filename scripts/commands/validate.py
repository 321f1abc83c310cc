"""Check environments offline: inputs, schemas, rules, and that the output is up to date."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

from scripts.commands import arguments as shared
from scripts.commands import reporting
from scripts.environments import layout

EXAMPLES = ("nox -s validate", "nox -s validate -- prod --against origin/main --format sarif")
INTERRUPTED = "nothing was written"

WIDTH = 100
"""The width of paragraphs, in columns."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    shared.environments(parser)
    shared.findings_format(parser)
    parser.add_argument(
        "--against",
        default="",
        metavar="REVISION",
        help="also check the changes since this git revision, for example origin/main",
    )


def run(root: Path, options: argparse.Namespace) -> int:
    """Validate, and return the exit code."""
    from scripts.checks import layers

    names = layout.environments(root, options.environments)
    renderings = layers.rendered(root, names)
    code = reporting.report(layers.validate(root, renderings, options.against), options.format)
    if not code and options.format == "text":
        print(f"valid: {layout.called(names)}")
        for line in [*layers.survived(renderings), *layers.accepted(renderings)]:
            print(textwrap.fill(line, WIDTH, subsequent_indent="  "))
    return code
