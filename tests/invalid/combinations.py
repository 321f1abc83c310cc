"""Random combinations of mistakes in the inputs of an environment, as several people make them.

They are drawn from three catalogues: single edits of prod, the files of tests/invalid, and the
mutants of rendered objects, each as a patch. A number always gives the same combination.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml

from scripts.core import yaml_edits
from scripts.core.edits import Action, CannotApplyError, Edit
from tests.checks import mutants
from tests.conftest import Repository
from tests.invalid.test_invalid import load, names

MOST = 5
"""Mistakes in one combination."""

_INPUT = re.compile(
    r"overlays/(?:dev|staging|prod)/(?:environment|values|patches/[^/]+)\.yaml"
    r"|base/(?:environment|values|profiles/[^/]+)\.yaml"
)
_MUTANTS = 1
"""Of each operator of the mutants."""


@dataclass(frozen=True, slots=True)
class Combination:
    """Mistakes in the inputs of one environment."""

    environment: str
    mistakes: tuple[str, ...]
    """Their names."""
    make: tuple[Callable[[Repository], None], ...]


def of(number: int, edits: list[Edit]) -> Combination:
    """Return the combination with a number; edits: single ones of prod."""
    chosen = random.Random(number)
    environment = chosen.choice(["dev", "prod"])
    found = list[tuple[str, Callable[[Repository], None]]]()
    for _ in range(chosen.randint(1, MOST)):
        catalogue = chosen.choice(["edit", "file", "file", "mutant"])
        if catalogue == "edit" and environment == "prod":
            edit = chosen.choice(edits)
            found.append((f"{edit.file}: {edit.path} {edit.value}", _edited([edit])))
        elif catalogue == "mutant":
            name, text = chosen.choice(_patches(environment))
            file = f"overlays/{environment}/patches/mutant-{len(found)}.yaml"
            found.append((name, _written(file, text)))
        else:
            name, files = chosen.choice(_files())
            is_whole = environment == "dev" and chosen.random() < 0.5
            found.append((name, _placed(files, environment, is_whole=is_whole)))
    return Combination(environment, *(tuple(part) for part in zip(*found, strict=True)))


@lru_cache
def _files() -> list[tuple[str, dict[str, str]]]:
    """Return the mistakes of tests/invalid that are files of inputs only."""
    found = []
    for name in names():
        mistake = load(name)
        is_checked = mistake.arguments[0] in ("validate", "render", "check")
        inputs = bool(mistake.files) and all(_INPUT.fullmatch(file) for file in mistake.files)
        is_parsed = not name.startswith("yaml-syntax/")  # of those, nothing else is found
        if (
            inputs
            and is_parsed
            and is_checked
            and not mistake.preparations
            and mistake.encoding == "utf-8"
        ):
            found.append((name, mistake.files))
    return found


@lru_cache
def _patches(environment: str) -> list[tuple[str, str]]:
    """Return mutants of rendered objects as patches."""
    found = []
    for mutant in mutants.mutants(environment, _MUTANTS):
        new = next(iter(mutant.changed), None)
        labels = {manifest.label: manifest for manifest in _unbroken(environment)}
        if new is None or new.kind in ("AppProject", "Application") or new.label not in labels:
            continue
        operations = list(_operations(labels[new.label].object, new.object, ""))
        if operations:
            lines = "".join(f"  - {json.dumps(operation)}\n" for operation in operations)
            target = json.dumps({"kind": new.kind, "name": new.name})
            text = f"# {mutant.operator.name}\ntarget: {target}\npatch:\n  # one by one\n{lines}"
            found.append((mutant.name, text))
    return found


def _unbroken(environment: str) -> Any:
    from tests.rules import examples

    return examples.objects(environment).manifests


def _operations(old: Any, new: Any, pointer: str) -> Iterator[dict[str, Any]]:
    """Yield the operations of a patch that make the new value from the old one."""
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            below = f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}"
            if key not in new:
                yield {"op": "test", "path": below, "value": old[key]}
                yield {"op": "remove", "path": below}
            elif key not in old:
                yield {"op": "add", "path": below, "value": new[key]}
            else:
                yield from _operations(old[key], new[key], below)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _operations(one, other, f"{pointer}/{index}")
    else:
        yield {"op": "test", "path": pointer, "value": old}
        yield {"op": "replace", "path": pointer, "value": new}


def _written(file: str, text: str) -> Callable[[Repository], None]:
    return lambda repository: repository.write(file, text)


def _edited(edits: list[Edit]) -> Callable[[Repository], None]:
    def make(repository: Repository) -> None:
        """Make the edits that still fit."""
        for edit in edits:
            path = repository / edit.file
            text = path.read_text("utf-8") if path.exists() else ""
            try:
                repository.write(edit.file, yaml_edits.applied(text, [edit]))
            except CannotApplyError:
                continue

    return make


def _placed(
    files: dict[str, str], environment: str, *, is_whole: bool
) -> Callable[[Repository], None]:
    """Return how to make the mistake of files: instead of the good ones, or within them."""

    def make(repository: Repository) -> None:
        for name, text in files.items():
            file = re.sub("^overlays/[^/]+/", f"overlays/{environment}/", name)
            if is_whole or "/patches/" in file or not (repository / file).exists():
                repository.write(file, text)
                continue
            try:
                data = yaml.safe_load(text)
            except yaml.YAMLError:
                continue
            leaves = list(_leaves(data, ())) if isinstance(data, dict) else []
            skipped = [("name",), ("namespace",)]  # of another environment
            edits = [
                Edit(file, Action.WRITE, path, value)
                for path, value in leaves
                if path not in skipped and isinstance(value, str | int | float | list | None)
            ]
            _edited(edits)(repository)

    return make


def _leaves(data: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield the values that are no mappings, with their paths."""
    if isinstance(data, dict) and data:
        for key, value in data.items():
            yield from _leaves(value, (*path, key))
    else:
        yield path, data
