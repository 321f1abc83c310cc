"""The hand-written files of an environment as texts: copy those of another one, and edit values.

Edits keep comments and all other lines. A new folder appears at once: it is written under a hidden
name and then renamed, so that a killed run leaves no half of an environment.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from scripts.core import safe_files, yaml_edits
from scripts.core.edits import Action, CannotApplyError, Edit
from scripts.core.findings import Finding, UserError
from scripts.environments import layout
from scripts.environments.environment import NETWORK
from scripts.environments.placeholders import strings

Texts = dict[str, str]
"""Path in the environment's folder → text."""

Values = Mapping[tuple[str | int, ...], Any]
"""Path of a value in a file → what to write there."""

SETTINGS, VALUES = "environment.yaml", "values.yaml"

NEW, OLD = ".new-", ".old-"
"""Beginnings of hidden folders beside the environments."""


def read(root: Path, name: str) -> Texts:
    """Return the hand-written files of an environment, without its chain and what render writes."""
    folder = root / "overlays" / name
    texts = Texts()
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        left_out = inside.parts[0] in (NETWORK, Path(layout.manifests_folder(name)).name)
        if path.is_file() and not left_out and not path.name.startswith("."):
            texts[inside.as_posix()] = safe_files.read(path, root).decode()
    return texts


def copied(root: Path, like: str, name: str, namespace: str) -> Texts:
    """Return the files for an environment like another one, with its own name and namespace.

    The old name and namespace are replaced wherever a value has them as a word: in hosts, roles,
    buckets and names of objects. Comments stay as they are.
    """
    old = read(root, like)
    settings = yaml.safe_load(old[SETTINGS])
    words = {str(settings["namespace"]): namespace, like: name}
    texts = {file: with_words(text, words) for file, text in old.items()}
    own: Values = {("name",): name, ("namespace",): namespace}
    return texts | {SETTINGS: edited(old[SETTINGS], own, f"overlays/{like}/{SETTINGS}")}


def with_words(text: str, words: Mapping[str, str]) -> str:
    """Return a YAML text with words replaced in its values: `prod` in linea-prod-logs."""
    every = sorted(words, key=len, reverse=True)
    # Neither a part of another word, nor of a path of Linux, such as /dev/shm.
    word = re.compile(
        rf"(?<![A-Za-z0-9])(?<!^/)(?<![\s=:,]/)({'|'.join(map(re.escape, every))})(?![A-Za-z0-9])"
    )
    # A file of objects may have several documents.
    for number, document in enumerate(yaml.safe_load_all(text)):
        values = {
            path: word.sub(lambda found: words[found[1]], value)
            for path, value in strings(document)
            if word.search(value)
        }
        text = edited(text, values, document=number)
    return text


def edited(text: str, values: Values, file: str = "", document: int = 0) -> str:
    """Return a YAML text with other values; comments and all other lines stay.

    file: for the message. document: the index of the one to edit. Raises UserError if a comment
    inside of a value would be lost.
    """
    for path, value in values.items():
        edit = Edit(file, Action.WRITE, path, value, document=document)
        try:
            text = yaml_edits.applied(text, [edit])
        except CannotApplyError:
            key = ".".join(map(str, path))
            message = f"{key} can't be written: a comment inside of the old value would be lost"
            fix = f"move the comment above {key}, and run the command again"
            raise UserError(Finding(file, 0, 0, "cannot-edit", message, fix)) from None
    return text


def install(root: Path, name: str, texts: Texts) -> None:
    """Write the files of an environment into overlays/, instead of those that it has, at once."""
    new = root / "overlays" / (NEW + name)
    shutil.rmtree(new, ignore_errors=True)
    for file, text in texts.items():
        path = new / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    move_into_place(root, name, new)


def move_into_place(root: Path, name: str, new: Path) -> None:
    """Make a folder that of an environment, instead of the one that it has."""
    target = root / "overlays" / name
    old = target.with_name(OLD + name)
    shutil.rmtree(old, ignore_errors=True)
    if os.path.lexists(target):
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)
