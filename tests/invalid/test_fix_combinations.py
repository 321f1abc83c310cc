"""`validate --fix --unsafe` on random combinations of mistakes.

It ends without a finding that has an edit, and changes nothing when it runs again. Comments and the
order of keys stay, and so do all files that people do not write.

FIX_COMBINATIONS sets how many are tried (60 by default), and FIX_SEED the first number.
"""

from __future__ import annotations

import os

import pytest

from scripts.checks import fixing, layers, run_rules, validation
from scripts.core.findings import Finding
from scripts.environments import environment
from tests.checks.test_fixing import MISTAKES, comments, same_order
from tests.conftest import Repository, copy
from tests.invalid import combinations
from tests.invalid.test_invalid import put_back, state

COUNT = int(os.environ.get("FIX_COMBINATIONS", "60"))
SEED = int(os.environ.get("FIX_SEED", "0"))
PARTS = 20
SAFE_FIRST_EVERY = 3
ALL_LAYERS_EVERY = 20
"""The layers beside the rules start programs; tests/invalid/test_fixes.py runs them for each
mistake alone."""


def findings_of(repository: Repository, name: str, *, everywhere: bool) -> list[Finding]:
    """Return what is reported of the inputs, and by rules or all layers about the objects."""
    environment.forget()
    if everywhere:
        return validation.validate(
            repository.root, [name], with_edits=True, is_cached=False
        ).findings
    (rendering,) = renderings = layers.rendered(repository.root, [name])
    found = layers.inputs(repository.root, rendering)
    if not any(each.file.startswith(f"overlays/{name}/") for each in found):
        found += run_rules.check(repository.root, renderings, with_edits=True)
    return fixing.offered(repository.root, found)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Return a copy of this repository with a file of secrets, as nox -s network leaves one."""
    repository = copy(tmp_path_factory.mktemp("combinations") / "repository")
    repository.write(".secrets/prod/keys.yaml", "besu: {replica: 1}\n")
    return repository


def texts(repository: Repository) -> dict[str, str]:
    """Return the text of each input."""
    found = {}
    for pattern in ("overlays/*/*.yaml", "overlays/*/patches/*.yaml", "base/**/*.yaml"):
        for path in repository.root.glob(pattern):
            raw = path.read_bytes().decode("utf-8", "replace")
            found[path.relative_to(repository.root).as_posix()] = raw
    return found


@pytest.mark.parametrize("part", range(PARTS))
def test_mistakes_together_end_without_a_fixable_finding(part: int, kept: Repository) -> None:
    for number in range(SEED + part, SEED + COUNT, PARTS):
        good = state(str(kept.root))
        try:
            _check(kept, number)
        finally:
            (kept / ".secrets/prod/keys.yaml").unlink()
            put_back(kept.root, {k: v for k, v in good.items() if not k.startswith(".secrets")})
            kept.write(".secrets/prod/keys.yaml", "besu: {replica: 1}\n")


def _check(repository: Repository, number: int) -> None:
    combination = combinations.of(number, MISTAKES)
    for make in combination.make:
        make(repository)
    name, everywhere = combination.environment, number % ALL_LAYERS_EVERY == 0
    about = f"{number}: {', '.join(combination.mistakes)}"

    def validate() -> list[Finding]:
        return findings_of(repository, name, everywhere=everywhere)

    wrong, there = texts(repository), state(str(repository.root))
    done = fixing.Fixed()
    if number % SAFE_FIRST_EVERY == 0:
        _, left = fixing.fix(repository.root, validate, unsafe=False, fixed=done)
        assert [each for each in left if each.edits and each.is_safe] == [], about
    _, left = fixing.fix(repository.root, validate, unsafe=True, fixed=done)
    assert [each for each in left if each.edits] == [], about
    after = texts(repository)
    for file, text in wrong.items():
        assert comments(after[file]) == comments(text), f"{about}: {file}"
        if file in done.new:
            assert same_order(text, after[file]), f"{about}: {file}"
    found = state(str(repository.root))
    changed = {path for path, what in found.items() if there.get(path) != what}
    assert {path for path in changed if len(found[path]) > 1} == set(done.new), about
    assert there.keys() - found.keys() == set(), about
    assert not any(part in path for path in done.new for part in ("manifests", "secrets")), about
    if everywhere:  # otherwise, the last round has found nothing to do
        again, _ = fixing.fix(repository.root, validate, unsafe=True)
        assert again.new == {}, about
