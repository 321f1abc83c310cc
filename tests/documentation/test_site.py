"""The documentation as a site: it builds, its links lead somewhere, and it asks nobody else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import expect

from scripts.core import toolchain
from tests.browser import browser
from tests.conftest import ROOT
from tests.git import git
from tools.site import hook

MERMAID = "dist/mermaid.tiny.js"


def mkdocs(
    folder: Path, *arguments: str, overview: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Build the site of a repository as `nox -s site` does; overview: the page that it made."""
    given = {"MERMAID": str(toolchain.tool("mermaid")), "NO_MKDOCS_2_WARNING": "1"}
    given["OVERVIEW"] = str(overview or "")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", *arguments]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **given}, capture_output=True, text=True
    )


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and prints nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Yield the address of a server of the folder's files."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_the_site_builds_without_a_warning_and_asks_nobody_else(tmp_path: Path) -> None:
    site = tmp_path / "site"
    overview = tmp_path / "overview.html"
    overview.write_text("<title>Overview</title>")
    done = mkdocs(ROOT, "--site-dir", str(site), overview=overview)
    assert not done.returncode, done.stdout + done.stderr
    (tmp_path / "home").mkdir()
    with served(site) as address, browser(tmp_path / "home") as opened:
        page = opened.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{address}argocd/")
        expect(page.locator("div.mermaid")).to_be_visible()
        page.goto(f"{address}overview/")
        page.get_by_role("link", name="The overview of this revision").click()
        expect(page).to_have_title("Overview")
    assert "LineaQuorumLost" in (site / "search/search_index.json").read_text("utf-8")
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository of one page, docs/start.md, and those from elsewhere."""
    for path in ("mkdocs.yaml", "tools/site", "base/environment.yaml"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / path).is_dir() else shutil.copy
        copy(ROOT / path, tmp_path / path)
    config = (tmp_path / "mkdocs.yaml").read_text("utf-8").partition("\nnav:")[0]
    pages = "".join(f"  - {page}\n" for page in ("start.md", *hook.ELSEWHERE.values()))
    (tmp_path / "mkdocs.yaml").write_text(f"{config}\nnav:\n{pages}")
    for path in ("docs/start.md", *hook.ELSEWHERE):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("# A page\n")
    return tmp_path


BROKEN = {
    "../scripts/nothing.py": "the target is not found among documentation files",
    "nothing.md": "the target is not found among documentation files",
    "../../secret.md": "the target is not found among documentation files",
    "/start.md": "an absolute link",
    "#nothing": "there is no such anchor on this page",
    "../chart/README.md#nothing": "does not contain an anchor '#nothing'",
}
"""Links of docs/start.md → what the build says of them."""


def test_a_broken_link_ends_the_build(repository: Path) -> None:
    text = "".join(f"- [a link]({link})\n" for link in BROKEN)
    (repository / "docs/start.md").write_text(f"# A page\n\n{text}")
    done = mkdocs(repository)
    assert done.returncode == 1
    for said in BROKEN.values():
        assert done.stderr.count(said) == [*BROKEN.values()].count(said), done.stderr


def test_a_page_that_the_navigation_lacks_ends_the_build(repository: Path) -> None:
    (repository / "docs/other.md").write_text("# Another\n")
    done = mkdocs(repository)
    assert done.returncode == 1
    assert 'not included in the "nav" configuration:\n  - other.md' in done.stderr


@pytest.mark.parametrize(
    ("page", "link", "found"),
    [
        ("chain.md", "backups.md#restore", "backups.md#restore"),
        ("chain.md", "../README.md", "index.md"),
        ("runbooks/LineaTargetDown.md", "../../chart/README.md#values", "../chart.md#values"),
        ("index.md", "docs/chain.md", "chain.md"),
        ("chart.md", "../docs/backups.md", "backups.md"),
        ("chain.md", "../noxfile.py", "{repository}/blob/main/noxfile.py"),
        ("chart.md", "ci", "{repository}/tree/main/chart/ci"),
        ("chart.md", "#values", "#values"),
        ("chart.md", "mailto:a@example.com", "mailto:a@example.com"),
    ],
)
def test_a_link_leads_to_the_page_or_else_to_the_file(page: str, link: str, found: str) -> None:
    data = yaml.safe_load((ROOT / "base/environment.yaml").read_text("utf-8"))
    address = data["repository"]["url"].removesuffix(".git")
    assert hook.destination(page, link) == found.format(repository=address)


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("When a sync waits", "when-a-sync-waits"),
        ("What nox -s e2e proves", "what-nox--s-e2e-proves"),
        ("Restore: one node, or all?", "restore-one-node-or-all"),
        ("scripts/core", "scriptscore"),
    ],
)
def test_an_anchor_is_the_one_of_github(heading: str, anchor: str) -> None:
    assert hook.slug(heading, "-") == anchor


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("a\n- b\n- c\n\nd\n", "a\n\n- b\n- c\n\nd\n"),
        ("1. a\n   ```\n   $ b\n   ```\n2. c\n", "1. a\n    ```\n    $ b\n    ```\n2. c\n"),
        ("- a\n  - b\nc\n", "- a\n    - b\nc\n"),
        ("```yaml\na:\n- b\n  c\n```\n", "```yaml\na:\n- b\n  c\n```\n"),
        ("<details><summary>a</summary>\n", '<details markdown="1"><summary>a</summary>\n'),
    ],
    ids=["list after a line", "code in an item", "list in a list", "code", "details"],
)  # fmt: skip
def test_markdown_is_read_as_on_github(text: str, read: str) -> None:
    assert hook.as_on_github(text) == read


def diagrams() -> dict[str, str]:
    """Return the Mermaid diagrams of all pages, by file and line."""
    found = {}
    for path in git(ROOT, "ls-files", "--", "*.md").splitlines():
        text = (ROOT / path).read_text("utf-8") if (ROOT / path).is_file() else ""
        for match in re.finditer(r"^```mermaid\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            found[f"{path}:{text.count(chr(10), 0, match.start()) + 2}"] = match[1]
    return found


CHECK = """text => mermaid.mermaidAPI.getDiagramFromText(text).then(
  diagram => diagram.db.getEdges?.().some(edge => edge.type === "INVALID")
    ? "an arrow begins as one kind and ends as another" : "",
  error => error.message
)"""
"""Returns why Mermaid can't draw a diagram. Its parser takes arrows of two kinds; drawing fails."""


def test_every_diagram_can_be_drawn(tmp_path: Path) -> None:
    with browser(tmp_path) as opened:
        page = opened.new_page()
        page.add_script_tag(path=toolchain.tool("mermaid") / MERMAID)
        page.evaluate("mermaid.initialize({startOnLoad: false})")
        failed = {place: page.evaluate(CHECK, text) for place, text in diagrams().items()}
    assert {place: why for place, why in failed.items() if why} == {}
