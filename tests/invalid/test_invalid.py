r"""Every mistake that a user can make is a file in tests/invalid/, with the message it gets.

tests/invalid/<subject>/<mistake>.yaml is one mistake, from start to end:

    files:                                   # written over a copy of this repository
      overlays/dev/values.yaml: |            # path → its exact text
        besu: {replica: 1}
    commands:                                # typed in it, in this order
      - python -m scripts validate dev
    output: |                                # all that is printed, without progress
      overlays/dev/values.yaml:1:8  error  unknown-key
        besu.replica is an unknown key
        → write replicas
      1 error
    exit-code: 1

- `files` may be missing: a mistake can also be what is typed. Text in a block (`|`) is kept as it
  is, tabs included. Write control characters as escapes, in double quotes: "\0".
- `encoding` is optional: how the files are encoded, if not in UTF-8; for example latin-1.
- `commands` ends with one `python -m scripts …`. Above it there may be `rm FILE`,
  `ln -s TARGET LINK` and `git …`, as the first `git init`. Links are made here, because Argo CD
  rejects a repository with a link that leads out of it.

To add a mistake, write `files` and `commands`, leave `output: ""` and `exit-code: 1`, and run

    WRITE_INVALID=1 python -m pytest tests/invalid/test_invalid.py -k MISTAKE

It writes the output and exit code anew, and nothing else in the file. Without -k it does so for
every mistake whose messages have changed; read the diff before you commit it.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import stat
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from scripts.__main__ import main
from scripts.core.safe_files import MAX_BYTES
from tests.conftest import EXAMPLE, ROOT, Repository, copy, without_progress
from tests.git import git

INVALID = Path(__file__).parent
WRITE = "WRITE_INVALID"

PROGRAM = "python -m scripts "
REMOVE = "rm "
LINK = "ln -s "
GIT = "git "

REQUIRED = ("commands", "output", "exit-code")
OPTIONAL = ("files", "encoding")


@dataclass(frozen=True, slots=True)
class Mistake:
    """What a file of tests/invalid/ says."""

    files: dict[str, str]
    """Path in the repository → text."""
    encoding: str
    preparations: tuple[str, ...]
    """The commands before the last: rm, ln -s and git."""
    arguments: tuple[str, ...]
    """Of the last command, which is the program."""
    output: str
    exit_code: int

    @property
    def folders(self) -> set[str]:
        """Return the top-level folders of the repository that the mistake changes."""
        lines = (line for line in self.preparations if not line.startswith(GIT))
        changed = [*self.files, *(line.split()[-1] for line in lines)]
        if any(line.startswith(GIT) for line in self.preparations):
            changed.append(".git/HEAD")
        return {path.partition("/")[0] for path in changed}


def parse(text: str, name: str) -> Mistake:
    """Return the mistake that a file holds; raise ValueError that says what is wrong in it."""

    def must(holds: bool, what: str) -> None:
        if not holds:
            raise ValueError(f"{name}: {what}")

    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{name}: invalid YAML: {error}") from error
    must(isinstance(data, dict), f"write a mapping with {', '.join(REQUIRED)}")
    for key in data:
        known = ", ".join((*OPTIONAL, *REQUIRED))
        must(key in OPTIONAL or key in REQUIRED, f"unknown key {key}; known are {known}")
    for key in REQUIRED:
        must(key in data, f"the key {key} is missing")
    files, commands = data.get("files", {}), data["commands"]
    must(isinstance(files, dict), "files must map paths to texts")
    for path, content in files.items():
        must(isinstance(content, str), f"the content of {path} must be a text: write | after it")
    must(isinstance(data.get("encoding", ""), str), "encoding must be a name, for example latin-1")
    must(
        isinstance(commands, list) and all(isinstance(line, str) for line in commands),
        "commands must be a list of texts",
    )
    *before, last = commands or [""]
    must(last.startswith(PROGRAM), f"the last command must begin with {PROGRAM.strip()}")
    for line in before:
        must(
            line.startswith((REMOVE, LINK, GIT)),
            f"write rm FILE, ln -s TARGET LINK or git … instead of {line}",
        )
    must(isinstance(data["output"], str), "output must be a text: write | after it")
    must(type(data["exit-code"]) is int, "exit-code must be a number")
    return Mistake(
        files,
        data.get("encoding", "utf-8"),
        tuple(before),
        tuple(last.removeprefix(PROGRAM).split()),
        data["output"],
        data["exit-code"],
    )


def rewritten(text: str, output: str, exit_code: int) -> str:
    """Return the text of a mistake's file with a new output and exit code."""
    values = {"output": scalar(output), "exit-code": str(exit_code)}
    node = yaml.compose(text)
    assert isinstance(node, yaml.MappingNode)
    for key, value in reversed(node.value):
        if key.value in values:
            start, end = value.start_mark.index, value.end_mark.index
            # A block ends at the beginning of the next line, other values in their own line.
            line_end = "\n" if text[end - 1] == "\n" else ""
            text = text[:start] + values[key.value] + line_end + text[end:]
    return text


