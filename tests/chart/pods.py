"""The chart's pods: which are nodes of the chain, their labels, and their ports."""

from __future__ import annotations

from typing import Any

from scripts.kubernetes.manifest import Manifest
from tests.objects import pods

NAME = "app.kubernetes.io/name"
INSTANCE = "app.kubernetes.io/instance"
COMPONENT = "app.kubernetes.io/component"

NODES = ("sequencer", "maru", "besu")


def ports(container: dict[str, Any]) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container["ports"]}


def matches(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def labels_of_pods(manifests: list[Manifest]) -> list[dict[str, str]]:
    return [template["metadata"]["labels"] for _, template in pods(manifests)]
