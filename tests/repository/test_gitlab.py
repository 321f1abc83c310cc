"""What GitLab's pipeline runs, and which rights its jobs have.

The scripts are run as they stand in the file.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from tests.conftest import ROOT, Repository
from tests.git import git
from tests.repository.github import NOTHING, REPORT, WORKFLOWS
from tests.repository.shell import PROGRAMS, bash, program, sessions

FILE = ROOT / ".gitlab-ci.yml"
TOKEN = "glpat-of-the-bot"
MARKER = "<!-- impact report -->\n"
SHA = "a" * 40
BOT, OTHER = 5, 6
MERGE_REQUEST = {
    "CI_PIPELINE_SOURCE": "merge_request_event",
    "CI_MERGE_REQUEST_IID": "7",
    "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "release/1",
    "CI_MERGE_REQUEST_DIFF_BASE_SHA": "b" * 40,
}


def pipeline() -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(FILE.read_text("utf-8"))
    return data


def jobs() -> dict[str, dict[str, Any]]:
    """Return the jobs, each with what it extends."""
    data = pipeline()
    settings = {"workflow", "stages", "default", "variables"}

    def whole(name: str) -> dict[str, Any]:
        own: dict[str, Any] = data[name]
        return (whole(own["extends"]) if "extends" in own else {}) | own

    return {name: whole(name) for name in data.keys() - settings if not name.startswith(".")}


def script(name: str) -> str:
    """Return what GitLab's runner gives to the shell."""
    job = jobs()[name]
    lines = job["script"] if isinstance(job["script"], list) else [job["script"]]
    return "\n".join([*job.get("before_script", ()), *lines])


# The sessions


def test_there_is_a_job_for_each_session_that_a_change_must_pass() -> None:
    assert jobs().keys() == {*sessions(), "impact", "impact note"}


def told(folder: Path, name: str, **variables: str) -> list[str]:
    """Return the sessions that a job runs, with their arguments; none of them passes."""
    programs = folder / "bin"
    programs.mkdir()
    log = folder / "log"
    python = programs / "python"
    python.write_text(f'#!/bin/sh\necho "$*" >>{log}\nexit $([ "$2" = pip ]; echo $?)\n')
    python.chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    variables |= jobs()[name].get("variables", {})
    done = bash(script(name), folder, PATH=path, CI_JOB_NAME=name, **variables)
    assert done.returncode == 1, done.stderr
    install, *lines = log.read_text().splitlines()
    assert install.endswith("--require-hashes --only-binary :all: -r tools/python/nox.txt")
    return [line.removeprefix("-m nox -s ") for line in lines]


JUNIT, GITLAB = "--junitxml=tests.xml", "--format gitlab"


@pytest.mark.parametrize(
    ("name", "on_main", "on_a_change"),
    [
        ("check", ["check"], ["check"]),
        (
            "validate",
            ["validate -- --format gitlab", "validate --"],
            [
                "validate -- --changed --against BASE --format gitlab",
                "validate -- --changed --against BASE",
            ],
        ),
        (
            "admission",
            ["admission -- --format gitlab", "admission --"],
            ["admission -- --against BASE --format gitlab", "admission -- --against BASE"],
        ),
        ("policy", *[["policy -- --format gitlab", "policy"]] * 2),
        ("lint", ["lint"], ["lint"]),
        ("tests", *[["tests -- --junitxml=tests.xml"]] * 2),
        (
            "e2e",
            ["e2e -- --junitxml=tests.xml"],
            ["e2e -- --junitxml=tests.xml --against BASE"],
        ),
    ],
)
def test_a_change_is_compared_with_what_it_is_merged_into(
    tmp_path: Path, name: str, on_main: list[str], on_a_change: list[str]
) -> None:
    for variables, base, expected in (
        ({}, "", on_main),
        (MERGE_REQUEST, "b" * 40, on_a_change),
        (MERGE_REQUEST | {"CI_MERGE_REQUEST_TARGET_BRANCH_SHA": "c" * 40}, "c" * 40, on_a_change),
    ):
        folder = tmp_path / (base or "main")
        folder.mkdir()
        assert told(folder, name, **variables) == [line.replace("BASE", base) for line in expected]


