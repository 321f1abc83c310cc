"""Decide which forms are the same to the API server: amounts, defaults, empty values. Pure.

Defaults: SetDefaults of Kubernetes 1.34, in pkg/apis/{core,apps,batch,networking}/v1/defaults.go.
No pod restarts if a template writes out a default that it left out before;
tests/e2e/test_spelling.py proves this on a real API server with its controllers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scripts.kubernetes import quantity
from scripts.kubernetes.manifest import PODS

_PROBE = {
    "failureThreshold": 3,
    "initialDelaySeconds": 0,
    "periodSeconds": 10,
    "successThreshold": 1,
    "timeoutSeconds": 1,
}
_CONTAINER = {
    "resources": {},
    "stdin": False,
    "stdinOnce": False,
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "tty": False,
}
_FILES = {"defaultMode": 0o644}
_SURGE = {"maxSurge": "25%", "maxUnavailable": "25%"}
_ONE_BY_ONE = {"maxUnavailable": 1, "partition": 0}

_POD = {
    "dnsPolicy": "ClusterFirst",
    "hostIPC": False,
    "hostNetwork": False,
    "hostPID": False,
    "restartPolicy": "Always",
    "schedulerName": "default-scheduler",
    "securityContext": {},
    "terminationGracePeriodSeconds": 30,
}
_SPEC: Mapping[str, Mapping[str, Any]] = {
    "CronJob": {
        "concurrencyPolicy": "Allow",
        "failedJobsHistoryLimit": 1,
        "successfulJobsHistoryLimit": 3,
        "suspend": False,
    },
    "Deployment": {
        "minReadySeconds": 0,
        "paused": False,
        "progressDeadlineSeconds": 600,
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "strategy": {"type": "RollingUpdate"},
    },
    "HorizontalPodAutoscaler": {"minReplicas": 1},
    "Service": {
        "allocateLoadBalancerNodePorts": True,
        "externalTrafficPolicy": "Cluster",
        "internalTrafficPolicy": "Cluster",
        "publishNotReadyAddresses": False,
        "sessionAffinity": "None",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
        "type": "ClusterIP",
    },
    "StatefulSet": {
        "minReadySeconds": 0,
        "podManagementPolicy": "OrderedReady",
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "updateStrategy": {"type": "RollingUpdate"},
    },
}
"""Kind → defaults of its spec."""

_WITHIN: Mapping[str, Mapping[str, Any]] = {
    "claims": {"request": ""},
    "configMap": _FILES,
    "containers": _CONTAINER,
    "downwardAPI": _FILES,
    "emptyDir": {"medium": ""},
    "env": {"value": ""},
    "fieldRef": {"apiVersion": "v1"},
    "httpGet": {"path": "/", "scheme": "HTTP"},
    "initContainers": _CONTAINER,
    "livenessProbe": _PROBE,
    "ports": {"hostPort": 0, "name": "", "protocol": "TCP"},
    "projected": _FILES,
    "readinessProbe": _PROBE,
    "scaleDown": {"selectPolicy": "Max"},
    "scaleUp": {"selectPolicy": "Max"},
    "secret": _FILES,
    "serviceAccountToken": {"expirationSeconds": 3600},
    "startupProbe": _PROBE,
    "strategy": {"rollingUpdate": _SURGE},
    "strategy.rollingUpdate": _SURGE,
    "updateStrategy": {"rollingUpdate": _ONE_BY_ONE},
    "updateStrategy.rollingUpdate": _ONE_BY_ONE,
    "volumeMounts": {"readOnly": False, "subPath": "", "subPathExpr": ""},
}
"""Field of a mapping or a list, alone or with the field above it → defaults of its fields."""

_MAPS = {
    *("annotations", "binaryData", "data", "labels", "limits", "matchLabels", "nodeSelector"),
    *("parameters", "requests", "stringData"),
}
"""Fields in which an empty mapping is the same as a missing one."""

_AMOUNTS = {
    *("capacity", "default", "defaultRequest", "hard", "limits", "max", "min", "requests"),
}
"""Fields with an amount for each resource."""
_AMOUNT = {"averageValue", "sizeLimit"}
_COMPARED_AS_TEXT = {"daemonset", "statefulset"}
"""Kinds whose controllers compare templates as text, so that another unit restarts pods."""


def default(kind: str, fields: Sequence[str], key: str, siblings: Mapping[str, Any]) -> Any:
    """Return the default that the API server sets for a missing field; None if there is none.

    kind: of the object. fields: the names of the fields above it, without keys or indexes of items.
    siblings: the mapping in which the field is missing.
    """
    if tuple(fields) == PODS.get(kind.lower()):
        other = {"serviceAccount": "serviceAccountName", "serviceAccountName": "serviceAccount"}
        return siblings.get(other[key]) if key in other else _POD.get(key)
    if tuple(fields) == ("spec",):
        return _SPEC.get(kind, {}).get(key)
    above = fields[-1] if fields else ""
    if above == "volumes" and key == "emptyDir":
        sources = [value for name, value in siblings.items() if name != "name"]
        return {} if all(value is None for value in sources) else None
    if above in ("containers", "initContainers") and key == "imagePullPolicy":
        return _pull_policy(str(siblings.get("image")))
    if key == "volumeMode":
        return "Filesystem"
    if key == "targetPort" and kind == "Service":
        return siblings.get("port")
    within = _WITHIN.get(".".join(fields[-2:])) or _WITHIN.get(above, {})
    return within.get(key)


def _pull_policy(image: str) -> str:
    tag = image.rpartition("/")[2].partition(":")[2]
    is_latest = "@" not in image and tag in ("", "latest")
    return "Always" if is_latest else "IfNotPresent"


def is_empty(key: str, value: Any) -> bool:
    """Return whether the API server drops a value: null, an empty list or map."""
    return value is None or value == [] or (value == {} and key in _MAPS)


def same(kind: str, fields: Sequence[str], old: Any, new: Any) -> bool:
    """Return whether two values are the same; 1 and 1000m are in fields with amounts."""
    if type(old) is type(new) and old == new:
        return True
    above = fields[-2] if len(fields) > 1 else ""
    if above in _AMOUNTS or (fields and fields[-1] in _AMOUNT):
        amounts = quantity.parse(old), quantity.parse(new)
        is_same = amounts[0] is not None and amounts[0] == amounts[1]
        if kind.lower() in _COMPARED_AS_TEXT and tuple(fields[:2]) == ("spec", "template"):
            return is_same and quantity.notation(old) == quantity.notation(new)
        return is_same
    return False
