"""Check objects, and changes of them, with the API server's own code: kubernetes/api_validation.py.

Each rejection is reported at the input that decides it, once for each cause.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from scripts.checks import api_schemas, kubeconform, layers, run_rules
from scripts.core.findings import Finding
from scripts.core.progress import progress
from scripts.environments import environment
from scripts.environments.environment import Environment
from scripts.kubernetes.api_validation import (
    Answer,
    Change,
    Rejection,
    ask,
    nearest,
    sentences,
)
from scripts.kubernetes.manifest import Where
from scripts.rendering import provenance
from scripts.rendering.pipeline import Rendering
from scripts.rules import catalogue
from scripts.rules.changes.compared import HOW, changed_in_place
from scripts.rules.rule import Outcome, is_rejected
from scripts.rules.snapshot import Objects

REJECTED_OBJECT, REJECTED_CHANGE = "rejected-object", "rejected-change"
"""The ids of findings: on an object, and on a change of an object that exists."""

Known = tuple[str, Where, Finding | None]
"""Kind/name of an object, the path of a field, and what is reported about it; None if waived."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result for some environments."""

    findings: list[Finding]
    checked: Counter[str] = field(default_factory=Counter)
    """Version of Kubernetes → the number of objects that were checked with it."""
    skipped: Counter[str] = field(default_factory=Counter)


def check(root: Path, renderings: Sequence[Rendering], against: str = "") -> Result:
    """Return what the API server would reject in environments, each at the input that decides it.

    against: a git revision; the changes since its committed output are checked, too. Invalid inputs
    are findings. Raises UsageError if git does not know the revision, or without the program.
    """
    result = Result([finding for rendering in renderings for finding in rendering.findings])
    by_name = {rendering.name: rendering for rendering in renderings}
    for objects in run_rules.objects(root, renderings, against):
        version = nearest(objects.kubernetes_version)
        with progress(f"checking {objects.name} as Kubernetes {version} does"):
            answer = ask(changes(objects), version)
            if answer.rejections:
                reported = _reported(root, by_name[objects.name], objects, answer, version)
                result.findings.extend(reported)
        result.checked[version] += answer.checked
        result.skipped.update(answer.skipped)
    return result


def changes(objects: Objects) -> list[Change]:
    """Return the objects of an environment; those that change in place with the old version."""
    old = {new.identity: old for old, new in changed_in_place(objects)}
    everything = (*objects.manifests, objects.project, objects.application)
    return [(manifest, old.get(manifest.identity)) for manifest in everything]


def _reported(
    root: Path, rendering: Rendering, objects: Objects, answer: Answer, version: str
) -> Iterator[Finding]:
    """Yield one finding for each cause: that of a rule or of the schemas, if there is one.

    None for a cause whose rule is waived: people do by hand what the API server rejects.
    """
    inputs = environment.load(root, objects.name)
    known = [*_of_rules(root, inputs, objects), *_of_schemas(root, rendering)]
    own, others = list[Rejection](), set[Finding]()
    for rejection in answer.rejections:
        same = [f for name, path, f in known if rejection.has_cause(name, path)]
        others.update(each for each in same if each)
        if not same:
            own.append(rejection)
    yield from others
    places = provenance.of_fields(root, inputs, [(each.manifest, each.path) for each in own])
    for rejection, place in zip(own, places, strict=True):
        yield finding(rejection, place, version, objects.name)


def _of_rules(root: Path, inputs: Environment, objects: Objects) -> Iterator[Known]:
    """Yield what the rules report of that which the API server rejects."""
    problems = [
        (rule, problem)
        for rule in catalogue.RULES.values()
        if rule.outcome is Outcome.REJECTED
        for _, problem in rule.check([objects])
        if is_rejected(rule, problem, objects.kubernetes_version)
    ]
    today = datetime.now(UTC).date()
    _, unwaived = run_rules.apply_waivers(inputs, problems, today, is_partial=True)
    found = dict(zip(map(id, unwaived), run_rules.located(root, inputs, unwaived), strict=True))
    for each in problems:
        _, problem = each
        yield problem.manifest.label, tuple(problem.path), found.get(id(each))


def _of_schemas(root: Path, rendering: Rendering) -> Iterator[Known]:
    """Yield what the schemas reject."""
    if rendering.kubernetes_version not in api_schemas.versions():
        return
    own = api_schemas.own(root)
    for problem in kubeconform.check(rendering.files, rendering.kubernetes_version, own):
        reported = layers.located(root, rendering, problem)
        yield f"{problem.kind}/{problem.name}", kubeconform.place(problem), reported


def finding(
    rejection: Rejection, place: provenance.Place, version: str, environment: str
) -> Finding:
    """Return a rejection as a finding at its place."""
    message, fix = sentences(rejection, version, HOW)
    rule = REJECTED_CHANGE if rejection.is_change else REJECTED_OBJECT
    return Finding(*place, rule, message, fix, rejection.manifest.label, environment)
