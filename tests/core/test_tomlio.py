"""TOML and JSON are read with the position of each part."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.core import tomlio
from scripts.core.findings import UserError


def test_positions_are_at_the_keys() -> None:
    text = 'a = 1\n\n[t]\n  b = [\n    1,\n  ]\n"c d".e = { f = 1 }\n[[u]]\ng = 1\n'
    document = tomlio.toml(text, "x")
    places = {path: document.position(path) for path in
              (("a",), ("t",), ("t", "b"), ("t", "c d", "e", "f"), ("u",))}  # fmt: skip
    assert list(places.values()) == [(1, 1), (3, 1), (4, 3), (7, 1), (8, 1)]
    assert tomlio.from_json('{\n "a": {"b":\n 1}}', "x").position(["a", "b"]) == (2, 8)


@pytest.mark.parametrize(
    "text", ["", "{", '{"a": NaN}', "[" * 100_000, '{"a": 1' + "0" * 5000 + "}"]
)
def test_invalid_json_is_an_error(text: str) -> None:
    with pytest.raises(UserError, match=r"^x:\d"):
        tomlio.from_json(text, "x")


KEYS = st.text("ab-_19", min_size=1, max_size=3)
TABLES: st.SearchStrategy[Any] = st.recursive(
    st.integers(0, 9)
    | st.booleans()
    | st.text("ab]=['#\n", max_size=4)
    | st.lists(st.integers(0, 9)),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(KEYS, TABLES, max_size=4))
def test_every_part_of_a_document_has_a_position(data: dict[str, Any]) -> None:
    def write(table: dict[str, Any], path: tuple[str, ...]) -> str:
        plain = "".join(
            f"{k} = {json.dumps(v)}\n" for k, v in table.items() if not isinstance(v, dict)
        )
        inner = ((k, v) for k, v in table.items() if isinstance(v, dict))
        return plain + "".join(
            f"[{'.'.join((*path, k))}]\n{write(v, (*path, k))}" for k, v in inner
        )

    def keys(table: dict[str, Any], path: tuple[str, ...]) -> list[tuple[str, ...]]:
        return [
            key
            for k, v in table.items()
            for key in [(*path, k), *(keys(v, (*path, k)) if isinstance(v, dict) else [])]
        ]

    text = write(data, ())
    document = tomlio.toml(text, "x")
    assert document.data == data
    lines = text.split("\n")
    for path in keys(data, ()):
        line, _ = document.position(path)
        assert lines[line - 1].startswith((f"{path[-1]} = ", f"[{'.'.join(path)}]"))
