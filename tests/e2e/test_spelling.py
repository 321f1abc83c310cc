"""Two spellings that are the same to the API server are no change in the impact report either.

For each pair of spellings here, on a Deployment and on a StatefulSet, the report must predict
whether the controllers restart pods.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

import yaml

from scripts.cluster import cluster as clusters
from scripts.cluster.api_client import Object
from scripts.cluster.cluster import Cluster
from scripts.impact.compare import difference
from scripts.kubernetes.manifest import Manifest, Where
from scripts.rules.objects import fields
from tests.conftest import EXAMPLE

SPACE = "spelling"

Part = Mapping[str, Any]


def container(**fields: Any) -> Part:
    return {"spec": {"containers": [{"name": "main", "image": "linea/test:1", **fields}]}}


def pod(**fields: Any) -> Part:
    return {"spec": {**container()["spec"], **fields}}


def volume(**source: Any) -> Part:
    return pod(volumes=[{"name": "one", **source}])


def mount(**fields: Any) -> Part:
    mounts = [{"name": "one", "mountPath": "/one", **fields}]
    return pod(
        volumes=[{"name": "one", "emptyDir": {}}],
        containers=[{"name": "main", "image": "linea/test:1", "volumeMounts": mounts}],
    )


def needs(**amounts: Any) -> Part:
    return container(resources={"requests": amounts})


def probe(**fields: Any) -> Part:
    return container(readinessProbe={"httpGet": {"port": 80}, **fields})


ONE, TWO = {"name": "ONE", "value": "1"}, {"name": "TWO", "value": "2"}

SPELLINGS: Mapping[str, tuple[Part, Part]] = {
    "cpu-in-thousandths": (needs(cpu="1000m"), needs(cpu="1")),
    "cpu-as-a-number": (needs(cpu="500m"), needs(cpu=0.5)),
    "cpu-with-zeros": (needs(cpu="1.50"), needs(cpu="1500m")),
    "cpu-more": (needs(cpu="1"), needs(cpu="2")),
    "memory-in-mi": (needs(memory="1024Mi"), needs(memory="1Gi")),
    "memory-in-parts-of-gi": (needs(memory="1.5Gi"), needs(memory="1536Mi")),
    "memory-in-bytes": (needs(memory="1Gi"), needs(memory="1073741824")),
    "memory-in-few-bytes": (needs(memory="0.5Ki"), needs(memory="512")),
    "memory-in-mega": (needs(memory="1000M"), needs(memory="1G")),
    "memory-with-exponent": (needs(memory="1e9"), needs(memory="1G")),
    "memory-with-exponent-of-none": (needs(memory="15e2"), needs(memory="1500")),
    "limit-and-request": (
        container(resources={"limits": {"cpu": "1"}}),
        container(resources={"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}),
    ),
    "resources-none": (container(resources={}), container()),
    "requests-none": (container(resources={"requests": {}}), container(resources={})),
    "size-in-mi": (volume(emptyDir={"sizeLimit": "1Gi"}), volume(emptyDir={"sizeLimit": "1024Mi"})),
    "size-in-bytes": (
        volume(emptyDir={"sizeLimit": "1Gi"}),
        volume(emptyDir={"sizeLimit": 1073741824}),
    ),
    "medium-empty": (volume(emptyDir={"medium": ""}), volume(emptyDir={})),
    "empty-dir-null": (volume(emptyDir=None), volume(emptyDir={})),
    "volume-of-nothing": (volume(), volume(emptyDir={})),
    "volume-mode": (volume(configMap={"name": "a"}),
                    volume(configMap={"name": "a", "defaultMode": 420})),
    "volume-optional": (volume(configMap={"name": "a"}),
                        volume(configMap={"name": "a", "optional": False})),
    "mount-read-only": (mount(), mount(readOnly=False)),
    "mount-sub-path": (mount(), mount(subPath="")),
    "env-order": (container(env=[ONE, TWO]), container(env=[TWO, ONE])),
    "env-empty-value": (container(env=[{"name": "ONE"}]),
                        container(env=[{"name": "ONE", "value": ""}])),
    "env-none": (container(env=[]), container()),
    "env-field": (
        container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
        container(env=[{"name": "A", "valueFrom": {
            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}]),
    ),
    "args-none": (container(args=[]), container()),
    "args-order": (container(args=["a", "b"]), container(args=["b", "a"])),
    "port-order": (
        container(ports=[{"containerPort": 1}, {"containerPort": 2}]),
        container(ports=[{"containerPort": 2}, {"containerPort": 1}]),
    ),
    "port-protocol": (container(ports=[{"containerPort": 1}]),
                      container(ports=[{"containerPort": 1, "protocol": "TCP"}])),
    "port-of-host-none": (container(ports=[{"containerPort": 1}]),
                          container(ports=[{"containerPort": 1, "hostPort": 0}])),
    "port-name-empty": (container(ports=[{"containerPort": 1}]),
                        container(ports=[{"containerPort": 1, "name": ""}])),
    "probe-defaults": (probe(), probe(periodSeconds=10, timeoutSeconds=1, failureThreshold=3,
                                      successThreshold=1, initialDelaySeconds=0)),
    "probe-scheme": (probe(), probe(httpGet={"port": 80, "scheme": "HTTP", "path": "/"})),
    "probe-port-by-text": (probe(), probe(httpGet={"port": "http"})),
    "pull-policy": (container(), container(imagePullPolicy="IfNotPresent")),
    "pull-policy-always": (container(), container(imagePullPolicy="Always")),
    "terminal": (container(), container(tty=False, stdin=False, stdinOnce=False)),
    "termination-message": (container(), container(terminationMessagePolicy="File")),
    "container-context-empty": (container(), container(securityContext={})),
    "container-privileged": (container(securityContext={}),
                             container(securityContext={"privileged": False})),
    "pod-context-empty": (pod(), pod(securityContext={})),
    "pod-defaults": (pod(), pod(dnsPolicy="ClusterFirst", restartPolicy="Always",
                                schedulerName="default-scheduler",
                                terminationGracePeriodSeconds=30, hostNetwork=False)),
    "grace-none": (pod(), pod(terminationGracePeriodSeconds=0)),
    "node-selector-empty": (pod(), pod(nodeSelector={})),
    "affinity-empty": (pod(), pod(affinity={})),
    "tolerations-none": (pod(), pod(tolerations=[])),
    "init-none": (pod(), pod(initContainers=[])),
    "account-by-both-names": (pod(serviceAccountName="a"),
                              pod(serviceAccountName="a", serviceAccount="a")),
    "account-token": (pod(), pod(automountServiceAccountToken=True)),
    "service-links": (pod(), pod(enableServiceLinks=True)),
    "process-namespace": (pod(), pod(shareProcessNamespace=False)),
    "annotations-none": (pod(), {**pod(), "metadata": {"annotations": {}}}),
    "annotation-empty": (pod(), {**pod(), "metadata": {"annotations": {"a": ""}}}),
}  # fmt: skip
"""Two spellings of a pod template. Some restart pods, some do not; the controllers decide."""


def named(api_version: str, kind: str, name: str, **more: Any) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **more}


def workload(kind: str, name: str, template: Part, history: int) -> Object:
    """Return a workload without pods; history: a field that differs in each version."""
    pod: dict[str, Any] = copy.deepcopy(dict(template))
    pod["metadata"] = {**pod.get("metadata", {}), "labels": {"test": name}}
    service = {"serviceName": name} if kind == "StatefulSet" else {}
    spec = {"replicas": 0, "selector": {"matchLabels": {"test": name}}, "template": pod, **service}
    whole = named("apps/v1", kind, name, spec={**spec, "revisionHistoryLimit": history})
    whole["metadata"]["namespace"] = SPACE
    return whole


def test_the_report_predicts_which_spellings_restart_pods(bare: Cluster) -> None:
    bare.api.apply(named("v1", "Namespace", SPACE))
    before = revisions(bare, 0)
    after = revisions(bare, 1)
    wrong = []
    for kind, name in before:
        old, new = (
            Manifest(workload(kind, name, part, 10), "") for part in SPELLINGS[name]
        )  # fmt: skip
        is_reported = bool(difference.between(old, new).within("spec", "template"))
        if is_reported != (before[kind, name] != after[kind, name]):
            wrong.append(f"{kind}/{name}: {'reported' if is_reported else 'not reported'}")
    assert wrong == []
    assert before.keys() == after.keys() == {(k, n) for k in KINDS for n in SPELLINGS}


KINDS = ("Deployment", "StatefulSet")


def revisions(bare: Cluster, index: int) -> dict[tuple[str, str], Any]:
    """Apply the spellings with an index, and return the template revision of each workload."""
    wanted = [
        workload(kind, name, parts[index], 10 + index)
        for kind in KINDS
        for name, parts in SPELLINGS.items()
    ]
    # As JSON: 1e9 is a number in kubectl's YAML, but a text in Python's.
    file = bare.folder / "spelling.json"
    listed = {"apiVersion": "v1", "kind": "List", "items": wanted}
    file.write_text(json.dumps(listed), "utf-8")
    bare.plane.apply([], file)
    revisions = {}
    for kind in KINDS:

        def observed(current: dict[str, Object]) -> dict[str, Object] | None:
            are_observed = all(
                each.get("status", {}).get("observedGeneration") == each["metadata"]["generation"]
                for each in current.values()
            )
            return current if are_observed and len(current) == len(SPELLINGS) else None

        what = f"{kind}s observed by their controller"
        objects = bare.api.until(kind, observed, what, namespace=SPACE)
        key = "deployment.kubernetes.io/revision"
        for name, each in objects.items():
            notes = each["metadata"].get("annotations", {})
            revisions[kind, name] = each["status"].get("updateRevision") or notes[key]
    return revisions


def test_written_defaults_are_no_change(bare: Cluster) -> None:
    reported = []
    for environment in bare.environments:
        space = f"{SPACE}-{environment.name}"
        bare.api.apply(named("v1", "Namespace", space))
        folder = EXAMPLE / "overlays" / environment.name / "manifests"
        ours = [yaml.safe_load(file.read_text("utf-8")) for file in folder.iterdir()]
        for each in ours:
            each["metadata"]["namespace"] = space
        stored = {key(each): bare.api.apply(each, dry_run=True) for each in ours}
        for each in ours:
            old, new = Manifest(each, ""), Manifest(stored[key(each)], "")
            reported += [
                f"{environment.name}: {old.label}: {difference.shown(change.path)}: {change.new}"
                for change in difference.between(old, new).changes
                if not is_servers(old, change.path)
            ]
    assert reported == []


def key(each: Object) -> tuple[str, str]:
    return each["kind"], each["metadata"]["name"]


SERVERS = {
    *("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "nodePort", "healthCheckNodePort"),
    *("creationTimestamp", "generation", "managedFields", "resourceVersion", "uid"),
    "status",
}
"""Fields that the API server sets, and nobody writes."""


def is_servers(manifest: Manifest, path: Where) -> bool:
    """Return whether the API server sets a field; also the defaults of custom resources."""
    return path[-1] in SERVERS or (manifest.is_custom and path[0] == "spec")


def test_items_of_lists_have_the_keys_of_kubernetes(bare: Cluster) -> None:
    definitions = json.loads(bare.api.raw("openapi/v2"))["definitions"]
    published: dict[str, set[tuple[str, ...]]] = {}
    for name, definition in definitions.items():
        if not name.startswith("io.k8s.api.core.v1.") or name.endswith("Status"):
            continue
        for field, schema in definition.get("properties", {}).items():
            if keys := schema.get("x-kubernetes-list-map-keys"):
                published.setdefault(field, set()).add(tuple(keys))
    ours = {field: set(choices) for field, choices in difference.KEYS.items()}
    assert {field: ours.get(field) for field in published} == published
    if bare.plane.version == clusters.versions()[-1]:
        assert published == ours


SPOKEN = ("api/v1", *(f"apis/{group}" for group in (
    "apps/v1", "autoscaling/v2", "batch/v1", "networking.k8s.io/v1", "policy/v1",
)))  # fmt: skip
OTHERS = {
    *("action", "cachingMode", "kind", "operator", "persistentVolumeReclaimPolicy", "phase"),
    *("policyTypes", "pullPolicy", "qosClass", "scopeName", "scopes", "status", "stopSignal"),
    "type",
}
"""Fields with choices in a status, fields that nobody writes, and fields that other rules check."""

TYPES = {
    "AppArmorProfile": "appArmorProfile",
    "DeploymentStrategy": "strategy",
    "SeccompProfile": "seccompProfile",
    "StatefulSetUpdateStrategy": "updateStrategy",
}
"""Schema with a type → the field in which it is used."""


UNPUBLISHED = ("selectPolicy",)
"""Fields whose values only the validation of the API server has; test_admission asks it."""


def test_enum_fields_have_the_values_of_the_api_server(bare: Cluster) -> None:
    published: dict[str, set[frozenset[str]]] = {}
    types: dict[str, frozenset[str]] = {}
    for group in SPOKEN:
        document = json.loads(bare.api.raw(f"openapi/v3/{group}"))
        for name, schema in document["components"]["schemas"].items():
            for field, part in schema.get("properties", {}).items():
                values = part.get("enum") or part.get("items", {}).get("enum")
                if values:
                    published.setdefault(field, set()).add(frozenset(filter(None, values)))
                if values and field == "type":
                    types[name.rpartition(".")[2]] = frozenset(filter(None, values))
    ours = {f: {choices} for f, choices in fields.CHOICES.items() if f not in UNPUBLISHED}
    our_types = {name: fields.TYPES[field] for name, field in TYPES.items()}
    our_types["ServiceSpec"] = fields.SERVICES
    if bare.plane.version == clusters.versions()[0]:
        assert {name: it for name, it in published.items() if name not in OTHERS} == ours
        assert {name: types[name] for name in our_types} == our_types
    # A newer version may accept more values, but not fewer.
    for name, (choices,) in ours.items():
        assert any(choices <= each for each in published[name]), name
    for name, choices in our_types.items():
        assert choices <= types[name], name
