"""Capacity: what runs has room, in the quota, on a node and in a container."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from scripts.core import paths
from scripts.core.findings import Severity
from scripts.kubernetes import resilience
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.quantity import GIB, least, parse, shown
from scripts.kubernetes.resource_usage import (
    COMPUTE,
    SAME,
    Amounts,
    Bound,
    Container,
    Pods,
    Share,
    quotas,
)
from scripts.kubernetes.workloads import mappings
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_QUOTAS = "https://kubernetes.io/docs/concepts/policy/resource-quotas/"
_RANGES = "https://kubernetes.io/docs/concepts/policy/limit-range/"
_RESOURCES = "https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/"
_VOLUMES = "https://kubernetes.io/docs/concepts/storage/volumes/#emptydir"
_HEAP = "https://besu.hyperledger.org/public-networks/how-to/configure-java/manage-memory"
_JAVA = "https://docs.oracle.com/en/java/javase/25/docs/specs/man/java.html"

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"

_SHOWN = 6
"""Shares that a message names, the largest first."""

_DEMANDED = {f"{field}.{name}" for field in ("requests", "limits") for name in ("cpu", "memory")}
"""A quota of these refuses a pod with a container that doesn't say them; of others it doesn't:
validationSet in pods.go."""

_MIB = Decimal(1024**2)
_MOST_CORES = 32
"""Of one container: whoever writes more means thousandths."""

_HEAP_SHARE = Decimal("0.75")
"""Of the memory limit: RocksDB, metaspace, compiled code and stacks of threads are beside the heap.
Besu's documentation recommends less than half."""

_OPTIONS = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "JAVA_OPTS", "BESU_OPTS")
"""Variables with options of the JVM: of options that are said twice, the later ones win."""

_FACTORS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


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


@rule(_QUOTAS)
def quota_of_nothing(objects: Objects) -> Iterator[Problem]:
    """A ResourceQuota bounds something.

    Else it only looks as if the namespace could not exhaust the cluster.
    """
    for manifest in objects.of_kind("ResourceQuota"):
        if not paths.get(manifest.object, ("spec", "hard")):
            message = f"{manifest.label} has no amount in hard: it bounds nothing"
            fix = "write amounts in resourceQuota.hard, or resourceQuota.enabled: false"
            yield Problem(manifest, ("spec", "hard"), message, fix)


@rule("https://kubernetes.io/docs/concepts/policy/resource-quotas/#requests-vs-limits")
def not_in_quota(objects: Objects) -> Iterator[Problem]:
    """Containers say what a ResourceQuota counts, or have a LimitRange's default.

    Else Kubernetes refuses the pods, and only the events of their owner tell it.
    """
    for _, hard in quotas(objects.manifests):
        for name in sorted(_DEMANDED & {SAME.get(name, name) for name in hard}):
            field, _, resource = name.partition(".")
            for pods, container in _containers(objects):
                if resource not in container.amounts(field):
                    message = (
                        f"the container {container.name} has no {name}, which the quota counts: "
                        "Kubernetes refuses such a pod"
                    )
                    fix = (
                        f"write resources.{name}, or a default for containers in limitRange.limits"
                    )
                    path = (*container.path, "resources", field, resource)
                    yield Problem(pods.workload.manifest, path, message, fix)


@rule(_RESOURCES, outcome=Outcome.REJECTED)
def request_above_limit(objects: Objects) -> Iterator[Problem]:
    """A container requests no more than its limit.

    Else Kubernetes refuses the object.
    """
    for pods, container in _containers(objects):
        for resource, request in container.requests.items():
            limit = container.limits.get(resource)
            misread = any(_is_misread(resource, one) for one in (request, limit or request))
            if limit is None or request <= limit or misread:
                continue
            message = (
                f"the container {container.name} requests {shown(resource, request)} of {resource},"
                f" and its limit is {shown(resource, limit)}: Kubernetes refuses such a pod"
            )
            fix = f"write a request of at most {shown(resource, limit)}, or a higher limit"
            path = (*container.path, "resources", "requests", resource)
            yield Problem(pods.workload.manifest, path, message, fix)


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
                for pods, container in _containers(objects):
                    path = (*container.path, "resources", field)
                    what = f"the container {container.name} {_VERBS[field]}"
                    manifest, own = pods.workload.manifest, container.amounts(field)
                    yield from _beyond(bound, side, manifest, path, what, own)
            elif bound.kind == "Pod":
                for pods in objects.counted.pods:
                    yield from _pod_beyond(bound, side, field, pods)


