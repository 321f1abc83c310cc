"""The image lock: digests for the tags of images, and manifests with these digests.

Anyone who may push to a repository can move its tags; a digest always means the same content. If an
image has both, the digest is pulled, and the tag is only for people
(https://kubernetes.io/docs/concepts/containers/images/#image-names).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from scripts.core import json_schema, paths, yamlio
from scripts.core.findings import Finding, UserError
from scripts.core.repository import PROGRAM
from scripts.core.yamlio import Document
from scripts.kubernetes import containers
from scripts.kubernetes.manifest import Manifest, Where

LOCK = "base/images.yaml"
SCHEMA = PROGRAM / "images.schema.json"

Digests = Mapping[str, str]
"""repository:tag → sha256:…"""


@dataclass(frozen=True, slots=True)
class Reference:
    """The parts of a container's image."""

    name: str
    """repository:tag, or the repository without a tag."""
    tag: str
    """Empty if there is none, which means latest."""
    digest: str
    """Empty if there is none."""

    @property
    def is_latest(self) -> bool:
        """Return whether the tag is latest, which moves with every release."""
        return self.tag in ("", "latest")


def parse(image: str) -> Reference:
    """Return the parts of an image."""
    name, _, digest = image.partition("@")
    # A colon before the last slash belongs to the registry's port.
    return Reference(name, name.rpartition("/")[2].partition(":")[2], digest)


def registry(name: str) -> str:
    """Return the host of the registry of repository:tag: its first part, if that is a host.

    Source: https://github.com/distribution/reference/blob/main/normalize.go
    """
    first, slash, _ = name.partition("/")
    return first if slash and re.search(r"[.:]|^localhost$", first) else "docker.io"


@lru_cache
def load(root: Path) -> Document:
    """Return the lock, which all environments share; it is read only once.

    Raises UserError if it is missing or invalid.
    """
    path = root / LOCK
    if not os.path.lexists(path):
        message = "the file with the digests of all images is missing"
        fix = f"restore {LOCK} from git; in a new repository, create an empty one"
        raise UserError(Finding(LOCK, 0, 0, "missing-image-lock", message, fix))
    document = yamlio.load(path, root)
    findings = json_schema.check(document, SCHEMA)
    if findings:
        raise UserError(*findings)
    return document


@lru_cache
def of_release(root: Path, source: Path) -> Document:
    """Return the lock for an environment: the digests of its release, then those added since.

    source: the folder with its chart/ and base/; that of the working tree is the repository.
    A release keeps its digests also if the lock has another one for a tag that has moved.
    """
    lock, path = load(root), source / LOCK
    if source == root or not os.path.lexists(path):
        return lock
    released = yamlio.load(path, root)
    return Document(lock.file, {**(lock.data or {}), **(released.data or {})}, lock.node)


def stale_digests(layers: Sequence[Document]) -> Iterator[Finding]:
    """Yield a finding for each tag or repository with the digest of a weaker file of values.

    layers: from the weakest to the strongest.
    """
    for index, layer in enumerate(layers):
        for image in _with_digest(layer.data or {}, []):
            above = layers[index + 1 :]
            if any(paths.has(stronger.data, [*image, "digest"]) for stronger in above):
                continue
            for field in ("repository", "tag"):
                path = [*image, field]
                old, new = _strongest(layers[: index + 1], path), _strongest(layers, path)
                if new is None or (old and paths.get(old.data, path) == paths.get(new.data, path)):
                    continue
                key = ".".join(map(str, image))
                line, _ = layer.position([*image, "digest"])
                message = (
                    f"{key}.{field} changes here, but {key}.digest stays that of "
                    f"{layer.file}:{line}: the old image would run"
                )
                fix = f'write {key}.digest: "" here, too; the new digest belongs in {LOCK}'
                yield new.finding("stale-digest", path, message, fix)


def _strongest(layers: Sequence[Document], path: paths.ValuePath) -> Document | None:
    """Return the strongest layer that sets the value at the path."""
    return next((layer for layer in reversed(layers) if paths.has(layer.data, path)), None)


def _with_digest(data: dict[str, Any], path: list[str | int]) -> Iterator[list[str | int]]:
    """Yield the paths of mappings that have a digest."""
    if data.get("digest"):
        yield path
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _with_digest(value, [*path, key])


def used(manifest: Manifest) -> Iterator[tuple[Where, str]]:
    """Yield the image of each container of the object's pods, with its path."""
    # No ephemeral containers: the API server rejects them in applied manifests.
    for container in containers.of_object(manifest):
        if isinstance(image := container.get("image"), str):
            yield (*container.path, "image"), image


def names(manifests: Iterable[Manifest]) -> list[str]:
    """Return the images of all containers, sorted and without duplicates."""
    return sorted({image for manifest in manifests for _, image in used(manifest)})


def pin(manifests: Iterable[Manifest], digests: Digests) -> list[Manifest]:
    """Return the manifests with the lock's digest added to each image that has only a tag."""
    return [_pinned(manifest, digests) for manifest in manifests]


def _pinned(manifest: Manifest, digests: Digests) -> Manifest:
    pinned = manifest.object
    for path, image in used(manifest):
        digest = digests.get(image)
        if digest:
            pinned = _with(pinned, path, f"{image}@{digest}")
    return manifest if pinned is manifest.object else replace(manifest, object=pinned)


def _with(data: Any, path: Where, value: str) -> Any:
    """Return the data with another value at the path; other parts are not copied."""
    if not path:
        return value
    changed: Any = list(data) if isinstance(data, list) else dict(data)
    changed[path[0]] = _with(data[path[0]], path[1:], value)
    return changed
