"""Install the pinned tools, all or those named, and print their paths."""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.core import repository

EXAMPLES = ("nox -s tools", "nox -s tools -- helm4 promtool")
INTERRUPTED = "the next run installs the missing tools"
ON_PROGRAM = True

ONLY_NAMED = frozenset({"helmfile"})
"""Tools that only `nox -s bench` needs, and that take long to build."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("tools", nargs="*", metavar="TOOL", help="default: all but helmfile")


def run(_: Path, options: argparse.Namespace) -> int:
    """Install the tools, and return the exit code."""
    from scripts.core import process_lifetime, toolchain

    process_lifetime.end_with_parent()
    every = {*toolchain.names(), *toolchain.fetched()} - ONLY_NAMED
    wanted = options.tools or sorted(every)
    for program in toolchain.build(wanted):
        print(program.relative_to(repository.ROOT).as_posix())
    return 0
