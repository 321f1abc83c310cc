"""Stand-ins for what needs a cloud, and nothing else: docs/cluster.md lists them.

Each makes only the changes to objects that its original would make:

| what | original | here |
|---|---|---|
| volumes | the EBS CSI driver | a PersistentVolume in the zone of the pod's node |
| a LoadBalancer Service | the AWS load balancer controller | an address that leads nowhere |
| an Ingress | the AWS load balancer controller | a host name that leads nowhere |
| a SecretStore | the External Secrets operator | Ready |
| an ExternalSecret | the External Secrets operator | Ready; a Secret with a dummy value |
| a pod's cpu and memory | metrics-server | a PodMetrics with the share that a test sets |
"""

from __future__ import annotations

import base64
import contextlib
import math
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from scripts.cluster.api_client import UNREACHABLE, ApiClient, ApiError, Object
from scripts.cluster.nodes import ZONE
from scripts.kubernetes import quantity

PROVISIONER = "ebs.csi.aws.com"
SELECTED = "volume.kubernetes.io/selected-node"
METRICS_EVERY_S = 2.0
USUAL_SHARE = 0.5


class StandIns:
    """The stand-ins of one cluster: threads that end with `close`."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._closed = threading.Event()
        self.load: dict[str, float] = {}
        """Namespace/name of an autoscaler's target → usage of its pods, as a share of requests."""

    def start(self) -> None:
        """Start all of them."""
        for kind, stand_in in {
            "PersistentVolumeClaim": self._claim,
            "Service": self._service,
            "Ingress": self._ingress,
            "SecretStore": self._store,
            "ExternalSecret": self._secret,
        }.items():
            self._thread(self._follow, kind, stand_in)
        self._thread(self._measure)

    def close(self) -> None:
        """Stop all of them."""
        self._closed.set()

    def _thread(self, work: Callable[..., None], *arguments: object) -> None:
        threading.Thread(target=work, args=arguments, daemon=True).start()

    def _follow(self, kind: str, stand_in: Callable[[Object], None]) -> None:
        """Call a stand-in for every new state of a kind's objects."""
        seen: dict[str, str] = {}
        for objects in self._api.states(kind, "", ""):
            if self._closed.is_set():
                return
            for each in list(objects.values()):
                metadata = each["metadata"]
                if seen.get(metadata["uid"]) == metadata["resourceVersion"]:
                    continue
                try:
                    stand_in(each)
                except (ApiError, *UNREACHABLE):
                    continue  # the object has changed, or the API server is down: it comes again
                seen[metadata["uid"]] = metadata["resourceVersion"]

    def _claim(self, claim: Object) -> None:
        """Create the volume of a claim once the scheduler has chosen a node for its pod."""
        metadata, spec = claim["metadata"], claim["spec"]
        node = metadata.get("annotations", {}).get(SELECTED)
        if not node or spec.get("volumeName"):
            return
        zone = self._api.get("Node", node)["metadata"]["labels"][ZONE]
        name = f"pvc-{metadata['uid']}"
        in_zone = {"key": ZONE, "operator": "In", "values": [zone]}
        volume = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {
                "name": name,
                "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER},
            },
            "spec": {
                "accessModes": spec["accessModes"],
                "capacity": {"storage": spec["resources"]["requests"]["storage"]},
                "claimRef": {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "name": metadata["name"],
                    "namespace": metadata["namespace"],
                    "uid": metadata["uid"],
                },
                "csi": {"driver": PROVISIONER, "volumeHandle": name},
                "nodeAffinity": {
                    "required": {"nodeSelectorTerms": [{"matchExpressions": [in_zone]}]}
                },
                # There is no disk behind it, and no driver that would delete it.
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": spec["storageClassName"],
            },
        }
        try:
            self._api.create("PersistentVolume", volume)
        except ApiError as error:
            if error.status != 409:
                raise

    def _service(self, service: Object) -> None:
        if service["spec"].get("type") == "LoadBalancer":
            self._address("Service", service, {"ip": "203.0.113.1"})

    def _ingress(self, ingress: Object) -> None:
        self._address("Ingress", ingress, {"hostname": "load-balancer.example"})

    def _address(self, kind: str, each: Object, address: dict[str, str]) -> None:
        if not each.get("status", {}).get("loadBalancer", {}).get("ingress"):
            self._status(kind, each, {"loadBalancer": {"ingress": [address]}})

    def _store(self, store: Object) -> None:
        self._ready("SecretStore", store, "Valid", "store validated")

    def _secret(self, wanted: Object) -> None:
        metadata, spec = wanted["metadata"], wanted["spec"]
        name, namespace = spec["target"]["name"], metadata["namespace"]
        if self._api.find("Secret", name, namespace) is None:
            value = base64.b64encode(b"no secret: a stand-in").decode()
            owner = {
                "apiVersion": wanted["apiVersion"],
                "kind": wanted["kind"],
                "name": metadata["name"],
                "uid": metadata["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
            secret = {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {
                    "name": name,
                    "namespace": namespace,
                    # The operator sets its own labels, and does not copy those of Argo CD.
                    "labels": {"reconcile.external-secrets.io/managed": "true"},
                    "ownerReferences": [owner],
                },
                "data": {each["secretKey"]: value for each in spec["data"]},
            }
            self._api.create("Secret", secret, namespace)
        self._ready("ExternalSecret", wanted, "SecretSynced", "secret synced")

    def _ready(self, kind: str, each: Object, reason: str, message: str) -> None:
        for condition in each.get("status", {}).get("conditions", []):
            if condition["type"] == "Ready":
                return
        condition = {"type": "Ready", "status": "True", "reason": reason, "message": message}
        condition["lastTransitionTime"] = _now()
        self._status(kind, each, {"conditions": [condition]})

    def _status(self, kind: str, each: Object, status: Object) -> None:
        metadata = each["metadata"]
        body = {"status": status}
        self._api.patch(kind, metadata["name"], body, metadata["namespace"], "status")

    def _measure(self) -> None:
        """Write the usage of the pods of autoscalers every few seconds."""
        while not self._closed.wait(METRICS_EVERY_S):
            with contextlib.suppress(ApiError, *UNREACHABLE):
                for scaler in self._api.objects("HorizontalPodAutoscaler"):
                    target = scaler["spec"]["scaleTargetRef"]
                    with contextlib.suppress(ApiError):  # its target was deleted meanwhile
                        self._measure_pods(target, scaler["metadata"]["namespace"])

    def _measure_pods(self, target: Object, namespace: str) -> None:
        workload = self._api.get(target["kind"], target["name"], namespace)
        labels = workload["spec"]["selector"]["matchLabels"]
        chosen = ",".join(f"{name}={value}" for name, value in labels.items())
        share = self.load.get(f"{namespace}/{target['name']}", USUAL_SHARE)
        pods = {pod["metadata"]["name"]: pod for pod in self._api.objects("Pod", namespace, chosen)}
        metrics = self._api.objects("PodMetrics", namespace, chosen)
        existing = {each["metadata"]["name"] for each in metrics}
        for name in existing - pods.keys():
            self._api.delete("PodMetrics", name, namespace)
        for name, pod in pods.items():
            usage = {
                "metadata": {
                    "name": name,
                    "namespace": namespace,
                    "labels": pod["metadata"]["labels"],
                },
                "apiVersion": "metrics.k8s.io/v1beta1",
                "kind": "PodMetrics",
                "timestamp": _now(),
                "window": "10s",
                "containers": list(_used(pod["spec"]["containers"], share)),
            }
            if name in existing:
                self._api.patch("PodMetrics", name, usage, namespace)
            else:
                self._api.create("PodMetrics", usage, namespace)


def _used(containers: Iterable[Object], share: float) -> Iterable[Object]:
    for container in containers:
        requests = container.get("resources", {}).get("requests", {})
        cpu, memory = (float(quantity.parse(requests.get(r, "0")) or 0) for r in ("cpu", "memory"))
        usage = {
            "cpu": f"{math.ceil(cpu * share * 1000)}m",
            "memory": f"{math.ceil(memory * share)}",
        }
        yield {"name": container["name"], "usage": usage}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
