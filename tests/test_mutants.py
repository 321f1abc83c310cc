"""The layers find nearly all mutants of dev and prod, and the reasons for the others are known."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import pytest
import yaml

from scripts.rules import catalogue
from tests import mutants, proof
from tests.mutants import ENVIRONMENTS

SURVIVORS = Path(__file__).with_name("survivors.yaml")

FEWEST = 200
"""Mutants of both together."""
SHARE = 0.95
"""Of them, how many are caught at the least."""


@lru_cache
def reasons() -> Mapping[str, str]:
    """Return pattern → why nothing finds the mutants whose names it fits."""
    found: dict[str, str] = yaml.safe_load(SURVIVORS.read_text("utf-8")) or {}
    return found


def test_the_layers_find_nearly_all_mutants_and_the_others_live_on_for_a_reason() -> None:
    found = proof.verdicts()
    print("\n".join(proof.tables(found)))
    caught = [one.mutant.name for one in found if one.caught]
    alive = [one.mutant.name for one in found if not one.caught]
    fits = {pattern: re.compile(pattern) for pattern in reasons()}
    unexplained = [name for name in alive if not any(p.fullmatch(name) for p in fits.values())]
    wrongly = [name for name in caught if any(p.fullmatch(name) for p in fits.values())]
    unused = [p for p, compiled in fits.items() if not any(map(compiled.fullmatch, alive))]
    assert not unexplained
    assert not wrongly
    assert not unused
    assert len(found) >= FEWEST
    assert len(caught) / len(found) >= SHARE


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_nothing_is_told_of_an_environment_as_it_is(name: str) -> None:
    """But that images go by their tags, which only who reaches their registries can mend."""
    assert {one.rule for one in proof.unbroken(name)} <= {"image-without-digest"}


@pytest.mark.parametrize("operator", mutants.operators(), ids=lambda one: one.name)
def test_every_operator_says_what_it_breaks_and_whose_rules_should_find_it(
    operator: mutants.Operator,
) -> None:
    families = {rule.family for rule in catalogue.RULES.values()}
    assert operator.breaks
    assert operator.family in families | {"availability", "schema"}
