"""What the report of a pull request is about, and what the docs show of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from scripts.impact.effects.effect import LABELS
from tests.conftest import ROOT, Repository
from tests.git import commit, git
from tests.repository.github import step
from tests.repository.shell import PROGRAMS, bash, program

DOCS = ROOT / "docs" / "impact.md"


def reported(repository: Repository, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the report's step where a pull request is checked out as its merge."""
    program(folder, repository)
    return bash(
        step("impact.yaml", "report"),
        repository.root,
        PATH=f"{folder}:{PROGRAMS}:{os.environ['PATH']}",
        NUMBER="7",
        BASE="release/1",
        GITHUB_STEP_SUMMARY=str(folder / "summary"),
    )


def test_the_report_is_of_the_merge_against_what_it_is_merged_into(
    merged: Repository, tmp_path: Path
) -> None:
    done = reported(merged, tmp_path / "bin")
    assert not done.returncode, done.stderr
    report = (merged / "report/report.markdown").read_text("utf-8")
    assert "from origin/release/1 to pull/7/merge" in report.splitlines()[0]
    assert (merged / "report/report.text").read_text("utf-8").startswith("1 of 3 environments")
    assert "<html" in (merged / "report/report.html").read_text("utf-8")
    assert (merged / "report/number").read_text() == "7\n"
    assert (tmp_path / "bin/summary").read_text("utf-8") == report


def test_a_report_of_output_that_is_stale_says_so(merged: Repository, tmp_path: Path) -> None:
    merged.write("overlays/dev/values.yaml", "txSender: {interval: 8}\n")
    done = reported(merged, tmp_path / "bin")
    assert not done.returncode, done.stderr
    for name in ("report.markdown", "report.text"):
        first = (merged / "report" / name).read_text("utf-8").splitlines()[0]
        assert first.startswith("The committed manifests are out of date;")


def test_the_example_of_the_docs_is_what_is_told(repository: Repository) -> None:
    git(repository.root, "init", "-q", "-b", "main")
    commit(repository.root)
    git(repository.root, "update-ref", "refs/remotes/origin/main", "HEAD")
    values = repository / "overlays/prod/values.yaml"
    values.write_text(f"{values.read_text('utf-8')}txSender: {{interval: 5}}\n", "utf-8")
    told = repository.run("render").out + repository.run("impact").out
    assert f"\n$ nox -s render && nox -s impact\n{told}```\n" in DOCS.read_text("utf-8")


def test_the_docs_list_every_risk_in_its_order() -> None:
    table = [f"| {sign} | {words} |" for sign, words in LABELS.values()]
    lines = DOCS.read_text("utf-8").splitlines()
    rows = [
        line
        for line in lines
        if line.startswith(tuple(f"| {sign} " for sign, _ in LABELS.values()))
    ]
    assert [row[: len(begin)] for row, begin in zip(rows, table, strict=True)] == table
