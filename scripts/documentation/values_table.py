"""What the chart's values mean: a table in its README, and the descriptions in its JSON Schema.

Both come from chart/values.yaml. A value's description is the comment above it that begins with
`# --`. A value without a description is not in the table, whether it is inside a mapping with a
description or not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from scripts.documentation import marked

README = "chart/README.md"
SCHEMA = "chart/values.schema.json"

Row = tuple[tuple[str, ...], Any, str]
"""The keys that lead to a value, its default, its description."""


def rows(values: Path) -> list[Row]:
    """Return all values with a description, in the order of values.yaml."""
    text = values.read_text("utf-8")
    return list(_rows(YAML(typ="rt").load(text), text.splitlines(), ()))


def _rows(data: CommentedMap, lines: list[str], above: tuple[str, ...]) -> Iterator[Row]:
    for key, value in data.items():
        path = (*above, str(key))
        description = _description(lines, data.lc.key(key)[0])
        if description:
            yield path, value, description
        if isinstance(value, CommentedMap):
            yield from _rows(value, lines, path)


def _description(lines: list[str], line: int) -> str:
    """Return the `# --` comment that ends on the line above."""
    comment = list[str]()
    while line > 0 and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        comment.insert(0, lines[line].lstrip().removeprefix("#").strip())
        if comment[0].startswith("-- "):
            return " ".join(comment).removeprefix("-- ")
    return ""


def table(values: Path) -> str:
    """Return the values as a Markdown table: name, default, description."""
    lines = ["| Value | Default | Description |", "|---|---|---|"]
    for path, default, description in rows(values):
        shown = f"`{json.dumps(default, ensure_ascii=False)}`".replace("|", "\\|")
        lines.append(f"| `{'.'.join(path)}` | {shown} | {description} |")
    return "\n".join(lines) + "\n"


def described(schema: dict[str, Any], values: Path) -> str:
    """Return the text of the schema with the descriptions of its values.

    A key of a shared definition has several comments. It gets their text if all are the same;
    otherwise it keeps the description in the schema itself.
    """
    found = dict[int, tuple[dict[str, Any], set[str]]]()
    for path, _, description in rows(values):
        place = _place(schema, path)
        found.setdefault(id(place), (place, set()))[1].add(description)
    for place, comments in found.values():
        if len(comments) == 1:
            rest = {key: value for key, value in place.items() if key != "description"}
            place.clear()
            place |= {"description": comments.pop()} | rest
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _place(schema: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """Return the value's part of the schema; of a reference, the part with the reference itself."""
    place = schema
    for key in path:
        if "$ref" in place:
            place = schema["definitions"][place["$ref"].removeprefix("#/definitions/")]
        place = place["properties"][key]
    return place


def update(root: Path, *, check: bool) -> list[str]:
    """Update README and schema, and return which of them change; check: write nothing."""
    values = root / "chart" / "values.yaml"
    changed = []
    if marked.update(root / README, "values", table(values), check=check):
        changed.append(README)
    old = (root / SCHEMA).read_text("utf-8")
    new = described(json.loads(old), values)
    if new != old:
        changed.append(SCHEMA)
        if not check:
            (root / SCHEMA).write_text(new, "utf-8")
    return changed
