"""Every mistake that a user can make has a folder in tests/invalid/, with what must be said.

A folder holds the mistaken files, as they would stand in the repository, and expected.txt: the
commands typed, all that is printed, and the exit code.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.__main__ import main
from scripts.core.safe_files import MAX_BYTES
from tests.conftest import ROOT, Repository, copy, without_progress

INVALID = Path(__file__).with_name("invalid")
EXPECTED = "expected.txt"

PROGRAM = "$ python -m scripts "
REMOVE = "$ rm "
LINK = "$ ln -s "
"""Links are made here: Argo CD refuses a repository in which one leads out."""


State = dict[str, tuple[int, ...]]
"""Path → what changes with each write: what it is, and of a file its inode, size and time."""


def state(root: str, folder: str = "") -> State:
    """Return what stands in a repository but render's own state, folders before what they hold."""
    found = State()
    with os.scandir(f"{root}/{folder}") as entries:
        for entry in entries:
            name, status = f"{folder}{entry.name}", entry.stat(follow_symlinks=False)
            if name.startswith(".render"):
                continue
            if stat.S_ISDIR(status.st_mode):
                found[name] = (status.st_mode,)
                found |= state(root, f"{name}/")
            else:
                found[name] = status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns
    return found


def put_back(root: Path, good: State) -> None:
    """Undo all that has been done to a copy of this repository."""
    shutil.rmtree(root / ".render", ignore_errors=True)
    there = state(str(root))
    for name in reversed(there):
        if there[name] != good.get(name):
            (root / name).rmdir() if len(there[name]) == 1 else (root / name).unlink()
    for name in good:
        if there.get(name) == good[name]:
            continue
        if len(good[name]) == 1:
            (root / name).mkdir()
        else:
            shutil.copy2(ROOT / name, root / name, follow_symlinks=False)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Return a copy of this repository that is as it was whenever no test runs."""
    return copy(tmp_path_factory.mktemp("kept") / "repository")


@pytest.fixture
def whole(name: str, kept: Repository, tmp_path: Path) -> Iterator[Repository]:
    """Return a copy of this repository for a mistake.

    The program reads what environments share once, and knows it by its place: a mistake in that
    has a place of its own.
    """
    good, root = state(str(kept.root)), kept.root
    if not touched(INVALID / name) <= {"argocd", "overlays"}:
        root = kept.root.rename(tmp_path / "repository")
    yield Repository(root)
    put_back(root, good)
    assert state(str(root)).keys() == good.keys()
    root.rename(kept.root)


def touched(mistake: Path) -> set[str]:
    """Return the folders of the repository in which a mistake changes anything."""
    laid = {path.name for path in mistake.iterdir() if path.name != EXPECTED}
    typed = [line for line in commands(mistake) if line.startswith((REMOVE, LINK))]
    return laid | {line.split()[-1].partition("/")[0] for line in typed}


def commands(mistake: Path) -> list[str]:
    lines = (mistake / EXPECTED).read_text("utf-8").splitlines()
    return [line for line in lines if line.startswith("$ ")]


def mistakes() -> list[str]:
    return sorted(path.name for path in INVALID.iterdir() if path.is_dir())


def lay_over(mistake: Path, root: Path) -> None:
    """Put the mistaken files in the place of the good ones."""
    for path in sorted(mistake.rglob("*")):
        if path.name != EXPECTED and not path.is_dir():
            # With its old time, so that no write after this one leaves it as it is.
            shutil.copy2(path, make_room(root / path.relative_to(mistake), root))


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
) -> tuple[str, State, State]:
    """Return a new expected.txt, and what stood in the repository before and after."""
    lay_over(mistake, repository.root)
    typed = commands(mistake)
    for line in typed[:-1]:
        if line.startswith(LINK):
            target, link = line.removeprefix(LINK).split()
            make_room(repository / link, repository.root).symlink_to(target)
        else:
            assert line.startswith(REMOVE), line
            (repository / line.removeprefix(REMOVE)).unlink()
    assert typed[-1].startswith(PROGRAM), typed[-1]
    before = state(str(repository.root))
    arguments = typed[-1].removeprefix(PROGRAM).split()
    capsys.readouterr()
    code = main(["--repository", str(repository.root), *arguments])
    said = capsys.readouterr()
    errors = without_progress(said.err)
    text = "".join(f"{line}\n" for line in typed) + said.out + errors + f"exit code {code}\n"
    return text, before, state(str(repository.root))


@pytest.mark.parametrize("name", mistakes())
def test_the_mistake_is_told_as_expected_and_nothing_is_written(
    name: str, whole: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    text, before, after = told(INVALID / name, whole, capsys)
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