def test_caches_are_those_of_github() -> None:
    steps = [step for job in github().values() for step in job["steps"]]
    caches = [step["with"] for step in steps if "actions/cache" in step.get("uses", "")]
    paths = {path for cache in caches for path in cache["path"].split()}
    for name, job in jobs().items():
        if name == "impact note":
            assert "cache" not in job
            continue
        assert {*job["cache"]["paths"]} == paths
        assert job["cache"]["key"] == "$CI_JOB_NAME"


def github() -> dict[str, Any]:
    """Return the jobs of GitHub's pull requests."""
    data = yaml.safe_load((WORKFLOWS / "pull-request.yaml").read_text("utf-8"))
    return dict(data["jobs"])


def test_a_cache_of_tools_survives_a_change_of_a_lock_of_python_packages() -> None:
    steps = [step for job in github().values() for step in job["steps"]]
    caches = [step["with"] for step in steps if "actions/cache" in step.get("uses", "")]
    tools = [cache for cache in caches if ".tools/bin" in cache["path"]]
    assert len(tools) == 2
    for cache in tools:
        assert "'!tools/python/**'" in cache["key"]
        # Without it, one changed pin would discard all tools.
        assert cache["key"].startswith(cache["restore-keys"])
    for cache in caches:
        if "tools/python/*.txt" in cache["key"]:
            assert "restore-keys" not in cache, "an environment of other locks is made anew"


def test_a_schedule_validates_and_runs_nothing_else() -> None:
    scheduled = {
        name
        for name, job in jobs().items()
        if job["rules"] == [{"when": "on_success"}]
        or any("schedule" in rule["if"] and "!=" not in rule["if"] for rule in job["rules"])
    }
    assert scheduled == {"validate"}


def test_only_reports_may_fail() -> None:
    allowed = {name for name, job in jobs().items() if job.get("allow_failure")}
    assert allowed == {"impact", "impact note"}


def test_one_job_uses_the_token_and_only_for_branches_of_this_project() -> None:
    users = {name for name in jobs() if "TOKEN" in json.dumps(jobs()[name])}
    assert users == {"impact note"}
    (rule,) = jobs()["impact note"]["rules"]
    assert rule["if"] == ("$IMPACT_TOKEN && $CI_MERGE_REQUEST_SOURCE_PROJECT_ID == $CI_PROJECT_ID")


@pytest.mark.parametrize("stale", [False, True])
def test_the_report_is_of_the_change(merged: Repository, tmp_path: Path, stale: bool) -> None:
    if stale:
        merged.write("overlays/dev/values.yaml", "txSender: {interval: 8}\n")
    program(tmp_path / "bin", merged)
    own = script("impact").split("\n", 1)[1]
    variables = MERGE_REQUEST | {
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": git(merged.root, "rev-parse", "HEAD^1").strip()
    }
    path = f"{tmp_path / 'bin'}:{PROGRAMS}:{os.environ['PATH']}"
    done = bash(own, merged.root, PATH=path, **variables)
    assert not done.returncode, done.stderr
    report = (merged / "report/impact.md").read_text("utf-8")
    warning = "The committed manifests are out of date; this report is about the committed ones."
    assert report.startswith(f"{warning}\n\n") == stale
    assert "1 of 3 environments changes from origin/release/1 to merge-requests/7/head" in report
    assert "<html" in (merged / "report/impact.html").read_text("utf-8")


# The note


