"""Arguments that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.core import findings, shards
from scripts.core.findings import UsageError
from scripts.environments import layout


def environments(parser: argparse.ArgumentParser) -> None:
    """Add the names of environments."""
    action = parser.add_argument(
        "environments", nargs="*", metavar="ENVIRONMENT", help="default: all"
    )
    action.completer = _names  # type: ignore[attr-defined] # argcomplete asks for it


def environment(parser: argparse.ArgumentParser) -> None:
    """Add the name of one environment."""
    action = parser.add_argument("environment", metavar="ENVIRONMENT")
    action.completer = _names  # type: ignore[attr-defined] # argcomplete asks for it


def _names(parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """Return the names that a shell completes."""
    return layout.environments(parsed_args.repository)


def findings_format(parser: argparse.ArgumentParser) -> None:
    """Add the format of findings."""
    parser.add_argument(
        "--format", choices=findings.FORMATS, default="text", help="format of the findings"
    )


def against(parser: argparse.ArgumentParser) -> None:
    """Add the revision to compare with; empty for none."""
    parser.add_argument(
        "--against",
        default="",
        metavar="REVISION",
        help="also check the changes since this git revision, for example origin/main",
    )


def shard(parser: argparse.ArgumentParser) -> None:
    """Add the part of the environments that this machine checks."""
    parser.add_argument(
        "--shard",
        type=shards.parse,
        metavar="I/N",
        help="only part I of N of the environments; nox -s join reports what all parts have found",
    )


def of_shard(root: Path, options: argparse.Namespace) -> list[str]:
    """Return the environments of the shard.

    Raises UsageError if the command line also names environments.
    """
    if options.environments:
        names = " ".join(options.environments)
        raise UsageError(f"--shard is a part of all environments: remove {names}, or --shard")
    part: list[str] = options.shard.part(layout.environments(root))
    return part


def whole_number(text: str) -> int:
    """Return the integer; raises ArgumentTypeError for any other text."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: write a whole number") from None
