"""Nodes in the environments' zones, and their kubelets' stand-in, kwok: one process a zone.

What is real is all that Kubernetes does with nodes and pods: scheduling, leases, taints,
evictions, rollouts. No container runs; `stages.yaml` says what pods do instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scripts.cluster.api_client import Api, Object
from scripts.cluster.control_plane import ControlPlane
from scripts.cluster.processes import Processes, free_ports
from scripts.core import toolchain

STAGES = Path(__file__).with_name("stages.yaml")
ZONE = "topology.kubernetes.io/zone"
LEASE_S = 40
"""A node gives a sign of life every quarter of it; back on power, it waits for the last to end."""

NODES_A_ZONE = 2


class Machines:
    """The nodes of some zones."""

    def __init__(self, plane: ControlPlane, processes: Processes, api: Api) -> None:
        self._plane, self._processes, self._api = plane, processes, api

    def start(self, zones: Sequence[str], size: dict[str, str]) -> None:
        """Make nodes of a size (cpu, memory, …) in every zone, and start their kubelets' stand-in.

        The first list of their state is taken when they are ready.
        """
        names = [(zone, f"{zone}-{number}") for zone in zones for number in range(NODES_A_ZONE)]
        self._plane.apply([_node(name, zone) for zone, name in names])
        status = {"status": {"allocatable": size, "capacity": size}}
        for _, name in names:
            self._api.patch("Node", name, status, subresource="status")
        for zone, port in zip(zones, free_ports(len(zones)), strict=True):
            command: list[str | Path] = [
                toolchain.tool("kwok"),
                f"--kubeconfig={self._plane.kubeconfig}",
            ]
            command += [f"--config={STAGES}", f"--manage-nodes-with-label-selector={ZONE}={zone}"]
            command += ["--manage-all-nodes=false", f"--node-lease-duration-seconds={LEASE_S}"]
            command += [f"--server-address=127.0.0.1:{port}", "--node-port=0"]
            self._processes.start(process(zone), command, self._plane.environment())

    def lose(self, zone: str) -> None:
        """Cut a zone's power: its nodes give no sign of life, and its pods do nothing any more."""
        self._processes.end(process(zone))

    def bring_back(self, zone: str) -> None:
        """Give a zone its power again."""
        self._processes.restart(process(zone))


def process(zone: str) -> str:
    """Return the name of the process of a zone."""
    return f"kwok-{zone}"


def is_ready(node: Object) -> bool:
    """Return whether a node is ready, and takes pods."""
    conditions = node.get("status", {}).get("conditions") or []
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return ready and not node["spec"].get("taints") and not node["spec"].get("unschedulable")


def _node(name: str, zone: str) -> Object:
    labels = {"kubernetes.io/hostname": name, ZONE: zone}
    labels |= {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
