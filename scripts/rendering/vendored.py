"""Check the charts of others that the chart depends on: their archives in chart/charts/.

They are committed, so that a rendering needs no network, and what was reviewed is rendered:
Chart.lock must be that of Chart.yaml, as `helm dependency build` requires, and charts.sha256 has
the digest of each archive. It is not in chart/charts/, where Helm takes every file for a chart.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from scripts.core import json_schema, safe_files, yamlio
from scripts.core.findings import Finding, UserError
from scripts.core.yamlio import Document

FOLDER = "charts"
SUMS = "charts.sha256"

_FIELDS = ("name", "version", "repository", "condition", "tags", "import-values", "alias")
"""The fields of a dependency in the order of Helm's own type, of which the digest is made (HashReq
in https://github.com/helm/helm/blob/main/internal/resolver/resolver.go)."""
_SUM = re.compile(r"([0-9a-f]{64}) [ *](\S+)")


@lru_cache
def archives(chart: Path, root: Path) -> Mapping[str, str]:
    """Return the name of each dependency, as values call it → the file name of its archive.

    A dependency that is a folder has none. Raises UserError for a dependency that is not the
    reviewed one, and for an archive that no dependency declares.
    """
    if not (chart / "Chart.yaml").is_file():
        return {}
    # Most charts have none, and a strict reader of YAML takes longer than Helm.
    folder = chart / FOLDER
    if b"\ndependencies:" not in (chart / "Chart.yaml").read_bytes() and not folder.is_dir():
        return {}
    document = yamlio.load(chart / "Chart.yaml", root)
    declared = _dependencies(document)
    names = {
        str(one.get("alias") or one.get("name")): f"{one.get('name')}-{one.get('version')}.tgz"
        for one in _locked(chart, root, document, declared)
    }
    there = sorted(path.name for path in folder.glob("*.tgz"))
    findings = [
        *_undeclared(chart, root, sorted(set(there) - set(names.values()))),
        *_changed(chart, root, [name for name in there if name in names.values()]),
        *_without_schema(chart, root, document, declared),
    ]
    if findings:
        raise UserError(*findings)
    return {name: archive for name, archive in names.items() if archive in there}


def _dependencies(document: Document) -> list[dict[str, Any]]:
    listed = document.data.get("dependencies") if isinstance(document.data, dict) else None
    return [one for one in listed or () if isinstance(one, dict)]


def _locked(
    chart: Path, root: Path, document: Document, declared: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the dependencies with the versions of Chart.lock; raises UserError if it differs."""
    if not declared or not _absent(chart, declared):
        return []
    command = f"run helm dependency update {shlex.quote(safe_files.name(chart, root))}"
    fix = f"{command}, write {SUMS} again, review and commit what changes"
    if not (chart / "Chart.lock").is_file():
        message = "Chart.lock is missing, so the versions of the dependencies are not fixed"
        raise UserError(document.finding("invalid-chart", ["dependencies"], message, fix))
    lock = yamlio.load(chart / "Chart.lock", root)
    locked = _dependencies(lock)
    if not isinstance(lock.data, dict) or lock.data.get("digest") != digest(declared, locked):
        message = "Chart.lock is not that of Chart.yaml: other dependencies were reviewed"
        raise UserError(lock.finding("invalid-chart", ["digest"], message, fix))
    return [
        {**one, "version": fixed.get("version")}
        for one, fixed in zip(declared, locked, strict=False)
    ]


def _absent(chart: Path, declared: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a dependency is not a folder of the chart, but an archive."""
    return any(not (chart / FOLDER / str(one.get("name"))).is_dir() for one in declared)


def digest(declared: Sequence[Mapping[str, Any]], locked: Sequence[Mapping[str, Any]]) -> str:
    """Return the digest that Helm writes into Chart.lock."""

    def fields(one: Mapping[str, Any]) -> dict[str, Any]:
        kept = {name: one[name] for name in _FIELDS if one.get(name)}
        return {"name": "", **kept} if "repository" in kept else _with_repository(kept)

    text = json.dumps(
        [[fields(one) for one in declared], [fields(one) for one in locked]],
        separators=(",", ":"),
        ensure_ascii=False,
    )
    # As Go writes JSON.
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _with_repository(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields with an empty repository, which Helm writes, too."""
    every = {"name": "", "repository": "", **fields}
    return {name: every[name] for name in _FIELDS if name in every}


def _undeclared(chart: Path, root: Path, names: Iterable[str]) -> Iterator[Finding]:
    for name in names:
        file = safe_files.name(chart / FOLDER / name, root)
        message = "Chart.lock does not list this archive, but Helm renders it"
        fix = "remove the archive; or declare it in dependencies in Chart.yaml"
        yield Finding(file, 0, 0, "invalid-chart", message, fix)


def _changed(chart: Path, root: Path, names: Iterable[str]) -> Iterator[Finding]:
    """Yield a finding for each archive with another digest than the reviewed one."""
    sums = chart / SUMS
    text = sums.read_text("utf-8", "replace") if sums.is_file() else ""
    known = {file.removeprefix(f"{FOLDER}/"): value for value, file in _SUM.findall(text)}
    for name in names:
        archive = chart / FOLDER / name
        file = safe_files.name(archive, root)
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found == known.get(name):
            continue
        message = f"{SUMS} has no digest of the archive, so a changed one would be used"
        if name in known:
            message = (
                f"the archive has the digest {found[:12]}…, and {SUMS} has "
                f"{known[name][:12]}…: it is not the reviewed one"
            )
        folder = shlex.quote(safe_files.name(chart, root))
        write = f"(cd {folder} && sha256sum {FOLDER}/*.tgz > {SUMS})"
        fix = f"restore {file} from git; after a review of the archive, run {write}"
        yield Finding(file, 0, 0, "invalid-chart", message, fix)


def _without_schema(
    chart: Path, root: Path, document: Document, declared: Sequence[Mapping[str, Any]]
) -> Iterator[Finding]:
    """Yield a finding for each dependency whose values the chart's schema would refuse."""
    path = chart / "values.schema.json"
    try:
        schema = json_schema.read(path)
    except (UserError, ValueError, RecursionError):
        return  # environment.load reports it
    for index, one in enumerate(declared):
        name = str(one.get("alias") or one.get("name"))
        if schema.get("additionalProperties") is False and name not in schema["properties"]:
            file = safe_files.name(path, root)
            message = f"{file} does not know the values of the dependency {name}: Helm refuses them"
            fix = f'add "{name}": {{"type": "object"}} to properties in {file}'
            yield document.finding("invalid-chart", ["dependencies", index], message, fix)
