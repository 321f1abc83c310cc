"""Contents: ConfigMaps, Secrets and claims hold what the API server accepts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scripts.core import paths
from scripts.kubernetes.manifest import Manifest, Where
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_CONFIG_MAPS = "https://kubernetes.io/docs/concepts/configuration/configmap/"
_CLAIMS = "https://kubernetes.io/docs/concepts/storage/persistent-volumes/"
_MOST_BYTES = 2**20
"""Of a ConfigMap's or Secret's values, without their keys."""


@rule(_CONFIG_MAPS, outcome=Outcome.REJECTED)
def config_map_too_large(objects: Objects) -> Iterator[Problem]:
    """A ConfigMap or a Secret holds 1 MiB at most.

    The API server refuses more, and the sync fails or does not begin.
    """
    for manifest in objects.of_kind("ConfigMap", "Secret"):
        sizes: dict[Where, int] = {}
        for field in ("data", "binaryData", "stringData"):
            part = manifest.object.get(field)
            for key, value in part.items() if isinstance(part, dict) else ():
                length = len(str(value).encode())
                # binaryData is base64, and counts as what it stands for.
                sizes[field, key] = length * 3 // 4 if field == "binaryData" else length
        total = sum(sizes.values())
        if total > _MOST_BYTES:
            largest = max(sizes, key=lambda path: sizes[path])
            message = f"{manifest.label} holds {total} bytes, and {_MOST_BYTES} are the most"
            fix = "split it, or bring the file in an image or a volume"
            yield Problem(manifest, largest, message, fix)


@rule(_CLAIMS + "#access-modes", outcome=Outcome.REJECTED)
def read_write_once_pod_with_other_modes(objects: Objects) -> Iterator[Problem]:
    """ReadWriteOncePod is a claim's only access mode.

    The API server refuses it beside another, and the sync fails or does not begin.
    """
    for manifest, path, spec in _claim_specs(objects):
        modes = spec.get("accessModes")
        if isinstance(modes, list) and "ReadWriteOncePod" in modes and len(modes) > 1:
            message = (
                f"a claim of {manifest.label} has ReadWriteOncePod and another mode: a cluster"
                " refuses that"
            )
            fix = "write accessModes: [ReadWriteOncePod]"
            yield Problem(manifest, (*path, "accessModes"), message, fix)


@rule(_CLAIMS + "#persistentvolumeclaims", outcome=Outcome.REJECTED)
def incomplete_volume_claim(objects: Objects) -> Iterator[Problem]:
    """A claim has an access mode, and says how much storage it wants.

    The API server refuses anything else: the sync fails or does not begin, or pods wait for it.
    """
    for manifest, path, spec in _claim_specs(objects):
        if not spec.get("accessModes"):
            message = f"a claim of {manifest.label} has no access mode: a cluster refuses that"
            fix = "write accessModes: [ReadWriteOnce]"
            yield Problem(manifest, (*path, "accessModes"), message, fix)
        if paths.get(spec, ["resources", "requests", "storage"]) is None:
            message = f"a claim of {manifest.label} wants no storage: a cluster refuses that"
            place = (*path, "resources", "requests", "storage")
            yield Problem(manifest, place, message, "write a size, like 10Gi")


def _claim_specs(objects: Objects) -> Iterator[tuple[Manifest, Where, Mapping[str, Any]]]:
    """Yield the spec of each claim, and of each template of one, with its path."""
    found: list[tuple[Manifest, Where]] = [
        (manifest, ("spec",)) for manifest in objects.of_kind("PersistentVolumeClaim")
    ]
    for workload in objects.makers:
        found += [(workload.manifest, (*path, "spec")) for path, *_ in workload.claim_templates()]
        found += [
            (workload.manifest, (*path, "ephemeral", "volumeClaimTemplate", "spec"))
            for path, volume in workload.volumes()
            if "ephemeral" in volume
        ]
    for manifest, path in found:
        spec = paths.get(manifest.object, path)
        if isinstance(spec, dict):
            yield manifest, path, spec
