"""What a killed render has begun, the next command finishes, whatever happened in between."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.conftest import ROOT, Repository

CHANGE = "ethstats: {enabled: false}\nbesu: {autoscaling: {enabled: true}}\n"
"""Adds, changes and removes manifests, and changes the AppProject and the Application."""

OUTPUT = ("overlays/dev/manifests", "argocd")

Tree = dict[str, bytes]


def contents(repository: Repository, *folders: str) -> Tree:
    """Return the bytes of all files; links and other things have no place among them."""
    found = {}
    for folder in folders:
        for path in sorted((repository / folder).rglob("*")):
            assert path.is_dir() or (path.is_file() and not path.is_symlink()), path
            if path.is_file():
                found[path.relative_to(repository.root).as_posix()] = path.read_bytes()
    return found


def manifests(tree: Tree) -> Tree:
    return {file: raw for file, raw in tree.items() if file.startswith("overlays/")}


@dataclass(frozen=True, slots=True)
class Changed:
    """A repository with changed inputs, and what its output may be."""

    repository: Repository
    old: Tree
    new: Tree

    def output(self) -> Tree:
        return contents(self.repository, *OUTPUT)

    def restore(self) -> None:
        """Put the old output back, and forget all renders."""
        for folder in (*OUTPUT, ".render"):
            shutil.rmtree(self.repository / folder, ignore_errors=True)
        for file, raw in self.old.items():
            path = self.repository / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw)

    def is_clean(self) -> bool:
        """Return whether nothing staged and no journal is left."""
        work = self.repository / ".render"
        return not any((work / "ready").glob("*")) and not any((work / "staged").glob("*"))


@pytest.fixture
def changed(repository: Repository) -> Changed:
    old = contents(repository, *OUTPUT)
    repository.write("overlays/dev/values.yaml", CHANGE)
    assert repository.run("render", "dev").code == 0
    new = contents(repository, *OUTPUT)
    here = Changed(repository, old, new)
    assert old.keys() - new.keys()
    assert new.keys() - old.keys()
    assert sum(old[file] != new[file] for file in manifests(old).keys() & new.keys()) > 1
    for kind in ("projects", "applications"):
        assert old[f"argocd/{kind}/dev.yaml"] != new[f"argocd/{kind}/dev.yaml"]
    here.restore()
    return here


RUNS = """
import os, signal, sys
from scripts import argocd, environment, helm, patches, render, tree, update
from scripts.__main__ import main

assert "helm_python" not in sys.modules, "threads don't come along into a fork"
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

def is_change(event, about):
    if event == "ctypes.dlsym":  # the exchange of two folders has no event of its own
        return str(about[1]).startswith("rename")
    if event in CHANGES or event == "open" and about[2] & WRITES:
        name = about[0] if isinstance(about[0], int) else os.fsdecode(about[0])
        # A tree is removed by names relative to the folder that is being emptied.
        return isinstance(name, int) or not name.startswith("/") or name.startswith(root)
    return False

for line in sys.stdin:
    last, *arguments = line.split()
    root = arguments[1]
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        steps = 0
        def step(event, about):
            global steps
            if is_change(event, about):
                steps += 1
                to = str(about[1]) if event in ("os.rename", "ctypes.dlsym") else ""
                if str(steps) == last or to.endswith(last):
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(step)
        code = 70
        try:
            code = main(arguments)
        finally:
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Runs a command for each line, and kills it before a change to files: the one of that
number, or the one that renames to that path."""


class Killed:
    """Runs of the program, each a process of its own, killed at a step of its work."""

    def __init__(self, repository: Repository) -> None:
        self.root = repository.root
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUNS],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.process.communicate(timeout=60)

    def run(self, *arguments: str, before: int | str = "-") -> int:
        """Return how a run ended that was killed before that step."""
        assert self.process.stdin
        assert self.process.stdout
        words = (str(before), "--repository", str(self.root), *arguments)
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


def test_kill_at_every_step_of_the_recovery(changed: Changed, tmp_path: Path) -> None:
    work, journal = changed.repository / ".render", tmp_path / "journal"
    with Killed(changed.repository) as runs:
        assert runs.run("render", "dev", before="renameat2") == -signal.SIGKILL
        assert changed.output() == changed.old
        shutil.copytree(work, journal)
        kills = 0
        for step in range(1, 5000):
            code = runs.run("values-table", "--check", before=step)
            there = manifests(changed.output())
            assert there in (manifests(changed.old), manifests(changed.new)), step
            if code != -signal.SIGKILL:
                break
            kills += 1
            assert runs.run("values-table", "--check") == 0, step
            assert changed.output() == changed.new, step
            changed.restore()
            shutil.copytree(journal, work)
    assert code == 0
    assert changed.output() == changed.new
    assert kills > 10


@pytest.fixture
def begun(changed: Changed) -> Changed:
    """Return a repository whose render was killed after the exchange, before argocd/ came."""
    with Killed(changed.repository) as runs:
        code = runs.run("render", "dev", before="argocd/projects/dev.yaml")
    assert code == -signal.SIGKILL
    there = changed.output()
    assert manifests(there) == manifests(changed.new)
    assert there["argocd/projects/dev.yaml"] == changed.old["argocd/projects/dev.yaml"]
    return changed


def test_a_recovery_brings_nothing_old_back_over_what_was_restored(begun: Changed) -> None:
    # Someone restores the old output with git before the next command.
    shutil.rmtree(begun.repository / "overlays/dev/manifests")
    for file, raw in begun.old.items():
        begun.repository.write(file, raw.decode())
    begun.repository.run("render", "--check", "dev")
    assert begun.output() in (begun.old, begun.new)
    assert begun.repository.run("render", "dev").code == 0
    assert begun.output() == begun.new
    assert begun.is_clean()


def test_a_recovery_goes_on_where_the_manifests_were_deleted(begun: Changed) -> None:
    shutil.rmtree(begun.repository / "overlays/dev/manifests")
    done = begun.repository.run("render", "dev")
    assert (done.code, begun.output()) == (0, begun.new), done.err
    assert begun.is_clean()


def test_a_recovery_deletes_nothing_that_render_did_not_write(begun: Changed) -> None:
    mine = begun.repository / "overlays/dev/manifests/mine.yaml"
    mine.write_text("kind: ConfigMap\n")
    done = begun.repository.run("render", "dev")
    assert mine.exists()
    assert (done.code, done.err) == (1, "")
    assert "mine.yaml" in done.out
    mine.unlink()
    assert begun.repository.run("render", "dev").code == 0
    assert begun.output() == begun.new


def test_a_recovery_forgets_an_environment_that_is_gone(begun: Changed) -> None:
    shutil.rmtree(begun.repository / "overlays/dev")
    done = begun.repository.run("render")
    assert done.code == 0, done.out + done.err
    assert not (begun.repository / "overlays/dev").exists()
    assert not (begun.repository / "argocd/projects/dev.yaml").exists()
    assert begun.is_clean()
