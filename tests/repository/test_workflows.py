"""What the workflows of a pull request's report do, with GitHub's own gh and a stand-in for GitHub.

Their scripts are run as they stand in the workflows.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from scripts.environments import layout
from scripts.impact.effects.effect import LABELS
from tests.conftest import EXAMPLE, ROOT, Repository
from tests.git import commit, git

DOCS = ROOT / "docs" / "impact.md"
WORKFLOWS = ROOT / ".github" / "workflows"
BOT = "github-actions[bot]"
MARKER = "<!-- impact report -->\n"
OURS, FORK = "team/stacks", "somebody/stacks"
SHA, OLD_SHA = "a" * 40, "b" * 40
REPORT = "### Impact: 1 of 3 environments changes\n\n**🔁 restarts** of the team's `pods`\n"
NOTHING = "### Impact: no environment changes from origin/main to pull/7/merge\n"
PROGRAMS = Path(sys.executable).parent


def step(workflow: str, name: str) -> str:
    """Return the script of a workflow's step."""
    data = yaml.safe_load((WORKFLOWS / workflow).read_text("utf-8"))
    (found,) = (
        one["run"]
        for job in data["jobs"].values()
        for one in job["steps"]
        if one.get("name") == name
    )
    return str(found)


def bash(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script as GitHub's runner does."""
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env={"PATH": f"{PROGRAMS}:{os.environ['PATH']}", "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


@dataclass
class GitHub:
    """What a stand-in for GitHub's REST API has of pull request 7, and what it was told."""

    folder: Path
    socket: Path
    pull: dict[str, Any] = field(default_factory=dict)
    comments: list[dict[str, Any]] = field(default_factory=list)
    artifact: dict[str, str | bytes] = field(default_factory=dict)
    suggestions: list[dict[str, Any]] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    """Method and path of each request that changes something."""
    source: str = OURS

    def answer(self, method: str, url: str, body: bytes) -> tuple[int, object, str]:
        """Return the status, the JSON or bytes, and the path of a next page."""
        path = urlsplit(url).path.removeprefix(f"/repos/{OURS}/")
        query = {
            key: int(value[0])
            for key, value in parse_qs(urlsplit(url).query).items()
            if value[0].isdigit()
        }
        if method != "GET":
            self.writes.append(f"{method} {path}")
        match method, path:
            case "GET", "actions/runs/42/artifacts":
                link = f"https://api.github.com/repos/{OURS}/actions/artifacts/9/zip"
                one = {"id": 9, "name": "impact", "archive_download_url": link, "expired": False}
                return 200, {"total_count": 1, "artifacts": [one]}, ""
            case "GET", "actions/artifacts/9/zip":
                zipped = io.BytesIO()
                with zipfile.ZipFile(zipped, "w") as archive:
                    for name, content in self.artifact.items():
                        archive.writestr(name, content)
                return 200, zipped.getvalue(), ""
            case "GET", "pulls/7":
                return 200, self.pull, ""
            case "GET", "issues/7/comments":
                size, page = query.get("per_page", 30), query.get("page", 1)
                found = self.comments[(page - 1) * size : page * size]
                more = f"{path}?per_page={size}&page={page + 1}"
                return 200, found, more if page * size < len(self.comments) else ""
            case "GET", "pulls/7/comments":
                return 200, self.suggestions, ""
            case "POST", "pulls/7/reviews":
                review = json.loads(body)
                new = [one | {"user": {"login": BOT}} for one in review["comments"]]
                self.suggestions += new
                return (200, {}, "") if review["commit_id"] == SHA else (422, {}, "")
            case "POST", "issues/7/comments":
                self.comment(json.loads(body)["body"], 1000)
                return 201, self.comments[-1], ""
        found = [one for one in self.comments if path == f"issues/comments/{one['id']}"]
        if found and method == "PATCH":
            found[0]["body"] = json.loads(body)["body"]
            return 200, found[0], ""
        if found and method == "DELETE":
            self.comments.remove(found[0])
            return 204, b"", ""
        return 404, {"message": "Not Found"}, ""

    def comment(self, body: str, number: int, author: str = BOT) -> None:
        self.comments.append({"id": number, "user": {"login": author}, "body": body})

    def head(self, repository: str = OURS, sha: str = SHA, state: str = "open") -> None:
        """Say what the pull request is of now."""
        self.pull = {"state": state, "head": {"sha": sha, "repo": {"full_name": repository}}}

    def report(self, markdown: str = REPORT, text: str = "", number: str = "7\n") -> None:
        """Say what the run has made."""
        self.artifact = {"number": number, "report.markdown": markdown, "report.text": text}

    def run(self) -> subprocess.CompletedProcess[str]:
        """Run the workflow of a run of the head SHA that has ended."""
        url = f"https://github.com/{OURS}/actions/runs/42"
        of = {"id": 42, "html_url": url, "head_sha": SHA}
        event = {"workflow_run": of | {"head_repository": {"full_name": self.source}}}
        (self.folder / "event.json").write_text(json.dumps(event))
        (self.folder / "config.yml").write_text(f"http_unix_socket: {self.socket}\n")
        return bash(
            step("impact-comment.yaml", "comment"),
            self.folder,
            GH_TOKEN="x",
            GH_REPO=OURS,
            GH_CONFIG_DIR=str(self.folder),
            GITHUB_EVENT_PATH=str(self.folder / "event.json"),
            GITHUB_OUTPUT=str(self.output),
        )

    @property
    def output(self) -> Path:
        """Return the file in which a step leaves what later ones need."""
        return self.folder / "output"

    def suggest(self) -> subprocess.CompletedProcess[str]:
        """Run the step that posts suggestions, with what the one before it has left."""
        left = dict(line.split("=", 1) for line in self.output.read_text().splitlines())
        return bash(
            step("impact-comment.yaml", "suggestions"),
            self.folder,
            GH_TOKEN="x",
            GH_REPO=OURS,
            GH_CONFIG_DIR=str(self.folder),
            **{name.upper(): value for name, value in left.items()},
        )

    def ran(self) -> str:
        """Run it where it ends well, and return what it printed."""
        done = self.run()
        assert not done.returncode, done.stdout + done.stderr
        return done.stdout

    def bodies(self, author: str = BOT) -> list[str]:
        return [one["body"] for one in self.comments if one["user"]["login"] == author]


class Server(ThreadingUnixStreamServer):
    """A server that gh reaches by its setting http_unix_socket."""

    daemon_threads = True
    github: GitHub


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def handle_one(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        github = self.server.github
        status, content, more = github.answer(self.command, self.path, self.rfile.read(length))
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        kind = "application/zip" if raw[:2] == b"PK" else "application/json"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(raw)))
        if more:
            self.send_header("Link", f'<https://api.github.com/repos/{OURS}/{more}>; rel="next"')
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = do_PATCH = do_DELETE = handle_one  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@pytest.fixture
def github(tmp_path: Path) -> Iterator[GitHub]:
    """Yield a stand-in with an open pull request of this repository, and its report."""
    # The path of a socket has room for 100 characters, which that of a test may exceed.
    with tempfile.TemporaryDirectory() as folder:
        found = GitHub(tmp_path, Path(folder) / "socket")
        found.head()
        found.report()
        with Server(str(found.socket), Handler) as server:
            server.github = found
            threading.Thread(target=server.serve_forever, args=(0.01,)).start()
            yield found
            server.shutdown()


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


def reported(repository: Repository, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the report's step where a pull request is checked out as its merge."""
    folder.mkdir()
    # In nox's place the program that its sessions start: python -m nox -s impact -- …
    python = folder / "python"
    python.write_text(
        f"""#!/bin/bash
        session=$4 options=("${{@:6}}")
        [[ $session == check ]] && session=render options=(--check)
        cd {ROOT}
        {sys.executable} -m scripts --repository {repository.root} "$session" "${{options[@]}}"
        """
    )
    python.chmod(0o755)
    return bash(
        step("impact.yaml", "report"),
        repository.root,
        PATH=f"{folder}:{PROGRAMS}:{os.environ['PATH']}",
        NUMBER="7",
        BASE="release/1",
        GITHUB_STEP_SUMMARY=str(folder / "summary"),
    )


@pytest.fixture
def merged(repository: Repository) -> Repository:
    """Return a repository in which a pull request is checked out as its merge."""
    git(repository.root, "init", "-q", "-b", "main")
    commit(repository.root)
    git(repository.root, "checkout", "-q", "-b", "change")
    repository.write("overlays/dev/values.yaml", "txSender: {interval: 7}\n")
    assert repository.run("render").code == 0
    commit(repository.root)
    git(repository.root, "checkout", "-q", "--detach", "main")
    git(repository.root, "merge", "-q", "--no-ff", "-m", "x", "change")
    return repository


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


WRITERS = {
    ("impact-comment.yaml", "comment"): ({"pull-requests"}, []),
    ("site.yaml", "publish"): ({"pages", "id-token"}, ["actions/deploy-pages"]),
}
"""The jobs with a token that may write → what it may write, and the actions that they use."""


def test_only_jobs_that_run_nothing_of_a_pull_request_may_write() -> None:
    found = {}
    for path in sorted(WORKFLOWS.glob("*.yaml")):
        data = yaml.safe_load(path.read_text("utf-8"))
        # YAML 1.1 reads the key "on" as true.
        assert "pull_request_target" not in data[True], path.name
        for name, job in data["jobs"].items():
            granted = job.get("permissions", data["permissions"])
            if writes := {key for key, value in granted.items() if value != "read"}:
                assert "pull_request" not in data[True], path.name
                uses = [step["uses"].split("@")[0] for step in job["steps"] if "uses" in step]
                found[path.name, name] = (writes, uses)
    assert found == WRITERS


def test_nothing_that_others_write_is_put_into_a_script() -> None:
    for path in sorted(WORKFLOWS.glob("*.yaml")):
        data = yaml.safe_load(path.read_text("utf-8"))
        for job in data["jobs"].values():
            for one in job["steps"]:
                assert not re.search(r"\$\{\{", one.get("run", "")), path.name


def test_reviews_fold_what_render_wrote_and_nothing_else() -> None:
    files = git(EXAMPLE, "ls-files").splitlines()
    told = git(EXAMPLE, "check-attr", "-z", "linguist-generated", "--", *files).split("\0")
    folded = {path for path, value in zip(told[::3], told[2::3], strict=False) if value == "set"}
    written = {path for path in files if layout.is_written((EXAMPLE / path).read_bytes())}
    assert folded == written
    assert {Path(path).parts[0] for path in folded} == {"argocd", "overlays"}


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
