"""Sync waves: objects are applied before the objects that depend on them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from scripts.core import advice
from scripts.kubernetes import containers, services, sync, volumes
from scripts.kubernetes.manifest import PODS, Manifest
from scripts.kubernetes.workloads import Workload
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, annotation, spec_of

_DOCS = "https://argo-cd.readthedocs.io/en/stable"
_WAVES = f"{_DOCS}/user-guide/sync-waves/"


_BOUNDS = ("LimitRange", "ResourceQuota")
_GUARDS = (*_BOUNDS, "NetworkPolicy", "PodDisruptionBudget")
"""Kinds without which pods start, but without limits or protection."""
_NUMBER = re.compile(r"[-+]?[0-9]{1,9}")


def _is_moved(manifest: Manifest) -> bool:
    """Return whether an annotation moves an object to another wave than its default."""
    return sync.wave_of(manifest) != sync.wave(manifest)


@rule(_WAVES, outcome=Outcome.HIDDEN)
def invalid_sync_wave(objects: Objects) -> Iterator[Problem]:
    """A sync wave is an integer in quotes.

    Otherwise Argo CD uses wave 0, so the object may be applied before the objects that it needs.
    """
    for manifest in objects.manifests:
        value = manifest.annotations.get(sync.WAVE)
        if value is not None and not _NUMBER.fullmatch(str(value)):
            message = (
                f"the sync wave {value!r} of {manifest.label} is not an integer: Argo CD uses"
                " wave 0"
            )
            fix = _write(manifest, sync.wave(manifest))
            yield Problem(manifest, annotation(sync.WAVE), message, fix)


@rule(_WAVES)
def sync_wave_before_dependency(objects: Objects) -> Iterator[Problem]:
    """Dependencies of an object are in the same sync wave or an earlier one.

    Otherwise the wave waits for pods that cannot start until a later wave creates their ConfigMap
    or Secret: the sync never ends.
    """
    misplaced = dict[str, tuple[Manifest, Manifest, list[str]]]()
    for user, needed in _needs(objects):
        if sync.wave_of(needed) > sync.wave_of(user) and not (
            sync.is_hook(user) or sync.is_hook(needed)
        ):
            wrong, other = (user, needed) if _is_moved(user) else (needed, user)
            misplaced.setdefault(wrong.label, (wrong, other, []))[2].append(other.label)
    for wrong, other, others in misplaced.values():
        wave, names = sync.wave_of(wrong), list(dict.fromkeys(others))
        listed = names[0] + (f" and {len(names) - 1} more" if names[1:] else "")
        waves = [sync.wave_of(m) for m in objects.manifests if m.label in others]
        is_first = wave < sync.wave_of(other)
        last = other if is_first else wrong
        effect = "the pods start without it" if last.kind in _GUARDS else "the sync hangs"
        if is_first:
            message = f"{wrong.label} in wave {wave} needs {listed} from a later wave: {effect}"
            right = max(sync.wave(wrong), *waves)
        else:
            verb = "need" if names[1:] else "needs"
            message = (
                f"{listed} {verb} {wrong.label}, which is applied later, in wave {wave}: {effect}"
            )
            right = min(sync.wave(wrong), *waves)
        yield Problem(wrong, annotation(sync.WAVE), message, _write(wrong, right))


def _write(manifest: Manifest, wave: int) -> str:
    """Return the fix to write a sync wave of an object."""
    default = ", the default" if wave == sync.wave(manifest) else ""
    return advice.write_value(str(wave), f'{sync.WAVE}: "{wave}"{default}')


def _needs(objects: Objects) -> Iterator[tuple[Manifest, Manifest]]:
    """Yield each object with an object that it needs."""
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
        for backend in services.backends(ingress):
            service = objects.find("Service", backend.service)
            if service is not None:
                yield ingress, service
    # The TX Sender is ready only while its chain node accepts its transactions.
    for call in objects.calls:
        service = objects.find("Service", call.host.partition(".")[0])
        if service is not None and call.source.manifest.component == _SENDER:
            yield call.source.manifest, service
    # Limits, budgets and policies apply before the pods, even if a later wave hangs.
    for bound in objects.of_kind(*_BOUNDS):
        for workload in objects.workloads:
            yield workload.manifest, bound
    for budget in objects.of_kind("PodDisruptionBudget"):
        for workload in objects.selected(spec_of(budget, "selector")):
            yield workload.manifest, budget
    for policy in objects.of_kind("NetworkPolicy"):
        for workload in objects.selected(spec_of(policy, "podSelector")):
            yield workload.manifest, policy


def _references(workload: Workload) -> Iterator[tuple[str, Any]]:
    """Yield kind and name of the objects that the pods of a workload need to start."""
    yield "ServiceAccount", workload.pod_spec.get("serviceAccountName")
    if workload.manifest.kind == "StatefulSet":
        yield "Service", workload.get("spec", "serviceName")
    for _, volume in workload.volumes():
        yield from ((source.kind, source.name) for source in volumes.sources(volume))
        yield "PersistentVolumeClaim", volumes.claim(volume)
    for container in containers.of(workload):
        yield from ((source.kind, source.name) for source in container.env_sources())


_ORDER = ("sequencer", "maru", "besu")
_SENDER = "tx-sender"
_AFTER = (_SENDER, "backup", "restore-drill")


@rule(_WAVES)
def sync_wave_out_of_order(objects: Objects) -> Iterator[Problem]:
    """Sequencers start before Maru, Maru before Besu, and Besu before its clients.

    Otherwise a change of two components restarts parts of two validators at the same time, so the
    chain can lose its quorum, or clients start before JSON-RPC is available.
    """
    by_component = dict[str, Manifest]()
    for workload in objects.workloads:
        if not sync.is_hook(workload.manifest):
            by_component.setdefault(workload.manifest.component, workload.manifest)
    present = [component for component in _ORDER if component in by_component]
    pairs = [*pairwise(present), *((last, user) for last in present[-1:] for user in _AFTER)]
    reported = set[str]()
    for before, after in pairs:
        first, second = by_component.get(before), by_component.get(after)
        if first is None or second is None or sync.wave_of(first) < sync.wave_of(second):
            continue
        wrong = first if _is_moved(first) and not _is_moved(second) else second
        if wrong.label not in reported:
            reported.add(wrong.label)
            message = (
                f"{second.label} in wave {sync.wave_of(second)} does not wait for {first.label} in"
                f" wave {sync.wave_of(first)}: it starts or restarts too early"
            )
            fix = _write(wrong, sync.wave(wrong))
            yield Problem(wrong, annotation(sync.WAVE), message, fix)


@rule(_WAVES)
def sync_wave_waits_for_external_health(objects: Objects) -> Iterator[Problem]:
    """Objects that depend on external systems to become healthy are in later waves than the chain.

    Otherwise the chain waits for them: for the address of a load balancer, the metrics of an
    autoscaler, or an operator that is not installed.
    """
    chain = [
        workload.manifest
        for workload in objects.workloads
        if workload.manifest.component in (*_ORDER, "ethstats")
    ]
    if not chain:
        return
    last, least = max(chain, key=sync.wave_of), max(map(sync.wave, chain))
    for manifest in objects.manifests:
        # By default, it is in a later wave than the chain.
        waits = sync.wave(manifest) > least and not sync.is_hook(manifest)
        # sync-wave-out-of-order reports workloads.
        if manifest.kind.lower() in PODS:
            continue
        if waits and sync.wave_of(manifest) < sync.wave_of(last):
            message = (
                f"{last.label} in wave {sync.wave_of(last)} waits until {manifest.label} in wave"
                f" {sync.wave_of(manifest)} is healthy, which depends on an external system"
            )
            fix = _write(manifest, sync.wave(manifest))
            yield Problem(manifest, annotation(sync.WAVE), message, fix)
