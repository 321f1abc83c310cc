"""The checks that security teams run, on all environments, less what base/policy.yaml waives.

A waiver names a check, the objects and the reason; one that nothing needs any more is a finding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from scripts.checks import policy_scanners
from scripts.checks.policy_scanners import Problem
from scripts.core import json_schema, paths, progress, toolchain, yamlio
from scripts.core.findings import Finding, UserError
from scripts.core.repository import PROGRAM
from scripts.environments import environment, layout
from scripts.environments.environment import Environment
from scripts.kubernetes.manifest import Manifest
from scripts.rendering import pipeline, provenance

WAIVERS = "base/policy.yaml"
SCHEMA = PROGRAM / "policy.schema.json"


@dataclass(frozen=True, slots=True)
class Waiver:
    """A check that is not asked of some objects."""

    check: str
    objects: tuple[str, ...]
    """Kind/name, as a shell writes patterns."""
    environments: tuple[str, ...]
    """All of them, where the file names none."""


def check(root: Path, names: Sequence[str]) -> list[Finding]:
    """Return what the tools find in the named environments, and what is wrong in the waivers.

    Raises UserError where the waivers can't be read, UsageError where a tool can't do its work.
    """
    document, waivers = _load(root)
    findings, scanned = list[Finding](), list[tuple[Environment, list[Manifest]]]()
    for name in names:
        try:
            found = environment.load(root, name)
            scanned.append((found, pipeline.objects(root, found)))
        except UserError as error:
            findings += error.findings
    toolchain.tool("kube-score")
    with (
        progress.progress(f"checking the policy of {layout.called(names)}"),
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        versions = [found.kubernetes_version for found, _ in scanned]
        problems = list(pool.map(policy_scanners.scan, [made for _, made in scanned], versions))
    used = set[tuple[int, str, str]]()
    for (found, _), group in zip(scanned, problems, strict=True):
        left = []
        for problem in group:
            by = set(_waived(waivers, problem, found.name))
            used |= by
            if not by:
                left.append(problem)
        findings += _located(root, found, left)
    complete = {found.name for found, _ in scanned}
    return findings + _stale(document, waivers, complete, used)


def _load(root: Path) -> tuple[yamlio.Document, list[Waiver]]:
    document = yamlio.load(root / WAIVERS, root)
    findings = json_schema.check(document, SCHEMA)
    everywhere = layout.environments(root)
    if not findings:
        findings = list(_unknown_environments(document, everywhere))
    if findings:
        raise UserError(*findings)
    return document, [
        Waiver(entry["check"], (*entry["objects"],), (*entry.get("environments", everywhere),))
        for entry in document.data["waivers"]
    ]


def _unknown_environments(document: yamlio.Document, there: Sequence[str]) -> Iterator[Finding]:
    for index, entry in enumerate(document.data["waivers"]):
        for number, name in enumerate(entry.get("environments", ())):
            if name not in there:
                path: paths.ValuePath = ["waivers", index, "environments", number]
                fix = f"write one of {', '.join(there)}, or remove it"
                yield document.finding("unknown-environment", path, f"there is no {name}", fix)


def _waived(
    waivers: Sequence[Waiver], problem: Problem, name: str
) -> Iterator[tuple[int, str, str]]:
    """Yield what lets the problem be: index of the waiver, its pattern, the environment."""
    for index, waiver in enumerate(waivers):
        if waiver.check == problem.check and name in waiver.environments:
            for pattern in waiver.objects:
                if fnmatchcase(problem.manifest.label, pattern):
                    yield index, pattern, name


def _located(root: Path, found: Environment, problems: Sequence[Problem]) -> Iterator[Finding]:
    """Yield the problems as findings on the inputs that decide the fields."""
    fix = f"mend it, or write into {WAIVERS} why there is no risk"
    fields = sorted({(p.manifest.label, p.path) for p in problems if p.path}, key=str)
    manifests = {problem.manifest.label: problem.manifest for problem in problems}
    origins = provenance.of_fields(
        root, found, [(manifests[label], path) for label, path in fields]
    )
    places = dict(zip(fields, origins, strict=True))
    for problem in problems:
        manifest, message = problem.manifest, problem.message
        place = places.get((manifest.label, problem.path), (manifest.template, 0, 0))
        if problem.path:
            message = f"/{'/'.join(map(str, problem.path))}: {message}"
        yield Finding(*place, problem.check, message, fix, manifest.label, found.name)


def _stale(
    document: yamlio.Document,
    waivers: Sequence[Waiver],
    checked: set[str],
    used: set[tuple[int, str, str]],
) -> list[Finding]:
    """Return the waivers that nothing needs, as far as their environments were checked."""
    findings = list[Finding]()
    for index, waiver in enumerate(waivers):
        if not checked.issuperset(waiver.environments):
            continue
        mine = [(pattern, name) for number, pattern, name in used if number == index]
        path: list[str | int] = ["waivers", index]
        if not mine:
            findings.append(_needless(document, path, waiver.check))
            continue
        for number, pattern in enumerate(waiver.objects):
            if pattern not in {used_pattern for used_pattern, _ in mine}:
                message = f"{waiver.check} finds nothing in {pattern}"
                at = [*path, "objects", number]
                findings.append(document.finding("stale-waiver", at, message, "remove this line"))
        named = paths.get(document.data, [*path, "environments"]) or ()
        for number, name in enumerate(named):
            if name not in {used_name for _, used_name in mine}:
                message = f"{waiver.check} finds nothing of these in {name}"
                at = [*path, "environments", number]
                findings.append(document.finding("stale-waiver", at, message, "remove this line"))
    return findings


def _needless(document: yamlio.Document, path: list[str | int], check: str) -> Finding:
    """Return that a waiver is not needed, or that its check is none."""
    known = policy_scanners.known(check.partition("/")[0])
    if check in known:
        message = f"{check} finds nothing in these objects"
        return document.finding("stale-waiver", path, message, "remove the waiver")
    message = f"there is no check {check}"
    fix = "write the name that the finding had, or remove the waiver"
    return document.finding("unknown-check", [*path, "check"], message, fix)
