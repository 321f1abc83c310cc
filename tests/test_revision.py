"""What a git revision has of environments, as git itself keeps it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from scripts.core.findings import UsageError
from scripts.environments import layout
from scripts.kubernetes.manifest import Manifest
from scripts.output import git_revision
from tests.conftest import Repository

HEADER = layout.header("chart/templates/x.yaml and overlays/dev/patches/y.yaml")
CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: linea}\n"
WRITTEN = HEADER + CONFIG_MAP


def git(root: Path, *arguments: str) -> str:
    """Run git as anybody, with nobody's settings, and return what it says."""
    owner = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    for role in ("AUTHOR", "COMMITTER"):
        owner |= {f"GIT_{role}_NAME": "x", f"GIT_{role}_EMAIL": "x@example.com"}
    command = ["git", *arguments]
    return subprocess.run(
        command, cwd=root, env=os.environ | owner, check=True, capture_output=True, text=True
    ).stdout


def write(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")


def committed(root: Path, files: dict[str, str]) -> Path:
    """Make a repository with files, and return it."""
    write(root, files)
    git(root, "init", "-q", "-b", "main")
    commit(root)
    return root


def commit(root: Path) -> None:
    git(root, "add", "--all", "--force")
    git(root, "commit", "-q", "--allow-empty", "-m", "x")


def manifest(name: str = "x") -> Manifest:
    return Manifest({"kind": "ConfigMap", "metadata": {"name": name}}, "chart/templates/x.yaml")


def test_a_manifest_is_read_with_the_inputs_that_it_was_written_from(tmp_path: Path) -> None:
    root = committed(tmp_path, {"overlays/dev/manifests/x.yaml": WRITTEN})
    (found,) = git_revision.before(root, "HEAD", {}, {})["dev"].manifests or ()
    assert found.object == yaml.safe_load(CONFIG_MAP)
    assert (found.template, found.patches) == (
        "chart/templates/x.yaml",
        ("overlays/dev/patches/y.yaml",),
    )


def test_what_has_not_changed_is_the_manifest_of_now(tmp_path: Path) -> None:
    path = "overlays/dev/manifests/x.yaml"
    root, now = committed(tmp_path, {path: WRITTEN}), manifest()
    (found,) = (
        git_revision.before(root, "HEAD", {path: now}, {path: WRITTEN})["dev"].manifests or ()
    )
    assert found is now


def test_what_is_committed_counts_and_not_what_stands_in_the_folder(tmp_path: Path) -> None:
    root = committed(tmp_path, {"overlays/dev/manifests/x.yaml": WRITTEN})
    write(root, {"overlays/dev/manifests/y.yaml": WRITTEN})
    (root / "overlays/dev/manifests/x.yaml").unlink()
    assert len(git_revision.before(root, "HEAD", {}, {})["dev"].manifests or ()) == 1


@pytest.mark.parametrize("named", ["HEAD~1", "main~1", "v1", "HEAD^"])
def test_any_name_that_git_knows_will_do(tmp_path: Path, named: str) -> None:
    root = committed(tmp_path, {"overlays/dev/manifests/x.yaml": WRITTEN})
    git(root, "tag", "v1")
    (root / "overlays/dev/manifests/x.yaml").unlink()
    commit(root)
    assert list(git_revision.before(root, named, {}, {})) == ["dev"]
    assert git_revision.before(root, "HEAD", {}, {}) == {}


def test_only_the_output_of_environments_is_looked_at(tmp_path: Path) -> None:
    root = committed(
        tmp_path,
        {
            "overlays/dev/manifests/x.yaml": WRITTEN,
            "overlays/dev/manifests/README.md": WRITTEN,
            "overlays/dev/manifests/deep/x.yaml": WRITTEN,
            "overlays/dev/values.yaml": WRITTEN,
            "overlays/dev/overlays/qa/manifests/x.yaml": WRITTEN,
            "chart/overlays/dev/manifests/x.yaml": WRITTEN,
        },
    )
    found = git_revision.before(root, "HEAD", {}, {})
    assert {name: len(of.manifests or ()) for name, of in found.items()} == {"dev": 1}


def test_a_file_that_render_has_not_written_was_on_the_cluster_too(tmp_path: Path) -> None:
    path = "overlays/dev/manifests/by-hand.yaml"
    root = committed(tmp_path, {path: CONFIG_MAP})
    (found,) = git_revision.before(root, "HEAD", {}, {})["dev"].manifests or ()
    assert (found.label, found.template, found.patches) == ("ConfigMap/x", path, ())


@pytest.mark.parametrize(
    "text",
    ["{", "a: *b", "- a list", "", "a: 1\n---\nb: 2", "\0", "a: 2026-99-99", "[" * 5000, "x: !y z"],
)
def test_what_is_no_object_is_passed_over(tmp_path: Path, text: str) -> None:
    files = {"overlays/dev/manifests/a.yaml": text, "overlays/dev/manifests/b.yaml": WRITTEN}
    found = git_revision.before(committed(tmp_path, files), "HEAD", {}, {})
    assert [one.label for one in found["dev"].manifests or ()] == ["ConfigMap/x"]


def test_a_link_and_a_submodule_are_passed_over(tmp_path: Path) -> None:
    root = committed(tmp_path, {"overlays/dev/manifests/x.yaml": WRITTEN})
    (root / "overlays/dev/manifests/link.yaml").symlink_to("x.yaml")
    entry = f"160000,{git(root, 'rev-parse', 'HEAD').strip()},overlays/dev/manifests/module.yaml"
    git(root, "add", "overlays")
    git(root, "update-index", "--add", "--cacheinfo", entry)
    git(root, "commit", "-q", "-m", "x")
    assert len(git_revision.before(root, "HEAD", {}, {})["dev"].manifests or ()) == 1


def test_bytes_that_are_no_text_and_ends_of_lines_of_windows_do_no_harm(tmp_path: Path) -> None:
    root = tmp_path
    write(root, {"overlays/dev/manifests/x.yaml": WRITTEN})
    (root / "overlays/dev/manifests/a.yaml").write_bytes(b"\xff\xfe\r\n\x80")
    (root / "overlays/dev/manifests/b.yaml").write_bytes(CONFIG_MAP.replace("\n", "\r\n").encode())
    committed(root, {"overlays/dev/manifests/c.yaml": f"{WRITTEN}data: {{a: ü}}\n"})
    found = git_revision.before(root, "HEAD", {}, {})["dev"].manifests or ()
    assert [one.object.get("data") for one in found] == [None, {"a": "ü"}, None]


def test_the_application_comes_along(tmp_path: Path) -> None:
    text = f"{layout.header('overlays/dev/environment.yaml')}kind: Application\n"
    files = {"overlays/dev/manifests/x.yaml": WRITTEN, "argocd/applications/dev.yaml": text}
    application = git_revision.before(committed(tmp_path, files), "HEAD", {}, {})["dev"].application
    assert application is not None and application.kind == "Application"


@pytest.mark.parametrize(
    ("own", "base", "version"),
    [
        ("name: dev\nkubernetesVersion: '1.35'\n", "kubernetesVersion: '1.34'\n", "1.33"),
        ("name: dev\n", "kubernetesVersion: '1.35'\n", "1.33"),
        ("name: dev\n", "kubernetesVersion: '1.34'\n", "1.33"),
    ],
)
def test_the_version_is_that_of_the_environment_or_else_of_the_base(
    tmp_path: Path, own: str, base: str, version: str
) -> None:
    files = {
        "overlays/dev/manifests/x.yaml": WRITTEN,
        "overlays/dev/environment.yaml": "name: dev\nkubernetesVersion: '1.33'\n",
        "base/environment.yaml": "kubernetesVersion: '1.34'\n",
    }
    root = committed(tmp_path, files)
    write(root, {"overlays/dev/environment.yaml": own, "base/environment.yaml": base})
    assert git_revision.before(root, "HEAD", {}, {})["dev"].kubernetes_version == version


def test_a_version_that_the_base_changes_is_known_too(tmp_path: Path) -> None:
    files = {
        "overlays/dev/manifests/x.yaml": WRITTEN,
        "overlays/dev/environment.yaml": "name: dev\n",
        "base/environment.yaml": "kubernetesVersion: '1.34'\n",
    }
    root = committed(tmp_path, files)
    assert git_revision.before(root, "HEAD", {}, {})["dev"].kubernetes_version == ""
    write(root, {"base/environment.yaml": "kubernetesVersion: '1.35'\n"})
    assert git_revision.before(root, "HEAD", {}, {})["dev"].kubernetes_version == "1.34"


@pytest.mark.parametrize("named", ["nope", "0" * 40, "--help", "-x", "HEAD:overlays/dev/x", "a b"])
def test_a_revision_that_is_none_is_told(tmp_path: Path, named: str) -> None:
    root = committed(tmp_path, {"overlays/dev/manifests/x.yaml": WRITTEN})
    with pytest.raises(UsageError, match=f"git knows no revision {named} here"):
        git_revision.before(root, named, {}, {})


def shallow(root: Path, target: Path) -> Path:
    git(root, "clone", "-q", "--depth=1", root.as_uri(), str(target))
    return target


def test_a_shallow_clone_has_the_commits_that_it_has(tmp_path: Path) -> None:
    root = committed(tmp_path / "a", {"overlays/dev/manifests/x.yaml": WRITTEN})
    commit(root)
    clone = shallow(root, tmp_path / "b")
    assert list(git_revision.before(clone, "origin/main", {}, {})) == ["dev"]
    with pytest.raises(UsageError, match="git fetch --deepen"):
        git_revision.before(clone, "HEAD^", {}, {})
    git(clone, "fetch", "-q", "--deepen=1")
    assert list(git_revision.before(clone, "HEAD^", {}, {})) == ["dev"]


def test_what_git_has_lost_is_told(tmp_path: Path) -> None:
    root = committed(tmp_path, {"overlays/dev/manifests/x.yaml": WRITTEN})
    blob = git(root, "rev-parse", "HEAD:overlays/dev/manifests/x.yaml").strip()
    (root / ".git/objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(UsageError, match=f"{blob} is missing"):
        git_revision.before(root, "HEAD", {}, {})


def test_a_folder_that_is_no_repository_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a git repository"):
        git_revision.before(tmp_path, "HEAD", {}, {})


def test_a_machine_without_git_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="cannot start git"):
        git_revision.before(tmp_path, "HEAD", {}, {})


def test_environments_may_stand_in_a_folder_of_a_larger_repository(tmp_path: Path) -> None:
    committed(tmp_path, {"deploy/overlays/dev/manifests/x.yaml": WRITTEN})
    assert list(git_revision.before(tmp_path / "deploy", "HEAD", {}, {})) == ["dev"]


def test_a_repository_with_longer_names_of_objects_is_read_as_well(tmp_path: Path) -> None:
    path = "overlays/dev/manifests/x.yaml"
    write(tmp_path, {path: WRITTEN})
    git(tmp_path, "init", "-q", "--object-format=sha256")
    commit(tmp_path)
    (found,) = (
        git_revision.before(tmp_path, "HEAD", {path: manifest()}, {path: WRITTEN})["dev"].manifests
        or ()
    )
    assert found.label == "ConfigMap/x"


def test_nothing_is_parsed_where_nothing_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"{WRITTEN}data: {{a: {'x' * 4000}}}\n"
    files = {
        f"overlays/e{number}/manifests/x{index}.yaml": text
        for number in range(10)
        for index in range(10)
    }
    own = {f"overlays/e{number}/environment.yaml": "name: e\n" for number in range(10)}
    root = committed(tmp_path, files | own | {"base/environment.yaml": "kubernetesVersion: '1'\n"})
    now = {path: manifest(path) for path in files}
    monkeypatch.setattr(yaml, "load", None)
    found = git_revision.before(root, "HEAD", now, files)
    assert sum(len(of.manifests or ()) for of in found.values()) == len(files)


@pytest.fixture
def kept(repository: Repository) -> Repository:
    """Return a copy of this repository that git has."""
    git(repository.root, "init", "-q", "-b", "main")
    commit(repository.root)
    return repository


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--against", "main"), 0, "valid: dev"),
        (("--against=HEAD",), 0, "valid: dev"),
        (("--against", "origin/main"), 2, "validate: git knows no revision origin/main here"),
        (("--against=--output=x",), 2, "validate: git knows no revision --output=x here"),
    ],
)
def test_validate_compares_with_a_revision(
    kept: Repository, arguments: tuple[str, ...], code: int, told: str
) -> None:
    done = kept.run("validate", "dev", *arguments)
    assert (done.code, told in done.out + done.err) == (code, True), done
    assert not (kept / "x").exists()


