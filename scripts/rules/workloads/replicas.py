"""Replicas: the number of pods is plausible, and set in one place only."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.core import advice
from scripts.kubernetes import autoscalers
from scripts.kubernetes.workloads import whole
from scripts.rules import chart_values
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects
from scripts.rules.workloads.placing import counted

_SCALING = "https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/"

_VALIDATORS = ("maru", "sequencer")


@rule("docs/chain.md")
def several_ethstats_replicas(objects: Objects) -> Iterator[Problem]:
    """EthStats has one pod.

    Otherwise each pod shows only some of the nodes, because it keeps their reports in memory, and
    the page changes from request to request.
    """
    ethstats = objects.component("ethstats")
    if ethstats is not None and ethstats.most > 1:
        message = (
            f"EthStats may have {ethstats.most} pods: each of them shows only some of the nodes"
        )
        manifest, path = counted(objects, ethstats, "maxReplicas")
        yield Problem(manifest, path, message, advice.write(path[-1], 1))


@rule(_SCALING, outcome=Outcome.REJECTED)
def autoscaler_min_above_max(objects: Objects) -> Iterator[Problem]:
    """The minReplicas of a HorizontalPodAutoscaler do not exceed its maxReplicas.

    Otherwise the API server rejects the object, so the sync fails or does not begin.
    """
    for manifest in objects.of_kind(autoscalers.KIND):
        least = whole(manifest.get("spec", "minReplicas"), 1)
        most = whole(manifest.get("spec", "maxReplicas"), least)
        if least > most:
            message = (
                f"minReplicas is {least}, more than maxReplicas, which is {most}: the API server "
                "rejects the object, so the sync fails"
            )
            fix = advice.write("minReplicas", most).unless(
                f"; if at least {least} pods are needed, write maxReplicas: {least} instead"
            )
            yield Problem(manifest, ("spec", "minReplicas"), message, fix)


@rule(_SCALING)
def replicas_outside_autoscaler(objects: Objects) -> Iterator[Problem]:
    """The replicas of an autoscaled workload are unset, or within the autoscaler's range.

    Otherwise each sync starts or stops pods, and the autoscaler reverts that.
    """
    for workload in objects.workloads:
        replicas = workload.get("spec", "replicas")
        scalers = objects.autoscalers(workload.manifest)
        if not scalers or not isinstance(replicas, int):
            continue
        if not workload.least <= replicas <= workload.most:
            message = (
                f"replicas is {replicas}, and {scalers[0].label} keeps {workload.least} to "
                f"{workload.most} pods: each sync changes the number, and the autoscaler reverts it"
            )
            fix = advice.remove("replicas") + ": the autoscaler sets it"
            yield Problem(workload.manifest, ("spec", "replicas"), message, fix)


@rule("https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/")
def zero_replicas(objects: Objects) -> Iterator[Problem]:
    """A Deployment or StatefulSet has at least one replica.

    Otherwise its Service, volumes and alerts remain without a pod, and nothing else shows that it
    is switched off.
    """
    for workload in objects.workloads:
        if workload.manifest.kind in ("Deployment", "StatefulSet") and not workload.least:
            label, component = workload.manifest.label, workload.manifest.component
            manifest, path = counted(objects, workload, "minReplicas")
            message = f"{label} has 0 pods, but its Service, volumes and alerts remain"
            off = f"remove {label}"
            if workload.manifest.template.startswith("chart/"):
                section = "txSender" if component == "tx-sender" else component
                off = f"write {section}.enabled: false in {chart_values.file(objects)}"
            least = objects.chain.validators if objects.chain and component in _VALIDATORS else 1
            fix = advice.write(path[-1], least).unless(
                f" or more; to switch it off, {off} instead"
                if least == 1
                else f", the validators of the genesis; to switch it off, {off} instead"
            )
            yield Problem(manifest, path, message, fix)
