"""Fields: values that the API server validates, but its published schema does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scripts.core import advice
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
        "selectPolicy": "Disabled Max Min",
        "sessionAffinity": "ClientIP None",
        "supplementalGroupsPolicy": "Merge Strict",
        "terminationMessagePolicy": "FallbackToLogsOnError File",
        "unhealthyPodEvictionPolicy": "AlwaysAllow IfHealthyBudget",
        "volumeMode": "Block Filesystem",
        "whenUnsatisfiable": "DoNotSchedule ScheduleAnyway",
    }.items()
}
"""Field of built-in objects → its valid values, from /openapi/v3 of an API server."""
TYPES: Mapping[str, frozenset[str]] = {
    "appArmorProfile": frozenset(("Localhost", "RuntimeDefault", "Unconfined")),
    "seccompProfile": frozenset(("Localhost", "RuntimeDefault", "Unconfined")),
    "strategy": frozenset(("Recreate", "RollingUpdate")),
    "updateStrategy": frozenset(("OnDelete", "RollingUpdate")),
}
"""Field → the valid values of the `type` in it."""
_SCALING: Mapping[str, frozenset[str]] = {
    "metrics": frozenset(("ContainerResource", "External", "Object", "Pods", "Resource")),
    "policies": frozenset(("Percent", "Pods")),
    "target": frozenset(("AverageValue", "Utilization", "Value")),
}
"""Field of an autoscaler → the valid values of the `type` in it, or in its items."""
SERVICES = frozenset(("ClusterIP", "ExternalName", "LoadBalancer", "NodePort"))

_PORTS = ("containerPort", "endPort", "hostPort", "nodePort", "port", "targetPort")
_OR_NONE = ("hostPort", "nodePort", "targetPort")
"""Ports for which 0 means unset."""
_LAST_PORT = 65535
_FREE = {
    *("annotations", "data", "hard", "labels", "limits", "matchLabels", "nodeSelector"),
    *("requests", "selector", "stringData"),
}
"""Fields with keys of the user's choice."""


@rule(_API, outcome=Outcome.REJECTED)
def invalid_enum_value(objects: Objects) -> Iterator[Problem]:
    """Enum fields have a valid value.

    Otherwise the API server rejects the object, so the sync fails or does not begin.
    """
    for manifest in objects.manifests:
        for path, value in _fields(manifest):
            choices = _choices(manifest, path)
            listed = isinstance(value, list)
            for index, name in enumerate(value if listed else [value]):
                if isinstance(name, str) and name and choices and name not in choices:
                    names = ", ".join(sorted(choices))
                    above = next(part for part in path[-2::-1] if isinstance(part, str))
                    field = f"{above}.type" if path[-1] == "type" else path[-1]
                    message = (
                        f'"{name}" is not a valid value of {field} in {manifest.label}: the API'
                        " server rejects it"
                    )
                    same = [choice for choice in choices if choice.lower() == name.lower()]
                    otherwise = f"write one of {names}"
                    fix = (
                        advice.write_value(same[0])
                        if same
                        else nearest(name, choices, otherwise, name)
                    )
                    yield Problem(manifest, (*path, index) if listed else path, message, fix)


def _choices(manifest: Manifest, path: Where) -> frozenset[str] | None:
    """Return the valid values of a field; None if they are not known."""
    field, above = path[-1], path[-2]
    if field == "type":
        if above == "target" or (len(path) > 2 and path[-3] in _SCALING):
            return _SCALING.get(str(above if above == "target" else path[-3]))
        is_service = manifest.kind == "Service" and path == ("spec", "type")
        return SERVICES if is_service else TYPES.get(str(above))
    if field == "restartPolicy" and above != "spec":
        # The valid restart policies of a container depend on the Kubernetes version.
        return None
    if field == "restartPolicy" and manifest.kind in ("DaemonSet", "Deployment", "StatefulSet"):
        return frozenset(("Always",))
    return CHOICES.get(str(field))


@rule(_API, outcome=Outcome.REJECTED)
def invalid_port_number(objects: Objects) -> Iterator[Problem]:
    """Port numbers are from 1 to 65535.

    Otherwise the API server rejects the object, so the sync fails or does not begin.
    """
    for manifest in objects.manifests:
        for path, value in _fields(manifest):
            is_port = path[-1] in _PORTS or path[-2:] == ("port", "number")
            if not is_port or type(value) is not int or 0 < value <= _LAST_PORT:
                continue
            if value or path[-1] not in _OR_NONE:
                message = f"{value} is not a valid {path[-1]} of {manifest.label}"
                message += ": the API server rejects it"
                fix = f"write a number from 1 to {_LAST_PORT}"
                yield Problem(manifest, path, message, fix)


def _fields(manifest: Manifest) -> Iterator[tuple[Where, Any]]:
    """Yield the fields below the spec of a built-in Kubernetes object, with their paths."""
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
