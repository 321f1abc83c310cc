"""Run the checks of security teams on environments, and apply the waivers of base/policy.yaml.

A waiver names a check, objects and a reason. A waiver that matches no finding is a finding itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from scripts.checks import policy_runs, policy_scanners, secret_scan
from scripts.checks.policy_runs import Failure
from scripts.core import json_schema, paths, yamlio
from scripts.core.findings import Finding, UserError
from scripts.core.repository import PROGRAM
from scripts.environments import environment, git_index, layout
from scripts.rendering import pipeline, provenance

WAIVERS = "base/policy.yaml"
SCHEMA = PROGRAM / "policy.schema.json"


@dataclass(frozen=True, slots=True)
class PolicyWaiver:
    """Objects for which a failed check is accepted."""

    check: str
    objects: tuple[str, ...]
    """Patterns of Kind/name, as in a shell; of paths for a check of gitleaks."""
    environments: tuple[str, ...]
    """All environments, if the file names none."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What the checks have found in some environments."""

    findings: tuple[Finding, ...]
    """Failed checks that no waiver matches, and invalid inputs."""
    environments: tuple[str, ...]
    """Those without invalid inputs, which were checked."""
    used: tuple[tuple[int, str, str], ...]
    """The waivers that match a failed check: index of the waiver, its pattern, the environment."""


def check(root: Path, names: Sequence[str], *, is_cached: bool = True) -> list[Finding]:
    """Return the failed checks of the named environments that no waiver matches, and bad waivers.

    is_cached: as in scan. Raises UserError if the waivers are invalid, UsageError if a tool does
    not work.
    """
    return result(root, [scan(root, names, is_cached=is_cached)])


def result(
    root: Path, parts: Sequence[Checked], is_known: Callable[[str], bool] | None = None
) -> list[Finding]:
    """Return the findings of all parts, and the waivers that none of them uses.

    is_known: whether a tool has a check; without it, the tools are asked.
    """
    document, waivers = _load(root)
    findings = [finding for part in parts for finding in part.findings]
    complete = {name for part in parts for name in part.environments}
    used = {match for part in parts for match in part.used}
    return findings + _unused(document, waivers, complete, used, is_known or _is_known)


def unknown(root: Path) -> list[str]:
    """Return the checks in waivers that no tool has; raises UserError if they are invalid."""
    _, waivers = _load(root)
    return sorted({each.check for each in waivers if not _is_known(each.check)})


def scan(
    root: Path,
    names: Sequence[str],
    is_searched: Callable[[str], bool] = lambda _: True,
    *,
    is_cached: bool = True,
) -> Checked:
    """Return what the checks find in the named environments.

    is_searched: whether a file of the repository is searched for secrets, too. is_cached: whether
    results of an earlier run are used where nothing has changed. Raises like check.
    """
    _, waivers = _load(root)
    found = policy_runs.run(root, names, is_searched, is_cached)
    findings, used = found.invalid, set[tuple[int, str, str]]()
    for name, failures in found.failures.items():
        unwaived = []
        for failure in failures:
            matches = set(_waivers_of(waivers, failure, name))
            used |= matches
            if not matches:
                unwaived.append(failure)
        if unwaived:
            findings += _located(root, name, unwaived)
    for secret in found.secrets:
        matching = {
            (index, pattern, name)
            for index, waiver in enumerate(waivers)
            if waiver.check == secret.check
            for pattern in waiver.objects
            if fnmatchcase(secret.file, pattern)
            for name in waiver.environments
        }
        used |= matching
        if not matching:
            findings.append(secret.finding())
    return Checked(tuple(findings), tuple(found.failures), tuple(sorted(used)))


def _load(root: Path) -> tuple[yamlio.Document, list[PolicyWaiver]]:
    """Return the document of base/policy.yaml and its waivers; raise UserError if it is invalid."""
    document = yamlio.load(root / WAIVERS, root)
    findings = json_schema.check(document, SCHEMA)
    all_environments = layout.environments(root) + git_index.read(root).environments
    if not findings:
        findings = list(_unknown_environments(document, all_environments))
    if findings:
        raise UserError(*findings)
    return document, [
        PolicyWaiver(
            check=entry["check"],
            objects=(*entry["objects"],),
            environments=(*entry.get("environments", all_environments),),
        )
        for entry in document.data["waivers"]
    ]


