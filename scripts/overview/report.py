"""All environments at a glance, as plain data for every format. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

VERSION = 1

URGENT, SOON = "urgent", "soon"
"""Levels of what needs attention: something is wrong now, or will be in a few weeks."""


@dataclass(frozen=True, slots=True)
class Release:
    """Which chart and base an environment is rendered from."""

    name: str
    """The tag or commit; empty for the working tree."""
    chart: str
    """The version of the chart; empty if it is unknown."""


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """The version of Kubernetes, and until when it gets fixes."""

    version: str
    """A minor version, like 1.34."""
    is_eks: bool
    state: str
    """supported, soon, extended, ended or unknown; on EKS by the dates of EKS."""
    words: str
    upstream: str
    """The last day of upstream's support, like 2026-10-27; empty if it is unknown, as below."""
    standard: str
    """The last day of standard support on EKS."""
    extended: str
    """The last day of extended support on EKS."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image of a component."""

    component: str
    name: str
    """repository:tag."""
    digest: str
    """Empty if the image is not pinned by digest."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the environment takes of a resource at its largest, against its quota or a node."""

    resource: str
    """As a quota calls it, like requests.cpu; on a node, cpu or memory."""
    used: str
    limit: str
    percent: int
    of: str
    """quota, or node: the largest pod against the smallest node."""


@dataclass(frozen=True, slots=True)
class Waiver:
    """A finding that is accepted for a time."""

    rule: str
    object: str
    until: str
    """The last day."""
    days_left: int
    """Negative once it is over."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A risk that is accepted as long as it is there."""

    rule: str
    consequence: str


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A value that only stands for your own."""

    value: str
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Window:
    """A sync window of Argo CD."""

    kind: str
    """allow or deny."""
    schedule: str
    duration: str
    time_zone: str
    manual: bool
    """Whether people may sync while the window forbids automated syncs."""


@dataclass(frozen=True, slots=True)
class Live:
    """What the cluster says."""

    sync: str
    """Synced, OutOfSync, Unknown; empty if the Application was not read."""
    health: str
    revision: str
    """The commit that was synced last; empty if none was."""
    drift: tuple[str, ...] | None
    """One line for each object that differs from git; None if it was not compared."""
    problem: str
    """Why the cluster could not be asked; empty if it was."""
    misfits: tuple[str, ...] = ()
    """Why the cluster may not be that of the environment."""


@dataclass(frozen=True, slots=True)
class Attention:
    """Something that needs attention."""

    level: str
    """urgent or soon."""
    words: str


@dataclass(frozen=True, slots=True)
class Environment:
    """One environment."""

    name: str
    namespace: str
    cluster: str
    """The server or the name of the cluster, as Argo CD knows it."""
    is_production: bool
    is_example: bool
    release: Release
    kubernetes: Kubernetes
    zones: tuple[str, ...]
    survives: str
    sync: tuple[str, ...]
    """What Argo CD does by itself: automated, self-heal, prune."""
    windows: tuple[Window, ...]
    images: tuple[Image, ...]
    capacity: tuple[Capacity, ...]
    waivers: tuple[Waiver, ...]
    accepts: tuple[Accepted, ...]
    placeholders: tuple[Placeholder, ...]
    live: Live | None = None
    """None without --live."""
    attention: tuple[Attention, ...] = ()
    """The urgent first."""

    @property
    def level(self) -> str:
        """Return the level of what needs attention; empty if nothing does."""
        return self.attention[0].level if self.attention else ""


@dataclass(frozen=True, slots=True)
class Overview:
    """All environments on a day."""

    on: str
    """The day, like 2026-11-30."""
    revision: str
    """The commit that is checked out; empty without git."""
    support_of: str
    """The day of the table with the support of Kubernetes."""
    environments: tuple[Environment, ...]


NEARLY_FULL = 90
"""Percent of a quota or a node that need attention."""
WAIVER_DAYS = 30
"""How long before its end a waiver needs attention."""


def with_attention(environment: Environment) -> Environment:
    """Return the environment with what needs attention in it, the urgent first."""
    found = sorted(_attention(environment), key=lambda one: (one.level != URGENT,))
    return replace(environment, attention=tuple(found))


def _attention(environment: Environment) -> Iterator[Attention]:
    kubernetes = environment.kubernetes
    version = f"Kubernetes {kubernetes.version}: {kubernetes.words}"
    if kubernetes.state == "ended":
        yield Attention(URGENT, version)
    elif kubernetes.state in ("soon", "extended"):
        yield Attention(SOON, version)
    if not environment.images:
        yield Attention(URGENT, "no pod is committed: run nox -s render, and commit")
    unpinned = list(dict.fromkeys(i.name for i in environment.images if not i.digest))
    if unpinned and environment.is_production:
        many = f"{len(unpinned)} images have" if len(unpinned) > 1 else f"{unpinned[0]} has"
        yield Attention(SOON, f"{many} no digest: run nox -s images")
    for one in environment.capacity:
        if one.percent >= NEARLY_FULL and one.of == "quota":
            level = URGENT if one.percent > 100 else SOON
            share = f"{one.used} of {one.limit} ({one.percent} %)"
            yield Attention(level, f"quota: {one.resource} {share}")
    for waiver in environment.waivers:
        name = f"the waiver of {waiver.rule} for {waiver.object}"
        if waiver.days_left < 0:
            yield Attention(URGENT, f"{name} ended on {waiver.until}")
        elif waiver.days_left <= WAIVER_DAYS:
            yield Attention(SOON, f"{name} ends on {waiver.until}")
    if environment.placeholders and not environment.is_example:
        count = len(environment.placeholders)
        yield Attention(URGENT, f"{count} placeholder{'' if count == 1 else 's'} to replace")
    if environment.live:
        yield from _live(environment.live)


_HEALTHY = ("Healthy", "Progressing", "Suspended")


def _live(live: Live) -> Iterator[Attention]:
    if live.problem:
        yield Attention(SOON, f"the cluster was not read: {live.problem}")
        return
    for misfit in live.misfits:
        yield Attention(URGENT, f"context and environment do not fit: {misfit}")
    if live.sync and live.sync != "Synced":
        yield Attention(URGENT, f"Argo CD reports {live.sync}")
    if live.health and live.health not in _HEALTHY:
        yield Attention(URGENT, f"Argo CD reports {live.health}")
    if live.drift:
        count = len(live.drift)
        differ = "1 object differs" if count == 1 else f"{count} objects differ"
        yield Attention(URGENT, f"{differ} from git")


def document(overview: Overview) -> dict[str, Any]:
    """Return the overview in the format of overview.schema.json."""
    return {"version": VERSION} | asdict(overview)
