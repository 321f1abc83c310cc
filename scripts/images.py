"""Images by digest: the lock, and manifests and lock → manifests.

Who may push to a repository can move its tags; a digest is one content for ever. Where an image
has both, what is pulled goes by the digest and the tag is for the reader
(https://kubernetes.io/docs/concepts/containers/images/#image-names).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from scripts import schema, yamlio
from scripts.containers import PODS, Where, listed
from scripts.findings import UserError
from scripts.manifest import Manifest

LOCK = "base/images.yaml"
SCHEMA = Path(__file__).with_name("images.schema.json")

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
def load(root: Path) -> yamlio.Document:
    """Return the lock, which all environments share: it is read once.

    Raises UserError with what is wrong in it, or that it isn't there.
    """
    document = yamlio.load(root / LOCK, root)
    findings = schema.check(document, SCHEMA)
    if findings:
        raise UserError(*findings)
    return document


def used(manifest: Manifest) -> Iterator[tuple[Where, str]]:
    """Yield the image of each container that the object makes, and where it stands."""
    path = PODS.get(manifest.kind.lower())
    pod = yamlio.get(manifest.object, path) if path else None
    if path is None or not isinstance(pod, dict):
        return
    # The API server refuses ephemeral containers in what is applied.
    for field in ("initContainers", "containers"):
        for index, container in enumerate(listed(pod.get(field))):
            image = container.get("image") if isinstance(container, dict) else None
            if isinstance(image, str):
                yield (*path, field, index, "image"), image


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
