"""Findings as GitLab and Jenkins read them: Code Quality reports, and JUnit's XML."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.__main__ import main
from scripts.core import findings
from scripts.core.findings import Finding, Severity
from tests.conftest import Repository
from tests.core.test_findings import LATER, WARNING, WRONG, any_finding

TEXT = {"type": "string", "minLength": 1}
CODE_QUALITY = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["description", "check_name", "fingerprint", "severity", "location"],
        "additionalProperties": False,
        "properties": {
            "description": TEXT,
            "check_name": {"type": "string"},
            "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
            "location": {
                "type": "object",
                "required": ["path", "lines"],
                "additionalProperties": False,
                "properties": {
                    "path": {"type": "string"},
                    "lines": {
                        "type": "object",
                        "required": ["begin"],
                        "additionalProperties": False,
                        "properties": {"begin": {"type": "integer", "minimum": 1}},
                    },
                },
            },
        },
    },
}
"""The fields in https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format."""
VALIDATOR = jsonschema_rs.validator_for(CODE_QUALITY)

ATTRIBUTES = {
    "testsuites": {"name", "tests", "failures", "errors"},
    "testsuite": {"name", "tests", "failures", "errors"},
    "testcase": {"classname", "name"},
    "failure": {"type", "message"},
    "skipped": {"type", "message"},
}
"""Element → its attributes, all of which junit-10.xsd of Jenkins' xUnit plugin knows."""


def written(form: str, *wrong: Finding) -> str:
    stream = io.StringIO()
    findings.write(wrong, form, stream)
    return stream.getvalue()


def code_quality(*wrong: Finding) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(written("gitlab", *wrong))
    VALIDATOR.validate(entries)
    return entries


def fingerprints(*wrong: Finding) -> set[str]:
    return {entry["fingerprint"] for entry in code_quality(*wrong)}


def junit(*wrong: Finding) -> ElementTree.Element:
    """Return the document, after checks of its elements, attributes and totals."""
    top = ElementTree.fromstring(written("junit", *wrong).encode())
    assert top.tag == "testsuites"
    assert {each.tag for each in top} == {"testsuite"}
    for element in top.iter():
        assert element.attrib.keys() - ATTRIBUTES[element.tag] == set(), element.tag
    for suite in (top, *top):
        assert suite.get("tests") == str(len([*suite.iter("testcase")]))
        assert suite.get("failures") == str(len([*suite.iter("failure")]))
    return top


def test_gitlab_shows_a_finding_on_its_line() -> None:
    (entry,) = code_quality(WRONG)
    assert len(entry.pop("fingerprint")) == 64
    assert entry == {
        "description": "Service/a in dev: a.b is a text\n→ write a number",
        "check_name": "wrong-type",
        "severity": "major",
        "location": {"path": "overlays/dev/values.yaml", "lines": {"begin": 3}},
    }
    assert code_quality() == []


def test_gitlab_shows_a_finding_about_a_whole_file_on_its_first_line() -> None:
    (entry,) = code_quality(WARNING)
    assert entry["location"]["lines"] == {"begin": 1}
    assert entry["severity"] == "minor"


def test_a_finding_that_moves_is_the_same_for_gitlab() -> None:
    moved = replace(WRONG, line=9, column=1)
    assert fingerprints(WRONG) == fingerprints(moved)
    other = [
        replace(WRONG, file="overlays/prod/values.yaml"),
        replace(WRONG, rule="other"),
        replace(WRONG, object="Service/b"),
        replace(WRONG, environment="prod"),
        replace(WRONG, message="a.b is a list"),
    ]
    assert len(fingerprints(WRONG, *other)) == 6


def test_two_equal_findings_are_two_for_gitlab_and_jenkins() -> None:
    """GitLab shows one of those with the same fingerprint, or of tests with the same name."""
    second, third = replace(WRONG, line=9), replace(WRONG, line=12)
    assert len(fingerprints(WRONG, second, third)) == 3
    assert fingerprints(WRONG, second) < fingerprints(WRONG, second, third)
    names = [each.get("name") for each in junit(WRONG, second, third).iter("testcase")]
    told = "Service/a in dev: a.b is a text"
    assert names == [told, f"{told} (2)", f"{told} (3)"]


def test_an_error_is_a_failed_test_and_a_warning_a_skipped_one() -> None:
    top = junit(WRONG, LATER, WARNING)
    assert (top.get("tests"), top.get("failures")) == ("3", "2")
    suites = {suite.get("name"): suite for suite in top}
    assert suites.keys() == {finding.file for finding in (WRONG, LATER, WARNING)}
    (test,) = suites[WRONG.file]
    assert test.attrib == {"classname": "wrong-type", "name": "Service/a in dev: a.b is a text"}
    (failure,) = test
    assert (failure.tag, failure.attrib) == (
        "failure",
        {"type": "error", "message": "a.b is a text"},
    )
    assert failure.text == "overlays/dev/values.yaml:3:5\na.b is a text\n→ write a number\n"
    ((skipped,),) = suites[WARNING.file]
    assert (skipped.tag, skipped.get("type")) == ("skipped", "warning")


def test_junit_without_findings_has_a_test_that_passed() -> None:
    """Jenkins fails a build whose report has no test."""
    ((suite,),) = (junit(),)
    (test,) = suite
    assert test.get("name") == "no findings"
    assert len(test) == 0


@given(wrong=st.lists(any_finding, max_size=5))
def test_any_findings_are_valid_reports(wrong: list[Finding]) -> None:
    count = len(set(wrong))
    assert len(fingerprints(*wrong)) == count
    top = junit(*wrong)
    assert len([*top.iter("testcase")]) == max(count, 1)
    severities = Counter(finding.severity for finding in set(wrong))
    assert len([*top.iter("failure")]) == severities[Severity.ERROR]


def test_characters_that_xml_cannot_have_are_shown_as_escapes() -> None:
    odd = replace(WRONG, message="a\x00b\x1b[31m\ufffe<&>\"'\ttab")
    (failure,) = junit(odd).iter("failure")
    assert failure.get("message") == "a\\x00b\\x1b[31m\\ufffe<&>\"'\ttab"


@pytest.mark.parametrize("form", ["gitlab", "junit"])
def test_validate_writes_one_document(
    repository: Repository, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    repository.write("overlays/dev/values.yaml", "bseu: {}\n")
    code = main(["--repository", str(repository.root), "validate", "dev", "--format", form])
    out = capsys.readouterr().out
    assert code == 1
    if form == "gitlab":
        (entry,) = json.loads(out)
        assert entry["check_name"] == "unknown-key"
    else:
        (test,) = ElementTree.fromstring(out.encode()).iter("testcase")
        assert test.get("classname") == "unknown-key"
