"""The catalogue of all rules, by family."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.rules.access import pod_security, rbac, secrets
from scripts.rules.chain import backups, endpoints, genesis, keys, limits, node_data, peers
from scripts.rules.changes import (
    chain_continuity,
    data_kept,
    immutable_fields,
    kubernetes_versions,
    removals,
    versions,
)
from scripts.rules.delivery import argocd, ownership, sync_waves
from scripts.rules.monitoring import alerts, queries, scraping
from scripts.rules.networking import (
    blocked_calls,
    blocked_entries,
    dashboard,
    excess_traffic,
    exposure,
    ingress_backends,
    isolation,
    load_balancers,
    policy_ports,
    ports,
    scraped_ports,
    selectors,
)
from scripts.rules.objects import autoscalers, contents, fields, metadata, references, unused
from scripts.rules.rule import Problem, Rule
from scripts.rules.snapshot import Objects
from scripts.rules.workloads import (
    cron_jobs,
    disruption_budgets,
    duplicates,
    environment_variables,
    fault_tolerance,
    heap,
    mounted_files,
    placement,
    probes,
    quotas,
    replicas,
    requests,
    rollouts,
    shells,
    storage,
    termination,
    volumes,
)

_FAMILIES = (
    fields,
    selectors,
    ports,
    scraped_ports,
    policy_ports,
    ingress_backends,
    references,
    autoscalers,
    unused,
    contents,
    mounted_files,
    shells,
    environment_variables,
    volumes,
    duplicates,
    blocked_calls,
    blocked_entries,
    excess_traffic,
    isolation,
    quotas,
    requests,
    heap,
    storage,
    placement,
    fault_tolerance,
    disruption_budgets,
    replicas,
    rollouts,
    probes,
    termination,
    cron_jobs,
    immutable_fields,
    data_kept,
    kubernetes_versions,
    chain_continuity,
    versions,
    removals,
    pod_security,
    secrets,
    rbac,
    exposure,
    dashboard,
    load_balancers,
    ownership,
    argocd,
    sync_waves,
    metadata,
    keys,
    genesis,
    limits,
    node_data,
    backups,
    endpoints,
    peers,
    scraping,
    queries,
    alerts,
)

RULES: dict[str, Rule] = {
    member.id: member
    for family in _FAMILIES
    for member in vars(family).values()
    if isinstance(member, Rule)
}
"""Id → rule, family by family, in the order of the modules."""


def check(among: Sequence[Objects]) -> list[tuple[Objects, Rule, Problem]]:
    """Return the problems of environments, each with its environment and rule."""
    return [
        (objects, rule, problem)
        for rule in RULES.values()
        for objects, problem in rule.check(among)
    ]
