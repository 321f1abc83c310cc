"""Set the version of the chart, and pack it, with what an attestation of the package needs.

It changes chart/Chart.yaml, pyproject.toml and CHANGELOG.md, and commits nothing. Run it again on
the commit that is to be tagged: it then changes nothing, and writes the same package.
"""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path

from scripts.core import git
from scripts.core.findings import UsageError
from scripts.environments import environment, releases

EXAMPLES = ("nox -s release -- 0.4.0", "nox -s release -- 0.4.0 --output /tmp/package")
INTERRUPTED = "git diff shows what was written"
FOLDER = ".render/packages"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("version", metavar="VERSION", help="for example 0.4.0, without v")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help=f"where to write; default: {FOLDER}"
    )
    parser.add_argument(
        "--tagged",
        action="store_true",
        help="for CI: fail unless the last commit has this version and its tag",
    )


def run(root: Path, options: argparse.Namespace) -> int:
    """Set the version and pack the chart, and return the exit code."""
    from scripts.promotion import chart_package, versions

    version = options.version.removeprefix("v")
    versions.numbers(version)
    tag = f"v{version}"
    tagged = releases.find(root, tag)
    is_tagged = isinstance(tagged, releases.Release)
    texts = versions.changed(root, version, datetime.now(UTC).date())
    head = git.ask(root, "rev-parse", "--verify", "--quiet", "HEAD").strip()
    if texts and (options.tagged or is_tagged):
        files = ", ".join(texts)
        raise UsageError(f"the tag {tag} is there, but {files} would change: check out {tag}")
    if options.tagged and not (isinstance(tagged, releases.Release) and tagged.commit == head):
        raise UsageError(f"the last commit does not have the tag {tag}: check out {tag}")
    for file, text in texts.items():
        new = (root / file).with_suffix(".new")
        new.write_text(text, "utf-8")
        os.replace(new, root / file)
        print(f"{file}: version {version}")
    folder = options.output or root / FOLDER
    packed = chart_package.package(root / "chart", folder)
    print(f"{packed.path}\nsha256 {packed.sha256}")
    base = environment.read(root / "base" / "environment.yaml", root).data or {}
    url = str(base.get("repository", {}).get("url", "")).removesuffix(".git")
    statement = chart_package.provenance(root, packed, version, url)
    if statement:
        name = f"{packed.path.stem}.intoto.json"
        print(chart_package.written(folder, name, statement))
    if options.tagged:
        return 0
    if texts or not statement:
        print("next: nox -s render, commit, and merge it; then run this again on main's commit")
    elif not is_tagged:
        print(
            f"next: git tag --annotate {tag} --message {tag} {head[:12]} && git push origin {tag}"
        )
    return 0
