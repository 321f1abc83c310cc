"""Get, list, patch and watch the objects of an API server, as JSON."""

from __future__ import annotations

import json
import math
import re
import ssl
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import urllib3

from scripts.core.findings import UsageError

Object = dict[str, Any]
"""A Kubernetes object in JSON."""

ANSWER_S = 300.0
"""Time-out of a request; an API server on a busy machine is slow."""
AGAIN_S = 0.2
"""Pause between two attempts to reach an API server that is down."""
AWAY_S = 900.0
"""Time after which the attempts end."""
LOOK_S = 10.0
"""How often a wait checks for progress."""
STILL_S = 900.0
"""A wait fails after this time without progress. Kubernetes and Argo CD pause for at most 300 s
before they evict, retry or heal; the rest is for busy machines."""
MOVING = ("Application", "Pod")
"""Kinds whose changes count as progress, whatever is waited for: a rollout changes pods for minutes
before the state of its Application changes."""
HEARTBEATS = {
    *("count", "finishedAt", "generation", "lastHeartbeatTime", "lastTimestamp"),
    *("lastTransitionTime", "managedFields", "reconciledAt", "resourceVersion", "retryCount"),
    *("series", "startedAt"),
}
"""Fields that change without progress: at a heartbeat, or when a retry fails as before."""
GONE = 410
"""HTTP status of a watch whose resourceVersion is too old."""
SHOWN = 30
"""Number of objects whose last state a NotInTimeError shows."""

RESOURCES = {
    "AppProject": "apis/argoproj.io/v1alpha1/appprojects",
    "Application": "apis/argoproj.io/v1alpha1/applications",
    "ConfigMap": "api/v1/configmaps",
    "CronJob": "apis/batch/v1/cronjobs",
    "CustomResourceDefinition": "apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "Deployment": "apis/apps/v1/deployments",
    "EndpointSlice": "apis/discovery.k8s.io/v1/endpointslices",
    "Event": "api/v1/events",
    "ExternalSecret": "apis/external-secrets.io/v1/externalsecrets",
    "HorizontalPodAutoscaler": "apis/autoscaling/v2/horizontalpodautoscalers",
    "Ingress": "apis/networking.k8s.io/v1/ingresses",
    "Job": "apis/batch/v1/jobs",
    "LimitRange": "api/v1/limitranges",
    "Namespace": "api/v1/namespaces",
    "NetworkPolicy": "apis/networking.k8s.io/v1/networkpolicies",
    "Node": "api/v1/nodes",
    "PersistentVolume": "api/v1/persistentvolumes",
    "PersistentVolumeClaim": "api/v1/persistentvolumeclaims",
    "Pod": "api/v1/pods",
    "PodDisruptionBudget": "apis/policy/v1/poddisruptionbudgets",
    "PodMetrics": "apis/metrics.k8s.io/v1beta1/pods",
    "Probe": "apis/monitoring.coreos.com/v1/probes",
    "PrometheusRule": "apis/monitoring.coreos.com/v1/prometheusrules",
    "ResourceQuota": "api/v1/resourcequotas",
    "Secret": "api/v1/secrets",
    "SecretStore": "apis/external-secrets.io/v1/secretstores",
    "Service": "api/v1/services",
    "ServiceAccount": "api/v1/serviceaccounts",
    "ServiceMonitor": "apis/monitoring.coreos.com/v1/servicemonitors",
    "StatefulSet": "apis/apps/v1/statefulsets",
}
"""Kind → path of its objects."""


