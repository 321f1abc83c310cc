"""PodDisruptionBudgets: nodes can be drained, and a drain leaves enough pods running."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scripts.core import advice
from scripts.core.findings import Severity
from scripts.kubernetes import minor_version, resilience
from scripts.kubernetes.manifest import Manifest
from scripts.kubernetes.workloads import Workload
from scripts.rules.chart_values import file, is_from_values
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects
from scripts.rules.workloads.placing import counted

_BUDGETS = "https://kubernetes.io/docs/tasks/run-application/configure-pdb/"
_VALIDATORS = ("sequencer", "maru")
"""The components of a validator."""
_OF_CHART = (*_VALIDATORS, "besu")
"""The components for which the chart can create a PodDisruptionBudget."""


@rule(_BUDGETS)
def pdb_blocks_drain(objects: Objects) -> Iterator[Problem]:
    """A PodDisruptionBudget allows the eviction of a pod if all pods are ready.

    Otherwise no node with such a pod can be drained: node upgrades hang, and kill the pods after a
    timeout.
    """
    for manifest, spec, own in _budgets(objects):
        pods = sum(workload.least for workload in own)
        if _keeps_only_pod(objects, spec, pods):
            continue
        if pods and resilience.let_go(spec, pods) < 1:
            field = "maxUnavailable" if "maxUnavailable" in spec else "minAvailable"
            message = (
                f"{field} is {spec[field]} for {pods} {_pods(pods)}, so no pod may be evicted: "
                f"drains of {'its node' if pods == 1 else 'their nodes'} hang"
            )
            yield Problem(manifest, ("spec", field), message, _bound(spec, 1))


def _keeps_only_pod(objects: Objects, spec: dict[str, Any], pods: int) -> bool:
    """Return whether a budget outside production keeps the only pod."""
    return pods == 1 and not objects.is_production and spec.get("minAvailable") == 1


@rule(_BUDGETS, Severity.WARNING)
def pdb_keeps_only_pod(objects: Objects) -> Iterator[Problem]:
    """A PodDisruptionBudget outside production allows the eviction of the only pod.

    Otherwise the node of the pod can't be drained until someone deletes the pod. In production,
    pdb-blocks-drain reports this as an error.
    """
    for manifest, spec, own in _budgets(objects):
        if _keeps_only_pod(objects, spec, sum(workload.least for workload in own)):
            label = next(workload.manifest.label for workload in own if workload.least)
            message = (
                f"minAvailable is 1 for the only pod of {label}: its node can't be drained until "
                "someone deletes the pod"
            )
            fix = f"{_bound(spec, 1)} from {manifest.label}"
            if manifest.component in _OF_CHART and is_from_values(manifest):
                field = f"{manifest.component}.podDisruptionBudget.minAvailable"
                fix = f"write {field}: 0 in {file(objects)}"
            yield Problem(manifest, ("spec", "minAvailable"), message, fix)


@rule(_BUDGETS, outcome=Outcome.RISK)
def pdb_allows_loss_of_quorum(objects: Objects) -> Iterator[Problem]:
    """A PodDisruptionBudget lets no more validators be evicted at once than the chain can spare.

    Otherwise the chain stops if two nodes are drained at the same time.
    """
    spare = objects.chain.spare if objects.chain else 0
    needs = f", but a block needs {objects.chain.quorum}" if objects.chain else ""
    for manifest, spec, own in _budgets(objects):
        pods = sum(w.least for w in own if w.manifest.component in _VALIDATORS)
        gone = min(resilience.let_go(spec, pods), pods)
        if pods > 1 and gone > max(1, spare):
            field = "minAvailable" if "minAvailable" in spec else "maxUnavailable"
            message = (
                f"{field} is {spec.get(field, 'not set')}, so drains may evict {gone} of {pods} "
                f"validators at once{needs}: the chain stops"
            )
            yield Problem(manifest, ("spec", field), message, _bound(spec, max(1, spare)))


@rule(_BUDGETS, outcome=Outcome.RISK)
def missing_pdb(objects: Objects) -> Iterator[Problem]:
    """In production, a PodDisruptionBudget selects the pods of each workload with several pods.

    Otherwise a node upgrade may evict all of them at once.
    """
    if not objects.is_production:
        return
    protected = {id(workload) for _, _, own in _budgets(objects) for workload in own}
    if not all(own for _, _, own in _budgets(objects)):
        return  # pdb-selects-no-pods reports the budget that is meant for these pods
    for workload in objects.workloads:
        is_job = workload.manifest.kind == "Job"
        if workload.least > 1 and id(workload) not in protected and not is_job:
            message = (
                f"no PodDisruptionBudget selects the {workload.least} pods of "
                f"{workload.manifest.label}: drains may evict all of them at once"
            )
            fix = "add a PodDisruptionBudget with maxUnavailable: 1 that selects these pods"
            component = workload.manifest.component
            if component in _OF_CHART:
                fix = advice.write_values(
                    f"{component}.podDisruptionBudget",
                    {"enabled": True, "maxUnavailable": 1},
                    f" in {file(objects)}",
                )
            yield Problem(*counted(objects, workload, "minReplicas"), message, fix)


@rule(_BUDGETS, outcome=Outcome.HIDDEN)
def pdb_protects_no_pod(objects: Objects) -> Iterator[Problem]:
    """A PodDisruptionBudget for several pods keeps at least one of them running.

    Otherwise drains may evict all of them at once, as without a budget.
    """
    for manifest, spec, own in _budgets(objects):
        pods = sum(workload.least for workload in own)
        of_chain = any(workload.manifest.component in _VALIDATORS for workload in own)
        if pods > 1 and resilience.let_go(spec, pods) >= pods and not of_chain:
            field = "maxUnavailable" if "maxUnavailable" in spec else "minAvailable"
            message = (
                f"{field} is {spec.get(field, 'not set')} for {pods} pods: drains may evict all of "
                "them at once"
            )
            yield Problem(manifest, ("spec", field), message, _bound(spec, 1))


@rule(_BUDGETS + "#unhealthy-pod-eviction-policy", Severity.WARNING)
def pdb_protects_unready_pods(objects: Objects) -> Iterator[Problem]:
    """A PodDisruptionBudget allows the eviction of pods that are not ready.

    Otherwise a node with a pod that never becomes ready can't be drained while other pods are
    down, too, and the upgrade of the cluster hangs there.
    """
    # The field exists since 1.27.
    exists = minor_version.number(objects.kubernetes_version) >= 27
    for manifest, spec, own in _budgets(objects) if exists else ():
        if own and spec.get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
            policy = spec.get("unhealthyPodEvictionPolicy") or "not set"
            message = (
                f"unhealthyPodEvictionPolicy is {policy}: a pod that never becomes ready may block "
                "the drain of its node"
            )
            path = ("spec", "unhealthyPodEvictionPolicy")
            fix = advice.write("unhealthyPodEvictionPolicy", "AlwaysAllow")
            yield Problem(manifest, path, message, fix)


@rule(
    "https://kubernetes.io/docs/tasks/run-application/configure-pdb/#specifying-a-poddisruptionbudget",
    outcome=Outcome.REJECTED,
)
def pdb_with_both_bounds(objects: Objects) -> Iterator[Problem]:
    """A PodDisruptionBudget sets minAvailable or maxUnavailable, not both.

    Otherwise the API server rejects it, so the sync fails or does not begin.
    """
    for manifest, spec, _ in _budgets(objects):
        if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
            message = (
                "minAvailable and maxUnavailable are both set: the API server rejects the object, "
                "so the sync fails"
            )
            other = advice.write("maxUnavailable", 1)
            fix = advice.remove("minAvailable") + ", and " + other
            yield Problem(manifest, ("spec", "minAvailable"), message, fix)


def _budgets(objects: Objects) -> Iterator[tuple[Manifest, dict[str, Any], list[Workload]]]:
    """Yield the PodDisruptionBudgets, each with its spec and the workloads that it selects."""
    for manifest in objects.of_kind("PodDisruptionBudget"):
        spec = manifest.object.get("spec")
        if isinstance(spec, dict):
            yield manifest, spec, objects.selected(spec.get("selector"))


def _bound(spec: dict[str, Any], most: int) -> str:
    """Return a fix: how many pods may be evicted at once."""
    instead = ", and remove minAvailable" if "minAvailable" in spec else ""
    return f"write maxUnavailable: {most}{instead}"


def _pods(count: int) -> str:
    return "pod" if count == 1 else "pods"
