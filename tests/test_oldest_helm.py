"""The chart's templates use nothing that Helm 3.0 does not have.

No Helm that old is pinned here, so its sources decide. Helm parses all templates at once: one that
it cannot parse keeps the whole chart from being installed, whatever is turned off.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

TEMPLATES = sorted(
    path
    for path in (ROOT / "chart" / "templates").rglob("*")
    if path.suffix != "" and path.is_file()
)
FUNCTIONS = ROOT / "tests" / "helm-3.0-functions.txt"

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
    return [
        (line, name)
        for line, action in actions(text)
        for name in NAME.findall(TEXT.sub('""', action))
        if name not in known
    ]


def of_several_lines(text: str) -> list[int]:
    """Return the lines of actions that go on in the next line: an error before Go 1.16."""
    return [line for line, action in actions(text) if "\n" in action]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_template_uses_only_functions_of_the_oldest_helm(path: Path) -> None:
    assert unknown(path.read_text("utf-8")) == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_an_action_of_a_template_stands_on_one_line(path: Path) -> None:
    assert of_several_lines(path.read_text("utf-8")) == []


def test_what_the_oldest_helm_lacks_is_detected() -> None:
    assert unknown(
        'a: {{ dig "a" dict .Values | get "b" }}\nb: {{ lookup "v1" "Pod" "" "x" }}'
    ) == [
        (1, "dig"),
        (2, "lookup"),
    ]
    assert unknown("{{ range .Values.dig }}{{ break }}{{ end }}{{/* dig\nlookup */}}") == [
        (1, "break")
    ]
    assert of_several_lines('{{/* a\nb */}}\n{{ include "x"\n  . }}{{ .Values.a }}') == [3]


def test_the_schema_of_the_values_is_one_that_the_oldest_helm_reads() -> None:
    """Its gojsonschema 1.1 knows JSON Schema up to draft 7."""
    text = (ROOT / "chart" / "values.schema.json").read_text("utf-8")
    assert '"$schema": "http://json-schema.org/draft-07/schema#"' in text
    newer = ("$defs", "unevaluated", "dependentRequired", "dependentSchemas", "prefixItems")
    assert not [word for word in newer if f'"{word}' in text]