@rule("docs/capacity.md")
def pod_fits_no_node(objects: Objects) -> Iterator[Problem]:
    """A pod requests no more than a node has.

    Else it waits as Pending for ever, or until somebody adds larger nodes.
    """
    room = {name: amount for name, v in objects.given.node.items() if (amount := parse(v))}
    for pods in objects.counted.pods:
        for resource, asked in pods.effective("requests").items():
            has = room.get(resource)
            if has is None or asked <= has:
                continue
            largest = _largest(pods, "requests", resource)
            own = largest.requests.get(resource, Decimal(0))
            if _is_misread(resource, own) or own > largest.limits.get(resource, own):
                continue
            message = (
                f"a pod requests {shown(resource, asked)} of {resource}, and a node has "
                f"{shown(resource, has)} (node in overlays/{objects.name}/environment.yaml): it "
                "never starts"
            )
            fix = f"request {shown(resource, asked - has)} less"
            if asked - has < own:
                fix = f"let {largest.name} request {shown(resource, own - asked + has)} or less"
            fix += ", or take larger nodes and write what they have as node"
            yield Problem(pods.workload.manifest, _said(pods, largest, resource), message, fix)
    yield from _pairs_that_fit_no_node(objects, room)


def _pairs_that_fit_no_node(objects: Objects, room: Mapping[str, Decimal]) -> Iterator[Problem]:
    """Yield the problem of a Maru that must be on its sequencer's node, and has no room there."""
    by_component = {pods.workload.manifest.component: pods for pods in objects.counted.pods}
    maru, sequencer = by_component.get("maru"), by_component.get("sequencer")
    if not maru or not sequencer:
        return
    if resilience.together(maru.workload, sequencer.workload) != resilience.NODE:
        return
    other = sequencer.effective("requests")
    for resource, asked in maru.effective("requests").items():
        both, has = asked + other.get(resource, Decimal(0)), room.get(resource)
        if has is None or both <= has or asked > has or both - asked > has:
            continue
        message = (
            f"a Maru and the sequencer beside it request {shown(resource, both)} of {resource}, "
            f"and a node has {shown(resource, has)} (node in overlays/{objects.name}/"
            "environment.yaml): the Maru never starts"
        )
        fix = "write maru.beside: zone, or take larger nodes and write what they have as node"
        path = (*maru.workload.template, "spec", "affinity", "podAffinity", _REQUIRED, 0)
        yield Problem(maru.workload.manifest, (*path, "topologyKey"), message, fix)
        return


@rule(_RESOURCES)
def amount_without_unit(objects: Objects) -> Iterator[Problem]:
    """Amounts of memory and cpu have the unit that is meant: Mi or Gi, and m.

    Memory of 4 is 4 bytes, and of 512m half a byte, in which no container starts; a cpu of 500 is
    500 cores.
    """
    for pods, container in _containers(objects):
        for field in ("requests", "limits"):
            written = paths.get(container.data, ("resources", field))
            for resource, value in (written if isinstance(written, dict) else {}).items():
                amount = parse(value)
                if amount is None or not _is_misread(resource, amount):
                    continue
                if resource == "cpu":
                    message, fix = f"{value} of cpu is {value} cores", f"write {value}m"
                else:
                    message = f"{value} of {resource} is {shown('', amount)} bytes"
                    fix = f"write {_with_unit(value)}"
                message = f"the container {container.name}: {message}"
                path = (*container.path, "resources", field, resource)
                yield Problem(pods.workload.manifest, path, message, fix)


