"""A render without changes is a no-op; any change of an input or of the output is noticed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, Repository, copy

UP_TO_DATE = "up to date: dev, prod, staging\n"

LOADED = {"helm_python", "scripts.rendering.pipeline", "scripts.environments.environment"}

NOTHING_LOADED = f"""
import sys
from scripts.__main__ import main
code = main(sys.argv[1:])
loaded = {LOADED} & set(sys.modules)
sys.exit(code or len(loaded))
"""

LOADS, MORE_THAN_DIGESTS = (
    3,
    f"""
import sys
class Ending:
    def find_spec(self, name, *_):
        if name in {LOADED}:
            sys.exit(3)
sys.meta_path.insert(0, Ending())
from scripts.__main__ import main
sys.exit(main(sys.argv[1:]))
""",
)
"""A render that ends, with that code, when it loads the modules that render."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a repository after its first render, and a copy of it."""
    folder = tmp_path_factory.mktemp("rendered")
    done = copy(folder / "repository").run("render")
    assert (done.code, done.out) == (0, UP_TO_DATE), done.err
    shutil.copytree(folder / "repository", folder / "kept", symlinks=True)
    return folder


@pytest.fixture
def rendered(place: Path) -> Repository:
    """Return a repository with a valid cache, which depends on its path."""
    return put_back(place)


def put_back(place: Path) -> Repository:
    shutil.rmtree(place / "repository")
    shutil.copytree(
        place / "kept", place / "repository", symlinks=True, copy_function=shutil.copyfile
    )
    return Repository(place / "repository")


def renders_nothing(repository: Repository) -> bool:
    """Return whether a render notices without rendering that nothing changed."""
    call = [sys.executable, "-c", NOTHING_LOADED, "--repository", str(repository.root), "render"]
    return subprocess.run(call, cwd=ROOT, capture_output=True, check=False).returncode == 0


