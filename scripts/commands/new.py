"""Make an environment like another one, with its own namespace, hosts, chain and private keys."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scripts.commands.arguments import whole_number
from scripts.core.findings import UserError

EXAMPLES = (
    "nox -s new -- qa --like staging",
    "nox -s new -- qa --like prod --cluster https://qa.example.com --validators 4",
)
INTERRUPTED = "nothing is left of the new environment"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("name", metavar="NAME", help="the new environment, for example qa")
    parser.add_argument(
        "--like", required=True, metavar="ENVIRONMENT", help="the environment to copy"
    )
    parser.add_argument(
        "--cluster",
        metavar="SERVER|NAME",
        help="its cluster, by the URL of the API server or by its name in Argo CD;"
        " default: that of the other environment",
    )
    parser.add_argument(
        "--namespace",
        metavar="NAME",
        help="default: that of the other environment with the new name in it",
    )
    parser.add_argument(
        "--validators",
        type=whole_number,
        metavar="N",
        help="default: as many as the other environment",
    )
    parser.add_argument(
        "--chain-id",
        type=whole_number,
        metavar="N",
        help="default: a random one that is not in use",
    )


def run(root: Path, options: argparse.Namespace) -> int:
    """Make the environment, and return the exit code."""
    from scripts.adoption import new_environment

    wanted = new_environment.Wanted(
        options.name,
        options.like,
        options.namespace,
        options.cluster,
        options.validators,
        options.chain_id,
    )
    try:
        lines = new_environment.create(root, wanted)
    except UserError:
        said = f"nothing is left of {wanted.name}; these lines would have been in its files"
        print(f"new: {said}", file=sys.stderr)
        raise
    for line in lines:
        print(line)
    return 0
