"""Compare a live cluster with what is committed."""

from __future__ import annotations

from pathlib import Path

from scripts.core.findings import UsageError
from scripts.live.report import Drift


def drift(root: Path, environment: str, context: str = "") -> Drift:
    """Return how the cluster of a kubectl context differs from an environment's committed files.

    context: a name in the kubeconfig; empty for the current one. It only reads. Raises UsageError
    if the two cannot be compared: no kubectl, no such context, no answer, no permission.
    """
    raise UsageError(f"{environment} cannot be compared with {context or 'a cluster'} yet: {root}")
