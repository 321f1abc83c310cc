"""Bring the committed output up to date with the inputs, or show how it differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from scripts.core import file_facts, secret_detection
from scripts.core.findings import Finding, UserError, has_errors
from scripts.core.parallel import each
from scripts.environments import git_index, layout
from scripts.output import committed, render_cache

if TYPE_CHECKING:
    from scripts.rendering.pipeline import Rendering

Changes = Mapping[str, tuple[str | None, str | None]]
"""Path → the old and the new text; None if there is no such file."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An environment with its new output staged, if that differs from the committed one."""

    findings: tuple[Finding, ...]
    output: str
    """The digest of the new output."""
    summary: str
    """What changes, like "2 changed"; empty if nothing does."""


def update(root: Path, wanted: Sequence[str], stream: TextIO) -> None:
    """Render the wanted (or all) environments, write their output, and print what changed.

    Raises UserError, and writes nothing, if any of them has an error.
    """
    with committed.locked(root):
        names = layout.environments(root, wanted)
        digests = render_cache.read(root)
        inputs = render_cache.inputs(root, names)
        stale = [
            name
            for name in names
            if digests.get(name)
            != {"inputs": inputs[name], "output": render_cache.output(root, name)}
        ]
        gone = [] if wanted else committed.orphans(root)
        of_root = {"inputs": inputs[layout.ROOT_FILE], "output": render_cache.root_output(root)}
        is_root_known = digests.get(layout.ROOT_FILE) == of_root
        with committed.staging(root):
            prepared = _prepare_all(root, stale)
            root_text = None if is_root_known else root_change(root)[1]
            changed = [name for name in stale if prepared[name].summary]
            committed.commit(root, changed, gone, root_text)
        if prepared or not is_root_known:
            new = {n: {"inputs": inputs[n], "output": p.output} for n, p in prepared.items()}
            new[layout.ROOT_FILE] = of_root | {"output": render_cache.root_output(root)}
            render_cache.write(root, {**digests, **new})
        file_facts.save(root)
    for name in changed:
        print(f"{name}: {prepared[name].summary}", file=stream)
    for file in gone:
        print(f"{file}: removed, as its environment is gone", file=stream)
    if root_text is not None:
        print(f"{layout.ROOT_FILE}: written; apply it again where it is in use", file=stream)
    for line in (_left_out(root), git_index.waiting(root, changed)):
        if line:
            print(line, file=stream)
    if not changed and not gone and root_text is None:
        print(f"up to date: {layout.called(names)}", file=stream)


def root_change(root: Path) -> tuple[str | None, str | None]:
    """Return the old and the new text of argocd/root.yaml; twice None if it does not change.

    Raises UserError if it can't be rendered, or if render did not write it.
    """
    from scripts.rendering import root_application

    raw, new = committed.read_root(root), root_application.text(root)
    if raw == new.encode():
        return None, None
    return raw.decode(errors="replace") if raw is not None else None, new


def _left_out(root: Path) -> str:
    """Return a sentence about the environments that this checkout leaves out, if there are any."""
    names = git_index.read(root).environments
    return f"unchanged, as this checkout leaves them out: {layout.called(names)}" if names else ""


def _prepare_all(root: Path, names: Sequence[str]) -> dict[str, Prepared]:
    if not names:
        return {}
    from scripts.environments import collisions

    prepared = each(partial(_prepare, root), names, "rendering environments")
    findings = [finding for result in prepared for finding in result.findings]
    findings += collisions.check(root, names)
    if has_errors(findings):
        raise UserError(*findings)
    return dict(zip(names, prepared, strict=True))


def _prepare(root: Path, name: str) -> Prepared:
    """Render an environment and stage its output; with many, this runs in a child process."""
    from scripts.rendering.pipeline import render

    rendering = render(root, name)
    if not rendering.files:
        return Prepared(rendering.findings, "", "")
    changes = _changes(root, name, rendering.files)
    if changes:
        committed.stage(root, name, rendering.files)
    encoded = {file: text.encode() for file, text in rendering.files.items()}
    return Prepared(rendering.findings, committed.digest(encoded), _summary(changes))


def difference(root: Path, wanted: Sequence[str], stream: TextIO) -> bool:
    """Print the difference between the committed output and a render; return whether there is one.

    Raises UserError if an environment has an error.
    """
    from scripts.environments import collisions

    names = layout.environments(root, wanted)
    renderings = each(partial(_texts, root), names, "rendering environments")
    findings = [finding for rendering in renderings for finding in rendering.findings]
    findings += collisions.check(root, names)
    if has_errors(findings):
        raise UserError(*findings)
    differs = False
    for rendering in renderings:
        for file, (old, new) in _changes(root, rendering.name, rendering.files).items():
            stream.writelines(map(secret_detection.masked, _diff(file, old, new)))
            differs = True
    old, new = root_change(root)
    if new is not None:
        stream.writelines(map(secret_detection.masked, _diff(layout.ROOT_FILE, old, new)))
        differs = True
    for file in [] if wanted else committed.orphans(root):
        removed = _diff(file, (root / file).read_text("utf-8", "replace"), None)
        stream.writelines(map(secret_detection.masked, removed))
        differs = True
    return differs


def _texts(root: Path, name: str) -> Rendering:
    """Return a rendering without its objects, which a child process would have to send, too."""
    from scripts.rendering.pipeline import render

    return replace(render(root, name), manifests=())


def _changes(root: Path, name: str, files: layout.Files) -> Changes:
    """Return how files differ from an environment's committed output."""
    old = {file: raw.decode(errors="replace") for file, raw in committed.read(root, name).items()}
    pairs = {file: (old.get(file), files.get(file)) for file in sorted(old.keys() | files.keys())}
    return {file: pair for file, pair in pairs.items() if pair[0] != pair[1]}


def _summary(changes: Changes) -> str:
    counts = {"added": 0, "changed": 0, "removed": 0}
    for old, new in changes.values():
        counts["added" if old is None else "removed" if new is None else "changed"] += 1
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def _diff(file: str, old: str | None, new: str | None) -> list[str]:
    import difflib

    lines = [(text or "").splitlines(keepends=True) for text in (old, new)]
    before = "/dev/null" if old is None else f"a/{file}"
    after = "/dev/null" if new is None else f"b/{file}"
    return list(difflib.unified_diff(lines[0], lines[1], before, after))