class ApiError(Exception):
    """The API server rejects a request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


UNREACHABLE = (urllib3.exceptions.HTTPError, ConnectionError)


class NotInTimeError(Exception):
    """A wait has ended without success, because nothing has changed for a long time."""


class ApiClient:
    """A client of an API server with the rights of an administrator."""

    def __init__(self, url: str, token: str, trust: ssl.SSLContext) -> None:
        self.url, self._closed = url, False
        self._pool = urllib3.PoolManager(
            maxsize=32,
            headers={"Authorization": f"Bearer {token}"},
            ssl_context=trust,
            retries=False,
        )

    def close(self) -> None:
        """Close all connections, and end all waits and watches."""
        self._closed = True
        self._pool.clear()

    def raw(self, path: str, timeout_s: float = ANSWER_S) -> bytes:
        """Return the body of the answer to a GET. Raises ApiError."""
        answer = self._pool.request("GET", f"{self.url}/{path}", timeout=timeout_s)
        if answer.status >= 300:
            raise ApiError(answer.status, answer.data.decode("utf-8", "replace"))
        return answer.data

    def get(self, kind: str, name: str, namespace: str = "") -> Object:
        """Return an object. Raises ApiError if it does not exist."""
        data: Object = json.loads(self.raw(_path(kind, namespace, name)))
        return data

    def find(self, kind: str, name: str, namespace: str = "") -> Object | None:
        """Return an object, or None if it does not exist."""
        try:
            return self.get(kind, name, namespace)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def objects(self, kind: str, namespace: str = "", labels: str = "") -> list[Object]:
        """Return all objects of a kind, in all namespaces or in one; labels: a selector."""
        return self.listed(kind, namespace, labels)[0]

    def listed(self, kind: str, namespace: str, labels: str = "") -> tuple[list[Object], str]:
        """Return objects as `objects` does, and the resourceVersion of the list."""
        answer = json.loads(self.raw(f"{_path(kind, namespace)}?labelSelector={labels}"))
        return answer["items"], answer["metadata"]["resourceVersion"]

    def create(self, kind: str, body: Object, namespace: str = "", subresource: str = "") -> Object:
        """Create an object. Raises ApiError, with status 409 if it exists."""
        name = body["metadata"]["name"] if subresource else ""
        return self._send("POST", _path(kind, namespace, name, subresource), body)

    def patch(
        self, kind: str, name: str, body: Object, namespace: str = "", subresource: str = ""
    ) -> Object:
        """Merge a patch into an object, or into a subresource like its status."""
        path = _path(kind, namespace, name, subresource)
        return self._send("PATCH", path, body, "application/merge-patch+json")

    def apply(self, body: Object, *, dry_run: bool = False) -> Object:
        """Apply an object server-side as kubectl does, in a tenth of its processor time.

        dry_run: the API server checks it, but does not store it. Raises ApiError if it rejects it.
        """
        metadata = body["metadata"]
        name = urllib.parse.quote(metadata["name"], safe="")
        path = _path(body["kind"], metadata.get("namespace", ""), name)
        path += "?fieldManager=kubectl&fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
        return self._send("PATCH", path, body, "application/apply-patch+yaml")

    def delete(self, kind: str, name: str, namespace: str = "") -> Object:
        """Delete an object. Raises ApiError."""
        return self._send("DELETE", _path(kind, namespace, name), {})

    def until(
        self,
        kind: str,
        ready: Callable[[dict[str, Object]], Any],
        what: str,
        *,
        namespace: str = "",
        labels: str = "",
        timeout_s: float = STILL_S,
    ) -> Any:
        """Call `ready` at every change of the kind's objects, and return its first true answer.

        ready: gets the objects of the kind by name. what: named in the error. timeout_s: raises
        NotInTimeError after this time without progress, and not before. Progress is a change of
        these objects or of the MOVING kinds to a state that was not seen before.
        """
        seen, still, look_at = set[int](), 0, time.monotonic()
        objects: dict[str, Object] = {}
        for objects in self.states(kind, namespace, labels):
            if answer := ready(objects):
                return answer
            if time.monotonic() < look_at:
                continue
            # Checks are counted, not seconds: a machine that was suspended has checked once.
            state = hash((_lasting([*objects.values()]), *map(self._lasting, MOVING)))
            still = still + 1 if state in seen else 0
            seen.add(state)
            if still * LOOK_S >= timeout_s:
                break
            look_at = time.monotonic() + LOOK_S
        states = [f"\n  {name}: {_summary(each)}" for name, each in objects.items()]
        last = "".join(states[:SHOWN]) or " none"
        since = f"no progress for {still * LOOK_S:.0f} s"
        raise NotInTimeError(f"{what}: {since}; last state of {kind}:{last}")

    def states(
        self, kind: str, namespace: str, labels: str, end: float = math.inf
    ) -> Iterator[dict[str, Object]]:
        """Yield the kind's objects by name until a monotonic time, or until `close`.

        The first state comes at once, then one at every change, and otherwise every LOOK_S. Names
        are namespace/name if no namespace is given. While the API server is down, this waits. It
        misses no change unless the API server itself no longer knows it.
        """
        version, objects, failed = "", dict[str, Object](), 0
        while not self._closed and (left := end - time.monotonic()) > 0:
            try:
                if not version:
                    listed, version = self.listed(kind, namespace, labels)
                    objects = {_name(each, namespace): each for each in listed}
                yield objects
                for event in self._watch(kind, namespace, labels, version, min(left, LOOK_S)):
                    if event["type"] == "ERROR":
                        raise ApiError(event["object"].get("code", 0), "the watch has ended")
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] == "BOOKMARK":
                        continue
                    name = _name(event["object"], namespace)
                    if event["type"] == "DELETED":
                        objects.pop(name, None)
                    else:
                        objects[name] = event["object"]
                    yield objects
                    if time.monotonic() > end:
                        return
                failed = 0
            except (ApiError, *UNREACHABLE) as error:
                if isinstance(error, ApiError) and error.status == GONE:
                    version = ""
                failed += 1
                if failed * AGAIN_S > AWAY_S:
                    raise
                time.sleep(AGAIN_S)

    def _lasting(self, kind: str) -> str:
        """Return a text that changes with each progress of a kind; empty if the request fails."""
        try:
            return _lasting(self.objects(kind))
        except (ApiError, *UNREACHABLE):
            return ""

    def _watch(
        self, kind: str, namespace: str, labels: str, version: str, seconds: float
    ) -> Iterator[Object]:
        query = f"watch=1&allowWatchBookmarks=1&resourceVersion={version}&labelSelector={labels}"
        query += f"&timeoutSeconds={max(1, round(seconds))}"
        answer = self._pool.request(
            "GET",
            f"{self.url}/{_path(kind, namespace)}?{query}",
            timeout=urllib3.Timeout(connect=ANSWER_S, read=seconds + ANSWER_S),
            preload_content=False,
        )
        try:
            if answer.status >= 300:
                raise ApiError(answer.status, "the API server rejects the watch")
            rest = b""
            for part in answer.stream():
                *lines, rest = (rest + part).split(b"\n")
                yield from map(json.loads, lines)
        finally:
            answer.close()

    def _send(self, method: str, path: str, body: Object, form: str = "application/json") -> Object:
        answer = self._pool.request(
            method,
            f"{self.url}/{path}",
            body=json.dumps(body),
            headers={**self._pool.headers, "Content-Type": form},
            timeout=ANSWER_S,
        )
        data: Object = json.loads(answer.data)
        if answer.status >= 300:
            raise ApiError(answer.status, str(data.get("message")))
        return data


def _lasting(objects: list[Object]) -> str:
    """Return objects as text, without the fields that change without progress."""

    def lasting(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: lasting(it, name) for name, it in value.items() if name not in HEARTBEATS}
        if isinstance(value, list):
            return [lasting(each) for each in value]
        # Messages of Argo CD contain the number of the retry.
        return re.sub(r"\d", "", str(value)) if key == "message" else value

    return json.dumps(lasting(objects))


def _summary(each: Object) -> str:
    """Return an object's state in one line, like phase Pending, conditions PodScheduled=False."""
    parts = []
    for name, value in (each.get("status") or {}).items():
        if name == "conditions":
            value = " ".join(
                f"{condition['type']}={condition.get('status', condition.get('message'))}"
                for condition in value
            )
        elif isinstance(value, dict):
            value = value.get("status") or value.get("phase")
        if isinstance(value, str | int):
            parts.append(f"{name} {value}")
    return ", ".join(parts) or "no status"


def _name(each: Object, namespace: str) -> str:
    metadata = each["metadata"]
    own = "" if namespace else metadata.get("namespace", "")
    return f"{own}/{metadata['name']}" if own else str(metadata["name"])


def _path(kind: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
    if kind not in RESOURCES:
        raise UsageError(
            f"kind {kind} is unknown: add its path to RESOURCES in scripts/cluster/api_client.py"
        )
    base, _, plural = RESOURCES[kind].rpartition("/")
    within = f"/namespaces/{namespace}" if namespace else ""
    return "/".join(part for part in (f"{base}{within}", plural, name, subresource) if part)
