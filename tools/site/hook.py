"""What mkdocs does for `nox -s site` besides its own; mkdocs.yaml names this file as a hook.

- Pages that stand elsewhere in the repository come along: README.md, chart/README.md and others.
- Links between files of the repository work on the site, too: to the page of a file where it has
  one, otherwise to the file in the repository. Where there is no such file, mkdocs finds none
  either, and warns, which ends the build.
- Markdown is read as GitHub reads it, so that one text serves both.
- The overview of all environments comes along, as the page that `nox -s overview` makes.
"""

from __future__ import annotations

import os
import posixpath
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml
from markdown import Extension, Markdown
from markdown.treeprocessors import Treeprocessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]

ELSEWHERE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "argocd/README.md": "argocd.md",
    "chart/README.md": "chart.md",
}
"""Files of the repository outside docs/ that are pages of the site → what they are called there."""

OVERVIEW, ITS_PAGE = "what-runs-where.html", "overview.md"
"""What the overview is called on the site, and the page that gets a link to it."""

_LIST_ITEM = re.compile(r"([-*]|\d+\.) ")
_FENCE = re.compile(r" *(```+|~~~+)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Return the configuration, with folders of the navigation expanded."""
    docs = Path(config.docs_dir)
    config.nav = list(_expanded(config.nav or [], docs))
    # Typed as names only; Markdown takes extensions, too.
    config.markdown_extensions.append(_Links())  # type: ignore[arg-type]
    config.mdx_configs["toc"] = {"slugify": slug, "permalink": True}
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Return the files of the site: docs/, those from elsewhere, Mermaid, and the overview."""
    for path, name in ELSEWHERE.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    mermaid = Path(os.environ.get("MERMAID", "")) / "dist" / "mermaid.tiny.js"
    if not mermaid.is_file():
        raise PluginError("MERMAID must name the folder of Mermaid: run nox -s site")
    script = "assets/javascripts/mermaid.js"
    files.append(File.generated(config, script, abs_src_path=str(mermaid)))
    if made := os.environ.get("OVERVIEW"):
        files.append(File.generated(config, OVERVIEW, abs_src_path=made))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Return the page's text, in the form that Python-Markdown reads as GitHub does."""
    _Links.page = page.file.src_uri
    if page.file.src_uri == ITS_PAGE and os.environ.get("OVERVIEW"):
        title, rest = markdown.partition("\n")[::2]
        markdown = f"{title}\n\n**[The overview of this revision]({OVERVIEW})**\n{rest}"
    return as_on_github(markdown)


def _expanded(items: list[Any], docs: Path) -> Iterator[Any]:
    """Yield the items of a navigation, with the pages of a folder instead of `folder/*`."""
    for item in items:
        if isinstance(item, dict):
            yield {
                title: list(_expanded(inner, docs)) if isinstance(inner, list) else inner
                for title, inner in item.items()
            }
        elif item.endswith("/*"):
            yield from sorted(path.relative_to(docs).as_posix() for path in docs.glob(f"{item}.md"))
        else:
            yield item


def as_on_github(text: str) -> str:
    """Return Markdown that Python-Markdown reads as GitHub reads the given text.

    There a list needs no empty line before it, what belongs to an item is indented by the width of
    its mark, and Markdown within <details> counts.
    """
    lines: list[str] = []
    fence, width, before = "", 0, ""
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if fence:
            fence = "" if mark and mark[1].startswith(fence) else fence
        elif mark:
            fence = mark[1]
        elif item := _LIST_ITEM.match(line):
            if before and not width:
                lines.append("")
            width = len(item[0])
        else:
            line = line.replace("<details>", '<details markdown="1">')
        if line and not line.startswith(" " * width) and not _LIST_ITEM.match(line):
            width = 0
        inside = width and line.startswith(" " * width)
        lines.append(f"{' ' * (4 - width)}{line}" if inside else line)
        before = line
    return "\n".join(lines) + "\n"


def slug(heading: str, separator: str) -> str:
    """Return a heading's anchor, as GitHub names it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", separator)


def destination(page: str, link: str) -> str:
    """Return where a link leads on the site; the link as it is where it is no file of ours.

    page: as the site calls it, like runbooks/LineaTargetDown.md.
    """
    path, hash_, anchor = link.partition("#")
    if not path or re.match(r"[a-z][a-z0-9+.-]*:|/", path, re.IGNORECASE):
        return link
    places = {name: place for place, name in ELSEWHERE.items()}
    start = places.get(page, f"docs/{page}")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(start), unquote(path)))
    if target.startswith("..") or not (ROOT / target).exists():
        return link
    if target in ELSEWHERE or re.fullmatch(r"docs/.*\.md", target):
        name = ELSEWHERE.get(target, target.removeprefix("docs/"))
        return posixpath.relpath(name, posixpath.dirname(page)) + hash_ + anchor
    kind = "tree" if (ROOT / target).is_dir() else "blob"
    return f"{_repository()}/{kind}/main/{target}{hash_}{anchor}"


def _repository() -> str:
    """Return the address of the repository, for a browser."""
    data = yaml.safe_load((ROOT / "base" / "environment.yaml").read_text("utf-8"))
    url = str(data["repository"]["url"]).removesuffix(".git")
    return re.sub(r"^(ssh://)?git@([^:/]+)[:/]", r"https://\2/", url)


class _Links(Extension, Treeprocessor):
    """Lets the links of the page that is rendered lead to where they lead on the site."""

    page = ""

    def __init__(self) -> None:
        Extension.__init__(self)

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 - Markdown calls it so
        """Register itself: after what makes links, before what mkdocs does with them (0)."""
        Treeprocessor.__init__(self, md)
        md.treeprocessors.register(self, "repository", 5)

    def run(self, root: ElementTree.Element) -> None:
        """Rewrite the links of a page."""
        for element in root.iter():
            for name in {"a": ["href"], "img": ["src"]}.get(str(element.tag), ()):
                element.set(name, destination(_Links.page, element.get(name, "")))
