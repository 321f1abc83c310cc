"""Predict what a change does to all environments of a repository: git in, a report out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scripts.core import shards
from scripts.core.findings import UsageError
from scripts.core.parallel import each
from scripts.core.shards import Shard
from scripts.impact.compare import revisions
from scripts.impact.compare.revisions import OutputDiff
from scripts.impact.report import EnvironmentImpact, Report, from_document, report
from scripts.kubernetes import api_validation
from scripts.kubernetes.api_validation import Change, Rejection


def impact(root: Path, against: str, to: str = "") -> Report:
    """Return what happens to the environments when one revision replaces another.

    to: a revision; empty for the working tree. It compares rendered output only, and renders
    nothing. Raises UsageError for a revision that git does not know.
    """
    output = revisions.diff(root, against, to)
    environments = _impacts(output, output.changed) if output.changed else []
    inputs = () if environments else output.inputs
    return replace(report(against, to, len(output.names), environments), inputs=inputs)


def of_shard(root: Path, shard: Shard, against: str, to: str) -> tuple[Report, dict[str, object]]:
    """Return what happens to a part of the changed environments, and what joining needs to know.

    No environments share a section yet.
    """
    output = revisions.diff(root, against, to)
    changed = shard.part(output.changed)
    part = Report(against, to, len(output.names), tuple(_impacts(output, changed)))
    return part, {"compared": revisions.digest(output)}


def join(root: Path, reports: Sequence[shards.Report]) -> Report:
    """Return the report of one run from those of all its shards.

    Raises UsageError if a shard has compared other files than the two revisions have here.
    """
    first = reports[0].document
    against, to = str(first["against"]), str(first["to"])
    output = revisions.diff(root, against, to)
    here = revisions.digest(output)
    for one in reports:
        if one.about["compared"] != here:
            raise UsageError(
                f"{one.file} compares other files than {against} and {to or 'the working tree'}"
                " have here: join where the shards ran, on the same commit"
            )
    documents = [one.document for one in reports]
    impacts = [from_document(one) for document in documents for one in document["environments"]]
    impacts.sort(key=lambda impact: impact.names)
    inputs = () if impacts else output.inputs
    return replace(report(against, to, len(output.names), impacts), inputs=inputs)


def _impacts(output: OutputDiff, names: Sequence[str]) -> list[EnvironmentImpact]:
    """Return what happens to the changed environments; imports the comparison only then."""
    from scripts.impact.comparison import environment_impact

    def of_environment(name: str) -> EnvironmentImpact:
        found = environment_impact(revisions.pair(output, name), _rejections)
        if name not in output.examples:
            return found
        line = f"it is an example in {output.revisions[0]}, which never ran, so it counts as new"
        return replace(found, summary=(*found.summary, line))

    return each(of_environment, names, "comparing environments")


def _rejections(changes: Sequence[Change], version: str) -> Sequence[Rejection]:
    """Return what the API server's own validation rejects, where `nox -s admission` has built it.

    The rules know most of it: this never waits minutes for a build.
    """
    if not changes or not api_validation.is_built(version):
        return ()
    return api_validation.ask(changes, version).rejections
