"""Autoscalers: they scale something that there is, and can."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from decimal import Decimal

from scripts.core import paths
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


@rule(_SCALERS, outcome=Outcome.HIDDEN)
def unknown_autoscaler_target(objects: Objects) -> Iterator[Problem]:
    """A HorizontalPodAutoscaler's target is there, and can be scaled.

    Else it never scales, and its target keeps the replicas that it has.
    """
    for scaler in objects.of_kind(autoscalers.KIND):
        target = autoscalers.target(scaler)
        found = objects.find(target.kind, target.name)
        if found is None:
            names = [one.name for one in objects.of_kind(*_SCALABLE) if one.kind == target.kind]
            near = difflib.get_close_matches(target.name, names, 1)
            other = [one for one in objects.of_kind(*_SCALABLE) if one.name == target.name]
            message = f"{scaler.label} scales {target.label}, which is not there: it never scales"
            if other:
                yield Problem(scaler, (*TARGET, "kind"), message, f"write {other[0].kind}")
            else:
                fix = f"write {near[0]}" if near else "write the name of a workload"
                yield Problem(scaler, (*TARGET, "name"), message, fix)
        elif target.kind not in _SCALABLE:
            message = f"{scaler.label} scales a {target.kind}, which has no replicas: it never does"
            fix = "write a Deployment or a StatefulSet"
            yield Problem(scaler, (*TARGET, "kind"), message, fix)
        elif target.group != found.group:
            path = (*TARGET, "apiVersion")
            version = scaler.get(*path)
            message = f"{scaler.label} looks for {found.label} in {version}: it never scales"
            yield Problem(scaler, path, message, f"write {found.api_version}")


@rule(_SCALERS + "#algorithm-details", outcome=Outcome.HIDDEN)
def autoscalers_share_target(objects: Objects) -> Iterator[Problem]:
    """A workload has one HorizontalPodAutoscaler at most.

    Of two, the controller says AmbiguousSelector, and scales by neither.
    """
    first: dict[Target, Manifest] = {}
    for scaler in objects.of_kind(autoscalers.KIND):
        target = autoscalers.target(scaler)
        other = first.setdefault(target, scaler)
        if other is not scaler:
            message = (
                f"{scaler.label} scales {target.label}, as {other.label} does: it is scaled by"
                " neither"
            )
            fix = "put the metrics of both into one, and remove the other"
            yield Problem(scaler, (*TARGET, "name"), message, fix)


@rule(_SCALERS + "#support-for-resource-metrics", outcome=Outcome.HIDDEN)
def autoscaler_without_resource_request(objects: Objects) -> Iterator[Problem]:
    """Containers request the resource by whose use in percent they are scaled.

    Percent are of the request: without one the autoscaler knows no use, and never scales.
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
        resource, only = str(source.get("name")), source.get("container")
        running = containers.running(workload)
        if field == "containerResource":
            known = [one.name for one in running]
            running = [one for one in running if one.name == only]
            if not running:
                message = f"{scaler.label} scales by the container {only}, which no pod of it has"
                near = difflib.get_close_matches(str(only), known, 1)
                fix = f"write {near[0] if near else ' or '.join(known)}"
                path: Where = ("spec", "metrics", index, "containerResource", "container")
                yield Problem(scaler, path, message, fix)
        for one in running:
            if not _requests(objects, one, resource):
                message = (
                    f"the container {one.name} of {workload.manifest.label} requests no {resource},"
                    f" by which {scaler.label} scales: it never does"
                )
                path = (*one.path, "resources", "requests", resource)
                yield Problem(workload.manifest, path, message, f"write a request of {resource}")


def _requests(objects: Objects, container: Container, resource: str) -> bool:
    """Return whether a container has a request, be it by its limit or a LimitRange."""
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
    """A HorizontalPodAutoscaler's target in percent can be reached within the limits.

    Percent are of the requests, and nothing uses more than its limit: beyond that it never scales.
    """
    for workload in objects.workloads:
        for scaler in objects.autoscalers(workload.manifest):
            for index, metric in mappings(scaler.get("spec", "metrics")):
                path: Where = ("spec", "metrics", index, "resource", "target", "averageUtilization")
                wanted = scaler.get(*path)
                resource = str(paths.get(metric, ["resource", "name"]))
                most = _most_percent(workload, resource) if isinstance(wanted, int) else None
                if most is not None and wanted > most:
                    message = (
                        f"{scaler.label} scales when {wanted} % of the requested {resource} is"
                        f" used, and the limits allow {int(most)} %: it never does"
                    )
                    yield Problem(scaler, path, message, "write a lower number, like 70")


def _most_percent(workload: Workload, resource: str) -> Decimal | None:
    """Return how many percent of its requests a pod may use; None where a limit is not said."""
    requests = limits = Decimal(0)
    for container in containers.running(workload):
        limit = parse(container.get("resources", "limits", resource))
        request = parse(container.get("resources", "requests", resource))
        if limit is None:
            return None
        limits += limit
        requests += limit if request is None else request
    return 100 * limits / requests if requests else None
