"""Waves: objects come in an order that works."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from scripts.core import paths
from scripts.kubernetes import sync
from scripts.kubernetes.manifest import PODS, Manifest
from scripts.kubernetes.workloads import Workload, mappings
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects, annotation, containers, pod, spec_of

_DOCS = "https://argo-cd.readthedocs.io/en/stable"
_WAVES = f"{_DOCS}/user-guide/sync-waves/"


_NUMBER = re.compile(r"[-+]?[0-9]{1,9}")


def _is_hook(manifest: Manifest) -> bool:
    return sync.HOOK in manifest.annotations or sync.HELM_HOOK in manifest.annotations


def _is_moved(manifest: Manifest) -> bool:
    """Return whether its wave is another than the one it would have by itself."""
    return sync.wave_of(manifest) != sync.wave(manifest)


@rule(_WAVES)
def wave_is_no_number(objects: Objects) -> Iterator[Problem]:
    """A sync wave is a whole number, in quotes.

    Else Argo CD takes it for 0: the object comes before what it needs.
    """
    for manifest in objects.manifests:
        said = manifest.annotations.get(sync.WAVE)
        if said is not None and not _NUMBER.fullmatch(str(said)):
            message = f"the wave {said!r} of {manifest.label} is no number: Argo CD takes it for 0"
            fix = f'write "{sync.wave(manifest)}"'
            yield Problem(manifest, annotation(sync.WAVE), message, fix)


@rule(_WAVES)
def wave_before_what_it_needs(objects: Objects) -> Iterator[Problem]:
    """What an object needs comes in its wave, or in one before.

    Else the wave waits for pods that can't start until a later one brings their ConfigMap or
    Secret: the sync never ends.
    """
    late = dict[str, tuple[Manifest, Manifest, list[str]]]()
    for user, needed in _needs(objects):
        if sync.wave_of(needed) > sync.wave_of(user) and not (_is_hook(user) or _is_hook(needed)):
            wrong, other = (user, needed) if _is_moved(user) else (needed, user)
            late.setdefault(wrong.label, (wrong, other, []))[2].append(other.label)
    for wrong, other, others in late.values():
        first = wrong if sync.wave_of(wrong) < sync.wave_of(other) else other
        last = other if first is wrong else wrong
        names = list(dict.fromkeys(others))
        which = names[0] + (f" (and {len(names) - 1} more)" if names[1:] else "")
        if first is wrong:
            message = f"{wrong.label}, of wave {sync.wave_of(wrong)}, needs {which} of a later one"
        else:
            message = f"{which} needs {last.label}, which comes later, in wave {sync.wave_of(last)}"
        waves = [sync.wave_of(m) for m in objects.manifests if m.label in others]
        fix = f'write "{max(waves)}"' if first is wrong else f'write "{min(waves)}"'
        fix += " or less" if first is not wrong else " or more"
        yield Problem(wrong, annotation(sync.WAVE), message, fix)


def _needs(objects: Objects) -> Iterator[tuple[Manifest, Manifest]]:
    """Yield each object with one that must be there before it is well."""
    for workload in objects.workloads:
        for kind, name in _references(workload):
            found = objects.find(kind, name)
            if kind == "Secret" and not found:
                found = objects.find("ExternalSecret", name)
            if found is not None:
                yield workload.manifest, found
    for secret in objects.of_kind("ExternalSecret"):
        store = objects.find("SecretStore", spec_of(secret, "secretStoreRef", "name"))
        if store is not None:
            yield secret, store
    for store in objects.of_kind("SecretStore"):
        path = ("provider", "aws", "auth", "jwt", "serviceAccountRef", "name")
        account = objects.find("ServiceAccount", spec_of(store, *path))
        if account is not None:
            yield store, account
    for ingress in objects.of_kind("Ingress"):
        for name in _backends(ingress):
            service = objects.find("Service", name)
            if service is not None:
                yield ingress, service
    # The TX Sender is ready only while its node takes its transfers.
    for call in objects.calls:
        service = objects.find("Service", call.host.partition(".")[0])
        if service is not None and call.source.manifest.component == _SENDER:
            yield call.source.manifest, service
    # Pods are guarded from their first moment, also while a later wave hangs.
    for bound in objects.of_kind("LimitRange", "ResourceQuota"):
        for workload in objects.workloads:
            yield workload.manifest, bound
    for budget in objects.of_kind("PodDisruptionBudget"):
        for workload in objects.selected(spec_of(budget, "selector")):
            yield workload.manifest, budget
    for policy in objects.of_kind("NetworkPolicy"):
        for workload in objects.selected(spec_of(policy, "podSelector")):
            yield workload.manifest, policy


def _backends(ingress: Manifest) -> Iterator[Any]:
    yield spec_of(ingress, "defaultBackend", "service", "name")
    for _, one in mappings(spec_of(ingress, "rules")):
        for _, path in mappings(paths.get(one, ("http", "paths"))):
            yield paths.get(path, ("backend", "service", "name"))


def _references(workload: Workload) -> Iterator[tuple[str, Any]]:
    """Yield kind and name of what a workload's pods need to start."""
    _, spec = pod(workload)
    yield "ServiceAccount", spec.get("serviceAccountName")
    if workload.manifest.kind == "StatefulSet":
        yield "Service", workload.get("spec", "serviceName")
    for _, volume in mappings(spec.get("volumes")):
        sources = [volume, *(one for _, one in mappings(_projected(volume)))]
        for source in sources:
            yield "ConfigMap", paths.get(source, ("configMap", "name"))
            yield "Secret", paths.get(source, ("secret", "secretName"))
            yield "Secret", paths.get(source, ("secret", "name"))
        claim = paths.get(volume, ("persistentVolumeClaim", "claimName"))
        yield "PersistentVolumeClaim", claim
    for container in containers(workload):
        for _, variable in mappings(container.get("env")):
            yield "ConfigMap", paths.get(variable, ("valueFrom", "configMapKeyRef", "name"))
            yield "Secret", paths.get(variable, ("valueFrom", "secretKeyRef", "name"))
        for _, source in mappings(container.get("envFrom")):
            yield "ConfigMap", paths.get(source, ("configMapRef", "name"))
            yield "Secret", paths.get(source, ("secretRef", "name"))


