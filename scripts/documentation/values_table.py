"""The table of values in chart/README.md, from the `# --` comments in chart/values.yaml.

A value's description is the comment above it that begins with `# --`. A value without a description
is not in the table, whether it is inside a mapping with a description or not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from scripts.documentation import marked


def table(values: Path) -> str:
    """Return the values as a Markdown table: name, default, description."""
    data = YAML(typ="rt").load(values.read_text("utf-8"))
    lines = ["| Value | Default | Description |", "|---|---|---|"]
    for name, default, description in _rows(data, values.read_text("utf-8").splitlines(), ""):
        shown = f"`{json.dumps(default, ensure_ascii=False)}`".replace("|", "\\|")
        lines.append(f"| `{name}` | {shown} | {description} |")
    return "\n".join(lines) + "\n"


def _rows(data: CommentedMap, lines: list[str], above: str) -> Iterator[tuple[str, Any, str]]:
    for key, value in data.items():
        name = f"{above}.{key}" if above else str(key)
        description = _description(lines, data.lc.key(key)[0])
        if description:
            yield name, value, description
        if isinstance(value, CommentedMap):
            yield from _rows(value, lines, name)


def _description(lines: list[str], line: int) -> str:
    """Return the `# --` comment that ends on the line above."""
    comment = list[str]()
    while line > 0 and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        comment.insert(0, lines[line].lstrip().removeprefix("#").strip())
        if comment[0].startswith("-- "):
            return " ".join(comment).removeprefix("-- ")
    return ""


def update(root: Path, *, check: bool) -> bool:
    """Write the table into chart/README.md, and return whether it changes; check: write nothing."""
    values = table(root / "chart" / "values.yaml")
    return marked.update(root / "chart" / "README.md", "values", values, check=check)
