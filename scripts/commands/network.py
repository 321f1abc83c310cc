"""Create an environment's chain: genesis and validators for git, private keys for Secrets."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scripts.commands.arguments import whole_number
from scripts.core.findings import UsageError

EXAMPLES = ("nox -s network -- dev", "nox -s network -- qa --validators 4 --chain-id 1735713371")
INTERRUPTED = "all files are complete; run it again for the missing ones"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("environments", nargs="+", metavar="ENVIRONMENT", help="only one")
    parser.add_argument(
        "--validators", type=whole_number, metavar="N", help="default: maru.replicas"
    )
    parser.add_argument(
        "--chain-id", type=whole_number, metavar="N", help="default: a random one that is not in use"
    )
    parser.add_argument(
        "--to-address", metavar="0x…", help="recipient of the TX Sender; default: a new account"
    )


def run(root: Path, options: argparse.Namespace) -> int:
    """Create the chain, and return the exit code."""
    from scripts.network import make, plan

    if len(options.environments) > 1:
        raise UsageError(f"write only one environment: {' or '.join(options.environments)}")
    wanted = plan.Wanted(options.validators, options.chain_id, options.to_address)
    make.make(root, options.environments[0], wanted, sys.stdout)
    return 0
