"""How the report of a pull request gets into a comment there.

The scripts are run as they stand in the workflow.
"""

from __future__ import annotations

import json

import pytest

from tests.repository.github import FORK, NOTHING, OLD_SHA, OURS, REPORT, SHA, GitHub

MARKER = "<!-- impact report -->\n"


def test_a_first_report_is_posted(github: GitHub) -> None:
    github.ran()
    (body,) = github.bodies()
    assert body.startswith(MARKER + REPORT)
    assert body.endswith(
        f"\n\nOf {SHA}; [its run](https://github.com/{OURS}/actions/runs/42) has all of it as a"
        " page.\n"
    )


def test_a_second_report_takes_the_place_of_the_first(github: GitHub) -> None:
    github.ran()
    github.report(REPORT.replace("1 of 3", "2 of 3"))
    github.ran()
    (body,) = github.bodies()
    assert "2 of 3" in body
    assert github.writes == ["POST issues/7/comments", "PATCH issues/comments/1000"]


def test_a_change_of_nothing_is_not_commented(github: GitHub) -> None:
    github.report(NOTHING)
    github.ran()
    assert not github.writes


def test_a_change_that_does_nothing_any_more_says_so_in_its_comment(github: GitHub) -> None:
    github.comment(MARKER + REPORT, 5)
    github.report(NOTHING)
    github.ran()
    (body,) = github.bodies()
    assert body.startswith(MARKER + NOTHING)


def test_a_report_that_failed_takes_the_place_of_an_old_one(github: GitHub) -> None:
    github.comment(MARKER + REPORT, 5)
    github.artifact = {"number": "7\n"}
    github.ran()
    (body,) = github.bodies()
    assert body.startswith(f"{MARKER}Impact: there is no report; its run says why\n")


def test_the_comment_is_found_on_a_later_page(github: GitHub) -> None:
    for number in range(250):
        github.comment("hello", number, "somebody")
    github.comment(MARKER + REPORT, 250)
    github.ran()
    assert github.writes == ["PATCH issues/comments/250"]


def test_two_comments_become_one(github: GitHub) -> None:
    for number in (5, 6, 8):
        github.comment(MARKER + REPORT, number)
    github.ran()
    assert [one["id"] for one in github.comments] == [5]


def test_what_others_wrote_is_not_touched(github: GitHub) -> None:
    github.comment(MARKER + REPORT, 5, "somebody")
    github.comment("hello\n" + MARKER, 6)
    github.ran()
    assert github.bodies("somebody") == [MARKER + REPORT]
    assert github.bodies()[0] == "hello\n" + MARKER
    assert github.writes == ["POST issues/7/comments"]


SUGGESTED = {"path": "overlays/dev/values.yaml", "side": "RIGHT", "line": 3, "body": "x\n"}


def test_suggestions_are_posted_once(github: GitHub) -> None:
    second = SUGGESTED | {"line": 9, "start_line": 7, "start_side": "RIGHT", "body": "y"}
    github.artifact["suggestions.json"] = json.dumps({"comments": [SUGGESTED, second]})
    github.ran()
    for _ in range(2):
        done = github.suggest()
        assert not done.returncode, done.stdout + done.stderr
    assert [{**one, "user": None} for one in github.suggestions] == [
        {**SUGGESTED, "user": None},
        {**second, "user": None},
    ]
    assert github.writes.count("POST pulls/7/reviews") == 1


def test_a_fork_gets_no_suggestions(github: GitHub) -> None:
    github.source = FORK
    github.head(FORK)
    github.artifact["suggestions.json"] = json.dumps({"comments": [SUGGESTED]})
    github.ran()
    assert not github.output.exists()


def test_a_fork_gets_its_report_as_text_that_does_nothing(github: GitHub) -> None:
    github.source = FORK
    github.head(FORK)
    text = "2 of 3 change\r\n```\n@team/all &#64;you\r</details>\n\n![x](https://x.example/x.png)\n"
    github.report("@team/all", text)
    github.ran()
    (body,) = github.bodies()
    made, rest = body.removeprefix(MARKER).split("\n\n", 1)
    assert made == "Made by the code of a fork, so it may say anything:"
    assert "\r" not in body
    block = rest.split("\n\nOf ")[0].splitlines()
    assert len(block) == 5
    assert all(line.startswith("    ") for line in block)
    assert block[2] == "    @\u200bteam/all &#64;you</details>"


@pytest.mark.parametrize(
    ("repository", "sha", "state"),
    [(OURS, OLD_SHA, "open"), (FORK, SHA, "open"), (OURS, SHA, "closed")],
    ids=["another head", "another repository", "closed"],
)
def test_a_run_that_is_not_of_the_pull_request_as_it_is_now_says_nothing(
    github: GitHub, repository: str, sha: str, state: str
) -> None:
    github.comment(MARKER + REPORT, 5)
    github.head(repository, sha, state)
    assert github.ran().startswith("::notice::pull request 7 ")
    assert not github.writes


def test_a_pull_request_whose_fork_is_gone_gets_none(github: GitHub) -> None:
    github.source = FORK
    github.pull = {"state": "open", "head": {"sha": SHA, "repo": None}}
    assert github.ran().startswith("::notice::")
    assert not github.writes


@pytest.mark.parametrize("number", ["", "0", "7/../8", "-7", "7\n8", "$(id)"])
def test_a_report_of_no_number_is_refused(github: GitHub, number: str) -> None:
    github.report(number=number)
    assert github.run().returncode == 1
    assert not github.writes


def test_a_pull_request_that_is_not_there_is_refused(github: GitHub) -> None:
    github.report(number="8")
    assert github.run().returncode == 1
    assert not github.writes


@pytest.mark.parametrize("source", [OURS, FORK])
@pytest.mark.parametrize("line", ["é" * 99 + "\n", "🔁\n", "\n"])
def test_a_comment_is_never_too_long(github: GitHub, source: str, line: str) -> None:
    github.source = source
    github.head(source)
    whole = line * (300_000 // len(line))
    github.report(whole, whole)
    github.ran()
    (body,) = github.bodies()
    assert len(body) <= 65_536
    assert f"\n… cut here\n\nOf {SHA}" in body


def test_a_report_of_any_bytes_is_posted(github: GitHub) -> None:
    github.artifact = {"number": "7", "report.markdown": b"a\0b\xff\n\n\x1b[31m\n"}
    github.ran()
    (body,) = github.bodies()
    assert body.startswith(f"{MARKER}ab\ufffd\n\n")
