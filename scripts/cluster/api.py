"""The API server's objects as JSON: get, list, patch, and wait for what a watch shows."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any

import urllib3

from scripts.findings import UsageError

Object = dict[str, Any]
"""A Kubernetes object, as JSON has it."""

ANSWER_S = 20.0
AGAIN_S = 0.2
"""Between two tries to reach an API server that is away."""

RESOURCES = {
    "AppProject": "apis/argoproj.io/v1alpha1/appprojects",
    "Application": "apis/argoproj.io/v1alpha1/applications",
    "ConfigMap": "api/v1/configmaps",
    "CronJob": "apis/batch/v1/cronjobs",
    "CustomResourceDefinition": "apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "Deployment": "apis/apps/v1/deployments",
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
    "PrometheusRule": "apis/monitoring.coreos.com/v1/prometheusrules",
    "ResourceQuota": "api/v1/resourcequotas",
    "Secret": "api/v1/secrets",
    "SecretStore": "apis/external-secrets.io/v1/secretstores",
    "Service": "api/v1/services",
    "ServiceAccount": "api/v1/serviceaccounts",
    "ServiceMonitor": "apis/monitoring.coreos.com/v1/servicemonitors",
    "StatefulSet": "apis/apps/v1/statefulsets",
}
"""Kind → where its objects are."""


class ApiError(Exception):
    """The API server refuses a request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


UNREACHABLE = (urllib3.exceptions.HTTPError, ConnectionError)


class NotInTimeError(Exception):
    """What was waited for has not come."""


class Api:
    """An API server, asked as an administrator."""

    def __init__(self, url: str, token: str, trust: ssl.SSLContext) -> None:
        self.url = url
        self._pool = urllib3.PoolManager(
            maxsize=32,
            headers={"Authorization": f"Bearer {token}"},
            ssl_context=trust,
            retries=False,
        )

    def close(self) -> None:
        """Close all connections; those of watches too."""
        self._pool.clear()

    def raw(self, path: str, timeout_s: float = ANSWER_S) -> bytes:
        """Return the answer to a GET, as it is. Raises ApiError."""
        answer = self._pool.request("GET", f"{self.url}/{path}", timeout=timeout_s)
        if answer.status >= 300:
            raise ApiError(answer.status, answer.data.decode("utf-8", "replace"))
        return answer.data

    def get(self, kind: str, name: str, namespace: str = "") -> Object:
        """Return an object. Raises ApiError where there is none."""
        found: Object = json.loads(self.raw(_path(kind, namespace, name)))
        return found

    def find(self, kind: str, name: str, namespace: str = "") -> Object | None:
        """Return an object, or None where there is none."""
        try:
            return self.get(kind, name, namespace)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def objects(self, kind: str, namespace: str = "", labels: str = "") -> list[Object]:
        """Return all objects of a kind, of all namespaces or one; labels: a selector."""
        return self._listed(kind, namespace, labels)[0]

    def create(self, kind: str, body: Object, namespace: str = "", subresource: str = "") -> Object:
        """Create an object. Raises ApiError: 409 where it is there already."""
        name = body["metadata"]["name"] if subresource else ""
        return self._send("POST", _path(kind, namespace, name, subresource), body)

    def patch(
        self, kind: str, name: str, body: Object, namespace: str = "", subresource: str = ""
    ) -> Object:
        """Merge something into an object, or into a subresource of it, like its status."""
        path = _path(kind, namespace, name, subresource)
        return self._send("PATCH", path, body, "application/merge-patch+json")

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
        timeout_s: float,
    ) -> Any:
        """Return ready's first true answer; it is asked at every change of the kind's objects.

        ready: gets the objects of the kind by name. what: what is waited for, for the
        NotInTimeError that it raises in the end.
        """
        end = time.monotonic() + timeout_s
        for objects in self.states(kind, namespace, labels, end):
            if answer := ready(objects):
                return answer
        raise NotInTimeError(f"{what}: not within {timeout_s:.0f} s")

    def states(
        self, kind: str, namespace: str, labels: str, end: float
    ) -> Iterator[dict[str, Object]]:
        """Yield the kind's objects by name, at first and at every change, until a monotonic time.

        By namespace/name where they are of all namespaces. An API server that is away is waited
        for: what changes meanwhile is not missed, and the last state comes once more.
        """
        version, objects = "", dict[str, Object]()
        while (left := end - time.monotonic()) > 0:
            try:
                if not version:
                    found, version = self._listed(kind, namespace, labels)
                    objects = {_name(each, namespace): each for each in found}
                yield objects
                for event in self._watch(kind, namespace, labels, version, left):
                    if event["type"] == "ERROR":  # the version is forgotten: list again
                        version = ""
                        break
                    name = _name(event["object"], namespace)
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] == "DELETED":
                        objects.pop(name, None)
                    else:
                        objects[name] = event["object"]
                    yield objects
                    if time.monotonic() > end:
                        return
            except ApiError:
                version = ""
                time.sleep(AGAIN_S)
            except UNREACHABLE:
                time.sleep(AGAIN_S)

    def _listed(self, kind: str, namespace: str, labels: str) -> tuple[list[Object], str]:
        told = json.loads(self.raw(f"{_path(kind, namespace)}?labelSelector={labels}"))
        return told["items"], told["metadata"]["resourceVersion"]

    def _watch(
        self, kind: str, namespace: str, labels: str, version: str, seconds: float
    ) -> Iterator[Object]:
        query = f"watch=1&resourceVersion={version}&labelSelector={labels}"
        query += f"&timeoutSeconds={max(1, round(seconds))}"
        answer = self._pool.request(
            "GET",
            f"{self.url}/{_path(kind, namespace)}?{query}",
            timeout=urllib3.Timeout(connect=ANSWER_S, read=seconds + ANSWER_S),
            preload_content=False,
        )
        try:
            if answer.status >= 300:
                raise ApiError(answer.status, "the watch is refused")
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
        told: Object = json.loads(answer.data)
        if answer.status >= 300:
            raise ApiError(answer.status, str(told.get("message")))
        return told


def _name(each: Object, namespace: str) -> str:
    metadata = each["metadata"]
    own = "" if namespace else metadata.get("namespace", "")
    return f"{own}/{metadata['name']}" if own else str(metadata["name"])


def _path(kind: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
    if kind not in RESOURCES:
        raise UsageError(f"{kind} is no kind that scripts/cluster/api.py knows: add it there")
    base, _, plural = RESOURCES[kind].rpartition("/")
    within = f"/namespaces/{namespace}" if namespace else ""
    return "/".join(part for part in (f"{base}{within}", plural, name, subresource) if part)