def begins_to_render(repository: Repository) -> bool:
    """Return whether a render notices that something changed; it writes nothing."""
    call = [sys.executable, "-c", MORE_THAN_DIGESTS, "--repository", str(repository.root), "render"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode in (0, LOADS), done.stderr
    return done.returncode == LOADS


def times(repository: Repository) -> dict[str, int]:
    paths = [p for folder in ("overlays", "argocd") for p in (repository / folder).rglob("*")]
    return {str(path): path.stat().st_mtime_ns for path in paths}


def test_a_render_without_changes_writes_no_file(rendered: Repository) -> None:
    before = times(rendered)
    assert renders_nothing(rendered)
    assert rendered.run("render").out == UP_TO_DATE
    assert times(rendered) == before


def test_a_first_render_writes_the_cache(repository: Repository) -> None:
    for name in ("dev", "prod", "staging"):
        shutil.rmtree(repository / f"overlays/{name}/manifests")
    assert repository.run("render").code == 0
    assert renders_nothing(repository)


def test_a_render_of_the_same_output_writes_no_file(rendered: Repository) -> None:
    before = times(rendered)
    shutil.rmtree(rendered / ".render")
    assert rendered.run("render").out == UP_TO_DATE
    assert times(rendered) == before


def append(path: str, text: str = "\n# more\n") -> Callable[[Repository], None]:
    def change(repository: Repository) -> None:
        with (repository / path).open("a", encoding="utf-8") as file:
            file.write(text)

    return change


def remove(path: str) -> Callable[[Repository], None]:
    return lambda repository: (repository / path).unlink()


def write(path: str, text: str) -> Callable[[Repository], None]:
    return lambda repository: repository.write(path, text)


PATCH = (
    "target: {kind: Service, name: linea-stack-besu}\n"
    "patch: [{op: add, path: /spec/externalTrafficPolicy, value: Local}]\n"
)


CHANGES = {
    "an environment": [
        append("overlays/dev/environment.yaml"),
        append("overlays/dev/values.yaml"),
        remove("overlays/dev/values.yaml"),
        write("overlays/dev/patches/new.yaml", PATCH),
        append("overlays/prod/patches/rpc-only-at-the-root.yaml"),
        remove("overlays/prod/patches/rpc-only-at-the-root.yaml"),
    ],
    "what environments share": [
        append("base/environment.yaml"),
        append("base/values.yaml"),
        append("base/profiles/small.yaml"),
        append("tools/python/pipeline.txt"),
    ],
    "the chart": [
        append("chart/values.yaml"),
        append("chart/Chart.yaml"),
        append("chart/templates/_names.tpl", "{{/* more */}}\n"),
        append("chart/files/besu/config.toml"),
        append("chart/values.schema.json", "\n"),
        write("chart/templates/new.yaml", "{{/* nothing */}}\n"),
    ],
    "the output": [
        append("overlays/dev/manifests/service-linea-stack-besu.yaml"),
        remove("overlays/dev/manifests/service-linea-stack-besu.yaml"),
        append("argocd/projects/dev.yaml"),
        remove("argocd/applications/prod.yaml"),
    ],
    "the cache": [
        write(".render/cache.json", "not JSON"),
        write(".render/cache.json", "[1, 2]"),
        write(".render/cache.json", '{"dev": null, "prod": 1, "staging": {"inputs": []}}'),
        remove(".render/cache.json"),
    ],
}


@pytest.mark.parametrize("where", CHANGES)
def test_any_change_is_noticed(place: Path, where: str) -> None:
    for number, change in enumerate(CHANGES[where]):
        rendered = put_back(place)
        assert number or not begins_to_render(rendered)
        change(rendered)
        assert begins_to_render(rendered), number


@pytest.mark.parametrize("where", CHANGES)
def test_a_render_after_any_changes_is_correct(rendered: Repository, where: str) -> None:
    for change in CHANGES[where]:
        change(rendered)
    assert rendered.run("render").code == 0
    assert rendered.run("render", "--check").code == 0
    assert renders_nothing(rendered)


def test_a_manual_edit_is_overwritten(rendered: Repository) -> None:
    before = rendered.files("overlays", "argocd")
    append("overlays/dev/manifests/service-linea-stack-besu.yaml")(rendered)
    append("argocd/applications/prod.yaml")(rendered)
    assert rendered.run("render").out == "dev: 1 changed\nprod: 1 changed\n"
    assert rendered.files("overlays", "argocd") == before


def test_a_link_instead_of_a_file_is_noticed(rendered: Repository, tmp_path: Path) -> None:
    values = rendered / "overlays/dev/values.yaml"
    values.rename(tmp_path / "values.yaml")
    values.symlink_to(tmp_path / "values.yaml")
    done = rendered.run("render")
    assert done.code == 1
    assert "symlink-outside-repository" in done.out


def test_another_version_of_the_program_renders_again(rendered: Repository, tmp_path: Path) -> None:
    program = tmp_path / "program"
    shutil.copytree(
        ROOT / "scripts", program / "scripts", ignore=shutil.ignore_patterns("__pycache__")
    )
    layout = program / "scripts/environments/layout.py"
    layout.write_text(layout.read_text("utf-8").replace("edits are lost.", "edits will be lost."))
    call = [sys.executable, "-m", "scripts", "--repository", str(rendered.root), "render"]
    environment = {**os.environ, "PYTHONPATH": str(program)}
    subprocess.run(call, cwd=program, env=environment, check=True, capture_output=True)
    text = (rendered / "overlays/dev/manifests/service-linea-stack-besu.yaml").read_text("utf-8")
    assert "edits will be lost." in text.partition("\n")[0]


def test_a_cache_of_another_branch_has_no_effect(rendered: Repository) -> None:
    old = (rendered / "overlays/dev/values.yaml").read_text("utf-8")
    rendered.write("overlays/dev/values.yaml", "txSender: {amount: 4711}\n")
    assert rendered.run("render", "dev").out.startswith("dev: ")
    kept = (rendered / ".render/cache.json").read_text("utf-8")
    rendered.write("overlays/dev/values.yaml", old)
    assert rendered.run("render").code == 0
    (rendered / ".render/cache.json").write_text(kept)
    rendered.run("render")
    assert rendered.run("render", "--check").code == 0


def test_a_conflict_with_an_unchanged_environment_is_noticed(rendered: Repository) -> None:
    rendered.replace("overlays/staging/environment.yaml", "linea-staging", "linea-dev")
    done = rendered.run("render")
    assert done.code == 1
    assert "dev has the namespace linea-dev on the same cluster" in done.out


def test_an_unused_file_is_an_error_even_if_nothing_else_changed(
    rendered: Repository,
) -> None:
    rendered.write("overlays/dev/values.yml", "besu: {replicas: 2}\n")
    done = rendered.run("render")
    assert done.code == 1
    assert "nothing reads this file" in done.out


def test_check_and_validate_do_not_use_the_cache(rendered: Repository) -> None:
    cache = (rendered / ".render/cache.json").read_text("utf-8")
    append("overlays/dev/manifests/service-linea-stack-besu.yaml")(rendered)
    (rendered / ".render/cache.json").write_text(cache)
    assert rendered.run("render", "--check").code == 1
    assert rendered.run("validate", "dev").code == 1


def test_compiled_files_are_not_a_change_of_the_program(
    repository: Repository, tmp_path: Path
) -> None:
    """Another process may compile the program at any moment, as in a fresh clone."""
    program = tmp_path / "program"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "scripts", program / "scripts", ignore=ignored)
    call = [sys.executable, "-c", NOTHING_LOADED, "--repository", str(repository.root), "render"]
    assert subprocess.run(call, cwd=program, capture_output=True, check=False).returncode
    assert subprocess.run(call, cwd=program, capture_output=True, check=False).returncode == 0
    (program / "scripts" / "__pycache__").mkdir(exist_ok=True)
    (program / "scripts" / "__pycache__" / "pipeline.cpython-311.pyc.140000").write_bytes(b"half")
    assert subprocess.run(call, cwd=program, capture_output=True, check=False).returncode == 0
    with (program / "scripts" / "rendering" / "pipeline.py").open("a") as file:
        file.write("\n")
    assert subprocess.run(call, cwd=program, capture_output=True, check=False).returncode
