"""Fields: what the API server takes of one, where its published schema says no more than a type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scripts.kubernetes.manifest import Manifest, Where
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, nearest

_API = "https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.34/"

CHOICES: Mapping[str, frozenset[str]] = {
    field: frozenset(values.split())
    for field, values in {
        "accessModes": "ReadOnlyMany ReadWriteMany ReadWriteOnce ReadWriteOncePod",
        "completionMode": "Indexed NonIndexed",
        "concurrencyPolicy": "Allow Forbid Replace",
        "dnsPolicy": "ClusterFirst ClusterFirstWithHostNet Default None",
        "effect": "NoExecute NoSchedule PreferNoSchedule",
        "externalTrafficPolicy": "Cluster Local",
        "fsGroupChangePolicy": "Always OnRootMismatch",
        "imagePullPolicy": "Always IfNotPresent Never",
        "internalTrafficPolicy": "Cluster Local",
        "ipFamilies": "IPv4 IPv6",
        "ipFamilyPolicy": "PreferDualStack RequireDualStack SingleStack",
        "mountPropagation": "Bidirectional HostToContainer None",
        "nodeAffinityPolicy": "Honor Ignore",
        "nodeTaintsPolicy": "Honor Ignore",
        "pathType": "Exact ImplementationSpecific Prefix",
        "podManagementPolicy": "OrderedReady Parallel",
        "podReplacementPolicy": "Failed TerminatingOrFailed",
        "preemptionPolicy": "Never PreemptLowerPriority",
        "procMount": "Default Unmasked",
        "protocol": "SCTP TCP UDP",
        "restartPolicy": "Always Never OnFailure",
        "scheme": "HTTP HTTPS",
        "sessionAffinity": "ClientIP None",
        "supplementalGroupsPolicy": "Merge Strict",
        "terminationMessagePolicy": "FallbackToLogsOnError File",
        "unhealthyPodEvictionPolicy": "AlwaysAllow IfHealthyBudget",
        "volumeMode": "Block Filesystem",
        "whenUnsatisfiable": "DoNotSchedule ScheduleAnyway",
    }.items()
}
"""Field of Kubernetes' own objects → its values, as /openapi/v3 of an API server tells them."""
TYPES: Mapping[str, frozenset[str]] = {
    "appArmorProfile": frozenset(("Localhost", "RuntimeDefault", "Unconfined")),
    "seccompProfile": frozenset(("Localhost", "RuntimeDefault", "Unconfined")),
    "strategy": frozenset(("Recreate", "RollingUpdate")),
    "updateStrategy": frozenset(("OnDelete", "RollingUpdate")),
}
"""Field → the values of the type in it."""
SERVICES = frozenset(("ClusterIP", "ExternalName", "LoadBalancer", "NodePort"))

_PORTS = ("containerPort", "endPort", "hostPort", "nodePort", "port", "targetPort")
_OR_NONE = ("hostPort", "nodePort", "targetPort")
"""Ports of which 0 is taken for not said."""
_LAST_PORT = 65535
_FREE = {
    *("annotations", "data", "hard", "labels", "limits", "matchLabels", "nodeSelector"),
    *("requests", "selector", "stringData"),
}
"""Fields in which people name the keys themselves."""


@rule(_API, outcome=Outcome.REJECTED)
def invalid_enum_value(objects: Objects) -> Iterator[Problem]:
    """A field that has one of some values has one that there is.

    The API server refuses anything else, and the sync fails or does not begin.
    """
    for manifest in objects.manifests:
        for path, value in _fields(manifest):
            choices = _choices(manifest, path)
            listed = isinstance(value, list)
            for index, one in enumerate(value if listed else [value]):
                if isinstance(one, str) and one and choices and one not in choices:
                    names = ", ".join(sorted(choices))
                    message = f"{path[-1]} of {manifest.label} is {one}, which there is not"
                    alike = [each for each in choices if each.lower() == one.lower()]
                    otherwise = f"write one of {names}"
                    fix = f"write {alike[0]}" if alike else nearest(one, choices, otherwise)
                    yield Problem(manifest, (*path, index) if listed else path, message, fix)


def _choices(manifest: Manifest, path: Where) -> frozenset[str] | None:
    """Return what a field may be; None where that is not known."""
    field, above = path[-1], path[-2]
    if field == "type":
        is_service = manifest.kind == "Service" and path == ("spec", "type")
        return SERVICES if is_service else TYPES.get(str(above))
    if field == "restartPolicy" and above != "spec":
        # A container has one of its own, of which the API server takes what its version does.
        return None
    if field == "restartPolicy" and manifest.kind in ("DaemonSet", "Deployment", "StatefulSet"):
        return frozenset(("Always",))
    return CHOICES.get(str(field))


@rule(_API, outcome=Outcome.REJECTED)
def invalid_port_number(objects: Objects) -> Iterator[Problem]:
    """A port is a number from 1 to 65535.

    The API server refuses anything else, and the sync fails or does not begin.
    """
    for manifest in objects.manifests:
        for path, value in _fields(manifest):
            is_port = path[-1] in _PORTS or path[-2:] == ("port", "number")
            if not is_port or type(value) is not int or 0 < value <= _LAST_PORT:
                continue
            if value or path[-1] not in _OR_NONE:
                message = f"{path[-1]} of {manifest.label} is {value}, which is no port"
                yield Problem(manifest, path, message, f"write one from 1 to {_LAST_PORT}")


def _fields(manifest: Manifest) -> Iterator[tuple[Where, Any]]:
    """Yield the fields below the spec of an object of Kubernetes' own, with their paths."""
    if "." in manifest.group and manifest.group != "networking.k8s.io":
        return
    left: list[tuple[Where, Any]] = [(("spec",), manifest.object.get("spec"))]
    while left:
        path, part = left.pop()
        if isinstance(part, list):
            left += [((*path, index), value) for index, value in enumerate(part)]
        elif isinstance(part, dict):
            for key, value in part.items():
                if key not in _FREE:
                    yield (*path, key), value
                    left.append(((*path, key), value))
