"""Documents that are read part by part have the data that Helm's parser reads in the whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from helm_python import HelmError, _native
from hypothesis import example, given
from hypothesis import strategies as st

from scripts.core import yamlio
from scripts.rendering import documents, helm
from tests import objects

LINES = st.sampled_from([
    "a: 1", "a:", "a: |", "a: |-", "a: >", "name: x", "- name: x", "- b", "- |", "-", "- - a",
    '"q": 2', "'q': 2", "? a", ": b", "# c", "#c: d", "x", "x y", "b: {c: 1", "c: 2}", "}", "- [a,",
    "b]", 'b: "c', 'd"', "e: 'f", "b: &x 1", "c: *x", "<<: {a: 1}", "true: 1", "null: 1", "no: 1",
    "on: |", "longer-key: |", "longer-key:", "yes:", "---", "...", "%YAML 1.1", "a: b: c", "\tx: 1",
    "a: 1 # c", "a: # c", "k: 1e3", "k: 012", "k: 2026-01-01", "k: !!str 1", "", " ", "  ", "y: |+",
    "y: |2", "é: |", "z: é", "a.b/c-d: 1", "A_1: |", "_1: 2", "text text", "x\u2028y: 1", "x\ry: 1",
    "linea-dev-1: 1", "name: linea-dev-1", "a: 1e3linea-dev-1", "- linea-dev-1", "k: linea-dev-1:",
    'b: "\\linea-dev-1"', "0xlinea-dev-1: 0xf", "xlinea-dev-1y: 'linea-dev-1'", "&linea-dev-1 a: 1",
    "yqqqqqqqqqw: 1", "y: ylinea-dev-1linea-dev-1w", "b: *linea-dev-1", "true-linea-dev-1: |",
])  # fmt: skip
documents_of_lines = st.lists(st.tuples(st.integers(0, 5), LINES), max_size=12).map(
    lambda lines: "\n".join(" " * indent + line for indent, line in lines)
)


@pytest.fixture(scope="module", autouse=True)
def _divided() -> Any:
    """Divide documents wherever it is possible."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "_SHORT", 0)
        yield


def helm_reads(text: str) -> str:
    """Return a text as JSON, as Helm's parser reads it."""
    try:
        return _native.call_string("helm_values_from_yaml", text)
    except HelmError as error:
        raise ValueError(str(error)) from None


NAME = "linea-dev-1"


def result(text: str, *, divided: bool) -> Any:
    """Return the data of a document, or that it is not valid."""
    try:
        return documents.data(text, helm_reads, NAME) if divided else json.loads(helm_reads(text))
    except ValueError:
        return "invalid"


@given(documents_of_lines, st.booleans())
@example('a:\n- x\n"q": 2\n', False)
@example("  b: 1\na: 2\n", False)
@example("a: |\n  x\n\n  y\n \nb: 1\n", False)
@example("a:\n  b: |\n      x\n     y\n", False)
def test_any_lines_are_read_as_helm_reads_them(text: str, ends: bool) -> None:
    text += "\n" if ends else ""
    assert result(text, divided=True) == result(text, divided=False)


@given(st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | st.text("ab: -#\n|'\"{", max_size=12),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["a", "no", "name", "spec", "data.json"]), inner),
    max_leaves=15,
))  # fmt: skip
def test_dumped_objects_are_read_as_helm_reads_them(value: Any) -> None:
    text = yamlio.dump({"a": value})
    assert result(text, divided=True) == json.loads(helm_reads(text))


def test_the_chart_s_documents_are_read_as_helm_reads_them() -> None:
    values = yaml.safe_load(objects.FULL.read_text("utf-8"))
    texts = helm._in_process(objects.CHART, values, NAME, "1.34")
    every = [text for name in texts if "NOTES" not in name for text in documents.split(texts[name])]
    assert len(every) > 60
    for text in every:
        assert result(text, divided=True) == json.loads(helm_reads(text))


@pytest.mark.parametrize("name", ["", "linea", "fe-0-1", "e1", "a_b-linea", "7-linea", "Linea-Dev"])
def test_a_name_that_may_be_no_text_is_read_as_it_is(name: str) -> None:
    assert documents._stand_in(name) == ""


def test_documents_that_differ_in_the_namespace_are_read_once() -> None:
    read = list[str]()

    def reads(text: str) -> str:
        read.append(text)
        return helm_reads(text)

    for name in ("linea-dev", "linea-qa1"):
        text = f"kind: A\nz: 1\nspec:\n  {name}: 1\n  m: a.{name}.b\n"
        found = documents.data(text, reads, name)
        assert found == json.loads(helm_reads(text))
        assert list(found["spec"]) == sorted(found["spec"])
    assert len(read) == len(set(read))
    assert not any("linea" in text for text in read)


def test_data_belong_to_the_caller() -> None:
    text = "kind: A\nspec:\n  a: [1, 2]\n"
    documents.data(text, helm_reads)["spec"]["a"].append(3)
    assert documents.data(text, helm_reads)["spec"]["a"] == [1, 2]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a", ["a"]),
        ("---\na: |\n  b\n---\nc\n", ["", "\na: |\n  b\n", "\nc\n"]),
        ("a\n--- \nb\n---", ["a\n", " \nb\n", ""]),
        ("a\n---b\n ---\n", ["a\n---b\n ---\n"]),
    ],
)
def test_texts_are_divided_at_the_marks_of_documents(text: str, parts: list[str]) -> None:
    assert documents.split(text) == parts
