"""All rules, by family, and what they say together."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.rules import monitoring
from scripts.rules.access import pod_security, rbac, secrets
from scripts.rules.chain import endpoints, node_setup, peers
from scripts.rules.changes import chain_continuity, removals, updates, versions
from scripts.rules.delivery import argocd, ownership, sync_waves
from scripts.rules.networking import (
    blocked_traffic,
    excess_traffic,
    exposure,
    isolation,
    ports,
    selectors,
)
from scripts.rules.objects import fields, metadata, references
from scripts.rules.rule import Problem, Rule
from scripts.rules.snapshot import Objects
from scripts.rules.workloads import (
    availability,
    cron_jobs,
    environment_variables,
    lifecycle,
    mounted_files,
    resources,
    volumes,
)

_FAMILIES = (
    fields,
    selectors,
    ports,
    references,
    mounted_files,
    environment_variables,
    volumes,
    blocked_traffic,
    excess_traffic,
    isolation,
    resources,
    availability,
    lifecycle,
    cron_jobs,
    updates,
    chain_continuity,
    versions,
    removals,
    pod_security,
    secrets,
    rbac,
    exposure,
    ownership,
    argocd,
    sync_waves,
    metadata,
    node_setup,
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
