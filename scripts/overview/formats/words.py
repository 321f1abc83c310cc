"""What the formats say of an environment, in the same words and order. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scripts.overview.report import Environment, Image, Overview

LEVELS = {"urgent": "needs attention now", "soon": "needs attention soon", "": "is in order"}
"""Level → in words."""

Fact = tuple[str, list[str]]
"""What it is about, and a line for each part."""


def heading(overview: Overview) -> str:
    """Return the line that says what the overview is about."""
    count = len(overview.environments)
    return f"{count} environment{'' if count == 1 else 's'} on {overview.on}"


def sources(overview: Overview) -> str:
    """Return what the overview was read from."""
    commit = f"commit {overview.revision[:12]}, " if overview.revision else ""
    return f"{commit}support of Kubernetes as known on {overview.support_of}"


def facts(environment: Environment) -> Iterator[Fact]:
    """Yield what there is to say of an environment; nothing of what it does not have."""
    place = f"namespace {environment.namespace} on {environment.cluster}"
    yield "place", [f"{place}{', an example' if environment.is_example else ''}"]
    yield "release", [release(environment)]
    yield "Kubernetes", list(_kubernetes(environment))
    yield "zones", [", ".join(environment.zones) or "not known"]
    yield "survives", [environment.survives]
    yield "images", list(_images(environment.images))
    if capacity := list(_capacity(environment)):
        yield "capacity", capacity
    yield "sync", list(_sync(environment))
    waivers = [
        f"{one.rule} for {one.object} until {one.until}{_over(one.days_left)}"
        for one in environment.waivers
    ]
    yield "waivers", waivers or ["none"]
    if environment.accepts:
        yield "accepts", [f"{one.rule}: {one.consequence}" for one in environment.accepts]
    if environment.placeholders:
        places = [f"{one.value} ({one.file}:{one.line})" for one in environment.placeholders]
        yield "placeholders", places
    if environment.live:
        yield "live", list(_live(environment))


def release(environment: Environment) -> str:
    """Return which chart and base the environment is rendered from."""
    chart = f"chart {environment.release.chart}" if environment.release.chart else ""
    name = environment.release.name or "the working tree"
    return f"{name}, {chart}" if chart else name


def by_image(overview: Overview) -> list[tuple[str, Image, list[str]]]:
    """Return component, image and the environments that run it: one row for each image."""
    found: dict[Image, list[str]] = {}
    for environment in overview.environments:
        for image in environment.images:
            found.setdefault(image, []).append(environment.name)
    rows = sorted(found.items(), key=lambda row: (row[0].component, row[0].name, row[0].digest))
    return [(image.component, image, names) for image, names in rows]


def digest(image: Image) -> str:
    """Return a digest in short, as container runtimes show it."""
    return image.digest[:19] if image.digest else "no digest"


def _kubernetes(environment: Environment) -> Iterator[str]:
    of = environment.kubernetes
    yield f"{of.version}: {of.words}"
    if of.is_eks and of.upstream:
        yield f"upstream support until {of.upstream}"
    if of.is_eks and of.state in ("supported", "soon") and of.extended:
        yield f"extended support on EKS, which costs more, until {of.extended}"


def _images(images: Sequence[Image]) -> Iterator[str]:
    """Yield the images, each with its components: several may share one."""
    components: dict[tuple[str, str], list[str]] = {}
    for image in images:
        components.setdefault((image.name, digest(image)), []).append(image.component)
    for (name, short), names in components.items():
        yield f"{name} {short} ({', '.join(names)})"


def _capacity(environment: Environment) -> Iterator[str]:
    """Yield what is used of each resource, the fullest first; nothing of what is forbidden."""
    for one in sorted(environment.capacity, key=lambda each: -each.percent):
        if one.of == "node":
            yield f"largest pod: {one.used} of the smallest node's {one.limit} {one.resource}"
        elif one.limit != "0" or one.used != "0":
            yield f"{one.percent} % of the quota: {one.resource} {one.used} of {one.limit}"


def _sync(environment: Environment) -> Iterator[str]:
    yield ", ".join(environment.sync) or "by hand"
    for window in environment.windows:
        manual = ", manual syncs allowed" if window.manual else ""
        times = f"{window.schedule} for {window.duration} ({window.time_zone})"
        yield f"window: {window.kind} {times}{manual}"


def _over(days_left: int) -> str:
    if days_left < 0:
        return ", which is over"
    return f" ({days_left} day{'' if days_left == 1 else 's'} left)"


def _live(environment: Environment) -> Iterator[str]:
    live = environment.live
    assert live is not None
    if live.problem:
        yield f"not read: {live.problem}"
        return
    state = ", ".join(filter(None, (live.sync, live.health))) or "no Application"
    yield f"{state}{f' at {live.revision[:12]}' if live.revision else ''}"
    yield from (f"context and environment do not fit: {misfit}" for misfit in live.misfits)
    if live.drift is not None:
        yield from live.drift or ["no object differs from git"]
