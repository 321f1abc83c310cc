"""What tests have in common: the example, copies of it, and the program to run on them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import pytest
from hypothesis import HealthCheck, settings

from scripts.core import process_lifetime
from tests import example_repository, optional_tools, program_server, sweeps
from tests.example_repository import PARTS

ROOT = example_repository.ROOT

# A shell starts what it puts into the background without Ctrl-C; programs that tests start have it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# A git hook that runs the tests names its repository, which the tests' own must not become.
for _name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX"):
    os.environ.pop(_name, None)

EXAMPLE = example_repository.path()
"""A repository with the environments of tests/example/, which no test changes."""

# The messages of git and shells are compared, so they must be in English.
os.environ["LANGUAGE"] = "en"

# How long an example takes depends on what else the machine does; the bench measures.
settings.register_profile(
    "random",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
# Whether a commit passes must not depend on chance: `--stress` draws other examples in each run.
settings.register_profile("same", settings.get_profile("random"), derandomize=True)
settings.load_profile("same")

PROGRESS = re.compile(r"^.* …( \d.*)?\n|^.*: \d+ of \d+\n", re.MULTILINE)
"""What the program prints to stderr about work that takes longer than a second."""


def without_progress(said: str) -> str:
    """Return the lines that do not depend on how busy the machine is."""
    return PROGRESS.sub("", said)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a person choose whether tests without their tool are skipped."""
    optional_tools.add_option(parser)
    sweeps.add_option(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest end with the nox session that started it; its workers end with it."""
    optional_tools.configure(config)
    sweeps.configure(config)
    if not hasattr(config, "workerinput"):
        process_lifetime.end_with_parent()


def pytest_xdist_auto_num_workers() -> int | None:
    """Return one worker more than processors, as some tests do little but wait for blocks."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the tests that wait, so that the others work meanwhile, and none waits alone.

    pytest-randomly shuffles before this hook, and a sort keeps the order of equals.
    """
    sweeps.leave_out(config, items)
    items.sort(key=lambda item: item.get_closest_marker("waits") is None)


@dataclass(frozen=True, slots=True)
class Run:
    """How a run of the program ended."""

    code: int
    out: str
    err: str
    """Without progress."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A copy of the example that a test may change."""

    root: Path

    def __truediv__(self, path: str) -> Path:
        return self.root / path

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of the program on this copy."""
        return [sys.executable, "-m", "scripts", "--repository", str(self.root), *arguments]

    def run(self, *arguments: str, **environment: str) -> Run:
        """Run the program in a process of its own."""
        variables = {**os.environ, **environment}
        try:
            command = ["--repository", str(self.root), *arguments]
            code, out, err = program_server.run(command, variables)
        except ValueError:
            done = subprocess.run(
                self.command(*arguments), cwd=ROOT, env=variables, capture_output=True, check=False
            )
            code, out, err = done.returncode, done.stdout, done.stderr
        return Run(code, out.decode(), without_progress(err.decode()))

    def write(self, path: str, text: str) -> None:
        """Write a file, and the folders above it."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")

    def replace(self, path: str, old: str, new: str) -> None:
        """Replace a text that must be there."""
        text = (self.root / path).read_text("utf-8")
        assert old in text, f"{path} has no {old!r}"
        self.write(path, text.replace(old, new))

    def files(self, *folders: str) -> dict[str, str]:
        """Return the digests of all files but render's own state, by path."""
        found = {}
        for folder in folders or (".",):
            for path in sorted((self.root / folder).rglob("*")):
                name = path.relative_to(self.root).as_posix()
                if not name.startswith(".render"):
                    found[name] = digest(path)
        return found


def digest(path: Path) -> str:
    """Return what a file, link or folder is, in a line."""
    if path.is_symlink():
        return f"link to {path.readlink()}"
    return "folder" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()


def copy(target: Path) -> Repository:
    """Return a copy of the example's inputs and output."""
    folders, contents = _parts()
    for folder in folders:
        (target / folder).mkdir(parents=True, exist_ok=True)
    for name, mode, content in contents:
        path = f"{target}/{name}"
        if isinstance(content, str):
            Path(path).symlink_to(content)
            continue
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        os.write(file, content)
        os.close(file)
    return Repository(target)


