"""Write the reports of typical changes in docs/impact/: python -m tests.impact.example_reports.

Each is the comment that a pull request gets for a change of tests/changes/, applied to an
environment of this repository.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from scripts.impact import predict
from scripts.impact.formats import text
from tests import conftest
from tests.conftest import ROOT
from tests.impact import changes
from tests.impact.changes import Change, Overrides

FOLDER = ROOT / "docs" / "impact"
CHANGES = {
    "image-of-besu": "prod",
    "image-of-besu-back": "prod",
    "option-of-besu": "staging",
    "memory-of-besu": "dev",
    "more-pods-of-besu": "dev",
    "volume-larger": "dev",
    "no-dashboard": "prod",
    "no-besu": "dev",
    "fewer-validators": "staging",
    "host-of-an-ingress": "dev",
    "network-policy-for-others": "dev",
    "backups": "dev",
    "comment-in-values": "dev",
}
"""Name of a change → the environment that it is applied to."""
NEW = Change("new-environment", "A new environment, qa, like dev.", "dev", Overrides(), Overrides())


def reports(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield file name and content of each report. folder: an empty one, to work in."""
    for name, environment in CHANGES.items():
        change = changes.load(name)
        definition = (changes.FOLDER / f"{name}.yaml").read_text("utf-8").partition("\n")[2]
        definition = definition.replace(f"of: {change.of}", f"of: {environment}", 1)
        moved = replace(change, of=environment)
        code = f"```yaml\n{definition}```\n\n"
        yield f"{name}.md", _page(folder / name, moved, environment, code)
    yield f"{NEW.name}.md", _page(folder / NEW.name, NEW, "qa", "")


def _page(folder: Path, change: Change, environment: str, definition: str) -> str:
    """Return a page with a change, its definition and its report."""
    repository = conftest.copy(folder)
    if change is not NEW:
        changes.write(repository, {environment: change}, changed=False)
    changes.commit(repository, "before")
    changes.write(repository, {environment: change}, changed=True)
    report = text.markdown(predict.impact(folder, "main"))
    return f"# {change.about.rstrip('.')}\n\n{definition}{report.rstrip()}\n"


def main() -> int:
    """Write all reports."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    with tempfile.TemporaryDirectory() as folder:
        for name, report in reports(Path(folder)):
            (FOLDER / name).write_text(report, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
