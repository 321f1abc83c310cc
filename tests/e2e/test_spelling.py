"""What is one to the API server and its controllers is no change to the impact report either.

Pods restart where the text of their template does: of every spelling here that is tried, on a
Deployment and on a StatefulSet, the report has to say beforehand what the controllers then do.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.cluster import cluster as clusters
from scripts.cluster.api_client import Object
from scripts.cluster.cluster import Cluster
from scripts.impact.compare import difference
from scripts.kubernetes.manifest import Manifest, Where
from scripts.rules.objects import fields
from tests.conftest import ROOT

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
"""A pod's template, and another way to write it, or almost: nothing says here what restarts."""


@pytest.fixture(scope="module", params=clusters.versions())
def bare(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Return a cluster of each pinned version, without Argo CD."""
    with Cluster(ROOT, request.param, with_argo_cd=False) as made:
        spaces = {SPACE, *(each.namespace for each in made.environments)}
        made.plane.apply([named("v1", "Namespace", name) for name in sorted(spaces)])
        yield made


def named(api_version: str, kind: str, name: str, **more: Any) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **more}


def workload(kind: str, name: str, template: Part, history: int) -> Object:
    """Return a workload of no pods; history: raised, it shows that the controller has seen it."""
    made: dict[str, Any] = copy.deepcopy(dict(template))
    made["metadata"] = {**made.get("metadata", {}), "labels": {"test": name}}
    service = {"serviceName": name} if kind == "StatefulSet" else {}
    spec = {"replicas": 0, "selector": {"matchLabels": {"test": name}}, "template": made, **service}
    found = named("apps/v1", kind, name, spec={**spec, "revisionHistoryLimit": history})
    found["metadata"]["namespace"] = SPACE
    return found


def test_pods_restart_by_a_spelling_where_the_report_says_so(bare: Cluster) -> None:
    before = revisions(bare, 0)
    after = revisions(bare, 1)
    wrong = []
    for kind, name in before:
        old, new = (
            Manifest(workload(kind, name, part, 10), "") for part in SPELLINGS[name]
        )  # fmt: skip
        told = bool(difference.between(old, new).within("spec", "template"))
        if told != (before[kind, name] != after[kind, name]):
            wrong.append(f"{kind}/{name}: {'told' if told else 'not told'}")
    assert wrong == []
    assert before.keys() == after.keys() == {(k, n) for k in KINDS for n in SPELLINGS}


KINDS = ("Deployment", "StatefulSet")


def revisions(bare: Cluster, side: int) -> dict[tuple[str, str], Any]:
    """Return what each workload calls its template, once its controller has seen that side."""
    wanted = [
        workload(kind, name, parts[side], 10 + side)
        for kind in KINDS
        for name, parts in SPELLINGS.items()
    ]
    # As JSON: to kubectl's YAML 1e9 is a number, to Python's it is a text.
    file = bare.folder / "spelling.json"
    listed = {"apiVersion": "v1", "kind": "List", "items": wanted}
    file.write_text(json.dumps(listed), "utf-8")
    bare.plane.apply([], file)
    found = {}
    for kind in KINDS:

        def seen(there: dict[str, Object]) -> dict[str, Object] | None:
            are = all(
                each.get("status", {}).get("observedGeneration") == each["metadata"]["generation"]
                for each in there.values()
            )
            return there if are and len(there) == len(SPELLINGS) else None

        what = f"{kind}s that their controller has seen"
        objects = bare.api.until(kind, seen, what, namespace=SPACE)
        key = "deployment.kubernetes.io/revision"
        for name, each in objects.items():
            notes = each["metadata"].get("annotations", {})
            found[kind, name] = each["status"].get("updateRevision") or notes[key]
    return found


def test_defaults_spelt_out_are_no_change(bare: Cluster) -> None:
    told = []
    for each in bare.environments:
        folder = ROOT / "overlays" / each.name / "manifests"
        ours = [yaml.safe_load(file.read_text("utf-8")) for file in folder.iterdir()]
        kept = {key(each): each for each in answered(bare, folder)}
        for one in ours:
            old, new = Manifest(one, ""), Manifest(kept[key(one)], "")
            changes = difference.between(old, new).changes
            told += [
                f"{each.name}: {old.label}: {difference.shown(change.path)}: {change.new}"
                for change in changes
                if not is_servers(old, change.path)
            ]
    assert told == []


def key(one: Object) -> tuple[str, str]:
    return one["kind"], one["metadata"]["name"]


def answered(bare: Cluster, folder: Path) -> list[Object]:
    """Return the objects of a folder as the API server would keep them."""
    command = (
        "apply",
        "--server-side",
        "--dry-run=server",
        "--output=json",
        f"--filename={folder}",
    )
    code, out, errors = bare.plane.kubectl(*command)
    assert code == 0, errors
    items: list[Object] = json.loads(out)["items"]
    return items


SERVERS = {
    *("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "nodePort", "healthCheckNodePort"),
    *("creationTimestamp", "generation", "managedFields", "resourceVersion", "uid"),
    "status",
}
"""What the API server gives an object, and nobody writes."""


def is_servers(one: Manifest, path: Where) -> bool:
    """Return whether a field is the server's; the defaults of custom resources are so, too."""
    return path[-1] in SERVERS or (one.is_custom and path[0] == "spec")


def test_items_of_lists_are_told_apart_as_kubernetes_does(bare: Cluster) -> None:
    definitions = json.loads(bare.api.raw("openapi/v2"))["definitions"]
    found: dict[str, set[tuple[str, ...]]] = {}
    for name, definition in definitions.items():
        if not name.startswith("io.k8s.api.core.v1.") or name.endswith("Status"):
            continue
        for field, schema in definition.get("properties", {}).items():
            if keys := schema.get("x-kubernetes-list-map-keys"):
                found.setdefault(field, set()).add(tuple(keys))
    ours = {field: set(choices) for field, choices in difference.KEYS.items()}
    assert {field: ours.get(field) for field in found} == found
    if bare.plane.version == clusters.versions()[-1]:
        assert found == ours


SPOKEN = ("api/v1", *(f"apis/{group}" for group in (
    "apps/v1", "autoscaling/v2", "batch/v1", "networking.k8s.io/v1", "policy/v1",
)))  # fmt: skip
OTHERS = {
    *("action", "cachingMode", "kind", "operator", "persistentVolumeReclaimPolicy", "phase"),
    *("policyTypes", "pullPolicy", "qosClass", "scopeName", "scopes", "status", "stopSignal"),
    "type",
}
"""Fields with choices that are of a status, that nobody writes, or that other rules are about."""

TYPES = {
    "AppArmorProfile": "appArmorProfile",
    "DeploymentStrategy": "strategy",
    "SeccompProfile": "seccompProfile",
    "StatefulSetUpdateStrategy": "updateStrategy",
}
"""What has a type → the field that it stands in."""


def test_fields_have_the_choices_that_the_api_server_tells(bare: Cluster) -> None:
    found: dict[str, set[frozenset[str]]] = {}
    types: dict[str, frozenset[str]] = {}
    for group in SPOKEN:
        document = json.loads(bare.api.raw(f"openapi/v3/{group}"))
        for name, schema in document["components"]["schemas"].items():
            for field, one in schema.get("properties", {}).items():
                said = one.get("enum") or one.get("items", {}).get("enum")
                if said:
                    found.setdefault(field, set()).add(frozenset(filter(None, said)))
                if said and field == "type":
                    types[name.rpartition(".")[2]] = frozenset(filter(None, said))
    ours = {field: {choices} for field, choices in fields.CHOICES.items()}
    our_types = {name: fields.TYPES[field] for name, field in TYPES.items()}
    our_types["ServiceSpec"] = fields.SERVICES
    if bare.plane.version == clusters.versions()[0]:
        assert {name: one for name, one in found.items() if name not in OTHERS} == ours
        assert {name: types[name] for name in our_types} == our_types
    # A newer one may take more, but nothing less.
    for name, (choices,) in ours.items():
        assert any(choices <= each for each in found[name]), name
    for name, choices in our_types.items():
        assert choices <= types[name], name
