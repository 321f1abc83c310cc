"""Every pinned API server accepts every environment, and the pods run where they should.

This needs no Argo CD: kubectl applies the manifests to namespaces like those that the Applications
create, which enforce the pod security standard "restricted".
"""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from scripts.cluster import cluster as clusters
from scripts.cluster.api_client import Object
from scripts.cluster.cluster import Cluster
from scripts.cluster.nodes import ZONE
from scripts.kubernetes import quantity
from tests.conftest import EXAMPLE
from tests.e2e import steps

RESTRICTED = "pod-security.kubernetes.io/enforce"


def namespace(environment: str, root: Path = EXAMPLE) -> Object:
    """Return the Namespace that an environment's Application creates."""
    spec = read(root / "argocd" / "applications" / f"{environment}.yaml")[0]["spec"]
    metadata = spec["syncPolicy"]["managedNamespaceMetadata"]
    assert metadata["labels"][RESTRICTED] == "restricted"
    name = {"name": spec["destination"]["namespace"]}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {**name, **metadata}}


def read(*files: Path) -> list[Any]:
    """Return the objects in files."""
    texts = (file.read_text("utf-8") for file in files)
    return [each for text in texts for each in yaml.safe_load_all(text)]


def manifests(environment: str, root: Path = EXAMPLE) -> Path:
    return root / "overlays" / environment / "manifests"


def test_at_least_two_minor_versions_are_tested() -> None:
    assert len(clusters.versions()) >= 2


def test_every_environment_is_accepted_without_a_warning_and_runs(bare: Cluster) -> None:
    bare.plane.apply([namespace(each.name) for each in bare.environments])
    for each in bare.environments:
        assert bare.plane.apply([], manifests(each.name), dry_run=True) == ""
    for each in bare.environments:
        assert bare.plane.apply([], manifests(each.name)) == ""
    for each in bare.environments:
        assert_runs(bare, each.name, each.namespace)


def assert_runs(bare: Cluster, environment: str, space: str, root: Path = EXAMPLE) -> None:
    """Assert that all pods of an environment run where they should."""
    objects = read(*manifests(environment, root).iterdir())
    pods = ready_pods(bare, space, objects)
    zones = zones_of(bare, pods)
    for workload in workloads(objects):
        assert_placed_as_promised(workload, pods, zones)
    assert_volumes_in_zones_of_pods(bare, space, pods, zones)
    assert_quotas_have_room(bare, space)


def test_the_projects_and_applications_are_accepted_without_a_warning(bare: Cluster) -> None:
    bare.plane.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "argocd"}}])
    for folder in ("projects", "applications", "root.yaml"):
        assert bare.plane.apply([], EXAMPLE / "argocd" / folder) == ""


def workloads(objects: list[Object]) -> list[Object]:
    return [each for each in objects if each["kind"] in ("Deployment", "StatefulSet")]


def labels_of(workload: Object) -> dict[str, str]:
    labels: dict[str, str] = workload["spec"]["selector"]["matchLabels"]
    return labels


def selected(pods: dict[str, Object], labels: dict[str, str]) -> dict[str, Object]:
    """Return the pods with labels."""
    return {
        name: pod
        for name, pod in pods.items()
        if labels.items() <= pod["metadata"]["labels"].items()
    }


def ready_pods(bare: Cluster, space: str, objects: list[Object]) -> dict[str, Object]:
    """Wait until a namespace has all the pods its workloads request, and return them."""
    wanted = {each["metadata"]["name"]: each for each in workloads(objects)}
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"]["minReplicas"]
        for each in objects
        if each["kind"] == "HorizontalPodAutoscaler"
    }
    counts = {
        name: scaled.get(name, each["spec"].get("replicas", 1)) for name, each in wanted.items()
    }

    def all_ready(current: dict[str, Object]) -> dict[str, Object] | None:
        pods = {name: pod for name, pod in current.items() if not steps.is_of_a_job(pod)}
        ready = {name: pod for name, pod in pods.items() if steps.is_ready(pod)}
        enough = all(
            len(selected(ready, labels_of(wanted[name]))) >= count for name, count in counts.items()
        )
        return ready if enough and len(ready) == len(pods) else None

    what = f"in {space}, ready pods: {counts}"
    pods: dict[str, Object] = bare.api.until("Pod", all_ready, what, namespace=space)
    return pods


def zones_of(bare: Cluster, pods: dict[str, Object]) -> dict[str, str]:
    """Return pod → zone."""
    nodes = {node["metadata"]["name"]: node for node in bare.api.objects("Node")}
    return {
        name: nodes[pod["spec"]["nodeName"]]["metadata"]["labels"][ZONE]
        for name, pod in pods.items()
    }


def assert_placed_as_promised(
    workload: Object, pods: dict[str, Object], zones: dict[str, str]
) -> None:
    """Assert that pods are in the zones that their workload's affinities and spreads demand."""
    name, spec = workload["metadata"]["name"], workload["spec"]["template"]["spec"]
    own = selected(pods, labels_of(workload))
    used = Counter(zones[pod] for pod in own)
    affinity = spec.get("affinity", {})
    for term in required(affinity, "podAntiAffinity"):
        if term["topologyKey"] == ZONE:
            assert max(used.values()) == 1, f"{name} has two pods in one zone: {used}"
    for term in required(affinity, "podAffinity"):
        others = selected(pods, term["labelSelector"]["matchLabels"])
        for pod, other in itertools.product(own, others):
            mine, its = pods[pod]["metadata"]["labels"], pods[other]["metadata"]["labels"]
            if all(mine[key] == its[key] for key in term.get("matchLabelKeys", ())):
                assert zones[pod] == zones[other], f"{pod} is not in the zone of {other}"
                if term["topologyKey"] != ZONE:
                    nodes = {pods[it]["spec"]["nodeName"] for it in (pod, other)}
                    assert len(nodes) == 1, f"{pod} is not on the node of {other}"
    for constraint in spec.get("topologySpreadConstraints", ()):
        if constraint["topologyKey"] == ZONE:
            counts = [used.get(zone, 0) for zone in {*zones.values()}]
            skew = max(counts) - min(counts)
            assert skew <= constraint["maxSkew"], f"{name} is spread over zones as {used}"


def required(affinity: Object, kind: str) -> list[Object]:
    terms: list[Object] = affinity.get(kind, {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution", []
    )
    return terms


def assert_volumes_in_zones_of_pods(
    bare: Cluster, space: str, pods: dict[str, Object], zones: dict[str, str]
) -> None:
    claims = bare.api.until(
        "PersistentVolumeClaim",
        lambda there: all(each["status"]["phase"] == "Bound" for each in there.values()) and there,
        f"bound claims in {space}",
        namespace=space,
    )
    volumes = {each["metadata"]["name"]: each for each in bare.api.objects("PersistentVolume")}
    for name, pod in pods.items():
        for volume in pod["spec"].get("volumes", ()):
            if claim := volume.get("persistentVolumeClaim"):
                bound = volumes[claims[claim["claimName"]]["spec"]["volumeName"]]
                (term,) = bound["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
                (expression,) = term["matchExpressions"]
                assert expression["values"] == [zones[name]], f"{name} has its volume elsewhere"


def assert_quotas_have_room(bare: Cluster, space: str) -> None:
    for quota in bare.api.objects("ResourceQuota", space):
        hard, used = quota["status"]["hard"], quota["status"]["used"]
        for resource, most in hard.items():
            taken, limit = quantity.parse(used[resource]), quantity.parse(most)
            assert taken is not None
            assert limit is not None
            assert taken <= limit, f"{space}: {resource}: {used[resource]} of {most}"
