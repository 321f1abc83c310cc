"""What the images of rendered environments lack, and what the lock holds in vain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from scripts.core.findings import Finding, Severity
from scripts.environments import environment, image_lock, layout
from scripts.rendering import provenance
from scripts.rendering.pipeline import Rendering


def check(root: Path, renderings: Sequence[Rendering]) -> list[Finding]:
    """Return the images of production without a digest, and the lock's without an environment.

    That an image goes by its tag is a warning: only who reaches its registry can mend it.
    """
    production = [rendering for rendering in renderings if rendering.is_production]
    return [*_by_tag(root, production), *_unused(root, renderings)]


def place(root: Path, rendering: Rendering, image: str) -> tuple[str, int, int]:
    """Return file, line and column of the input that sets the tag of an environment's image."""
    found = environment.load(root, rendering.name)
    for manifest in rendering.manifests:
        for path, other in image_lock.used(manifest):
            if other == image:
                return provenance.of_field(root, found, manifest, path, image_lock.parse(image).tag)
    raise AssertionError(f"{rendering.name} has no {image}")


def _by_tag(root: Path, renderings: Sequence[Rendering]) -> Iterable[Finding]:
    owners = dict[str, list[Rendering]]()
    for rendering in renderings:
        for image in image_lock.names(rendering.manifests):
            if not image_lock.parse(image).digest:
                owners.setdefault(image, []).append(rendering)
    for image, among in owners.items():
        file, line, column = place(root, among[0], image)
        where = layout.called([rendering.name for rendering in among])
        message = (
            f"{image} goes by its tag in {where}: who may push to its repository decides what runs"
        )
        fix = "look its digest up from where its registry can be reached: nox -s images"
        rule = "image-without-digest"
        yield Finding(file, line, column, rule, message, fix, severity=Severity.WARNING)


def _unused(root: Path, renderings: Sequence[Rendering]) -> Iterable[Finding]:
    """Yield the lock's entries that nothing uses, where all environments are looked at."""
    rendered = [rendering.name for rendering in renderings if rendering.files]
    if not rendered or rendered != layout.environments(root):
        return
    used = {
        image_lock.parse(image).name
        for rendering in renderings
        for image in image_lock.names(rendering.manifests)
    }
    lock = image_lock.load(root)
    for name in lock.data or {}:
        if name not in used:
            message, fix = f"no environment runs {name}", "remove the line"
            yield lock.finding("unused-digest", [name], message, fix, severity=Severity.WARNING)
