"""Contents: the API server accepts the data of ConfigMaps, Secrets and volume claims."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from xml.parsers import expat

from scripts.core import advice, paths
from scripts.kubernetes.manifest import Manifest, Where
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_CONFIG_MAPS = "https://kubernetes.io/docs/concepts/configuration/configmap/"
_CLAIMS = "https://kubernetes.io/docs/concepts/storage/persistent-volumes/"
_MOST_BYTES = 2**20
"""The limit for the values of a ConfigMap or a Secret, without their keys."""


@rule(_CONFIG_MAPS, outcome=Outcome.REJECTED)
def config_map_too_large(objects: Objects) -> Iterator[Problem]:
    """The data of a ConfigMap or a Secret is at most 1 MiB.

    Otherwise the API server rejects the object, so the sync fails or does not begin.
    """
    for manifest in objects.of_kind("ConfigMap", "Secret"):
        sizes: dict[Where, int] = {}
        for field in ("data", "binaryData", "stringData"):
            part = manifest.object.get(field)
            for key, value in part.items() if isinstance(part, dict) else ():
                length = len(str(value).encode())
                # binaryData is in base64, and its decoded size counts.
                sizes[field, key] = length * 3 // 4 if field == "binaryData" else length
        total = sum(sizes.values())
        if total > _MOST_BYTES:
            largest = max(sizes, key=lambda path: sizes[path])
            message = (
                f"{manifest.label} has {total} bytes of data, more than {_MOST_BYTES}: the API"
                " server rejects it"
            )
            fits = sizes[largest] <= _MOST_BYTES
            place = f"another {manifest.kind}" if fits else "an image or a volume"
            fix = f"move {largest[-1]}, the largest key, to {place}"
            yield Problem(manifest, largest, message, fix)


@rule(_CONFIG_MAPS)
def empty_file(objects: Objects) -> Iterator[Problem]:
    """A file in a ConfigMap that pods mount is not empty.

    Otherwise the program starts without its configuration, or a script does nothing.
    """
    for manifest in objects.of_kind("ConfigMap"):
        data = manifest.object.get("data")
        for key, text in data.items() if isinstance(data, dict) else ():
            if "." in str(key) and isinstance(text, str) and text.strip() in ("", "{}", "null"):
                message = (
                    f"{key} in {manifest.label} is empty: what reads it has no configuration, or"
                    " does nothing"
                )
                fix = f"write the content of {key}; if no pod needs it, remove the key"
                yield Problem(manifest, ("data", key), message, fix)


@rule("https://logging.apache.org/log4j/2.x/manual/configuration.html")
def malformed_xml(objects: Objects) -> Iterator[Problem]:
    """An XML file in a ConfigMap is well-formed.

    Log4j does not read a malformed configuration, and logs errors only.
    """
    for manifest in objects.of_kind("ConfigMap"):
        data = manifest.object.get("data")
        for key, text in data.items() if isinstance(data, dict) else ():
            if not str(key).endswith(".xml") or not isinstance(text, str):
                continue
            try:
                expat.ParserCreate().Parse(text, True)
            except expat.ExpatError as error:
                message = (
                    f"{key} is not well-formed XML ({expat.ErrorString(error.code)}): the program "
                    "does not read its configuration"
                )
                fix = "close each element in this line and above it, in reverse order"
                if "mismatched" not in str(error) and "no element" not in str(error):
                    fix = "correct the XML in this line or above it"
                if "junk" in str(error):
                    fix = "remove everything after the end of the first element, here and below"
                lines = text.rstrip("\n").count("\n") + 1
                line = min(error.lineno, lines)
                yield Problem(manifest, ("data", key), message, fix, line=line)


@rule(_CLAIMS + "#access-modes", outcome=Outcome.REJECTED)
def read_write_once_pod_with_other_modes(objects: Objects) -> Iterator[Problem]:
    """A claim with the access mode ReadWriteOncePod has no other access mode.

    Otherwise the API server rejects the claim, so the sync fails or does not begin.
    """
    for manifest, path, spec in _claim_specs(objects):
        modes = spec.get("accessModes")
        if isinstance(modes, list) and "ReadWriteOncePod" in modes and len(modes) > 1:
            message = (
                f"{_claims(manifest)} combines ReadWriteOncePod with other access modes:"
                " the API server rejects the claim"
            )
            fix = advice.write("accessModes", ["ReadWriteOncePod"])
            yield Problem(manifest, (*path, "accessModes"), message, fix)


@rule(_CLAIMS + "#persistentvolumeclaims", outcome=Outcome.REJECTED)
def incomplete_volume_claim(objects: Objects) -> Iterator[Problem]:
    """A claim has an access mode and requests storage.

    Otherwise the API server rejects the claim: the sync fails, or the pods of a StatefulSet are not
    created.
    """
    for manifest, path, spec in _claim_specs(objects):
        if not spec.get("accessModes"):
            message = f"{_claims(manifest)} has no access mode: the API server rejects it"
            fix: str = advice.write("accessModes", ["ReadWriteOnce"])
            yield Problem(manifest, (*path, "accessModes"), message, fix)
        if paths.get(spec, ["resources", "requests", "storage"]) is None:
            message = f"{_claims(manifest)} requests no storage: the API server rejects it"
            place = (*path, "resources", "requests", "storage")
            fix = "write a size, for example resources.requests.storage: 10Gi"
            yield Problem(manifest, place, message, fix)


def _claims(manifest: Manifest) -> str:
    """Return how messages call a claim, or a claim of another object."""
    is_claim = manifest.kind == "PersistentVolumeClaim"
    return manifest.label if is_claim else f"a claim of {manifest.label}"


def _claim_specs(objects: Objects) -> Iterator[tuple[Manifest, Where, Mapping[str, Any]]]:
    """Yield the spec of each claim and of each claim template, with its manifest and path."""
    claims: list[tuple[Manifest, Where]] = [
        (manifest, ("spec",)) for manifest in objects.of_kind("PersistentVolumeClaim")
    ]
    for workload in objects.makers:
        claims += [(workload.manifest, (*path, "spec")) for path, *_ in workload.claim_templates()]
        claims += [
            (workload.manifest, (*path, "ephemeral", "volumeClaimTemplate", "spec"))
            for path, volume in workload.volumes()
            if "ephemeral" in volume
        ]
    for manifest, path in claims:
        spec = paths.get(manifest.object, path)
        if isinstance(spec, dict):
            yield manifest, path, spec
