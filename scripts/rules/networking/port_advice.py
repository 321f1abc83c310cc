"""What to write instead of a port that pods do not have."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from scripts.kubernetes.containers import Port
from scripts.kubernetes.workloads import Workload
from scripts.rules.networking.policies import joined


def instead(wanted: Any, known: Iterable[Port], protocol: str = "") -> str:
    """Return the fix for an unknown port: the most similar name, or the known ports."""
    ports = [port for port in known if not protocol or port.protocol == protocol]
    listed = list(dict.fromkeys(str(port) for port in ports))
    if isinstance(wanted, str):
        near = difflib.get_close_matches(wanted, [port.name for port in ports], 1)
        if near:
            return f"write {near[0]}"
    if listed:
        return f"write one of these ports: {', '.join(listed)}"
    return "add the port to the ports of a container first"


def labels(workloads: Sequence[Workload]) -> str:
    """Return the labels of workloads as a list in words."""
    return joined([workload.manifest.label for workload in workloads])
