"""Storage: volumes and claims are as large as they must be, and no larger than their limits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from scripts.core import paths
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.quantity import GIB, parse, shown
from scripts.kubernetes.resource_usage import (
    PodResources,
)
from scripts.rules.pod_templates import in_container
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects
from scripts.rules.workloads.amounts import is_misread, with_unit

_VOLUMES = "https://kubernetes.io/docs/concepts/storage/volumes/#emptydir"


@rule(_VOLUMES)
def empty_dirs_above_ephemeral_storage_limit(objects: Objects) -> Iterator[Problem]:
    """A pod's emptyDir volumes have room in its limit of ephemeral storage.

    Else the pod is evicted before its volumes are as full as they may be.
    """
    what = "ephemeral-storage"
    for pods in objects.counted.pods:
        if not pods.main or not all(what in one.limits for one in pods.main):
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
            writer = next((c for c in pods.main if _mounts(c.container, largest)), pods.main[0])
            enough = shown(what, writer.limits[what] + total - limit)
            fix = f"write {enough} or more, or a smaller sizeLimit of the volume {largest}"
            yield in_container(writer.container, ("resources", "limits", what), message, fix)


@rule(_VOLUMES)
def memory_volume_above_memory_limit(objects: Objects) -> Iterator[Problem]:
    """An emptyDir in memory is smaller than the memory limit of who writes it.

    What is in it counts as the container's memory: it is killed before the volume is full.
    """
    for pods in objects.counted.pods:
        for path, size, medium, name in _scratch(pods):
            if medium != "Memory":
                continue
            for one in pods.containers:
                container, limit = one.container, one.limits.get("memory")
                if limit is None or size < limit or not _mounts(container, name):
                    continue
                if is_misread("memory", limit):
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
        # One of nothing is no claim: incomplete-volume-claim and the schemas tell.
        if low <= claim.storage < GIB and claim.storage:
            path = (*claim.path, "resources", "requests", "storage")
            value = paths.get(claim.manifest.object, path)
            message = f"a claim asks for {value}: too little for any data of a chain"
            if isinstance(value, int) or str(value).isdecimal():
                message = f"a claim asks for {value}, which is a number of bytes"
            fix = f"write {with_unit(value, 'Gi')}"
            yield Problem(claim.manifest, path, message, fix)


@rule("https://kubernetes.io/docs/concepts/storage/volume-pvc-datasource/")
def clone_smaller_than_source(objects: Objects) -> Iterator[Problem]:
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


def _scratch(pods: PodResources) -> Iterator[tuple[Where, Decimal, Any, str]]:
    """Yield the emptyDir volumes that have a sizeLimit: its path, it, their medium and name."""
    for path, volume in pods.workload.volumes():
        size = parse(paths.get(volume, ("emptyDir", "sizeLimit")))
        if size is not None:
            medium, place = paths.get(volume, ("emptyDir", "medium")), ("emptyDir", "sizeLimit")
            yield (*path, *place), size, medium, str(volume.get("name"))


def _mounts(container: Container, volume: str) -> bool:
    return any(mount.get("name") == volume for _, mount in container.mounts())
