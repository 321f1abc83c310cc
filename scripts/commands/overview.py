"""List what runs where: releases, images, Kubernetes, capacity, waivers and, with --live, drift."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.commands import arguments as shared
from scripts.core.findings import UsageError
from scripts.environments import layout

if TYPE_CHECKING:
    from scripts.overview.report import Overview

EXAMPLES = (
    "nox -s overview",
    "nox -s overview -- prod",
    "nox -s overview -- --format html --output overview.html",
    "nox -s overview -- --live --context prod=eks-prod --context staging=eks-staging",
)
INTERRUPTED = "nothing was written"


def _text(overview: Overview) -> str:
    from scripts.overview.formats import text

    return text.text(overview)


def _markdown(overview: Overview) -> str:
    from scripts.overview.formats import text

    return text.markdown(overview)


def _json(overview: Overview) -> str:
    from scripts.overview.report import document

    return json.dumps(document(overview), indent=2, ensure_ascii=False) + "\n"


def _html(overview: Overview) -> str:
    from scripts.overview.formats import html

    return html.page(overview)


FORMATS: Mapping[str, Callable[[Overview], str]] = {
    "text": _text,
    "markdown": _markdown,
    "json": _json,
    "html": _html,
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    shared.environments(parser)
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="text",
        help="text for a terminal, markdown for a comment, json for a program, html for a browser",
    )
    parser.add_argument(
        "--live",
        action="store_true",
        help="also ask the clusters: what Argo CD reports, and what differs from git",
    )
    parser.add_argument(
        "--context",
        action="append",
        default=[],
        metavar="[ENVIRONMENT=]CONTEXT",
        help="with --live: the kubectl context of all environments, or of one; default: the"
        " current context",
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write to this file; default: standard output"
    )


def run(root: Path, options: argparse.Namespace) -> int:
    """Write the overview, and return the exit code."""
    from scripts.overview import collect

    names = layout.environments(root, options.environments)
    contexts = _contexts(names, options.context)
    if options.context and not options.live:
        raise UsageError("--context is only for --live: add --live, or leave --context out")
    overview = collect.overview(root, names, datetime.now(UTC).date())
    if options.live:
        from scripts.overview import cluster_state

        overview = cluster_state.with_live(root, overview, contexts)
    written = FORMATS[options.format](overview)
    if options.output:
        options.output.write_text(written, "utf-8")
    else:
        sys.stdout.write(written)
    return 0


def _contexts(names: Sequence[str], given: Sequence[str]) -> dict[str, str]:
    """Return environment → its context; raises UsageError for an environment that is not listed."""
    contexts = dict.fromkeys(names, "")
    for word in given:
        name, sign, context = word.partition("=")
        if not sign:
            contexts |= {each: word for each in names if not contexts[each]}
        elif name in contexts:
            contexts[name] = context
        else:
            known = ", ".join(names)
            raise UsageError(f"--context {word}: {name} is not listed here; listed are {known}")
    return contexts
