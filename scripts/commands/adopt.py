"""Make this repository yours: addresses, accounts, environments and chains, from your answers."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scripts.commands import reporting
from scripts.core.findings import UsageError

EXAMPLES = (
    "nox -s adopt",
    "nox -s adopt -- --answers adopt.yaml",
    "nox -s adopt -- --url https://git.example.com/linea.git --environment dev",
)
INTERRUPTED = "nothing is written, or run it again to complete it"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        "--answers",
        type=Path,
        metavar="FILE",
        help="default: adopt.yaml; without it, the answers are asked for, and written there",
    )
    parser.add_argument("--url", metavar="URL", help="address of your copy of it")
    parser.add_argument("--branch", metavar="NAME", help="branch that Argo CD follows")
    parser.add_argument("--domain", metavar="NAME", help="DNS domain of the hosts")
    parser.add_argument(
        "--environment",
        action="append",
        metavar="NAME[=LIKE]",
        help="an environment that you want, like one of this repository; may be repeated",
    )


def run(root: Path, options: argparse.Namespace) -> int:
    """Adopt the repository, and return the exit code."""
    from scripts.adoption import adopt, questions

    given = (options.url, options.branch, options.domain, options.environment)
    file = Path.cwd() / options.answers if options.answers else root / questions.FILE
    if options.answers and any(given):
        raise UsageError("write --answers or the single answers, not both")
    if not options.answers and (any(given) or not file.exists()):
        asked = questions.Given(
            options.url, options.branch, options.domain, tuple(options.environment or ())
        )
        questions.write(root, file, asked, sys.stdin, sys.stdout)
    return reporting.report(adopt.adopt(root, file, sys.stdout), "text", root)
