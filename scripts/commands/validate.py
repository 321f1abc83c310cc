"""Check environments offline: inputs, schemas, rules, and that the output is up to date."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.commands import arguments as shared
from scripts.commands import reporting
from scripts.core import findings as formats
from scripts.core import shards
from scripts.core.findings import Finding, UsageError
from scripts.core.sentences import joined
from scripts.environments import layout
from scripts.output import shard_keys

if TYPE_CHECKING:
    from scripts.checks.summaries import Record
    from scripts.output.changed import Changed

EXAMPLES = (
    "nox -s validate",
    "nox -s validate -- prod --fix",
    "nox -s validate -- --against origin/main --format sarif",
    "nox -s validate -- --changed --against origin/main",
    "nox -s validate -- --shard 3/8 --format json",
)
INTERRUPTED = "nothing was written, except what --fix has shown"

FORMATS = formats.FORMATS

WIDTH = 100
"""The width of paragraphs, in columns."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    shared.environments(parser)
    shared.findings_format(parser)
    parser.add_argument(
        "--fix", action="store_true", help="apply the fixes that are right in all cases"
    )
    parser.add_argument(
        "--unsafe",
        action="store_true",
        help="with --fix, also apply fixes that are usually right: read the diff",
    )
    parser.add_argument(
        "--suggestions",
        type=Path,
        metavar="FILE",
        help="with --against, also write fixes of changed lines as a review for GitHub's API",
    )
    shared.against(parser)
    parser.add_argument(
        "--changed",
        action="store_true",
        help="with --against, leave out environments that the changes do not concern",
    )
    parser.add_argument(
        "--no-cache",
        action="store_true",
        help="check all environments again, also those that have not changed since the last run",
    )
    shared.shard(parser)


def run(root: Path, options: argparse.Namespace) -> int:
    """Validate, and return the exit code."""
    from scripts.checks import validation
    from scripts.rendering import chart_changes

    chart_changes.compare_with(options.against)
    _check_options(options)
    if options.shard:
        return _shard(root, options)
    names = layout.environments(root, options.environments)
    found = _changed(root, options.against, names) if options.changed else None
    checked = found.environments if found else None
    if options.fix:
        _fix(root, names, options, checked)
    with_edits = options.format in ("json", "sarif") or bool(options.suggestions)
    validated = validation.validate(
        root,
        names,
        options.against,
        with_edits=with_edits,
        checked=checked,
        is_cached=not options.no_cache,
    )
    findings = validated.findings
    if options.suggestions:
        from scripts.checks import suggestions

        text = suggestions.review(root, findings, options.against)
        options.suggestions.write_text(text, "utf-8")
    return _write(root, findings, validated.records, options.format, options.against, found)


def _check_options(options: argparse.Namespace) -> None:
    """Raise UsageError for options that do not go together."""
    if options.unsafe and not options.fix:
        raise UsageError("--unsafe needs --fix: add --fix, or remove --unsafe")
    for name in ("suggestions", "changed"):
        if getattr(options, name) and not options.against:
            raise UsageError(f"--{name} needs the revision to compare with: add --against")
    if options.changed and options.environments:
        named = " ".join(options.environments)
        raise UsageError(f"--changed chooses the environments: remove {named}, or --changed")
    for name in ("fix", "suggestions"):
        if options.shard and getattr(options, name):
            raise UsageError(f"--{name} needs all environments: remove --shard")


def _shard(root: Path, options: argparse.Namespace) -> int:
    """Check a part of the environments, one by one; join looks at what they have in common."""
    from scripts.checks import records, validation

    names = shared.of_shard(root, options)
    checked = names
    if options.changed:
        found = _changed(root, options.against, layout.environments(root))
        checked = [name for name in names if name in found.environments]
    with_edits = options.format in ("json", "sarif")
    known = records.of(
        root, checked, options.against, with_edits=with_edits, is_cached=not options.no_cache
    )
    findings = validation.one_by_one(root, known)
    more = {"against": options.against, "changed": options.changed}
    more |= shard_keys.about(root, names)
    return reporting.report_shard(findings, options, root, more)


def join(root: Path, reports: Sequence[shards.Report], format: str) -> int:
    """Write what all shards have found, and what concerns several environments or none.

    Returns the exit code.
    """
    from scripts.checks import records, validation
    from scripts.rendering import chart_changes

    shard_keys.check(root, reports)
    options = {(each.about["against"], each.about["changed"]) for each in reports}
    if len(options) > 1:
        raise UsageError("the shards had other options: run all with the same --against, --changed")
    against = str(reports[0].about["against"])
    chart_changes.compare_with(against)
    names = layout.environments(root)
    found = _changed(root, against, names) if reports[0].about["changed"] else None
    with_edits = format in ("json", "sarif")
    known = records.of(root, names, against, with_edits=with_edits, checked=())
    findings = [finding for report in reports for finding in report.findings]
    findings += validation.across(root, known, against, with_edits=with_edits)
    return _write(root, findings, known, format, against, found)


def _changed(root: Path, against: str, names: Sequence[str]) -> Changed:
    from scripts.output import changed

    return changed.since(root, against, names)


def _write(
    root: Path,
    findings: Sequence[Finding],
    known: Sequence[Record],
    format: str,
    against: str,
    found: Changed | None,
) -> int:
    """Write the findings, what was left out, and what is right; return the exit code."""
    from scripts.checks import validation

    reporting.not_compared(root, against)
    code = reporting.report(findings, format, root)
    if found:
        stream = sys.stdout if format == "text" else sys.stderr
        print(textwrap.fill(_left_out(found, against), WIDTH), file=stream)
    if not code and format == "text":
        print(f"valid: {layout.called([each.summary.name for each in known])}")
        for line in [*validation.survived(known), *validation.accepted(known)]:
            print(textwrap.fill(line, WIDTH, subsequent_indent="  "))
    return code


def _left_out(found: Changed, against: str) -> str:
    """Return which environments were not checked one by one, and why that is safe."""
    if found.shared:
        more = f" and {len(found.shared) - 1} more" if len(found.shared) > 1 else ""
        return f"checked all environments, as all depend on what differs: {found.shared[0]}{more}"
    if not found.left_out:
        return f"checked all environments, as all differ from {against}"
    checked = layout.called(found.environments) if found.environments else "no environment"
    are = "is" if len(found.left_out) == 1 else "are"
    return (
        f"checked {checked}; {layout.called(found.left_out)} {are} left out: no input, no output"
        f" and nothing that all environments share differs from {against}, so each by itself is as"
        " valid as it is there. What several environments may not have in common was looked for in"
        " all. Only the date can make a difference, as waivers expire: without --changed, all are"
        " checked"
    )


def _fix(
    root: Path, names: Sequence[str], options: argparse.Namespace, checked: Sequence[str] | None
) -> None:
    """Apply fixes to the inputs, and print what has changed."""
    from scripts.checks import fixing, validation

    def validate() -> list[Finding]:
        return validation.validate(
            root, names, options.against, with_edits=True, checked=checked, is_cached=False
        ).findings

    fixed = fixing.Fixed()
    stream = sys.stdout if options.format == "text" else sys.stderr
    try:
        fixing.fix(root, validate, unsafe=options.unsafe, fixed=fixed)
    finally:
        stream.write(fixed.diff())
    if fixed.new:
        fixes = "1 fix" if fixed.count == 1 else f"{fixed.count} fixes"
        files = joined(sorted(fixed.new))
        print(f"applied {fixes} to {files}; now run nox -s render", file=stream)
    else:
        print("no fix to apply", file=stream)
