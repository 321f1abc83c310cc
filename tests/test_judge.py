"""Waivers: what they let be, until when, and what is told of those that are of no use."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from functools import lru_cache

import pytest
import yaml

from scripts.__main__ import main
from scripts.checks import run_rules
from scripts.core import findings
from scripts.core.findings import Finding
from scripts.environments import environment
from scripts.environments.environment import Waiver
from scripts.rules import catalogue
from scripts.rules.rule import Problem, Rule
from tests import examples, mutants
from tests.conftest import ROOT, Repository

TODAY = date(2027, 3, 31)
RULE, SERVICE = "service-selects-nothing", "Service/linea-stack-ethstats"
REASON = "The dashboard of dev has moved, and its old name is kept for links."


@lru_cache
def problem() -> tuple[Rule, Problem]:
    """Return what the rule finds where the Service selects other pods."""
    unbroken = examples.objects("dev")
    path = ("spec", "selector", "app.kubernetes.io/component")
    broken = [
        replace(one, object=mutants.changed(one.object, path, "dashboard"))
        for one in unbroken.manifests
        if one.label == SERVICE
    ]
    left = [one for one in unbroken.manifests if one.label != SERVICE]
    rule = catalogue.RULES[RULE]
    ((_, found),) = rule.check([replace(unbroken, manifests=(*left, *broken))])
    return rule, found


def waived(
    *waivers: Waiver, problems: Sequence[tuple[Rule, Problem]] = (), alone: bool = False
) -> tuple[list[Finding], list[tuple[Rule, Problem]]]:
    found = replace(environment.load(ROOT, "dev"), waivers=waivers)
    return run_rules.waived(found, problems, TODAY, alone=alone)


def until(days: int, rule: str = RULE, label: str = SERVICE) -> Waiver:
    """Return a waiver until so many days after today."""
    return Waiver(rule, label, (TODAY + timedelta(days)).isoformat())


def test_without_a_waiver_all_problems_are_left() -> None:
    assert waived(problems=[problem()]) == ([], [problem()])


@pytest.mark.parametrize("days", [0, 1, 365])
def test_a_waiver_lets_a_problem_be_up_to_and_on_its_last_day(days: int) -> None:
    assert waived(until(days), problems=[problem()]) == ([], [])


def test_the_day_after_the_problem_is_told_and_that_the_waiver_ended() -> None:
    told, left = waived(until(-1), problems=[problem()])
    assert left == [problem()]
    assert [(one.rule, one.object, one.environment) for one in told] == [
        ("expired-waiver", SERVICE, "dev")
    ]
    assert "2027-03-30" in told[0].message


@pytest.mark.parametrize(
    "waiver", [until(1, label="Service/linea-stack-besu"), until(1, rule="volume-too-small")]
)
def test_a_waiver_of_another_object_or_rule_lets_nothing_be_and_is_stale(waiver: Waiver) -> None:
    told, left = waived(waiver, problems=[problem()])
    assert left == [problem()]
    assert [one.rule for one in told] == ["stale-waiver"]


def test_a_waiver_that_is_stale_and_has_ended_is_told_once() -> None:
    assert [one.rule for one in waived(until(-1))[0]] == ["stale-waiver"]


def test_one_waiver_for_two_objects_needs_two_entries() -> None:
    second = problem()[0], replace(problem()[1], manifest=examples.objects("dev").manifests[0])
    _, left = waived(until(1), problems=[problem(), second])
    assert left == [second]


def test_an_unknown_rule_is_told_with_the_nearest_name() -> None:
    ((told,), left) = waived(until(1, rule="service-select-nothing"), problems=[problem()])
    assert (told.rule, told.fix) == ("unknown-rule", f"write {RULE}")
    assert left == [problem()]


def test_an_unknown_rule_like_no_other_is_told_with_where_they_are_listed() -> None:
    ((told,), _) = waived(until(1, rule="zzz"))
    assert told.fix == "write one of `python -m scripts rules`"


def test_a_waiver_of_a_change_is_not_stale_once_the_change_is_made() -> None:
    """Without --against, nothing is compared; with it, the change may be an earlier one."""
    (rule, *_) = [one.id for one in catalogue.RULES.values() if one.is_about_changes]
    assert waived(until(1, rule=rule)) == ([], [])


def test_a_waiver_of_a_change_goes_when_it_has_ended() -> None:
    (rule, *_) = [one.id for one in catalogue.RULES.values() if one.is_about_changes]
    ((told,), _) = waived(until(-1, rule=rule))
    assert told.rule == "expired-waiver"
    assert told.fix.startswith("remove the waiver")


def test_a_waiver_of_what_environments_share_is_not_stale_where_one_is_looked_at_alone() -> None:
    (rule, *_) = [one.id for one in catalogue.RULES.values() if one.together]
    assert waived(until(1, rule=rule), alone=True) == ([], [])
    assert [one.rule for one in waived(until(1, rule=rule))[0]] == ["stale-waiver"]


def test_a_waived_environment_is_valid(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    patch = {
        "target": {"kind": "Service", "name": "linea-stack-ethstats"},
        "patch": [
            {"op": op, "path": "/spec/selector/app.kubernetes.io~1component", "value": value}
            for op, value in (("test", "ethstats"), ("replace", "dashboard"))
        ],
    }
    repository.write("overlays/dev/patches/dashboard.yaml", yaml.safe_dump(patch))
    command = ["--repository", str(repository.root)]
    assert main([*command, "render", "dev"]) == 0
    assert main([*command, "validate", "dev"]) == 1
    (waiver,) = [{"rule": RULE, "object": SERVICE, "reason": REASON, "until": "2999-12-31"}]
    file = "overlays/dev/environment.yaml"
    text = (repository / file).read_text("utf-8")
    repository.write(file, text + yaml.safe_dump({"waivers": [waiver]}))
    capsys.readouterr()
    assert main([*command, "validate", "dev"]) == 0
    assert capsys.readouterr().out.startswith("valid: dev\n")


def test_findings_of_waivers_stand_at_the_line_to_change() -> None:
    stream = io.StringIO()
    findings.write(waived(until(1))[0], "text", stream)
    assert stream.getvalue().startswith("overlays/dev/environment.yaml:")
