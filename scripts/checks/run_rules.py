"""Run the rules across objects on renderings, and apply the waivers of each environment."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from scripts.core import advice, clock, paths
from scripts.core.findings import Finding
from scripts.environments import environment, git_index, layout
from scripts.environments.environment import Environment
from scripts.kubernetes.manifest import Manifest
from scripts.output import git_revision
from scripts.output.git_revision import Before
from scripts.rendering import block_lines, provenance
from scripts.rendering.pipeline import Rendering
from scripts.rules import catalogue
from scripts.rules.rule import Problem, Rule
from scripts.rules.snapshot import Objects, destination


def check(
    root: Path,
    renderings: Sequence[Rendering],
    against: str = "",
    *,
    with_edits: bool = False,
    together: bool | None = None,
    is_partial: bool | None = None,
) -> list[Finding]:
    """Return the findings of the rules, each at the line of the input that decides it.

    against: a git revision; the rules about changes compare with its committed output, and without
    it they do not run. with_edits: see located. together: only the rules that look at several
    environments together, or only the others, with their waivers; all, if it is None. is_partial:
    whether environments are missing that the rules would look at; by default, any other than these.
    Raises UsageError if git does not know the revision.
    """
    environments = objects(root, renderings, against)
    if is_partial is None:
        is_partial = len(environments) < len(layout.environments(root))
    return findings_of(
        root,
        renderings,
        environments,
        with_edits=with_edits,
        together=together,
        is_partial=is_partial or bool(git_index.read(root).environments),
    )


def findings_of(
    root: Path,
    renderings: Sequence[Rendering],
    environments: Sequence[Objects],
    *,
    with_edits: bool = False,
    together: bool | None = None,
    is_partial: bool = True,
) -> list[Finding]:
    """Return the findings of the rules on environments as objects() returns them; see check."""
    findings = list[Finding]()
    by_environment: dict[str, list[tuple[Rule, Problem]]] = {each.name: [] for each in environments}
    for checked, rule, problem in catalogue.check(environments, together):
        if not _is_in_unnamed_container(problem):
            by_environment[checked.name].append((rule, problem))
    waivers = {rendering.name: rendering.waivers for rendering in renderings}
    accepts = {rendering.name: rendering.accepts for rendering in renderings}
    today = clock.today()
    for name, problems in by_environment.items():
        if not problems and not waivers[name] and not accepts[name]:
            continue
        inputs = environment.load(root, name)
        for waiver in waivers[name]:
            clock.is_over(date.fromisoformat(waiver.until), today)
        unused, accepted = apply_acceptances(inputs, problems, together)
        invalid, unwaived = apply_waivers(
            inputs, accepted, today, is_partial=is_partial, together=together
        )
        findings += [*unused, *invalid]
        findings += located(root, inputs, unwaived, with_edits=with_edits)
    return findings


def _is_in_unnamed_container(problem: Problem) -> bool:
    """Return whether the field is in a container without a name, which the schemas report.

    Mostly it is a patch that was meant for another container, so no other advice about it is right.
    """
    for index, part in enumerate(problem.path[:-1]):
        if part in ("containers", "initContainers"):
            container = problem.manifest.get(*problem.path[: index + 2])
            if isinstance(container, dict) and "name" not in container:
                return True
    return False


def located(
    root: Path,
    inputs: Environment,
    problems: Sequence[tuple[Rule, Problem]],
    *,
    with_edits: bool = False,
) -> list[Finding]:
    """Return problems as findings at the inputs that decide the fields.

    with_edits: whether to look for the edits of inputs that carry out the fixes, too.
    """
    places: dict[int, provenance.Place] = {}
    for part in dict.fromkeys(problem.part for _, problem in problems):
        indexes = [index for index, (_, problem) in enumerate(problems) if problem.part == part]
        fields = [(problems[index][1].manifest, problems[index][1].path) for index in indexes]
        parts = [part] * len(fields)
        places.update(zip(indexes, provenance.of_fields(root, inputs, fields, parts), strict=True))
    for index, (_, problem) in enumerate(problems):
        if problem.line:
            text = str(problem.manifest.get(*problem.path))
            places[index] = _of_line(root, inputs, places[index], problem, text)
    found = [
        Finding(
            *places[index],
            rule.id,
            problem.message,
            str(problem.fix),
            problem.manifest.label,
            inputs.name,
            rule.severity,
        )
        for index, (rule, problem) in enumerate(problems)
    ]
    if not with_edits:
        return found
    return [
        _with_edits(root, inputs, rule, problem, finding)
        for finding, (rule, problem) in zip(found, problems, strict=True)
    ]


def _with_edits(
    root: Path, inputs: Environment, rule: Rule, problem: Problem, finding: Finding
) -> Finding:
    """Return the finding with the edits of inputs that carry out its fix.

    To take back a change is never safe: someone wants it.
    """
    from scripts.rendering import input_edits

    found = input_edits.added(root, inputs, problem.manifest, problem.path, problem.fix, finding)
    return replace(found, is_safe=False) if rule.is_about_changes else found


def _of_line(
    root: Path, inputs: Environment, place: provenance.Place, problem: Problem, text: str
) -> provenance.Place:
    """Return the place of the line of a problem, from the place of the whole text."""
    lines = text.split("\n")
    if place[1] or problem.line > len(lines):  # the chart's file has no line of its own
        return block_lines.located(root, inputs, place, problem.line, text)
    return block_lines.in_chart(root, inputs, problem.path, text, lines[problem.line - 1]) or place


def objects(root: Path, renderings: Sequence[Rendering], against: str = "") -> list[Objects]:
    """Return the renderings as rules see them, without those that failed."""
    rendered = [rendering for rendering in renderings if rendering.manifests]
    before = _before(root, rendered, against) if against else {}
    gone = {name: before[name] for name in before.keys() - layout.environments(root)}
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
            before=old.manifests,
            application_before=old.application,
            kubernetes_version_before=old.kubernetes_version,
        )
        for rendering in rendered
        for old in (before.get(rendering.name) or _renamed(rendering, gone) or nothing,)
    ]


def _renamed(rendering: Rendering, gone: Mapping[str, Before]) -> Before | None:
    """Return what a new environment replaces: one that is gone, in its cluster and namespace."""
    place = destination(rendering.settings[1])
    replaced = (
        old for old in gone.values() if old.application and destination(old.application) == place
    )
    return next(replaced, None)


def _before(root: Path, renderings: Sequence[Rendering], against: str) -> dict[str, Before]:
    """Return the environments as a git revision has them; unchanged files are not parsed again."""
    manifests = dict[str, Manifest]()
    for rendering in renderings:
        folder = layout.manifests_folder(rendering.name)
        manifests |= {f"{folder}/{each.file_name}": each for each in rendering.manifests}
        manifests[layout.argocd_file("applications", rendering.name)] = rendering.settings[1]
    texts = {path: text for r in renderings for path, text in r.files.items() if path in manifests}
    others = {*layout.environments(root)} - {rendering.name for rendering in renderings}
    return git_revision.before(root, against, manifests, texts, others)


def _is_about(rule: str, together: bool | None) -> bool:
    """Return whether a run with only some of the rules checks what is written about a rule."""
    known = catalogue.RULES.get(rule)
    return together is None or together is (known is not None and known.together)


def apply_acceptances(
    inputs: Environment, problems: Sequence[tuple[Rule, Problem]], together: bool | None = None
) -> tuple[list[Finding], list[tuple[Rule, Problem]]]:
    """Return the unused acceptances of an environment, and the problems that none accepts."""
    reported = {rule.id for rule, _ in problems}
    unused = list[Finding]()
    for index, accepted in enumerate(inputs.accepts):
        if accepted.rule not in reported and _is_about(accepted.rule, together):
            message = f"the acceptance is unused: {accepted.rule} reports nothing"
            path: paths.ValuePath = ["accepts", index, "rule"]
            fix = advice.remove(f"the entry of {accepted.rule} from accepts", path[:-1])
            rule = "unused-acceptance"
            unused.append(
                inputs.document.finding(rule, path, message, fix, environment=inputs.name)
            )
    ids = {accepted.rule for accepted in inputs.accepts}
    return unused, [(rule, problem) for rule, problem in problems if rule.id not in ids]


def apply_waivers(
    inputs: Environment,
    problems: Sequence[tuple[Rule, Problem]],
    today: date,
    *,
    is_partial: bool,
    together: bool | None = None,
) -> tuple[list[Finding], list[tuple[Rule, Problem]]]:
    """Return the bad waivers of an environment as findings, and the problems that none waives.

    is_partial: whether only some of the environments are checked. together: see check.
    """
    findings, unwaived = list[Finding](), list(problems)
    for index, waiver in enumerate(inputs.waivers):
        if not _is_about(waiver.rule, together):
            continue
        matches = [
            (rule, problem)
            for rule, problem in problems
            if (rule.id, problem.manifest.label) == (waiver.rule, waiver.object)
        ]
        is_used = bool(matches)
        findings += _bad_waiver(inputs, index, today, is_used=is_used, is_partial=is_partial)
        if waiver.until >= today.isoformat():
            unwaived = [each for each in unwaived if each not in matches]
    return findings, unwaived


def _bad_waiver(
    inputs: Environment, index: int, today: date, *, is_used: bool, is_partial: bool
) -> Iterator[Finding]:
    """Yield a finding if a waiver is unknown, unused or expired."""
    waiver = inputs.waivers[index]

    def finding(rule: str, field: str, message: str, fix: str) -> Finding:
        path: paths.ValuePath = ["waivers", index, field]
        return inputs.document.finding(
            rule, path, message, fix, object=waiver.object, environment=inputs.name
        )

    rule = catalogue.RULES.get(waiver.rule)
    if rule is None:
        near = difflib.get_close_matches(waiver.rule, catalogue.RULES, 1)
        message = f"rule {waiver.rule} does not exist, so the waiver has no effect"
        fix = "write a rule that `python -m scripts rules` lists"
        if near:
            fix = advice.write_value(near[0])
        yield finding("unknown-rule", "rule", message, fix)
    elif not is_used and not rule.is_about_changes and not (is_partial and rule.together):
        message = f"the waiver is unused: {waiver.rule} reports nothing for {waiver.object}"
        fix = advice.remove("the waiver", ["waivers", index])
        yield finding("stale-waiver", "rule", message, fix)
    elif waiver.until < today.isoformat():
        message = f"the waiver of {waiver.rule} expired on {waiver.until}, and has no effect"
        fix = f"fix what {waiver.rule} reports; if the risk is still acceptable, write a later date"
        if not is_used and rule.is_about_changes:
            fix = "remove the waiver: the change that it allowed is done"
        yield finding("expired-waiver", "until", message, fix)
