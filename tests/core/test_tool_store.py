"""Clones of one user share their tools: a second one builds nothing, and uses nothing changed."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.core import tool_store, toolchain
from scripts.core.findings import UsageError

TEXT = "#!/bin/sh\n"


class Clones:
    """Clones of one repository, whose only tool is `it`; they share a store."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store, self.builds = folder / "shared", 0
        self._folder, self._patch = folder, monkeypatch
        pins = folder / "tools"
        (pins / "it").mkdir(parents=True)
        (pins / "it" / "go.mod").write_text("tool x.example/it\n\nrequire x.example/it v1.2.3\n")
        (pins / "it" / "go.sum").write_text("")
        monkeypatch.setattr(toolchain, "PINS", pins)
        monkeypatch.setattr(toolchain, "_build", self._build)
        monkeypatch.setenv(tool_store.VARIABLE, str(self.store))
        self.makes: Callable[[Path], None] = self._a_program

    def _build(self, name: str, making: str, target: Path) -> None:
        self.builds += 1
        self.makes(target)

    @staticmethod
    def _a_program(target: Path) -> None:
        target.write_text(TEXT)
        target.chmod(0o755)

    def tool(self, clone: str) -> Path:
        """Return the path of the tool in a clone, which gets it if it lacks it."""
        self._patch.setattr(toolchain, "STORE", self._folder / clone)
        return toolchain.tool("it")

    def entry(self) -> Path:
        """Return the only entry of the store."""
        (found,) = self.store.iterdir()
        return found


@pytest.fixture
def clones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clones:
    return Clones(tmp_path, monkeypatch)


def a_folder(target: Path) -> None:
    """Write a tool that is a folder of files, like a package of npm without a program."""
    (target / "in").mkdir(parents=True)
    (target / "a.js").write_text("a")
    (target / "in" / "b.js").write_text("b")


@pytest.mark.parametrize("makes", [Clones._a_program, a_folder])
def test_a_second_clone_builds_nothing(clones: Clones, makes: Callable[[Path], None]) -> None:
    clones.makes = makes
    first, second = clones.tool("a"), clones.tool("b")
    assert clones.builds == 1
    assert first != second
    assert first.name == second.name == clones.entry().name
    assert tool_store.digest(first) == tool_store.digest(second)


def test_a_clone_on_another_disk_gets_a_copy(
    clones: Clones, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr(os, "link", link)
    first, second = clones.tool("a"), clones.tool("b")
    assert clones.builds == 1
    assert not first.samefile(second)
    assert second.read_text() == TEXT
    assert os.access(second, os.X_OK)


def rewritten(tool: Path) -> None:
    tool.unlink()
    tool.write_text(f"{TEXT}echo changed\n")
    tool.chmod(0o755)


def torn(tool: Path) -> None:
    os.truncate(tool, 3)


def not_a_program(tool: Path) -> None:
    tool.chmod(0o644)


def without_its_sum(tool: Path) -> None:
    tool.with_name("sha256").unlink()


def without_the_tool(tool: Path) -> None:
    tool.unlink()


def with_another_file(tool: Path) -> None:
    tool.unlink()
    a_folder(tool)


@pytest.mark.parametrize(
    "change",
    [rewritten, torn, not_a_program, without_its_sum, without_the_tool, with_another_file],
    ids=lambda change: change.__name__,
)
def test_a_changed_or_torn_tool_is_not_used(clones: Clones, change: Callable[[Path], None]) -> None:
    clones.tool("a")
    change(clones.entry() / "tool")
    assert clones.tool("b").read_text() == TEXT
    assert clones.builds == 2
    # And the store has a good one again.
    assert clones.tool("c").read_text() == TEXT
    assert clones.builds == 2


def test_a_folder_with_another_file_in_it_is_not_used(clones: Clones) -> None:
    clones.makes = a_folder
    clones.tool("a")
    (clones.entry() / "tool" / "in" / "c.js").write_text("c")
    assert not (clones.tool("b") / "in" / "c.js").exists()
    assert clones.builds == 2


def test_another_pin_is_another_tool(clones: Clones) -> None:
    clones.tool("a")
    (toolchain.PINS / "it" / "go.sum").write_text("x\n")
    clones.tool("b")
    assert clones.builds == 2
    assert len([*clones.store.iterdir()]) == 2


def test_what_nobody_has_used_for_long_is_deleted(clones: Clones) -> None:
    clones.tool("a")
    old = clones.entry()
    long_ago = time.time() - tool_store.KEPT_S - 60
    os.utime(old / "sha256", (long_ago, long_ago))
    unfinished = clones.store / ".unfinished-x"
    unfinished.mkdir()
    os.utime(unfinished, (long_ago, long_ago))
    (toolchain.PINS / "it" / "go.sum").write_text("x\n")
    clones.tool("b")
    assert clones.entry() != old


def test_what_is_used_is_kept(clones: Clones) -> None:
    clones.tool("a")
    before = clones.entry() / "sha256"
    os.utime(before, (0, 0))
    clones.tool("b")
    assert before.stat().st_mtime > time.time() - tool_store.KEPT_S


def test_without_a_store_each_clone_builds(clones: Clones, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tool_store.VARIABLE, "")
    clones.tool("a")
    clones.tool("b")
    assert clones.builds == 2
    assert not clones.store.exists()


def test_the_store_is_in_the_cache_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(tool_store.VARIABLE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert tool_store.folder() == tmp_path / "home/.cache/linea-stack/tools"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = tool_store.folder()
    assert found == tmp_path / "cache/linea-stack/tools"
    assert stat.S_IMODE(found.stat().st_mode) == 0o700
    found.chmod(0o777)
    assert tool_store.folder() is None
    shutil.rmtree(found)
    found.write_text("a file")
    assert tool_store.folder() is None
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert tool_store.folder() is None


def test_a_folder_that_others_may_change_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o775)
    file = tmp_path / "file"
    file.write_text("")
    wanted = {str(open_to_all): "run chmod go-w on it", "a/b": "not an absolute path"}
    wanted[str(file / "in")] = "can't be created"
    if os.geteuid() == 0:
        others = tmp_path / "others"
        others.mkdir()
        os.chown(others, 12345, 12345)
        wanted[str(others)] = "belongs to another user"
    for named, why in wanted.items():
        monkeypatch.setenv(tool_store.VARIABLE, named)
        with pytest.raises(UsageError, match=f"{tool_store.VARIABLE}={named}: .*{why}"):
            tool_store.folder()
