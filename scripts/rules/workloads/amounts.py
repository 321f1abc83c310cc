"""Helpers about the resource requests and limits of containers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from scripts.kubernetes.containers import Container
from scripts.kubernetes.quantity import parse, shown
from scripts.kubernetes.resource_usage import (
    COMPUTE,
    ContainerResources,
    PodResources,
)
from scripts.rules.snapshot import Objects, once

_MIB = Decimal(1024**2)
_MOST_CORES = 32
"""Of one container: a larger number is more likely meant as millicores."""
_USUAL = {
    ("requests", "cpu"): "100m",
    ("limits", "cpu"): "500m",
    ("requests", "memory"): "256Mi",
    ("limits", "memory"): "512Mi",
    ("requests", "ephemeral-storage"): "64Mi",
    ("limits", "ephemeral-storage"): "256Mi",
}
"""The defaults for containers in base/profiles/production.yaml."""


def above_limit(objects: Objects) -> Iterator[tuple[ContainerResources, str, str, str]]:
    """Yield the containers that request more than their limit: resource, request and limit."""
    for own in containers_of(objects):
        for resource, request in own.requests.items():
            limit = own.limits.get(resource)
            misread = any(is_misread(resource, size) for size in (request, limit or request))
            if limit is not None and request > limit and not misread:
                yield own, resource, shown(resource, request), shown(resource, limit)


def containers_of(objects: Objects) -> Iterator[ContainerResources]:
    """Yield the containers of all workloads, with their requests and limits."""
    return (own for pods in objects.counted.pods for own in pods.containers)


def largest_of(pods: PodResources, field: str, resource: str) -> ContainerResources:
    """Return the container with the largest share of a pod's requests or limits."""
    return max(pods.containers, key=lambda own: own.amounts(field).get(resource, Decimal(0)))


def is_misread(resource: str, amount: Decimal) -> bool:
    """Return whether an amount is implausible, so that its unit is probably missing or wrong."""
    if resource == "cpu":
        return amount > _MOST_CORES
    return resource in COMPUTE and 0 < amount < (_MIB if resource == "memory" else 1024)


def quoted(amount: str) -> str:
    """Return an amount as YAML: in quotes if it is a number without a unit."""
    return amount if amount[-1].isalpha() else f'"{amount}"'


def usual(own: ContainerResources, field: str, resource: str) -> str:
    """Return a usual request or limit of a container, not less than its request."""
    request, found = own.requests.get(resource), _USUAL[field, resource]
    if field == "limits" and request and request > (parse(found) or 0):
        return quoted(shown(resource, request))
    return found


def with_unit(value: Any, unit: str = "") -> str:
    """Return an amount of bytes with the unit that is probably meant."""
    number = re.match("[0-9]+", str(value))
    if number is None or int(number[0]) == 0:
        return "1Gi"
    meant = unit or ("Mi" if str(value).endswith(("m", "M")) or int(number[0]) >= 64 else "Gi")
    return f"{number[0]}{meant}"


@once
def misread(objects: Objects) -> Iterator[tuple[Container, str, str, Decimal]]:
    """Yield the amounts whose unit is missing: container, requests or limits, resource, amount."""
    largest = parse(objects.given.node.get("cpu")) or Decimal(0)
    for container in (own.container for own in containers_of(objects)):
        for field in ("requests", "limits"):
            written = container.get("resources", field)
            for resource, value in (written if isinstance(written, dict) else {}).items():
                amount = parse(value)
                if amount is None or not is_misread(resource, amount):
                    continue
                if resource == "cpu" and amount <= largest:
                    continue  # the environment says that its nodes have so many
                yield container, field, resource, amount
