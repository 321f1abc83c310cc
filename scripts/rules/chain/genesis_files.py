"""The genesis files of an environment, with the lines of their parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from scripts.chain.node_config import BESU, MARU, Node
from scripts.core import paths, tomlio
from scripts.core.findings import UserError
from scripts.core.paths import ValuePath
from scripts.core.yamlio import Document
from scripts.kubernetes.manifest import Manifest
from scripts.rules.rule import Problem
from scripts.rules.snapshot import Objects, once

FORKS = ("paris", "shanghai", "cancun", "prague", "osaka", "amsterdam")
"""The forks of Ethereum since the merge, in their order. Maru calls the last one it knows Osaka."""


@dataclass(frozen=True, slots=True)
class Genesis:
    """A genesis file, and a program that reads it."""

    node: Node
    manifest: Manifest
    key: str
    document: Document

    def get(self, *path: str) -> Any:
        """Return the value at a path; None if there is none."""
        return paths.get(self.document.data, path)

    def problem(self, path: ValuePath, message: str, fix: str) -> Problem:
        """Return a problem at the line of a path in the file."""
        line, _ = self.document.position(path)
        return Problem(self.manifest, ("data", self.key), f"{self.key}: {message}", fix, line=line)

    @property
    def forks(self) -> dict[str, int]:
        """Return fork → its time, of a genesis of Besu; without values that are not valid."""
        config = self.get("config")
        times = config.items() if isinstance(config, dict) else ()
        return {
            key.removesuffix("Time"): time
            for key, time in times
            if key.endswith("Time") and isinstance(time, int) and not isinstance(time, bool)
        }


def of_besu(objects: Objects) -> list[Genesis]:
    """Return the genesis files that Besus of an environment read, each once."""
    return [one for one in _files(objects) if one.node.program == BESU]


def of_maru(objects: Objects) -> list[Genesis]:
    """Return the genesis files that Marus of an environment read, each once."""
    return [one for one in _files(objects) if one.node.program == MARU]


@once
def _files(objects: Objects) -> Iterator[Genesis]:
    seen = set[tuple[str, str, str]]()
    for node in objects.programs:
        found = node.text("genesis-file")
        if found is None or (name := (node.program, found[0].label, found[1])) in seen:
            continue
        seen.add(name)
        manifest, key, text = found
        try:
            document = tomlio.from_json(text, f"{manifest.name}/{key}")
        except UserError:  # checks/node_options reports it
            continue
        if isinstance(document.data, dict):
            yield Genesis(node, manifest, key, document)


def number(value: object) -> int | None:
    """Return a number as Besu reads it: hex with 0x, or decimal; None if it is neither."""
    text = str(value)
    try:
        return int(text, 16 if text.lower().startswith("0x") else 10)
    except ValueError:
        return None
