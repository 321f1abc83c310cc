"""Messages about mistakes against a JSON Schema, and the schemas that contain their words."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scripts.checks import policy_scanners
from scripts.core import json_schema, schema_messages, schema_paths, yamlio
from scripts.environments.environment import merge
from tests.conftest import EXAMPLE, ROOT

CASES = Path(__file__).with_name("schema_messages.txt")
"""Paragraphs: a file, and after => what is reported: line, rule, message; what to write. The
heading of a group names its schema."""

SCHEMAS: dict[str, Path] = {
    name: ROOT / folder / f"{name}.schema.json"
    for folder, names in (
        ("chart", ["values"]),
        ("scripts", ["environment", "images", "network", "patch", "policy"]),
    )
    for name in names
}
"""Schemas of the files that people write."""

DEFAULTS = yamlio.load(ROOT / "chart" / "values.yaml", ROOT).data


def cases() -> Iterator[tuple[str, str, list[str]]]:
    """Yield the schema's name, the file, and what is expected."""
    name = ""
    for paragraph in CASES.read_text("utf-8").split("\n\n"):
        lines = paragraph.strip().split("\n")
        if lines[0].startswith("# "):
            name = lines.pop(0).removeprefix("# ").partition(":")[0]
        expected = [line.removeprefix("=> ") for line in lines if line.startswith("=> ")]
        yield name, "\n".join(line for line in lines if not line.startswith("=> ")), expected


@pytest.mark.parametrize(("name", "text", "expected"), list(cases()))
def test_each_mistake_is_reported_once_with_what_to_write(
    name: str, text: str, expected: list[str], tmp_path: Path
) -> None:
    (tmp_path / "v.yaml").write_text(text, "utf-8")
    document = yamlio.load(tmp_path / "v.yaml", tmp_path)
    data = merge(DEFAULTS, document.data) if name == "values" else document.data
    found = json_schema.check_merged(data, SCHEMAS[name], lambda path: (document, path))
    lines = [line for f in found for line in (f"{f.line}  {f.rule}  {f.message}", f.fix)]
    assert lines == expected


def test_what_may_be_a_secret_is_not_shown() -> None:
    for _, text, expected in cases():
        for secret in ("hunter2-long-secret", "1234567890"):
            assert secret not in text or secret not in "".join(expected)


KEYS = {
    name: sorted({str(key) for path in schema_paths.every(json_schema.read(file)) for key in path})
    for name, file in SCHEMAS.items()
}


WORDS = st.text(max_size=9).filter(lambda text: "None" not in text)


@given(st.sampled_from(sorted(SCHEMAS)), st.data())
def test_any_file_gets_messages_in_words(name: str, data: st.DataObject) -> None:
    leaves = st.none() | st.booleans() | st.integers() | WORDS
    keys = st.sampled_from(KEYS[name] or ["a:1"]) | WORDS
    found = data.draw(
        st.recursive(
            leaves,
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
            max_leaves=20,
        )
    )
    document = yamlio.Document("v.yaml", found, None)
    for finding in json_schema.check(document, SCHEMAS[name]):
        assert finding.message
        assert finding.fix
        assert "None" not in finding.message + finding.fix
    if name == "values":
        merged = merge(DEFAULTS, found if isinstance(found, dict) else {})
        json_schema.check_merged(merged, SCHEMAS[name], lambda path: (document, path))


def parts(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield all mappings of a schema, but those of examples, with their paths."""
    if isinstance(node, dict):
        yield path, node
        for key, value in node.items():
            if key != "examples":
                yield from parts(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from parts(value, (*path, str(index)))


CONDITIONS = {"if", "then", "else", "not", "allOf", "propertyNames", "complete"}
"""Keywords, and a definition, whose subschemas only add to what another one describes."""


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_key_has_a_description_that_is_a_sentence(name: str) -> None:
    root, count = json_schema.read(SCHEMAS[name]), 0
    for path, part in parts(root):
        if CONDITIONS.intersection(path) or not isinstance(part.get("properties"), dict):
            continue
        for key, inner in part["properties"].items():
            count += 1
            described = list(schema_paths._spread(root, [inner]))
            text = schema_messages.first(described, "description")
            assert isinstance(text, str), (path, key)
            assert re.match("[A-Z0-9`]|libp2p ", text), text
            assert text.endswith("."), text
    assert count or name == "images"
    assert isinstance(root["title"], str)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_pattern_is_explained_in_words(name: str) -> None:
    root = json_schema.read(SCHEMAS[name])
    for path, part in parts(root):
        if "if" in path or not isinstance(part.get("pattern"), str):
            continue
        above = path[: path.index("not")] if "not" in path else path
        own = schema_paths.subschema(root, above)
        assert "errorMessage" in own, path
        advice = schema_messages.advice([own])
        assert part["pattern"] not in advice
        assert not re.search(r"[a-z0-9A-Z]-[a-z0-9A-Z]\]|\\|\)\?", advice), advice


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_may_be_written_is_an_instruction_and_its_examples_are_valid(name: str) -> None:
    root = json_schema.read(SCHEMAS[name])
    context: dict[str, Any] = {
        key: root[key] for key in ("$schema", "$defs", "definitions") if key in root
    }
    for path, part in parts(root):
        if isinstance(message := part.get("errorMessage"), str):
            assert message.startswith(("Write ", "Pin ", "Remove ", "Restore ")), message
            assert message.endswith("."), message
        if isinstance(part.get("examples"), list):
            own = {key: value for key, value in part.items() if key != "$schema"}
            for example in part["examples"]:
                whole = {**context, "allOf": [own]}
                assert jsonschema_rs.is_valid(whole, example, validate_formats=True), path


VALIDATE = """
import json, sys
from jsonschema import validators
for schema, data, name in json.load(sys.stdin):
    kind = validators.validator_for(schema)
    kind.check_schema(schema)
    for error in kind(schema, format_checker=kind.FORMAT_CHECKER).iter_errors(data):
        print(name, error.json_path, error.message)
"""

FIRST_LINE = re.compile(r"# yaml-language-server: \$schema=(\S+)\n")


def written() -> list[Path]:
    """Return the YAML files of environments and base/ that people write."""
    overlays = EXAMPLE / "overlays"
    files = [*overlays.glob("*/*.yaml"), *overlays.glob("*/patches/*.yaml")]
    return sorted([*files, *(EXAMPLE / "base").rglob("*.yaml")])


def test_every_file_is_valid_against_the_schema_that_its_first_line_names() -> None:
    # By a validator that the pipeline does not use.
    questions = []
    for path in written():
        text = path.read_text("utf-8")
        named = FIRST_LINE.match(text)
        assert named, f"{path.relative_to(EXAMPLE)} does not begin with its schema"
        found = ROOT / (path.parent / named[1]).resolve().relative_to(EXAMPLE)
        assert found in SCHEMAS.values(), path
        data = yaml.safe_load(text)
        # A file of values without values is empty, which Helm reads as no values.
        questions.append((json.loads(found.read_text("utf-8")), data or {}, str(path)))
    assert len(questions) >= 12
    done = subprocess.run(
        [policy_scanners.CHECKOV, "-I", "-c", VALIDATE],
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
