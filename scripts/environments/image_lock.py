"""Images by digest: the lock, and manifests and lock → manifests.

Who may push to a repository can move its tags; a digest is one content for ever. Where an image
has both, what is pulled goes by the digest and the tag is for the reader
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
    """An image as a container names it, in its parts."""

    name: str
    """All but the digest: repository:tag, or the repository alone."""
    tag: str
    """Nothing where there is none, which a registry takes for latest."""
    digest: str
    """Nothing where the image goes by its tag."""

    @property
    def floats(self) -> bool:
        """Return whether the tag is one that means something else with every release."""
        return self.tag in ("", "latest")


def parse(image: str) -> Reference:
    """Return the parts of an image's name."""
    name, _, digest = image.partition("@")
    # A colon further to the left is that of the registry's port.
    return Reference(name, name.rpartition("/")[2].partition(":")[2], digest)


def registry(name: str) -> str:
    """Return the host of the registry of repository:tag.

    https://github.com/distribution/reference/blob/main/normalize.go: the first part, if it looks
    like a host.
    """
    first, slash, _ = name.partition("/")
    return first if slash and re.search(r"[.:]|^localhost$", first) else "docker.io"


@lru_cache
def load(root: Path) -> Document:
    """Return the lock, which all environments share: it is read once.

    Raises UserError with what is wrong in it, or that it isn't there.
    """
    path = root / LOCK
    if not os.path.lexists(path):
        message, fix = "the file is missing", "restore it from git; an empty one has no digests"
        raise UserError(Finding(LOCK, 0, 0, "image-lock", message, fix))
    document = yamlio.load(path, root)
    findings = json_schema.check(document, SCHEMA)
    if findings:
        raise UserError(*findings)
    return document


def old_digests(layers: Sequence[Document]) -> Iterator[Finding]:
    """Yield the tags and repositories in files of values that a weaker file's digest wins over.

    layers: from the weakest to the strongest.
    """
    for index, layer in enumerate(layers):
        for image in _with_digest(layer.data or {}, []):
            above = layers[index + 1 :]
            if any(paths.has(one.data, [*image, "digest"]) for one in above):
                continue
            for field in ("repository", "tag"):
                path = [*image, field]
                before, now = _last(layers[: index + 1], path), _last(layers, path)
                if now is None or now is before:
                    continue
                if before and paths.get(before.data, path) == paths.get(now.data, path):
                    continue
                named = ".".join(map(str, image))
                line, _ = layer.position([*image, "digest"])
                message = (
                    f"{named}.{field} changes here, and the digest that wins over it stays that "
                    f"of {layer.file}:{line}: the old image would run"
                )
                fix = f'write {named}.digest: "" here, and keep digests in {LOCK}'
                yield now.finding("old-digest", path, message, fix)


def _last(layers: Sequence[Document], path: paths.ValuePath) -> Document | None:
    return next((one for one in reversed(layers) if paths.has(one.data, path)), None)


def _with_digest(data: dict[str, Any], path: list[str | int]) -> Iterator[list[str | int]]:
    """Yield the paths of mappings that have a digest."""
    if data.get("digest"):
        yield path
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _with_digest(value, [*path, key])


def used(manifest: Manifest) -> Iterator[tuple[Where, str]]:
    """Yield the image of each container that the object makes, and where it stands."""
    # The API server refuses ephemeral containers in what is applied.
    for container in containers.of_object(manifest):
        if isinstance(image := container.get("image"), str):
            yield (*container.path, "image"), image


def names(manifests: Iterable[Manifest]) -> list[str]:
    """Return what the containers run, each once, sorted."""
    return sorted({image for manifest in manifests for _, image in used(manifest)})


def pin(manifests: Iterable[Manifest], digests: Digests) -> list[Manifest]:
    """Return the manifests with the digest of each image that is known by its tag alone."""
    return [_pinned(manifest, digests) for manifest in manifests]


def _pinned(manifest: Manifest, digests: Digests) -> Manifest:
    found = manifest.object
    for path, image in used(manifest):
        digest = digests.get(image)
        if digest:
            found = _with(found, path, f"{image}@{digest}")
    return manifest if found is manifest.object else replace(manifest, object=found)


def _with(data: Any, path: Where, value: str) -> Any:
    """Return the data with another value at the path; what is beside the path stays shared."""
    if not path:
        return value
    changed: Any = list(data) if isinstance(data, list) else dict(data)
    changed[path[0]] = _with(data[path[0]], path[1:], value)
    return changed
