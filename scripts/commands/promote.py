"""Move a release from one environment to another, render, and show what merging that will do.

It refuses what the source has not had on the branch for the soak time of the target, and an older
release than the target has. It commits nothing.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
import time
from pathlib import Path

from scripts.core import findings, git
from scripts.core.findings import UsageError
from scripts.environments import layout

EXAMPLES = (
    "nox -s promote -- staging prod",
    "nox -s promote -- dev staging --release v0.4.0 --dry-run",
    "nox -s promote -- staging prod --images --values txSender.amount",
)
INTERRUPTED = "git diff shows what was written; nox -s render completes the output"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("source", metavar="FROM", help="environment that has run the release")
    parser.add_argument("target", metavar="TO", help="environment that gets it")
    parser.add_argument(
        "--release",
        default="",
        metavar="TAG",
        help="a release that FROM has had; default: what it has now on the branch",
    )
    parser.add_argument(
        "--no-release", action="store_true", help="leave the release of TO as it is"
    )
    parser.add_argument(
        "--images", action="store_true", help="also the images that FROM sets in its values.yaml"
    )
    parser.add_argument(
        "--values",
        nargs="+",
        default=[],
        metavar="KEY",
        help="also these values of FROM's values.yaml, for example besu.resources",
    )
    parser.add_argument(
        "--force", default="", metavar="WHY", help="do not wait for the soak time, for this reason"
    )
    parser.add_argument(
        "--downgrade", action="store_true", help="also to an older release than TO has"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show the impact on the last commit, write nothing"
    )


def run(root: Path, options: argparse.Namespace) -> int:
    """Promote, and return the exit code."""
    from scripts.promotion import promote

    layout.environments(root, [options.source, options.target])
    if options.no_release and (options.release or not (options.images or options.values)):
        raise UsageError("--no-release needs --images or --values, and no --release")
    wanted = promote.Wanted(
        options.source,
        options.target,
        options.release,
        not options.no_release,
        options.images,
        tuple(options.values),
        options.force,
        options.downgrade,
    )
    made = promote.plan(root, wanted, time.time())
    for line in made.lines:
        print(line)
    if not made.edits:
        print("nothing to promote")
        return 0
    if options.dry_run:
        with tempfile.TemporaryDirectory(prefix="linea-promote-") as folder:
            copy = Path(folder, "repository")
            git.run(root, "clone", "--quiet", "--shared", str(root), str(copy))
            _apply(copy, made, options.target)
        print("nothing was written, as this was a dry run")
        return 0
    _apply(root, made, options.target)
    reason = f" -m {shlex.quote(f'Before its soak time: {options.force}')}" if options.force else ""
    paths = f"overlays/{options.target} argocd"
    print(f"next: git add {paths} && git commit -m {shlex.quote(made.title)}{reason}")
    print("and a pull request; to take it back, revert its merge")
    return 0


def _apply(root: Path, made: object, target: str) -> None:
    """Write the edits, render the target, and print what has changed and what it will do."""
    from scripts.impact import predict
    from scripts.impact.formats import text
    from scripts.output import update
    from scripts.promotion import promote

    assert isinstance(made, promote.Promotion)
    for file, content in promote.written(root, made.edits).items():
        path = root / file
        new = path.with_suffix(".new")
        new.write_bytes(content.encode())
        if path.exists():
            new.chmod(path.stat().st_mode)
        os.replace(new, path)
        print(f"{file}: written")
    update.update(root, [target], sys.stdout)
    findings.write([], "text", sys.stdout)
    sys.stdout.write(text.text(predict.impact(root, "HEAD")))
