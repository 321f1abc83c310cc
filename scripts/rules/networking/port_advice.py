"""What to write instead of a port that pods don't have."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from scripts.kubernetes.containers import Port
from scripts.kubernetes.workloads import Workload


def instead(wanted: Any, known: Iterable[Port], protocol: str = "") -> str:
    """Return what to write for a port that is not there, as the kind of text it is."""
    found = [port for port in known if not protocol or port.protocol == protocol]
    listed = list(dict.fromkeys(str(port) for port in found))
    if isinstance(wanted, str):
        near = difflib.get_close_matches(wanted, [port.name for port in found], 1)
        if near:
            return f"write {near[0]}"
    return f"write one that there is: {', '.join(listed)}" if listed else "name a port there first"


def labels(workloads: Sequence[Workload]) -> str:
    """Return what workloads are called together."""
    return " and ".join(one.manifest.label for one in workloads)
