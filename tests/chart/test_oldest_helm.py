"""The chart's templates use nothing that Helm 3.0 does not have."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chart.oldest_helm import TEMPLATES, of_several_lines, unknown
from tests.conftest import ROOT


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
    assert unknown("{{ with .a }}{{ else with .b }}{{ else if .c }}{{ end }}") == [(1, "else with")]
    assert of_several_lines('{{/* a\nb */}}\n{{ include "x"\n  . }}{{ .Values.a }}') == [3]


def test_the_schema_of_the_values_is_one_that_the_oldest_helm_reads() -> None:
    """Its gojsonschema 1.1 knows JSON Schema up to draft 7."""
    text = (ROOT / "chart" / "values.schema.json").read_text("utf-8")
    assert '"$schema": "http://json-schema.org/draft-07/schema#"' in text
    newer = ("$defs", "unevaluated", "dependentRequired", "dependentSchemas", "prefixItems")
    assert not [word for word in newer if f'"{word}' in text]
