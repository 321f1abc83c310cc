"""Arguments in, exit code out: 0 clean, 1 findings, 2 wrong use or a machine that can't."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from scripts import findings, tree
from scripts.findings import UsageError, UserError

REPOSITORY = Path(__file__).resolve().parent.parent

WIDTH = 100
"""Columns of a paragraph."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    _prepare_streams()
    options = _parser().parse_args(arguments)
    root = options.repository.resolve()
    try:
        if not (root / "overlays").is_dir():
            raise UsageError(
                f"{options.repository} has no folder overlays/: it is no repository of environments"
            )
        tree.recover(root)
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
        # Whoever read our output has gone; Python would say so again at exit.
        _drop_output()
        return 1
    except OSError as error:
        # The system refuses: a disk, a limit, a permission; which step it was is no help.
        named = f"{error.filename}: ".removeprefix(f"{root}/") if error.filename else ""
        print(f"{options.command}: {named}{error.strerror or error}", file=sys.stderr)
        _drop_output()
        return 2


def _prepare_streams() -> None:
    """Let every text be written: to a closed stream, and in an encoding that lacks its letters."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Keep Python from failing once more over what is still to be written."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts", description="The render pipeline.")
    parser.add_argument(
        "--repository", type=Path, default=REPOSITORY, help="another checkout than this program's"
    )
    parser.set_defaults(
        interrupted="the output of an environment is wholly the old or wholly the new one"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "environments", nargs="*", metavar="ENVIRONMENT", help="all, if none is named"
    )
    common.add_argument(
        "--format", choices=findings.FORMATS, default="text", help="how findings are told"
    )

    command = commands.add_parser(
        "render", parents=[common], help="write the manifests of environments"
    )
    command.add_argument(
        "--check",
        action="store_true",
        help="write nothing; show what would change, exit 1 if anything",
    )
    command.set_defaults(run=_render)

    command = commands.add_parser("validate", parents=[common], help="prove environments offline")
    command.add_argument(
        "--against",
        default="",
        metavar="REVISION",
        help="also judge the change from what this git revision has committed: origin/main",
    )
    command.set_defaults(run=_validate)

    command = commands.add_parser("impact", help="tell what a change does when it is merged")
    command.add_argument(
        "--against", default="origin/main", metavar="REVISION", help="what it is merged into"
    )
    command.add_argument(
        "--to", default="", metavar="REVISION", help="the change; the working tree, if not given"
    )
    command.add_argument(
        "--format",
        choices=("text", "markdown", "json", "html"),
        default="text",
        help="for a terminal, a comment, a program, or a page to look at",
    )
    command.set_defaults(run=_impact, interrupted="it only reads")

    command = commands.add_parser(
        "merge", help="resolve a merge's conflicts in rendered files: render, and git add them"
    )
    command.add_argument(
        "--format", choices=findings.FORMATS, default="text", help="how findings are told"
    )
    command.set_defaults(run=_merge, interrupted="run it again")

    command = commands.add_parser("rules", help="list the rules across objects")
    command.add_argument(
        "--format", choices=("text", "markdown", "json"), default="text", help="how they are told"
    )
    command.set_defaults(run=_rules)

    command = commands.add_parser(
        "policy", parents=[common], help="run the checks of security teams on environments"
    )
    command.set_defaults(run=_policy)

    command = commands.add_parser(
        "network",
        prog="nox -s network --",
        usage="%(prog)s ENVIRONMENT [--validators N] [--chain-id N] [--to-address 0x…]",
        allow_abbrev=False,
        help="make an environment's own chain: genesis for git, keys for Secrets",
    )
    command.add_argument("environments", nargs="+", metavar="ENVIRONMENT")
    command.add_argument(
        "--validators", type=_whole, metavar="N", help="as many as maru.replicas, if not given"
    )
    command.add_argument(
        "--chain-id",
        type=_whole,
        metavar="N",
        help="the lowest free one from 1337 up, if not given",
    )
    command.add_argument(
        "--to-address", metavar="0x…", help="where the TX Sender sends to; a new account's address"
    )
    command.set_defaults(
        run=_network, format="text", interrupted="what is there is whole; run it again"
    )

    command = commands.add_parser(
        "images",
        prog="nox -s images --",
        allow_abbrev=False,
        help="look up the digests that base/images.yaml lacks",
    )
    command.add_argument(
        "--refresh",
        action="store_true",
        help="ask for those that are there, too, and write where a tag has moved",
    )
    command.add_argument(
        "--format", choices=findings.FORMATS, default="text", help="how findings are told"
    )
    command.set_defaults(run=_images, interrupted="base/images.yaml is as it was")

    command = commands.add_parser(
        "cluster",
        prog="nox -s cluster --",
        allow_abbrev=False,
        help="run a real control plane and Argo CD with all environments, until Ctrl-C",
    )
    command.add_argument(
        "--kubernetes", metavar="VERSION", help="the API server's minor version, like 1.34"
    )
    command.add_argument(
        "--build", action="store_true", help="only make what it needs, where that is missing"
    )
    command.set_defaults(run=_cluster, format="text", interrupted="nothing is left of it")

    for name, what, run in (
        ("values-table", "the table of values and their descriptions in the schema", _values_table),
        ("rules-table", "the tables of rules into docs/rules.md", _rules_table),
    ):
        command = commands.add_parser(name, help=f"write {what}")
        command.add_argument(
            "--check", action="store_true", help="write nothing; exit 1 if it is stale"
        )
        command.set_defaults(run=run, format="text")
    return parser


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: write a whole number") from None


def _render(root: Path, options: argparse.Namespace) -> int:
    from scripts import update

    people = options.format == "text"
    if not options.check:
        # A program gets one document on stdout; what changed is said to people.
        update.update(root, options.environments, sys.stdout if people else sys.stderr)
        findings.write([], options.format, sys.stdout)
        return 0
    if not people:
        from scripts import validate

        names = tree.environments(root, options.environments)
        renderings = validate.rendered(root, names)
        return _told(validate.compare(root, renderings), options)
    if not update.difference(root, options.environments, sys.stdout):
        print("the committed output is what the inputs give")
        return 0
    print("render: the committed output is stale: run nox -s render and commit", file=sys.stderr)
    return 1


def _validate(root: Path, options: argparse.Namespace) -> int:
    from scripts import validate

    names = tree.environments(root, options.environments)
    renderings = validate.rendered(root, names)
    code = _told(validate.validate(root, renderings, options.against), options)
    if not code and options.format == "text":
        print(f"valid: {tree.called(names)}")
        for line in validate.survived(renderings):
            print(textwrap.fill(line, WIDTH, subsequent_indent="  "))
    return code


def _impact(root: Path, options: argparse.Namespace) -> int:
    from scripts.impact import formats, run

    found = run.impact(root, options.against, options.to)
    sys.stdout.write(formats.FORMATS[options.format](found))
    if found.inputs and not options.to:
        more = f" and {len(found.inputs) - 1} more" if len(found.inputs) > 1 else ""
        print(
            f"{found.inputs[0]}{more} {'differ' if more else 'differs'}: has nox -s render run"
            " since? This is about rendered output",
            file=sys.stderr,
        )
    return 0


def _merge(root: Path, options: argparse.Namespace) -> int:
    from scripts import merge

    merge.merge(root, sys.stdout if options.format == "text" else sys.stderr)
    findings.write([], options.format, sys.stdout)
    return 0


def _rules(_: Path, options: argparse.Namespace) -> int:
    from scripts import rules_table

    rules_table.write(options.format, sys.stdout)
    return 0


def _policy(root: Path, options: argparse.Namespace) -> int:
    from scripts import policy

    names = tree.environments(root, options.environments)
    code = _told(policy.check(root, names), options)
    if not code and options.format == "text":
        print(f"nothing against {tree.called(names)} but what {policy.WAIVERS} lets be")
    return code


def _told(found: Sequence[findings.Finding], options: argparse.Namespace) -> int:
    """Write the findings, and return the exit code that they mean."""
    described = {}
    if found and options.format == "sarif":
        from scripts import rules_table

        described = rules_table.described()
    findings.write(found, options.format, sys.stdout, described)
    return int(findings.has_errors(found))


def _network(root: Path, options: argparse.Namespace) -> int:
    from scripts.network import make

    if len(options.environments) > 1:
        raise UsageError(f"one environment: {' or '.join(options.environments)}")
    wanted = make.Wanted(options.validators, options.chain_id, options.to_address)
    make.make(root, options.environments[0], wanted, sys.stdout)
    return 0


def _images(root: Path, options: argparse.Namespace) -> int:
    from scripts import image_lookup

    stream = sys.stdout if options.format == "text" else sys.stderr
    found = image_lookup.look_up(root, options.refresh, stream)
    _told(found, options)
    return image_lookup.exit_code(found)


def _cluster(root: Path, options: argparse.Namespace) -> int:
    from scripts.cluster import control_plane, session

    if options.build:
        session.build()
        return 0
    session.run(root, options.kubernetes or control_plane.CONTROLLERS_VERSION)
    return 0


def _values_table(root: Path, options: argparse.Namespace) -> int:
    from scripts import values_table

    changed = values_table.update(root, check=options.check)
    return _stale(changed if options.check else [])


def _rules_table(root: Path, options: argparse.Namespace) -> int:
    from scripts import rules_table

    stale = rules_table.update(root, check=options.check)
    return _stale(["docs/rules.md"] if stale and options.check else [])


def _stale(names: Sequence[str]) -> int:
    """Say which generated files are out of date, and return the exit code."""
    for name in names:
        print(f"{name} is out of date: run nox -s docs", file=sys.stderr)
    return int(bool(names))


if __name__ == "__main__":
    sys.exit(main())
