"""The edits of each rule's fix, carried out in its examples: the mistake is gone, none is new.

The first example of each rule with edits is tried in every run, and so is a third of the others.
Each part of an example is taken for a file of its own, which the edits name.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from scripts.core import edits
from scripts.core.edits import Edit
from scripts.core.fixes import Fix
from scripts.core.yamlio import Document
from scripts.rendering import input_edits
from scripts.rules import catalogue
from scripts.rules.rule import Problem
from tests import sweeps
from tests.conftest import EXAMPLE
from tests.objects import ENVIRONMENTS
from tests.rules import examples
from tests.rules.examples import Example, Laid

RULES = sorted(catalogue.RULES)
FILES = {file.stem: file for file in examples.files()}

UNCOVERED = {
    "inconsistent-monitoring-labels/wrong/rules-without-the-label-of-monitors",
    "invalid-enum-value/wrong/service",
    "missing-config-map/wrong/optional-volume",
    "monitor-selects-nothing/wrong/another-namespace-only",
    "network-policy-blocks-connection/wrong/without-policy",
    "outside-limit-range/wrong/claim",
    "outside-limit-range/wrong/container",
    "pdb-selects-no-pods/wrong/misspelled-component",
    "pdb-selects-no-pods/wrong/without-selector",
    "probe-path-of-wrong-api/wrong/port-without-http",
    "rolling-update-settings-ignored/wrong/on-delete",
    "server-managed-field/wrong/managed-by-the-cluster",
    "service-selects-no-pods/wrong/without-selector",
    "unknown-endpoint-host/wrong/misspelled-peer",
    "unknown-ingress-backend/wrong/unknown-port-of-the-default",
    "unknown-monitor-port/wrong/without-port",
    "unknown-network-policy-port/wrong/another-protocol",
    "zero-replicas/wrong/autoscaled-to-none",
    # Fewer subnets than two, of the annotation that the controller now reads.
    "unknown-annotation/wrong/two-singular-names-on-all-hosts",
    # Three collectors; config.toml sets the option that was removed, too.
    "price-bump-with-zero-base-fee/wrong/as-argument",
    "price-bump-with-zero-base-fee/wrong/by-a-variable",
    "price-bump-with-zero-base-fee/wrong/of-both",
    "price-bump-with-zero-base-fee/wrong/zero-as-argument",
    "several-garbage-collectors/wrong/three",
    # No class of data but io2, which the environment does not list.
    "data-in-clone-class/wrong/another-clone-class",
    # An Ingress that no one gave a listener for HTTPS: it counts once the class is alb.
    "unknown-ingress-class/wrong/annotation",
    "unknown-ingress-class/wrong/class-name",
    "ingress-without-class/wrong/neither-field-nor-annotation",
    # The namespace is the environment's own, in which no pods have the labels.
    "misspelled-namespace/wrong/own-namespace",
}
"""Examples with one more mistake, which counts only once the first one is gone."""


def edits_of(laid: Laid, rule: str, problem: Problem) -> tuple[Edit, ...]:
    """Return the edits of inputs for a problem; none if its fix has none that are possible."""
    fix = problem.fix
    if not isinstance(fix, Fix) or not (fix.changes or fix.values):
        return ()
    if own := laid.documents.get(problem.manifest.label):
        return fix.edits(own.file, problem.path, own.data)
    (finding,) = laid.located([(catalogue.RULES[rule], problem)])
    return input_edits.of_fix(
        EXAMPLE, laid.environment, problem.manifest, problem.path, fix, finding.file
    )


def problems(laid: Laid, rule: str) -> list[Problem]:
    """Return what a rule finds in the environment of an example."""
    others = [examples.objects(name) for name in ENVIRONMENTS if name != laid.environment.name]
    found = catalogue.RULES[rule].check([laid.objects, *others])
    return [problem for objects, problem in found if objects is laid.objects]


def reported(laid: Laid) -> set[tuple[str, str]]:
    """Return what all rules report that need no other environment or revision."""
    rules = [rule for rule in catalogue.RULES.values() if not rule.together]
    return {
        (rule.id, problem.message)
        for rule in rules
        if not rule.is_about_changes
        for _, problem in rule.check([laid.objects])
    }


def carried_out(example: Example, laid: Laid, made: tuple[Edit, ...]) -> Laid:
    """Return the example with the edits."""
    environment = input_edits.changed(laid.environment, made)
    own = [edit for edit in made if edit.file == environment.document.file]
    if own:
        data = edits.applied(environment.document.data, own)
        environment = examples.said(environment, Document(own[0].file, data, None))
    return examples.laid_over(environment, _with_objects(example, made))


def _with_objects(example: Example, made: tuple[Edit, ...]) -> Example:
    """Return the example with edits of the objects that it brings."""
    data = dict(example.document.data)
    if "objects" in data:
        data["objects"] = [
            edits.applied(each, [edit for edit in made if edit.file == f"objects-{index}.yaml"])
            for index, each in enumerate(data["objects"])
        ]
    return replace(example, document=replace(example.document, data=data))


@pytest.mark.parametrize("rule", RULES)
def test_the_edits_of_a_fix_remove_the_mistake_and_make_no_other(rule: str) -> None:
    has_tried = False
    for example in examples.read(FILES[rule]):
        if example.part == "right" or (has_tried and not sweeps.has(example.id, 3)):
            continue
        example = replace(example, in_files=True)
        laid, before = examples.laid(example), set[tuple[str, str]]()
        tried = set[str]()
        for problem in problems(laid, rule):
            made = edits_of(laid, rule, problem)
            if not made:
                continue
            has_tried = True
            after = carried_out(example, laid, made)
            same = [each for each in problems(after, rule) if each.message == problem.message]
            assert same == [], f"{example.id}: {made}"
            # Several problems may have the same edits, and to ask all rules takes longest.
            if example.id not in UNCOVERED and repr(made) not in tried:
                tried.add(repr(made))
                before = before or reported(laid)
                assert reported(after) - before == set(), f"{example.id}: {made}"
