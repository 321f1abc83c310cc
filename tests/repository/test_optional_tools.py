"""A test without its tool is skipped on a person's machine only, with what to do about it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import noxfile
from scripts.core import tool_store, toolchain
from scripts.core.findings import UsageError
from tests import optional_tools


@pytest.fixture(autouse=True)
def nothing_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "STORE", tmp_path / "store")
    monkeypatch.setenv(tool_store.VARIABLE, "")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("LINEA_ALL_TOOLS", raising=False)


def test_a_test_without_its_tool_is_skipped_with_the_way_to_run_it() -> None:
    with pytest.raises(pytest.skip.Exception) as skipped:
        optional_tools.needs("geth", "rclone")
    assert str(skipped.value) == "geth and rclone not built: run nox -s tests -- --all-tools"


@pytest.mark.parametrize("variable", ["CI", "LINEA_ALL_TOOLS"])
def test_where_all_must_run_a_tool_that_cannot_be_installed_is_a_failure(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(name: str, *_: object) -> None:
        raise UsageError(f"{name} cannot be built")

    monkeypatch.setenv(variable, "1")
    monkeypatch.setattr(toolchain, "_build", fails)
    with pytest.raises(UsageError, match="geth cannot be built"):
        optional_tools.tool("geth")


def test_nox_installs_every_tool_that_a_test_asks_for() -> None:
    installed = {*noxfile.TESTED_WITH, *noxfile.TESTED_WITH_MORE}
    assert installed <= {*toolchain.names(), *toolchain.fetched()}
    asked = set[str]()
    for path in (noxfile.ROOT / "tests").rglob("*.py"):
        if not {"bench", "e2e", "test_toolchain.py"}.intersection(path.parts):
            asked |= set(re.findall(r'\btool\("([a-z0-9-]+)"\)', path.read_text("utf-8")))
    assert {"geth", "helm4", "promtool"} <= asked
    known = {*toolchain.names(), *toolchain.fetched()}
    assert asked & known <= installed


def test_a_tool_that_may_be_missing_is_asked_for_only_in_a_way_that_skips() -> None:
    more = "|".join(noxfile.TESTED_WITH_MORE)
    for path in (noxfile.ROOT / "tests").rglob("*.py"):
        text = path.read_text("utf-8")
        if "e2e" not in path.parts:
            assert not re.search(rf'toolchain\.tool\("({more})"\)', text), path
            if re.search(rf'\btool\("({more})"\)', text):
                assert "optional_tools" in text, path
