"""Predict what merging a change will do, from rendered output; run nox -s render first."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.commands import arguments as shared
from scripts.core import shards

if TYPE_CHECKING:
    from scripts.impact.report import Report

EXAMPLES = ("nox -s impact", "nox -s impact -- --against v1.2.0 --to HEAD --format html")
INTERRUPTED = "nothing was written"


def _text(report: Report) -> str:
    from scripts.impact.formats import text

    return text.text(report)


def _markdown(report: Report) -> str:
    from scripts.impact.formats import text

    return text.markdown(report)


def _json(report: Report) -> str:
    from scripts.impact.report import document

    return json.dumps(document(report), indent=2, ensure_ascii=False) + "\n"


def _html(report: Report) -> str:
    from scripts.impact.formats import html

    return html.page(report)


FORMATS: Mapping[str, Callable[[Report], str]] = {
    "text": _text,
    "markdown": _markdown,
    "json": _json,
    "html": _html,
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        "--against", default="origin/main", metavar="REVISION", help="default: origin/main"
    )
    parser.add_argument(
        "--to", default="", metavar="REVISION", help="the change; default: the working tree"
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="text",
        help="text for a terminal, markdown for a comment, json for a program, html for a browser",
    )
    shared.shard(parser)


def run(root: Path, options: argparse.Namespace) -> int:
    """Write the report, and return the exit code."""
    from scripts.impact import predict

    if options.shard:
        return _shard(root, options)
    return _write(predict.impact(root, options.against, options.to), options.format)


def _shard(root: Path, options: argparse.Namespace) -> int:
    """Write the report of a shard, and return the exit code."""
    from scripts.impact import predict
    from scripts.impact.report import document

    part, more = predict.of_shard(root, options.shard, options.against, options.to)
    if options.format == "json":
        about = shards.about(options.command, options.shard, more)
        print(json.dumps(document(part) | {shards.KEY: about}, indent=2, ensure_ascii=False))
    else:
        sys.stdout.write(FORMATS[options.format](part))
    return 0


def join(root: Path, reports: Sequence[shards.Report], format: str) -> int:
    """Write the report of one run from those of its shards, and return the exit code."""
    from scripts.impact import predict

    return _write(predict.join(root, reports), format)


def _write(report: Report, format: str) -> int:
    sys.stdout.write(FORMATS[format](report))
    if report.inputs and not report.to:
        more = f" and {len(report.inputs) - 1} more" if len(report.inputs) > 1 else ""
        print(
            f"changed inputs: {report.inputs[0]}{more}. The report is about rendered output: if you"
            " have not rendered since, run nox -s render",
            file=sys.stderr,
        )
    return 0
