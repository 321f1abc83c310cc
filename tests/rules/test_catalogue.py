"""Every rule has examples that it reports and others that it does not: tests/rules/examples.py."""

from __future__ import annotations

from contextlib import suppress

import pytest

from scripts.core.findings import UserError
from scripts.rules import catalogue
from tests.conftest import ROOT
from tests.objects import ENVIRONMENTS
from tests.rules import examples
from tests.rules.examples import FOLDER, Example

RULES = sorted(catalogue.RULES)
FILES = {file.stem: file for file in examples.files()}


def of(part: str) -> list[Example]:
    """Return the examples of a part; files that can't be read have a test of their own."""
    found = list[Example]()
    for rule in RULES:
        with suppress(UserError, KeyError):
            found += [one for one in examples.read(FILES[rule]) if one.part == part]
    return found


@pytest.mark.parametrize("example", of("wrong"), ids=lambda example: example.id)
def test_a_rule_reports_what_is_wrong_where_and_what_to_write(example: Example) -> None:
    found = examples.findings_of(example)
    assert found, "nothing is reported: change the example, or the rule"
    again = f"`python -m tests.rules.examples {example.rule}` writes what is reported"
    assert examples.shown(found, example.document.file) == example.reported, again


@pytest.mark.parametrize("example", of("right"), ids=lambda example: example.id)
def test_nothing_is_reported_where_it_is_right(example: Example) -> None:
    assert examples.findings_of(example) == []


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_examples_and_says_why_it_is_there(rule: str) -> None:
    assert rule in FILES, f"write tests/rules/<subject>/{rule}.yaml as tests/rules/examples.py says"
    try:
        examples.read(FILES[rule])
        problems = []
    except UserError as error:
        problems = [f"{f.file}:{f.line}: {f.message}: {f.fix}" for f in error.findings]
    assert problems == []
    found = catalogue.RULES[rule]
    assert found.promise and found.why
    assert found.source.startswith("https://") or (ROOT / found.source).exists()


def test_each_file_has_the_examples_of_one_rule() -> None:
    every = sorted(file for file in FOLDER.glob("[a-z]*/**/*") if file.is_file())
    theirs = [file for file in every if file.suffix not in (".py", ".pyc")]
    rest = [file for file in theirs if file.suffix != ".yaml" or file.stem not in RULES]
    strays = [file.relative_to(FOLDER).as_posix() for file in rest]
    assert strays == [], "remove or rename them: no rule has such a name"
    twice = [file.relative_to(FOLDER).as_posix() for file in theirs if file != FILES[file.stem]]
    assert twice == [], "another folder has a file of the same rule"


def test_the_examples_of_a_rule_are_in_the_folder_of_its_subject() -> None:
    """The folder has the name of the one in scripts/rules/ that the rule stands in."""
    there = {rule: file.parent.name for rule, file in FILES.items() if rule in RULES}
    subjects = {rule: catalogue.RULES[rule].family.partition("/")[0] for rule in there}
    assert there == subjects


def test_nothing_is_reported_of_the_environments_as_they_are() -> None:
    among = [examples.objects(name) for name in ENVIRONMENTS]
    assert [(o.name, r.id, p.message) for o, r, p in catalogue.check(among)] == []
