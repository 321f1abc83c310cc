"""Storage: volumes and claims are large enough, and fit into the limits of their pods."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from scripts.core import advice, paths
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.quantity import GIB, parse, shown
from scripts.kubernetes.resource_usage import (
    PodResources,
)
from scripts.rules.chart_values import file, is_from_values
from scripts.rules.pod_templates import called, in_container
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects
from scripts.rules.workloads.amounts import is_misread, with_unit

_VOLUMES = "https://kubernetes.io/docs/concepts/storage/volumes/#emptydir"


@rule(_VOLUMES)
def empty_dirs_above_ephemeral_storage_limit(objects: Objects) -> Iterator[Problem]:
    """A pod's emptyDir volumes fit into its ephemeral-storage limit.

    Otherwise the kubelet evicts the pod before the volumes reach their sizeLimit.
    """
    what = "ephemeral-storage"
    for pods in objects.counted.pods:
        if not pods.main or not all(what in own.limits for own in pods.main):
            continue
        limit = pods.effective("limits")[what]
        sized = [(size, name) for _, size, medium, name in _scratch(pods) if medium != "Memory"]
        total = sum((size for size, _ in sized), Decimal(0))
        if total > limit:
            message = (
                f"the pod's emptyDir volumes may grow to {shown(what, total)}, and its {what} "
                f"limit is {shown(what, limit)}: the kubelet evicts the pod before they are full"
            )
            _, largest = max(sized)
            writer = next((c for c in pods.main if _mounts(c.container, largest)), pods.main[0])
            enough = shown(what, writer.limits[what] + total - limit)
            fix = (
                f"write limits.{what}: {enough} for {called(writer.container)}; if the volume "
                f"{largest} needs less, reduce its sizeLimit instead"
            )
            yield in_container(writer.container, ("resources", "limits", what), message, fix)


@rule(_VOLUMES)
def memory_volume_above_memory_limit(objects: Objects) -> Iterator[Problem]:
    """An emptyDir with medium Memory is smaller than the memory limit of its containers.

    Otherwise the container is OOMKilled before the volume is full: files in such a volume count
    as memory of the container.
    """
    for pods in objects.counted.pods:
        for path, size, medium, name in _scratch(pods):
            if medium != "Memory":
                continue
            for own in pods.containers:
                container, limit = own.container, own.limits.get("memory")
                if limit is None or size < limit or not _mounts(container, name):
                    continue
                if is_misread("memory", limit):
                    continue
                message = (
                    f"the volume {name} may use {shown('memory', size)} of memory, and the memory "
                    f"limit of {called(container)} is {shown('memory', limit)}: the container is "
                    "OOMKilled before the volume is full"
                )
                fix = advice.write("sizeLimit", shown("memory", limit // 2)).unless(
                    f"; if the files need more, write limits.memory: {shown('memory', size * 2)} "
                    "instead"
                )
                yield Problem(pods.workload.manifest, path, message, fix)
                break


@rule("https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volume-types.html")
def volume_too_small(objects: Objects) -> Iterator[Problem]:
    """A claim requests at least 1Gi of storage.

    Otherwise the data of a chain does not fit. A number without a unit is in bytes, and EBS volumes
    have at least 1Gi.
    """
    bounds = [b for b in objects.counted.bounds if b.kind == "PersistentVolumeClaim"]
    low = max((b.amounts["min"].get("storage", Decimal(0)) for b in bounds), default=Decimal(0))
    for claim in objects.counted.claims:
        # A request of 0 is reported by incomplete-volume-claim and by the schemas.
        if low <= claim.storage < GIB and claim.storage:
            path = (*claim.path, "resources", "requests", "storage")
            value = paths.get(claim.manifest.object, path)
            message = f"the claim requests {value} of storage: too little for the data of a chain"
            if isinstance(value, int) or str(value).isdecimal():
                message = (
                    f"the claim requests {value} bytes of storage, because the unit is missing: "
                    "too little for the data of a chain"
                )
            fix = advice.write("storage", with_unit(value, "Gi"))
            yield Problem(claim.manifest, path, message, fix)


@rule("https://kubernetes.io/docs/concepts/storage/volume-pvc-datasource/")
def clone_smaller_than_source(objects: Objects) -> Iterator[Problem]:
    """A claim that clones another claim requests at least as much storage.

    Otherwise the volume is never provisioned, and the backup's pod stays Pending until its Job
    reaches its deadline.
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
        size = sources.get(named, sources.get(re.sub("-[0-9]+$", "", named)))
        if size is not None and claim.storage < size:
            path = (*claim.path, "resources", "requests", "storage")
            message = (
                f"the claim requests {shown('storage', claim.storage)}, but it clones the claim "
                f"{named}, which has {shown('storage', size)}: the volume is never provisioned"
            )
            fix = advice.write("storage", shown("storage", size))
            if is_from_values(claim.manifest):
                key, where = "backup.source.size", f" in {file(objects)}"
                fix = advice.write_values(key, shown("storage", size), where)
            yield Problem(claim.manifest, path, message, fix)


def _scratch(pods: PodResources) -> Iterator[tuple[Where, Decimal, Any, str]]:
    """Yield the emptyDir volumes with a sizeLimit: its path and value, the medium, the name."""
    for path, volume in pods.workload.volumes():
        size = parse(paths.get(volume, ("emptyDir", "sizeLimit")))
        if size is not None:
            medium, place = paths.get(volume, ("emptyDir", "medium")), ("emptyDir", "sizeLimit")
            yield (*path, *place), size, medium, str(volume.get("name"))


def _mounts(container: Container, volume: str) -> bool:
    return any(mount.get("name") == volume for _, mount in container.mounts())


@rule("docs/backups.md")
def data_in_clone_class(objects: Objects) -> Iterator[Problem]:
    """The chain's data has another storage class than the clones of backups.

    The class of the clones deletes each volume with its claim. A claim that is deleted by mistake
    then takes the data of a node along.
    """
    clones = {_class(claim) for _, claim in _ephemeral(objects)} - {""}
    data = [
        (workload.manifest, path, _class(template))
        for workload in objects.makers
        for path, _, template in workload.claim_templates()
    ]
    others = sorted({class_ for *_, class_ in data} - clones - {""})
    for manifest, path, class_ in data if clones and others else ():
        if class_ in clones:
            message = (
                f"the volumes of {manifest.label} have the storage class {class_}, which backups"
                " use for clones: it deletes a volume and its data with its claim"
            )
            place = (*path, "spec", "storageClassName")
            fix = advice.write("storageClassName", others[0])
            if others[1:]:  # another one may be meant
                fix = fix.unless("")
            yield Problem(manifest, place, message, fix)


def _ephemeral(objects: Objects) -> Iterator[tuple[Where, Any]]:
    """Yield the claims that are deleted with their pods, and clone another one."""
    for workload in objects.makers:
        for path, volume in workload.volumes():
            claim = paths.get(volume, ["ephemeral", "volumeClaimTemplate"])
            if isinstance(claim, dict) and paths.get(claim, ["spec", "dataSource"]):
                yield path, claim


def _class(claim: Any) -> str:
    return str(paths.get(claim, ["spec", "storageClassName"]) or "")
