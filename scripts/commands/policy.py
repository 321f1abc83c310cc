"""Run kube-score and checkov on environments, less the waivers in base/policy.yaml."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from scripts.commands import arguments as shared
from scripts.commands import reporting
from scripts.core import findings, shards
from scripts.core.findings import Finding
from scripts.environments import layout
from scripts.output import shard_keys

EXAMPLES = ("nox -s policy", "nox -s policy -- prod --format sarif")
INTERRUPTED = "nothing was written"

FORMATS = findings.FORMATS


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    shared.environments(parser)
    shared.findings_format(parser)
    shared.shard(parser)
    parser.add_argument(
        "--no-cache",
        action="store_true",
        help="check everything again, also what has not changed since an earlier run",
    )


def run(root: Path, options: argparse.Namespace) -> int:
    """Run the checks, and return the exit code."""
    from scripts.checks import policy

    if options.shard:
        return _shard(root, options)
    names = layout.environments(root, options.environments)
    return _write(policy.check(root, names, is_cached=not options.no_cache), options.format, names)


def _shard(root: Path, options: argparse.Namespace) -> int:
    """Check a part of the environments; the first shard also searches the files of none."""
    from scripts.checks import policy

    names, known = shared.of_shard(root, options), layout.environments(root)

    def is_searched(path: str) -> bool:
        name = layout.environment_of(path)
        return name in names if name in known else options.shard.number == 1

    checked = policy.scan(root, names, is_searched, is_cached=not options.no_cache)
    more: dict[str, object] = {"checked": checked.environments, "used": checked.used}
    if options.shard.number == 1:
        # For waivers that no shard uses: join has no tool to ask.
        more["unknown"] = policy.unknown(root)
    more |= shard_keys.about(root, names)
    return reporting.report_shard(checked.findings, options, root, more)


def join(root: Path, reports: Sequence[shards.Report], format: str) -> int:
    """Write what all shards have found, and return the exit code."""
    from scripts.checks import policy

    shard_keys.check(root, reports)
    parts = [
        policy.Checked(
            tuple(report.findings),
            tuple(report.about["checked"]),
            tuple((index, pattern, name) for index, pattern, name in report.about["used"]),
        )
        for report in reports
    ]
    unknown = reports[0].about["unknown"]
    found = policy.result(root, parts, lambda check: check not in unknown)
    return _write(found, format, layout.environments(root))


def _write(found: Sequence[Finding], format: str, names: Sequence[str]) -> int:
    from scripts.checks import policy

    code = reporting.report(found, format)
    if not code and format == "text":
        print(f"no policy findings in {layout.called(names)} (waivers: {policy.WAIVERS})")
    return code
