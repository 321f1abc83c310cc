"""Shards: each environment is in exactly one, sizes are even, and reports that do not fit fail."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.core import shards
from scripts.core.findings import UsageError
from scripts.core.shards import Shard

NAME = st.integers(0, 9999).map("env-{:04}".format)
NAMES = st.sets(NAME, max_size=60)
COUNTS = st.integers(1, 12)


def split(names: set[str], count: int) -> list[list[str]]:
    return [Shard(number, count).part(names) for number in range(1, count + 1)]


@settings(max_examples=50)
@given(NAMES, COUNTS)
def test_each_name_is_in_exactly_one_shard_and_sizes_differ_by_one(
    names: set[str], count: int
) -> None:
    parts = split(names, count)
    assert sorted(name for part in parts for name in part) == sorted(names)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@settings(max_examples=50)
@given(NAMES, COUNTS, NAME)
def test_another_environment_moves_fewer_than_there_are_shards(
    names: set[str], count: int, new: str
) -> None:
    of = [
        {name: number for number, part in enumerate(parts) for name in part}
        for parts in (split(names, count), split(names | {new}, count))
    ]
    moved = [name for name in names if of[0][name] != of[1][name]]
    assert len(moved) < count


def test_similar_names_are_spread_over_all_shards() -> None:
    parts = split({f"{kind}-{n:03}" for kind in ("big", "small") for n in range(100)}, 4)
    shares = [sum(name.startswith("big") for name in part) / len(part) for part in parts]
    assert 0.3 < min(shares) < max(shares) < 0.7


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0/8", "0/8: of 8, the number of the shard is 1 to 8"),
        ("9/8", "9/8: of 8, the number of the shard is 1 to 8"),
        ("2/1", "2/1: of 1, the number of the shard is 1"),
        ("1/0", "1/0: write 1 to 256 shards"),
        ("1/257", "1/257: write 1 to 256 shards"),
        ("a/b", "a/b: write the number of the shard and how many there are, like 3/8"),
        ("3", "3: write the number"),
        ("-1/3", "-1/3: write the number"),
        ("1/3/5", "1/3/5: write the number"),
        ("", ": write the number"),
        ("²/3", "²/3: write the number"),
    ],
)
def test_a_shard_that_there_is_not_is_rejected(text: str, words: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=re.escape(words)):
        shards.parse(text)
    assert shards.parse("3/8") == Shard(3, 8)


def report(folder: Path, of: str, command: str = "check", **more: Any) -> Path:
    """Write the report of a shard, and return its file."""
    file = folder / f"{command}-{of.replace('/', '-')}.json"
    document = {"findings": [], "shard": {"command": command, "of": of}}
    file.write_text(json.dumps(document | more), "utf-8")
    return file


def test_reports_are_read_in_the_order_of_their_shards(tmp_path: Path) -> None:
    files = [report(tmp_path, f"{n}/3") for n in (3, 1, 2)]
    read, ended = shards.read(files)
    assert [str(each.shard) for each in read] == ["1/3", "2/3", "3/3"]
    assert not ended


def test_reports_that_are_not_all_shards_of_one_run_are_rejected(tmp_path: Path) -> None:
    first, second = (report(tmp_path, f"{n}/3") for n in (1, 2))
    other = report(tmp_path, "3/3", "policy")
    longer = report(tmp_path, "3/4")
    for files, words in (
        ([first, second], "shard 3/3 of check is missing: what they found would be lost"),
        ([first], "shards 2/3 and 3/3 of check are missing"),
        ([first, second, first], "are both shard 1/3"),
        ([first, second, other], "is from check, "),
        ([first, second, longer], "join the shards of one run"),
    ):
        with pytest.raises(UsageError, match=re.escape(words)):
            shards.read(files)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "a: b", '{"shard": {"of": "1/0"}}', '{"shard": 1}']
)
def test_another_file_is_not_the_report_of_a_shard(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"a\.json is not the report of a shard: write it with"):
        shards.read([file])
    with pytest.raises(UsageError, match="none: No such file or directory"):
        shards.read([tmp_path / "none"])
