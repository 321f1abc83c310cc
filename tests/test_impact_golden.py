"""The reports in docs/impact/ are what is told of these changes today."""

from __future__ import annotations

from pathlib import Path

from tests import golden


def test_the_reports_in_the_documentation_are_true(tmp_path: Path) -> None:
    written = {file.name: file.read_text("utf-8") for file in golden.FOLDER.glob("*.md")}
    assert dict(golden.reports(tmp_path)) == written, "python -m tests.golden writes them anew"
