"""Rename an environment, and say how Argo CD hands its objects over without a restart."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = ("nox -s rename -- qa quality",)
INTERRUPTED = "the environment has its old name"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("old", metavar="OLD", help="the environment as it is called now")
    parser.add_argument("new", metavar="NEW", help="its new name")


def run(root: Path, options: argparse.Namespace) -> int:
    """Rename the environment, and return the exit code."""
    from scripts.adoption import rename

    for line in rename.rename(root, options.old, options.new):
        print(line)
    return 0