def scalar(text: str) -> str:
    """Return a text as a YAML value of a top-level key: a block, or quoted if a block can't be."""
    block = "|\n" + textwrap.indent(text, "  ", lambda line: line != "\n").removesuffix("\n")
    try:
        if text and yaml.safe_load(f"{block}\n") == text:
            return block
    except yaml.YAMLError:
        pass
    return json.dumps(text, ensure_ascii=False)


State = dict[str, tuple[int, ...]]
"""Path → what changes with each write: what it is, and of a file its inode, size and time."""


def state(root: str, folder: str = "") -> State:
    """Return what stands in a repository but render's own state, folders before what they hold."""
    found = State()
    with os.scandir(f"{root}/{folder}") as entries:
        for entry in entries:
            name, status = f"{folder}{entry.name}", entry.stat(follow_symlinks=False)
            if name.startswith(".render") or name == ".git":
                continue
            if stat.S_ISDIR(status.st_mode):
                found[name] = (status.st_mode,)
                found |= state(root, f"{name}/")
            else:
                found[name] = status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns
    return found


def put_back(root: Path, good: State) -> None:
    """Undo all that has been done to a copy of this repository."""
    for folder in (".render", ".git"):
        shutil.rmtree(root / folder, ignore_errors=True)
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
            shutil.copy2(EXAMPLE / name, root / name, follow_symlinks=False)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Return a copy of this repository that is as it was whenever no test runs."""
    return copy(tmp_path_factory.mktemp("kept") / "repository")


@pytest.fixture
def mistake(name: str) -> Mistake:
    return load(name)


@pytest.fixture
def whole(mistake: Mistake, kept: Repository, tmp_path: Path) -> Iterator[Repository]:
    """Return a copy of this repository for a mistake.

    The program reads what environments share only once for each path of a repository: a mistake
    in that gets a path of its own.
    """
    good, root = state(str(kept.root)), kept.root
    if not mistake.folders <= {"argocd", "overlays"}:
        root = kept.root.rename(tmp_path / "repository")
    yield Repository(root)
    put_back(root, good)
    assert state(str(root)).keys() == good.keys()
    root.rename(kept.root)


def names() -> list[str]:
    """Return <subject>/<mistake> for each file."""
    paths = sorted(INVALID.glob("*/*.yaml"))
    return [path.relative_to(INVALID).with_suffix("").as_posix() for path in paths]


def file_of(name: str) -> Path:
    return INVALID / f"{name}.yaml"


def load(name: str) -> Mistake:
    path = file_of(name)
    return parse(path.read_text("utf-8"), path.relative_to(ROOT).as_posix())


def write_files(mistake: Mistake, root: Path) -> None:
    """Write the mistaken files in place of the good ones."""
    for path, text in mistake.files.items():
        target = make_room(root / path, root)
        target.write_bytes(text.encode(mistake.encoding))
        # Old, so that any later write changes the time, however soon it comes.
        os.utime(target, (0, 0))


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


def prepare(line: str, repository: Repository) -> None:
    """Do what the command says."""
    if line.startswith(LINK):
        target, link = line.removeprefix(LINK).split()
        make_room(repository / link, repository.root).symlink_to(target)
    elif line.startswith(GIT):
        git(repository.root, *shlex.split(line)[1:])
    else:
        (repository / line.removeprefix(REMOVE)).unlink()


@pytest.mark.parametrize("name", names())
def test_the_mistake_is_reported_as_expected_and_nothing_is_written(
    name: str, mistake: Mistake, whole: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(mistake, whole.root)
    for line in mistake.preparations:
        prepare(line, whole)
    before = state(str(whole.root))
    capsys.readouterr()
    exit_code = main(["--repository", str(whole.root), *mistake.arguments])
    printed = capsys.readouterr()
    output = printed.out + without_progress(printed.err)
    after = state(str(whole.root))
    is_new = (output, exit_code) != (mistake.output, mistake.exit_code)
    if is_new and after == before and os.environ.get(WRITE):
        text = rewritten(file_of(name).read_text("utf-8"), output, exit_code)
        assert parse(text, name) == replace(mistake, output=output, exit_code=exit_code)
        file_of(name).write_text(text, "utf-8")
        pytest.skip(f"tests/invalid/{name}.yaml is written anew")
    assert output == mistake.output, f"if this is right, {WRITE}=1 writes it anew"
    assert exit_code == mistake.exit_code
    assert after == before


def test_a_file_that_is_too_large_is_not_read(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    # Too large for git, too.
    repository.write("overlays/dev/values.yaml", "# x\n" * (MAX_BYTES // 4 + 1))
    assert main(["--repository", str(repository.root), "validate", "dev"]) == 1
    assert capsys.readouterr().out == (
        "overlays/dev/values.yaml  error  file-too-large\n"
        f"  the file has {MAX_BYTES + 4} bytes; the maximum is {MAX_BYTES}\n"
        f"  → shorten the file to at most {MAX_BYTES} bytes\n"
        "1 error\n"
    )


def test_every_file_is_found_and_no_mistake_is_there_twice() -> None:
    files = {path for path in INVALID.glob("[a-z]*/**/*") if not path.is_dir()}
    assert files == {file_of(name) for name in names()}
    mistakes = sorted(name.partition("/")[2] for name in names())
    assert mistakes == sorted(set(mistakes))
    assert len(mistakes) >= 300


def test_no_message_names_a_place_on_this_machine() -> None:
    for name in names():
        output = load(name).output
        assert "Traceback" not in output, name
        assert f"{tempfile.gettempdir()}/" not in output, name


VALID = """\
# A comment.
files:
  a.yaml: |
    a:
    \tb
  b.yaml: "\\
    a\\n\\
    \\0"
