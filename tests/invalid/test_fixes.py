"""`validate --fix --unsafe` on each mistake in tests/invalid: what it can fix is then gone.

Of the mistakes, a run of all tests takes a quarter: each rule has its fix tried in tests/rules.
A mistake without any edit is not tried further. Of the others, the findings with edits must be
gone, nothing else may be reported that is not about the committed output, and only the lines of
the mistaken files that the edits name may differ.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.checks import fixing, validation
from scripts.checks.fixing import Fixed
from scripts.core.findings import Finding
from scripts.environments import environment, layout
from tests.conftest import Repository
from tests.invalid.test_invalid import (  # noqa: F401
    Mistake,
    kept,
    mistake,
    names,
    prepare,
    state,
    whole,
    write_files,
)

UNCOVERED = {
    "environment/name-no-dns-label",
    "kubernetes/container-outside-the-limit-range",
    "values/keys-with-dots",
    "values/unknown-value-in-a-profile",
    "values/unknown-value-in-base",
}
"""Files with more mistakes: they count only once the first is gone."""

UNSEEN = {"stale-output", "image-without-digest"}
"""Rules whose findings say nothing about the edit."""


def findings_of(root: Path, wanted: list[str]) -> list[Finding]:
    """Return all findings, with their edits."""
    environment.forget()
    return validation.validate(root, wanted, with_edits=True, is_cached=False).findings


def fixed(root: Path, wanted: list[str]) -> tuple[list[Finding], Fixed, list[Finding]]:
    """Return the findings before, what is done, and the findings after."""
    before = findings_of(root, wanted)
    if not any(finding.edits for finding in before):
        return before, Fixed(), before
    known = [before]
    done, after = fixing.fix(
        root, lambda: known.pop() if known else findings_of(root, wanted), unsafe=True
    )
    return before, done, after


def more_of(before: list[Finding], after: list[Finding]) -> list[str]:
    """Return what is reported after the edits only.

    If a mistake prevents the rendering, nothing is known of the objects before.
    """
    was = {(finding.rule, finding.message) for finding in before}
    is_rendered = any(finding.object for finding in before)
    return [
        f"{finding.rule}: {finding.message}"
        for finding in after
        if (finding.rule, finding.message) not in was
        and finding.rule not in UNSEEN
        and (is_rendered or not finding.object)
    ]


def concerned(mistake: Mistake, root: Path) -> list[str]:  # noqa: F811
    """Return the environments to look at: staging has no profile that dev and prod do not have."""
    is_staging = any("staging" in text for text in (*mistake.files, *mistake.preparations))
    return [name for name in layout.environments(root) if is_staging or name != "staging"]


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", names())
def test_what_can_be_fixed_is_gone(
    name: str,
    mistake: Mistake,  # noqa: F811
    whole: Repository,  # noqa: F811
) -> None:
    if mistake.arguments[0] not in ("validate", "render", "check"):
        return
    write_files(mistake, whole.root)
    for line in mistake.preparations:
        prepare(line, whole)
    wanted = [each for each in mistake.arguments[1:] if (whole / f"overlays/{each}").is_dir()]
    there = state(str(whole.root))
    before, done, after = fixed(whole.root, wanted or concerned(mistake, whole.root))
    assert [finding for finding in after if finding.edits] == []
    changed = {path for path, what in state(str(whole.root)).items() if there.get(path) != what}
    assert changed - set(done.new) == {str(Path(file).parent) for file in done.new} & changed
    if name not in UNCOVERED:
        assert more_of(before, after) == []
    again, _ = fixing.fix(whole.root, lambda: after, unsafe=True)
    assert again.new == {}
