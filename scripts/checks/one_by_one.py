"""Check environments one by one: what can be said of each without looking at the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from scripts.checks import fixing, layers, run_rules, summaries
from scripts.checks.summaries import Record, Wanted, is_valid
from scripts.core.findings import Finding
from scripts.rendering.pipeline import Rendering, render
from scripts.rules import catalogue
from scripts.rules.snapshot import Objects

_Findings = Mapping[str, list[Finding]]
"""Environment → findings."""


def check(
    root: Path, against: str, wanted: Sequence[Wanted], *, with_edits: bool
) -> dict[str, Record]:
    """Return the records of a batch of environments."""
    return records_of(
        root,
        [render(root, each.name) for each in wanted],
        [each.name for each in wanted if each.is_checked],
        against,
        with_edits=with_edits,
    )


def records_of(
    root: Path,
    renderings: Sequence[Rendering],
    checked: Sequence[str],
    against: str = "",
    *,
    with_edits: bool = False,
) -> dict[str, Record]:
    """Return the records of rendered environments.

    checked: those whose findings are asked for.
    """
    invalid = {each.name: layers.inputs(root, each) for each in renderings}
    valid = [each for each in renderings if is_valid(each.name, invalid[each.name])]
    environments = {each.name: each for each in run_rules.objects(root, valid, against)}
    own = [each for each in valid if each.name in checked]
    found: dict[str, list[Finding]] = {each.name: [] for each in own}
    for layer in layers.LAYERS:
        _sort_out(layer(root, own), found)
    known = [environments[each.name] for each in own if each.name in environments]
    _sort_out(run_rules.findings_of(root, own, known, with_edits=with_edits, together=False), found)
    return {
        each.name: Record(
            summary=summaries.of(root, each),
            invalid=tuple(_offered(root, invalid[each.name], with_edits=with_edits)),
            findings=tuple(_offered(root, found.get(each.name, ()), with_edits=with_edits)),
            claims=catalogue.claims(environments[each.name]) if each.name in environments else {},
            is_suspect=each.name in environments and _is_suspect(each, environments[each.name]),
        )
        for each in renderings
    }


def _sort_out(findings: Iterable[Finding], found: _Findings) -> None:
    """Add findings to those of their environments; what concerns none of them to all."""
    for finding in findings:
        of = found.get(finding.environment)
        for own in [of] if of is not None else found.values():
            own.append(finding)


def _offered(root: Path, findings: Sequence[Finding], *, with_edits: bool) -> Sequence[Finding]:
    return fixing.offered(root, findings) if with_edits else findings


def _is_suspect(rendering: Rendering, objects: Objects) -> bool:
    named = {each.rule for each in rendering.waivers} | {each.rule for each in rendering.accepts}
    return any(
        rule.id in named or any(True for _ in rule.check([objects]))
        for rule in catalogue.RULES.values()
        if rule.together
    )
