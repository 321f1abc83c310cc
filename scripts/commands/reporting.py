"""Write findings in the requested format."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.core import findings, shards
from scripts.core.findings import Finding, Replacement
from scripts.core.sentences import joined


def report(reported: Sequence[Finding], format: str, root: Path | None = None) -> int:
    """Write the findings to stdout, and return the exit code: 1 if any is an error.

    root: the repository, for the lines that the edits of findings replace.
    """
    described = {}
    if reported and format == "sarif":
        from scripts.rules import descriptions

        described = descriptions.described()
    suggested: Mapping[Finding, Sequence[Replacement]] = {}
    if root and format == "sarif":
        from scripts.checks import fixing

        suggested = fixing.suggested(root, reported)
    findings.write(reported, format, sys.stdout, described, suggested)
    return int(findings.has_errors(reported))


def report_shard(
    reported: Sequence[Finding], options: argparse.Namespace, root: Path, more: Mapping[str, object]
) -> int:
    """Write the findings of a shard to stdout, and return the exit code.

    more: what joining needs, which only the format json has.
    """
    if options.format != "json":
        return report(reported, options.format, root)
    stream = io.StringIO()
    findings.write(reported, "json", stream)
    # render --check is check.
    command = "check" if options.command == "render" else options.command
    about = shards.about(command, options.shard, more)
    print(json.dumps(json.loads(stream.getvalue()) | {shards.KEY: about}, indent=2))
    counts = findings.counted(reported) or "no findings"
    text = f"shard {options.shard}: {counts}; nox -s join shows them, with those of all shards"
    print(text, file=sys.stderr)
    return int(findings.has_errors(reported))


def not_compared(root: Path, against: str) -> None:
    """Print to stderr which environments are examples in a revision, so that they count as new.

    Raises UsageError if git does not know the revision.
    """
    if not against:
        return
    from scripts.output import git_revision

    if names := sorted(git_revision.examples(root, git_revision.listed(root, against))):
        are = "it is an example" if len(names) == 1 else "they are examples"
        print(f"not compared with {against}, where {are}: {joined(names)}", file=sys.stderr)
