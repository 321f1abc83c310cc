"""Requests: containers request what they need, and nodes have enough for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

from scripts.core import advice, paths
from scripts.kubernetes import resilience
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.quantity import parse, shown
from scripts.kubernetes.resource_usage import (
    SAME,
    quotas,
)
from scripts.kubernetes.workloads import mappings
from scripts.rules import chart_values
from scripts.rules.pod_templates import called, in_container
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects
from scripts.rules.workloads.amounts import (
    above_limit,
    containers_of,
    is_misread,
    largest_of,
    misread,
    quoted,
    usual,
    with_unit,
)
from scripts.rules.workloads.placing import REQUIRED

_RESOURCES = "https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/"
_MISREAD = {
    ("requests", "cpu"): "no node has that many, so the pod stays Pending",
    ("limits", "cpu"): "it limits nothing",
    ("requests", "memory"): "the scheduler reserves almost nothing for it",
    ("limits", "memory"): "too little for the container to start",
    ("requests", "ephemeral-storage"): "the scheduler reserves almost nothing for it",
    ("limits", "ephemeral-storage"): "the kubelet evicts the pod as soon as it writes a file",
}
"""What happens with an amount that is read in the wrong unit."""


@rule(_RESOURCES, outcome=Outcome.REJECTED)
def request_above_limit(objects: Objects) -> Iterator[Problem]:
    """A container's requests do not exceed its limits.

    Otherwise the API server rejects the object, so the sync fails or does not begin.
    """
    for own, resource, request, limit in above_limit(objects):
        if own.container.get("resources", "limits", resource) is not None:
            message = (
                f"{called(own.container)} requests {request} of {resource}, above its "
                f"limit of {limit}: the API server rejects the object, so the sync fails"
            )
            fix = advice.write(f"resources.requests.{resource}", limit).unless(
                f"; if the container needs more, write "
                f"resources.limits.{resource}: {quoted(request)} instead"
            )
            yield in_container(own.container, ("resources", "requests", resource), message, fix)


@rule("docs/capacity.md")
def pod_fits_no_node(objects: Objects) -> Iterator[Problem]:
    """A pod requests no more than one node provides.

    Otherwise it stays Pending until larger nodes are added.
    """
    node = {name: amount for name, v in objects.given.node.items() if (amount := parse(v))}
    for pods in objects.counted.pods:
        for resource, requested in pods.effective("requests").items():
            allocatable = node.get(resource)
            if allocatable is None or requested <= allocatable:
                continue
            largest = largest_of(pods, "requests", resource)
            own = largest.requests.get(resource, Decimal(0))
            if is_misread(resource, own) or own > largest.limits.get(resource, own):
                continue
            message = (
                f"the pod requests {shown(resource, requested)} of {resource}, and a node provides "
                f"{shown(resource, allocatable)} (node in overlays/{objects.name}/environment.yaml"
                "): the pod stays Pending"
            )
            excess = requested - allocatable
            fix = f"reduce the requests of its containers by {shown(resource, excess)} together"
            if excess < own:
                enough = quoted(shown(resource, own - excess))
                fix = f"write requests.{resource}: {enough} for {called(largest.container)}"
            fix += "; if that is too little, use larger nodes, and update node in environment.yaml"
            path = _request_path(largest.container, resource)
            yield in_container(largest.container, path, message, fix)
    yield from _pairs_that_fit_no_node(objects, node)


def _pairs_that_fit_no_node(objects: Objects, node: Mapping[str, Decimal]) -> Iterator[Problem]:
    """Yield the problem of a Maru that must be on its sequencer's node, but does not fit there."""
    by_component = {pods.workload.manifest.component: pods for pods in objects.counted.pods}
    maru, sequencer = by_component.get("maru"), by_component.get("sequencer")
    if not maru or not sequencer:
        return
    if resilience.together(maru.workload, sequencer.workload) != resilience.NODE:
        return
    other = sequencer.effective("requests")
    for resource, requested in maru.effective("requests").items():
        both, allocatable = requested + other.get(resource, Decimal(0)), node.get(resource)
        if allocatable is None or both <= allocatable:
            continue
        if requested > allocatable or both - requested > allocatable:
            continue  # pod-fits-no-node reports the one
        message = (
            f"a Maru must be on the node of its sequencer, and the two request "
            f"{shown(resource, both)} of {resource}, but a node provides "
            f"{shown(resource, allocatable)} (node in overlays/{objects.name}/environment.yaml): "
            "the Maru stays Pending"
        )
        fix = advice.write_values(
            "maru.beside", "zone", f" in {chart_values.file(objects)}"
        ).unless(
            "; to keep both on one node, use larger nodes, and update node in environment.yaml"
        )
        path = (*maru.workload.pod_path, "affinity", "podAffinity", REQUIRED, 0, "topologyKey")
        yield Problem(maru.workload.manifest, path, message, fix)
        return


