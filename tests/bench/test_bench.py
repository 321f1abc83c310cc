"""The bench chooses its parts, says whether goals are reached, and writes tables into its page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.commands import tools
from scripts.core import toolchain
from tests.bench import __main__ as bench
from tests.bench import fleets, table
from tests.bench.measuring import Measure, many, median, run
from tests.bench.table import Row, compared


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        ((), [(name, part.count) for name, part in bench.PARTS.items()]),
        (("few",), [("few", 0)]),
        (("fleet", "30", "policy"), [("fleet", 30), ("policy", 0)]),
    ],
)
def test_parts_are_chosen(words: tuple[str, ...], chosen: list[tuple[str, int]]) -> None:
    assert bench.parse(words) == chosen


@pytest.mark.parametrize("words", [("3",), ("few", "3"), ("fleet", "0"), ("all",)])
def test_other_words_are_an_error(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit, match="write few, fleet, thousand"):
        bench.parse(words)


def test_a_goal_is_a_ratio_seconds_or_memory() -> None:
    helm, ours = Measure(10, 50), Measure(4.04, 300)
    assert compared("render", ours, "helm", helm, 0.4, 400).goals() == "0.4, 400 MiB ✓"
    assert compared("render", ours, "helm", helm, 0.4, 200).goals() == "0.4, 200 MiB ✗"
    assert compared("render", ours, "helm", helm, 0.3).goals() == "0.3 ✗"
    assert Row("one changed", ours, most_s=3).goals() == "3 s ✗"
    assert Row("helm", helm).goals() == ""


def test_the_median_counts_and_the_largest_process() -> None:
    assert median([Measure(1, 9, 5), Measure(3, 1, 7), Measure(2, 5, 6)]) == Measure(2, 9, 6)
    assert Measure(1, 9, 2) + Measure(2, 5, 3) == Measure(3, 9, 5)


def test_a_command_that_fails_ends_the_bench() -> None:
    assert run(["true"]).peak_mib > 0
    assert many([lambda: run(["true"]), lambda: run(["false"], codes=(1,))]).seconds > 0
    with pytest.raises(SystemExit, match=r"sh -c .*: exit code 3: wrong"):
        run(["sh", "-c", "echo wrong >&2; exit 3"])


def test_a_table_replaces_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "performance.md"
    page.write_text(table.PAGE.read_text("utf-8"), "utf-8")
    monkeypatch.setattr(table, "PAGE", page)
    for seconds in (2, 4):
        row = compared("render", Measure(seconds, 100), "helm", Measure(10, 50), 0.4)
        table.write("fleet", "100 environments", [row], ["helm4"])
    text = page.read_text("utf-8")
    assert "| render | 4.00 s | 0.00 s | 100 MiB | 0.40 of helm | 0.4 ✓ |" in text
    assert "2.00 s | 0.00 s | 100 MiB" not in text
    assert f"helm4 {toolchain.version('helm4')}" in text or not toolchain.is_there("helm4")


def test_the_page_has_a_table_for_each_part() -> None:
    marks = re.findall(r"<!-- (\w+):(begin|end) -->", table.PAGE.read_text("utf-8"))
    assert marks == [(name, mark) for name in bench.PARTS for mark in ("begin", "end")]


def test_generated_environments_differ_in_all_that_must_be_unique(tmp_path: Path) -> None:
    repository = fleets.generate(tmp_path / "repository", 2)
    first, second = fleets.overlays(repository)
    for file in ("environment.yaml", "network.yaml", "values.yaml"):
        assert (first / file).read_text("utf-8") != (second / file).read_text("utf-8")
    assert all(path.is_file() for path in fleets.layers(repository, first))
    assert not list(first.glob("manifests"))


def test_tools_of_the_bench_alone_are_installed_only_by_name() -> None:
    assert set(toolchain.names()) >= tools.ONLY_NAMED
