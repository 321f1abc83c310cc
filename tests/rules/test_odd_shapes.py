"""Rules are total: whatever shape an object has, they tell of problems, and never fail.

That a field has a wrong type is the schemas' to say; rules only must not stumble over it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scripts.core import paths
from scripts.core.findings import UserError
from scripts.kubernetes.manifest import Manifest, Where
from scripts.rendering import preconditions
from scripts.rules import catalogue
from scripts.rules.snapshot import Objects
from tests import sweeps
from tests.checks import mutants, mutation_score
from tests.checks.mutants import GONE
from tests.conftest import EXAMPLE
from tests.objects import ENVIRONMENTS, walk
from tests.rules import examples

MOST_EDITS = 6

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
huge = st.sampled_from([2**31, 2**63, 10**30])
odd = st.sampled_from(
    [
        "",
        "100%",
        "-1",
        "1e3",
        "http://",
        "http://[",
        "*",
        "$(X)",
        "a:b:c",
        "/",
        "[",
        "{",
        "\\",
        "99Ei",
    ]
)
junk = st.recursive(
    scalars | odd | huge,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@lru_cache
def fields(name: str) -> list[tuple[str, Where]]:
    """Return label and path of every field of an environment."""
    unbroken = examples.objects(name)
    of_argocd = [
        (manifest.label, path)
        for manifest in (unbroken.project, unbroken.application)
        for path, _ in walk(manifest.object)
        if path[:1] == ("spec",)
    ]
    return of_argocd + [
        (manifest.label, path)
        for manifest in unbroken.manifests
        for path, _ in walk(manifest.object)
        if path
    ]


@st.composite
def broken(draw: st.DrawFn, name: str) -> Objects:
    """Draw an environment in which some fields are something else, doubled or gone."""
    unbroken = examples.objects(name)
    changed: dict[str, Any] = {}
    before = {m.label: m for m in (*unbroken.manifests, unbroken.project, unbroken.application)}
    for label, path in draw(st.lists(st.sampled_from(fields(name)), max_size=MOST_EDITS)):
        there = changed.get(label, before[label].object)
        if paths.has(there, path):
            value = paths.get(there, path)
            doubled = st.just(value * 2) if isinstance(value, list | str) else st.nothing()
            changed[label] = mutants.changed(there, path, draw(junk | st.just(GONE) | doubled))

    def now(manifest: Manifest) -> Manifest:
        return replace(manifest, object=changed.get(manifest.label, manifest.object))

    return replace(
        unbroken,
        manifests=tuple(map(now, unbroken.manifests)),
        project=now(unbroken.project),
        application=now(unbroken.application),
    )


def reaches_the_rules(found: Objects) -> bool:
    """Return whether a render would let objects of these shapes pass."""
    try:
        preconditions.shapes(EXAMPLE, mutation_score.without_values(found.name), found.manifests)
    except UserError:
        return False
    return True


@pytest.mark.parametrize("name", mutants.ENVIRONMENTS)
@settings(
    max_examples=sweeps.examples(100, 20),
    suppress_health_check=[HealthCheck.too_slow],
    deadline=None,
)
@given(data=st.data())
def test_rules_tell_of_objects_of_any_shape(name: str, data: st.DataObject) -> None:
    found = data.draw(broken(name))
    if not reaches_the_rules(found):
        return
    backwards = replace(examples.objects(name), before=found.manifests)
    others = [examples.objects(other) for other in ENVIRONMENTS if other != name]
    for rule in catalogue.RULES.values():
        told = list(rule.check([found, *others] if rule.together else [found]))
        if rule.is_about_changes:
            told += rule.check([backwards])
        for _, problem in told:
            assert problem.message and problem.fix, rule.id
            assert all(isinstance(part, str | int) for part in problem.path), rule.id
