"""What is known of an environment by itself, and what others are compared with: small and plain."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.core.findings import Finding, Severity

if TYPE_CHECKING:
    from scripts.rendering.pipeline import Rendering


@dataclass(frozen=True, slots=True)
class Summary:
    """A rendered environment without its objects."""

    name: str
    is_rendered: bool
    repository: str
    """The URL of the repository that its Application reads."""
    release: str
    """The tag or commit of its chart/ and base/; empty for the working tree."""
    branch: str
    """Of an environment with a release: the branch that Argo CD follows."""
    is_production: bool
    is_example: bool
    placeholders: tuple[Finding, ...]
    patches: tuple[str, ...]
    """The files of patches that have changed something."""
    images: tuple[str, ...]
    loose: tuple[str, ...]
    """The images without a digest, in production."""
    places: Mapping[str, tuple[str, int, int]]
    """Loose image → file, line and column that set its tag; of those that a finding is about."""
    survives: str
    """What it survives, in words."""
    accepts: tuple[str, ...]
    """The risks that it accepts, each as a sentence."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of one environment by itself."""

    summary: Summary
    invalid: tuple[Finding, ...]
    """What is wrong in its inputs; with an error, nothing else is known."""
    findings: tuple[Finding, ...]
    claims: Mapping[str, bool]
    """What rules compare between environments (see rules/rule.py)."""
    is_suspect: bool
    """Whether such a rule reports something of this environment alone, or is waived or accepted."""
    holds_until: float = math.inf
    """When the time may change it, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run wants to know of an environment."""

    name: str
    is_checked: bool
    """Whether its findings are asked for, or only what others are compared with."""


def is_valid(name: str, findings: Iterable[Finding]) -> bool:
    """Return whether findings have no error in the inputs of an environment.

    Of one with an error nothing is rendered, and whatever else is found could be a consequence.
    """
    own = f"overlays/{name}/"
    return not any(f.severity is Severity.ERROR and f.file.startswith(own) for f in findings)


def of(root: Path, rendering: Rendering) -> Summary:
    """Return the summary of a rendering."""
    # Imported only here: who reads a summary that was kept needs none of them.
    from scripts.environments import environment, image_lock
    from scripts.kubernetes import resilience

    images = tuple(image_lock.names(rendering.manifests))
    loose = [image for image in images if not image_lock.parse(image).digest]
    branch = ""
    if rendering.release:
        branch = environment.load(root, rendering.name).repository["revision"]
    return Summary(
        name=rendering.name,
        is_rendered=bool(rendering.files),
        repository=rendering.repository,
        release=rendering.release,
        branch=branch,
        is_production=rendering.is_production,
        is_example=rendering.is_example,
        placeholders=rendering.placeholders,
        patches=tuple(sorted({f for one in rendering.manifests for f in one.patches})),
        images=images,
        loose=tuple(loose) if rendering.is_production else (),
        places={},
        survives=resilience.words(rendering.manifests, rendering.zones),
        accepts=tuple(
            f"{rendering.name} accepts {each.rule}: {each.consequence}"
            for each in rendering.accepts
        ),
    )