_NODE_CPU = "node.cpu in environment.yaml"


@rule(_RESOURCES)
def quantity_without_unit(objects: Objects) -> Iterator[Problem]:
    """Amounts of memory have the unit Mi or Gi, and fractions of a cpu have the unit m.

    Otherwise the amount is not the intended one: memory "4" means 4 bytes and "512m" half a byte,
    in which no container starts; cpu "500" means 500 cores, and the pod stays Pending.
    """
    for container, field, resource, amount in misread(objects):
        value = container.get("resources", field, resource)
        what = f"{field}.{resource} of {called(container)} is {value}"
        if resource == "cpu":
            message, meant = f"{what}, which means {value} cores", f"{value}m"
        else:
            message = f"{what}, which means {shown('', amount)} bytes"
            meant = with_unit(value)
        message += f": {_MISREAD[field, resource]}"
        fix = advice.write(f"{field}.{resource}", meant)
        if resource == "cpu":
            fix = fix.unless(
                f"; if {value} cores are meant, write what a node provides as {_NODE_CPU}"
            )
        yield in_container(container, ("resources", field, resource), message, fix)


@rule(_RESOURCES, outcome=Outcome.RISK)
def missing_memory_limit(objects: Objects) -> Iterator[Problem]:
    """A container has a memory limit, either its own or the default of a LimitRange.

    Otherwise a memory leak exhausts the memory of the node, and other pods there are OOMKilled or
    evicted, including validators. A JVM without a limit sizes its heap by the memory of the node.
    """
    for own in containers_of(objects):
        if "memory" not in own.limits and not _is_counted(objects, "limits.memory"):
            message = (
                f"{called(own.container)} has no memory limit: it may exhaust the memory of its "
                "node, so that other pods there are killed, too"
            )
            fix = f"add resources.limits.memory, for example {usual(own, 'limits', 'memory')}"
            yield in_container(own.container, ("resources", "limits", "memory"), message, fix)


@rule(_RESOURCES, outcome=Outcome.RISK)
def missing_cpu_request(objects: Objects) -> Iterator[Problem]:
    """A container has a cpu request: its own, its limit, or the default of a LimitRange.

    Otherwise the scheduler assumes that it needs no cpu, and may place it on a node that has none
    left.
    """
    # A container without a memory request has no memory limit either: missing-memory-limit.
    for own in containers_of(objects):
        container = own.container
        if "cpu" in own.requests or _is_counted(objects, "requests.cpu"):
            continue
        if any(map(_scales_by_cpu, objects.autoscalers(container.workload.manifest))):
            continue  # autoscaler-without-resource-request
        message = (
            f"{called(container)} has no cpu request: the scheduler may place it on a "
            "node that has no cpu left"
        )
        path = ("resources", "requests", "cpu")
        fix = "add resources.requests.cpu, for example 100m"
        yield in_container(container, path, message, fix)


def _is_counted(objects: Objects, name: str) -> bool:
    """Return whether a quota requires the amount: missing-request-for-quota reports that."""
    return any(SAME.get(key, key) == name for _, hard in quotas(objects.manifests) for key in hard)


def _request_path(container: Container, resource: str) -> Where:
    """Return the path of a container's request, or of its limit, which is the default request."""
    fields = [("resources", field, resource) for field in ("requests", "limits")]
    return next((path for path in fields if paths.has(container.data, path)), fields[0])


def _scales_by_cpu(scaler: Manifest) -> bool:
    """Return whether an autoscaler has a cpu metric."""
    metrics = mappings(paths.get(scaler.object, ("spec", "metrics")))
    return any(paths.get(metric, ("resource", "name")) == "cpu" for _, metric in metrics)
