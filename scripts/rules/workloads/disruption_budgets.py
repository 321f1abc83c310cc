"""Disruption budgets: nodes can be drained, and drains leave enough pods."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scripts.core.findings import Severity
from scripts.kubernetes import resilience
from scripts.kubernetes.manifest import Manifest
from scripts.kubernetes.workloads import Workload
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects
from scripts.rules.workloads.placing import counted

_BUDGETS = "https://kubernetes.io/docs/tasks/run-application/configure-pdb/"
_VALIDATORS = ("sequencer", "maru")
"""Components that are a validator together."""


@rule(_BUDGETS)
def pdb_blocks_drain(objects: Objects) -> Iterator[Problem]:
    """A PodDisruptionBudget lets a pod go when all are well.

    Else no node with one of them can be drained: upgrades of nodes wait, then kill the pods.
    """
    for manifest, spec, own in _budgets(objects):
        pods = sum(one.least for one in own)
        if pods and resilience.let_go(spec, pods) < 1:
            field = "maxUnavailable" if "maxUnavailable" in spec else "minAvailable"
            message = (
                f"{field} is {spec[field]} of {pods} pods, so none may go: no node with one of "
                "them can be drained"
            )
            fix = "write maxUnavailable: 1"
            yield Problem(manifest, ("spec", field), message, fix)


@rule(_BUDGETS, outcome=Outcome.RISK)
def pdb_allows_loss_of_quorum(objects: Objects) -> Iterator[Problem]:
    """A PodDisruptionBudget lets no more validators go at once than the chain can spare.

    Else two nodes that are drained together stop it.
    """
    spare = objects.chain.spare if objects.chain else 0
    for manifest, spec, own in _budgets(objects):
        pods = sum(one.least for one in own if one.manifest.component in _VALIDATORS)
        gone = min(resilience.let_go(spec, pods), pods)
        if pods > 1 and gone > max(1, spare):
            field = "minAvailable" if "minAvailable" in spec else "maxUnavailable"
            message = (
                f"the budget lets {gone} of {pods} validators go at once, and the chain goes on "
                f"without {max(0, spare)} only"
            )
            yield Problem(
                manifest, ("spec", field), message, f"write maxUnavailable: {max(1, spare)}"
            )


@rule(_BUDGETS, outcome=Outcome.RISK)
def missing_pdb(objects: Objects) -> Iterator[Problem]:
    """In production a PodDisruptionBudget selects the pods of what has several.

    Else an upgrade of the nodes may take all of them at once.
    """
    if not objects.is_production:
        return
    kept = {id(one) for _, _, own in _budgets(objects) for one in own}
    if not all(own for _, _, own in _budgets(objects)):
        return  # the budget that is meant selects nothing, which is told
    for workload in objects.workloads:
        if workload.least > 1 and id(workload) not in kept and workload.manifest.kind != "Job":
            message = (
                f"no PodDisruptionBudget selects the {workload.least} pods: drains may take all of "
                "them at once"
            )
            fix = "write podDisruptionBudget: {enabled: true, maxUnavailable: 1}"
            yield Problem(*counted(objects, workload, "minReplicas"), message, fix)


@rule(_BUDGETS, outcome=Outcome.HIDDEN)
def pdb_protects_no_pod(objects: Objects) -> Iterator[Problem]:
    """A PodDisruptionBudget keeps one of several pods.

    Else drains may take all of them at once, as if it were not there.
    """
    for manifest, spec, own in _budgets(objects):
        pods = sum(one.least for one in own)
        of_chain = any(one.manifest.component in _VALIDATORS for one in own)
        if pods > 1 and resilience.let_go(spec, pods) >= pods and not of_chain:
            field = "maxUnavailable" if "maxUnavailable" in spec else "minAvailable"
            message = (
                f"{field} is {spec.get(field)} of {pods} pods: drains may take all of them at once"
            )
            yield Problem(manifest, ("spec", field), message, "write maxUnavailable: 1")


@rule(_BUDGETS + "#unhealthy-pod-eviction-policy", Severity.WARNING)
def pdb_protects_unready_pods(objects: Objects) -> Iterator[Problem]:
    """A PodDisruptionBudget lets pods go that are not ready anyway.

    Kubernetes' default keeps them where others are away, too: a node with a pod that never becomes
    ready can't be drained, and an upgrade of the cluster stops there.
    """
    # The field is there from 1.27 on.
    there = int(objects.kubernetes_version.partition(".")[2]) >= 27
    for manifest, spec, own in _budgets(objects) if there else ():
        if own and spec.get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
            message = "pods that are not ready hold up drains, as those do that serve"
            path = ("spec", "unhealthyPodEvictionPolicy")
            fix = "write unhealthyPodEvictionPolicy: AlwaysAllow"
            yield Problem(manifest, path, message, fix)


@rule(
    "https://kubernetes.io/docs/tasks/run-application/configure-pdb/#specifying-a-poddisruptionbudget",
    outcome=Outcome.REJECTED,
)
def pdb_with_both_bounds(objects: Objects) -> Iterator[Problem]:
    """A PodDisruptionBudget says minAvailable or maxUnavailable, not both.

    Else Kubernetes refuses it.
    """
    for manifest, spec, _ in _budgets(objects):
        if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
            message = "minAvailable and maxUnavailable are both set: Kubernetes refuses that"
            yield Problem(
                manifest, ("spec", "minAvailable"), message, "keep maxUnavailable: 1 only"
            )


def _budgets(objects: Objects) -> Iterator[tuple[Manifest, dict[str, Any], list[Workload]]]:
    """Yield the PodDisruptionBudgets, each with its spec and with what it selects."""
    for manifest in objects.of_kind("PodDisruptionBudget"):
        spec = manifest.object.get("spec")
        if isinstance(spec, dict):
            yield manifest, spec, objects.selected(spec.get("selector"))
