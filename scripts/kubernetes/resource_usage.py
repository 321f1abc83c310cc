"""What an environment takes at its largest: pods, what each counts as, claims, bounds. Pure.

At its largest: every autoscaler at its most pods, every Deployment in the middle of a rollout,
every Job with all of its retries behind it. Rules: https://kubernetes.io/docs/concepts/policy/,
resource-quotas/ and limit-range/; how they count is in Kubernetes' pkg/quota/v1/evaluator/core/ and
plugin/pkg/admission/limitranger/.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from scripts.core import paths
from scripts.kubernetes import containers, cron
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.quantity import parse
from scripts.kubernetes.workloads import Workload, mappings, rolled, whole, workloads

Amounts = dict[str, Decimal]
"""Resource → cores, or bytes."""

COMPUTE = ("cpu", "memory", "ephemeral-storage")

SAME = {
    **{name: f"requests.{name}" for name in COMPUTE},
    "count/services": "services",
    "count/persistentvolumeclaims": "persistentvolumeclaims",
}
"""What a quota may call a resource → what it is called here."""

_OF_A_CLASS = ".storageclass.storage.k8s.io/"


@dataclass(frozen=True, slots=True)
class Share:
    """What one object takes of a resource at the environment's largest."""

    resource: str
    """As a quota calls it: requests.cpu, pods, services.loadbalancers."""
    label: str
    count: int
    each: Decimal

    @property
    def total(self) -> Decimal:
        """Return what all of them take together."""
        return self.count * self.each


@dataclass(frozen=True, slots=True)
class ContainerResources:
    """What a container requests and may take, also where it says nothing."""

    container: Container
    requests: Amounts
    limits: Amounts

    def amounts(self, field: str) -> Amounts:
        """Return its requests or its limits."""
        return self.requests if field == "requests" else self.limits


@dataclass(frozen=True, slots=True)
class PodResources:
    """The pods of a workload at its largest, and what one of them takes."""

    workload: Workload
    running: int
    kept: int
    """With the finished ones, which take no cpu but keep their claims for as long as they exist."""
    jobs: int
    containers: tuple[ContainerResources, ...]
    """Init containers first."""
    overhead: Amounts

    @property
    def main(self) -> list[ContainerResources]:
        """Return the containers without the init containers."""
        return [one for one in self.containers if not one.container.is_init]

    def effective(self, field: str) -> Amounts:
        """Return what one pod counts as: KEP-753, and PodRequests in k8s.io/component-helpers.

        That is the most of what runs at once: one init container after the other, each beside the
        sidecars that began before it; then all containers, beside all sidecars.
        """
        found = {}
        for resource in COMPUTE:
            given = [resource in c.amounts(field) for c in self.containers]
            if not any(given):
                continue
            beside = peak = Decimal(0)
            for one in self.containers:
                amount = one.amounts(field).get(resource, Decimal(0))
                if one.container.is_init:
                    peak = max(peak, beside + amount)
                    beside += amount if one.container.is_sidecar else 0
            steady = sum((c.amounts(field).get(resource, Decimal(0)) for c in self.main), beside)
            found[resource] = max(peak, steady) + self.overhead.get(resource, Decimal(0))
        return found


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim, or a template of claims."""

    manifest: Manifest
    path: Where
    """To its spec."""
    count: int
    storage: Decimal
    storage_class: str
    """Empty where the cluster's default is meant."""


@dataclass(frozen=True, slots=True)
class Bound:
    """An item of a LimitRange."""

    manifest: Manifest
    kind: str
    amounts: Mapping[str, Amounts]
    """By max, min, default and defaultRequest."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What an environment has that takes room, and what bounds it."""

    pods: list[PodResources]
    claims: list[Claim]
    bounds: list[Bound]
    shares: list[Share]
    """What each object takes at the environment's largest, resource by resource."""


