"""What Argo CD reads on objects when it syncs: waves, options and hooks.

https://argo-cd.readthedocs.io/en/stable/user-guide/sync-waves/ and .../sync-options/
"""

from __future__ import annotations

import re
from typing import Any

from scripts.core import paths
from scripts.kubernetes.manifest import Manifest

NAMESPACE = "argocd"
"""Where Argo CD runs and reads Applications from."""

WAVE = "argocd.argoproj.io/sync-wave"
OPTIONS = "argocd.argoproj.io/sync-options"
HOOK = "argocd.argoproj.io/hook"
HELM_HOOK = "helm.sh/hook"
CONFIRM = "Prune=confirm,Delete=confirm"
"""A person is asked; until then, the sync that would prune goes on waiting."""
BY_HAND = "Prune=false,Delete=confirm"
"""For what the root application brings: a question there would hold up all environments."""

_WORKLOADS = {"StatefulSet", "Deployment", "DaemonSet", "Job", "CronJob", "PersistentVolumeClaim"}
_COMPONENT_WAVES = {
    "sequencer": 1,
    "maru": 2,
    "besu": 3,
    "ethstats": 4,
    "backup": 6,
    "restore-drill": 6,
    "tx-sender": 6,
}
"""A sequencer is ready without its Maru; apart, no change restarts halves of two validators at a
time. RPC follows them, its users follow RPC. Argo CD calls a CronJob Degraded whose last Job
failed, and the TX Sender is ready only while its transfers come into blocks: neither may hold up
the alerts that say so."""
_LAST_WAVE = 6
"""What waits for something outside (addresses, metrics, operators) must not hold up a chain."""


def wave(manifest: Manifest) -> int:
    """Return the sync wave: what others need first, then component after component.

    A wave begins when all of the wave before is healthy, so nothing that becomes healthy only
    through a later wave may be in an earlier one: a claim is bound when its pod exists, a
    load balancer or an autoscaler reports when something outside has answered.
    """
    if manifest.kind in _WORKLOADS:
        return _COMPONENT_WAVES.get(manifest.component, _LAST_WAVE)
    outside = manifest.kind in ("Ingress", "HorizontalPodAutoscaler") or (
        manifest.kind == "Service"
        and paths.get(manifest.object, ("spec", "type")) == "LoadBalancer"
    )
    return _LAST_WAVE if outside or manifest.group == "monitoring.coreos.com" else 0


def wave_of(manifest: Manifest) -> int:
    """Return the sync wave that Argo CD reads of an object; 0 if it can't."""
    said = str(manifest.annotations.get(WAVE, "0"))
    return int(said) if re.fullmatch("[-+]?[0-9]{1,9}", said) else 0


def is_hook(manifest: Manifest) -> bool:
    """Return whether Argo CD makes the object again in each sync, and compares it with nothing."""
    return HOOK in manifest.annotations or HELM_HOOK in manifest.annotations


def options(listed: Any) -> dict[str, str]:
    """Return sync options by name, as an Application lists them or an annotation says them."""
    found = str(listed).split(",") if isinstance(listed, str) else listed
    split = [str(one).strip().partition("=") for one in found] if isinstance(found, list) else []
    return {name: value for name, _, value in split if name}


def holds_data(manifest: Manifest) -> bool:
    """Return whether pruning the object can lose data."""
    claims = paths.get(manifest.object, ("spec", "volumeClaimTemplates"))
    return manifest.kind == "PersistentVolumeClaim" or (
        manifest.kind == "StatefulSet" and bool(claims)
    )


def is_about(entry: dict[str, Any], manifest: Manifest) -> bool:
    """Return whether an entry of ignoreDifferences is about an object."""
    return (
        entry.get("kind") in (manifest.kind, "*")
        and entry.get("group", "") in (manifest.group, "*")
        and entry.get("name") in (None, "", manifest.name)
        and entry.get("namespace") in (None, "", manifest.namespace)
    )
