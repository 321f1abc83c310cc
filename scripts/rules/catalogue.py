"""All rules, by family, and what they say together."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.rules import (
    accounts,
    argocd,
    availability,
    capacity,
    chain,
    change,
    connections,
    continuity,
    endpoints,
    exposure,
    fields,
    files,
    isolation,
    jobs,
    lifecycle,
    losses,
    metadata,
    monitoring,
    openings,
    ownership,
    peers,
    ports,
    references,
    secrets,
    security,
    selectors,
    variables,
    volumes,
    waves,
)
from scripts.rules.objects import Objects
from scripts.rules.rule import Problem, Rule

_FAMILIES = (
    fields,
    selectors,
    ports,
    references,
    files,
    variables,
    volumes,
    connections,
    openings,
    isolation,
    capacity,
    availability,
    lifecycle,
    jobs,
    change,
    continuity,
    losses,
    security,
    secrets,
    accounts,
    exposure,
    ownership,
    argocd,
    waves,
    metadata,
    chain,
    endpoints,
    peers,
    monitoring,
)

RULES: dict[str, Rule] = {
    found.id: found
    for family in _FAMILIES
    for found in vars(family).values()
    if isinstance(found, Rule)
}
"""By id, family after family, in the order in which the files have them."""


def check(among: Sequence[Objects]) -> list[tuple[Objects, Rule, Problem]]:
    """Return what is wrong in environments that live side by side, each with the rule it breaks."""
    return [
        (objects, rule, problem)
        for rule in RULES.values()
        for objects, problem in rule.check(among)
    ]
