"""`nox -s merge` resolves conflicts in rendered files, which git itself causes here."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Repository, Run
from tests.git import git

VALUES = "overlays/dev/values.yaml"
MANIFESTS = "overlays/dev/manifests"
AUTOSCALER = f"{MANIFESTS}/horizontalpodautoscaler-linea-stack-besu.yaml"
SCALED = {"autoscaling": {"enabled": True, "minReplicas": 1, "maxReplicas": 3}}

Change = Callable[[Repository], object]


@pytest.fixture
def repository(repository: Repository) -> Repository:
    """Return a copy of this repository with one commit."""
    git(repository.root, "init", "-q", "-b", "main")
    repository.write(".gitignore", ".render/\n")
    commit(repository)
    return repository


def commit(repository: Repository) -> None:
    git(repository.root, "add", "--all")
    git(repository.root, "commit", "-q", "-m", "x")


def values(path: str, **new: Any) -> Change:
    """Return a change of a file of values."""

    def change(repository: Repository) -> None:
        data = yaml.safe_load((repository / path).read_text("utf-8")) or {}
        for key, value in new.items():
            data[key] = {**data.get(key, {}), **value}
        repository.write(path, yaml.safe_dump(data))

    return change


def label(value: str) -> Change:
    """Return a change of the chart that gives every object a label."""
    return lambda repository: repository.replace(
        "chart/values.yaml", "\ncommonLabels: {}", f"\ncommonLabels: {{release: {value}}}"
    )


def both(*changes: Change) -> Change:
    return lambda repository: [change(repository) for change in changes]


def written(path: str, text: str) -> Change:
    return lambda repository: repository.write(path, text)


def namespace(repository: Repository) -> None:
    repository.replace("overlays/dev/environment.yaml", "linea-dev", "linea-other")


def removal(repository: Repository) -> None:
    git(repository.root, "rm", "-rq", "overlays/dev")


def branch(repository: Repository, name: str, change: Change) -> None:
    """Commit a change and its output on a branch of its own."""
    git(repository.root, "checkout", "-q", "-b", name, "main")
    change(repository)
    rendered = repository.run("render")
    assert rendered.code == 0, rendered.out
    commit(repository)


def begin(repository: Repository, ours: Change, theirs: Change, how: str = "merge theirs") -> None:
    """Begin a merge of two changes with conflicts."""
    branch(repository, "theirs", theirs)
    branch(repository, "ours", ours)
    with pytest.raises(subprocess.CalledProcessError):
        git(repository.root, *how.split())
    assert unmerged(repository)


def unmerged(repository: Repository) -> set[str]:
    listed = git(repository.root, "diff", "--name-only", "--diff-filter=U")
    return set(listed.splitlines())


def merged(repository: Repository) -> Run:
    """Resolve the conflicts, and check that git's index has the output of the merged inputs."""
    done = repository.run("merge")
    assert done.code == 0, done.out + done.err
    assert not git(repository.root, "diff", "--name-only")
    assert not git(repository.root, "ls-files", "--others", "--exclude-standard")
    assert repository.run("render", "--check").code == 0
    return done


def field(repository: Repository, path: str, *keys: str) -> Any:
    value = yaml.safe_load((repository / path).read_text("utf-8"))
    for key in keys:
        value = value[key]
    return value


@pytest.mark.parametrize(
    ("how", "on"),
    [
        ("merge theirs", "commit -q --no-edit"),
        ("rebase theirs", "-c core.editor=true rebase --continue"),
        ("cherry-pick theirs", "commit -q --no-edit"),
        ("-c merge.conflictStyle=diff3 merge theirs", "commit -q --no-edit"),
        ("merge --squash theirs", "commit -q -m x"),
    ],
)
def test_adjacent_lines_that_both_sides_change(repository: Repository, how: str, on: str) -> None:
    begin(repository, namespace, label("x-0.2.0"), how)
    conflicts = unmerged(repository)
    assert len(conflicts) > 15
    done = merged(repository)
    assert f"resolved conflicts in {len(conflicts)} rendered files; " in done.out
    metadata = field(repository, f"{MANIFESTS}/service-linea-stack-besu.yaml", "metadata")
    assert metadata["namespace"] == "linea-other"
    assert metadata["labels"]["release"] == "x-0.2.0"
    git(repository.root, *on.split())
    assert not git(repository.root, "status", "--porcelain")


def test_a_file_that_one_side_removes_and_the_other_changes_is_removed(
    repository: Repository,
) -> None:
    begin(repository, values(VALUES, ethstats={"enabled": False}), label("x-0.2.0"))
    assert f"{MANIFESTS}/service-linea-stack-ethstats.yaml" in unmerged(repository)
    merged(repository)
    assert not list((repository / MANIFESTS).glob("*ethstats*"))


def test_a_file_that_both_sides_add_is_rendered_from_the_merged_inputs(
    repository: Repository,
) -> None:
    other = {"autoscaling": {"enabled": True, "minReplicas": 2, "maxReplicas": 5}}
    begin(
        repository,
        values(VALUES, besu=SCALED),
        values("base/profiles/development.yaml", besu=other),
    )
    assert AUTOSCALER in unmerged(repository)
    merged(repository)
    assert field(repository, AUTOSCALER, "spec", "maxReplicas") == 3


@pytest.mark.parametrize("ours_removes", [True, False])
def test_an_environment_that_one_side_removes_is_removed(
    repository: Repository, ours_removes: bool
) -> None:
    sides = [removal, label("x-0.2.0")]
    begin(repository, *(sides if ours_removes else reversed(sides)))
    merged(repository)
    assert not (repository / "overlays/dev").exists()
    assert not (repository / "argocd/applications/dev.yaml").exists()


