"""Renderings → what the rules across objects find in them, less what an environment waives."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from scripts.core import paths
from scripts.core.findings import Finding
from scripts.environments import environment, layout
from scripts.environments.environment import Environment
from scripts.kubernetes.manifest import Manifest
from scripts.output import git_revision
from scripts.output.git_revision import Before
from scripts.rendering import provenance
from scripts.rendering.pipeline import Rendering
from scripts.rules import catalogue
from scripts.rules.rule import Problem, Rule
from scripts.rules.snapshot import Objects


def check(root: Path, renderings: Sequence[Rendering], against: str = "") -> list[Finding]:
    """Return what the rules find, each at the line of the input that decides it.

    against: a git revision whose committed output the change is judged by; else none is.
    Raises UsageError where git does not know the revision.
    """
    among = objects(root, renderings, against)
    findings = list[Finding]()
    by_environment: dict[str, list[tuple[Rule, Problem]]] = {one.name: [] for one in among}
    for one, rule, problem in catalogue.check(among):
        by_environment[one.name].append((rule, problem))
    waivers = {rendering.name: rendering.waivers for rendering in renderings}
    alone = len(among) < len(layout.environments(root))
    today = datetime.now(UTC).date()
    for name, problems in by_environment.items():
        if not problems and not waivers[name]:
            continue
        found = environment.load(root, name)
        told, left = waived(found, problems, today, alone=alone)
        findings += told
        findings += located(root, found, left)
    return findings


def located(
    root: Path, found: Environment, problems: Sequence[tuple[Rule, Problem]]
) -> list[Finding]:
    """Return the problems as findings on the inputs that decide the fields."""
    places: dict[int, provenance.Place] = {}
    for part in dict.fromkeys(problem.part for _, problem in problems):
        own = [index for index, (_, problem) in enumerate(problems) if problem.part == part]
        fields = [(problems[index][1].manifest, problems[index][1].path) for index in own]
        places.update(zip(own, provenance.of_fields(root, found, fields, part), strict=True))
    return [
        Finding(
            *places[index],
            rule.id,
            problem.message,
            problem.fix,
            problem.manifest.label,
            found.name,
            rule.severity,
        )
        for index, (rule, problem) in enumerate(problems)
    ]


def objects(root: Path, renderings: Sequence[Rendering], against: str = "") -> list[Objects]:
    """Return the renderings as rules see them, without those that could not be made."""
    made = [rendering for rendering in renderings if rendering.manifests]
    before = _before(root, made, against) if against else {}
    nothing = Before(None, None, "")
    return [
        Objects(
            name=rendering.name,
            namespace=rendering.namespace,
            kubernetes_version=rendering.kubernetes_version,
            zones=rendering.zones,
            is_production=rendering.is_production,
            manifests=rendering.manifests,
            project=rendering.settings[0],
            application=rendering.settings[1],
            given=rendering.given,
            before=there.manifests,
            application_before=there.application,
            kubernetes_version_before=there.kubernetes_version,
        )
        for rendering in made
        for there in (before.get(rendering.name, nothing),)
    ]


def _before(root: Path, made: Sequence[Rendering], against: str) -> dict[str, Before]:
    """Return what a revision has of environments; what has not changed is not read again."""
    now = dict[str, Manifest]()
    for rendering in made:
        folder = layout.manifests_folder(rendering.name)
        now |= {f"{folder}/{manifest.file_name}": manifest for manifest in rendering.manifests}
        now[layout.argocd_file("applications", rendering.name)] = rendering.settings[1]
    texts = {path: text for r in made for path, text in r.files.items() if path in now}
    return git_revision.before(root, against, now, texts)


def waived(
    found: Environment, problems: Sequence[tuple[Rule, Problem]], today: date, *, alone: bool
) -> tuple[list[Finding], list[tuple[Rule, Problem]]]:
    """Return what is wrong in an environment's waivers, and the problems that none lets be.

    alone: whether there are others that it was not looked at together with.
    """
    told, left = list[Finding](), list(problems)
    for index, waiver in enumerate(found.waivers):
        own = [one for one in problems if (one[0].id, one[1].manifest.label) == _key(waiver)]
        told += _unsound(found, index, today, needed=bool(own), alone=alone)
        if waiver.until >= today.isoformat():
            left = [one for one in left if one not in own]
    return told, left


def _key(waiver: environment.Waiver) -> tuple[str, str]:
    return waiver.rule, waiver.object


def _unsound(
    found: Environment, index: int, today: date, *, needed: bool, alone: bool
) -> Iterator[Finding]:
    """Yield why a waiver is of no use."""
    waiver = found.waivers[index]

    def finding(rule: str, field: str, message: str, fix: str) -> Finding:
        path: paths.ValuePath = ["waivers", index, field]
        return found.document.finding(
            rule, path, message, fix, object=waiver.object, environment=found.name
        )

    rule = catalogue.RULES.get(waiver.rule)
    if rule is None:
        near = difflib.get_close_matches(waiver.rule, catalogue.RULES, 1)
        fix = f"write {near[0]}" if near else "write one of `python -m scripts rules`"
        yield finding("unknown-rule", "rule", f"there is no rule {waiver.rule}", fix)
    elif not needed and not rule.is_about_changes and not (alone and rule.together):
        message = f"{waiver.rule} finds nothing in {waiver.object}"
        yield finding("stale-waiver", "rule", message, "remove the waiver")
    elif waiver.until < today.isoformat():
        message = f"the waiver of {waiver.rule} ended on {waiver.until}"
        fix = "mend what it let be, or, after a new look at the risk, write a later day"
        if not needed and rule.is_about_changes:
            fix = "remove the waiver: the change that it let be is made"
        yield finding("expired-waiver", "until", message, fix)
