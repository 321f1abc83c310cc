"""Suggestions on a pull request: the edits of findings as comments of a GitHub review.

GitHub shows a suggestion, which is applied with a click, only in a review's comment on lines that
the diff of the pull request shows; annotations and code scanning have none:
https://docs.github.com/en/rest/pulls/reviews#create-a-review-for-a-pull-request
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from scripts.checks import fixing
from scripts.core.findings import Finding, Replacement, UsageError
from scripts.core.programs import QUERY_TIMEOUT_S, run

MOST = 30
"""Comments in one review; the annotations show all findings."""

_HUNK = re.compile(r"^@@ -\S+ \+(\d+)(?:,(\d+))? @@", re.MULTILINE)
_FENCE = "`" * 4
"""Longer than a fence in a text could be, which would end the suggestion."""


def review(root: Path, findings: Iterable[Finding], base: str) -> str:
    """Return the body of GitHub's request for a review, as JSON.

    base: the revision that the pull request is merged into. In a merge commit, as GitHub makes it,
    files that base changed, too, have no suggestions: their lines have other numbers in the head.
    """
    comments = []
    for finding in findings:
        lines = fixing.replacements(root, finding) if finding.edits else ()
        if len(lines) == 1 and (comment := _comment(root, finding, lines[0], base)):
            comments.append(comment)
    return json.dumps({"event": "COMMENT", "comments": comments[:MOST]}, indent=2) + "\n"


def _comment(
    root: Path, finding: Finding, lines: Replacement, base: str
) -> dict[str, object] | None:
    """Return the comment with a suggestion; None if the diff does not show the lines."""
    first, last, text = lines.first, lines.end - 1, lines.text
    if last < first:  # a suggestion replaces at least one line
        first = last = max(lines.first - 1, 1)
        own = (root / lines.file).read_text("utf-8").splitlines(keepends=True)[first - 1]
        text = own + text if lines.first > 1 else text + own
    if not any(start <= first and last <= end for start, end in _shown(root, lines.file, base)):
        return None
    about = " in ".join(part for part in (finding.object, finding.environment) if part)
    message = f"**{finding.rule}**{f' ({about})' if about else ''}: {finding.message}"
    body = f"{message}\n\n→ {finding.fix}\n\n{_FENCE}suggestion\n{text}{_FENCE}\n"
    place: dict[str, object] = {"path": lines.file, "side": "RIGHT", "line": last}
    if first < last:
        place |= {"start_line": first, "start_side": "RIGHT"}
    return place | {"body": body}


def _shown(root: Path, file: str, base: str) -> Iterator[tuple[int, int]]:
    """Yield the first and last line of each part of a file that the pull request shows."""
    try:
        if _git(root, "diff", "--name-only", "HEAD^2", "--", file):
            return
    except UsageError:  # HEAD has one parent
        pass
    diff = _git(root, "diff", "--no-ext-diff", "--unified=3", base, "--", file)
    for match in _HUNK.finditer(diff):
        count = int(match[2] or 1)
        yield int(match[1]), int(match[1]) + count - 1


def _git(root: Path, *arguments: str) -> str:
    done = run(["git", *arguments], "git", QUERY_TIMEOUT_S, cwd=root)
    if done.returncode:
        raise UsageError(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout
