"""The next command completes a killed render, whatever happened in between."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from tests.conftest import Changed, Interrupted, manifests

NEXT = ("rules",)
"""A command that does nothing but complete the killed render."""

EXCHANGE, PROJECT = "renameat2", "argocd/projects/dev.yaml"


def begin(changed: Changed, before: str) -> None:
    """Kill a render before its rename to that name."""
    with Interrupted(changed.repository, signal.SIGKILL) as runs:
        assert runs.at(before)["code"] == -signal.SIGKILL


def test_kill_at_every_step_of_the_recovery(changed: Changed, tmp_path: Path) -> None:
    work, journal = changed.repository / ".render", tmp_path / "journal"
    begin(changed, EXCHANGE)
    assert changed.output() == changed.old
    shutil.copytree(work, journal)
    kills = 0
    with Interrupted(changed.repository, signal.SIGKILL) as runs:
        for step in range(1000):
            code = runs.at(step, *NEXT)["code"]
            there = manifests(changed.output())
            assert there in (manifests(changed.old), manifests(changed.new)), step
            if code != -signal.SIGKILL:
                break
            kills += 1
            assert runs.at(-1, *NEXT)["code"] == 0, step
            assert changed.output() == changed.new, step
            changed.restore()
            shutil.copytree(journal, work)
    assert code == 0
    assert changed.output() == changed.new
    assert kills > 10


@pytest.fixture
def begun(changed: Changed) -> Changed:
    """Return a repository whose render was killed after the exchange, before argocd/ changed."""
    begin(changed, PROJECT)
    there = changed.output()
    assert manifests(there) == manifests(changed.new)
    assert there[PROJECT] == changed.old[PROJECT] != changed.new[PROJECT]
    return changed


def test_a_recovery_keeps_what_was_restored_meanwhile(begun: Changed) -> None:
    # Somebody restores the old output with git before the next command.
    folder = "overlays/dev/manifests"
    shutil.rmtree(begun.repository / folder)
    shutil.copytree(begun.kept / folder, begun.repository / folder)
    assert begun.output() == begun.old
    begun.repository.run("render", "--check", "dev")
    assert begun.output() in (begun.old, begun.new)
    assert begun.repository.run("render", "dev").code == 0
    assert begun.output() == begun.new
    assert begun.is_clean()


def test_a_recovery_succeeds_after_the_manifests_were_deleted(begun: Changed) -> None:
    shutil.rmtree(begun.repository / "overlays/dev/manifests")
    done = begun.repository.run("render", "dev")
    assert (done.code, begun.output()) == (0, begun.new), done.err
    assert begun.is_clean()


def test_a_recovery_never_deletes_files_that_render_did_not_write(begun: Changed) -> None:
    mine = begun.repository / "overlays/dev/manifests/mine.yaml"
    mine.write_text("kind: ConfigMap\n")
    done = begun.repository.run("render", "dev")
    assert mine.exists()
    assert (done.code, done.err) == (1, "")
    assert "mine.yaml" in done.out
    mine.unlink()
    assert begun.repository.run("render", "dev").code == 0
    assert begun.output() == begun.new


def test_a_recovery_ignores_a_removed_environment(begun: Changed) -> None:
    shutil.rmtree(begun.repository / "overlays/dev")
    done = begun.repository.run("render")
    assert done.code == 0, done.out + done.err
    assert not (begun.repository / "overlays/dev").exists()
    assert not (begun.repository / "argocd/projects/dev.yaml").exists()
    assert begun.is_clean()
