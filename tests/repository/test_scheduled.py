"""What the daily run says if main is no longer valid.

The scripts are run as they stand in the workflow.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.repository.github import OURS, GitHub, step
from tests.repository.shell import PROGRAMS, bash

TITLE = "main is no longer valid"
FINDINGS = "overlays/prod/environment.yaml:9:5  error  expired-waiver\n  x\n1 error\n"


def issue(github: GitHub, result: str = "failure") -> subprocess.CompletedProcess[str]:
    """Run the job after `validate` has ended so."""
    github.named = "validate"
    done = github.gh(
        step("scheduled.yaml", "issue"),
        RESULT=result,
        GITHUB_RUN_ID="42",
        GITHUB_REPOSITORY=OURS,
        GITHUB_SERVER_URL="https://github.com",
    )
    assert not done.returncode, done.stdout + done.stderr
    return done


@pytest.fixture
def failed(github: GitHub) -> GitHub:
    """Return a stand-in in which the run has found something."""
    github.artifact = {"findings": FINDINGS}
    return github


def test_a_failure_opens_one_issue_with_the_findings(failed: GitHub) -> None:
    issue(failed)
    (opened,) = failed.issues
    assert opened["title"] == TITLE
    assert f"(https://github.com/{OURS}/actions/runs/42)" in opened["body"]
    assert "\n    overlays/prod/environment.yaml:9:5  error  expired-waiver\n" in opened["body"]
    failed.artifact = {"findings": FINDINGS.replace("1 error", "2 errors")}
    issue(failed)
    assert [one["number"] for one in failed.issues] == [opened["number"]]
    assert "    2 errors\n" in failed.issues[0]["body"]


def test_the_issue_is_closed_when_main_is_valid_again(failed: GitHub) -> None:
    issue(failed)
    issue(failed, "success")
    assert [one["state"] for one in failed.issues] == ["closed"]
    issue(failed)
    assert [one["state"] for one in failed.issues] == ["closed", "open"]


def test_a_valid_main_is_not_mentioned(github: GitHub) -> None:
    issue(github, "success")
    assert not github.writes


def test_issues_of_people_are_not_touched(failed: GitHub) -> None:
    failed.issue(TITLE, "mine", "somebody")
    failed.issue("another", "of the bot")
    issue(failed)
    issue(failed, "success")
    assert [one["state"] for one in failed.issues] == ["open", "open", "closed"]


@pytest.mark.parametrize("artifact", [{}, {"commit": "x"}])
def test_a_run_without_a_report_says_so(github: GitHub, artifact: dict[str, str | bytes]) -> None:
    github.artifact = artifact
    issue(github)
    assert "\n    There is no report: the run says why.\n" in github.issues[0]["body"]


def test_an_issue_is_never_too_long(github: GitHub) -> None:
    github.artifact = {"findings": "é" * 99 + "\n🔁\0\n" * 50_000}
    issue(github)
    assert len(github.issues[0]["body"]) <= 65_536


@pytest.mark.parametrize("code", [0, 1])
def test_the_findings_are_kept_and_fail_the_job(tmp_path: Path, code: int) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, script in {
        "git": "echo abc",
        "python": f"printf '%s\\n' \"$*\"; exit {code}",
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    done = bash(
        step("scheduled.yaml", "validate"), tmp_path, PATH=f"{programs}:{PROGRAMS}:/usr/bin:/bin"
    )
    assert done.returncode == code
    assert (tmp_path / "report/findings").read_text() == "-m nox -s validate\n"
    assert (tmp_path / "report/commit").read_text() == "abc\n"
