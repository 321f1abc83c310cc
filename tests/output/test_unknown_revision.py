"""Whoever names a revision that their clone lacks is told the command that gets it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from scripts.core.findings import UsageError
from scripts.output import git_revision
from tests.git import commit, committed, git

FILES = {"overlays/dev/manifests/x.yaml": "kind: ConfigMap\n"}


@pytest.fixture
def server(tmp_path: Path) -> Path:
    root = committed(tmp_path / "server", FILES)
    commit(root)
    git(root, "tag", "v1.0.0", "HEAD~1")
    git(root, "tag", "nightly", "HEAD~1")
    git(root, "branch", "release/1", "HEAD~1")
    git(root, "branch", "change")
    return root


@pytest.fixture(params=[("--depth=1",), ()], ids=["shallow", "whole"])
def clone(server: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Return what CI makes: a clone of one branch, shallow or whole."""
    target = tmp_path / "clone"
    options = ("--single-branch", "--no-tags", "-b", "change", *request.param)
    git(tmp_path, "clone", "-q", *options, server.as_uri(), str(target))
    return target


def advice(root: Path, revision: str) -> str:
    with pytest.raises(UsageError) as error:
        git_revision.listed(root, revision)
    return str(error.value)


@pytest.mark.parametrize(
    ("revision", "then"),
    [
        ("origin/main", "origin/main"),
        ("origin/release/1", "origin/release/1"),
        ("refs/remotes/origin/main", "origin/main"),
        ("main", "origin/main"),
        ("refs/heads/main", "origin/main"),
        ("v1.0.0", "v1.0.0"),
        ("refs/tags/nightly", "nightly"),
    ],
)
def test_the_command_gets_the_revision(clone: Path, revision: str, then: str) -> None:
    said = advice(clone, revision)
    command = re.search(r"git (fetch[^;]*?)(?: and|;|$)", said)
    assert command, said
    git(clone, *shlex.split(command[1]))
    assert git_revision.listed(clone, then)


def test_a_commit_is_fetched_by_its_name(server: Path, clone: Path) -> None:
    hidden = git(server, "commit-tree", "HEAD^{tree}", "-m", "another").strip()
    git(server, "branch", "other", hidden)
    said = advice(clone, hidden)
    git(clone, *said.rpartition("run git ")[2].split())
    assert git_revision.listed(clone, hidden)


def test_earlier_commits_need_the_whole_history(server: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--depth=1", server.as_uri(), str(clone))
    said = advice(clone, "HEAD~1")
    assert "git fetch --unshallow origin for earlier commits" in said
    git(clone, "fetch", "-q", "--unshallow", "origin")
    assert git_revision.listed(clone, "HEAD~1")
    assert "HEAD is known, but not HEAD~9" in advice(clone, "HEAD~9")


def test_a_name_within_a_name_is_what_is_missing(clone: Path) -> None:
    assert "git fetch origin main:refs/remotes/origin/main" in advice(clone, "origin/main~1")


def test_a_clone_without_a_local_branch_has_that_of_the_server(
    server: Path, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "-b", "change", server.as_uri(), str(clone))
    assert advice(clone, "main").endswith(
        ": write origin/main: this clone has no local branch main"
    )


def test_a_misspelled_branch_is_recognised(server: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", server.as_uri(), str(clone))
    assert "did you mean origin/main?" in advice(clone, "origin/mian")


def test_another_remote_keeps_its_name(server: Path, clone: Path) -> None:
    git(clone, "remote", "rename", "origin", "upstream")
    assert "git fetch upstream main:refs/remotes/upstream/main" in advice(clone, "upstream/main")
    assert "git fetch upstream main:" in advice(clone, "main")


@pytest.mark.parametrize("revision", ["", "a..b", "--output=x", "0" * 40, "a b", "x:y"])
def test_no_command_is_given_for_what_is_no_name(clone: Path, revision: str) -> None:
    said = advice(clone, revision)
    assert "write a branch, tag or commit of this repository" in said
    assert "git fetch" not in said


def test_without_a_remote_there_is_nothing_to_fetch(server: Path) -> None:
    assert "no remote" in advice(server, "origin/main")
