"""Quotas: the environment fits into its ResourceQuotas and LimitRanges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal

from scripts.core import advice, paths
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
from scripts.rules import chart_values
from scripts.rules.pod_templates import called, in_container
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects
from scripts.rules.workloads.amounts import (
    above_limit,
    containers_of,
    largest_of,
    misread,
    quoted,
    usual,
)

_QUOTAS = "https://kubernetes.io/docs/concepts/policy/resource-quotas/"
_RANGES = "https://kubernetes.io/docs/concepts/policy/limit-range/"
_SHOWN = 4
"""The number of shares that a message lists, the largest first."""
_DEMANDED = {f"{field}.{name}" for field in ("requests", "limits") for name in ("cpu", "memory")}
"""Only a quota of these rejects pods with a container that doesn't set them: validationSet in
pods.go."""


@rule(_QUOTAS, outcome=Outcome.HIDDEN)
def limits_without_entries(objects: Objects) -> Iterator[Problem]:
    """A ResourceQuota and a LimitRange limit something.

    Otherwise they have no effect: pods of one environment can use all that the cluster has.
    """
    for manifest in objects.of_kind("ResourceQuota", "LimitRange"):
        field = "hard" if manifest.kind == "ResourceQuota" else "limits"
        if not manifest.get("spec", field):
            message = f"{manifest.label} has no {field}: it limits nothing"
            entry = "an item with type: Container to limits"
            if field == "hard":
                entry = "what all pods together may request to hard, for example requests.cpu"
            fix = f"add {entry}; if no limit is wanted, remove {manifest.label}"
            yield Problem(manifest, ("spec", field), message, fix)


@rule(_QUOTAS)
def quota_too_small(objects: Objects) -> Iterator[Problem]:
    """A ResourceQuota has room for the environment at its largest.

    Otherwise the quota rejects pods when they are needed most: an autoscaler does not scale up, a
    rollout stops, or a backup does not start. The events of their owner say so.
    """
    units_missing = {f"{field}.{resource}" for _, field, resource, _ in misread(objects)}
    for manifest, hard in quotas(objects.manifests):
        for name, amount in hard.items():
            resource = SAME.get(name, name)
            own = [share for share in objects.counted.shares if share.resource == resource]
            total = sum((share.total for share in own), Decimal(0))
            if total > amount and resource not in units_missing:
                message = (
                    f"the quota of {name} is {shown(resource, amount)}, but the environment at its "
                    f"largest needs {shown(resource, total)} ({_listed(own)}): the API server "
                    "rejects what exceeds the quota"
                )
                enough = least(resource, total)
                value = int(enough) if enough.isdecimal() and resource[-3:] != "cpu" else enough
                fix = advice.write([name], value).unless(" or more")
                if manifest.template.startswith("chart/") and not manifest.patches:
                    fix += f" in resourceQuota.hard of {chart_values.file(objects)}"
                yield Problem(manifest, ("spec", "hard", name), message, fix)


@rule(_QUOTAS, outcome=Outcome.HIDDEN)
def quota_without_limits(objects: Objects) -> Iterator[Problem]:
    """A ResourceQuota limits at least one resource.

    Otherwise the pods of the namespace may exhaust the cluster.
    """
    for manifest in objects.of_kind("ResourceQuota"):
        if not paths.get(manifest.object, ("spec", "hard")):
            message = f"{manifest.label} limits nothing, because spec.hard is empty"
            fix = (
                "add limits to hard (in the values: resourceQuota.hard), for example pods: 20; if "
                "no quota is needed, write resourceQuota.enabled: false"
            )
            yield Problem(manifest, ("spec", "hard"), message, fix)


@rule("https://kubernetes.io/docs/concepts/policy/resource-quotas/#requests-vs-limits")
def missing_request_for_quota(objects: Objects) -> Iterator[Problem]:
    """Containers set the requests and limits that a ResourceQuota counts, or have a default.

    Otherwise the quota rejects the pods, and none is created: only the events of their owner say
    so. The default may come from a LimitRange.
    """
    for _, hard in quotas(objects.manifests):
        for name in sorted(_DEMANDED & {SAME.get(name, name) for name in hard}):
            field, _, resource = name.partition(".")
            for own in containers_of(objects):
                if resource not in own.amounts(field):
                    message = (
                        f"{called(own.container)} has no resources.{name}, which the ResourceQuota "
                        "counts: the API server rejects its pods"
                    )
                    fix = f"add resources.{name}, for example {usual(own, field, resource)}"
                    yield in_container(own.container, ("resources", field, resource), message, fix)


@rule(_RANGES)
def request_above_default_limit(objects: Objects) -> Iterator[Problem]:
    """A container without a limit requests no more than the default limit of a LimitRange.

    Otherwise the API server rejects the pods, and none is created: only the events of their owner
    say so.
    """
    for own, resource, request, limit in above_limit(objects):
        if own.container.get("resources", "limits", resource) is None:
            message = (
                f"{called(own.container)} requests {request} of {resource}, above its "
                f"default limit of {limit} from a LimitRange: the API server rejects its pods"
            )
            fix = advice.add(f"resources.limits.{resource}", request).unless(
                f"; if the container needs less, write "
                f"resources.requests.{resource}: {quoted(limit)} instead"
            )
            yield in_container(own.container, ("resources", "requests", resource), message, fix)


@rule(_RANGES)
def outside_limit_range(objects: Objects) -> Iterator[Problem]:
    """Containers, pods and claims are within the min and max of a LimitRange.

    Otherwise the API server rejects the pods and claims, and none is created: only the events of
    their owner say so.
    """
    # A max is compared with limits, a min with requests (admission.go in limitranger/). Requests
    # above limits have a rule of their own.
    for bound in objects.counted.bounds:
        for side, field in (("max", "limits"), ("min", "requests")):
            if bound.kind == "PersistentVolumeClaim":
                for claim in objects.counted.claims:
                    path = (*claim.path, "resources", "requests")
                    requested = {"storage": claim.storage}
                    what = "the claim requests"
                    yield from _beyond(bound, side, claim.manifest, path, what, requested)
            elif bound.kind == "Container":
                for own in containers_of(objects):
                    path = (*own.container.path, "resources", field)
                    what = f"{called(own.container)} {_VERBS[field]}"
                    manifest = own.container.workload.manifest
                    yield from _beyond(bound, side, manifest, path, what, own.amounts(field))
            elif bound.kind == "Pod":
                for pods in objects.counted.pods:
                    yield from _pod_beyond(bound, side, field, pods)


def _listed(shares: Iterable[Share]) -> str:
    ordered = sorted(shares, key=lambda share: (-share.total, share.label))
    texts = [f"{_times(share)} by {share.label}" for share in ordered]
    if len(texts) > _SHOWN:
        texts[_SHOWN - 1 :] = [f"the rest by {len(texts) - _SHOWN + 1} others"]
    return ", ".join(texts)


def _times(share: Share) -> str:
    each = shown(share.resource, share.each)
    if share.count == 1:
        return each
    return str(share.count) if share.each == 1 else f"{share.count} × {each}"


_VERBS = {"requests": "requests", "limits": "has a limit of"}
_EACH = {"Container": "container", "Pod": "pod", "PersistentVolumeClaim": "claim"}


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
            f"{'at most' if side == 'max' else 'at least'} {end} per {_EACH[bound.kind]}: the API "
            f"server rejects the {_EACH[bound.kind].replace('container', 'pod')}"
        )
        field = f"resources.{path[-1]}.{resource}"
        fix: str = advice.write(field, end)
        if bound.kind == "Pod":
            verb, by = (
                "reduce" if side == "max" else "raise",
                shown(resource, abs(amount - allowed)),
            )
            fix = f"{verb} {field} of the pod's containers by {by} in total"
        unfit, verb = ("little", "raise") if side == "max" else ("much", "reduce")
        fix += (
            f"; if that is too {unfit}, {verb} {side}.{resource} of the type {bound.kind} in "
            "limitRange.limits"
        )
        yield Problem(manifest, (*path, resource), message, fix)


def _pod_beyond(bound: Bound, side: str, field: str, pods: PodResources) -> Iterator[Problem]:
    manifest, own = pods.workload.manifest, pods.effective(field)
    for resource in own:
        largest = largest_of(pods, field, resource)
        path = (*largest.container.path, "resources", field)
        yield from _beyond(
            bound, side, manifest, path, f"the pod {_VERBS[field]}", {resource: own[resource]}
        )
    for resource in sorted(bound.amounts[side].keys() - own.keys()) if pods.main else ():
        name = f"{field}.{resource}"
        message = (
            f"no container of the pod has {name}, and {bound.manifest.label} has a {side} of "
            f"{resource} per pod: the API server rejects the pod"
        )
        first = pods.main[0]
        value = usual(first, field, resource)
        fix = f"add resources.{name} to {called(first.container)}, for example {value}"
        yield in_container(first.container, ("resources", field, resource), message, fix)