def count(manifests: Sequence[Manifest]) -> Counted:
    """Return what an environment takes at its largest.

    A CronJob is taken for one that runs a Job at a time (concurrencyPolicy Forbid or Replace); pods
    that are still ending beside those that replace them, for as many as a rollout may take away.
    """
    bounds = list(_bounds(manifests))
    pods = [_pods(workload, bounds) for workload in workloads(manifests)]
    claims = list(_claims(manifests, pods))
    return Counted(pods, claims, bounds, _shares(pods, claims, manifests))


def amounts(manifest: Manifest, path: Where) -> Amounts:
    """Return the amounts at a path; the schemas tell which can't be read."""
    given = paths.get(manifest.object, path)
    read = ((str(k), parse(v)) for k, v in given.items()) if isinstance(given, dict) else ()
    return {name: amount for name, amount in read if amount is not None}


def quotas(manifests: Iterable[Manifest]) -> Iterator[tuple[Manifest, Amounts]]:
    """Yield the quotas of all pods, with their amounts; one with scopes counts some only."""
    for manifest in manifests:
        spec = manifest.object.get("spec") if manifest.kind == "ResourceQuota" else None
        if isinstance(spec, dict) and not {"scopes", "scopeSelector"} & spec.keys():
            yield manifest, amounts(manifest, ("spec", "hard"))


def _spec(manifest: Manifest) -> dict[str, Any]:
    found = manifest.object.get("spec")
    return found if isinstance(found, dict) else {}


def _bounds(manifests: Iterable[Manifest]) -> Iterator[Bound]:
    for manifest in manifests:
        if manifest.kind != "LimitRange":
            continue
        for index, item in mappings(_spec(manifest).get("limits")):
            path = ("spec", "limits", index)
            by_side = {
                field: amounts(manifest, (*path, field))
                for field in ("max", "min", "default", "defaultRequest")
            }
            yield Bound(manifest, str(item.get("type")), by_side)


def _pods(workload: Workload, bounds: Sequence[Bound]) -> PodResources:
    running, kept, jobs = _most(workload)
    own = tuple(_resources(container, bounds) for container in containers.of(workload))
    overhead = amounts(workload.manifest, (*workload.pod_path, "overhead"))
    return PodResources(workload, running, kept, jobs, own, overhead)


def _resources(container: Container, bounds: Sequence[Bound]) -> ContainerResources:
    """Return what a container gets where it says nothing.

    A request is its limit; then come a LimitRange's defaults, or, without those, its max and min
    (SetDefaults_Pod and SetDefaults_LimitRangeItem in Kubernetes' pkg/apis/core/v1/defaults.go).
    """
    manifest = container.workload.manifest
    requests = amounts(manifest, (*container.path, "resources", "requests"))
    limits = amounts(manifest, (*container.path, "resources", "limits"))
    requests = limits | requests
    for bound in bounds:
        if bound.kind == "Container":
            default = bound.amounts["max"] | bound.amounts["default"]
            limits = default | limits
            requests = bound.amounts["min"] | default | bound.amounts["defaultRequest"] | requests
    return ContainerResources(container, requests, limits)


def _most(workload: Workload) -> tuple[int, int, int]:
    """Return the most pods that run at once, that exist, and Jobs that exist."""
    if workload.manifest.kind == "Deployment":
        pods = workload.most + _beside(workload)
        return pods, pods, 0
    if workload.manifest.kind == "Job":
        return (*_of_a_job(workload, ("spec",)), 1)
    if workload.manifest.kind == "CronJob":
        running, existing = _of_a_job(workload, ("spec", "jobTemplate", "spec"))
        jobs = 1 + _finished(workload)
        return running, jobs * existing, jobs
    return workload.most, workload.most, 0


def _beside(workload: Workload) -> int:
    """Return how many pods there may be above a Deployment's replicas while it is rolled out.

    Those of maxSurge, and those of maxUnavailable, which have been told to end and still count.
    """
    if workload.get("spec", "strategy", "type") == "Recreate":
        return 0
    return sum(rolled(workload, workload.most))


