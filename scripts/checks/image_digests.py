"""Report images of production without a digest, and unused digests in the lock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from scripts.checks.summaries import Summary
from scripts.core import advice
from scripts.core.findings import Finding, Severity
from scripts.core.yamlio import Document
from scripts.environments import git_index, image_lock, layout


def check(root: Path, summaries: Sequence[Summary]) -> list[Finding]:
    """Return the images without a digest in production, and wrong or unused digests of the lock.

    A missing digest is a warning, because only a machine that reaches the registry can look it up.
    """
    production = [summary for summary in summaries if summary.is_production]
    found = [*_without_digest(root, production), *_unused(root, summaries)]
    is_rendered = any(summary.is_rendered for summary in summaries)
    return [*found, *_shared(image_lock.load(root))] if is_rendered else found


def _without_digest(root: Path, summaries: Sequence[Summary]) -> Iterable[Finding]:
    users = dict[str, list[Summary]]()
    for summary in summaries:
        for image in summary.loose:
            users.setdefault(image, []).append(summary)
    for image, environments in users.items():
        known = (each.places[image] for each in environments if image in each.places)
        file, line, column = next(known, None) or _place(root, environments[0].name, image)
        where = layout.called([summary.name for summary in environments])
        message = (
            f"{image} has no digest in {where}: anyone who can push to its repository can"
            " replace the image"
        )
        fix = (
            "run nox -s images on a machine that reaches the registry, and commit base/images.yaml"
        )
        rule = "image-without-digest"
        yield Finding(file, line, column, rule, message, fix, severity=Severity.WARNING)


def _place(root: Path, name: str, image: str) -> tuple[str, int, int]:
    """Return the place of an image's tag, where the first environment that has it is invalid."""
    from scripts.checks import image_places
    from scripts.rendering.pipeline import render

    return image_places.places(root, render(root, name), [image])[image]


def _unused(root: Path, summaries: Sequence[Summary]) -> Iterable[Finding]:
    """Yield the unused digests of the lock; none unless all environments are checked."""
    rendered = [summary.name for summary in summaries if summary.is_rendered]
    if not rendered or rendered != layout.environments(root):
        return
    if git_index.read(root).environments:  # a checkout that leaves some out does not know
        return
    used = {image_lock.parse(image).name for summary in summaries for image in summary.images}
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
