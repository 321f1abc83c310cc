"""Quotas: the environment fits into its ResourceQuotas and LimitRanges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal

from scripts.core import paths
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.quantity import least, shown
from scripts.kubernetes.resource_usage import (
    SAME,
    Amounts,
    Bound,
    PodResources,
    Share,
    quotas,
)
from scripts.rules.pod_templates import in_container
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects
from scripts.rules.workloads.amounts import above_limit, containers_of, largest_of

_QUOTAS = "https://kubernetes.io/docs/concepts/policy/resource-quotas/"
_RANGES = "https://kubernetes.io/docs/concepts/policy/limit-range/"
_SHOWN = 6
"""Shares that a message names, the largest first."""
_DEMANDED = {f"{field}.{name}" for field in ("requests", "limits") for name in ("cpu", "memory")}
"""A quota of these refuses a pod with a container that doesn't say them; of others it doesn't:
validationSet in pods.go."""


@rule(_QUOTAS)
def quota_too_small(objects: Objects) -> Iterator[Problem]:
    """A ResourceQuota lets the environment be at its largest.

    Else the autoscaler's next pod is refused, or a rollout or a backup does not get on, on the day
    that needs it.
    """
    for manifest, hard in quotas(objects.manifests):
        for name, amount in hard.items():
            resource = SAME.get(name, name)
            own = [share for share in objects.counted.shares if share.resource == resource]
            total = sum((share.total for share in own), Decimal(0))
            if total > amount:
                message = (
                    f"the quota of {name} is {shown(resource, amount)}, and at its largest the "
                    f"environment takes {shown(resource, total)}: {_told(own)}"
                )
                fix = (
                    f"write {least(resource, total)} or more, by resourceQuota.hard in overlays/"
                    f"{objects.name}/values.yaml, or let the environment take less"
                )
                yield Problem(manifest, ("spec", "hard", name), message, fix)


@rule(_QUOTAS, outcome=Outcome.HIDDEN)
def quota_without_limits(objects: Objects) -> Iterator[Problem]:
    """A ResourceQuota bounds something.

    Else it only looks as if the namespace could not exhaust the cluster.
    """
    for manifest in objects.of_kind("ResourceQuota"):
        if not paths.get(manifest.object, ("spec", "hard")):
            message = f"{manifest.label} has no amount in hard: it bounds nothing"
            fix = "write amounts in resourceQuota.hard, or resourceQuota.enabled: false"
            yield Problem(manifest, ("spec", "hard"), message, fix)


@rule("https://kubernetes.io/docs/concepts/policy/resource-quotas/#requests-vs-limits")
def missing_request_for_quota(objects: Objects) -> Iterator[Problem]:
    """Containers say what a ResourceQuota counts, or have a LimitRange's default.

    Else Kubernetes refuses the pods, and only the events of their owner tell it.
    """
    for _, hard in quotas(objects.manifests):
        for name in sorted(_DEMANDED & {SAME.get(name, name) for name in hard}):
            field, _, resource = name.partition(".")
            for one in containers_of(objects):
                if resource not in one.amounts(field):
                    message = (
                        f"the container {one.container.name} has no {name}, which the quota counts:"
                        " Kubernetes refuses such a pod"
                    )
                    fix = (
                        f"write resources.{name}, or a default for containers in limitRange.limits"
                    )
                    yield in_container(one.container, ("resources", field, resource), message, fix)


@rule(_RANGES)
def request_above_default_limit(objects: Objects) -> Iterator[Problem]:
    """A container without a limit requests no more than the limit that a LimitRange gives it.

    Else Kubernetes refuses the pods, and only the events of their owner tell it.
    """
    for one, resource, request, limit in above_limit(objects):
        if one.container.get("resources", "limits", resource) is None:
            message = (
                f"the container {one.container.name} requests {request} of {resource}, and a "
                f"LimitRange gives it a limit of {limit}: Kubernetes refuses its pods"
            )
            fix = f"write a limit of {request} or more, or a request of at most {limit}"
            yield in_container(one.container, ("resources", "requests", resource), message, fix)


@rule(_RANGES)
def outside_limit_range(objects: Objects) -> Iterator[Problem]:
    """Containers, pods and claims keep within the bounds of a LimitRange.

    Else Kubernetes refuses the pods and the claims, and only the events of their owner tell it.
    """
    # A max is held against limits, a min against requests: requests above limits are told anyway.
    # admission.go in limitranger/.
    for bound in objects.counted.bounds:
        for side, field in (("max", "limits"), ("min", "requests")):
            if bound.kind == "PersistentVolumeClaim":
                for claim in objects.counted.claims:
                    path = (*claim.path, "resources", "requests")
                    asked = {"storage": claim.storage}
                    yield from _beyond(bound, side, claim.manifest, path, "a claim asks for", asked)
            elif bound.kind == "Container":
                for one in containers_of(objects):
                    path = (*one.container.path, "resources", field)
                    what = f"the container {one.container.name} {_VERBS[field]}"
                    manifest, own = one.container.workload.manifest, one.amounts(field)
                    yield from _beyond(bound, side, manifest, path, what, own)
            elif bound.kind == "Pod":
                for pods in objects.counted.pods:
                    yield from _pod_beyond(bound, side, field, pods)


def _told(shares: Iterable[Share]) -> str:
    ordered = sorted(shares, key=lambda share: (-share.total, share.label))
    told = [f"{_times(share)} by {share.label}" for share in ordered]
    if len(told) > _SHOWN:
        told[_SHOWN - 1 :] = [f"{len(told) - _SHOWN + 1} more"]
    return ", ".join(told)


def _times(share: Share) -> str:
    each = shown(share.resource, share.each)
    if share.count == 1:
        return each
    return str(share.count) if share.each == 1 else f"{share.count} × {each}"


_VERBS = {"requests": "requests", "limits": "has a limit of"}
_EACH = {"Container": "a container", "Pod": "a pod", "PersistentVolumeClaim": "a claim"}


def _beyond(
    bound: Bound, side: str, manifest: Manifest, path: Where, what: str, own: Amounts
) -> Iterator[Problem]:
    for resource, amount in own.items():
        allowed = bound.amounts[side].get(resource)
        if allowed is None or (amount <= allowed if side == "max" else amount >= allowed):
            continue
        end = shown(resource, allowed)
        message = (
            f"{what} {shown(resource, amount)} of {resource}, and {bound.manifest.label} allows "
            f"{'at most' if side == 'max' else 'at least'} {end} {_EACH[bound.kind]}"
        )
        fix = (
            f"write {end} or {'less' if side == 'max' else 'more'}, "
            f"or another {side} of {bound.kind} in limitRange.limits"
        )
        yield Problem(manifest, (*path, resource), message, fix)


def _pod_beyond(bound: Bound, side: str, field: str, pods: PodResources) -> Iterator[Problem]:
    manifest, own = pods.workload.manifest, pods.effective(field)
    for resource in own:
        largest = largest_of(pods, field, resource)
        path = (*largest.container.path, "resources", field)
        yield from _beyond(
            bound, side, manifest, path, f"a pod {_VERBS[field]}", {resource: own[resource]}
        )
    for resource in sorted(bound.amounts[side].keys() - own.keys()) if pods.main else ():
        name = f"{field}.{resource}"
        message = (
            f"no container of a pod says {name}, of which {bound.manifest.label} has a {side} for "
            "a pod: Kubernetes refuses such a pod"
        )
        fix = f"write resources.{name}, or a default for containers in limitRange.limits"
        path = ("resources", field, resource)
        yield in_container(pods.main[0].container, path, message, fix)
