"""Owners: which environment of several has something first, and where it is."""

from __future__ import annotations

from scripts.core import paths
from scripts.rules.snapshot import Objects


def production_first(objects: Objects) -> tuple[bool, str]:
    """Return a sort key with production first, so that findings are in the other environments."""
    return not objects.is_production, objects.name


def cluster_of(objects: Objects) -> str:
    """Return the cluster of an environment: its server, or its name in Argo CD."""
    destination = paths.get(objects.application.object, ("spec", "destination"))
    found = destination if isinstance(destination, dict) else {}
    if found.get("name") == "in-cluster":
        return "https://kubernetes.default.svc"
    return str(found.get("name") or found.get("server") or "").rstrip("/").lower()
