"""Suggestions are on lines that the pull request shows, and have them as they should be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scripts.checks import suggestions
from scripts.core.edits import Action, Edit
from scripts.core.findings import Finding
from tests.conftest import Repository
from tests.git import commit, git

FILE = "overlays/dev/values.yaml"
OLD = "".join(f"key{number}: {number}\n" for number in range(20))
NEW = OLD.replace("key3: 3", "key3: x  # three") + "last: 1\n"


@pytest.fixture
def changed(repository: Repository) -> Repository:
    """Return a repository with a change of lines 4 and 21."""
    repository.write(FILE, OLD)
    git(repository.root, "init", "-q", "-b", "main")
    commit(repository.root)
    repository.write(FILE, NEW)
    commit(repository.root)
    return repository


def finding(*edits: Edit) -> Finding:
    found = Finding(FILE, 4, 1, "wrong-type", "key3 is a text", "write 3", "", "dev")
    return found.with_edits(edits, is_safe=True)


def comments(repository: Repository, *edits: Edit) -> list[dict[str, Any]]:
    body = json.loads(suggestions.review(repository.root, [finding(*edits)], "HEAD^1"))
    assert body["event"] == "COMMENT"
    return list(body["comments"])


def test_a_changed_line_gets_a_suggestion_that_keeps_its_comment(changed: Repository) -> None:
    (comment,) = comments(changed, Edit(FILE, Action.WRITE, ("key3",), 3))
    body = comment.pop("body")
    assert comment == {"path": FILE, "side": "RIGHT", "line": 4}
    assert body == (
        "**wrong-type** (dev): key3 is a text\n\n→ write 3\n\n"
        "````suggestion\nkey3: 3  # three\n````\n"
    )


def test_a_new_line_is_suggested_together_with_the_one_above(changed: Repository) -> None:
    (comment,) = comments(changed, Edit(FILE, Action.WRITE, ("next",), 2))
    assert comment["line"] == 21
    assert "````suggestion\nlast: 1\nnext: 2\n````\n" in comment["body"]


def test_lines_that_the_diff_does_not_show_get_none(changed: Repository) -> None:
    assert comments(changed, Edit(FILE, Action.WRITE, ("key12",), 3)) == []


def test_two_places_of_one_fix_get_none(changed: Repository) -> None:
    edits = [Edit(FILE, Action.WRITE, (key,), 9) for key in ("key3", "last")]
    assert comments(changed, *edits) == []


def test_what_the_base_changed_too_gets_none_in_a_merge(changed: Repository) -> None:
    git(changed.root, "checkout", "-q", "-b", "other", "HEAD^1")
    changed.write(FILE, f"# first\n{OLD}")
    commit(changed.root)
    git(changed.root, "merge", "-q", "--no-ff", "-m", "x", "main")
    assert comments(changed, Edit(FILE, Action.WRITE, ("key3",), 3)) == []
