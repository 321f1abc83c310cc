"""Unusual machines: pipes instead of files, closed streams, terminals, encodings, permissions."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from scripts.checks.whole_layers import links
from scripts.core import safe_files
from tests.conftest import ROOT, Repository, without_progress
from tests.git import git


def run(repository: Repository, *arguments: str, shell: str = "", **environment: str) -> str:
    """Return the output of a run without progress, and its exit code.

    shell: a script that runs the command line, which is `$@`.
    """
    done = subprocess.run(
        ["sh", "-c", shell or '"$@"', "sh", *repository.command(*arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
    )
    printed = done.stdout.decode("utf-8", "replace")
    printed += without_progress(done.stderr.decode("utf-8", "replace"))
    assert "Traceback" not in printed, printed
    return f"{printed}exit code {done.returncode}"


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
def test_a_pipe_instead_of_a_file_does_not_block(
    repository: Repository, file: str, command: str
) -> None:
    path = repository / file
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    printed = run(repository, command, "dev")
    assert f"{file}  error  unreadable-file" in printed
    assert printed.endswith("exit code 1")


def test_a_pipe_that_is_not_read_does_not_block(repository: Repository) -> None:
    os.mkfifo(repository / "overlays/dev/.hidden")
    assert run(repository, "render", "dev").endswith("exit code 0")


@pytest.mark.parametrize(
    "folder", ["overlays/dev", "overlays/dev/patches", "base/profiles", "chart/templates", "chart"]
)
def test_an_unreadable_folder_is_not_treated_as_empty(
    repository: Repository, bound_by_permissions: list[str], folder: str
) -> None:
    (repository / "overlays/dev/patches").mkdir()
    (repository / folder).chmod(0)
    before = repository.files("argocd")
    try:
        shell = " ".join([*bound_by_permissions, '"$@"'])
        printed = run(repository, "render", "dev", shell=shell)
        assert "Permission denied" in printed
        assert printed.endswith(("exit code 1", "exit code 2"))
        assert str(repository.root) not in printed
        assert repository.files("argocd") == before
    finally:
        (repository / folder).chmod(0o755)


def test_unreadable_output_is_a_usage_error(
    repository: Repository, bound_by_permissions: list[str]
) -> None:
    (repository / "argocd/projects/dev.yaml").chmod(0)
    shell = " ".join([*bound_by_permissions, '"$@"'])
    printed = run(repository, "validate", "dev", shell=shell)
    assert "validate: argocd/projects/dev.yaml: Permission denied\n" in printed
    assert printed.endswith("exit code 2")


def test_a_file_name_need_not_be_utf_8(repository: Repository) -> None:
    name = os.fsencode(repository / "overlays/dev") + b"/\xff.txt"
    Path(os.fsdecode(name)).write_text("x")
    for command in ("render", "validate"):
        printed = run(repository, command, "dev")
        assert "error  unused-file" in printed
        assert printed.endswith("exit code 1")


@pytest.mark.sampled(3)
@pytest.mark.parametrize("form", ["text", "github", "gitlab", "json", "junit", "sarif"])
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
def test_findings_are_printed_in_any_terminal_and_encoding(
    mistaken: Repository, environment: dict[str, str], form: str
) -> None:
    printed = run(mistaken, "validate", "dev", "--format", form, **environment)
    assert "bseu" in printed
    assert "write besu" in printed
    assert printed.endswith("exit code 1")


@pytest.mark.sampled(3)
@pytest.mark.parametrize("form", ["text", "github", "gitlab", "json", "junit", "sarif"])
def test_a_closed_output_does_not_change_the_exit_code(mistaken: Repository, form: str) -> None:
    arguments = ("render", "dev", "--check", "--format", form)
    assert run(mistaken, *arguments, shell='"$@" >&-').endswith("exit code 1")
    assert run(mistaken, *arguments, shell='"$@" >&- 2>&- <&-').endswith("exit code 1")


def test_a_full_output_is_a_usage_error(mistaken: Repository) -> None:
    printed = run(mistaken, "validate", "dev", shell='"$@" >/dev/full')
    assert printed == "validate: No space left on device\nexit code 2"


def test_a_closed_pipe_causes_no_traceback(mistaken: Repository) -> None:
    run(mistaken, "validate", shell='"$@" | true')


@pytest.mark.parametrize("target", ["/etc/hostname", "../../elsewhere", "../chart/../../elsewhere"])
def test_a_link_that_points_outside_is_reported_anywhere(
    repository: Repository, target: str
) -> None:
    git(repository.root, "init", "--quiet")
    repository.write("docs/notes.md", "x\n")
    (repository / "docs/inside").symlink_to("notes.md")
    assert run(repository, "validate", "dev").endswith("exit code 0")
    (repository / "docs/link").symlink_to(target)
    printed = run(repository, "validate", "dev")
    assert printed.startswith("docs/link  error  symlink-outside-repository\n")
    assert printed.endswith("exit code 1")


def test_no_link_in_this_repository_points_outside() -> None:
    assert links(ROOT, []) == []
    assert safe_files.links_out([Path("/proc/self/cwd")], Path("/proc")), "a link is noticed"


def test_the_folder_for_staging_must_not_be_a_link(repository: Repository, tmp_path: Path) -> None:
    (repository / ".render").symlink_to(tmp_path)
    printed = run(repository, "render", "dev")
    assert printed.startswith("render: .render is a symbolic link")
    assert printed.endswith("exit code 2")
    assert run(repository, "validate", "dev").endswith("exit code 0")
