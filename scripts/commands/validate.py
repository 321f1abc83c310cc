"""Check environments offline: inputs, schemas, rules, and that the output is up to date."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from scripts.commands import arguments as shared
from scripts.commands import reporting
from scripts.core.findings import Finding, UsageError
from scripts.core.sentences import joined
from scripts.environments import layout

EXAMPLES = (
    "nox -s validate",
    "nox -s validate -- prod --fix",
    "nox -s validate -- --against origin/main --format sarif",
)
INTERRUPTED = "nothing was written, except what --fix has shown"

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


def run(root: Path, options: argparse.Namespace) -> int:
    """Validate, and return the exit code."""
    from scripts.checks import layers
    from scripts.rendering import chart_changes

    chart_changes.compare_with(options.against)
    if options.unsafe and not options.fix:
        raise UsageError("--unsafe needs --fix: add --fix, or remove --unsafe")
    if options.suggestions and not options.against:
        raise UsageError("--suggestions needs the revision to compare with: add --against")
    names = layout.environments(root, options.environments)
    if options.fix:
        _fix(root, names, options)
    renderings = layers.rendered(root, names)
    with_edits = options.format in ("json", "sarif") or bool(options.suggestions)
    findings = layers.validate(root, renderings, options.against, with_edits=with_edits)
    if options.suggestions:
        from scripts.checks import suggestions

        text = suggestions.review(root, findings, options.against)
        options.suggestions.write_text(text, "utf-8")
    reporting.not_compared(root, options.against)
    code = reporting.report(findings, options.format, root)
    if not code and options.format == "text":
        print(f"valid: {layout.called(names)}")
        for line in [*layers.survived(renderings), *layers.accepted(renderings)]:
            print(textwrap.fill(line, WIDTH, subsequent_indent="  "))
    return code


def _fix(root: Path, names: Sequence[str], options: argparse.Namespace) -> None:
    """Apply fixes to the inputs, and print what has changed."""
    from scripts.checks import fixing, layers

    def validate() -> list[Finding]:
        renderings = layers.rendered(root, names)
        return layers.validate(root, renderings, options.against, with_edits=True)

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