@cache
def _parts() -> tuple[list[str], list[tuple[str, int, bytes | str]]]:
    """Return the folders of a copy, and its files: name, mode, and bytes or where a link leads.

    Hundreds of tests copy them, and reading is most of that.
    """
    folders, contents = list[str](), list[tuple[str, int, bytes | str]]()
    for part in PARTS:
        for path in (EXAMPLE / part, *sorted((EXAMPLE / part).rglob("*"))):
            name = path.relative_to(EXAMPLE).as_posix()
            if path.is_symlink():
                contents.append((name, 0, str(path.readlink())))
            elif path.is_dir():
                folders.append(name)
            else:
                contents.append((name, path.stat().st_mode & 0o777, path.read_bytes()))
    return folders, contents


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Return a copy of the example that the test may change."""
    return copy(tmp_path / "repository")


OUTPUT = ("overlays/dev/manifests", "argocd")
"""The output of the environment dev, and of the others in argocd/."""

CHANGE = """
ethstats: {enabled: false}
besu: {autoscaling: {enabled: true}}
metrics: {serviceMonitor: {enabled: true, namespace: monitoring}}
"""
"""Adds, changes and removes manifests, and changes the AppProject and the Application."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A repository whose inputs have changed, and what its output may be."""

    repository: Repository
    old: dict[str, str]
    new: dict[str, str]
    kept: Path
    """A copy of the old output."""

    def output(self) -> dict[str, str]:
        return self.repository.files(*OUTPUT)

    def is_clean(self) -> bool:
        """Return whether nothing staged and no journal is left."""
        work = self.repository / ".render"
        return not any((work / "ready").glob("*")) and not any((work / "staged").glob("*"))

    def restore(self) -> None:
        """Put the old output back, and forget all renders."""
        for folder in (*OUTPUT, ".render"):
            shutil.rmtree(self.repository / folder, ignore_errors=True)
        for folder in OUTPUT:
            shutil.copytree(self.kept / folder, self.repository / folder)


@pytest.fixture
def changed(repository: Repository, tmp_path: Path) -> Changed:
    """Return a repository in which people have changed dev, and not rendered yet."""
    old = repository.files(*OUTPUT)
    for folder in OUTPUT:
        shutil.copytree(repository / folder, tmp_path / "kept" / folder)
    repository.write("overlays/dev/values.yaml", CHANGE)
    assert repository.run("render", "dev").code == 0
    made = Changed(repository, old, repository.files(*OUTPUT), tmp_path / "kept")
    assert made.old.keys() - made.new.keys()
    assert made.new.keys() - made.old.keys()
    both = manifests(made.old).keys() & manifests(made.new).keys()
    assert sum(made.old[file] != made.new[file] for file in both) > 1
    for kind in ("projects", "applications"):
        assert made.old[f"argocd/{kind}/dev.yaml"] != made.new[f"argocd/{kind}/dev.yaml"]
    made.restore()
    return made


class Interrupted:
    """Commands that get a signal at a step of theirs; see tests/interrupted_runs.py."""

    def __init__(self, repository: Repository, number: signal.Signals) -> None:
        command = [
            sys.executable,
            "-m",
            "tests.interrupted_runs",
            str(repository.root),
            number.name,
        ]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def begin(self, step: int | str, *command: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps([step, *(command or ("render", "dev"))]) + "\n")
        self.process.stdin.flush()

    def told(self) -> dict[str, Any]:
        assert self.process.stdout
        return dict(json.loads(self.process.stdout.readline()))

    def at(self, step: int | str, *command: str) -> dict[str, Any]:
        """Return how the command (render dev, if none is given) ended."""
        self.begin(step, *command)
        return self.told()


def manifests(output: dict[str, str]) -> dict[str, str]:
    """Return the part of an output that is swapped in one step."""
    return {name: text for name, text in output.items() if name.startswith("overlays/")}


@pytest.fixture
def bound_by_permissions() -> list[str]:
    """Return a command's beginning that makes root obey the permissions of files."""
    if os.geteuid() != 0:
        return []
    if not shutil.which("setpriv"):
        pytest.skip("root may write everywhere, and there is no setpriv to change that")
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--"]
