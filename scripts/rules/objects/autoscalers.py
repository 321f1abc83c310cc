"""Autoscalers: their targets exist, and can be scaled by their metrics."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from decimal import Decimal

from scripts.core import advice, paths
from scripts.kubernetes import autoscalers, containers
from scripts.kubernetes.autoscalers import TARGET, Target
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.quantity import parse
from scripts.kubernetes.workloads import Workload, mappings
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_SCALERS = "https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/"
_SCALABLE = ("Deployment", "ReplicaSet", "StatefulSet")
_REQUESTS = {"cpu": "500m", "memory": "1Gi"}
"""Resource → a request to write as an example."""


@rule(_SCALERS, outcome=Outcome.HIDDEN)
def unknown_autoscaler_target(objects: Objects) -> Iterator[Problem]:
    """The target of a HorizontalPodAutoscaler exists and can be scaled.

    Otherwise the autoscaler reports FailedGetScale and never scales: the workload keeps its current
    number of replicas under any load.
    """
    for scaler in objects.of_kind(autoscalers.KIND):
        target = autoscalers.target(scaler)
        workload = objects.find(target.kind, target.name)
        if workload is None:
            scalable = objects.of_kind(*_SCALABLE)
            names = [other.name for other in scalable if other.kind == target.kind]
            similar = difflib.get_close_matches(target.name, names, 1)
            same_name = [other for other in scalable if other.name == target.name]
            message = (
                f"{scaler.label} targets {target.label}, which does not exist: it never scales"
            )
            if same_name:
                fix: str = advice.write("kind", same_name[0].kind)
                yield Problem(scaler, (*TARGET, "kind"), message, fix)
            else:
                labels = ", ".join(other.label for other in scalable)
                fix = advice.write("name", similar[0]) if similar else f"write one of {labels}"
                yield Problem(scaler, (*TARGET, "name"), message, fix)
        elif target.kind not in _SCALABLE:
            message = f"{scaler.label} targets {target.label}, which has no replicas to scale"
            fix = f"remove {scaler.label}, which can only scale a Deployment or a StatefulSet"
            yield Problem(scaler, (*TARGET, "kind"), message, fix)
        elif target.group != workload.group:
            path = (*TARGET, "apiVersion")
            version = scaler.get(*path)
            message = (
                f"{scaler.label} looks for {workload.label} in {version}, where it does not exist:"
                " it never scales"
            )
            fix = advice.write("apiVersion", workload.api_version)
            yield Problem(scaler, path, message, fix)


@rule(_SCALERS + "#algorithm-details", outcome=Outcome.HIDDEN)
def autoscalers_share_target(objects: Objects) -> Iterator[Problem]:
    """A workload is the target of at most one HorizontalPodAutoscaler.

    Otherwise the controller reports AmbiguousSelector for both autoscalers, and neither of them
    scales the workload.
    """
    first: dict[Target, Manifest] = {}
    for scaler in objects.of_kind(autoscalers.KIND):
        target = autoscalers.target(scaler)
        other = first.setdefault(target, scaler)
        if other is not scaler:
            message = (
                f"{scaler.label} and {other.label} both target {target.label}: neither of them"
                " scales it"
            )
            fix = f"move the metrics of {scaler.label} to {other.label}, and remove {scaler.label}"
            yield Problem(scaler, (*TARGET, "name"), message, fix)


@rule(_SCALERS + "#support-for-resource-metrics", outcome=Outcome.HIDDEN)
def autoscaler_without_resource_request(objects: Objects) -> Iterator[Problem]:
    """Every container requests the resource whose utilization its autoscaler measures.

    Utilization is a percentage of the request. Without a request the autoscaler reports
    FailedGetResourceMetric and never scales.
    """
    for workload in objects.workloads:
        for scaler in objects.autoscalers(workload.manifest):
            yield from _without_request(objects, scaler, workload)


def _without_request(objects: Objects, scaler: Manifest, workload: Workload) -> Iterator[Problem]:
    for index, metric in mappings(paths.get(scaler.object, ["spec", "metrics"])):
        field = {"Resource": "resource", "ContainerResource": "containerResource"}.get(
            str(metric.get("type"))
        )
        source = metric.get(field) if field else None
        if not isinstance(source, dict) or not paths.get(source, ["target", "averageUtilization"]):
            continue
        resource, measured = str(source.get("name")), source.get("container")
        running = containers.running(workload)
        if field == "containerResource":
            known = [container.name for container in running]
            running = [container for container in running if container.name == measured]
            if not running:
                message = (
                    f"{scaler.label} measures the container {measured}, which the pods of"
                    f" {workload.manifest.label} do not have: the autoscaler never scales"
                )
                similar = difflib.get_close_matches(str(measured), known, 1)
                fix: str = f"write container: {' or '.join(known)}"
                if similar or len(known) == 1:
                    fix = advice.write("container", (similar or known)[0])
                path: Where = ("spec", "metrics", index, "containerResource", "container")
                yield Problem(scaler, path, message, fix)
        for container in running:
            if not _requests(objects, container, resource):
                message = (
                    f"the container {container.name} of {workload.manifest.label} has no {resource}"
                    f" request, but {scaler.label} scales by {resource} utilization: the autoscaler"
                    " never scales"
                )
                path = (*container.path, "resources", "requests", resource)
                amount = _REQUESTS.get(resource, 1)
                fix = f"write a request, for example resources.requests.{resource}: {amount}"
                yield Problem(workload.manifest, path, message, fix)


def _requests(objects: Objects, container: Container, resource: str) -> bool:
    """Return whether a container has a request: its own, from its limit, or from a LimitRange."""
    for field in ("requests", "limits"):
        if container.get("resources", field, resource) is not None:
            return True
    return any(
        paths.get(limit, [field, resource]) is not None
        for manifest in objects.of_kind("LimitRange")
        for _, limit in mappings(paths.get(manifest.object, ["spec", "limits"]))
        if limit.get("type") == "Container"
        for field in ("defaultRequest", "default")
    )


@rule(_SCALERS + "#algorithm-details", outcome=Outcome.HIDDEN)
def unreachable_autoscaler_target(objects: Objects) -> Iterator[Problem]:
    """The target utilization of a HorizontalPodAutoscaler is reachable within the limits.

    Utilization is a percentage of the requests, and a container cannot use more than its limit.
    With a target above that, the autoscaler never adds a pod.
    """
    for workload in objects.workloads:
        for scaler in objects.autoscalers(workload.manifest):
            for index, metric in mappings(scaler.get("spec", "metrics")):
                path: Where = ("spec", "metrics", index, "resource", "target", "averageUtilization")
                wanted = scaler.get(*path)
                resource = str(paths.get(metric, ["resource", "name"]))
                highest = _most_percent(workload, resource) if isinstance(wanted, int) else None
                if highest is not None and wanted > highest:
                    message = (
                        f"{scaler.label} scales above {wanted} % {resource} utilization, but the"
                        f" limits allow only {int(highest)} % of the requests: it never adds a pod"
                    )
                    fix = advice.write("averageUtilization", min(70, int(highest) - 1))
                    yield Problem(scaler, path, message, fix)


def _most_percent(workload: Workload, resource: str) -> Decimal | None:
    """Return the highest utilization of a pod, in percent; None if a container has no limit."""
    requests = limits = Decimal(0)
    for container in containers.running(workload):
        limit = parse(container.get("resources", "limits", resource))
        request = parse(container.get("resources", "requests", resource))
        if limit is None or (request is not None and request > limit):
            return None  # the API server rejects a request above its limit
        limits += limit
        requests += limit if request is None else request
    return 100 * limits / requests if requests else None