@rule(_RESOURCES)
def container_without_memory_limit(objects: Objects) -> Iterator[Problem]:
    """A container has a limit of memory, of its own or by a LimitRange's default.

    Else what leaks takes the memory of its whole node, validators on it included, and a JVM sizes
    its heap by the node.
    """
    for pods, container in _containers(objects):
        if "memory" not in container.limits and not _is_counted(objects, "limits.memory"):
            message = (
                f"the container {container.name} has no limit of memory: it may take all of its "
                "node's, and then others are killed with it"
            )
            fix = "write resources.limits.memory"
            path = (*container.path, "resources", "limits", "memory")
            yield Problem(pods.workload.manifest, path, message, fix)


@rule(_RESOURCES)
def container_without_cpu_request(objects: Objects) -> Iterator[Problem]:
    """A container requests cpu, itself, by its limit or by a LimitRange's default.

    Else the scheduler takes it for nothing, and puts it on a node that has none left.
    """
    # Without a request of memory there is no limit of it either, which is told.
    for pods, container in _containers(objects):
        if "cpu" in container.requests or _is_counted(objects, "requests.cpu"):
            continue
        manifest = pods.workload.manifest
        scalers = objects.autoscalers.get((manifest.kind, manifest.name), [])
        if any(_goes_by_cpu(scaler) for scaler in scalers):
            continue  # which then never scales: that is told
        message = (
            f"the container {container.name} requests no cpu: the scheduler may put it on a node"
            " that has none left"
        )
        path = (*container.path, "resources", "requests", "cpu")
        yield Problem(manifest, path, message, "write resources.requests.cpu")


@rule(_HEAP)
def heap_too_large(objects: Objects) -> Iterator[Problem]:
    """A JVM's heap leaves a quarter of the container's memory limit to what is beside it.

    RocksDB's caches, metaspace, compiled code and stacks of threads are not in the heap: as it
    fills, the kernel kills the container, which RocksDB then has to recover from.
    """
    for jvm in _jvms(objects):
        limit, heap = jvm.container.limits.get("memory"), jvm.most
        if limit is None or heap is None or _is_misread("memory", limit):
            continue
        if jvm.container.requests.get("memory", limit) > limit:
            continue  # the limit is told
        share = limit * Decimal(heap.text) / 100 if heap.size is None else heap.size
        size = share // _MIB * _MIB
        if size > limit * _HEAP_SHARE:
            message = (
                f"the heap may grow to {shown('memory', size)} ({heap.word}), and the container "
                f"{jvm.container.name} may have {shown('memory', limit)}: it is killed as the heap "
                "fills"
            )
            half = "-XX:MaxRAMPercentage=50" if heap.size is None else f"-Xmx{_option(limit / 2)}"
            fix = (
                f"write {half}, or a memory limit of {least('memory', size * 2)}: Besu and Maru "
                "need about as much beside the heap"
            )
            yield Problem(jvm.manifest, heap.path, message, fix)


@rule(_JAVA, Severity.WARNING)
def heap_without_bound(objects: Objects) -> Iterator[Problem]:
    """Who says a JVM's first heap also says its largest.

    The JVM takes a quarter of the memory limit else, which may be less than what it begins with.
    """
    for jvm in _jvms(objects):
        if jvm.first and jvm.first.size is not None and jvm.most is None and not jvm.unreadable:
            name = jvm.container.name
            message = f"the heap of {name} begins with {jvm.first.text}, and may grow to a quarter"
            message += " of the memory limit: nothing says how far"
            limit = jvm.container.limits.get("memory")
            size = max(limit / 2, jvm.first.size) if limit else jvm.first.size
            yield Problem(jvm.manifest, jvm.first.path, message, f"add -Xmx{_option(size)}")


