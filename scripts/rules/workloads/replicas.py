"""Replicas: there are as many pods as there should be, and one place says so."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.kubernetes import autoscalers
from scripts.kubernetes.workloads import whole
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects
from scripts.rules.workloads.placing import counted

_SCALING = "https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/"


@rule("docs/chain.md")
def several_ethstats_replicas(objects: Objects) -> Iterator[Problem]:
    """EthStats has one pod.

    It keeps what nodes report in memory: of two, each knows some of the nodes, and the page shows
    now these and now those.
    """
    found = objects.component("ethstats")
    if found is not None and found.most > 1:
        message = f"there may be {found.most} pods of EthStats, each with a part of the nodes"
        yield Problem(*counted(objects, found, "maxReplicas"), message, "write 1")


@rule(_SCALING, outcome=Outcome.REJECTED)
def autoscaler_min_above_max(objects: Objects) -> Iterator[Problem]:
    """An autoscaler's minReplicas is no more than its maxReplicas.

    Else Kubernetes refuses it.
    """
    for manifest in objects.of_kind(autoscalers.KIND):
        least = whole(manifest.get("spec", "minReplicas"), 1)
        most = whole(manifest.get("spec", "maxReplicas"), least)
        if least > most:
            message = f"minReplicas is {least}, and maxReplicas {most}: Kubernetes refuses that"
            fix = f"write minReplicas: {most} or less, or maxReplicas: {least} or more"
            yield Problem(manifest, ("spec", "minReplicas"), message, fix)


@rule(_SCALING)
def replicas_outside_autoscaler(objects: Objects) -> Iterator[Problem]:
    """Replicas of what an autoscaler scales are within its bounds, or left to it.

    Else whatever applies them starts or stops pods that the autoscaler then stops or starts again.
    """
    for workload in objects.workloads:
        replicas = workload.get("spec", "replicas")
        scalers = objects.autoscalers(workload.manifest)
        if not scalers or not isinstance(replicas, int):
            continue
        if not workload.least <= replicas <= workload.most:
            message = (
                f"replicas is {replicas}, and {scalers[0].label} keeps {workload.least} to "
                f"{workload.most} pods: each undoes what the other did"
            )
            fix = "leave replicas out: the autoscaler owns it"
            yield Problem(workload.manifest, ("spec", "replicas"), message, fix)


@rule("https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/")
def zero_replicas(objects: Objects) -> Iterator[Problem]:
    """What is in an environment runs there.

    With no replicas everything is there but the pods, and nothing else says that it is off.
    """
    for workload in objects.workloads:
        if workload.manifest.kind in ("Deployment", "StatefulSet") and not workload.least:
            name = workload.manifest.component or workload.manifest.name
            manifest, path = counted(objects, workload, "minReplicas")
            message = f"there are 0 pods of {name}, and its Service, volumes and alerts stay"
            yield Problem(manifest, path, message, f"write 1 or more, or {name}.enabled: false")
