"""What containers request and may take, as several families look at it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from scripts.kubernetes.quantity import shown
from scripts.kubernetes.resource_usage import (
    COMPUTE,
    ContainerResources,
    PodResources,
)
from scripts.rules.snapshot import Objects

_MIB = Decimal(1024**2)
_MOST_CORES = 32
"""Of one container: whoever writes more means thousandths."""


def above_limit(objects: Objects) -> Iterator[tuple[ContainerResources, str, str, str]]:
    """Yield the containers that request more than their limit: resource, request and limit."""
    for one in containers_of(objects):
        for resource, request in one.requests.items():
            limit = one.limits.get(resource)
            misread = any(is_misread(resource, size) for size in (request, limit or request))
            if limit is not None and request > limit and not misread:
                yield one, resource, shown(resource, request), shown(resource, limit)


def containers_of(objects: Objects) -> Iterator[ContainerResources]:
    """Yield the containers of all workloads, with what they request and may take."""
    return (one for pods in objects.counted.pods for one in pods.containers)


def largest_of(pods: PodResources, field: str, resource: str) -> ContainerResources:
    """Return the container that has the most of what the pod as a whole has."""
    return max(pods.containers, key=lambda one: one.amounts(field).get(resource, Decimal(0)))


def is_misread(resource: str, amount: Decimal) -> bool:
    """Return whether an amount can't be meant as Kubernetes reads it."""
    if resource == "cpu":
        return amount > _MOST_CORES
    return resource in COMPUTE and 0 < amount < (_MIB if resource == "memory" else 1024)


def with_unit(value: Any, unit: str = "") -> str:
    """Return an amount of bytes as it is likely meant."""
    number = re.match("[0-9]+", str(value))
    if number is None or int(number[0]) == 0:
        return "1Gi"
    meant = unit or ("Mi" if str(value).endswith(("m", "M")) or int(number[0]) >= 64 else "Gi")
    return f"{number[0]}{meant}"
