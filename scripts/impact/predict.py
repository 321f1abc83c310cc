"""What a change does to all environments of a repository: git in, a report out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from scripts.core.parallel import each
from scripts.impact.compare import revisions
from scripts.impact.compare.revisions import Found
from scripts.impact.report import Environment, Report, report


def impact(root: Path, against: str, to: str = "") -> Report:
    """Return what becomes of environments when a revision comes in the place of another.

    to: a revision; the working tree, where it is empty. It is about rendered output: what inputs
    would give is not looked at. Raises UsageError for a revision that git does not know.
    """
    found = revisions.find(root, against, to)
    environments = _compared(found) if found.changed else []
    inputs = () if environments else found.inputs
    return replace(report(against, to, len(found.names), environments), inputs=inputs)


def _compared(found: Found) -> list[Environment]:
    """Return what happens to those that change; only then is what compares them loaded."""
    from scripts.impact.comparison import environment

    def one(name: str) -> Environment:
        return environment(revisions.pair(found, name))

    return each(one, found.changed, "comparing environments")
