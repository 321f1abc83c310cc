"""Every rule has examples in tests/rules/<rule>/: wrong*.yaml with what is told, right*.yaml.

expected.txt has all that is told of the files that are wrong, in their order.
"""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from scripts.core import findings
from scripts.rules import catalogue
from tests import examples
from tests.objects import ENVIRONMENTS

FOLDER = Path(__file__).with_name("rules")
EXPECTED = "expected.txt"
RULES = sorted(catalogue.RULES)
RIGHT = [file for rule in RULES for file in sorted((FOLDER / rule).glob("right*.yaml"))]


def told(rule: str) -> str:
    """Return what a rule says of its wrong examples, of which there is one and each is found."""
    stream = io.StringIO()
    files = sorted((FOLDER / rule).glob("wrong*.yaml"))
    assert files
    for file in files:
        found = examples.laid(file).findings(rule)
        assert found, file.name
        findings.write(found, "text", stream)
    return stream.getvalue()


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_tells_what_is_wrong_where_and_what_to_write(rule: str) -> None:
    assert told(rule) == (FOLDER / rule / EXPECTED).read_text("utf-8")


@pytest.mark.parametrize("file", RIGHT, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_nothing_is_found_where_it_is_right(file: Path) -> None:
    assert examples.laid(file).findings(file.parent.name) == []


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_an_example_that_is_right_and_says_why_it_is_there(rule: str) -> None:
    assert list((FOLDER / rule).glob("right*.yaml"))
    found = catalogue.RULES[rule]
    assert found.promise and found.why
    assert found.source.startswith("https://") or (FOLDER.parent.parent / found.source).exists()


def test_there_are_no_examples_of_rules_that_are_gone() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == RULES


def test_nothing_is_found_in_the_environments_as_they_are() -> None:
    among = [examples.objects(name) for name in ENVIRONMENTS]
    assert [(o.name, r.id, p.message) for o, r, p in catalogue.check(among)] == []
