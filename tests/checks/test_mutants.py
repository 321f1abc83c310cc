"""The layers find nearly all mutants of dev and prod, and the reasons for the others are known."""

from __future__ import annotations

import re
from functools import partial

import pytest

from scripts.documentation import marked
from tests import sweeps
from tests.checks import file_mutants, mutants, mutation_score
from tests.checks.mutants import ENVIRONMENTS

FEWEST = 1400
"""Mutants of both together, and of files."""
PART = 5
"""One in so many mutants is looked at in a run of all tests: tests/sweeps.py."""
SHARE = 0.97
"""Of them, how many are found at the least."""
SHARE_OF_LATER = 0.95
"""Of those whose operators were not made beside the rules."""


def test_the_layers_find_nearly_all_mutants_and_the_others_live_on_for_a_reason() -> None:
    found = mutation_score.verdicts(one_in=1 if sweeps.is_whole() else PART)
    for title, of in (
        ("Operator", lambda one: one.mutant.operator.name),
        ("Family", lambda one: one.mutant.operator.family),
    ):
        print("\n".join(mutation_score.table(title, found, of)))
    names = {one.mutant.name for one in found}
    told = {one.mutant.name for one in found if one.found}
    listed = {
        reason: set(filter(partial(re.fullmatch, reason), names))
        for reason in mutation_score.reasons()
    }
    assert sorted(names - told - set().union(*listed.values())) == [], "no reason is known"
    assert {r: sorted(fits & told) for r, fits in listed.items() if fits & told} == {}, "found"
    assert mutation_score.share(found) >= SHARE
    later = [one for one in found if mutation_score.is_later(one)]
    assert mutation_score.share(later) >= SHARE_OF_LATER
    if not sweeps.is_whole():
        return
    assert sum(not one.is_same for one in found) >= FEWEST
    assert [reason for reason, fits in listed.items() if not fits] == [], "of no use"
    fresh = not marked.update(
        mutation_score.DOCS, "mutants", mutation_score.summary(found), check=True
    )
    assert fresh, "run python -m tests.checks.mutation_score --write"


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_nothing_is_told_of_an_environment_as_it_is(name: str) -> None:
    """But that images go by their tags, which only who reaches their registries can mend."""
    assert {one.rule for one in mutation_score.unbroken(name)} <= {"image-without-digest"}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_mutants_have_names_of_their_own_and_are_otherwise(name: str) -> None:
    found = mutants.mutants(name)
    assert len({one.name for one in found}) == len(found)
    assert found == mutants.mutants(name)


def test_every_operator_makes_a_mutant_and_says_what_it_breaks() -> None:
    found = [*file_mutants.file_mutants()]
    made = {one.operator.name for name in ENVIRONMENTS for one in mutants.mutants(name)}
    made |= {one.operator.name for one in found}
    operators = [*mutants.operators(), *file_mutants.operators()]
    assert [one.name for one in operators if one.name not in made] == []
    assert [one.name for one in operators if not one.breaks] == []
