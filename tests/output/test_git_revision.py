"""The output of environments in a git revision; `validate --against`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from scripts.core.findings import UsageError
from scripts.environments import layout
from scripts.kubernetes.manifest import Manifest
from scripts.output import git_revision
from tests.conftest import Repository
from tests.git import commit, committed, git, shallow, write

HEADER = layout.header("chart/templates/x.yaml and overlays/dev/patches/y.yaml")
CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: linea}\n"
WRITTEN = HEADER + CONFIG_MAP


def manifest(name: str = "x") -> Manifest:
    return Manifest({"kind": "ConfigMap", "metadata": {"name": name}}, "chart/templates/x.yaml")


def test_a_manifest_is_read_with_its_template_and_patches(tmp_path: Path) -> None:
    root = committed(tmp_path, {"overlays/dev/manifests/x.yaml": WRITTEN})
    (old,) = git_revision.before(root, "HEAD", {}, {})["dev"].manifests or ()
    assert old.object == yaml.safe_load(CONFIG_MAP)
    assert (old.template, old.patches) == (
        "chart/templates/x.yaml",
        ("overlays/dev/patches/y.yaml",),
    )


def test_an_unchanged_manifest_is_not_read_again(tmp_path: Path) -> None:
    path = "overlays/dev/manifests/x.yaml"
    root, now = committed(tmp_path, {path: WRITTEN}), manifest()
    (old,) = git_revision.before(root, "HEAD", {path: now}, {path: WRITTEN})["dev"].manifests or ()
    assert old is now


def test_the_commit_is_read_and_not_the_working_tree(tmp_path: Path) -> None:
    root = committed(tmp_path, {"overlays/dev/manifests/x.yaml": WRITTEN})
    write(root, {"overlays/dev/manifests/y.yaml": WRITTEN})
    (root / "overlays/dev/manifests/x.yaml").unlink()
    assert len(git_revision.before(root, "HEAD", {}, {})["dev"].manifests or ()) == 1


@pytest.mark.parametrize("named", ["HEAD~1", "main~1", "v1", "HEAD^"])
def test_any_name_of_a_revision_works(tmp_path: Path, named: str) -> None:
    root = committed(tmp_path, {"overlays/dev/manifests/x.yaml": WRITTEN})
    git(root, "tag", "v1")
    (root / "overlays/dev/manifests/x.yaml").unlink()
    commit(root)
    assert list(git_revision.before(root, named, {}, {})) == ["dev"]
    assert git_revision.before(root, "HEAD", {}, {}) == {}


def test_only_the_output_of_environments_is_read(tmp_path: Path) -> None:
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
    old = git_revision.before(root, "HEAD", {}, {})
    assert {name: len(of.manifests or ()) for name, of in old.items()} == {"dev": 1}


def test_a_file_that_render_did_not_write_is_read_too(tmp_path: Path) -> None:
    """Argo CD has applied it, too."""
    path = "overlays/dev/manifests/by-hand.yaml"
    root = committed(tmp_path, {path: CONFIG_MAP})
    (old,) = git_revision.before(root, "HEAD", {}, {})["dev"].manifests or ()
    assert (old.label, old.template, old.patches) == ("ConfigMap/x", path, ())


@pytest.mark.parametrize(
    "text",
    ["{", "a: *b", "- a list", "", "a: 1\n---\nb: 2", "\0", "a: 2026-99-99", "[" * 5000, "x: !y z"],
)
def test_a_file_without_an_object_is_ignored(tmp_path: Path, text: str) -> None:
    files = {"overlays/dev/manifests/a.yaml": text, "overlays/dev/manifests/b.yaml": WRITTEN}
    old = git_revision.before(committed(tmp_path, files), "HEAD", {}, {})
    assert [each.label for each in old["dev"].manifests or ()] == ["ConfigMap/x"]


def test_a_link_and_a_submodule_are_ignored(tmp_path: Path) -> None:
    root = committed(tmp_path, {"overlays/dev/manifests/x.yaml": WRITTEN})
    (root / "overlays/dev/manifests/link.yaml").symlink_to("x.yaml")
    entry = f"160000,{git(root, 'rev-parse', 'HEAD').strip()},overlays/dev/manifests/module.yaml"
    git(root, "add", "overlays")
    git(root, "update-index", "--add", "--cacheinfo", entry)
    git(root, "commit", "-q", "-m", "x")
    assert len(git_revision.before(root, "HEAD", {}, {})["dev"].manifests or ()) == 1


def test_binary_files_and_windows_line_ends_are_tolerated(tmp_path: Path) -> None:
    root = tmp_path
    write(root, {"overlays/dev/manifests/x.yaml": WRITTEN})
    (root / "overlays/dev/manifests/a.yaml").write_bytes(b"\xff\xfe\r\n\x80")
    (root / "overlays/dev/manifests/b.yaml").write_bytes(CONFIG_MAP.replace("\n", "\r\n").encode())
    committed(root, {"overlays/dev/manifests/c.yaml": f"{WRITTEN}data: {{a: ü}}\n"})
    old = git_revision.before(root, "HEAD", {}, {})["dev"].manifests or ()
    assert [each.object.get("data") for each in old] == [None, {"a": "ü"}, None]


def test_the_application_is_read_too(tmp_path: Path) -> None:
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
def test_the_version_is_that_of_the_environment_or_otherwise_of_base(
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


def test_a_version_that_changes_in_base_is_known_too(tmp_path: Path) -> None:
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
def test_an_unknown_revision_is_an_error(tmp_path: Path, named: str) -> None:
    root = committed(tmp_path, {"overlays/dev/manifests/x.yaml": WRITTEN})
    with pytest.raises(UsageError, match=f"unknown revision {named}: "):
        git_revision.before(root, named, {}, {})


def test_a_shallow_clone_has_only_some_revisions(tmp_path: Path) -> None:
    root = committed(tmp_path / "a", {"overlays/dev/manifests/x.yaml": WRITTEN})
    commit(root)
    clone = shallow(root, tmp_path / "b")
    assert list(git_revision.before(clone, "origin/main", {}, {})) == ["dev"]
    with pytest.raises(UsageError, match="git fetch --unshallow origin"):
        git_revision.before(clone, "HEAD^", {}, {})
    git(clone, "fetch", "-q", "--unshallow", "origin")
    assert list(git_revision.before(clone, "HEAD^", {}, {})) == ["dev"]


def test_a_clone_of_one_branch_is_told_how_to_get_another(tmp_path: Path) -> None:
    root = committed(tmp_path / "a", {"overlays/dev/manifests/x.yaml": WRITTEN})
    git(root, "checkout", "-q", "-b", "feature/one")
    commit(root)
    clone = tmp_path / "b"
    git(root, "clone", "-q", "--single-branch", "-b", "feature/one", root.as_uri(), str(clone))
    with pytest.raises(UsageError) as raised:
        git_revision.before(clone, "origin/main", {}, {})
    message = "unknown revision origin/main: run git fetch origin main:refs/remotes/origin/main"
    assert str(raised.value) == message
    git(clone, *message.partition(": run git ")[2].split())
    assert list(git_revision.before(clone, "origin/main", {}, {})) == ["dev"]


def test_a_missing_blob_is_an_error(tmp_path: Path) -> None:
    root = committed(tmp_path, {"overlays/dev/manifests/x.yaml": WRITTEN})
    blob = git(root, "rev-parse", "HEAD:overlays/dev/manifests/x.yaml").strip()
    (root / ".git/objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(UsageError, match=f"{blob} is missing"):
        git_revision.before(root, "HEAD", {}, {})


def test_a_folder_without_a_git_repository_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a git repository"):
        git_revision.before(tmp_path, "HEAD", {}, {})


def test_a_machine_without_git_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="cannot start git"):
        git_revision.before(tmp_path, "HEAD", {}, {})


def test_environments_can_be_in_a_folder_of_a_larger_repository(tmp_path: Path) -> None:
    committed(tmp_path, {"deploy/overlays/dev/manifests/x.yaml": WRITTEN})
    assert list(git_revision.before(tmp_path / "deploy", "HEAD", {}, {})) == ["dev"]


def test_a_repository_with_sha256_names_is_read(tmp_path: Path) -> None:
    path = "overlays/dev/manifests/x.yaml"
    write(tmp_path, {path: WRITTEN})
    git(tmp_path, "init", "-q", "--object-format=sha256")
    commit(tmp_path)
    (old,) = (
        git_revision.before(tmp_path, "HEAD", {path: manifest()}, {path: WRITTEN})["dev"].manifests
        or ()
    )
    assert old.label == "ConfigMap/x"


def test_unchanged_files_are_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    old = git_revision.before(root, "HEAD", now, files)
    assert sum(len(of.manifests or ()) for of in old.values()) == len(files)


@pytest.fixture
def kept(repository: Repository) -> Repository:
    """Return a copy of this repository with one commit."""
    git(repository.root, "init", "-q", "-b", "main")
    commit(repository.root)
    return repository


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("--against", "main"), 0, "valid: dev"),
        (("--against=HEAD",), 0, "valid: dev"),
        (("--against", "origin/main"), 2, "validate: unknown revision origin/main: "),
        (("--against=--output=x",), 2, "validate: unknown revision --output=x: "),
    ],
)
def test_validate_compares_with_a_revision(
    kept: Repository, arguments: tuple[str, ...], code: int, expected: str
) -> None:
    done = kept.run("validate", "dev", *arguments)
    assert (done.code, expected in done.out + done.err) == (code, True), done
    assert not (kept / "x").exists()


def test_validate_reports_a_change_at_the_line_that_causes_it(kept: Repository) -> None:
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
"""Also without its client."""


def _waive(repository: Repository) -> None:
    path = "overlays/dev/environment.yaml"
    waiver = {
        "rule": "data-object-removed",
        "object": "StatefulSet/linea-stack-besu",
        "until": "2099-12-31",
        "reason": "Nobody has used the JSON-RPC of dev since the spring.",
    }
    data = yaml.safe_load((repository / path).read_text("utf-8"))
    repository.write(path, yaml.safe_dump(data | {"waivers": [waiver]}))


@pytest.mark.parametrize(("prepare", "code"), [(lambda _: None, 1), (_waive, 0)])
def test_a_finding_about_a_removed_object_can_be_waived(
    kept: Repository, prepare: Change, code: int
) -> None:
    kept.write("overlays/dev/values.yaml", WITHOUT_BESU)
    prepare(kept)
    assert kept.run("render", "dev").code == 0
    done = kept.run("validate", "dev", "--against", "HEAD")
    assert done.code == code, done
    assert ("overlays/dev/values.yaml:1:8  error  data-object-removed" in done.out) == bool(code)


def test_a_new_environment_has_no_changes(kept: Repository) -> None:
    git(kept.root, "rm", "-q", "-r", "--cached", "overlays/dev")
    git(kept.root, "commit", "-q", "-m", "x")
    kept.write("overlays/dev/values.yaml", WITHOUT_BESU)
    assert kept.run("render", "dev").code == 0
    assert kept.run("validate", "dev", "--against", "HEAD").code == 0


def test_a_renamed_environment_is_compared_with_what_it_replaces(kept: Repository) -> None:
    (kept / "overlays/dev").rename(kept / "overlays/development")
    kept.replace("overlays/development/environment.yaml", "name: dev\n", "name: development\n")
    kept.write("overlays/development/values.yaml", WITHOUT_BESU)
    assert kept.run("render").code == 0
    done = kept.run("validate", "--against", "HEAD")
    assert done.code == 1
    place = "overlays/development/environment.yaml:2:1  error  environment-renamed"
    assert place in done.out
    assert (
        "→ write name: dev, and rename the folder back to overlays/dev; nox -s rename" in done.out
    )
    assert "error  data-object-removed  StatefulSet/linea-stack-besu" in done.out


def test_a_waiver_for_a_change_may_stay_until_it_expires(kept: Repository) -> None:
    kept.write("overlays/dev/values.yaml", WITHOUT_BESU)
    _waive(kept)
    assert kept.run("render", "dev").code == 0
    commit(kept.root)
    assert kept.run("validate", "dev", "--against", "HEAD").code == 0
    path = "overlays/dev/environment.yaml"
    kept.replace(path, "2099-12-31", "2026-01-31")
    done = kept.run("validate", "dev", "--against", "HEAD")
    assert (done.code, "remove the waiver" in done.out) == (1, True), done
