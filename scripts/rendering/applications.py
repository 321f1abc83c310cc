"""Environment and its manifests → AppProject, Application, and manifests as it applies them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from scripts.environments.environment import Environment
from scripts.kubernetes import autoscalers, sync
from scripts.kubernetes.manifest import Manifest, config_maps

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
    ("external-secrets.io", "ExternalSecret"),
    ("external-secrets.io", "SecretStore"),
    ("monitoring.coreos.com", "PrometheusRule"),
    ("monitoring.coreos.com", "ServiceMonitor"),
    ("networking.k8s.io", "Ingress"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("policy", "PodDisruptionBudget"),
}
"""API group and kind of all that the chart can make; a Secret it makes only outside of git.

Argo CD does not see live objects of a kind that their project forbids: were a kind forbidden as
soon as its last object leaves git, that object would stay on the cluster, and be Synced.
"""


def arrange(manifests: Sequence[Manifest], environment: Environment) -> list[Manifest]:
    """Return the manifests as Argo CD is to apply them, sorted by file name.

    Each gets its namespace, its sync wave and, where it holds data, the demand that a person
    confirms before it is pruned or deleted.
    """
    return sorted((_arranged(m, environment) for m in manifests), key=lambda m: m.file_name)


def _arranged(manifest: Manifest, environment: Environment) -> Manifest:
    metadata = dict(manifest.metadata)
    metadata.setdefault("namespace", environment.namespace)
    annotations = dict(metadata.get("annotations") or {})
    annotations.setdefault(sync.WAVE, str(sync.wave(manifest)))
    if sync.holds_data(manifest):
        annotations.setdefault(sync.OPTIONS, sync.CONFIRM)
    metadata["annotations"] = annotations
    return replace(manifest, object=manifest.object | {"metadata": metadata})


def project(environment: Environment, manifests: Sequence[Manifest]) -> dict[str, Any]:
    """Return the AppProject: this repository, this cluster and namespace, these kinds, no more.

    The kinds are those of the chart and of the manifests, which patches may have changed.
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
        "orphanedResources": {"warn": True, "ignore": _made_by_hand(environment, manifests)},
    }
    account = environment.cluster.get("serviceAccount")
    if account and "server" in destination:
        spec["destinationServiceAccounts"] = [
            destination | {"namespace": name, "defaultServiceAccount": account}
            for name in namespaces
        ]
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AppProject",
        # The root application makes projects before the applications that name them.
        "metadata": _metadata(environment, {sync.WAVE: "-1", sync.OPTIONS: sync.BY_HAND}),
        "spec": spec,
    }


def application(environment: Environment, manifests: Sequence[Manifest]) -> dict[str, Any]:
    """Return the Application that keeps the namespace equal to overlays/<name>/manifests."""
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
        # What is Degraded fails a sync: a secret store that is away, a backup that failed. After
        # the last of a number of tries Argo CD would leave that commit alone, and heal nothing.
        "retry": {
            "limit": -1,
            "refresh": True,
            "backoff": {"duration": "5s", "factor": 2, "maxDuration": "3m"},
        },
    }
    if environment.sync["automated"]:
        policy["automated"] = {key: environment.sync[key] for key in ("prune", "selfHeal")}
    metadata = _metadata(environment, {sync.OPTIONS: sync.BY_HAND})
    # Deleting the Application deletes its objects; the name without a path draws a warning.
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
    }
    if ignored:
        spec["ignoreDifferences"] = ignored
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": metadata,
        "spec": spec,
    }


def _namespace_labels(manifests: Sequence[Manifest]) -> dict[str, str]:
    """Return the labels of the namespace: its pod security; and whether pods wait for a target.

    Where a load balancer sends to pods themselves, a rolling update would else go on to the next
    pod before the last one is in it
    (https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/deploy/pod_readiness_gate/).
    """
    labels = {
        f"pod-security.kubernetes.io/{mode}": _POD_SECURITY for mode in ("enforce", "warn", "audit")
    }
    targets = (m for m in manifests if m.kind == "Ingress")
    if any(m.metadata["annotations"].get(_ALB_TARGET) == "ip" for m in targets):
        labels["elbv2.k8s.aws/pod-readiness-gate-inject"] = "enabled"
    return labels


def _made_by_hand(environment: Environment, manifests: Sequence[Manifest]) -> list[dict[str, str]]:
    """Return what is expected in the namespace though git doesn't have it.

    That is what pods refer to, and the account that syncs. Argo CD reports only kinds that the
    project allows, so Secrets need no mention.
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
    """Return the fields that a controller owns: the replicas of what an autoscaler scales."""
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
