"""Run the commands in scripts/commands/. Exit codes: 0 success, 1 findings, 2 usage error."""
# PYTHON_ARGCOMPLETE_OK

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import io
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.core import findings, repository
from scripts.core.findings import UsageError, UserError

COMMANDS = repository.PROGRAM / "commands"
SHARED = ("__init__", "arguments", "reporting")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    _prepare_streams()
    options = _options(sys.argv[1:] if arguments is None else arguments)
    root = options.repository.resolve()
    try:
        if not options.on_program:
            _recover(root, options.repository)
        code = int(options.run(root, options))
        sys.stdout.flush()
        return code
    except UserError as error:
        form = options.format if options.format in findings.FORMATS else "text"
        findings.write(error.findings, form, sys.stdout)
        return 1
    except UsageError as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{options.command}: interrupted; {options.interrupted}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of stdout has ended; without this, Python would fail again at exit.
        _drop_output()
        return 1
    except OSError as error:
        # A full disk, a limit or a permission: a traceback would not help the user.
        file = f"{error.filename}: ".removeprefix(f"{root}/") if error.filename else ""
        print(f"{options.command}: {file}{error.strerror or error}", file=sys.stderr)
        _drop_output()
        return 2


def _prepare_streams() -> None:
    """Make printing never fail: neither on a closed stream nor for characters of no encoding."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Discard buffered output, so that Python does not fail again at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _recover(root: Path, named: Path) -> None:
    """Complete what a killed render had begun."""
    from scripts.output import committed

    if not (root / "overlays").is_dir():
        raise UsageError(f"{named} has no folder overlays/: it is not a repository of environments")
    committed.recover(root)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the parsed command line; only the command in it is imported."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts",
        description="The render pipeline. Each command is also a session: nox -s render -- prod",
        epilog="example:\n  python -m scripts validate prod",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version)
    parser.add_argument(
        "--repository",
        type=Path,
        default=repository.ROOT,
        help="the checkout to work on; default: that of this program",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    # While a shell completes a line, the words are in COMP_LINE.
    words = [*arguments, *os.environ.get("COMP_LINE", "").split()]
    for file in sorted(COMMANDS.glob("*.py")):
        if file.stem not in SHARED:
            _add(commands, file, load=file.stem in words)
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        _reject(commands.choices[options.command], unknown)
    return options


def _reject(command: argparse.ArgumentParser, unknown: Sequence[str]) -> None:
    """End with the usage of the command that has the unknown arguments, and what they may mean."""
    import difflib

    known = re.findall(r"--[a-z-]+", command.format_usage())
    meant = [
        near
        for word in unknown
        if word.startswith("--")
        for near in difflib.get_close_matches(word.partition("=")[0], known, 1)
    ]
    hint = f"; did you mean {', '.join(meant)}?" if meant else ""
    command.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], file: Path, *, load: bool
) -> None:
    """Add a command; load: with its arguments, which imports its module."""
    with file.open(encoding="utf-8") as text:
        summary = text.readline().strip('".\n')
    parser = commands.add_parser(
        file.stem,
        prog=f"nox -s {file.stem} --",
        help=summary,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if not load:
        return
    command = importlib.import_module(f"scripts.commands.{file.stem}")
    examples = "".join(f"\n  {example}" for example in command.EXAMPLES)
    parser.description = command.__doc__
    parser.epilog = f"example{'s' if len(command.EXAMPLES) > 1 else ''}:{examples}"
    command.arguments(parser)
    parser.set_defaults(
        run=command.run,
        interrupted=command.INTERRUPTED,
        on_program=getattr(command, "ON_PROGRAM", False),
    )
    if parser.get_default("format") is None:
        parser.set_defaults(format="text")


class _Version(argparse.Action):
    """Print the version and exit; only then is it looked up."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: object) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(_version())
        parser.exit()


def _version() -> str:
    """Return the version of this repository, which is the chart's."""
    try:
        chart = (repository.ROOT / "chart" / "Chart.yaml").read_text("utf-8")
    except OSError:  # only scripts/ was copied
        return "unknown"
    version = re.search(r"^version: *(\S+)", chart, re.MULTILINE)
    return version.group(1) if version else "unknown"


if __name__ == "__main__":
    # Objects of Kubernetes have no cycles: looking for some takes time, and frees hardly anything.
    gc.set_threshold(50_000)
    sys.exit(main())
