"""Create an environment's chain: genesis and validators for git, private keys for Secrets."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scripts.commands.arguments import whole_number
from scripts.core.findings import UsageError

EXAMPLES = (
    "nox -s network -- dev",
    "nox -s network -- qa --validators 4 --chain-id 1735713371",
    "nox -s network -- --output my-chain --namespace linea",
)
INTERRUPTED = "all files are complete; run it again for the missing ones"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("environments", nargs="*", metavar="ENVIRONMENT", help="only one")
    parser.add_argument(
        "--validators", type=whole_number, metavar="N", help="default: maru.replicas"
    )
    parser.add_argument(
        "--chain-id",
        type=whole_number,
        metavar="N",
        help="default: a random one that is not in use",
    )
    parser.add_argument(
        "--to-address", metavar="0x…", help="recipient of the TX Sender; default: a new account"
    )
    parser.add_argument("--output", metavar="FOLDER", help="folder for a chain for the chart alone")
    parser.add_argument(
        "--namespace",
        metavar="NAME",
        help="with --output: its namespace; default: default",
    )


def run(root: Path, options: argparse.Namespace) -> int:
    """Create the chain, and return the exit code."""
    from scripts.network import make, plan

    names = options.environments
    wanted = plan.Wanted(options.validators, options.chain_id, options.to_address)
    if options.output is not None:
        from scripts.network import standalone

        if names:
            raise UsageError(f"write {names[0]} or --output {options.output}, not both")
        folder = Path(options.output)
        standalone.create(root, folder, options.namespace or "default", wanted, sys.stdout)
        return 0
    if options.namespace:
        raise UsageError("--namespace needs --output: environment.yaml has the namespace")
    if not names:
        raise UsageError("write an ENVIRONMENT, or --output FOLDER for the chart alone")
    if len(names) > 1:
        raise UsageError(f"write only one environment: {' or '.join(names)}")
    make.make(root, names[0], wanted, sys.stdout)
    return 0
