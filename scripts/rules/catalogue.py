"""The catalogue of all rules, by family."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.rules.access import pod_security, rbac, secrets
from scripts.rules.chain import (
    accounts,
    backup_storage,
    backups,
    endpoints,
    forks,
    genesis,
    keys,
    limits,
    node_data,
    options_together,
    peers,
)
from scripts.rules.changes import (
    chain_continuity,
    copied_ranges,
    data_kept,
    immutable_fields,
    kubernetes_versions,
    removals,
    taken_along,
    versions,
)
from scripts.rules.delivery import argocd, aws_places, ownership, shared_names, sync_waves, windows
from scripts.rules.monitoring import alerts, dashboards, intervals, queries, scraping, thresholds
from scripts.rules.networking import (
    balancer_attributes,
    balancer_settings,
    blocked_calls,
    blocked_entries,
    controller_annotations,
    dashboard,
    excess_traffic,
    exposure,
    ingress_backends,
    ingress_groups,
    isolation,
    load_balancer_sources,
    load_balancers,
    outside,
    policy_ports,
    ports,
    private_apis,
    scraped_ports,
    selectors,
)
from scripts.rules.objects import (
    autoscalers,
    bounds,
    contents,
    fields,
    metadata,
    references,
    unused,
)
from scripts.rules.rule import Problem, Rule
from scripts.rules.snapshot import Objects
from scripts.rules.workloads import (
    cron_jobs,
    disruption_budgets,
    duplicates,
    environment_variables,
    fault_tolerance,
    heap,
    jvm,
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
    private_apis,
    scraped_ports,
    policy_ports,
    ingress_backends,
    references,
    autoscalers,
    bounds,
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
    outside,
    quotas,
    requests,
    heap,
    jvm,
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
    taken_along,
    copied_ranges,
    pod_security,
    secrets,
    rbac,
    exposure,
    dashboard,
    load_balancers,
    load_balancer_sources,
    ingress_groups,
    controller_annotations,
    balancer_attributes,
    balancer_settings,
    ownership,
    shared_names,
    aws_places,
    argocd,
    windows,
    sync_waves,
    metadata,
    keys,
    genesis,
    forks,
    accounts,
    limits,
    options_together,
    node_data,
    backups,
    backup_storage,
    endpoints,
    peers,
    scraping,
    intervals,
    queries,
    alerts,
    thresholds,
    dashboards,
)

RULES: dict[str, Rule] = {
    member.id: member
    for family in _FAMILIES
    for member in vars(family).values()
    if isinstance(member, Rule)
}
"""Id → rule, family by family, in the order of the modules."""


def check(
    among: Sequence[Objects], together: bool | None = None
) -> list[tuple[Objects, Rule, Problem]]:
    """Return the problems of environments, each with its environment and rule.

    together: only those of rules that look at several environments together, or only the others.
    """
    return [
        (objects, rule, problem)
        for rule in RULES.values()
        if together is None or rule.together is together
        for objects, problem in rule.check(among)
    ]


def claims(objects: Objects) -> dict[str, bool]:
    """Return what rules compare between environments: key → whether it is claimed for one alone.

    For what that means, see Claims in rule.py.
    """
    found = dict[str, bool]()
    for rule in RULES.values():
        for key, alone in rule.claims(objects) if rule.claims else ():
            name = f"{rule.id} {key}"
            found[name] = alone or found.get(name, False)
    return found