encoding: latin-1
commands:
  - rm c.yaml
  - ln -s d e
  - python -m scripts render dev
output: |
  1 error

    two
# Another one.
exit-code: 1  # and a third
"""


def test_a_mistake_is_read_as_its_file_says() -> None:
    assert parse(VALID, "x") == Mistake(
        files={"a.yaml": "a:\n\tb\n", "b.yaml": "a\n\0"},
        encoding="latin-1",
        preparations=("rm c.yaml", "ln -s d e"),
        arguments=("render", "dev"),
        output="1 error\n\n  two\n",
        exit_code=1,
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("encoding:", "encodng:", "unknown key encodng; known are files, encoding, commands, "),
        ("exit-code:", "# exit-code:", "the key exit-code is missing"),
        ("output: |", "encoding: |", "the key output is missing"),
        (VALID, "- a", "write a mapping with commands, output, exit-code"),
        ("a.yaml: |", "a.yaml:", "invalid YAML: while scanning"),
        (": |\n    a:\n", ":\n    a:\n#", "the content of a.yaml must be a text: write | after it"),
        ("latin-1", "1", "encoding must be a name, for example latin-1"),
        (
            "rm c.yaml",
            "mv c.yaml d",
            "write rm FILE, ln -s TARGET LINK or git … instead of mv c.yaml d",
        ),
        ("  - python", "  # -", "the last command must begin with python -m scripts"),
        ("- rm c.yaml", "- rm: c.yaml", "commands must be a list of texts"),
        ("exit-code: 1", "exit-code: true", "exit-code must be a number"),
    ],
)
def test_a_file_of_another_form_is_rejected(old: str, new: str, message: str) -> None:
    assert old in VALID
    with pytest.raises(ValueError, match=r"^x: ") as raised:
        parse(VALID.replace(old, new, 1), "x")
    assert message in str(raised.value)


@pytest.mark.parametrize("output", ["", "a\n", "a", " a\n\n b → c\n", "\n\na\n\n", "\x1b[0m\n"])
def test_output_and_exit_code_are_written_anew_and_nothing_else(output: str) -> None:
    text = rewritten(VALID, output, 2)
    assert parse(text, "x") == replace(parse(VALID, "x"), output=output, exit_code=2)
    before, after = VALID.split("output: |\n  1 error\n\n    two\n")
    assert text.startswith(before)
    assert text.endswith(after.replace("1", "2", 1))
    assert rewritten(text, "1 error\n\n  two\n", 1) == VALID
