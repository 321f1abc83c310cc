"""Compare a live cluster with what is committed for an environment. It only reads.

The cluster is that of a context of your kubeconfig. Fields that controllers own are left out, as
Argo CD does, and values of Secrets are hidden. Exit codes: 0 no drift, 1 drift, 2 cannot compare.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.commands import arguments as shared

if TYPE_CHECKING:
    from scripts.live.report import Drift

EXAMPLES = ("nox -s diff -- prod", "nox -s diff -- prod --context prod-admin --format markdown")
INTERRUPTED = "nothing was changed"


def _text(drift: Drift) -> str:
    from scripts.live import formats

    return formats.text(drift)


def _markdown(drift: Drift) -> str:
    from scripts.live import formats

    return formats.markdown(drift)


def _json(drift: Drift) -> str:
    from scripts.live.report import document

    return json.dumps(document(drift), indent=2, ensure_ascii=False) + "\n"


FORMATS: Mapping[str, Callable[[Drift], str]] = {
    "text": _text,
    "markdown": _markdown,
    "json": _json,
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    shared.environment(parser)
    parser.add_argument(
        "--context",
        default="",
        metavar="NAME",
        help="a context of the kubeconfig; default: the current one",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="text",
        help="text for a terminal, markdown for a comment, json for a program",
    )


def run(root: Path, options: argparse.Namespace) -> int:
    """Write the comparison, and return the exit code."""
    from scripts.environments import layout
    from scripts.live import drift

    (name,) = layout.environments(root, [options.environment])
    found = drift.drift(root, name, options.context)
    sys.stdout.write(FORMATS[options.format](found))
    return 0 if found.is_none else 1
