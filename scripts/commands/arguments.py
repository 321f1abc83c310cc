"""Arguments that several commands share."""

from __future__ import annotations

import argparse

from scripts.core import findings
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


def whole_number(text: str) -> int:
    """Return the integer; raises ArgumentTypeError for any other text."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: write a whole number") from None
