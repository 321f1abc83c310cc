"""The inputs that set the tags of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.environments import environment, image_lock
from scripts.rendering import provenance
from scripts.rendering.pipeline import Rendering


def places(
    root: Path, rendering: Rendering, images: Sequence[str]
) -> Mapping[str, tuple[str, int, int]]:
    """Return image → file, line and column of the input that sets its tag in an environment."""
    fields = dict[str, provenance.Field]()
    for manifest in rendering.manifests:
        for path, image in image_lock.used(manifest):
            fields.setdefault(image, (manifest, path))
    tags = [image_lock.parse(image).tag for image in images]
    inputs = environment.load(root, rendering.name)
    found = provenance.of_fields(root, inputs, [fields[image] for image in images], tags)
    return dict(zip(images, found, strict=True))
