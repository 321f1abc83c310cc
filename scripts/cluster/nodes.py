"""Nodes in the environments' zones, simulated by kwok instead of kubelets: one process a zone.

All that Kubernetes itself does with nodes and pods is real: scheduling, leases, taints, evictions,
rollouts. No container runs; `stages.yaml` says what pods do instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scripts.cluster.api_client import ApiClient, Object
from scripts.cluster.control_plane import ControlPlane
from scripts.cluster.processes import Processes, free_ports
from scripts.core import toolchain

STAGES = Path(__file__).with_name("stages.yaml")
ZONE = "topology.kubernetes.io/zone"
LEASE_S = 40
"""Duration of a node's lease, renewed every quarter; after a failure, that must end first."""

NODES_A_ZONE = 2


class Nodes:
    """The nodes of some zones."""

    def __init__(self, plane: ControlPlane, processes: Processes, api: ApiClient) -> None:
        self._plane, self._processes, self._api = plane, processes, api

    def start(self, zones: Sequence[str], size: dict[str, str]) -> None:
        """Create nodes of a size (cpu, memory, …) in every zone, and start kwok."""
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
        """Simulate a power failure of a zone: no heartbeats, and its pods stand still."""
        self._processes.end(process(zone))

    def bring_back(self, zone: str) -> None:
        """End the power failure of a zone."""
        self._processes.restart(process(zone))


def process(zone: str) -> str:
    """Return the name of a zone's process."""
    return f"kwok-{zone}"


def is_ready(node: Object) -> bool:
    """Return whether a node is ready and accepts pods."""
    conditions = node.get("status", {}).get("conditions") or []
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return ready and not node["spec"].get("taints") and not node["spec"].get("unschedulable")


def _node(name: str, zone: str) -> Object:
    labels = {"kubernetes.io/hostname": name, ZONE: zone}
    labels |= {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
