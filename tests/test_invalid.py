"""Every mistake that a user can make has a folder in tests/invalid/, with what must be said.

A folder holds the mistaken files, as they would stand in the repository, and expected.txt: the
commands typed, all that is printed, and the exit code.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scripts.__main__ import main
from scripts.files import MAX_BYTES
from tests.conftest import Repository, without_progress

INVALID = Path(__file__).with_name("invalid")
EXPECTED = "expected.txt"

PROGRAM = "$ python -m scripts "
REMOVE = "$ rm "
LINK = "$ ln -s "
"""Links are made here: Argo CD refuses a repository in which one leads out."""


def mistakes() -> list[str]:
    return sorted(path.name for path in INVALID.iterdir() if path.is_dir())


def lay_over(mistake: Path, root: Path) -> None:
    """Put the mistaken files in the place of the good ones."""
    for path in sorted(mistake.rglob("*")):
        if path.name != EXPECTED and not path.is_dir():
            shutil.copy(path, make_room(root / path.relative_to(mistake), root))


def make_room(target: Path, root: Path) -> Path:
    """Return the path, where nothing is any more, but a folder above it."""
    for parent in reversed(target.relative_to(root).parents):
        if (root / parent).is_file() or (root / parent).is_symlink():
            (root / parent).unlink()
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    target.unlink(missing_ok=True)
    return target


def told(
    mistake: Path, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> tuple[str, dict[str, str], dict[str, str]]:
    """Return a new expected.txt, and what stood in the repository before and after."""
    lay_over(mistake, repository.root)
    typed = (mistake / EXPECTED).read_text("utf-8").splitlines()
    commands = [line for line in typed if line.startswith("$ ")]
    for line in commands[:-1]:
        if line.startswith(LINK):
            target, link = line.removeprefix(LINK).split()
            make_room(repository / link, repository.root).symlink_to(target)
        else:
            assert line.startswith(REMOVE), line
            (repository / line.removeprefix(REMOVE)).unlink()
    assert commands[-1].startswith(PROGRAM), commands[-1]
    before = repository.files()
    arguments = commands[-1].removeprefix(PROGRAM).split()
    capsys.readouterr()
    code = main(["--repository", str(repository.root), *arguments])
    said = capsys.readouterr()
    errors = without_progress(said.err)
    text = "".join(f"{line}\n" for line in commands) + said.out + errors + f"exit code {code}\n"
    return text, before, repository.files()


@pytest.mark.parametrize("name", mistakes())
def test_the_mistake_is_told_as_expected_and_nothing_is_written(
    name: str, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    text, before, after = told(INVALID / name, repository, capsys)
    assert text == (INVALID / name / EXPECTED).read_text("utf-8")
    assert after == before


def test_a_file_that_is_too_large_is_not_read(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    # Too large for git, too.
    repository.write("overlays/dev/values.yaml", "# x\n" * (MAX_BYTES // 4 + 1))
    assert main(["--repository", str(repository.root), "validate", "dev"]) == 1
    assert capsys.readouterr().out == (
        "overlays/dev/values.yaml  error  file-too-large\n"
        f"  the file has {MAX_BYTES + 4} bytes; at most {MAX_BYTES} are read\n"
        "  → split or shorten the file\n"
        "1 error\n"
    )


def test_there_is_a_folder_for_each_kind_of_bad_input() -> None:
    assert len(mistakes()) >= 40


def test_no_message_names_a_place_on_this_machine() -> None:
    for name in mistakes():
        text = (INVALID / name / EXPECTED).read_text("utf-8")
        assert "Traceback" not in text, name
        assert "/tmp" not in text, name