@rule(_JAVA)
def heap_starts_above_its_most(objects: Objects) -> Iterator[Problem]:
    """A JVM's first heap (-Xms) is no larger than its largest (-Xmx).

    Else the JVM refuses to start.
    """
    for jvm in _jvms(objects):
        first, most = jvm.first, jvm.most
        if first and most and first.size is not None and most.size is not None:
            if first.size <= most.size:
                continue
            message = f"{first.word} is more than {most.word}: the JVM refuses to start"
            fix = f"write -Xms{most.text} or less, or a larger -Xmx"
            yield Problem(jvm.manifest, first.path, message, fix)


@rule(_JAVA)
def heap_of_no_size(objects: Objects) -> Iterator[Problem]:
    """Sizes of a JVM's heap are numbers with k, m or g, of 1 MiB and more.

    The JVM knows no Gi and no gb, takes a bare number for bytes, and refuses to start.
    """
    for jvm in _jvms(objects):
        for word, path in jvm.unreadable:
            message = f"{word} is no size of a heap that the JVM takes: it refuses to start"
            number = re.search("[0-9]+", word)
            option = word[:4] if word.startswith("-Xm") else word.partition("=")[0] + "="
            unit = "m" if re.search("[mM]", word[len(option) :]) or word[-1].isdigit() else "g"
            fix = f"write {option}{number[0] if number else 1}{unit}"
            yield Problem(jvm.manifest, path, message, fix)


@rule(_VOLUMES)
def scratch_above_storage_limit(objects: Objects) -> Iterator[Problem]:
    """A pod's emptyDir volumes have room in its limit of ephemeral storage.

    Else the pod is evicted before its volumes are as full as they may be.
    """
    what = "ephemeral-storage"
    for pods in objects.counted.pods:
        if not pods.main or not all(what in container.limits for container in pods.main):
            continue
        limit = pods.effective("limits")[what]
        sized = [(size, name) for _, size, medium, name in _scratch(pods) if medium != "Memory"]
        total = sum((size for size, _ in sized), Decimal(0))
        if total > limit:
            message = (
                f"the pod's emptyDir volumes may take {shown(what, total)}, and its limit of "
                f"{what} is {shown(what, limit)}: it is evicted before they are full"
            )
            _, largest = max(sized)
            writer = next((c for c in pods.main if _mounts(c, largest)), pods.main[0])
            enough = shown(what, writer.limits[what] + total - limit)
            fix = f"write {enough} or more, or a smaller sizeLimit of the volume {largest}"
            path = (*writer.path, "resources", "limits", what)
            yield Problem(pods.workload.manifest, path, message, fix)


@rule(_VOLUMES)
def memory_volume_above_limit(objects: Objects) -> Iterator[Problem]:
    """An emptyDir in memory is smaller than the memory limit of who writes it.

    What is in it counts as the container's memory: it is killed before the volume is full.
    """
    for pods in objects.counted.pods:
        for path, size, medium, name in _scratch(pods):
            if medium != "Memory":
                continue
            for container in pods.containers:
                limit = container.limits.get("memory")
                if limit is None or size < limit or not _mounts(container, name):
                    continue
                if _is_misread("memory", limit):
                    continue
                message = (
                    f"the volume {name} may take {shown('memory', size)} of memory, and the "
                    f"container {container.name} may have {shown('memory', limit)} in all: it is "
                    "killed before the volume is full"
                )
                fix = f"write a sizeLimit below {shown('memory', limit)}, or a higher limit"
                yield Problem(pods.workload.manifest, path, message, fix)
                break


@rule("https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volume-types.html")
def volume_too_small(objects: Objects) -> Iterator[Problem]:
    """A claim asks for 1Gi or more.

    A number without Gi is one of bytes, and no volume for a chain, nor one that EBS has, is smaller
    than 1Gi.
    """
    bounds = [b for b in objects.counted.bounds if b.kind == "PersistentVolumeClaim"]
    low = max((b.amounts["min"].get("storage", Decimal(0)) for b in bounds), default=Decimal(0))
    for claim in objects.counted.claims:
        # One of nothing is no claim: claim-incomplete and the schemas tell.
        if low <= claim.storage < GIB and claim.storage:
            path = (*claim.path, "resources", "requests", "storage")
            value = paths.get(claim.manifest.object, path)
            message = f"a claim asks for {value}: too little for any data of a chain"
            if isinstance(value, int) or str(value).isdecimal():
                message = f"a claim asks for {value}, which is a number of bytes"
            fix = f"write {_with_unit(value, 'Gi')}"
            yield Problem(claim.manifest, path, message, fix)


