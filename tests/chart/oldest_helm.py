"""What the oldest Helm that the chart works with, 3.0, reads of a template: by its sources.

No Helm that old is pinned here. Helm parses all templates at once: one that it cannot parse keeps
the whole chart from being installed, whatever is turned off.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.conftest import ROOT

TEMPLATES = sorted(
    path
    for path in (ROOT / "chart" / "templates").rglob("*")
    if path.suffix != "" and path.is_file()
)
FUNCTIONS = ROOT / "tests" / "chart" / "helm-3.0-functions.txt"

KEYWORDS = {"block", "define", "else", "end", "if", "nil", "range", "template", "with"}
LITERALS = {"true", "false"}

ACTION = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
TEXT = re.compile(r'"(?:\\.|[^"\\])*"|`[^`]*`')
NAME = re.compile(r"(?<![\w.$])[A-Za-z_]\w*")


def actions(text: str) -> Iterator[tuple[int, str]]:
    """Yield what stands between two pairs of braces, with its line; without comments."""
    for match in ACTION.finditer(text):
        if not match[1].strip("- \n").startswith("/*"):
            yield text.count("\n", 0, match.start()) + 1, match[1]


def functions() -> set[str]:
    """Return the names of the functions that Helm 3.0 has."""
    lines = FUNCTIONS.read_text("utf-8").splitlines()
    return {name for line in lines if not line.startswith("#") for name in line.split()}


def unknown(text: str) -> list[tuple[int, str]]:
    """Return the lines and names of what Helm 3.0 does not know in a template."""
    known = functions() | KEYWORDS | LITERALS
    found = []
    for line, action in actions(text):
        names = NAME.findall(TEXT.sub('""', action))
        found += [(line, name) for name in names if name not in known]
        if names[:2] == ["else", "with"]:  # from Go 1.23 on
            found.append((line, "else with"))
    return found


def of_several_lines(text: str) -> list[int]:
    """Return the lines of actions that go on in the next line: an error before Go 1.16."""
    return [line for line, action in actions(text) if "\n" in action]
