"""The reports in docs/impact/, of typical changes: `python -m tests.golden` writes them anew.

Each is what a pull request gets for a change of tests/changes/, made to an environment of this
repository.
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
from tests import changes, conftest
from tests.changes import Change, Side
from tests.conftest import ROOT

FOLDER = ROOT / "docs" / "impact"
CHANGES = {
    "image-of-besu": "prod",
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
"""Name of a change → the environment that it is made to."""
NEW = Change("new-environment", "A new environment, qa, like dev.", "dev", Side(), Side())


def reports(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the name of each report's file, and what it holds; written in an empty folder."""
    for name, environment in CHANGES.items():
        change = changes.load(name)
        said = (changes.FOLDER / f"{name}.yaml").read_text("utf-8").partition("\n")[2]
        said = said.replace(f"of: {change.of}", f"of: {environment}", 1)
        moved = replace(change, of=environment)
        yield f"{name}.md", _told(folder / name, moved, environment, f"```yaml\n{said}```\n\n")
    yield f"{NEW.name}.md", _told(folder / NEW.name, NEW, "qa", "")


def _told(folder: Path, change: Change, environment: str, said: str) -> str:
    """Return a change, how it is written, and what is told of it."""
    repository = conftest.copy(folder)
    if change is not NEW:
        changes.write(repository, {environment: change}, changed=False)
    changes.commit(repository, "before")
    changes.write(repository, {environment: change}, changed=True)
    report = text.markdown(predict.impact(folder, "main"))
    return f"# {change.about.rstrip('.')}\n\n{said}{report.rstrip()}\n"


def main() -> int:
    """Write all reports anew."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    with tempfile.TemporaryDirectory() as folder:
        for name, report in reports(Path(folder)):
            (FOLDER / name).write_text(report, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
