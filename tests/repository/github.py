"""GitHub's own gh, and a stand-in for GitHub's REST API, for the scripts of workflows."""

from __future__ import annotations

import io
import json
import subprocess
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.conftest import ROOT
from tests.repository.shell import bash

WORKFLOWS = ROOT / ".github" / "workflows"
BOT = "github-actions[bot]"
OURS, FORK = "team/stacks", "somebody/stacks"
SHA, OLD_SHA = "a" * 40, "b" * 40
REPORT = "### Impact: 1 of 3 environments changes\n\n**🔁 restarts** of the team's `pods`\n"
NOTHING = "### Impact: no environment changes from origin/main to pull/7/merge\n"


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


Answer = tuple[int, object, str]
"""The status, the JSON or bytes, and the path of a next page."""
Query = dict[str, str]


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
    issues: list[dict[str, Any]] = field(default_factory=list)
    source: str = OURS
    named: str = "impact"
    """The name of the artifact."""

    def answer(self, method: str, url: str, body: bytes) -> Answer:
        """Return the status, the JSON or bytes, and the path of a next page."""
        path = urlsplit(url).path.removeprefix(f"/repos/{OURS}/")
        query = {key: values[0] for key, values in parse_qs(urlsplit(url).query).items()}
        if method != "GET":
            self.writes.append(f"{method} {path}")
        given = json.loads(body) if body else {}
        for part in (self._of_the_run, self._of_the_pull, self._of_comments, self._of_issues):
            if answer := part(method, path, query, given):
                return answer
        return 404, {"message": "Not Found"}, ""

    def _of_the_run(self, method: str, path: str, query: Query, given: Any) -> Answer | None:
        match method, path:
            case "GET", "actions/runs/42/artifacts":
                link = f"https://api.github.com/repos/{OURS}/actions/artifacts/9/zip"
                one = {"id": 9, "name": self.named, "archive_download_url": link, "expired": False}
                return 200, {"total_count": 1, "artifacts": [one]}, ""
            case "GET", "actions/artifacts/9/zip":
                zipped = io.BytesIO()
                with zipfile.ZipFile(zipped, "w") as archive:
                    for name, content in self.artifact.items():
                        archive.writestr(name, content)
                return 200, zipped.getvalue(), ""
        return None

    def _of_the_pull(self, method: str, path: str, query: Query, given: Any) -> Answer | None:
        match method, path:
            case "GET", "pulls/7":
                return 200, self.pull, ""
            case "GET", "pulls/7/comments":
                return 200, self.suggestions, ""
            case "POST", "pulls/7/reviews":
                self.suggestions += [one | {"user": {"login": BOT}} for one in given["comments"]]
                return (200, {}, "") if given["commit_id"] == SHA else (422, {}, "")
        return None

    def _of_comments(self, method: str, path: str, query: Query, given: Any) -> Answer | None:
        match method, path:
            case "GET", "issues/7/comments":
                return _page(self.comments, path, query)
            case "POST", "issues/7/comments":
                self.comment(given["body"], 1000)
                return 201, self.comments[-1], ""
        found = [one for one in self.comments if path == f"issues/comments/{one['id']}"]
        if found and method == "PATCH":
            found[0]["body"] = given["body"]
            return 200, found[0], ""
        if found and method == "DELETE":
            self.comments.remove(found[0])
            return 204, b"", ""
        return None

    def _of_issues(self, method: str, path: str, query: Query, given: Any) -> Answer | None:
        match method, path:
            case "GET", "issues":
                found = [one for one in self.issues if one["state"] == query.get("state", "open")]
                return _page(found, path, query)
            case "POST", "issues":
                self.issue(given["title"], given["body"])
                return 201, self.issues[-1], ""
        found = [one for one in self.issues if path == f"issues/{one['number']}"]
        if found and method == "PATCH":
            found[0].update(given)
            return 200, found[0], ""
        return None

    def comment(self, body: str, number: int, author: str = BOT) -> None:
        self.comments.append({"id": number, "user": {"login": author}, "body": body})

    def issue(self, title: str, body: str = "", author: str = BOT) -> dict[str, Any]:
        """Open an issue."""
        number = 100 + len(self.issues)
        new = {"number": number, "title": title, "body": body, "state": "open"}
        self.issues.append(new | {"user": {"login": author}})
        return self.issues[-1]

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
        return self.gh(
            step("impact-comment.yaml", "comment"),
            GITHUB_EVENT_PATH=str(self.folder / "event.json"),
            GITHUB_OUTPUT=str(self.output),
        )

    def gh(self, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a script whose gh asks this stand-in."""
        (self.folder / "config.yml").write_text(f"http_unix_socket: {self.socket}\n")
        settings = {"GH_TOKEN": "x", "GH_REPO": OURS, "GH_CONFIG_DIR": str(self.folder)}
        return bash(script, self.folder, **settings, **environment)

    @property
    def output(self) -> Path:
        """Return the file in which a step leaves what later ones need."""
        return self.folder / "output"

    def suggest(self) -> subprocess.CompletedProcess[str]:
        """Run the step that posts suggestions, with what the one before it has left."""
        left = dict(line.split("=", 1) for line in self.output.read_text().splitlines())
        return self.gh(
            step("impact-comment.yaml", "suggestions"),
            **{name.upper(): value for name, value in left.items()},
        )

    def ran(self) -> str:
        """Run it where it ends well, and return what it printed."""
        done = self.run()
        assert not done.returncode, done.stdout + done.stderr
        return done.stdout

    def bodies(self, author: str = BOT) -> list[str]:
        return [one["body"] for one in self.comments if one["user"]["login"] == author]


def _page(items: list[dict[str, Any]], path: str, query: Query) -> Answer:
    """Return a page of a list, and the path of the next one."""
    size, page = int(query.get("per_page", 30)), int(query.get("page", 1))
    more = f"{path}?per_page={size}&page={page + 1}"
    found = items[(page - 1) * size : page * size]
    return 200, found, more if page * size < len(items) else ""


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
