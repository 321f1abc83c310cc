"""Find archaic and literally translated phrases in the texts that people read.

The phrases are in vocabulary.yaml, each with what to write instead.
"""

from __future__ import annotations

import ast
import re
import tokenize
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

import yaml

from tests.conftest import ROOT
from tests.git import git

PHRASES = ROOT / "tests" / "documentation" / "vocabulary.yaml"

READ = re.compile(
    r"[^/]*\.(md|yaml|toml|cfg)|noxfile\.py|\.(editorconfig|gitignore|gitattributes)"
    r"|\.(github|ci)/.*"
    r"|(docs|argocd|chart|tests/example)/.*\.(md|ya?ml|json|tpl|txt|sh|toml|xml)"
    r"|scripts/.*\.(py|json|yaml|css|html|js)"
    r"|tools/(site/.*\.(py|html)|python/.*\.in)"
)
"""The files of git that people read: pages, settings with their comments, templates, and code.

base/ and overlays/ are not among them: whoever adopts the repository writes what they like there.
"""

_MARKUP = re.compile(r"`[^`]+`|\]\([^)]*\)|https?://\S+")
"""Code, and where links lead: names, not prose."""

RENDERED = re.compile(r"argocd/(projects|applications)/.*")
"""Copies of other texts."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase to avoid."""

    pattern: re.Pattern[str]
    write: str
    finds: str
    """A sentence with the phrase."""
    allows: str
    """A similar sentence that is fine; may be empty."""


@dataclass(frozen=True, slots=True)
class Text:
    """A part of a file that is read as a whole: a paragraph, a comment, a message."""

    line: int
    """The line on which it begins."""
    lines: tuple[str, ...]

    def find(self, phrase: Phrase) -> Iterator[tuple[int, str]]:
        """Yield the line and the words of each place that has the phrase, across lines, too."""
        starts = list(accumulate((len(line) + 1 for line in self.lines), initial=0))
        for match in phrase.pattern.finditer(" ".join(self.lines)):
            yield self.line + bisect_right(starts, match.start()) - 1, match[0]


def phrases() -> list[Phrase]:
    """Return the phrases of vocabulary.yaml; without a capital in the pattern, case is ignored."""
    entries = yaml.safe_load(PHRASES.read_text("utf-8"))
    return [
        Phrase(
            re.compile(entry["pattern"], 0 if re.search("[A-Z]", entry["pattern"]) else re.I),
            entry["write"],
            entry["finds"],
            entry.get("allows", ""),
        )
        for entry in entries
    ]


def files() -> list[str]:
    """Return the paths of the files that people read and write, relative to the repository."""
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return sorted(
        path
        for path in set(listed)
        if READ.fullmatch(path) and not RENDERED.fullmatch(path) and (ROOT / path).is_file()
    )


def hits(path: str, text: str, avoided: list[Phrase]) -> list[str]:
    """Return one line for each phrase in a file: its place, the words, and what to write."""
    found = {
        (line, words, phrase.write)
        for part in parts(path, text)
        for phrase in avoided
        for line, words in part.find(phrase)
    }
    return [f'{path}:{line}: "{words}": write {write}' for line, words, write in sorted(found)]


def parts(path: str, text: str) -> Iterator[Text]:
    """Yield what is read in a file: of Python its comments and texts, of others everything."""
    if path.endswith(".py"):
        yield from _comments(text)
        yield from _strings(text)
        return
    lines = text.splitlines()
    if path.endswith(".md"):
        lines = [_MARKUP.sub("`…`", line) for line in lines]
    yield from _paragraphs(lines, 1)


def _paragraphs(lines: list[str], first: int) -> Iterator[Text]:
    """Yield blocks of lines without #; an empty line, an item, a table row or a key begins one."""
    block: list[str] = []
    start = first
    for number, line in enumerate([*lines, ""], first):
        bare = line.strip().lstrip("#").strip()
        if block and (not bare or re.match(r"([-*|>]|--|\d+\.|\w+:) ", bare)):
            yield Text(start, tuple(block))
            block = []
        if bare:
            start = start if block else number
            block.append(bare)


def _comments(source: str) -> Iterator[Text]:
    lines = [""] * (source.count("\n") + 1)
    for token in tokenize.generate_tokens(iter(source.splitlines(keepends=True)).__next__):
        if token.type == tokenize.COMMENT:
            lines[token.start[0] - 1] = token.string
    yield from _paragraphs(lines, 1)


def _strings(source: str) -> Iterator[Text]:
    """Yield the strings with a blank: messages and docstrings. Values in f-strings are {}."""
    inner: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            inner |= {id(part) for part in node.values}
            value = "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            value = node.value
            if id(node) in inner:
                continue
        else:
            continue
        if " " in value:
            lines = [_MARKUP.sub("`…`", line) for line in value.split("\n")]
            yield from _paragraphs(lines, node.lineno)
