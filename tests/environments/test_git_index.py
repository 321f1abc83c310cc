"""What is absent from the working tree is not gone, and what git never gets is not valid."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scripts.__main__ import main
from scripts.environments import git_index
from tests.conftest import Repository, copy
from tests.git import commit, committed, git

DEV = ("overlays/dev", "argocd", "base", "chart", "tools")


@pytest.fixture(autouse=True)
def _not_cached() -> None:
    git_index.read.cache_clear()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = copy(tmp_path / "repository")
    committed(made.root, {".gitignore": ".render/\n"})
    return made


def run(repository: Repository, *arguments: str) -> int:
    git_index.read.cache_clear()
    return main(["--repository", str(repository.root), *arguments])


def status(repository: Repository) -> str:
    return git(repository.root, "status", "--short")


def test_a_sparse_checkout_deletes_nothing_and_says_what_it_leaves_out(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    git(repository.root, "sparse-checkout", "set", *DEV)
    assert not (repository / "overlays/prod").exists()
    assert run(repository, "render") == 0
    out = capsys.readouterr().out
    assert "unchanged, as this checkout leaves them out: prod, staging" in out
    assert status(repository) == ""
    assert run(repository, "validate", "--against", "HEAD") == 0
    out = capsys.readouterr().out
    assert "unused-digest" not in out
    assert "stale-output" not in out
    assert "overlays/prod  warning  not-checked-out" in out
    assert "→ run git sparse-checkout add overlays/prod\n" in out
    assert run(repository, "render", "--check") == 0


def test_an_environment_that_is_left_out_is_known(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    git(repository.root, "sparse-checkout", "set", *DEV)
    assert run(repository, "render", "prod") == 2
    assert "run git sparse-checkout add overlays/prod" in capsys.readouterr().err
    git(repository.root, "sparse-checkout", "add", "overlays/prod")
    assert run(repository, "render", "prod") == 0


def test_no_chain_is_made_that_could_be_that_of_an_absent_environment(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    git(repository.root, "sparse-checkout", "set", *DEV)
    (repository / "overlays/dev/network.yaml").unlink()
    assert run(repository, "network", "dev") == 2
    assert "must not share a validator or its chain id" in capsys.readouterr().err
    assert not (repository / "overlays/dev/network.yaml").exists()


@pytest.mark.parametrize(
    "path", ["overlays/dev/values.yaml", "overlays/dev/network.yaml", "base/profiles/eks.yaml"]
)
def test_an_input_that_git_leaves_out_stops_the_render(
    repository: Repository, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    git(repository.root, "update-index", "--skip-worktree", path)
    (repository / path).unlink()
    assert run(repository, "render", "dev") == 1
    out = capsys.readouterr().out
    assert f"{path}  error  not-checked-out" in out
    assert f"git checkout -- {path}" in out
    git(repository.root, "update-index", "--no-skip-worktree", path)
    git(repository.root, "checkout", "--", path)
    assert run(repository, "render", "dev") == 0


def test_rendered_files_that_are_left_out_are_not_missing(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    git(repository.root, "sparse-checkout", "set", *(part for part in DEV if part != "argocd"))
    assert run(repository, "validate", "dev") == 1
    out = capsys.readouterr().out
    assert "no rendered output of its own" not in out
    assert "→ run git sparse-checkout add argocd\n" in out


def test_an_environment_that_somebody_removed_is_gone(repository: Repository) -> None:
    shutil.rmtree(repository / "overlays/staging")
    assert run(repository, "render") == 0
    assert not (repository / "argocd/applications/staging.yaml").exists()


def test_a_submodule_without_contents_is_not_removed(
    repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = committed(tmp_path / "module", {"environment.yaml": "name: staging\n"})
    shutil.rmtree(repository / "overlays/staging")
    head = git(module, "rev-parse", "HEAD").strip()
    git(repository.root, "rm", "-r", "-q", "--cached", "overlays/staging")
    git(
        repository.root,
        "update-index",
        "--add",
        "--cacheinfo",
        f"160000,{head},overlays/staging",
    )
    assert run(repository, "render", "dev") == 0
    assert run(repository, "render") == 0
    assert (repository / "argocd/applications/staging.yaml").exists()
    (repository / "overlays/staging").mkdir()
    capsys.readouterr()
    assert run(repository, "render", "staging") == 1
    assert "→ run git submodule update --init overlays/staging\n" in capsys.readouterr().out


def test_an_ignored_input_never_reaches_argo_cd(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    git(repository.root, "rm", "-r", "-q", "--cached", "overlays/dev")
    repository.write(".gitignore", "# local\noverlays/dev/\n.DS_Store\n")
    repository.write("overlays/prod/.DS_Store", "")
    assert run(repository, "validate", "dev") == 1
    out = capsys.readouterr().out
    assert "overlays/dev/environment.yaml  error  not-in-git" in out
    assert "(overlays/dev/ in line 2 of .gitignore)" in out
    assert "DS_Store" not in out


def test_a_repository_within_the_repository_is_reported(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    git(repository.root, "rm", "-r", "-q", "--cached", "overlays/dev")
    git(repository.root, "init", "-q", "overlays/dev")
    commit(repository / "overlays/dev")
    assert run(repository, "validate", "dev") == 1
    assert "→ remove overlays/dev/.git\n" in capsys.readouterr().out


@pytest.mark.parametrize("flag", ["--skip-worktree", "--assume-unchanged"])
def test_changes_that_git_hides_are_reported(
    repository: Repository, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    path = "argocd/root.yaml"
    git(repository.root, "update-index", flag, path)
    assert run(repository, "validate", "dev") == 0
    repository.replace(path, "\n", "\n# changed\n")
    assert run(repository, "validate", "dev") == 1
    out = capsys.readouterr().out
    assert f"{path}  error  not-in-git" in out
    assert f"→ run git update-index {flag.replace('--', '--no-')} {path}\n" in out


def test_rendered_files_that_were_never_added_are_mentioned(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.write("overlays/dev/values.yaml", "besu: {autoscaling: {enabled: true}}\n")
    assert run(repository, "render", "dev") == 0
    assert "yet: run git add overlays/dev\n" in capsys.readouterr().out
    git(repository.root, "add", "--all")
    repository.write("overlays/dev/values.yaml", "besu: {replicas: 1}\n")
    assert run(repository, "render", "dev") == 0
    assert "git does not have" not in capsys.readouterr().out


def test_without_git_nothing_is_absent(tmp_path: Path) -> None:
    assert git_index.read(tmp_path) == git_index.Index()
    assert git_index.never_added(tmp_path) == []


def test_windows_line_ends_in_inputs_do_not_change_the_output(repository: Repository) -> None:
    """YAML reads both kinds of line ends alike, so git may store either."""
    for path in ("values.yaml", "network.yaml", "environment.yaml"):
        file = repository / f"overlays/dev/{path}"
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    base = repository / "base/values.yaml"
    base.write_bytes(base.read_bytes().replace(b"\n", b"\r\n"))
    assert run(repository, "render", "--check") == 0
