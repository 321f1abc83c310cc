"""What may be promoted: what another environment has had on the branch for long enough."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scripts.core.findings import UsageError, UserError
from scripts.promotion import history as git_history
from scripts.promotion.promote import Promotion, Wanted, plan, written
from tests import git
from tests.conftest import Repository
from tests.promotion.conftest import TEMPLATE, at, commit, release

TO_PROD = Wanted("staging", "prod")
SETTINGS = "overlays/prod/environment.yaml"


def refused(root: Path, wanted: Wanted, now: float) -> tuple[str, str, str]:
    """Return rule, message and fix of the only finding."""
    with pytest.raises(UserError) as raised:
        plan(root, wanted, now)
    (found,) = raised.value.findings
    assert found.file == SETTINGS
    return found.rule, found.message, found.fix


def test_periods_are_what_an_environment_had_on_the_branch(history: Path) -> None:
    states = git_history.states(history, "main", "staging")
    periods = list(git_history.periods(states, [state.trees for state in states]))
    assert [(p.first.release, p.since_s, p.until_s) for p in periods] == [
        ("v0.3.0", at(5), None),
        ("", at(2), at(5)),  # day 3 only gave it a name
        ("", at(1), at(2)),
    ]
    assert [state.release for state in states] == ["v0.3.0", "v0.2.0", "v0.2.0", "", ""]
    states = git_history.states(history, "main", "dev")
    assert [state.time_s for state in states] == [at(4), at(2), at(1)]
    assert git_history.states(history, "main", "qa") == []


def test_a_release_is_promoted_after_its_soak_time(history: Path) -> None:
    assert refused(history, TO_PROD, at(5, 12)) == (
        "not-soaked",
        "staging has had v0.3.0 for 12 hours, and the soak time of prod is 24h",
        'promote it after 2026-03-06 00:00 UTC; if it can\'t wait, add --force "WHY"',
    )
    made = plan(history, TO_PROD, at(6))
    assert made.lines == [
        "staging has had v0.3.0 on main since 2026-03-05 00:00 UTC (1 day)",
        "prod: release v0.2.0 → v0.3.0",
    ]
    assert made.title == "Promote v0.3.0 from staging to prod"
    text = written(history, made.edits)[SETTINGS]
    assert text == (history / SETTINGS).read_text("utf-8").replace(": v0.2.0", ": v0.3.0")


def test_a_reason_cuts_the_soak_time_short(history: Path) -> None:
    made = plan(history, replace(TO_PROD, forced="a fix of the RPC"), at(5, 1))
    assert made.lines[1] == (
        "that is less than the soak time of prod, 24h, but forced: a fix of the RPC"
    )


def test_an_uncommitted_release_of_the_source_does_not_count(merged: Repository) -> None:
    git.git(merged.root, "tag", "v0.4.0")
    release(merged, "staging", "v0.4.0")
    assert "prod: release v0.2.0 → v0.3.0" in plan(merged.root, TO_PROD, at(9)).lines


def test_what_the_source_has_not_run_is_refused(merged: Repository) -> None:
    merged.replace(TEMPLATE, "example.com/a: second", "example.com/a: third")
    commit(merged.root, 6)
    git.git(merged.root, "tag", "v0.4.0")
    git.git(merged.root, "push", "-q", "origin", "HEAD:refs/heads/next")
    git.git(merged.root, "update-ref", "refs/remotes/origin/main", "HEAD")
    wanted = replace(TO_PROD, release="v0.4.0")
    assert refused(merged.root, wanted, at(9)) == (
        "not-run",
        "staging has never had v0.4.0 on origin/main; it has v0.3.0",
        "promote v0.4.0 to staging first, and let it run there",
    )
    made = plan(merged.root, Wanted("dev", "staging"), at(9))
    assert made.lines == [
        "dev has had v0.4.0 on origin/main since 2026-03-06 00:00 UTC (3 days)",
        "staging: release v0.3.0 → v0.4.0",
    ]
    git.git(merged.root, "tag", "--delete", "v0.4.0")
    commit_id = git.git(merged.root, "rev-parse", "HEAD").strip()
    made = plan(merged.root, Wanted("dev", "staging"), at(9))
    assert made.edits[0].value == commit_id
    assert made.lines[-1] == f"staging: release v0.3.0 → {commit_id[:12]}"


def test_an_older_release_is_promoted_only_on_demand(merged: Repository) -> None:
    release(merged, "prod", "v0.3.0", soak="24h")
    wanted = replace(TO_PROD, release="v0.2.0")
    rule, message, fix = refused(merged.root, wanted, at(9))
    assert (rule, message) == ("downgrade", "v0.2.0 is older than what prod has, v0.3.0")
    assert "--downgrade" in fix
    made = plan(merged.root, replace(wanted, downgrades=True), at(9))
    assert made.lines[0] == (
        "staging has had v0.2.0 on origin/main from 2026-03-02 00:00 UTC to 2026-03-05 00:00 UTC "
        "(3 days)"
    )
    release(merged, "prod", "", soak="24h")
    path = merged / SETTINGS
    path.write_text(path.read_text("utf-8").replace("release: \n", ""), "utf-8")
    assert refused(merged.root, wanted, at(9))[0] == "downgrade"
    assert plan(merged.root, replace(wanted, release="v0.3.0"), at(9)).edits


def values(repository: Repository, environment: str, text: str) -> None:
    path = f"overlays/{environment}/values.yaml"
    repository.write(path, (repository / path).read_text("utf-8") + text)


@pytest.fixture
def with_values(merged: Repository) -> Repository:
    values(merged, "staging", "txSender:\n  amount: 5\nethstats: {image: {tag: v2}}\n")
    commit(merged.root, 7)
    git.git(merged.root, "update-ref", "refs/remotes/origin/main", "HEAD")
    values(merged, "prod", "txSender:\n  # small\n  amount: 1\n  image: {tag: old}\n")
    return merged


def test_images_and_values_are_promoted_with_their_own_soak_time(with_values: Repository) -> None:
    wanted = replace(TO_PROD, moves_release=False, images=True, values=("txSender.amount",))
    assert refused(with_values.root, wanted, at(7, 6))[1] == (
        "staging has had txSender.amount, ethstats.image.tag, txSender.image.tag for 6 hours, and "
        "the soak time of prod is 24h"
    )
    made: Promotion = plan(with_values.root, wanted, at(8))
    assert made.lines[:3] == [
        "prod: txSender.amount 1 → 5",
        "prod: ethstats.image.tag (unset) → v2",
        "prod: txSender.image.tag old is removed, as staging has none",
    ]
    text = written(with_values.root, made.edits)["overlays/prod/values.yaml"]
    assert "\n  # small\n  amount: 5\n" in text
    assert "tag: old" not in text
    assert "ethstats: {image: {tag: v2}}" in text or "tag: v2" in text


def test_a_value_that_neither_sets_is_wrong_use(with_values: Repository) -> None:
    wanted = replace(TO_PROD, values=("besu.nothing",))
    with pytest.raises(UsageError, match=r"neither staging nor prod sets besu\.nothing"):
        plan(with_values.root, wanted, at(9))
    with pytest.raises(UsageError, match="to itself"):
        plan(with_values.root, Wanted("prod", "prod"), at(9))


def test_the_command_writes_renders_and_shows_the_impact(merged: Repository) -> None:
    before = merged.files("overlays", "argocd")
    done = merged.run("promote", "staging", "prod", "--dry-run")
    assert done.code == 0, done.out + done.err
    assert "prod: 2 changed\n" in done.out
    assert "nothing was written, as this was a dry run" in done.out
    assert merged.files("overlays", "argocd") == before
    done = merged.run("promote", "staging", "prod")
    assert done.code == 0, done.out + done.err
    assert "next: git add overlays/prod argocd && git commit -m 'Promote v0.3.0" in done.out
    changed = git.git(merged.root, "diff", "--name-only").splitlines()
    assert changed == [
        "argocd/applications/prod.yaml",
        SETTINGS,
        "overlays/prod/manifests/service-linea-stack-besu.yaml",
    ]
    assert merged.run("promote", "staging", "prod").out == (
        "prod has v0.3.0 already\nnothing to promote\n"
    )
    assert merged.run("promote", "staging", "prod", "--no-release").code == 2
    assert merged.run("promote", "staging", "production").code == 2
