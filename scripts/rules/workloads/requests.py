"""Requests: containers request what they need, and a node has it."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from scripts.core import paths
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.quantity import parse, shown
from scripts.kubernetes.resource_usage import (
    SAME,
    quotas,
)
from scripts.kubernetes.workloads import mappings
from scripts.rules.pod_templates import in_container
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects
from scripts.rules.workloads.amounts import (
    above_limit,
    containers_of,
    is_misread,
    largest_of,
    with_unit,
)

_RESOURCES = "https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/"


@rule(_RESOURCES, outcome=Outcome.REJECTED)
def request_above_limit(objects: Objects) -> Iterator[Problem]:
    """A container requests no more than its limit.

    Else Kubernetes refuses the object.
    """
    for one, resource, request, limit in above_limit(objects):
        if one.container.get("resources", "limits", resource) is not None:
            message = (
                f"the container {one.container.name} requests {request} of {resource}, and its "
                f"limit is {limit}: Kubernetes refuses such a pod"
            )
            fix = f"write a request of at most {limit}, or a higher limit"
            yield in_container(one.container, ("resources", "requests", resource), message, fix)


@rule("docs/capacity.md")
def pod_fits_no_node(objects: Objects) -> Iterator[Problem]:
    """A pod requests no more than a node has.

    Else it waits as Pending for ever, or until somebody adds larger nodes.
    """
    room = {name: amount for name, v in objects.given.node.items() if (amount := parse(v))}
    for pods in objects.counted.pods:
        for resource, asked in pods.effective("requests").items():
            has = room.get(resource)
            if has is None or asked <= has:
                continue
            largest = largest_of(pods, "requests", resource)
            own = largest.requests.get(resource, Decimal(0))
            if is_misread(resource, own) or own > largest.limits.get(resource, own):
                continue
            message = (
                f"a pod requests {shown(resource, asked)} of {resource}, and a node has "
                f"{shown(resource, has)} (node in overlays/{objects.name}/environment.yaml): it "
                "never starts"
            )
            fix = f"request {shown(resource, asked - has)} less"
            if asked - has < own:
                enough = shown(resource, own - asked + has)
                fix = f"let {largest.container.name} request {enough} or less"
            fix += ", or take larger nodes and write what they have as node"
            yield in_container(largest.container, _said(largest.container, resource), message, fix)


@rule(_RESOURCES)
def quantity_without_unit(objects: Objects) -> Iterator[Problem]:
    """Amounts of memory and cpu have the unit that is meant: Mi or Gi, and m.

    Memory of 4 is 4 bytes, and of 512m half a byte, in which no container starts; a cpu of 500 is
    500 cores.
    """
    for container in (one.container for one in containers_of(objects)):
        for field in ("requests", "limits"):
            written = container.get("resources", field)
            for resource, value in (written if isinstance(written, dict) else {}).items():
                amount = parse(value)
                if amount is None or not is_misread(resource, amount):
                    continue
                if resource == "cpu":
                    message, fix = f"{value} of cpu is {value} cores", f"write {value}m"
                else:
                    message = f"{value} of {resource} is {shown('', amount)} bytes"
                    fix = f"write {with_unit(value)}"
                message = f"the container {container.name}: {message}"
                yield in_container(container, ("resources", field, resource), message, fix)


@rule(_RESOURCES, outcome=Outcome.RISK)
def missing_memory_limit(objects: Objects) -> Iterator[Problem]:
    """A container has a limit of memory, of its own or by a LimitRange's default.

    Else what leaks takes the memory of its whole node, validators on it included, and a JVM sizes
    its heap by the node.
    """
    for one in containers_of(objects):
        if "memory" not in one.limits and not _is_counted(objects, "limits.memory"):
            message = (
                f"the container {one.container.name} has no limit of memory: it may take all of its"
                " node's, and then others are killed with it"
            )
            fix = "write resources.limits.memory"
            yield in_container(one.container, ("resources", "limits", "memory"), message, fix)


@rule(_RESOURCES, outcome=Outcome.RISK)
def missing_cpu_request(objects: Objects) -> Iterator[Problem]:
    """A container requests cpu, itself, by its limit or by a LimitRange's default.

    Else the scheduler takes it for nothing, and puts it on a node that has none left.
    """
    # Without a request of memory there is no limit of it either, which is told.
    for one in containers_of(objects):
        container = one.container
        if "cpu" in one.requests or _is_counted(objects, "requests.cpu"):
            continue
        if any(map(_goes_by_cpu, objects.autoscalers(container.workload.manifest))):
            continue  # which then never scales: that is told
        message = (
            f"the container {container.name} requests no cpu: the scheduler may put it on a node"
            " that has none left"
        )
        path = ("resources", "requests", "cpu")
        yield in_container(container, path, message, "write resources.requests.cpu")


def _is_counted(objects: Objects, name: str) -> bool:
    """Return whether a quota demands an amount of every container: that is told by itself."""
    return any(SAME.get(own, own) == name for _, hard in quotas(objects.manifests) for own in hard)


def _said(container: Container, resource: str) -> Where:
    """Return where a container's request is written: it may be its limit."""
    fields = [("resources", field, resource) for field in ("requests", "limits")]
    return next((path for path in fields if paths.has(container.data, path)), fields[0])


def _goes_by_cpu(scaler: Manifest) -> bool:
    """Return whether an autoscaler looks at the use of cpu."""
    metrics = mappings(paths.get(scaler.object, ("spec", "metrics")))
    return any(paths.get(metric, ("resource", "name")) == "cpu" for _, metric in metrics)
