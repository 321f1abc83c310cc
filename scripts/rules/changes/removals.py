"""Losses: what people and programs outside rely on, and a change takes away without a word."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from scripts.core.findings import Severity
from scripts.kubernetes import services
from scripts.kubernetes.manifest import Manifest
from scripts.kubernetes.workloads import mappings
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects, spec_of

_GUARDS = {
    "LimitRange": "a container may take what it likes",
    "NetworkPolicy": "it isolates no pod any more",
    "PodDisruptionBudget": "a drain of nodes may take all of its pods at once",
    "ResourceQuota": "the namespace may take what the cluster has",
}
"""Kind → what comes of it when one is gone."""


@rule("docs/monitoring.md", Severity.WARNING)
def alert_removed(objects: Objects) -> Iterator[Problem]:
    """An alert that watches a running chain stays.

    Where it goes, what it told of happens unseen, and nothing tells that.
    """
    now = {name for manifest in objects.of_kind("PrometheusRule") for name in _alerts(manifest)}
    for old in _of_kind(objects.old, "PrometheusRule"):
        lost = [name for name in dict.fromkeys(_alerts(old)) if name not in now]
        if lost:
            gone = f"{lost[0]} is" if len(lost) == 1 else f"{', '.join(lost)} are"
            message = f"{gone} gone: nobody is told of that any more"
            fix = "bring back what makes them, or say in the pull request what watches instead"
            yield Problem(_as_it_is(objects, old), ("spec", "groups"), message, fix)


def _alerts(manifest: Manifest) -> Iterator[str]:
    for _, group in mappings(spec_of(manifest, "groups")):
        for _, found in mappings(group.get("rules")):
            if isinstance(found.get("alert"), str):
                yield found["alert"]


@rule("docs/environments.md", Severity.WARNING)
def safeguard_removed(objects: Objects) -> Iterator[Problem]:
    """What bounds or protects the pods of an environment stays.

    Without it everything works as before, until the day for which it was there.
    """
    for old in objects.gone:
        spec = old.object.get("spec")
        same = (one.object.get("spec") == spec for one in objects.of_kind(old.kind))
        if old.kind not in _GUARDS or any(same):
            continue
        field = {"NetworkPolicy": "podSelector", "PodDisruptionBudget": "selector"}.get(old.kind)
        if field is None or objects.selected(spec_of(old, field)):
            message = f"{old.label} is gone: {_GUARDS[old.kind]}"
            yield Problem(old, (), message, "bring it back, or write another that does the same")


@rule("docs/eks.md", Severity.WARNING)
def ingress_host_removed(objects: Objects) -> Iterator[Problem]:
    """A host that is served stays.

    Who knows the environment by it gets an error from the moment of the sync.
    """
    now = {host for manifest in objects.of_kind("Ingress") for host in _hosts(manifest)}
    for old in _of_kind(objects.old, "Ingress"):
        for host in dict.fromkeys(_hosts(old)):
            if host not in now:
                message = f"{host} is served no more: who calls it gets an error"
                fix = "keep it beside the new one until nobody uses it, or tell its users before"
                yield Problem(_as_it_is(objects, old), ("spec", "rules"), message, fix)


def _hosts(manifest: Manifest) -> Iterator[str]:
    for _, found in services.rules(manifest):
        if isinstance(found.get("host"), str):
            yield found["host"]


@rule("https://kubernetes.io/docs/concepts/services-networking/service/", Severity.WARNING)
def service_port_removed(objects: Objects) -> Iterator[Problem]:
    """A port by which clients reach a Service stays.

    Who has the old number in a configuration outside of this repository is refused.
    """
    for old, new in objects.changed:
        is_elsewhere = spec_of(new, "type") == "ExternalName"
        if old.kind != "Service" or services.is_headless(old) or is_elsewhere:
            continue
        ports = _ports(new)
        for name, number in _ports(old).items():
            if number not in ports.values():
                moved = f": {name} has {ports[name]} now" if name and name in ports else ""
                message = f"{new.label} has no port {number} any more{moved}; its clients call it"
                fix = f"keep {number} beside the new one, or tell those who call it before"
                yield Problem(new, ("spec", "ports"), message, fix)


def _ports(manifest: Manifest) -> dict[str, int]:
    """Return name → number of a Service's ports."""
    return {port.name: port.number for port in services.ports(manifest)}


def _of_kind(manifests: Iterable[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest.kind == kind]


def _as_it_is(objects: Objects, old: Manifest) -> Manifest:
    """Return the object as it is now; as it was, where it is gone."""
    return objects.find(old.kind, old.name) or old
