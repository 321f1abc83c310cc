"""Termination: containers stop cleanly, and late enough for their clients."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

from scripts.kubernetes import services
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import Workload, whole
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects
from scripts.rules.workloads.answering import answering, of_nodes

_PODS = "https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/"
_LEAST_STOP_S = {"sequencer": 60, "besu": 60, "maru": 30}
"""For RocksDB's memory to be written to disk; the chart gives Besu 300 s, and Maru 60."""
_DEFAULT_GRACE_S = 30


@rule("https://docs.aws.amazon.com/eks/latest/best-practices/load-balancing.html")
def missing_shutdown_delay(objects: Objects) -> Iterator[Problem]:
    """In production a container goes on for some seconds while load balancers still call it.

    The load balancer learns late that a pod is going: until then its requests get errors.
    """
    for container, service in _balanced(objects) if objects.is_production else ():
        if not container.get("lifecycle", "preStop"):
            message = (
                f"the container {container.name} stops while the load balancer of {service.label}"
                " still sends it requests"
            )
            path = (*container.path, "lifecycle", "preStop")
            fix = "write lifecycle: {preStop: {sleep: {seconds: 20}}}"
            yield Problem(container.workload.manifest, path, message, fix)


def _balanced(objects: Objects) -> Iterator[tuple[Container, Manifest]]:
    """Yield the containers that load balancers of AWS know by their pods' addresses."""
    names = {
        backend.service
        for ingress in objects.of_kind("Ingress")
        if ingress.annotations.get("alb.ingress.kubernetes.io/target-type") == "ip"
        for backend in services.backends(ingress)
    }
    for name in sorted(names):
        if service := objects.find("Service", name):
            yield from ((one, service) for one in answering(objects, service))


@rule(f"{_PODS}#pod-termination")
def pre_stop_exceeds_grace_period(objects: Objects) -> Iterator[Problem]:
    """A pod's preStop hook ends before its terminationGracePeriodSeconds are over.

    Else the container is killed in it, before it is even told to stop.
    """
    for container in objects.containers:
        path, seconds = _sleep(container)
        grace = _grace(container.workload)
        if seconds and seconds >= grace:
            message = (
                f"the container {container.name} sleeps for {seconds:f} s before it stops, and its "
                f"pod has {grace} s: it is killed without having stopped"
            )
            fix = f"write fewer seconds, or terminationGracePeriodSeconds: {int(seconds) + 30}"
            yield Problem(container.workload.manifest, path, message, fix)


@rule(f"{_PODS}#pod-termination")
def grace_period_too_short(objects: Objects) -> Iterator[Problem]:
    """Besus have a minute and Marus half a minute and more for a clean stop.

    Else each update kills them while they write RocksDB's memory to disk, and each start begins
    with a recovery.
    """
    told = set[str]()
    for container in of_nodes(objects):
        workload = container.workload
        _, seconds = _sleep(container)
        left, enough = _grace(workload) - seconds, _LEAST_STOP_S[workload.manifest.component]
        cut_short = seconds and left <= 0
        if left >= enough or cut_short or workload.manifest.label in told:
            continue
        told.add(workload.manifest.label)
        after = f" after its preStop hook of {seconds:f} s" if seconds else ""
        usual = (60 if workload.manifest.component == "maru" else 300) + int(seconds)
        message = (
            f"the container {container.name} has {left:f} s to stop{after}: it is killed while it "
            "writes its database"
        )
        path = (*workload.pod_path, "terminationGracePeriodSeconds")
        yield Problem(
            workload.manifest, path, message, f"write terminationGracePeriodSeconds: {usual}"
        )


def _grace(workload: Workload) -> int:
    return whole(workload.pod_spec.get("terminationGracePeriodSeconds"), _DEFAULT_GRACE_S)


_SLEEP = re.compile(r"\bsleep ([0-9]+(?:\.[0-9]+)?)\b")


def _sleep(container: Container) -> tuple[Where, Decimal]:
    """Return how long a preStop hook sleeps, and where that is said."""
    path: Where = (*container.path, "lifecycle", "preStop")
    seconds = container.get("lifecycle", "preStop", "sleep", "seconds")
    if isinstance(seconds, int):
        return (*path, "sleep", "seconds"), Decimal(seconds)
    command = container.get("lifecycle", "preStop", "exec", "command")
    words = " ".join(map(str, command)) if isinstance(command, list) else ""
    found = _SLEEP.search(words)
    return (*path, "exec", "command"), Decimal(found[1]) if found else Decimal(0)
