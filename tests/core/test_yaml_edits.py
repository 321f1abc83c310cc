"""Edits of YAML change what they say, and keep every other character."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.core import edits as data_edits
from scripts.core import yaml_edits
from scripts.core.edits import Action, CannotApplyError, Edit

TEXT = """\
# top
besu:
  # replicas of Besu
  replica: 2   # two
  list:
    - a   # first
    - {op: test, path: /x, value: 8545}  # c
    # before b
    - b
  empty: {}
  text: |
    line
      more
  # tail comment

# next
maru: {replicas: 1, x: "q"}
nothing:   # yet
last:
- one: 1
  two: 2
"""


def edit(action: Action, path: str, value: Any = None) -> Edit:
    parts = [int(part) if part.isdecimal() else part for part in path.split(".")]
    return Edit("x.yaml", action, tuple(parts), value)


WRITE, APPEND, REMOVE = Action.WRITE, Action.APPEND, Action.REMOVE
RENAME, MOVE = Action.RENAME, Action.MOVE


@pytest.mark.parametrize(
    ("action", "path", "value", "old", "new"),
    [
        (WRITE, "besu.replica", 3, "  replica: 2   # two\n", "  replica: 3   # two\n"),
        (WRITE, "besu.list.1.value", 1, "value: 8545}", "value: 1}"),
        (WRITE, "besu.list.0", "z", "    - a   #", "    - z   #"),
        (WRITE, "maru.x", "true", 'x: "q"', 'x: "true"'),
        (WRITE, "maru.z", [1], 'x: "q"}', 'x: "q", z: [1]}'),
        (WRITE, "besu.empty", 5, "  empty: {}\n", "  empty: 5\n"),
        (WRITE, "besu.empty.a.b", 5, "  empty: {}\n", "  empty:\n    a: {b: 5}\n"),
        (WRITE, "besu.text", "x", "  text: |\n    line\n      more\n", "  text: x\n"),
        (WRITE, "besu.text", "one\n  two\n", "    line\n      more\n", "    one\n      two\n"),
        (WRITE, "besu.new", 1, "      more\n", "      more\n  new: 1\n"),
        (WRITE, "nothing", 1, "nothing:   # yet", "nothing: 1   # yet"),
        (WRITE, "nothing.a", 1, "nothing:   # yet\n", "nothing:   # yet\n  a: 1\n"),
        (WRITE, "last.0.three", 3, "  two: 2\n", "  two: 2\n  three: 3\n"),
        (WRITE, "new.a", "y", "  two: 2\n", '  two: 2\nnew: {a: "y"}\n'),
        (APPEND, "besu.list", {"a": 1}, "    - b\n", "    - b\n    - {a: 1}\n"),
        (APPEND, "last", "x", "  two: 2\n", "  two: 2\n- x\n"),
        (APPEND, "besu.more", "x", "      more\n", "      more\n  more: [x]\n"),
        (REMOVE, "besu.replica", None, "  replica: 2   # two\n", ""),
        (REMOVE, "besu.list.2", None, "    - b\n", ""),
        (REMOVE, "besu.list.0", None, "    - a   # first\n", ""),
        (REMOVE, "besu.text", None, "  text: |\n    line\n      more\n", ""),
        (REMOVE, "maru.x", None, ', x: "q"', ""),
        (REMOVE, "maru.replicas", None, "replicas: 1, ", ""),
        (REMOVE, "last.0.one", None, "- one: 1\n  two: 2", "- two: 2"),
        (RENAME, "besu.replica", "replicas", "  replica: 2", "  replicas: 2"),
        (RENAME, "maru.x", "z", 'x: "q"', 'z: "q"'),
        (MOVE, "maru.x", ("besu", "empty", "x"), None, None),
    ],
)
def test_only_the_value_changes(
    action: Action, path: str, value: Any, old: str | None, new: str | None
) -> None:
    made = edit(action, path, value)
    after = yaml_edits.applied(TEXT, [made])
    assert yaml.safe_load(after) == data_edits.applied(yaml.safe_load(TEXT), [made])
    if old is not None and new is not None:
        assert TEXT.count(old) == 1
        assert after == TEXT.replace(old, new)


def test_a_key_below_an_empty_one_is_moved_there() -> None:
    text = "besu:\n  persistence:\n  size: 20Gi\nother: 1\n"
    made = edit(MOVE, "besu.size", ("besu", "persistence", "size"))
    after = "besu:\n  persistence:\n    size: 20Gi\nother: 1\n"
    assert yaml_edits.applied(text, [made]) == after


def test_the_only_entry_leaves_an_empty_collection() -> None:
    assert yaml_edits.applied("a:\n  b: 1\nc: [1]\n", [edit(REMOVE, "a.b")]) == "a: {}\nc: [1]\n"
    assert yaml_edits.applied("a: [1]\n", [edit(REMOVE, "a.0")]) == "a: []\n"


def test_an_empty_file_gets_its_first_value() -> None:
    assert yaml_edits.applied("", [edit(WRITE, "a.b", 1)]) == "a: {b: 1}\n"
    assert yaml_edits.applied("# x\n", [edit(WRITE, "a", 1)]) == "# x\na: 1\n"
    assert yaml_edits.applied("a: 1", [edit(WRITE, "b", 1)]) == "a: 1\nb: 1\n"


def test_what_is_too_long_for_a_line_becomes_a_block() -> None:
    long = {"a" * 60: 1, "b" * 60: [1, 2]}
    after = yaml_edits.applied("x: 1\ny:\n  z: 1\n", [edit(WRITE, "y.z", long)])
    assert after == f"x: 1\ny:\n  z:\n    {'a' * 60}: 1\n    {'b' * 60}: [1, 2]\n"


def test_windows_line_ends_stay() -> None:
    after = yaml_edits.applied("a: 1\r\nb:\r\n  c: 1\r\n", [edit(WRITE, "b.d", 2)])
    assert after == "a: 1\r\nb:\r\n  c: 1\r\n  d: 2\r\n"


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("a:\n  b: 1 # x\n  c: 2\n", edit(WRITE, "a", 1)),  # a comment would be lost
        ("a: &x {b: 1}\nc: *x\n", edit(WRITE, "a.b", 2)),  # c would change, too
        ("a: 1\n", edit(REMOVE, "b")),
        ("a: 1\n", edit(WRITE, "a.b", 1)),
        ("a: [1]\n", edit(WRITE, "a.b", 1)),
        ("a: 1\nb: 1\n", edit(RENAME, "a", "b")),
        ("a: 1\n---\nb: 1\n", replace(edit(WRITE, "a", 2), document=2)),
        ("a: 1\n---\nb: 1\n", replace(edit(REMOVE, "a"), document=1)),
        ("a: [1\n", edit(WRITE, "a", 2)),
    ],
)
def test_what_would_lose_or_change_more_is_not_done(text: str, made: Edit) -> None:
    with pytest.raises(CannotApplyError):
        yaml_edits.applied(text, [made])


names = st.sampled_from(["a", "b", "c.d/e", "on", "x y", "1"])
scalars = st.sampled_from([None, True, 0, 1.5, "x", "", "a: b", "# x", "yes", "0x1", "- y", "ü"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)


def paths_of(data: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [path] if path else []
    if isinstance(data, dict | list):
        inner = data.items() if isinstance(data, dict) else enumerate(data)
        for key, value in inner:
            found += paths_of(value, (*path, key))
    return found


def commented(text: str) -> str:
    """Return a text with a comment above each line that begins an entry."""
    lines = list[str]()
    for number, line in enumerate(text.splitlines()):
        lines += [f"# comment {number}", line]
    return "\n".join(lines) + "\n"


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(names, values, min_size=1, max_size=4), st.data())
def test_an_edit_gives_the_data_it_says_and_keeps_comments(
    data: dict[str, Any], draw: st.DataObject
) -> None:
    flow_style = draw.draw(st.sampled_from([None, False, True]))
    text = yaml.safe_dump(data, default_flow_style=flow_style, sort_keys=False, width=60)
    if flow_style is False and not any("\n" in str(line) for line in data.values()):
        text = commented(text)
    if yaml.safe_load(text) != data:
        return
    action = draw.draw(st.sampled_from(list(Action)))
    path = draw.draw(st.sampled_from(paths_of(data)))
    if draw.draw(st.booleans()):
        path = (*path, draw.draw(names))
    value: Any = draw.draw(values)
    if action is RENAME:
        value = draw.draw(names)
    if action is MOVE:
        value = (draw.draw(names), draw.draw(names))
    made = Edit("x.yaml", action, path, value)
    try:
        after = yaml_edits.applied(text, [made])
    except CannotApplyError:
        return
    assert yaml.safe_load(after) == data_edits.applied(data, [made])
    comments = [line for line in text.splitlines() if line.startswith("# comment")]
    assert [line for line in after.splitlines() if line.startswith("# comment")] == comments
    assert yaml_edits.applied(after, []) == after


def test_an_edit_of_one_document_leaves_the_others_as_they_are() -> None:
    text = "# top\n---\na: 1  # one\n# between\n---\na: 1\nb: 2  # two"
    made = [
        replace(edit(WRITE, "a", 3), document=1),
        replace(edit(REMOVE, "b"), document=1),
        replace(edit(WRITE, "c", 4), document=0),
    ]
    new = "# top\n---\na: 1  # one\nc: 4\n# between\n---\na: 3\n"
    assert yaml_edits.applied(text, made) == new
    assert yaml_edits.applied("a: 1\n--- \r\n- 1\n", [Edit("x", WRITE, (0,), 2, document=1)]) == (
        "a: 1\n--- \r\n- 2\n"
    )
