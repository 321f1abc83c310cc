"""All YAML parsers read the dumped YAML alike, and the loaded YAML as this program does."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python import _native
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from scripts.core import yaml_text, yamlio
from scripts.core.findings import UserError

AMBIGUOUS = [
    "1e3", "1E3", "1e-3", "+1", "-0", "0o17", "017", "0x1F", "0b1", "0X1F", "-0X1F", "0B11",
    "0O17", "1_000", "1_0.5", ".5", "5.", "+.5", ".inf", "-.Inf", ".nan", "~", "null", "Null",
    "true", "True", "yes", "No", "on", "OFF", "y", "N", "2026-01-01", "2026-01-01T00:00:00Z",
    "12:30", "190:20:30", "<<", "=", "-", "?", ":", "a: b", "a #b", "#", "&a", "*a", "!a", "%a",
    "@a", "`a", "|", ">", "'", '"', "---", "...", "", " ", " a", "a ", "a\n", "a\n\n", "\na",
    " a\nb", "a\nb ", "a\tb", "\ta", "a\r\nb", "\u0085", "a\u2028b", "\ufeff", "\U0001f600", "é",
    "\x7f", "1.34", "08", "09", "0.0.0.0",
]  # fmt: skip

texts = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(AMBIGUOUS)
numbers = st.integers(-(2**53), 2**53) | st.floats(-(2**53), 2**53)
data = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
objects = st.dictionaries(texts, data, min_size=1, max_size=5)


def helm_reads(text: str) -> Any:
    """Return the data that sigs.k8s.io/yaml reads, the parser of Helm, kubectl and Argo CD."""
    return json.loads(_native.call_string("helm_values_from_yaml", text))


@given(objects)
def test_pyyaml_reads_the_dumped_data(value: dict[str, Any]) -> None:
    assert yaml.load(yamlio.dump(value), yaml.CSafeLoader) == value


@given(objects)
def test_a_yaml_1_2_parser_reads_the_dumped_data(value: dict[str, Any]) -> None:
    assert YAML(typ="safe", pure=True).load(StringIO(yamlio.dump(value))) == value


@given(objects)
def test_helm_and_kubectl_read_the_dumped_data(value: dict[str, Any]) -> None:
    assert helm_reads(yamlio.dump(value)) == json.loads(json.dumps(value))


@pytest.mark.parametrize("text", AMBIGUOUS, ids=ascii)
def test_a_string_that_looks_like_another_type_stays_a_string(text: str) -> None:
    value = {"a": text, text or "empty": [text]}
    dumped = yamlio.dump(value)
    assert helm_reads(dumped) == value
    assert yaml.load(dumped, yaml.CSafeLoader) == value
    assert YAML(typ="safe", pure=True).load(dumped) == value


@given(objects, st.randoms())
def test_the_dumped_text_does_not_depend_on_the_order_of_keys(value: Any, random: Any) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            keys = list(value)
            random.shuffle(keys)
            return {key: shuffled(value[key]) for key in keys}
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    assert yamlio.dump(shuffled(value)) == yamlio.dump(value)


lines = st.text(st.sampled_from("ab1:-#{|'\"% \n\t~éB\r\\"), max_size=30)
long_texts = st.builds(lambda text, times: text * times, lines, st.integers(1, 40))
awkward = st.recursive(
    texts | long_texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | long_texts, inner),
    max_leaves=8,
)


@given(objects | st.dictionaries(long_texts, awkward, max_size=4))
@example({"a": ["#!/bin/sh\n\nif a\n  b\n\n\nfi\n" * 30, {"b": "c\n  d" * 200}]})
@example({"a": "b \n" * 200, "c": "d" * 2**20, "e" * 200: {"f": [[{}, []], [["g"]], {"h": []}]}})
def test_text_is_put_together_as_pyyaml_writes_it(value: dict[str, Any]) -> None:
    assert yaml_text.text(value) == yaml_text.by_pyyaml(value)


def test_strings_of_several_lines_are_written_as_blocks() -> None:
    dumped = yamlio.dump({"kind": "ConfigMap", "data": {"a.sh": "#!/bin/sh\necho a\n"}})
    assert dumped == "kind: ConfigMap\ndata:\n  a.sh: |\n    #!/bin/sh\n    echo a\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("documents")


@given(raw=st.binary(max_size=200))
def test_any_bytes_are_loaded_or_rejected_with_a_finding(folder: Path, raw: bytes) -> None:
    (folder / "a.yaml").write_bytes(raw)
    try:
        yamlio.load(folder / "a.yaml", folder)
    except UserError as error:
        assert all(finding.message and finding.fix for finding in error.findings)


@given(text=st.text(st.sampled_from("ab1:-,[]{}#&*!|>'\"%@ \n\t?=<~.0oxyeOXB"), max_size=60))
def test_helm_reads_the_same_data(folder: Path, text: str) -> None:
    (folder / "b.yaml").write_text(text, "utf-8")
    try:
        value = yamlio.load(folder / "b.yaml", folder).data
    except UserError:
        return
    if isinstance(value, dict):
        assert helm_reads(text) == value


def test_a_position_is_that_of_the_key_or_item(folder: Path) -> None:
    (folder / "c.yaml").write_text("a:\n  b: 1\n  c:\n    - x\n    - {d: 2}\n", "utf-8")
    document = yamlio.load(folder / "c.yaml", folder)
    assert document.position(["a", "b"]) == (2, 3)
    assert document.position(["a", "c", 1]) == (5, 7)
    assert document.position(["a", "c", 1, "d"]) == (5, 8)
    assert document.position(["a", "gone", "deeper"]) == (1, 1)
