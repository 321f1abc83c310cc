"""Try a plan in a copy of the repository, so that nothing is written that is not valid."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scripts.adoption import answers as given
from scripts.adoption import environment_files
from scripts.adoption.answers import Answers
from scripts.adoption.plan import Place, Plan
from scripts.checks import validation
from scripts.core import yamlio
from scripts.core.findings import Finding, Severity, UserError
from scripts.core.paths import ValuePath
from scripts.environments import layout
from scripts.environments.environment import NETWORK
from scripts.network import make
from scripts.network.plan import Wanted

_PARTS = ("base", "chart", "tools/python")
_LATER = "stale-output"
"""What is reported because nothing is rendered yet."""


def errors(root: Path, answers: Answers, plan: Plan) -> list[Finding]:
    """Return the errors of the repository as it would be, at the answers that decide them."""
    with tempfile.TemporaryDirectory(prefix="adopt-") as temporary:
        copy = Path(temporary)
        _lay(root, copy, plan)
        try:
            for name in plan.environments:
                if not (copy / "overlays" / name / NETWORK).exists():
                    chain(copy, answers, name)
            names = layout.environments(copy)
            found = validation.validate(copy, names, is_cached=False).findings
        except UserError as error:
            found = list(error.findings)
        wrong = [f for f in found if f.severity is Severity.ERROR and f.rule != _LATER]
        return [_at_answer(copy, answers, plan, finding) for finding in wrong]


def chain(root: Path, answers: Answers, name: str) -> str:
    """Create the chain of an environment, and return what was printed."""
    said = io.StringIO()
    given.forget()
    make.make(root, name, Wanted(answers.of(name, "validators"), answers.of(name, "chainId")), said)
    return said.getvalue()


def _lay(root: Path, copy: Path, plan: Plan) -> None:
    """Write the repository as it would be, without what render writes."""
    for part in _PARTS:
        if (root / part).is_dir():
            shutil.copytree(root / part, copy / part, symlinks=True)
    for name in layout.environments(root):
        if name not in (*plan.environments, *plan.remove):
            files = shutil.ignore_patterns("manifests")
            shutil.copytree(root / "overlays" / name, copy / "overlays" / name, ignore=files)
    (copy / "overlays").mkdir(exist_ok=True)
    for name, texts in plan.environments.items():
        environment_files.install(copy, name, texts)
    for file, text in plan.files.items():
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        (copy / file).write_text(text, "utf-8")


def _at_answer(copy: Path, answers: Answers, plan: Plan, finding: Finding) -> Finding:
    """Return a finding at the answer that decides the line, if one does."""
    origins = {place: answer for place, answer in plan.origins.items() if place[0] == finding.file}
    if not origins:
        return finding
    answer = _nearest(yamlio.load(copy / finding.file, copy), origins, finding)
    if answer is None:
        return finding
    line, column = answers.document.position(answer)
    own = replace(finding, file=answers.document.file, line=line, column=column)
    return replace(own, message=f"{finding.message} ({finding.file})").with_edits([], is_safe=False)


def _nearest(
    document: yamlio.Document, origins: dict[Place, ValuePath], finding: Finding
) -> Sequence[str | int] | None:
    """Return the answer of the value that is in the finding's line, or that begins above it."""
    lines = {document.position(path)[0]: answer for (_, path), answer in origins.items()}
    return lines.get(finding.line)
