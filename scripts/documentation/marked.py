"""Replace the generated part of a Markdown file, which is between two marks."""

from __future__ import annotations

from pathlib import Path

from scripts.core.findings import UsageError


def update(file: Path, name: str, text: str, *, check: bool) -> bool:
    """Write the text between a file's marks, and return whether it changes.

    check: write nothing. The marks are lines: <!-- name:begin --> and <!-- name:end -->. Raises
    UsageError if one is missing.
    """
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    old = file.read_text("utf-8")
    head, first, rest = old.partition(begin)
    _, last, tail = rest.partition(end)
    if not first or not last:
        raise UsageError(f"{file.name} must have the lines {begin.strip()} and {end}")
    new = f"{head}{begin}{text}{end}{tail}"
    if new != old and not check:
        file.write_text(new, "utf-8")
    return new != old
