"""Carry out the edits of a rule's fixes in its examples, and report what does not work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from scripts.core import edits
from scripts.core.edits import CannotApplyError, Edit
from scripts.core.findings import UserError
from scripts.core.fixes import Fix
from scripts.core.yamlio import Document
from scripts.environments.environment import Environment
from scripts.rendering import input_edits
from scripts.rules import catalogue
from scripts.rules.rule import Problem
from tests.rules import examples
from tests.rules.examples import Example, Laid


def fixable(example: Example) -> Iterator[tuple[Laid, Problem, tuple[Edit, ...]]]:
    """Yield the problems of an example whose fix has changes, with the edits of inputs."""
    laid = examples.laid(replace(example, in_files=True))
    for objects, problem in catalogue.RULES[example.rule].check([laid.objects]):
        if isinstance(problem.fix, Fix) and (problem.fix.changes or problem.fix.values):
            assert objects is laid.objects
            yield laid, problem, edits_of(laid, problem)


def edits_of(laid: Laid, problem: Problem) -> tuple[Edit, ...]:
    assert isinstance(problem.fix, Fix)
    own = laid.documents.get(problem.manifest.label)
    if own is not None:
        return problem.fix.edits(own.file, problem.path, own.data)
    (finding,) = laid.located([(catalogue.RULES["unused-volume"], problem)])
    return input_edits.of_fix(
        examples.ROOT, laid.environment, problem.manifest, problem.path, problem.fix, finding.file
    )


def said(laid: Laid) -> dict[tuple[str, str], str]:
    """Return what all rules report, each with its fix."""
    found = {}
    for rule in catalogue.RULES.values():
        if not rule.together:
            for _, problem in rule.check([laid.objects]):
                found[rule.id, problem.message] = str(problem.fix)
    return found


def wrong_after(example: Example, laid: Laid, problem: Problem, made: tuple[Edit, ...]) -> str:
    """Return what is wrong once the edits are made; empty if nothing is."""
    try:
        after = examples.laid_over(edited(laid.environment, made), edited_objects(example, made))
    except (UserError, CannotApplyError) as error:
        return f"fails: {error!r}"
    before, left = said(laid), said(after)
    if (example.rule, problem.message) in left:
        return "it is still reported"
    more = [f"{rule}: {message}" for (rule, message) in left.keys() - before.keys()]
    return f"more is reported: {more}" if more else ""


def edited(environment: Environment, made: tuple[Edit, ...]) -> Environment:
    found = input_edits.changed(environment, made)
    own = [edit for edit in made if edit.file == environment.document.file]
    if own:
        data = edits.applied(environment.document.data, own)
        found = examples.said(found, Document(environment.document.file, data, None))
    return found


def edited_objects(example: Example, made: tuple[Edit, ...]) -> Example:
    """Return the example with edits of the objects that it brings."""
    data = dict(example.document.data)
    objects = list(data.get("objects", ()))
    for index in range(len(objects)):
        own = [edit for edit in made if edit.file == f"objects-{index}.yaml"]
        objects[index] = edits.applied(objects[index], own)
    if objects:
        data["objects"] = objects
    return replace(example, in_files=True, document=replace(example.document, data=data))
