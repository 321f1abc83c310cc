"""An environment with a release is rendered from git's objects of that tag or commit."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.core import safe_files
from scripts.environments import environment, releases
from tests import git
from tests.conftest import Repository, copy

SETTINGS = "overlays/prod/environment.yaml"
TEMPLATE = "chart/templates/besu/service.yaml"
PROFILE = "base/profiles/production.yaml"


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository whose chart has changed since the tag v0.4.0; v0.5.0 knows a new key."""
    made = copy(tmp_path_factory.mktemp("history") / "repository")
    git.git(made.root, "init", "-q", "-b", "main")
    made.write(".gitignore", ".render/\n")
    git.commit(made.root)
    git.git(made.root, "tag", "v0.4.0")
    made.replace(TEMPLATE, "metadata:\n", "metadata:\n  annotations: {example.com/new: 'yes'}\n")
    made.replace(
        "chart/values.schema.json",
        '"zones": {',
        '"recent": {"type": "boolean", "description": "New."},\n    "zones": {',
    )
    git.commit(made.root)
    git.git(made.root, "tag", "v0.5.0")
    git.git(made.root, "checkout", "-q", "-b", "other")
    git.commit(made.root)
    git.git(made.root, "tag", "v0.6.0")
    git.git(made.root, "checkout", "-q", "main")
    return made.root


@pytest.fixture
def released(history: Path, tmp_path: Path) -> Repository:
    """Return a copy of the repository in which prod has the release v0.4.0."""
    copied = Repository(tmp_path / "repository")
    git.git(tmp_path, "clone", "-q", "--shared", str(history), str(copied.root))
    release(copied, "v0.4.0")
    return copied


def release(repository: Repository, name: str, environment: str = "prod") -> None:
    path = f"overlays/{environment}/environment.yaml"
    lines = (repository / path).read_text("utf-8").splitlines(keepends=True)
    own = [line for line in lines if not line.startswith("release: ")]
    repository.write(path, "".join([*own, f"release: {name}\n"]))


def service(repository: Repository, name: str) -> str:
    path = f"overlays/{name}/manifests/service-linea-stack-besu.yaml"
    return (repository / path).read_text("utf-8")


def test_a_change_of_the_chart_reaches_only_environments_without_a_release(
    released: Repository,
) -> None:
    before = service(released, "prod")
    done = released.run("render")
    assert done.code == 0, done.out + done.err
    assert "example.com/new" in service(released, "dev")
    assert service(released, "prod") == before
    application = (released / "argocd/applications/prod.yaml").read_text("utf-8")
    assert "  info:\n  - name: release\n    value: v0.4.0\n" in application
    assert released.run("check").code == 0
    release(released, "v0.5.0")
    assert released.run("render", "prod").out == "prod: 2 changed\n"
    assert "example.com/new" in service(released, "prod")
    git.git(released.root, "checkout", "-q", "--detach", "v0.4.0")
    release(released, "v0.5.0")
    assert "example.com/new" not in (released / TEMPLATE).read_text("utf-8")
    released.run("render")
    assert "example.com/new" in service(released, "prod")


def test_a_full_commit_id_is_a_release(released: Repository) -> None:
    commit = git.git(released.root, "rev-parse", "v0.4.0").strip()
    release(released, f'"{commit}"')
    assert environment.load(released.root, "prod").layers[0].file == (
        f"chart/values.yaml@{commit[:12]}"
    )


def test_a_moved_tag_makes_the_output_stale(released: Repository) -> None:
    assert released.run("render").code == 0
    git.git(released.root, "tag", "--force", "v0.4.0", "v0.5.0")
    assert released.run("check", "prod").code == 1
    assert released.run("render", "prod").out == "prod: 1 changed\n"


def test_a_torn_or_changed_copy_is_written_again(released: Repository) -> None:
    folder = environment.load(released.root, "prod").source
    assert folder.parent == released.root / safe_files.RELEASES
    template = folder / TEMPLATE
    assert not template.stat().st_mode & 0o222
    text = template.read_bytes()

    def change() -> None:
        template.chmod(0o644)
        template.write_bytes(text + b"# mine\n")

    def add() -> None:
        (folder / "chart/templates/besu/new.yaml").write_bytes(b"a: b\n")

    def tear() -> None:
        shutil.rmtree(folder / "base")

    for break_it in (template.unlink, change, add, tear):
        break_it()
        releases._materialised.cache_clear()
        assert environment.load(released.root, "prod").source == folder
        assert template.read_bytes() == text
        assert not (folder / "chart/templates/besu/new.yaml").exists()
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name, "lock"]


def test_two_runs_at_once_write_one_copy(released: Repository) -> None:
    code = (
        "import sys; from pathlib import Path; from scripts.environments import environment\n"
        "print(environment.load(Path(sys.argv[1]), 'prod').source)"
    )
    command = [os.sys.executable, "-c", code, str(released.root)]  # type: ignore[attr-defined]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    folders = {process.communicate()[0].strip() for process in running}
    assert len(folders) == 1
    assert all(process.returncode == 0 for process in running)
    kept = sorted(path.name for path in Path(folders.pop()).parent.iterdir())
    assert len(kept) == 2


