"""Read both revisions of a change from git, in every state that a working tree can have."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.core.findings import UsageError, UserError
from scripts.environments import layout
from scripts.impact import predict
from scripts.impact.compare import revisions
from tests.git import commit, committed, git, shallow, write

ONE = "overlays/dev/manifests/configmap-one.yaml"
TWO = "overlays/dev/manifests/configmap-two.yaml"
OTHER = "overlays/qa/manifests/configmap-one.yaml"


def config(name: str, value: str = "a") -> str:
    return (
        f"{layout.header('chart/templates/x.yaml')}apiVersion: v1\nkind: ConfigMap\n"
        f"metadata:\n  name: {name}\n  namespace: linea\ndata:\n  a: {value}\n"
    )


FILES = {
    "base/environment.yaml": "kubernetesVersion: '1.34'\n",
    "overlays/dev/environment.yaml": "name: dev\nnamespace: linea\nprofiles: [production]\n",
    ONE: config("one"),
    TWO: config("two"),
    OTHER: config("one"),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository with two environments."""
    return committed(tmp_path / "repository", FILES)


def changed(root: Path, against: str = "HEAD", to: str = "") -> dict[str, list[str]]:
    """Return environment → what happens to its objects."""
    report = predict.impact(root, against, to)
    return {
        "+".join(impact.names): [f"{each.what} {each.name}" for each in impact.objects]
        or [impact.what]
        for impact in report.environments
    }


Edit = Callable[[Path], None]


def stage(root: Path) -> None:
    write(root, {ONE: config("one", "b")})
    git(root, "add", "--all")


def unstaged_over_staged(root: Path) -> None:
    stage(root)
    write(root, {ONE: config("one", "c")})


def staged_and_restored(root: Path) -> None:
    stage(root)
    write(root, {ONE: FILES[ONE]})


def touched(root: Path) -> None:
    os.utime(root / ONE, (1, 1))


def ignored(root: Path) -> None:
    write(root, {".gitignore": "*-new.yaml\n", "overlays/dev/manifests/a-new.yaml": config("new")})


def renamed(root: Path) -> None:
    (root / ONE).rename((root / ONE).with_name("configmap-a b-ü.yaml"))


def deleted_from_the_index(root: Path) -> None:
    git(root, "rm", "-q", ONE)


def linked(root: Path) -> None:
    (root / ONE).unlink()
    (root / ONE).symlink_to("configmap-two.yaml")


def folder(root: Path) -> None:
    (root / ONE).unlink()
    write(root, {f"{ONE}/x.yaml": config("one")})


def windows(root: Path) -> None:
    (root / ONE).write_bytes(FILES[ONE].replace("\n", "\r\n").encode())


def without_environment(root: Path) -> None:
    git(root, "rm", "-q", "-r", "overlays/qa")


def module(root: Path) -> None:
    (root / ONE).unlink()
    head = git(root, "rev-parse", "HEAD").strip()
    git(root, "rm", "-q", "--cached", ONE)
    git(root, "update-index", "--add", "--cacheinfo", f"160000,{head},{ONE}")


