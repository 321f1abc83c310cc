"""Selectors of what is outside: namespaces and pods of other teams, by labels that those have."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from scripts.core import advice, paths
from scripts.core.findings import Severity
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.network_policies import NAMESPACE
from scripts.kubernetes.workloads import mappings
from scripts.rules.networking.policies import all_peers, flow
from scripts.rules.networking.selection import own_namespace
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_LABELS = (
    "https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-metadata-name"
)
_NAME_LABEL = "app.kubernetes.io/name"

_LIKE_A_NAME = (
    "name",
    "namespace",
    "ns",
    "app",
    "k8s-app",
    "metadata.name",
    "kubernetes.io/name",
    "kubernetes.io/metadata.namespace",
    "kubernetes.io/namespace",
    "metadata.kubernetes.io/name",
    _NAME_LABEL,
)
"""Labels that people take for a namespace's name; no namespace has one of them by itself."""

_KNOWN_NAMESPACES = (
    "argocd",
    "cert-manager",
    "default",
    "external-secrets",
    "ingress-nginx",
    "kube-system",
    "monitoring",
)
"""Namespaces that the manifests and manuals of what usually calls the chain, or is called by it,
create.

Read in: argo-cd's getting started (kubectl create namespace argocd), cert-manager's
deploy/manifests/namespace.yaml at 64a5e1f1, the getting started of external-secrets, ingress-nginx'
deploy/static/provider/cloud/deploy.yaml, and kube-prometheus' manifests/setup/namespace.yaml at
ac1f39f8. Kubernetes itself makes default and kube-system.
"""
_NEAR = 0.85
_VALUE = ("values", 0)
"""Beside the key of an item of matchExpressions."""

_PODS = {
    "alertmanager": "alertmanager",
    "grafana": "grafana",
    "ingress-nginx": "ingress-nginx",
    "nginx-ingress": "ingress-nginx",
    "prometheus": "prometheus",
    "prometheus-server": "prometheus",
}
"""Former value of the label app → value of app.kubernetes.io/name of the same pods today.

Read in: prometheus-operator v0.93.0 (pkg/prometheus/server/operator.go and
pkg/alertmanager/statefulset.go: ApplicationNameLabelKey), and templates/_helpers.tpl, the labels of
selectors, of the charts ingress-nginx (kubernetes/ingress-nginx at 01c4cd8b), grafana
(grafana/helm-charts at 0212c408) and prometheus (prometheus-community/helm-charts at 0bf65110).
"""
_FORMER = ("app", "k8s-app", "name")


@rule(_LABELS, Severity.WARNING, outcome=Outcome.BREAKS)
def namespace_selected_by_other_label(objects: Objects) -> Iterator[Problem]:
    """A namespaceSelector names a namespace by kubernetes.io/metadata.name.

    Kubernetes sets only that label. With another one, the peer matches no namespace until
    someone labels it, and the connections time out.
    """
    for policy, path, peer in all_peers(objects):
        selector = peer.get("namespaceSelector")
        for place, key, value in _labels(selector):
            if key == NAMESPACE or not value or not _is_meant(key):
                continue
            message = (
                f"{policy.manifest.label} selects a namespace by the label {key}: {value}, which"
                " Kubernetes does not set: unless someone adds it to the namespace, the policy"
                " allows no connection"
            )
            words = f"write {NAMESPACE}: {value} instead of {key}: {value}"
            fix = advice.rename(words, NAMESPACE)
            if place[0] == "matchExpressions":
                fix = advice.saying(f"write key: {NAMESPACE} instead of key: {key}", NAMESPACE)
            yield Problem(policy.manifest, (*path, "namespaceSelector", *place), message, fix)


def _is_meant(key: str) -> bool:
    """Return whether a label looks like the one with a namespace's name."""
    lower = key.lower()
    return lower in _LIKE_A_NAME or bool(
        difflib.get_close_matches(lower, [NAMESPACE], 1, cutoff=_NEAR)
    )


def _labels(selector: Any) -> Iterator[tuple[Where, str, str]]:
    """Yield path, key and value of the labels that a selector asks for."""
    labels = paths.get(selector, ["matchLabels"]) if isinstance(selector, Mapping) else None
    for key, value in labels.items() if isinstance(labels, dict) else ():
        yield ("matchLabels", key), str(key), str(value)
    expressions = paths.get(selector, ["matchExpressions"]) if selector else None
    for index, item in mappings(expressions):
        values = item.get("values")
        if item.get("operator") == "In" and isinstance(values, list) and values:
            yield ("matchExpressions", index, "key"), str(item.get("key")), str(values[0])


@rule(_LABELS, Severity.WARNING, outcome=Outcome.BREAKS)
def misspelled_namespace(objects: Objects) -> Iterator[Problem]:
    """A namespaceSelector does not name a namespace almost like a well-known one.

    If no namespace has the name, the policy allows no connection.
    """
    for policy, path, peer in all_peers(objects):
        for place, key, value in _labels(peer.get("namespaceSelector")):
            known = (*_KNOWN_NAMESPACES, objects.namespace)
            near = difflib.get_close_matches(value, known, 1, cutoff=_NEAR)
            if key != NAMESPACE or not near or value in known:
                continue
            if near == ["kube-system"] and path[1] == "egress":
                continue  # network-policy-blocks-dns reports it
            message = (
                f"{policy.manifest.label} selects the namespace {value}, which looks misspelled:"
                " if it does not exist, the policy allows no connection"
            )
            where = (*path, "namespaceSelector", *place)
            is_item = place[-1] == "key"
            words = f"write values: [{near[0]}]" if is_item else f"write {NAMESPACE}: {near[0]}"
            fix = advice.saying(words, near[0], _VALUE if is_item else ())
            yield Problem(policy.manifest, where, message, fix)


@rule(
    "https://github.com/prometheus-operator/prometheus-operator/blob/v0.93.0/pkg/prometheus/server/operator.go",
    Severity.WARNING,
    outcome=Outcome.BREAKS,
)
def pods_selected_by_former_label(objects: Objects) -> Iterator[Problem]:
    """Peers in other namespaces have the labels that their operators and charts set today.

    Prometheus, Alertmanager, Grafana and ingress-nginx have app.kubernetes.io/name. By the former
    label app, the policy allows none of their connections.
    """
    for policy, path, peer in all_peers(objects):
        outside = peer.get("namespaceSelector")
        if outside is None or (outside and own_namespace(objects, outside)):
            continue
        labels = list(_labels(peer.get("podSelector")))
        for place, key, value in labels:
            name = _PODS.get(value) if key in _FORMER else None
            if name is None or any(other == _NAME_LABEL for _, other, _ in labels):
                continue
            right = {"podSelector": {"matchLabels": {_NAME_LABEL: name}}}
            message = (
                f"{policy.manifest.label} selects pods by {key}: {value}, but pods of {name} have"
                f" {_NAME_LABEL}: {name}: the policy allows none of their connections"
            )
            where = (*path, "podSelector", *place)
            words = f"write {flow(right)[1:-1]}"
            fix = advice.saying(words, right["podSelector"], "podSelector")
            yield Problem(policy.manifest, where, message, fix)