def test_a_finding_in_a_released_file_names_the_release_and_is_not_fixed(
    released: Repository,
) -> None:
    folder = environment.load(released.root, "prod").source
    loaded = environment.load(released.root, "prod")
    assert [layer.file for layer in loaded.layers[:2]] == [
        "chart/values.yaml@v0.4.0",
        "base/values.yaml@v0.4.0",
    ]
    assert loaded.is_production
    assert loaded.path(released.root, "chart/values.yaml@v0.4.0") == folder / "chart/values.yaml"
    assert loaded.path(released.root, SETTINGS) == released.root / SETTINGS
    released.write("overlays/prod/values.yaml", "rpc: {allowedHosts: []}\nbesu: {replicas: many}\n")
    done = released.run("render", "prod")
    assert done.code == 1
    assert "overlays/prod/values.yaml:2:8  error  wrong-type" in done.out


def test_a_release_keeps_its_digests(released: Repository) -> None:
    lock = released / "base/images.yaml"
    name, _, old = lock.read_text("utf-8").splitlines()[-1].partition(": ")
    released.replace("base/images.yaml", old, f"sha256:{'0' * 64}")
    released.write("base/images.yaml", lock.read_text("utf-8") + f"zzz/new:1: {old}\n")
    images = environment.load(released.root, "prod").images.data
    assert (images[name], images["zzz/new:1"]) == (old, old)
    assert environment.load(released.root, "dev").images.data[name] == f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("name", "message", "fix"),
    [
        ("v0.4.1", "unknown release: this clone has no tag v0.4.1", "write v0.4.0"),
        ("main", "release main is a branch, which moves", "write a tag"),
        (
            f'"{"1" * 40}"',
            "unknown release: this clone has no commit 111",
            "run git fetch origin 1",
        ),
        (
            "abcdef0",
            "release abcdef0 is the beginning of",
            "write the full id, with its 40 characters",
        ),
    ],
)
def test_an_unknown_release_is_reported_at_its_line(
    released: Repository, name: str, message: str, fix: str
) -> None:
    release(released, name)
    done = released.run("render", "prod")
    line = (released / SETTINGS).read_text("utf-8").splitlines().index(f"release: {name}") + 1
    assert done.code == 1
    assert f"{SETTINGS}:{line}:1  error  unknown-release\n  {message}" in done.out
    assert f"→ {fix}" in done.out


def test_the_command_for_a_shallow_clone_fetches_the_release(history: Path, tmp_path: Path) -> None:
    clone = Repository(git.shallow(history, tmp_path / "clone"))
    release(clone, "v0.4.0")
    done = clone.run("render", "prod")
    assert "this clone is shallow and has no tag v0.4.0" in done.out
    command = done.out.split("→ run ")[1].splitlines()[0].split()
    assert " ".join(command) == "git fetch --depth=1 origin tag v0.4.0"
    git.git(clone.root, *command[1:])
    assert clone.run("render", "prod").code == 0
    assert "example.com/new" not in service(clone, "prod")
    document = environment.load(clone.root, "prod").document
    found = releases.off_branch(clone.root, "v0.4.0", "main", document)
    assert "git fetch --unshallow origin" in found[0].fix


def test_without_git_only_a_release_is_an_error(repository: Repository) -> None:
    assert repository.run("check", "prod").code == 0
    release(repository, "v0.4.0")
    done = repository.run("check", "prod")
    assert done.code == 1
    assert "this folder is not a git repository" in done.out


def test_a_release_must_be_on_the_branch_that_argo_cd_follows(released: Repository) -> None:
    document = environment.load(released.root, "prod").document
    assert not releases.off_branch(released.root, "v0.5.0", "main", document)
    found = releases.off_branch(released.root, "v0.6.0", "main", document)
    assert [finding.rule for finding in found] == ["release-not-on-branch"]
    assert found[0].message.startswith("release v0.6.0 is not on origin/main: ")


def test_a_value_that_a_release_does_not_know_names_the_first_that_does(
    released: Repository,
) -> None:
    values = (released / "overlays/prod/values.yaml").read_text("utf-8")
    released.write("overlays/prod/values.yaml", f"{values}recent: true\n")
    done = released.run("render", "prod")
    assert "v0.4.0 does not know recent: the first release that does is v0.5.0" in done.out
    assert "→ promote v0.5.0, or remove recent" in done.out
    git.git(released.root, "tag", "--delete", "v0.5.0", "v0.6.0")
    done = released.run("render", "prod")
    assert "v0.4.0 does not know recent: the chart has it since, without a release" in done.out


def test_a_template_that_fails_is_named_with_its_release(released: Repository) -> None:
    released.replace(TEMPLATE, "metadata:\n", 'metadata: {{ fail "never" }}\n')
    git.commit(released.root)
    git.git(released.root, "tag", "v0.7.0")
    release(released, "v0.7.0")
    done = released.run("render", "prod")
    assert f"{TEMPLATE}@v0.7.0:" in done.out
    assert "v0.7.0 stays as it is, so do this in a newer release and promote that" in done.out
