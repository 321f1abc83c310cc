"""Make the repository one's own: answers in, environments, chains and rendered output out.

Nothing is written unless all of it is valid. Run again, it changes nothing; after a killed run, it
completes what that had begun.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from scripts.adoption import answers as given
from scripts.adoption import checklist, journal, plan, rehearsal
from scripts.adoption.answers import Answers
from scripts.adoption.plan import Plan
from scripts.checks import validation
from scripts.core import programs, yaml_edits
from scripts.core.findings import Finding, UsageError, UserError
from scripts.core.sentences import joined
from scripts.environments import image_lock, layout
from scripts.environments.environment import NETWORK
from scripts.output import update

_GIT_S = 60.0


def adopt(root: Path, file: Path, stream: TextIO) -> list[Finding]:
    """Write what the answers in a file say, and return what validate reports of the result.

    Raises UserError, and writes nothing, if the answers or their result have an error.
    """
    if journal.recover(root):
        print("completed a run that was interrupted", file=stream)
        given.forget()
    answers = given.load(root, file)
    wanted = plan.plan(root, answers)
    if wanted:
        if unsaved := [*_unsaved(root, wanted)]:
            raise UserError(*unsaved)
        if wrong := rehearsal.errors(root, answers, wanted):
            raise UserError(*wrong)
        journal.write(root, wanted)
        given.forget()
    _say(answers, wanted, stream)
    for name in answers.names:
        if not (root / "overlays" / name / NETWORK).exists():
            print(rehearsal.chain(root, answers, name).partition("\n")[0], file=stream)
    given.forget()
    update.update(root, (), stream)
    findings = _validate(root)
    if wanted and _remove_unused_digests(root, findings, stream):
        findings = _validate(root)
    for line in checklist.lines(root, answers):
        print(line, file=stream)
    return findings


def _validate(root: Path) -> list[Finding]:
    return validation.validate(root, layout.environments(root)).findings


def _remove_unused_digests(root: Path, findings: Sequence[Finding], stream: TextIO) -> bool:
    """Remove the digests of images that only the removed examples ran; return whether it did."""
    edits = [edit for each in findings if each.rule == "unused-digest" for edit in each.edits]
    if not edits:
        return False
    lock = root / image_lock.LOCK
    lock.write_text(yaml_edits.applied(lock.read_text("utf-8"), edits), "utf-8")
    image_lock.load.cache_clear()
    given.forget()
    print("removed the digests of images that your environments do not run", file=stream)
    return True


def _say(answers: Answers, wanted: Plan, stream: TextIO) -> None:
    """Print what was written."""
    for name in answers.names:
        what = "exists, and stays as it is"
        if name in wanted.environments:
            what = f"written, like {answers.of(name, 'like')}"
        print(f"{name}: {what}", file=stream)
    if wanted.remove:
        print(f"removed the examples {joined(wanted.remove)}", file=stream)
    if wanted.files:
        print(f"changed {joined(wanted.files)}", file=stream)


def _unsaved(root: Path, wanted: Plan) -> Sequence[Finding]:
    """Return a finding for each example that would be removed with changes that git has not."""
    findings = list[Finding]()
    for name in (*wanted.environments, *wanted.remove):
        folder = f"overlays/{name}"
        if not (root / folder).exists():
            continue
        command = ["git", "status", "--porcelain", "--", folder]
        try:
            done = programs.run(command, "git", _GIT_S, cwd=root)
        except UsageError:
            return []
        if done.returncode == 0 and done.stdout:
            message = f"the example {name} has changes that are in no commit, and would be lost"
            fix = f"commit them, or undo them: git checkout -- {folder}"
            findings.append(Finding(folder, 0, 0, "unsaved-example", message, fix))
    return findings