@rule("https://kubernetes.io/docs/concepts/storage/volume-pvc-datasource/")
def clone_smaller_than_its_source(objects: Objects) -> Iterator[Problem]:
    """A claim that clones another asks for no less than that one.

    Else the volume is never made, and the backup's pod waits as Pending until its time is over.
    """
    sources = dict[str, Decimal]()
    for claim in objects.counted.claims:
        if claim.path[:2] == ("spec", "volumeClaimTemplates"):
            name = paths.get(claim.manifest.object, (*claim.path[:-1], "metadata", "name"))
            sources[f"{name}-{claim.manifest.name}"] = claim.storage
        elif claim.path == ("spec",):
            sources[claim.manifest.name] = claim.storage
    for claim in objects.counted.claims:
        source = paths.get(claim.manifest.object, (*claim.path, "dataSource"))
        named = str(paths.get(source, ("name",)))
        if paths.get(source, ("kind",)) != "PersistentVolumeClaim":
            continue
        asked = sources.get(named, sources.get(re.sub("-[0-9]+$", "", named)))
        if asked is not None and claim.storage < asked:
            path = (*claim.path, "resources", "requests", "storage")
            message = (
                f"a clone of {named} asks for {shown('storage', claim.storage)}, and that claim has"
                f" {shown('storage', asked)}: the clone is never made"
            )
            fix = f"write {shown('storage', asked)}, as the claim that is cloned"
            yield Problem(claim.manifest, path, message, fix)


def _is_counted(objects: Objects, name: str) -> bool:
    """Return whether a quota demands an amount of every container: that is told by itself."""
    return any(SAME.get(own, own) == name for _, hard in quotas(objects.manifests) for own in hard)


def _containers(objects: Objects) -> Iterator[tuple[Pods, Container]]:
    for pods in objects.counted.pods:
        for container in pods.containers:
            yield pods, container


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


def _pod_beyond(bound: Bound, side: str, field: str, pods: Pods) -> Iterator[Problem]:
    manifest, own = pods.workload.manifest, pods.effective(field)
    for resource in own:
        largest = _largest(pods, field, resource)
        path = (*largest.path, "resources", field)
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
        path = (*pods.main[0].path, "resources", field, resource)
        yield Problem(manifest, path, message, fix)


def _largest(pods: Pods, field: str, resource: str) -> Container:
    """Return the container that has the most of what the pod as a whole has."""
    return max(pods.containers, key=lambda one: one.amounts(field).get(resource, Decimal(0)))


def _said(pods: Pods, container: Container, resource: str) -> Where:
    """Return where a container's request is written: it may be its limit."""
    fields = [(*container.path, "resources", field, resource) for field in ("requests", "limits")]
    written = (path for path in fields if paths.has(pods.workload.manifest.object, path))
    return next(written, fields[0])


def _is_misread(resource: str, amount: Decimal) -> bool:
    """Return whether an amount can't be meant as Kubernetes reads it."""
    if resource == "cpu":
        return amount > _MOST_CORES
    return resource in COMPUTE and 0 < amount < (_MIB if resource == "memory" else 1024)


def _with_unit(value: Any, unit: str = "") -> str:
    """Return an amount of bytes as it is likely meant."""
    number = re.match("[0-9]+", str(value))
    if number is None or int(number[0]) == 0:
        return "1Gi"
    meant = unit or ("Mi" if str(value).endswith(("m", "M")) or int(number[0]) >= 64 else "Gi")
    return f"{number[0]}{meant}"