def _of_a_job(workload: Workload, path: Where) -> tuple[int, int]:
    """Return how many pods of one Job run at once, and exist once it is done."""
    parallelism = whole(workload.get(*path, "parallelism"), 1)
    completions = whole(workload.get(*path, "completions"), parallelism)
    running = min(parallelism, completions)
    existing = completions + running - 1
    # Otherwise a failed container is started again in the existing pod.
    if workload.pod_spec.get("restartPolicy") == "Never":
        existing += whole(workload.get(*path, "backoffLimit"), 6)
    return running, existing


def _finished(workload: Workload) -> int:
    """Return how many finished Jobs of a CronJob may exist while the next one runs.

    The history that it keeps; fewer where Jobs end, and are removed, before the next one begins.
    """
    history = whole(workload.get("spec", "successfulJobsHistoryLimit"), 3)
    history += whole(workload.get("spec", "failedJobsHistoryLimit"), 1)
    job = ("spec", "jobTemplate", "spec")
    late = workload.get("spec", "startingDeadlineSeconds")
    longest = workload.get(*job, "activeDeadlineSeconds")
    removed = workload.get(*job, "ttlSecondsAfterFinished")
    if not all(isinstance(seconds, int) for seconds in (late, longest, removed)):
        return history
    ending = whole(workload.pod_spec.get("terminationGracePeriodSeconds"), 30)
    between = cron.interval(str(workload.get("spec", "schedule")))
    return min(history, int(late + longest + ending + removed) // between)


def _claims(manifests: Iterable[Manifest], pods: Iterable[PodResources]) -> Iterator[Claim]:
    for manifest in manifests:
        if manifest.kind == "PersistentVolumeClaim":
            yield _claim(manifest, ("spec",), 1)
    for of in pods:
        workload = of.workload
        for path, _, _ in workload.claim_templates():
            yield _claim(workload.manifest, (*path, "spec"), workload.most)
        for path, volume in workload.volumes():
            if paths.has(volume, ["ephemeral", "volumeClaimTemplate"]):
                place: Where = (*path, "ephemeral", "volumeClaimTemplate", "spec")
                yield _claim(workload.manifest, place, of.kept)


def _claim(manifest: Manifest, path: Where, count: int) -> Claim:
    asked = amounts(manifest, (*path, "resources", "requests"))
    storage_class = paths.get(manifest.object, [*path, "storageClassName"])
    return Claim(manifest, path, count, asked.get("storage", Decimal(0)), str(storage_class or ""))


def _shares(
    counted: Iterable[PodResources], claims: Iterable[Claim], manifests: Iterable[Manifest]
) -> list[Share]:
    one, found = Decimal(1), list[Share]()
    for pods in counted:
        label = pods.workload.manifest.label
        found.append(Share("pods", label, pods.running, one))
        found.append(Share("count/pods", label, pods.kept, one))
        found.append(Share("count/jobs.batch", label, pods.jobs, one))
        for field in ("requests", "limits"):
            found += (
                Share(f"{field}.{resource}", label, pods.running, amount)
                for resource, amount in pods.effective(field).items()
            )
    for claim in claims:
        for of in ("", claim.storage_class + _OF_A_CLASS) if claim.storage_class else ("",):
            label = claim.manifest.label
            found.append(Share(f"{of}requests.storage", label, claim.count, claim.storage))
            found.append(Share(f"{of}persistentvolumeclaims", label, claim.count, one))
    for manifest in manifests:
        if manifest.kind == "Service":
            found += _of_service(manifest)
    return [share for share in found if share.total]


def _of_service(manifest: Manifest) -> Iterator[Share]:
    """Yield what a Service takes: services.go; a load balancer has node ports unless it says no."""
    spec, one = _spec(manifest), Decimal(1)
    ports = [port for _, port in mappings(spec.get("ports"))]
    if spec.get("type") == "LoadBalancer":
        yield Share("services.loadbalancers", manifest.label, 1, one)
        if spec.get("allocateLoadBalancerNodePorts") is False:
            ports = [port for port in ports if port.get("nodePort")]
    if spec.get("type") in ("LoadBalancer", "NodePort"):
        yield Share("services.nodeports", manifest.label, len(ports), one)
    yield Share("services", manifest.label, 1, one)
