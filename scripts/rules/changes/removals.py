"""Removals: alerts, safeguards, hosts and ports on which users rely."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from scripts.core.findings import Severity
from scripts.kubernetes import services
from scripts.kubernetes.manifest import Manifest
from scripts.kubernetes.workloads import mappings
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, spec_of

_EFFECTS = {
    "LimitRange": "a container may have any requests and limits",
    "NetworkPolicy": "it no longer restricts the traffic of its pods",
    "PodDisruptionBudget": "a drain of nodes may evict all of its pods at once",
    "ResourceQuota": "the namespace may use all resources of the cluster",
}
"""Kind → the effect of removing an object of it."""


@rule("docs/monitoring.md", Severity.WARNING)
def alert_removed(objects: Objects) -> Iterator[Problem]:
    """Alerts of a running chain are not removed.

    Without the alert, no one is notified of the problem that it detects.
    """
    kept = {name for manifest in objects.of_kind("PrometheusRule") for name in _alerts(manifest)}
    for old in _of_kind(objects.old, "PrometheusRule"):
        removed = [name for name in dict.fromkeys(_alerts(old)) if name not in kept]
        if removed:
            message = "the following alerts are removed, so no one is notified of their problems:"
            message += f" {', '.join(removed)}"
            fix = "restore these alerts; if others replace them, name those in the pull request"
            yield Problem(_new_or_old(objects, old), ("spec", "groups"), message, fix)


def _alerts(manifest: Manifest) -> Iterator[str]:
    for _, group in mappings(spec_of(manifest, "groups")):
        for _, data in mappings(group.get("rules")):
            if isinstance(data.get("alert"), str):
                yield data["alert"]


@rule("docs/environments.md", Severity.WARNING)
def safeguard_removed(objects: Objects) -> Iterator[Problem]:
    """Quotas, limit ranges, network policies and disruption budgets are not removed.

    Without them everything works as before, until the failure or attack that they guard against.
    """
    for old in objects.gone:
        spec = old.object.get("spec")
        same = (manifest.object.get("spec") == spec for manifest in objects.of_kind(old.kind))
        if old.kind not in _EFFECTS or any(same):
            continue
        field = {"NetworkPolicy": "podSelector", "PodDisruptionBudget": "selector"}.get(old.kind)
        if field is None or objects.selected(spec_of(old, field)):
            message = f"{old.label} is removed: {_EFFECTS[old.kind]}"
            fix = f"restore {old.label}, or add another {old.kind} with the same effect"
            yield Problem(old, (), message, fix)


@rule("argocd/README.md", Severity.WARNING, outcome=Outcome.HIDDEN)
def removed_object_stays(objects: Objects) -> Iterator[Problem]:
    """The AppProject allows the kinds of the objects that a change removes.

    Argo CD does not see live objects of other kinds. So a removed object stays on the cluster, and
    the Application is Synced. The project allows the kinds of the chart and of existing objects.
    """
    allowed = {
        (str(entry.get("group")), str(entry.get("kind")))
        for _, entry in mappings(spec_of(objects.project, "namespaceResourceWhitelist"))
    }
    for old in objects.gone:
        if not any(fnmatchcase(old.group, g) and fnmatchcase(old.kind, k) for g, k in allowed):
            message = (
                f"{old.label} is removed, but {objects.project.label} no longer allows its kind: "
                "Argo CD does not delete it"
            )
            kind = f"{old.kind}.{old.group}".rstrip(".").lower()
            fix = f"after the sync, run kubectl -n {old.namespace} delete {kind} {old.name}"
            yield Problem(old, (), message, fix)


@rule("docs/eks.md", Severity.WARNING)
def ingress_host_removed(objects: Objects) -> Iterator[Problem]:
    """Hosts of Ingresses are not removed.

    After the sync, clients that use the host get an error.
    """
    kept = {host for manifest in objects.of_kind("Ingress") for host in _hosts(manifest)}
    for old in _of_kind(objects.old, "Ingress"):
        for host in dict.fromkeys(_hosts(old)):
            if host not in kept:
                message = f"no Ingress has the host {host} any longer: its clients get an error"
                fix = f"keep the host {host}, beside the new one, until no client uses it"
                yield Problem(_new_or_old(objects, old), ("spec", "rules"), message, fix)


_ATTRIBUTES = "alb.ingress.kubernetes.io/load-balancer-attributes"
_PROTECTED = "deletion_protection.enabled=true"


@rule(
    "https://github.com/kubernetes-sigs/aws-load-balancer-controller/blob/main/pkg/ingress/model_builder.go"
)
def protected_load_balancer_removed(objects: Objects) -> Iterator[Problem]:
    """The deletion protection of a load balancer is off before its Ingress is removed.

    Otherwise the AWS Load Balancer Controller stops updating all Ingresses of the group: new pods
    get no requests from any host, and the removed Ingress stays.
    """
    for old in _of_kind(objects.gone, "Ingress"):
        attributes = str(old.annotations.get(_ATTRIBUTES, "")).split(",")
        if _PROTECTED in (attribute.strip() for attribute in attributes):
            message = (
                f"{old.label} is removed while the deletion protection of its load balancer is on: "
                "the AWS Load Balancer Controller stops updating all Ingresses of the same group"
            )
            fix = (
                f"first write ingress.alb.deletionProtection: false in overlays/{objects.name}/"
                f"values.yaml, merge and sync; then remove {old.label}"
            )
            yield Problem(old, (), message, fix)


def _hosts(manifest: Manifest) -> Iterator[str]:
    for _, data in services.rules(manifest):
        if isinstance(data.get("host"), str):
            yield data["host"]


@rule("https://kubernetes.io/docs/concepts/services-networking/service/", Severity.WARNING)
def service_port_removed(objects: Objects) -> Iterator[Problem]:
    """Ports of Services are not removed.

    Clients outside of this repository that use the old number can't connect.
    """
    for old, new in objects.changed:
        is_elsewhere = spec_of(new, "type") == "ExternalName"
        if old.kind != "Service" or services.is_headless(old) or is_elsewhere:
            continue
        ports = _ports(new)
        for name, number in _ports(old).items():
            if number not in ports.values():
                moved = f" (port {name} is now {ports[name]})" if name and name in ports else ""
                message = f"{new.label} no longer has port {number}{moved}: clients that use it"
                message += " can't connect"
                fix = f"keep port {number}, beside the new one, until no client uses it"
                yield Problem(new, ("spec", "ports"), message, fix)


def _ports(manifest: Manifest) -> dict[str, int]:
    """Return name → number of a Service's ports."""
    return {port.name: port.number for port in services.ports(manifest)}


def _of_kind(manifests: Iterable[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest.kind == kind]


def _new_or_old(objects: Objects, old: Manifest) -> Manifest:
    """Return the new object, or the old one if it is removed."""
    return objects.find(old.kind, old.name) or old
