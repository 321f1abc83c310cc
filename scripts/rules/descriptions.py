"""What findings in SARIF say of each rule."""

from __future__ import annotations

from scripts.core.findings import Description
from scripts.rules import catalogue


def described() -> dict[str, Description]:
    """Return what is known of each rule, by its id."""
    return {
        rule.id: Description(rule.promise, rule.why, rule.source, rule.severity)
        for rule in catalogue.RULES.values()
    }
