"""Termination: containers have time to stop cleanly, and stop after their last requests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

from scripts.core import advice
from scripts.core.findings import Severity
from scripts.kubernetes import services
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import Workload, whole
from scripts.rules.pod_templates import called
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects
from scripts.rules.workloads.answering import answering, chain_nodes

_TARGETS = (
    "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/"
    "edit-target-group-attributes.html"
)
_PODS = "https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/"
_LEAST_STOP_S = {"sequencer": 60, "besu": 60, "maru": 30}
"""Time for RocksDB to flush its memory to disk."""
_USUAL_STOP_S = {"sequencer": 300, "besu": 300, "maru": 60}
"""What the chart gives them."""
_DEFAULT_GRACE_S = 30
_LEAST_DELAY_S = 10
"""Time for the load balancer to deregister an address; base/profiles/eks.yaml gives it 20 s."""


@rule("https://docs.aws.amazon.com/eks/latest/best-practices/load-balancing.html")
def missing_shutdown_delay(objects: Objects) -> Iterator[Problem]:
    """In production, containers behind a load balancer have a preStop hook that delays their stop.

    Otherwise requests fail with 502 or 504 during each rollout: the load balancer sends requests to
    a terminating pod for some seconds, until it has deregistered its address.
    """
    for container, service in _balanced(objects) if objects.is_production else ():
        hook = container.get("lifecycle", "preStop")
        place, seconds = _sleep(container)
        if not hook or 0 < seconds < _LEAST_DELAY_S:
            lacks = f"has a preStop hook of only {seconds:f} s" if hook else "has no preStop hook"
            message = (
                f"{called(container)} {lacks}: it stops while the load "
                f"balancer of {service.label} still sends it requests, which fail"
            )
            path = place if hook else (*container.path, "lifecycle", "preStop")
            fix: str = advice.add("lifecycle", {"preStop": {"sleep": {"seconds": 20}}})
            if hook:
                fix = advice.write("seconds", 20) if place[-1] == "seconds" else "write sleep 20"
            yield Problem(container.workload.manifest, path, message, fix)


def _balanced(objects: Objects) -> Iterator[tuple[Container, Manifest]]:
    """Yield the containers that are IP targets of an AWS load balancer, with their Service."""
    names = {
        backend.service
        for ingress in objects.of_kind("Ingress")
        if ingress.annotations.get("alb.ingress.kubernetes.io/target-type") == "ip"
        for backend in services.backends(ingress)
    }
    for name in sorted(names):
        if service := objects.find("Service", name):
            yield from ((container, service) for container in answering(objects, service))


@rule(f"{_TARGETS}#deregistration-delay", Severity.WARNING, outcome=Outcome.RISK)
def drain_exceeds_grace_period(objects: Objects) -> Iterator[Problem]:
    """The deregistration delay of a load balancer is within terminationGracePeriodSeconds.

    Otherwise the pod is killed while the load balancer still keeps connections to it open.
    """
    for container, service in _balanced(objects):
        grace = _grace(container.workload)
        for manifest in (service, *_ingresses(objects, service)):
            attributes = str(manifest.annotations.get(_ATTRIBUTES, ""))
            delay = _DELAY.search(attributes)
            if delay and int(delay[1]) > grace:
                message = (
                    f"the load balancer keeps connections to a terminating pod for {delay[1]} s "
                    f"(deregistration_delay), but {called(container)} is killed after {grace} s: "
                    "they are cut"
                )
                fix = f"write deregistration_delay.timeout_seconds={min(30, grace)}; if "
                fix += "connections last longer, write terminationGracePeriodSeconds: "
                fix += f"{delay[1]} for {container.workload.manifest.label}"
                path: Where = ("metadata", "annotations", _ATTRIBUTES)
                yield Problem(manifest, path, message, fix, delay[0])


_ATTRIBUTES = "alb.ingress.kubernetes.io/target-group-attributes"
_DELAY = re.compile(r"deregistration_delay\.timeout_seconds=([0-9]+)")


def _ingresses(objects: Objects, service: Manifest) -> list[Manifest]:
    """Return the Ingresses that lead to a Service."""
    return [
        ingress
        for ingress in objects.of_kind("Ingress")
        if any(backend.service == service.name for backend in services.backends(ingress))
    ]


@rule(f"{_PODS}#pod-termination")
def pre_stop_exceeds_grace_period(objects: Objects) -> Iterator[Problem]:
    """A preStop hook ends before the pod's terminationGracePeriodSeconds are over.

    Otherwise the kubelet kills the container during the hook, before it gets SIGTERM.
    """
    for container in objects.containers:
        path, seconds = _sleep(container)
        grace = _grace(container.workload)
        if seconds and seconds >= grace:
            message = (
                f"the preStop hook of {called(container)} sleeps for {seconds:f} s, and "
                f"terminationGracePeriodSeconds is {grace}: the container is killed before it gets "
                "SIGTERM"
            )
            fix = advice.write(
                "terminationGracePeriodSeconds",
                int(seconds) + _USUAL_STOP_S.get(container.workload.component, 30),
                above=container.workload.pod_path[-2:],
            )
            if grace < _DEFAULT_GRACE_S:  # no one writes so little except by mistake
                path = (*container.workload.pod_path, "terminationGracePeriodSeconds")
            yield Problem(container.workload.manifest, path, message, fix)


@rule(f"{_PODS}#pod-termination")
def grace_period_too_short(objects: Objects) -> Iterator[Problem]:
    """Besu has at least 60 s to stop cleanly, and Maru 30 s.

    Otherwise each rollout kills it while RocksDB flushes its memory to disk, and each start begins
    with a recovery of the database.
    """
    reported = set[str]()
    for container in chain_nodes(objects):
        workload = container.workload
        _, seconds = _sleep(container)
        left, enough = _grace(workload) - seconds, _LEAST_STOP_S[workload.manifest.component]
        is_exceeded = seconds and left <= 0  # pre-stop-exceeds-grace-period
        if left >= enough or is_exceeded or workload.manifest.label in reported:
            continue
        reported.add(workload.manifest.label)
        hook = f", and the preStop hook takes {seconds:f} s of it" if seconds else ""
        usual = _USUAL_STOP_S[workload.manifest.component] + int(seconds)
        field = "terminationGracePeriodSeconds"
        is_set = "" if field in workload.pod_spec else "not set, which means "
        message = (
            f"{field} is {is_set}{_grace(workload)}{hook}: {called(container)} is killed while "
            "RocksDB flushes its memory to disk"
        )
        path, fix = (*workload.pod_path, field), advice.write(field, usual)
        yield Problem(workload.manifest, path, message, fix)


def _grace(workload: Workload) -> int:
    return whole(workload.pod_spec.get("terminationGracePeriodSeconds"), _DEFAULT_GRACE_S)


_SLEEP = re.compile(r"\bsleep ([0-9]+(?:\.[0-9]+)?)([smhd]?)\b")
_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def _sleep(container: Container) -> tuple[Where, Decimal]:
    """Return the path of a preStop hook's sleep, and its seconds."""
    path: Where = (*container.path, "lifecycle", "preStop")
    seconds = container.get("lifecycle", "preStop", "sleep", "seconds")
    if isinstance(seconds, int):
        return (*path, "sleep", "seconds"), Decimal(seconds)
    command = container.get("lifecycle", "preStop", "exec", "command")
    words = " ".join(map(str, command)) if isinstance(command, list) else ""
    sleeps = (Decimal(number) * _UNITS_S[unit] for number, unit in _SLEEP.findall(words))
    return (*path, "exec", "command"), sum(sleeps, Decimal(0))


@rule("https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination")
def negative_grace_period(objects: Objects) -> Iterator[Problem]:
    """A pod has no negative terminationGracePeriodSeconds.

    Otherwise the kubelet kills its containers after one second.
    """
    for workload in objects.makers:
        seconds = workload.pod_spec.get("terminationGracePeriodSeconds")
        if isinstance(seconds, int) and seconds < 0:
            message = (
                f"terminationGracePeriodSeconds of {workload.manifest.label} is {seconds}: its"
            )
            message += " containers are killed after one second"
            path = (*workload.pod_path, "terminationGracePeriodSeconds")
            fix = "write terminationGracePeriodSeconds: 30, or the time that the program needs"
            yield Problem(workload.manifest, path, message, fix)
