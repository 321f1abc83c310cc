"""The list of all rules, as text, as Markdown for docs/rules.md, and as JSON."""

from __future__ import annotations

import io
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from scripts.documentation import marked
from scripts.rules import catalogue


def write(format: str, stream: TextIO) -> None:
    """Write the rules, grouped by family, as `text`, `markdown` or `json`."""
    {"text": _text, "markdown": _markdown, "json": _json}[format](stream)


def update(root: Path, *, check: bool) -> bool:
    """Write the rules into docs/rules.md, and return whether they change; check: write nothing."""
    stream = io.StringIO()
    _markdown(stream)
    return marked.update(root / "docs" / "rules.md", "rules", stream.getvalue(), check=check)


def _text(stream: TextIO) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, width=100, highlight=False, soft_wrap=True, emoji=False)
    family = ""
    for rule in catalogue.RULES.values():
        if rule.family != family:
            family = rule.family
            console.print(Text(family, "bold"))
        head = Text.assemble("  ", (rule.id, "cyan"), f"  {rule.severity}  {rule.promise}")
        console.print(head)
    console.print(f"{len(catalogue.RULES)} rules; reasons and sources: docs/rules.md")


def _markdown(stream: TextIO) -> None:
    family = ""
    for rule in catalogue.RULES.values():
        if rule.family != family:
            family = rule.family
            title = family.replace("_", " ").replace("/", " / ")
            stream.write(
                f"\n### {title}\n\n| Rule | What holds | Otherwise | Why |\n|---|---|---|---|\n"
            )
        here = not rule.source.startswith("https://")
        source = f"[source]({os.path.relpath(rule.source, 'docs') if here else rule.source})"
        stream.write(f"| `{rule.id}` | {rule.promise} | {rule.outcome} | {rule.why} {source} |\n")


def _json(stream: TextIO) -> None:
    rules = [
        {key: value for key, value in asdict(rule).items() if key not in ("check", "together")}
        for rule in catalogue.RULES.values()
    ]
    json.dump({"rules": rules}, stream, indent=2)
    stream.write("\n")