@dataclass
class GitLab:
    """What a stand-in for GitLab's API has of merge request 7, and what it was told."""

    folder: Path
    address: str = ""
    notes: list[dict[str, Any]] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)

    def answer(self, method: str, url: str, body: Any) -> Any:
        """Return the JSON, or None if there is nothing at the address."""
        parts = urlsplit(url)
        path = parts.path.removeprefix("/api/v4")
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        notes = "/projects/3/merge_requests/7/notes"
        if method != "GET":
            self.writes.append(f"{method} {path.removeprefix('/projects/3/')}")
        match method, path:
            case "GET", "/user":
                return {"id": BOT}
            case "GET", _ if path == notes:
                size, page = int(query.get("per_page", 20)), int(query.get("page", 1))
                return self.notes[(page - 1) * size : page * size]
            case "POST", _ if path == notes:
                self.note(body["body"], 1000)
                return self.notes[-1]
        for each in self.notes:
            if method == "PUT" and path == f"{notes}/{each['id']}":
                each["body"] = body["body"]
                return each
        return None

    def note(self, body: str, number: int, author: int = BOT) -> None:
        self.notes.append({"id": number, "body": body, "author": {"id": author}})

    def run(self, report: str = REPORT, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
        """Run the job's script with a report."""
        for name in ("report", ".ci"):
            (self.folder / name).mkdir(exist_ok=True)
        (self.folder / "report/impact.md").write_text(report, "utf-8")
        (self.folder / ".ci/impact_note.py").write_bytes((ROOT / ".ci/impact_note.py").read_bytes())
        return bash(
            script("impact note"),
            self.folder,
            CI_API_V4_URL=f"{self.address}/api/v4",
            CI_PROJECT_ID="3",
            CI_MERGE_REQUEST_IID="7",
            CI_COMMIT_SHA=SHA,
            CI_PIPELINE_URL="https://gitlab.example/p/-/pipelines/9",
            IMPACT_TOKEN=token,
        )

    def ran(self, report: str = REPORT) -> None:
        done = self.run(report)
        assert not done.returncode, done.stderr


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def handle_one(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        content = self.server.gitlab.answer(self.command, self.path, body)
        known = self.headers.get("PRIVATE-TOKEN") == TOKEN
        self.send_response(401 if not known else 404 if content is None else 200)
        raw = json.dumps(content).encode()
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = do_PUT = handle_one  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


class Server(ThreadingHTTPServer):
    """A server with a free port."""

    daemon_threads = True
    gitlab: GitLab


@pytest.fixture
def gitlab(tmp_path: Path) -> Iterator[GitLab]:
    """Yield a stand-in with a merge request without notes."""
    with Server(("127.0.0.1", 0), Handler) as server:
        found = server.gitlab = GitLab(tmp_path, f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield found
        server.shutdown()


def test_a_first_report_becomes_a_note(gitlab: GitLab) -> None:
    gitlab.ran()
    (note,) = gitlab.notes
    assert note["body"] == (
        f"{MARKER}{REPORT}\n\nOf {SHA}; [its pipeline](https://gitlab.example/p/-/pipelines/9) has"
        " it as a page.\n"
    )


def test_a_second_report_takes_the_place_of_the_first(gitlab: GitLab) -> None:
    gitlab.ran()
    gitlab.ran(REPORT.replace("1 of 3", "2 of 3"))
    (note,) = gitlab.notes
    assert "2 of 3" in note["body"]
    notes = "merge_requests/7/notes"
    assert gitlab.writes == [f"POST {notes}", f"PUT {notes}/1000"]


def test_a_change_of_nothing_is_noted_only_where_there_was_a_report(gitlab: GitLab) -> None:
    gitlab.ran(NOTHING)
    assert not gitlab.writes
    gitlab.ran()
    gitlab.ran(NOTHING)
    (note,) = gitlab.notes
    assert note["body"].startswith(MARKER + NOTHING)


def test_the_note_is_found_among_many_and_those_of_others_are_not_touched(gitlab: GitLab) -> None:
    for number in range(250):
        gitlab.note(MARKER + "mine", number, OTHER)
    gitlab.note("hello", 250)
    gitlab.note(MARKER + "old", 251)
    gitlab.ran()
    assert gitlab.writes == ["PUT merge_requests/7/notes/251"]


def test_nothing_in_a_report_is_executed_as_a_quick_action(gitlab: GitLab) -> None:
    """https://docs.gitlab.com/user/project/quick_actions/: a line that begins with a slash."""
    gitlab.ran("a\n/close\n  /label ~x\n\n> /merge\n>\t/assign me\nx /close\n")
    (note,) = gitlab.notes
    lines = note["body"].splitlines()
    assert not [line for line in lines if line.lstrip(" >\t").startswith("/")]
    assert "x /close" in lines


def test_a_note_is_never_too_long(gitlab: GitLab) -> None:
    gitlab.ran("🔁 é\n" * 400_000)
    assert len(gitlab.notes[0]["body"]) < 1_000_000


def test_a_wrong_token_fails_the_job_and_is_not_shown(gitlab: GitLab) -> None:
    done = gitlab.run(token="glpat-of-another")
    assert done.returncode
    assert "401" in done.stderr
    assert "glpat" not in done.stdout + done.stderr
