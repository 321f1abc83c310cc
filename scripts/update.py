"""Bring the committed output up to date with the inputs, or show what that would change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from scripts import cache, tree
from scripts.findings import UserError, has_errors


def update(root: Path, wanted: Sequence[str], stream: TextIO) -> None:
    """Write what the inputs of the wanted (or all) environments give, and say what changed.

    Raises UserError, and writes nothing at all, where any of them has a mistake.
    """
    with tree.locked(root):
        names = tree.environments(root, wanted)
        digests = cache.read(root)
        inputs = cache.inputs(root, names)
        stale = [
            name
            for name in names
            if digests.get(name) != {"inputs": inputs[name], "output": cache.output(root, name)}
        ]
        outputs, changes = _changes(root, stale)
        changed = {name: files for name, files in outputs.items() if changes[name]}
        gone = [] if wanted else tree.orphans(root)
        tree.replace(root, changed, gone)
        written = {
            name: {
                "inputs": inputs[name],
                "output": tree.digest({file: text.encode() for file, text in files.items()}),
            }
            for name, files in outputs.items()
        }
        if written:
            cache.write(root, {**digests, **written})
    for name in changed:
        print(f"{name}: {_summary(changes[name])}", file=stream)
    for file in gone:
        print(f"{file}: removed, its environment is gone", file=stream)
    if not changed and not gone:
        print(f"nothing to change in {tree.called(names)}", file=stream)


def difference(root: Path, wanted: Sequence[str], stream: TextIO) -> bool:
    """Print how the committed output differs from what the inputs give; return whether it does.

    Raises UserError where an environment has a mistake.
    """
    names = tree.environments(root, wanted)
    _, changes = _changes(root, names)
    gone = [] if wanted else tree.orphans(root)
    for name in names:
        for file, (old, new) in sorted(changes[name].items()):
            stream.writelines(_diff(file, old, new))
    for file in gone:
        stream.writelines(_diff(file, (root / file).read_text("utf-8"), None))
    return bool(any(changes.values()) or gone)


Changes = Mapping[str, tuple[str | None, str | None]]
"""Path → the text before and after; None where the file isn't there."""


def _changes(root: Path, names: Sequence[str]) -> tuple[dict[str, tree.Files], dict[str, Changes]]:
    """Return the outputs of environments, and how they differ from what is committed."""
    if not names:
        return {}, {}
    from functools import partial

    from scripts import environment
    from scripts.parallel import each
    from scripts.render import render

    renderings = each(partial(render, root), names, "rendering environments")
    findings = [finding for rendering in renderings for finding in rendering.findings]
    findings += environment.collisions(root, names)
    if has_errors(findings):
        raise UserError(*findings)
    outputs, changes = dict[str, tree.Files](), dict[str, Changes]()
    for rendering in renderings:
        there = {
            f: raw.decode(errors="replace") for f, raw in tree.read(root, rendering.name).items()
        }
        files = there.keys() | rendering.files.keys()
        differ = {f: (there.get(f), rendering.files.get(f)) for f in sorted(files)}
        changes[rendering.name] = {f: pair for f, pair in differ.items() if pair[0] != pair[1]}
        outputs[rendering.name] = rendering.files
    return outputs, changes


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