def _projected(volume: dict[str, Any]) -> Any:
    return paths.get(volume, ("projected", "sources"))


_ORDER = ("sequencer", "maru", "besu")
_SENDER = "tx-sender"
_AFTER = (_SENDER, "backup", "restore-drill")


@rule(_WAVES)
def component_starts_too_early(objects: Objects) -> Iterator[Problem]:
    """Sequencers start before Maru, Maru before Besu, and Besu before what uses it.

    Else a change of two components restarts halves of two validators at a time, which can be more
    than the chain goes on without; or users start before there is JSON-RPC.
    """
    by_component = dict[str, Manifest]()
    for workload in objects.workloads:
        if not _is_hook(workload.manifest):
            by_component.setdefault(workload.manifest.component, workload.manifest)
    there = [component for component in _ORDER if component in by_component]
    pairs = [*pairwise(there), *((last, user) for last in there[-1:] for user in _AFTER)]
    told = set[str]()
    for before, after in pairs:
        first, second = by_component.get(before), by_component.get(after)
        if first is None or second is None or sync.wave_of(first) < sync.wave_of(second):
            continue
        wrong = first if _is_moved(first) and not _is_moved(second) else second
        if wrong.label not in told:
            told.add(wrong.label)
            message = (
                f"{second.label} (wave {sync.wave_of(second)}) does not wait for {first.label} "
                f"(wave {sync.wave_of(first)})"
            )
            fix = f'write "{sync.wave(wrong)}", which is its wave'
            yield Problem(wrong, annotation(sync.WAVE), message, fix)


@rule(_WAVES)
def wave_waits_for_the_outside(objects: Objects) -> Iterator[Problem]:
    """What becomes healthy only through something outside comes after the chain.

    Else the chain waits for it: for an address of a load balancer, metrics of an autoscaler, or an
    operator of monitoring that is not there.
    """
    inner = [
        one.manifest for one in objects.workloads if one.manifest.component in (*_ORDER, "ethstats")
    ]
    if not inner:
        return
    last, least = max(inner, key=sync.wave_of), max(map(sync.wave, inner))
    for manifest in objects.manifests:
        # By itself, it would come after them.
        waits = sync.wave(manifest) > least and not _is_hook(manifest)
        # Of pods, component-starts-too-early tells.
        if manifest.kind.lower() in PODS:
            continue
        if waits and sync.wave_of(manifest) < sync.wave_of(last):
            message = (
                f"{last.label}, of wave {sync.wave_of(last)}, waits until {manifest.label}, of"
                f" wave {sync.wave_of(manifest)}, is healthy, which something outside decides"
            )
            fix = f'write "{sync.wave(manifest)}", which is its wave'
            yield Problem(manifest, annotation(sync.WAVE), message, fix)
