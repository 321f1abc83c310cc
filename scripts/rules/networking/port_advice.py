"""What to write instead of a port that pods do not have."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from scripts.core import advice
from scripts.core.sentences import joined
from scripts.kubernetes.containers import Port
from scripts.kubernetes.workloads import Workload


def instead(field: str, use: str, wanted: Any, known: Iterable[Port], protocol: str) -> str:
    """Return the fix for an unknown port: the most similar name, or the known ports.

    use: what the port in the field is for, after "the port that".
    """
    by_name = isinstance(wanted, str)
    ports = [port for port in known if port.protocol == protocol]
    names = [port.name for port in ports]
    near = difflib.get_close_matches(wanted, names, 1) if by_name else []
    values = [port.name if by_name and port.name else port.number for port in ports]
    if near or len(set(values)) == 1:
        return advice.write(field, (near or values)[0])
    if values:
        listed = dict.fromkeys(_both(port, by_name) for port in ports)
        return f"write in {field} the port that {use}: {joined(list(listed), 'or')}"
    item = f"name: {wanted}, containerPort: <number>" if by_name else f"containerPort: {wanted}"
    item += "" if protocol == "TCP" else f", protocol: {protocol}"
    return f"add {{{item}}} to the ports of the container that listens there"


def _both(port: Port, by_name: bool) -> str:
    """Return the name and the number of a port, first the one to write."""
    if not port.name:
        return str(port.number)
    return f"{port.name} ({port.number})" if by_name else f"{port.number} ({port.name})"


def labels(workloads: Sequence[Workload]) -> str:
    """Return the labels of workloads as a list in words."""
    return joined([workload.manifest.label for workload in workloads])
