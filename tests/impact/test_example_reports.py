"""The reports in docs/impact/ are up to date."""

from __future__ import annotations

from pathlib import Path

from tests.impact import example_reports


def test_the_reports_in_the_documentation_are_up_to_date(tmp_path: Path) -> None:
    written = {file.name: file.read_text("utf-8") for file in example_reports.FOLDER.glob("*.md")}
    assert dict(example_reports.reports(tmp_path)) == written, (
        "run python -m tests.impact.example_reports, and review the difference"
    )