EDITS: dict[str, tuple[Edit, dict[str, list[str]]]] = {
    "nothing": (lambda root: None, {}),
    "unstaged": (
        lambda root: write(root, {ONE: config("one", "b")}),
        {"dev": ["changed ConfigMap/one"]},
    ),
    "staged": (stage, {"dev": ["changed ConfigMap/one"]}),
    "unstaged-over-staged": (unstaged_over_staged, {"dev": ["changed ConfigMap/one"]}),
    "staged-and-restored": (staged_and_restored, {}),
    "untracked": (
        lambda root: write(root, {"overlays/dev/manifests/ä b.yaml": config("new")}),
        {"dev": ["added ConfigMap/new"]},
    ),
    "deleted": (lambda root: (root / ONE).unlink(), {"dev": ["removed ConfigMap/one"]}),
    "deleted-from-the-index": (
        deleted_from_the_index,
        {"dev": ["removed ConfigMap/one"]},
    ),
    "ignored": (ignored, {}),
    "touched": (touched, {}),
    "mode": (lambda root: (root / ONE).chmod(0o755), {}),
    "renamed": (renamed, {"dev": ["moved ConfigMap/one"]}),
    "linked": (linked, {"dev": ["removed ConfigMap/one"]}),
    "folder": (folder, {"dev": ["removed ConfigMap/one"]}),
    "module": (module, {"dev": ["removed ConfigMap/one"]}),
    "windows": (windows, {"dev": ["spelling ConfigMap/one"]}),
    "empty": (lambda root: write(root, {ONE: ""}), {"dev": ["removed ConfigMap/one"]}),
    "input-only": (lambda root: write(root, {"overlays/dev/values.yaml": "a: 1\n"}), {}),
    "new-environment": (
        lambda root: write(root, {"overlays/a b/manifests/x.yaml": config("x")}),
        {"a b": ["new"]},
    ),
    "removed-environment": (without_environment, {"qa": ["gone"]}),
    "equal": (
        lambda root: write(root, {OTHER: config("one", "b"), ONE: config("one", "b")}),
        {"dev+qa": ["changed ConfigMap/one"]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_every_state_of_the_working_tree_is_compared(root: Path, name: str) -> None:
    edit, expected = EDITS[name]
    edit(root)
    assert changed(root) == expected


@pytest.mark.parametrize("name", [name for name in EDITS if name not in ("ignored", "folder")])
def test_a_commit_is_compared_like_its_working_tree(root: Path, name: str) -> None:
    edit, expected = EDITS[name]
    edit(root)
    if name not in ("module", "linked"):
        git(root, "add", "--all")
    git(root, "commit", "-q", "--allow-empty", "-a", "-m", "x")
    assert changed(root, "HEAD^", "HEAD") == expected
    assert changed(root, "HEAD^") == expected


def test_a_file_that_is_the_same_in_both_revisions_is_parsed_once(root: Path) -> None:
    write(root, {ONE: config("one", "b")})
    pair = revisions.pair(revisions.diff(root, "HEAD"), "dev")
    assert pair.old is not None and pair.new is not None
    old, new = ({m.name: m for m in each.manifests} for each in (pair.old, pair.new))
    assert old["two"] is new["two"]
    assert old["one"] is not new["one"]


def test_settings_come_from_the_environment_and_the_base(root: Path) -> None:
    write(root, {ONE: config("one", "b"), "base/environment.yaml": "kubernetesVersion: '1.35'\n"})
    pair = revisions.pair(revisions.diff(root, "HEAD"), "dev")
    assert pair.old is not None and pair.new is not None
    assert (pair.old.kubernetes_version, pair.new.kubernetes_version) == ("1.34", "1.35")
    assert (pair.new.namespace, pair.new.is_production) == ("linea", True)


CONFLICT = f"{layout.header('x')}kind: A\n<<<<<<< HEAD\na: 1\n=======\na: 2\n>>>>>>> other\n"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("kind: A\na: b: c\n", 2, "mapping values are not allowed"),
        ("kind: A\na: *b\n", 2, "alias"),
        (CONFLICT, 3, "the file has an unresolved merge conflict"),
        ("kind: A\n---\nkind: B\n", 3, "a second document starts here"),
        ("- kind: A\n", 1, "no Kubernetes object begins here"),
        ("kind: A\na: 2026-99-99\n", 0, "month must be in 1..12"),
        ("kind: A\na: \0\n", 0, "control characters are not allowed"),
    ],
)
def test_a_file_without_an_object_is_reported_at_its_line(
    root: Path, text: str, line: int, message: str
) -> None:
    write(root, {ONE: text})
    with pytest.raises(UserError) as in_new:
        predict.impact(root, "HEAD")
    commit(root)
    write(root, {ONE: config("one")})
    with pytest.raises(UserError) as in_old:
        predict.impact(root, "HEAD")
    for error, start in ((in_new.value, ""), (in_old.value, "in HEAD: ")):
        (finding,) = error.findings
        assert (finding.file, finding.line) == (ONE, line)
        assert finding.message.startswith(start)
        assert message in finding.message


def test_a_merge_conflict_is_reported(root: Path) -> None:
    for branch, value in (("other", "b"), ("main", "c")):
        git(root, "checkout", "-q", *(["-b", branch] if branch == "other" else [branch]))
        write(root, {ONE: config("one", value)})
        commit(root)
    with pytest.raises(Exception, match="status 1"):
        git(root, "merge", "-q", "other")
    with pytest.raises(UserError, match="the file has an unresolved merge conflict"):
        predict.impact(root, "HEAD")


def test_all_environments_are_new_compared_with_an_empty_commit(root: Path) -> None:
    git(root, "checkout", "-q", "--orphan", "empty")
    git(root, "rm", "-q", "-r", "--cached", ".")
    git(root, "commit", "-q", "--allow-empty", "-m", "x")
    git(root, "checkout", "-q", "--force", "main")
    assert changed(root, "empty") == {"dev": ["new"], "qa": ["new"]}
    assert changed(root, "main", "empty") == {"dev": ["gone"], "qa": ["gone"]}


def test_environments_may_be_in_a_folder_of_a_larger_repository(tmp_path: Path) -> None:
    root = committed(tmp_path, {f"deploy/{path}": text for path, text in FILES.items()})
    for edit, expected in EDITS.values():
        edit(root / "deploy")
        assert changed(root / "deploy") == expected
        git(root, "reset", "-q", "--hard")
        git(root, "clean", "-q", "-d", "-x", "--force")


def test_the_current_folder_does_not_matter(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage(root)
    monkeypatch.chdir(tmp_path)
    assert changed(root) == {"dev": ["changed ConfigMap/one"]}


@pytest.mark.parametrize("name", ["nope", "0" * 40, "--output=x", "HEAD..HEAD", "HEAD^", ""])
def test_an_unknown_old_revision_is_an_error(root: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"unknown revision {name.replace('^', '.')}:"):
        predict.impact(root, name)


def test_an_unknown_new_revision_is_an_error(root: Path) -> None:
    with pytest.raises(UsageError, match="unknown revision nope:"):
        predict.impact(root, "HEAD", "nope")


def test_a_folder_outside_of_git_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    with pytest.raises(UsageError, match="not a git repository"):
        predict.impact(tmp_path, "HEAD")


def test_the_error_in_a_shallow_clone_says_how_to_get_more(root: Path, tmp_path: Path) -> None:
    write(root, {ONE: config("one", "b")})
    commit(root)
    clone = shallow(root, tmp_path / "clone")
    with pytest.raises(UsageError, match="git fetch --unshallow origin"):
        predict.impact(clone, "HEAD^")
    git(clone, "fetch", "-q", "--deepen=1")
    assert changed(clone, "HEAD^") == {"dev": ["changed ConfigMap/one"]}


def test_git_settings_of_the_user_do_not_matter(root: Path) -> None:
    for name, value in (
        ("diff.noprefix", "true"),
        ("diff.renames", "copies"),
        ("diff.external", "false"),
        ("core.quotePath", "true"),
        ("color.ui", "always"),
        ("status.relativePaths", "false"),
        ("diff.relative", "true"),
    ):
        git(root, "config", name, value)
    renamed(root)
    assert changed(root) == {"dev": ["moved ConfigMap/one"]}
