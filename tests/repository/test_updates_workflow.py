"""What completes a bot's branch: only generated files are committed, once, and to that branch."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.git import commit, git
from tests.repository.github import WORKFLOWS, step
from tests.repository.shell import bash

NAME = "renovate-render.yaml"
SHA = "a" * 40

GH = """\
#!/bin/sh
echo "$*" >>"$HOME/calls"
cp "$4" "$HOME/request.json"
"""


def test_a_fork_gets_nothing_and_what_runs_the_branch_may_not_write() -> None:
    workflow = yaml.safe_load((WORKFLOWS / NAME).read_text("utf-8"))
    assert workflow["permissions"] == {}
    assert set(workflow[True]) == {"pull_request"}  # YAML reads on as true
    runs, writes = workflow["jobs"]["complete"], workflow["jobs"]["commit"]
    assert "head.repo.full_name == github.repository" in runs["if"]
    assert runs["permissions"] == {"contents": "read"}
    assert "secrets." not in json.dumps(runs)
    assert writes["needs"] == "complete"
    assert "uses" not in json.dumps(writes["steps"])
    assert "nox" not in json.dumps(writes)


@pytest.fixture
def branch(tmp_path: Path) -> Path:
    root = tmp_path / "branch"
    (root / "overlays/dev/manifests").mkdir(parents=True)
    for name in ("a", "b"):
        (root / f"overlays/dev/manifests/{name}.yaml").write_text("old\n")
    git(root, "init", "-q", "-b", "renovate/besu")
    commit(root)
    return root


def collected(root: Path) -> tuple[int, str, str]:
    """Run the step that collects; return its exit code, output, and what later steps get."""
    output = root.parent / "output"
    output.write_text("")
    done = bash(
        step(NAME, "collect"), root, RUNNER_TEMP=str(root.parent), GITHUB_OUTPUT=str(output)
    )
    return done.returncode, done.stdout + done.stderr, output.read_text()


def test_a_complete_branch_gets_no_commit(branch: Path) -> None:
    assert collected(branch) == (0, "", "changed=false\n")


def test_changed_new_and_removed_files_are_collected(branch: Path) -> None:
    (branch / "overlays/dev/manifests/a.yaml").write_text("new\n")
    (branch / "overlays/dev/manifests/b.yaml").unlink()
    (branch / "overlays/dev/manifests/c.yaml").write_text("c\n")
    assert collected(branch)[::2] == (0, "changed=true\n")
    folder = branch.parent / "collected"
    files = sorted(path.name for path in (folder / "files").rglob("*") if path.is_file())
    assert files == ["a.yaml", "c.yaml"]
    assert (folder / "deleted").read_text() == "overlays/dev/manifests/b.yaml\n"


def test_its_own_commit_is_not_followed_by_another(branch: Path) -> None:
    git(branch, "commit", "-q", "--allow-empty", "-m", "Lock, render and document this update")
    (branch / "overlays/dev/manifests/a.yaml").write_text("new\n")
    code, said, output = collected(branch)
    assert (code, output) == (1, "")
    assert "the branch still changes after it was completed" in said


def committed(folder: Path, files: dict[str, str], deleted: str = "") -> tuple[int, str, Any]:
    """Run the step that commits; return its exit code, output, and the request to GitHub."""
    for path, text in files.items():
        target = folder / "collected/files" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    (folder / "collected/files").mkdir(parents=True, exist_ok=True)
    (folder / "collected/deleted").write_text(deleted)
    (folder / "collected/headline").write_text("Lock\n")
    (folder / "bin").mkdir()
    (folder / "bin/gh").write_text(GH)
    (folder / "bin/gh").chmod(0o755)
    done = bash(
        f'PATH="$HOME/bin:$PATH"\n{step(NAME, "commit")}',
        folder,
        GH_TOKEN="x",
        REPOSITORY="team/stacks",
        BRANCH="renovate/besu",
        SHA=SHA,
    )
    request = folder / "request.json"
    return (
        done.returncode,
        done.stdout + done.stderr,
        json.loads(request.read_text()) if request.exists() else None,
    )


def test_generated_files_are_committed_to_the_branch_if_it_has_not_moved(tmp_path: Path) -> None:
    path = "overlays/dev/manifests/statefulset-linea-stack-besu.yaml"
    others = ["base/images.yaml", "tools/argocd/go.sum", "tools/python/pipeline.txt"]
    old = "overlays/dev/manifests/b.yaml\n"
    code, said, request = committed(tmp_path, dict.fromkeys([path, *others], "é\n"), old)
    assert code == 0, said
    given = request["variables"]["input"]
    assert given["branch"] == {
        "repositoryNameWithOwner": "team/stacks",
        "branchName": "renovate/besu",
    }
    assert given["expectedHeadOid"] == SHA
    assert given["message"] == {"headline": "Lock"}
    added = {one["path"]: one["contents"] for one in given["fileChanges"]["additions"]}
    assert added.keys() == {path, *others}
    assert base64.b64decode(added[path]).decode() == "é\n"
    assert given["fileChanges"]["deletions"] == [{"path": old.strip()}]
    assert (tmp_path / "calls").read_text().startswith("api graphql --input request")


@pytest.mark.parametrize(
    "path",
    [
        ".github/workflows/site.yaml",
        "noxfile.py",
        "scripts/__main__.py",
        "overlays/prod/values.yaml",
        "overlays/prod/manifests/sub/a.yaml",
        "base/images.yaml.new",
        "argocd/root.yaml/a",
    ],
)
@pytest.mark.parametrize("is_deleted", [True, False])
def test_no_other_file_is_committed(tmp_path: Path, path: str, is_deleted: bool) -> None:
    files, deleted = ({}, f"{path}\n") if is_deleted else ({path: "x\n"}, "")
    code, said, request = committed(tmp_path, files, deleted)
    assert (code, request) == (1, None)
    assert f"only generated files are committed, not:  {path}" in said


def test_a_link_is_not_committed(tmp_path: Path) -> None:
    folder = tmp_path / "collected/files/base"
    folder.mkdir(parents=True)
    (folder / "images.yaml").symlink_to("/etc/passwd")
    code, _, request = committed(tmp_path, {})
    assert (code, request) == (1, None)
