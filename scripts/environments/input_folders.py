"""Folders in which each YAML file is an input of its own: patches, objects, definitions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.core import backup_files, safe_files
from scripts.core.findings import Finding, UserError


@dataclass(frozen=True, slots=True)
class Kind:
    """What a folder contains, as messages say it."""

    rule: str
    noun: str
    """One file, for example "patch"."""
    verb: str
    """What render does with it, for example "applied"."""

    @property
    def article(self) -> str:
        """Return the noun with its article."""
        return f"{'an' if self.noun[0] in 'aeiou' else 'a'} {self.noun}"


def files(folder: Path, root: Path, kind: Kind) -> Iterator[Path | Finding]:
    """Yield the YAML files of a folder by name, and a finding for each other entry.

    Raises UserError if the folder is a file, or can't be read.
    """
    if os.path.lexists(folder) and not folder.is_dir() and not safe_files.leaves(folder, root):
        file = safe_files.name(folder, root)
        message = f"{file} is not a folder, so no {kind.noun} is {kind.verb}"
        fix = f"remove {file}, or replace it with a folder that has one YAML file for each"
        raise UserError(Finding(file, 0, 0, kind.rule, message, f"{fix} {kind.noun}"))
    entries = safe_files.entries(folder, root)
    names = [path.name for path in entries]
    for path in entries:
        if path.name == ".gitkeep" or backup_files.is_of_system(path.name):
            continue  # it only keeps a folder in git, or belongs to a file manager
        yield _wrong(path, names, root, kind) or path


def _wrong(path: Path, names: Sequence[str], root: Path, kind: Kind) -> Finding | None:
    """Return the finding for an entry that is a backup, or has no name of a YAML file."""
    file, fix = safe_files.name(path, root), backup_files.instruction(path.name, names)
    if fix:
        message = f"the file is a backup, which must not be {kind.verb} as {kind.article}"
        return Finding(file, 0, 0, kind.rule, message, fix)
    if path.suffix == ".yaml":
        return None
    message = f"only files called *.yaml are {kind.verb} as {kind.noun}{_plural(kind.noun)}"
    fix = f"rename {path.name} to {path.stem}.yaml; if it is no {kind.noun}, remove it"
    if path.with_suffix(".yaml").exists():
        fix = f"remove {path.name}; the {kind.noun} that is {kind.verb} is {path.stem}.yaml"
    if path.is_dir():
        what = f"the {kind.noun}{_plural(kind.noun)} of {path.name}/"
        fix = f"move {what} into {path.parent.name}/, or remove {path.name}/"
    return Finding(file, 0, 0, kind.rule, message, fix)


def _plural(noun: str) -> str:
    return "es" if noun.endswith("ch") else "s"
