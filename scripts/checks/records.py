"""What is known of each environment alone, kept until anything it depends on changes.

A record has the findings of an environment, and what other environments are compared with. It is
made in one process per processor, and leaves no object behind. Its key is a digest of all that
decides it: the inputs, the output, base/, chart/, this program, the pins of tools, the revision it
is compared with. What decides by the time has an end.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from scripts.checks.summaries import Record, Summary, Wanted
from scripts.core import clock, file_facts, git, parallel, repository, result_store
from scripts.core import findings as formats
from scripts.core.findings import Finding
from scripts.core.plain import rebuilt
from scripts.environments import git_index, layout
from scripts.output import changed, render_cache

STORE = "validate"
_FORMAT = "1"
_ZONES = ("/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo")
"""Where Python looks for time zones."""
BATCH = 20
"""Environments whose objects are in the memory of a process at the same time."""


def of(
    root: Path,
    names: Sequence[str],
    against: str = "",
    *,
    with_edits: bool = False,
    checked: Collection[str] | None = None,
    is_cached: bool = True,
) -> list[Record]:
    """Return the records of environments.

    against: a git revision for the rules about changes; empty for none. with_edits: whether to look
    for the edits that carry out the fixes. checked: the environments whose findings are asked for;
    all, if it is None. is_cached: whether to use records of earlier runs.
    Raises UsageError if git does not know the revision.
    """
    if not is_cached:
        file_facts.forget(root)
    keys = _keys(root, names, against, with_edits=with_edits) if is_cached else {}
    found = {name: kept for name in keys if (kept := _kept(root, name, keys[name]))}
    wanted = [
        Wanted(name, checked is None or name in checked) for name in names if name not in found
    ]
    if wanted:
        found |= _made(root, wanted, against, with_edits=with_edits)
    new = {each.name for each in wanted if each.is_checked} | _locate(root, names, found)
    new -= {each.name for each in wanted if not each.is_checked}
    if is_cached:
        if new:
            now = _keys(root, sorted(new), against, with_edits=with_edits)
            # What has changed meanwhile may have been read before or after.
            _keep(root, {name: now[name] for name in new if now[name] == keys[name]}, found)
        file_facts.save(root)
    return [found[name] for name in names]


def _made(
    root: Path, wanted: Sequence[Wanted], against: str, *, with_edits: bool
) -> dict[str, Record]:
    """Return new records."""
    # Imported only here, and before processes are started: they share it.
    from scripts.checks import one_by_one  # noqa: F401

    size = max(1, min(BATCH, math.ceil(len(wanted) / parallel.PROCESSES)))
    batches = [wanted[start : start + size] for start in range(0, len(wanted), size)]
    function = partial(_batch, root, against, with_edits)
    made = dict[str, Record]()
    for found in parallel.each(function, batches, "checking environments", worth=1, counted=len):
        made |= found
    return made


def _batch(
    root: Path, against: str, with_edits: bool, wanted: Sequence[Wanted]
) -> dict[str, Record]:
    from scripts.checks import one_by_one

    clock.start()
    found = one_by_one.check(root, against, wanted, with_edits=with_edits)
    end = clock.holds_until()
    return {name: replace(record, holds_until=end) for name, record in found.items()}


def _locate(root: Path, names: Sequence[str], found: dict[str, Record]) -> set[str]:
    """Add to records where images without a digest are; return those that have changed.

    Each is reported once, in the first environment that has it: to locate it takes as long as half
    of the checks.
    """
    first: dict[str, str] = {}
    for name in names:
        for image in found[name].summary.loose:
            first.setdefault(image, name)
    needed: dict[str, list[str]] = {}
    for image, name in first.items():
        if image not in found[name].summary.places:
            needed.setdefault(name, []).append(image)
    for name, images in needed.items():
        from scripts.checks import image_places
        from scripts.rendering.pipeline import render

        record = found[name]
        places = {**record.summary.places, **image_places.places(root, render(root, name), images)}
        found[name] = replace(record, summary=replace(record.summary, places=places))
    return set(needed)


def _keep(root: Path, keys: Mapping[str, str], found: Mapping[str, Record]) -> None:
    """Keep records for the next run."""
    for name, key in keys.items():
        result_store.write(root, STORE, name, key, _plain(found[name]))
    result_store.keep_only(root, STORE, layout.environments(root))


def _kept(root: Path, name: str, key: str) -> Record | None:
    """Return a record of an earlier run that still holds."""
    data = result_store.read(root, STORE, name, key)
    if data is None:
        return None
    end = math.inf if data["holds_until"] is None else data["holds_until"]
    if end <= time.time():
        return None
    summary = data["summary"]
    places = {image: tuple(place) for image, place in summary["places"].items()}
    own = summary | {"placeholders": (), "places": places}
    found = _findings(summary["placeholders"])
    return Record(
        summary=replace(rebuilt(Summary, own), placeholders=found),
        invalid=_findings(data["invalid"]),
        findings=_findings(data["findings"]),
        claims=data["claims"],
        is_suspect=data["is_suspect"],
        holds_until=end,
    )


def _findings(data: Iterable[Mapping[str, Any]]) -> tuple[Finding, ...]:
    return tuple(map(formats.from_json, data))


def _plain(record: Record) -> dict[str, Any]:
    """Return a record as JSON has it, without secrets."""

    def plain(found: Iterable[Finding]) -> list[dict[str, object]]:
        return [formats.as_json(formats.masked(each)) for each in found]

    summary = asdict(replace(record.summary, placeholders=()))
    summary["placeholders"] = plain(record.summary.placeholders)
    return {
        "summary": summary,
        "invalid": plain(record.invalid),
        "findings": plain(record.findings),
        "claims": record.claims,
        "is_suspect": record.is_suspect,
        "holds_until": None if math.isinf(record.holds_until) else record.holds_until,
    }


def _keys(root: Path, names: Sequence[str], against: str, *, with_edits: bool) -> dict[str, str]:
    """Return environment → the digest of all that decides its record."""
    inputs = render_cache.inputs(root, names)
    shared = [_FORMAT, str(with_edits), *_shared(), *_revisions(root, against)]
    before, gone = _before(root, against) if against else ({}, "")
    absent, committed = git_index.read(root), _committed(root)
    keys = {}
    for name in names:
        own = [inputs[name], render_cache.found(root, name), before.get(name, ""), gone]
        own.append(committed.get(name, ""))
        own += absent.within(f"overlays/{name}/", *_argocd(name)) if absent.absent else []
        if render_cache.release(root, name):
            own.append(_tags(root))
        keys[name] = hashlib.sha256(json.dumps([*shared, *own]).encode()).hexdigest()
    return keys


def _argocd(name: str) -> list[str]:
    return [layout.argocd_file(kind, name) for kind in layout.ARGOCD_FOLDERS]


def _shared() -> Iterator[str]:
    """Yield what decides records beside the inputs: pages, pins of tools, the time zones."""
    for top in changed.SHARED:
        path = repository.ROOT / top
        if top in render_cache.KNOWN or not path.exists():
            continue
        if path.is_dir():
            yield render_cache.digest(repository.ROOT, path, top)
        else:
            yield top + hashlib.sha256(path.read_bytes()).hexdigest()
    for folder in _ZONES:
        for name in (".", "tzdata.zi", "Europe"):
            with contextlib.suppress(OSError):
                yield f"{folder} {name} {(Path(folder) / name).stat().st_mtime_ns}"


def _revisions(root: Path, against: str) -> Iterator[str]:
    """Yield git's trees of the revisions with which the chart is compared."""
    for revision in filter(None, ("HEAD", against)):
        for part in ("chart", "base"):
            yield git.ask(root, "rev-parse", "--verify", "--quiet", f"{revision}:{part}").strip()


def _committed(root: Path) -> dict[str, str]:
    """Return environment → git's tree of it in the last commit.

    Whether a change of the chart decides a field depends on what else differs from there.
    """
    listed = git.ask(root, "ls-tree", "-z", "HEAD", "overlays/")
    entries = (line.partition("\t") for line in filter(None, listed.split("\0")))
    return {path.removeprefix("overlays/"): meta for meta, _, path in entries}


def _tags(root: Path) -> str:
    return git.ask(root, "for-each-ref", "--format=%(refname) %(objectname)", "refs/tags")


def _before(root: Path, against: str) -> tuple[dict[str, str], str]:
    """Return environment → the digest of its files in a revision, and that of those now gone."""
    from scripts.output import git_revision

    files: dict[str, list[str]] = {}
    for path, blob in sorted(git_revision.listed(root, against).items()):
        if name := layout.environment_of(path) or (path == layout.BASE and path):
            files.setdefault(name, []).append(f"{path} {blob}")
    digests = {
        name: hashlib.sha256("\n".join(own).encode()).hexdigest() for name, own in files.items()
    }
    there = layout.environments(root)
    gone = [digests[name] for name in sorted(digests.keys() - there)]
    return digests, "\n".join(gone)
