"""Report images of production without a digest, and unused digests in the lock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from scripts.core import advice
from scripts.core.findings import Finding, Severity
from scripts.core.yamlio import Document
from scripts.environments import environment, git_index, image_lock, layout
from scripts.rendering import provenance
from scripts.rendering.pipeline import Rendering


def check(root: Path, renderings: Sequence[Rendering]) -> list[Finding]:
    """Return the images without a digest in production, and wrong or unused digests of the lock.

    A missing digest is a warning, because only a machine that reaches the registry can look it up.
    """
    production = [rendering for rendering in renderings if rendering.is_production]
    found = [*_without_digest(root, production), *_unused(root, renderings)]
    is_rendered = any(rendering.files for rendering in renderings)
    return [*found, *_shared(image_lock.load(root))] if is_rendered else found


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


def _without_digest(root: Path, renderings: Sequence[Rendering]) -> Iterable[Finding]:
    users = dict[str, list[Rendering]]()
    for rendering in renderings:
        for image in image_lock.names(rendering.manifests):
            if not image_lock.parse(image).digest:
                users.setdefault(image, []).append(rendering)
    located = dict[str, tuple[str, int, int]]()
    for first in renderings:
        images = [image for image, environments in users.items() if environments[0] is first]
        located |= places(root, first, images) if images else {}
    for image, environments in users.items():
        file, line, column = located[image]
        where = layout.called([rendering.name for rendering in environments])
        message = (
            f"{image} has no digest in {where}: anyone who can push to its repository can"
            " replace the image"
        )
        fix = (
            "run nox -s images on a machine that reaches the registry, and commit base/images.yaml"
        )
        rule = "image-without-digest"
        yield Finding(file, line, column, rule, message, fix, severity=Severity.WARNING)


def _unused(root: Path, renderings: Sequence[Rendering]) -> Iterable[Finding]:
    """Yield the unused digests of the lock; none unless all environments are checked."""
    rendered = [rendering.name for rendering in renderings if rendering.files]
    if not rendered or rendered != layout.environments(root):
        return
    if git_index.read(root).environments:  # a checkout that leaves some out does not know
        return
    used = {
        image_lock.parse(image).name
        for rendering in renderings
        for image in image_lock.names(rendering.manifests)
    }
    lock = image_lock.load(root)
    for name in lock.data or {}:
        if name not in used:
            message = f"the digest is unused: no environment runs {name}"
            fix, rule = advice.remove(name), "unused-digest"
            yield lock.finding(rule, [name], message, fix, severity=Severity.WARNING)


def _shared(lock: Document) -> Iterable[Finding]:
    """Yield the images of the lock with the digest of another image, or of another tag.

    A mirror has the same digest under another registry, but the same last name and tag.
    """
    first = dict[str, str]()
    for name, digest in (lock.data or {}).items():
        other = first.setdefault(str(digest), name)
        if _last(other) == _last(name):
            continue
        is_tag = _last(other)[0] == _last(name)[0]
        what = "another tag" if is_tag else "another image"
        message = (
            f"{name} has the same digest as {other}, which is {what}: one of the two digests is "
            "wrong, and its pods run the wrong program or do not start"
        )
        fix = f"remove {name} and {other}, and run nox -s images to look both digests up"
        severity = Severity.WARNING if is_tag else Severity.ERROR
        yield lock.finding("shared-digest", [name], message, fix, severity=severity)


def _last(name: str) -> tuple[str, str]:
    """Return the last part of an image's repository, and its tag."""
    repository, _, tag = name.rpartition("/")[2].partition(":")
    return repository, tag
