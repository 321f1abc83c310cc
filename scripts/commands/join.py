"""Join the reports of all shards of a run into the report that one machine would have written."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from scripts.core import findings, shards
from scripts.core.findings import UsageError, UserError

EXAMPLES = (
    "nox -s join -- validate-1.json validate-2.json",
    "nox -s join -- validate-*.json --format github",
)
INTERRUPTED = "nothing was written"

COMMANDS = ("check", "impact", "policy", "validate")
"""The commands with the option --shard; each has FORMATS and a function `join`."""

FORMATS = (*findings.FORMATS, "markdown", "html")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="what a shard has written with --format json; name those of all shards",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="text",
        help="format of the report: one that the command of the shards has",
    )


def run(root: Path, options: argparse.Namespace) -> int:
    """Write the report of the whole run, and return its exit code."""
    reports, ended = shards.read(options.files)
    if ended:
        # An invalid file has ended the run before there was anything to join, as it would here.
        raise UserError(*(findings.from_json(one) for each in ended for one in each["findings"]))
    name = reports[0].command
    if name not in COMMANDS:
        raise UsageError(f"{reports[0].file} is from {name}, which has no shards")
    command = importlib.import_module(f"scripts.commands.{name}")
    if options.format not in command.FORMATS:
        has = ", ".join(command.FORMATS)
        raise UsageError(f"{name} has no format {options.format}: choose one of {has}")
    return int(command.join(root, reports, options.format))