def test_an_environment_that_one_side_renames(repository: Repository) -> None:
    def rename(repository: Repository) -> None:
        namespace(repository)
        git(repository.root, "mv", "overlays/dev", "overlays/qa")
        repository.replace("overlays/qa/environment.yaml", "name: dev", "name: qa")

    begin(repository, rename, label("x-0.2.0"))
    merged(repository)
    assert not (repository / "overlays/dev").exists()
    assert (
        field(
            repository, "overlays/qa/manifests/service-linea-stack-besu.yaml", "metadata", "labels"
        )["release"]
        == "x-0.2.0"
    )


def test_a_stash_that_conflicts(repository: Repository) -> None:
    namespace(repository)
    assert repository.run("render").code == 0
    git(repository.root, "stash")
    branch(repository, "theirs", label("x-0.2.0"))
    with pytest.raises(subprocess.CalledProcessError):
        git(repository.root, "stash", "pop")
    merged(repository)


def test_a_file_that_git_merged_wrongly_is_rendered_again(repository: Repository) -> None:
    begin(
        repository,
        both(values(VALUES, besu=SCALED), written("docs/notes.md", "x\n")),
        both(label("x-0.2.0"), written("docs/notes.md", "y\n")),
    )
    assert AUTOSCALER not in unmerged(repository)
    repository.write("docs/notes.md", "x\ny\n")
    git(repository.root, "add", "docs/notes.md")
    merged(repository)
    assert field(repository, AUTOSCALER, "metadata", "labels")["release"] == "x-0.2.0"


def test_conflicts_in_inputs_are_reported_with_their_lines(repository: Repository) -> None:
    begin(
        repository,
        both(namespace, values(VALUES, txSender={"interval": 7})),
        both(label("x-0.2.0"), values(VALUES, txSender={"interval": 8})),
    )
    before, status = repository.files(), git(repository.root, "status", "--porcelain")
    done = repository.run("merge")
    line = (repository / VALUES).read_text("utf-8").split("<<<<<<<")[0].count("\n") + 1
    assert done.code == 1
    assert done.out.splitlines()[:3] == [
        f"{VALUES}:{line}:1  error  merge-conflict",
        "  git could not merge the two versions of this file",
        f"  → resolve the conflict, then git add {VALUES}",
    ]
    assert (repository.files(), git(repository.root, "status", "--porcelain")) == (before, status)

    git(repository.root, "checkout", "--theirs", VALUES)
    assert repository.run("merge").code == 1
    git(repository.root, "add", VALUES)
    merged(repository)
    done = merged(repository)
    assert "staged 0 rendered files" in done.out


def test_an_input_that_one_side_removes_needs_a_decision(repository: Repository) -> None:
    begin(repository, removal, values(VALUES, txSender={"interval": 8}))
    done = repository.run("merge")
    assert done.code == 1
    assert done.out.splitlines()[:3] == [
        f"{VALUES}  error  merge-conflict",
        "  one version removes this file, and the other changes it",
        f"  → run git add {VALUES} to keep the file, or git rm {VALUES} to remove it",
    ]
    git(repository.root, "rm", "-q", VALUES)
    merged(repository)
    assert not (repository / "overlays/dev").exists()


def test_a_file_that_render_did_not_write_is_not_resolved(repository: Repository) -> None:
    own = f"{MANIFESTS}/own.yaml"

    for name, text in (("theirs", "a: 1\n"), ("ours", "a: 2\n")):
        git(repository.root, "checkout", "-q", "-b", name, "main")
        repository.write(own, text)
        commit(repository)
    with pytest.raises(subprocess.CalledProcessError):
        git(repository.root, "merge", "theirs")
    before = repository.files()
    done = repository.run("merge")
    assert (done.code, done.out.splitlines()[0]) == (1, f"{own}:1:1  error  merge-conflict")
    assert repository.files() == before


def test_inputs_that_are_not_staged_are_an_error(repository: Repository) -> None:
    begin(repository, namespace, label("x-0.2.0"))
    repository.write("overlays/dev/patches/10-x.yaml", "x: 1\n")
    values(VALUES, txSender={"interval": 8})(repository)
    before = repository.files()
    done = repository.run("merge")
    assert done.code == 1
    heads = [line for line in done.out.splitlines() if "error  not-staged" in line]
    assert heads == [
        "overlays/dev/patches/10-x.yaml  error  not-staged",
        f"{VALUES}  error  not-staged",
    ]
    assert repository.files() == before


def test_with_an_error_in_the_merged_inputs_nothing_changes(repository: Repository) -> None:
    def other(repository: Repository) -> None:
        repository.replace("overlays/staging/environment.yaml", "linea-staging", "linea-other")

    begin(
        repository,
        both(namespace, values(VALUES, ethstats={"enabled": False})),
        both(label("x-0.2.0"), other),
    )
    before, status = repository.files(), git(repository.root, "status", "--porcelain")
    done = repository.run("merge")
    assert done.code == 1
    assert "linea-other" in done.out
    assert (repository.files(), git(repository.root, "status", "--porcelain")) == (before, status)


def test_render_overwrites_files_with_conflict_marks(repository: Repository) -> None:
    begin(repository, namespace, label("x-0.2.0"))
    assert repository.run("render").code == 0
    assert repository.run("render", "--check").code == 0


def test_a_folder_without_a_git_repository_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "overlays").mkdir()
    done = Repository(tmp_path).run("merge", GIT_CEILING_DIRECTORIES=str(tmp_path.parent))
    assert done.code == 2
    assert done.err.startswith("merge: git: not a git repository")


def test_without_changes_nothing_is_staged(repository: Repository) -> None:
    done = merged(repository)
    assert done.out == (
        "up to date: dev, prod, staging\nstaged 0 rendered files; git status shows what is next\n"
    )