def _goes_by_cpu(scaler: Manifest) -> bool:
    """Return whether an autoscaler looks at the use of cpu."""
    metrics = mappings(paths.get(scaler.object, ("spec", "metrics")))
    return any(paths.get(metric, ("resource", "name")) == "cpu" for _, metric in metrics)


def _scratch(pods: Pods) -> Iterator[tuple[Where, Decimal, Any, str]]:
    """Yield the emptyDir volumes that have a sizeLimit: its path, it, their medium and name."""
    volumes: Where = (*pods.workload.template, "spec", "volumes")
    for index, volume in mappings(pods.workload.get(*volumes)):
        size = parse(paths.get(volume, ("emptyDir", "sizeLimit")))
        if size is not None:
            path = (*volumes, index, "emptyDir", "sizeLimit")
            yield path, size, paths.get(volume, ("emptyDir", "medium")), str(volume.get("name"))


def _mounts(container: Container, volume: str) -> bool:
    return any(m.get("name") == volume for _, m in mappings(container.data.get("volumeMounts")))


@dataclass(frozen=True, slots=True)
class _Heap:
    """An option about the heap's size."""

    path: Where
    word: str
    """As it is written."""
    text: str
    """Its value."""
    size: Decimal | None
    """In bytes; None for a percentage of the memory limit."""


@dataclass(frozen=True, slots=True)
class _Jvm:
    """What a container says of the heap of its JVM."""

    manifest: Manifest
    container: Container
    first: _Heap | None
    most: _Heap | None
    unreadable: Sequence[tuple[str, Where]]


_FIRST = re.compile(r"(?:-Xms|-XX:InitialHeapSize=)(.*)")
_MOST = re.compile(r"(?:-Xmx|-XX:MaxHeapSize=)(.*)")
_PERCENT = re.compile(r"-XX:MaxRAMPercentage=([0-9]+(?:\.[0-9]+)?)")
_SIZE = re.compile(r"([0-9]+)([kKmMgGtT]?)")


def _jvms(objects: Objects) -> Iterator[_Jvm]:
    """Yield the containers that say something of a JVM's heap."""
    for pods, container in _containers(objects):
        first = most = percent = None
        unreadable = list[tuple[str, Where]]()
        for path, word in _words(container):
            if found := _PERCENT.fullmatch(word):
                percent = _Heap(path, word, found[1], None)
            for form in (_FIRST, _MOST):
                found = form.fullmatch(word)
                if not found or "$" in word:
                    continue
                size = _bytes(found[1])
                if size is None:
                    unreadable.append((word, path))
                elif form is _FIRST:
                    first = _Heap(path, word, found[1], size)
                else:
                    most = _Heap(path, word, found[1], size)
        if first or most or percent or unreadable:
            manifest = pods.workload.manifest
            yield _Jvm(manifest, container, first, most or percent, unreadable)


def _words(container: Container) -> Iterator[tuple[Where, str]]:
    """Yield what may be options of a JVM, in the order in which it reads them."""
    variables: dict[str, tuple[int, Mapping[str, Any]]] = {
        str(variable.get("name")): (index, variable)
        for index, variable in mappings(container.data.get("env"))
    }
    for name in _OPTIONS:
        index, variable = variables.get(name, (0, {}))
        value = variable.get("value")
        for word in value.split() if isinstance(value, str) else ():
            yield (*container.path, "env", index, "value"), word
    for field in ("command", "args"):
        words = container.data.get(field)
        for index, word in enumerate(words if isinstance(words, list) else ()):
            if isinstance(word, str):
                yield (*container.path, field, index), word


def _bytes(text: str) -> Decimal | None:
    """Return what the JVM reads as a size; None where it refuses it."""
    form = _SIZE.fullmatch(text)
    size = Decimal(form[1]) * _FACTORS[form[2].lower()] if form else Decimal(0)
    return size if size >= 1024**2 else None


def _option(size: Decimal) -> str:
    """Return a size as the JVM takes it, in whole units."""
    return f"{size // GIB}g" if size % GIB == 0 else f"{size // _MIB}m"
