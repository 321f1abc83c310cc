"""Make the AppProject and the Application of an environment; arrange manifests for Argo CD."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from scripts.environments.environment import Environment
from scripts.kubernetes import autoscalers, sync
from scripts.kubernetes.manifest import Manifest, config_maps
from scripts.rendering import application_settings

_POD_SECURITY = "restricted"
_ALB_TARGET = "alb.ingress.kubernetes.io/target-type"

_KINDS = {
    ("", "ConfigMap"),
    ("", "LimitRange"),
    ("", "ResourceQuota"),
    ("", "Service"),
    ("", "ServiceAccount"),
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("autoscaling", "HorizontalPodAutoscaler"),
    ("batch", "CronJob"),
    ("batch", "Job"),
    ("external-secrets.io", "ExternalSecret"),
    ("external-secrets.io", "SecretStore"),
    ("monitoring.coreos.com", "Probe"),
    ("monitoring.coreos.com", "PrometheusRule"),
    ("monitoring.coreos.com", "ServiceMonitor"),
    ("networking.k8s.io", "Ingress"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("policy", "PodDisruptionBudget"),
}
"""API group and kind of all objects that the chart can render, except Secrets, never in git.

Argo CD does not see live objects of a kind that the project does not permit. If a kind was no
longer permitted once its last object left git, the object would stay on the cluster, and the
Application would be Synced.
"""


def arrange(manifests: Sequence[Manifest], environment: Environment) -> list[Manifest]:
    """Return the manifests as Argo CD applies them, sorted by file name.

    Each gets its namespace, its sync wave, and the labels and annotations that all objects of the
    environment have. Those that hold data get a sync option: a person must confirm before they are
    pruned or deleted.
    """
    return sorted((_arranged(m, environment) for m in manifests), key=lambda m: m.file_name)


def _arranged(manifest: Manifest, environment: Environment) -> Manifest:
    metadata = dict(manifest.metadata)
    metadata.setdefault("namespace", environment.namespace)
    annotations = dict(metadata.get("annotations") or {})
    annotations.setdefault(sync.WAVE, str(sync.wave(manifest)))
    if sync.holds_data(manifest):
        annotations.setdefault(sync.OPTIONS, sync.CONFIRM)
    metadata["annotations"] = {**environment.annotations, **annotations}
    if environment.labels:
        # Neither pod templates nor selectors: a new label restarts no pod, and selects none.
        metadata["labels"] = {**environment.labels, **(metadata.get("labels") or {})}
    return replace(manifest, object=manifest.object | {"metadata": metadata})


def project(environment: Environment, manifests: Sequence[Manifest]) -> dict[str, Any]:
    """Return the AppProject, which permits this repository, cluster, namespace and these kinds.

    The kinds are those of the chart and those of the manifests, as patches may have changed them.
    """
    destination = _cluster(environment)
    namespaces = sorted({environment.namespace, *(m.namespace for m in manifests)})
    kinds = sorted(_KINDS | {(m.group, m.kind) for m in manifests})
    spec: dict[str, Any] = {
        "description": f"What the Linea stack of {environment.name} may touch",
        "sourceRepos": [environment.repository["url"]],
        "destinations": [destination | {"namespace": name} for name in namespaces],
        "clusterResourceWhitelist": [
            {"group": "", "kind": "Namespace", "name": environment.namespace}
        ],
        "namespaceResourceWhitelist": [{"group": group, "kind": kind} for group, kind in kinds],
        "orphanedResources": {"warn": True, "ignore": _expected_orphans(environment, manifests)},
    }
    account = environment.cluster.get("serviceAccount")
    if account and "server" in destination:
        spec["destinationServiceAccounts"] = [
            destination | {"namespace": name, "defaultServiceAccount": account}
            for name in namespaces
        ]
    spec |= application_settings.of_project(environment, f"linea-{environment.name}")
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AppProject",
        # The root application creates projects before the applications that need them.
        "metadata": _metadata(environment, {sync.WAVE: "-1", sync.OPTIONS: sync.BY_HAND}),
        "spec": spec,
    }


def application(environment: Environment, manifests: Sequence[Manifest]) -> dict[str, Any]:
    """Return the Application that syncs the namespace with overlays/<name>/manifests."""
    ignored = _ignored(manifests)
    policy: dict[str, Any] = {
        "managedNamespaceMetadata": {"labels": _namespace_labels(manifests)},
        "syncOptions": [
            "CreateNamespace=true",
            "ServerSideApply=true",
            "RespectIgnoreDifferences=true",
            "FailOnSharedResource=true",
            "PruneLast=true",
        ],
        "retry": application_settings.retry(environment),
    }
    if environment.sync["automated"]:
        policy["automated"] = {key: environment.sync[key] for key in ("prune", "selfHeal")}
    metadata = _metadata(environment, {sync.OPTIONS: sync.BY_HAND})
    metadata["labels"] |= application_settings.added_labels(environment)
    metadata["annotations"] |= application_settings.added_annotations(environment)
    # Deleting the Application deletes its objects. A finalizer without a path causes a warning.
    metadata["finalizers"] = ["resources-finalizer.argocd.argoproj.io/background"]
    spec: dict[str, Any] = {
        "project": metadata["name"],
        "source": {
            "repoURL": environment.repository["url"],
            "targetRevision": environment.repository["revision"],
            "path": f"overlays/{environment.name}/manifests",
        },
        "destination": _cluster(environment) | {"namespace": environment.namespace},
        "syncPolicy": policy,
        **application_settings.of_application(environment),
    }
    if environment.release:
        # Argo CD shows it with the Application; nothing in the namespace changes with it.
        release = {"name": "release", "value": environment.release}
        spec["info"] = [release, *spec.get("info", [])]
    if ignored:
        spec["ignoreDifferences"] = ignored
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": metadata,
        "spec": spec,
    }


def _namespace_labels(manifests: Sequence[Manifest]) -> dict[str, str]:
    """Return the labels of the namespace: pod security, and pod readiness gates if necessary.

    If a load balancer sends to the pods directly, a rolling update would otherwise replace the next
    pod before the load balancer has the new one
    (https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/deploy/pod_readiness_gate/).
    """
    labels = {
        f"pod-security.kubernetes.io/{mode}": _POD_SECURITY for mode in ("enforce", "warn", "audit")
    }
    ingresses = (m for m in manifests if m.kind == "Ingress")
    if any(m.metadata["annotations"].get(_ALB_TARGET) == "ip" for m in ingresses):
        labels["elbv2.k8s.aws/pod-readiness-gate-inject"] = "enabled"
    return labels


def _expected_orphans(
    environment: Environment, manifests: Sequence[Manifest]
) -> list[dict[str, str]]:
    """Return the objects that are expected in the namespace, but not in git.

    These are ConfigMaps that pods need, and the service account for the sync. Argo CD reports only
    kinds that the project permits, so Secrets are not listed.
    """
    needed = {("ConfigMap", name) for m in manifests for name in config_maps(m.object)}
    needed -= {(m.kind, m.name) for m in manifests}
    if account := environment.cluster.get("serviceAccount"):
        needed.add(("ServiceAccount", account))
    return [{"kind": kind, "name": name} for kind, name in sorted(needed)]


def _metadata(environment: Environment, annotations: dict[str, str]) -> dict[str, Any]:
    return {
        "name": f"linea-{environment.name}",
        "namespace": sync.NAMESPACE,
        "labels": {
            "app.kubernetes.io/part-of": "linea-stack",
            "app.kubernetes.io/instance": environment.name,
        },
        "annotations": annotations,
    }


def _cluster(environment: Environment) -> dict[str, Any]:
    return {
        key: environment.cluster[key] for key in ("server", "name") if key in environment.cluster
    }


def _ignored(manifests: Sequence[Manifest]) -> list[dict[str, Any]]:
    """Return the fields that a controller owns: the replicas of autoscaled workloads."""
    targets = [
        (autoscalers.target(one), one.namespace)
        for one in manifests
        if one.kind == autoscalers.KIND
    ]
    return [
        {
            "group": target.group,
            "kind": target.kind,
            "name": target.name,
            "namespace": namespace,
            "jsonPointers": ["/spec/replicas"],
        }
        for target, namespace in targets
    ]
