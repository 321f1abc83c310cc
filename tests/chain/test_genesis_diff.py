"""Forks of a genesis that are still ahead may change, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scripts.chain import genesis_diff


def besu(config: dict[str, Any], **more: Any) -> str:
    return json.dumps({"config": {"chainId": 7} | config, "alloc": {"0xAb": {}}} | more)


NOW = 1_800_000_000
AHEAD, PAST = NOW + 1, NOW - 1


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ({}, {"xTime": AHEAD}, 0),
        ({}, {"xTime": PAST}, 1),
        ({}, {"xTime": NOW}, 1),
        ({"xTime": AHEAD}, {}, 0),
        ({"xTime": AHEAD}, {"xTime": AHEAD + 5}, 0),
        ({"xTime": AHEAD}, {"xTime": PAST}, 1),
        ({"xTime": PAST}, {"xTime": AHEAD}, 1),
        ({"xTime": PAST}, {}, 1),
        ({"xTime": PAST}, {"xTime": "soon"}, 1),
        ({"xTime": None}, {"xTime": AHEAD}, 0),
        ({"xBlock": 0}, {"xBlock": 5}, 1),
        ({}, {"xBlock": 5}, 0),
        ({"ethash": {}}, {}, 1),
        ({}, {"ethash": {}}, 0),
        ({"depositContractAddress": "0xAB"}, {"depositContractAddress": "0xab"}, 0),
        ({"blobSchedule": {"x": 1}, "xTime": PAST}, {"blobSchedule": {}, "xTime": PAST}, 1),
        ({"blobSchedule": {"x": 1}, "xTime": AHEAD}, {"blobSchedule": {}, "xTime": AHEAD}, 0),
        ({"blobSchedule": {"x": 1}}, {}, 1),
        ({"blobSchedule": {"x": 1}}, {"blobSchedule": 5}, 1),
    ],
    ids=str,
)
def test_a_fork_may_change_as_long_as_it_is_ahead(
    old: dict[str, Any], new: dict[str, Any], told: int
) -> None:
    before, after = genesis_diff.read(besu(old)), genesis_diff.read(besu(new))
    assert before is not None and after is not None
    assert len(list(genesis_diff.past_forks(before, after, lambda at: at <= NOW))) == told
    assert list(genesis_diff.first_block(before, after)) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"alloc": ', '"alloc"', "[" * 9999 + '"alloc"'])
def test_what_is_no_genesis_is_passed_over(text: str) -> None:
    assert genesis_diff.read(text) is None
