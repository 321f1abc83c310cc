"""What a machine can be like: odd files, closed streams, terminals, encodings, permissions."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from scripts.checks.layers import links
from scripts.core import safe_files
from tests.conftest import ROOT, Repository, without_progress


def run(repository: Repository, *arguments: str, shell: str = "", **environment: str) -> str:
    """Return what a run says but for progress, and its exit code; `$@` is its command line."""
    done = subprocess.run(
        ["sh", "-c", shell or '"$@"', "sh", *repository.command(*arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
    )
    said = done.stdout.decode("utf-8", "replace")
    said += without_progress(done.stderr.decode("utf-8", "replace"))
    assert "Traceback" not in said, said
    return f"{said}exit code {done.returncode}"


@pytest.fixture
def mistaken(repository: Repository) -> Repository:
    repository.write("overlays/dev/values.yaml", "bseu: {}\n")
    return repository


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("overlays/dev/values.yaml", "render"),
        ("overlays/dev/patches/a.yaml", "render"),
        ("chart/a.yaml", "render"),
        ("chart/a.yaml", "validate"),
        ("argocd/root.yaml", "validate"),
    ],
)
def test_a_pipe_in_the_place_of_a_file_holds_nobody_up(
    repository: Repository, file: str, command: str
) -> None:
    path = repository / file
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    said = run(repository, command, "dev")
    assert f"{file}  error  unreadable-file" in said
    assert said.endswith("exit code 1")


def test_a_pipe_that_nothing_reads_holds_nobody_up(repository: Repository) -> None:
    os.mkfifo(repository / "overlays/dev/.hidden")
    assert run(repository, "render", "dev").endswith("exit code 0")


@pytest.mark.parametrize(
    "folder", ["overlays/dev", "overlays/dev/patches", "base/profiles", "chart/templates", "chart"]
)
def test_a_folder_that_may_not_be_read_is_no_empty_one(
    repository: Repository, bound_by_permissions: list[str], folder: str
) -> None:
    (repository / "overlays/dev/patches").mkdir()
    (repository / folder).chmod(0)
    before = repository.files("argocd")
    try:
        shell = " ".join([*bound_by_permissions, '"$@"'])
        said = run(repository, "render", "dev", shell=shell)
        assert "Permission denied" in said
        assert said.endswith(("exit code 1", "exit code 2"))
        assert str(repository.root) not in said
        assert repository.files("argocd") == before
    finally:
        (repository / folder).chmod(0o755)


def test_an_output_that_may_not_be_read_is_told(
    repository: Repository, bound_by_permissions: list[str]
) -> None:
    (repository / "argocd/projects/dev.yaml").chmod(0)
    shell = " ".join([*bound_by_permissions, '"$@"'])
    said = run(repository, "validate", "dev", shell=shell)
    assert "validate: argocd/projects/dev.yaml: Permission denied\n" in said
    assert said.endswith("exit code 2")


def test_a_file_s_name_need_not_be_utf_8(repository: Repository) -> None:
    name = os.fsencode(repository / "overlays/dev") + b"/\xff.txt"
    Path(os.fsdecode(name)).write_text("x")
    for command in ("render", "validate"):
        said = run(repository, command, "dev")
        assert "error  unused-file" in said
        assert said.endswith("exit code 1")


@pytest.mark.parametrize("form", ["text", "github", "json", "sarif"])
@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"COLUMNS": "0", "LINES": "0", "TERM": "dumb"},
        {"TERM": "no-such-terminal", "FORCE_COLOR": "1"},
    ],
    ids=" ".join,
)
def test_a_mistake_is_told_whatever_is_set(
    mistaken: Repository, environment: dict[str, str], form: str
) -> None:
    said = run(mistaken, "validate", "dev", "--format", form, **environment)
    assert "bseu" in said
    assert "write besu" in said
    assert said.endswith("exit code 1")


@pytest.mark.parametrize("form", ["text", "github", "json", "sarif"])
def test_a_closed_output_changes_no_verdict(mistaken: Repository, form: str) -> None:
    arguments = ("render", "dev", "--check", "--format", form)
    assert run(mistaken, *arguments, shell='"$@" >&-').endswith("exit code 1")
    assert run(mistaken, *arguments, shell='"$@" >&- 2>&- <&-').endswith("exit code 1")


def test_an_output_that_takes_nothing_is_told(mistaken: Repository) -> None:
    said = run(mistaken, "validate", "dev", shell='"$@" >/dev/full')
    assert said == "validate: No space left on device\nexit code 2"


def test_a_reader_that_goes_is_no_bug(mistaken: Repository) -> None:
    run(mistaken, "validate", shell='"$@" | true')


@pytest.mark.parametrize("target", ["/etc/hostname", "../../elsewhere", "../chart/../../elsewhere"])
def test_no_link_anywhere_leads_out(repository: Repository, target: str) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=repository.root, check=True)
    repository.write("docs/notes.md", "x\n")
    (repository / "docs/inside").symlink_to("notes.md")
    assert run(repository, "validate", "dev").endswith("exit code 0")
    (repository / "docs/link").symlink_to(target)
    said = run(repository, "validate", "dev")
    assert said.startswith("docs/link  error  symlink-outside-repository\n")
    assert said.endswith("exit code 1")


def test_no_link_in_this_repository_leads_out() -> None:
    assert links(ROOT, []) == []
    assert safe_files.links_out([Path("/proc/self/cwd")], Path("/proc")), "a link is seen"


def test_what_is_staged_stays_on_the_file_system_of_its_target(
    repository: Repository, tmp_path: Path
) -> None:
    (repository / ".render").symlink_to(tmp_path)
    said = run(repository, "render", "dev")
    assert said.startswith("render: .render: this is a symbolic link")
    assert said.endswith("exit code 2")
    assert run(repository, "validate", "dev").endswith("exit code 0")