def _unknown_environments(document: yamlio.Document, known: Sequence[str]) -> Iterator[Finding]:
    for index, entry in enumerate(document.data["waivers"]):
        for number, name in enumerate(entry.get("environments", ())):
            if name not in known:
                path: paths.ValuePath = ["waivers", index, "environments", number]
                message = f"environment {name} does not exist, so the waiver has no effect there"
                fix = f"remove {name}, or write one of {', '.join(known)}"
                yield document.finding("unknown-environment", path, message, fix)


def _waivers_of(
    waivers: Sequence[PolicyWaiver], failed: Failure, environment: str
) -> Iterator[tuple[int, str, str]]:
    """Yield the waivers of a failed check: index of the waiver, its pattern, the environment."""
    for index, waiver in enumerate(waivers):
        if waiver.check == failed.check and environment in waiver.environments:
            for pattern in waiver.objects:
                if fnmatchcase(failed.object, pattern):
                    yield index, pattern, environment


def _located(root: Path, name: str, failures: Sequence[Failure]) -> Iterator[Finding]:
    """Yield failed checks as findings at the inputs that decide the fields."""
    fix = f"correct the object; if there is no risk, add a waiver with the reason to {WAIVERS}"
    inputs = environment.load(root, name)
    manifests = pipeline.objects(root, inputs)
    fields = sorted({(f.number, f.path) for f in failures if f.path}, key=str)
    origins = provenance.of_fields(
        root, inputs, [(manifests[number], path) for number, path in fields]
    )
    places = dict(zip(fields, origins, strict=True))
    for failure in failures:
        template = inputs.shown(manifests[failure.number].template)
        place = places.get((failure.number, failure.path), (template, 0, 0))
        message = failure.message
        if failure.path:
            message = f"/{'/'.join(map(str, failure.path))}: {message}"
        yield Finding(*place, failure.check, message, fix, failure.object, name)


def _unused(
    document: yamlio.Document,
    waivers: Sequence[PolicyWaiver],
    checked: set[str],
    used: set[tuple[int, str, str]],
    is_known: Callable[[str], bool],
) -> list[Finding]:
    """Return the unused waivers, patterns and environments.

    checked: environments; a waiver that names another one is ignored. used: index of the waiver,
    pattern and environment of each match.
    """
    findings = list[Finding]()
    for index, waiver in enumerate(waivers):
        if not checked.issuperset(waiver.environments):
            continue
        matches = [(pattern, name) for number, pattern, name in used if number == index]
        path: list[str | int] = ["waivers", index]
        if not matches:
            findings.append(
                _without_match(document, path, waiver.check, is_known=is_known(waiver.check))
            )
            continue
        for number, pattern in enumerate(waiver.objects):
            if pattern not in {used_pattern for used_pattern, _ in matches}:
                message = f"the pattern is unused: {waiver.check} reports nothing for {pattern}"
                at, fix = [*path, "objects", number], f"remove {pattern} from objects"
                findings.append(document.finding("stale-waiver", at, message, fix))
        named = paths.get(document.data, [*path, "environments"]) or ()
        for number, name in enumerate(named):
            if name not in {used_name for _, used_name in matches}:
                message = f"the waiver is unused in {name}: {waiver.check} reports nothing there"
                at, fix = [*path, "environments", number], f"remove {name} from environments"
                findings.append(document.finding("stale-waiver", at, message, fix))
    return findings


@lru_cache
def _checks(tool: str) -> frozenset[str]:
    return frozenset(policy_scanners.known(tool))


def _is_known(check: str) -> bool:
    tool = check.partition("/")[0]
    return tool == secret_scan.TOOL or check in _checks(tool)


def _without_match(
    document: yamlio.Document, path: list[str | int], check: str, *, is_known: bool
) -> Finding:
    """Return that a waiver is unused, or that its check does not exist."""
    if is_known:
        message = f"the waiver is unused: {check} reports nothing for its objects"
        return document.finding("stale-waiver", path, message, "remove the waiver")
    message = f"check {check} does not exist, so the waiver has no effect"
    fix = "write the check as the finding to waive shows it; if there is none, remove the waiver"
    return document.finding("unknown-check", [*path, "check"], message, fix)
