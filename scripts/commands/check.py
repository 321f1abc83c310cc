"""Fail if the committed manifests are out of date, and show how they differ; write nothing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.commands import arguments as shared
from scripts.commands import reporting
from scripts.core import findings, shards
from scripts.environments import layout

EXAMPLES = ("nox -s check", "nox -s check -- prod --format github")
INTERRUPTED = "nothing was written"

FORMATS = findings.FORMATS


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    shared.environments(parser)
    shared.findings_format(parser)
    shared.shard(parser)


def run(root: Path, options: argparse.Namespace) -> int:
    """Compare, and return the exit code."""
    if options.shard:
        return _shard(root, options)
    if options.format != "text":
        from scripts.checks import validation

        names = layout.environments(root, options.environments)
        return reporting.report(validation.compare(root, names), options.format)
    from scripts.output import update

    if not update.difference(root, options.environments, sys.stdout):
        print("the committed manifests are up to date")
        return 0
    message = "the committed manifests are out of date: run nox -s render, and commit"
    print(f"{options.command}: {message}", file=sys.stderr)
    return 1


def _shard(root: Path, options: argparse.Namespace) -> int:
    """Compare a part of the environments, and return the exit code."""
    from scripts.checks import validation
    from scripts.output import shard_keys

    names = shared.of_shard(root, options)
    found, repositories = validation.compare_one_by_one(root, names)
    more = {"repositories": repositories} | shard_keys.about(root, names)
    return reporting.report_shard(found, options, root, more)


def join(root: Path, reports: Sequence[shards.Report], format: str) -> int:
    """Write what all shards have found, and which files of no environment are out of date.

    Returns the exit code.
    """
    from scripts.checks import validation
    from scripts.output import shard_keys

    shard_keys.check(root, reports)
    found = [finding for report in reports for finding in report.findings]
    theirs = {name: url for each in reports for name, url in each.about["repositories"].items()}
    repositories = dict(sorted(theirs.items()))
    found += validation.compare_across(root, layout.environments(root), repositories)
    code = reporting.report(found, format)
    if not found and format == "text":
        print("the committed manifests are up to date")
    return code
