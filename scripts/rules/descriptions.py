"""The descriptions of rules, for findings in SARIF."""

from __future__ import annotations

from scripts.core.findings import Description
from scripts.rules import catalogue


def described() -> dict[str, Description]:
    """Return the description of each rule, by id."""
    return {
        rule.id: Description(rule.promise, rule.why, rule.source, rule.severity)
        for rule in catalogue.RULES.values()
    }
