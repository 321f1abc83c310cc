"""Run kube-score and checkov on environments, less the waivers in base/policy.yaml."""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.commands import arguments as shared
from scripts.commands import reporting
from scripts.environments import layout

EXAMPLES = ("nox -s policy", "nox -s policy -- prod --format sarif")
INTERRUPTED = "nothing was written"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    shared.environments(parser)
    shared.findings_format(parser)


def run(root: Path, options: argparse.Namespace) -> int:
    """Run the checks, and return the exit code."""
    from scripts.checks import policy

    names = layout.environments(root, options.environments)
    code = reporting.report(policy.check(root, names), options.format)
    if not code and options.format == "text":
        print(f"no policy findings in {layout.called(names)} (waivers: {policy.WAIVERS})")
    return code
