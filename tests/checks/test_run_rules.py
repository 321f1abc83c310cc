"""Waivers of rules: which problems they waive, until when, and which waivers are findings."""

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
from tests.checks import mutants
from tests.conftest import EXAMPLE, Repository
from tests.rules import examples

TODAY = date(2027, 3, 31)
RULE, SERVICE = "service-selects-no-pods", "Service/linea-stack-ethstats"
REASON = "The dashboard of dev has moved, and its old name is kept for links."


@lru_cache
def problem() -> tuple[Rule, Problem]:
    """Return the problem of a Service that selects no pods."""
    unbroken = examples.objects("dev")
    path = ("spec", "selector", "app.kubernetes.io/component")
    broken = [
        replace(manifest, object=mutants.changed(manifest.object, path, "dashboard"))
        for manifest in unbroken.manifests
        if manifest.label == SERVICE
    ]
    others = [manifest for manifest in unbroken.manifests if manifest.label != SERVICE]
    rule = catalogue.RULES[RULE]
    ((_, service),) = rule.check([replace(unbroken, manifests=(*others, *broken))])
    return rule, service


def applied(
    *waivers: Waiver, problems: Sequence[tuple[Rule, Problem]] = (), is_partial: bool = False
) -> tuple[list[Finding], list[tuple[Rule, Problem]]]:
    """Return the findings about the waivers, and the problems that they do not waive."""
    dev = replace(environment.load(EXAMPLE, "dev"), waivers=waivers)
    return run_rules.apply_waivers(dev, problems, TODAY, is_partial=is_partial)


def until(days: int, rule: str = RULE, label: str = SERVICE) -> Waiver:
    """Return a waiver that expires a number of days after today."""
    return Waiver(rule, label, (TODAY + timedelta(days)).isoformat())


def test_without_a_waiver_all_problems_count() -> None:
    assert applied(problems=[problem()]) == ([], [problem()])


@pytest.mark.parametrize("days", [0, 1, 365])
def test_a_waiver_counts_up_to_and_including_its_last_day(days: int) -> None:
    assert applied(until(days), problems=[problem()]) == ([], [])


def test_an_expired_waiver_is_a_finding_and_has_no_effect() -> None:
    (expired,), unwaived = applied(until(-1), problems=[problem()])
    assert unwaived == [problem()]
    assert (expired.rule, expired.object, expired.environment) == ("expired-waiver", SERVICE, "dev")
    assert "2027-03-30" in expired.message


@pytest.mark.parametrize(
    "waiver", [until(1, label="Service/linea-stack-besu"), until(1, rule="volume-too-small")]
)
def test_a_waiver_of_another_object_or_rule_is_unused_and_has_no_effect(waiver: Waiver) -> None:
    (unused,), unwaived = applied(waiver, problems=[problem()])
    assert unwaived == [problem()]
    assert unused.rule == "stale-waiver"


def test_an_unused_and_expired_waiver_is_one_finding() -> None:
    ((unused,), _) = applied(until(-1))
    assert unused.rule == "stale-waiver"


def test_a_waiver_counts_for_one_object_only() -> None:
    second = problem()[0], replace(problem()[1], manifest=examples.objects("dev").manifests[0])
    _, unwaived = applied(until(1), problems=[problem(), second])
    assert unwaived == [second]


def test_a_misspelled_rule_is_a_finding_with_the_nearest_name() -> None:
    (unknown,), unwaived = applied(until(1, rule="service-select-nothing"), problems=[problem()])
    assert (unknown.rule, unknown.fix) == ("unknown-rule", f"write {RULE}")
    assert unwaived == [problem()]


def test_an_unknown_rule_is_a_finding_that_says_where_rules_are_listed() -> None:
    ((unknown,), _) = applied(until(1, rule="zzz"))
    assert unknown.fix == "write a rule that `python -m scripts rules` lists"


def test_a_waiver_of_a_change_is_not_unused_after_the_change() -> None:
    """Without --against, nothing is compared; with it, the change may be an earlier one."""
    (name, *_) = [rule.id for rule in catalogue.RULES.values() if rule.is_about_changes]
    assert applied(until(1, rule=name)) == ([], [])


def test_an_expired_waiver_of_a_change_must_be_removed() -> None:
    (name, *_) = [rule.id for rule in catalogue.RULES.values() if rule.is_about_changes]
    ((expired,), _) = applied(until(-1, rule=name))
    assert expired.rule == "expired-waiver"
    assert expired.fix.startswith("remove the waiver")


def test_a_waiver_of_a_rule_across_environments_is_not_unused_if_only_some_are_checked() -> None:
    rules = catalogue.RULES.values()
    (name, *_) = [rule.id for rule in rules if rule.together and not rule.is_about_changes]
    assert applied(until(1, rule=name), is_partial=True) == ([], [])
    ((unused,), _) = applied(until(1, rule=name))
    assert unused.rule == "stale-waiver"


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
    data = yaml.safe_load((repository / file).read_text("utf-8"))
    repository.write(file, yaml.safe_dump(data | {"waivers": [waiver]}))
    capsys.readouterr()
    assert main([*command, "validate", "dev"]) == 0
    assert capsys.readouterr().out.startswith("valid: dev\n")


def test_findings_about_waivers_are_at_the_line_to_change() -> None:
    stream = io.StringIO()
    findings.write(applied(until(1))[0], "text", stream)
    assert stream.getvalue().startswith("overlays/dev/environment.yaml:")
