"""`nox -s validate`: every layer, of each environment alone and of all together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.checks import records, whole_layers
from scripts.checks.summaries import Record, is_valid
from scripts.core.findings import Finding
from scripts.environments import collisions, layout, releases


@dataclass(frozen=True, slots=True)
class Validation:
    """What was found, and what is known of the environments."""

    findings: list[Finding]
    records: list[Record]


def validate(
    root: Path,
    names: Sequence[str],
    against: str = "",
    *,
    with_edits: bool = False,
    checked: Collection[str] | None = None,
    is_cached: bool = True,
) -> Validation:
    """Return all findings of all layers on the environments.

    For the parameters, see records.of. The environments that are not checked are only compared
    with the others. Raises UsageError if git does not know the revision.
    """
    found = records.of(
        root, names, against, with_edits=with_edits, checked=checked, is_cached=is_cached
    )
    own = [each for each in found if checked is None or each.summary.name in checked]
    findings = one_by_one(root, own) + across(root, found, against, with_edits=with_edits)
    return Validation(findings, found)


def one_by_one(root: Path, found: Sequence[Record]) -> list[Finding]:
    """Return the findings that depend on no other environment."""
    findings = [*_invalid(root, found)]
    invalid = [*findings, *collisions.check(root, layout.environments(root))]
    for each in found:
        if is_valid(each.summary.name, invalid):
            findings += each.findings
    return findings


def across(
    root: Path, found: Sequence[Record], against: str = "", *, with_edits: bool = False
) -> list[Finding]:
    """Return what concerns several environments or the whole repository."""
    findings = collisions.check(root, [each.summary.name for each in found])
    invalid = [*findings, *_invalid(root, found)]
    valid = [each for each in found if is_valid(each.summary.name, invalid)]
    known = [each.summary for each in valid]
    findings += [finding for layer in whole_layers.LAYERS for finding in layer(root, known)]
    findings += _together(root, valid, against, with_edits=with_edits)
    if not with_edits:
        return findings
    from scripts.checks import fixing

    return fixing.offered(root, findings)


def _together(
    root: Path, valid: Sequence[Record], against: str, *, with_edits: bool
) -> list[Finding]:
    """Return what the rules across environments report.

    Only environments that have something in common, or are suspect by themselves, are rendered.
    """
    names = [each.summary.name for each in valid]
    suspects = conflicting({each.summary.name: each.claims for each in valid})
    suspects |= {each.summary.name for each in valid if each.is_suspect}
    if not suspects:
        return []
    from scripts.checks import layers, run_rules

    renderings = layers.rendered(root, [name for name in names if name in suspects])
    is_partial = len([e for e in valid if e.summary.is_rendered]) < len(layout.environments(root))
    return run_rules.check(
        root, renderings, against, with_edits=with_edits, together=True, is_partial=is_partial
    )


def conflicting(claims: Mapping[str, Mapping[str, bool]]) -> set[str]:
    """Return the environments that claim what another one does; see rules/rule.py."""
    owners = dict[str, list[str]]()
    for name, own in claims.items():
        for key in own:
            owners.setdefault(key, []).append(name)
    return {
        name
        for key, names in owners.items()
        if len(names) > 1 and any(claims[name][key] for name in names)
        for name in names
    }


def _invalid(root: Path, found: Iterable[Record]) -> Iterator[Finding]:
    """Yield what is wrong in the inputs of environments, and with where their releases are."""
    for each in found:
        yield from each.invalid
        yield from _off_branch(root, each.summary.name, each.summary.release, each.summary.branch)


def _off_branch(root: Path, name: str, release: str, branch: str) -> list[Finding]:
    """Return a finding if the release of an environment is not on its branch.

    No record has it, as a fetch changes it.
    """
    if not release or releases.is_on_branch(root, release, branch):
        return []
    from scripts.environments import environment

    return releases.off_branch(root, release, branch, environment.load(root, name).document)


def compare(root: Path, names: Sequence[str]) -> list[Finding]:
    """Return findings for committed manifests that are out of date, and for invalid inputs."""
    findings, repositories = compare_one_by_one(root, names)
    return findings + compare_across(root, names, repositories)


def compare_one_by_one(root: Path, names: Sequence[str]) -> tuple[list[Finding], dict[str, str]]:
    """Return what compare finds in each environment, and the URL that its Application reads."""
    from scripts.checks import layers
    from scripts.environments import environment

    renderings = layers.rendered(root, names)
    findings = list[Finding]()
    for each in renderings:
        findings += layers.inputs(root, each)
        if each.release:
            branch = environment.load(root, each.name).repository["revision"]
            findings += _off_branch(root, each.name, each.release, branch)
    wrong = findings + collisions.check(root, layout.environments(root))
    valid = [each for each in renderings if is_valid(each.name, wrong)]
    repositories = {each.name: each.repository for each in renderings if each.files}
    return findings + layers.current(root, valid), repositories


def compare_across(
    root: Path, names: Sequence[str], repositories: Mapping[str, str]
) -> list[Finding]:
    """Return what compare finds in several environments, or in files of none.

    repositories: rendered environment → the URL that its Application reads.
    """
    return [
        *collisions.check(root, names),
        *whole_layers.orphaned(root, ()),
        *whole_layers.root_application_of(root, repositories),
    ]


def survived(found: Sequence[Record]) -> list[str]:
    """Return what the environments survive: one line for all that survive the same."""
    alike: dict[str, list[str]] = {}
    for each in found:
        alike.setdefault(each.summary.survives, []).append(each.summary.name)
    return [f"{layout.called(names)}: {words}" for words, names in alike.items()]


def accepted(found: Sequence[Record]) -> list[str]:
    """Return the risks that the environments accept, each with its consequence."""
    return [sentence for each in found for sentence in each.summary.accepts]
