"""What only the API server's own validation rejects is in the report, too, and only once."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.impact import comparison
from scripts.impact.compare.revisions import Pair
from scripts.impact.report import EnvironmentImpact
from scripts.kubernetes import api_validation
from scripts.kubernetes.api_validation import Change, Rejection
from scripts.rules.snapshot import Objects
from tests import optional_tools
from tests.impact.effects.test_all_effects import (
    BESU,
    ETHSTATS,
    NOTE,
    TEMPLATE,
    Edit,
    changed,
    messages,
    objects,
    on,
)

PROD = objects("prod")

NO_ADDRESS = on(ETHSTATS, *TEMPLATE, "spec", "dnsConfig", to={"nameservers": ["dns"]})
"""A mistake that only the API server's own validation knows: a name for an address."""


def asked(name: str, old: Objects, new: Objects) -> EnvironmentImpact:
    """Return the impact of a change, with the API server's own validation."""
    optional_tools.needs(*(f"admission-{version}" for version in api_validation.versions()))

    def ask(changes: Sequence[Change], version: str) -> list[Rejection]:
        return api_validation.ask(changes, version).rejections

    return comparison.environment_impact(Pair(name, old, new, ({}, {})), ask)


def without(label: str) -> Edit:
    """Return an edit that removes an object."""
    return on(label, to=None)


def test_what_only_the_api_server_knows_stops_the_sync() -> None:
    impact = asked("prod", PROD, NO_ADDRESS(PROD))
    assert impact.outcome is not None
    assert impact.outcome.is_refused
    (message,) = [line for line in messages(impact) if line.startswith("BLOCKED")]
    assert "for spec.template.spec.dnsConfig.nameservers[0]" in message


def test_a_new_object_that_only_the_api_server_rejects_fails_during_the_sync() -> None:
    impact = asked("prod", without(ETHSTATS)(PROD), NO_ADDRESS(PROD))
    assert impact.outcome is not None
    assert not impact.outcome.is_refused
    assert impact.outcome.is_failing


def test_a_cause_that_a_rule_reports_is_not_reported_twice() -> None:
    edit = on("StatefulSet/linea-stack-maru", "spec", "serviceName", to="other")
    impact, of_rules = asked("prod", PROD, edit(PROD)), changed("prod", edit)
    blocked = [line for line in messages(impact) if line.startswith("BLOCKED")]
    assert blocked == [line for line in messages(of_rules) if line.startswith("BLOCKED")] != []


def test_an_unchanged_object_is_not_asked_about() -> None:
    odd = NO_ADDRESS(PROD)
    note = on(BESU, *NOTE, to="x")
    assert messages(asked("prod", odd, note(odd))) == messages(changed("prod", note))