def test_validate_tells_of_a_change_at_the_line_that_makes_it(kept: Repository) -> None:
    values = "overlays/dev/values.yaml"
    lines = (kept / values).read_text("utf-8").splitlines()
    kept.write(values, "\n".join([*lines, "maru:", "  persistence:", "    size: 8Gi", ""]))
    assert kept.run("render", "dev").code == 0
    assert kept.run("validate", "dev").code == 0
    done = kept.run("validate", "dev", "--against", "HEAD")
    assert done.code == 1, done
    line = len(lines) + 3
    assert f"{values}:{line}:5  error  volume-claim-template-changed" in done.out
    assert "grows from 5Gi to 8Gi" in done.out


Change = Callable[[Repository], None]

WITHOUT_BESU = "besu: {enabled: false}\ntxSender: {enabled: false}\n"
"""Nor what calls it."""


def _waive(repository: Repository) -> None:
    path = "overlays/dev/environment.yaml"
    waiver = (
        "waivers:\n  - rule: data-object-gone\n    object: StatefulSet/linea-stack-besu\n"
        "    until: '2099-12-31'\n"
        "    reason: Nobody has used the JSON-RPC of dev since the spring.\n"
    )
    repository.write(path, (repository / path).read_text("utf-8") + waiver)


@pytest.mark.parametrize(("prepare", "code"), [(lambda _: None, 1), (_waive, 0)])
def test_what_is_meant_is_waived_for_an_object_that_is_gone(
    kept: Repository, prepare: Change, code: int
) -> None:
    kept.write("overlays/dev/values.yaml", WITHOUT_BESU)
    prepare(kept)
    assert kept.run("render", "dev").code == 0
    done = kept.run("validate", "dev", "--against", "HEAD")
    assert done.code == code, done
    assert ("overlays/dev/values.yaml:1:8  error  data-object-gone" in done.out) == bool(code)


def test_a_new_environment_has_nothing_to_be_compared_with(kept: Repository) -> None:
    git(kept.root, "rm", "-q", "-r", "--cached", "overlays/dev")
    git(kept.root, "commit", "-q", "-m", "x")
    kept.write("overlays/dev/values.yaml", WITHOUT_BESU)
    assert kept.run("render", "dev").code == 0
    assert kept.run("validate", "dev", "--against", "HEAD").code == 0


def test_a_waiver_of_a_change_is_of_no_use_after_it_and_disturbs_nobody(kept: Repository) -> None:
    kept.write("overlays/dev/values.yaml", WITHOUT_BESU)
    _waive(kept)
    assert kept.run("render", "dev").code == 0
    commit(kept.root)
    assert kept.run("validate", "dev", "--against", "HEAD").code == 0
    path = "overlays/dev/environment.yaml"
    kept.replace(path, "2099-12-31", "2026-01-31")
    done = kept.run("validate", "dev", "--against", "HEAD")
    assert (done.code, "remove the waiver" in done.out) == (1, True), done
