"""What kube-score, checkov and gitleaks find: run for what has changed, kept for the rest.

A result is kept by the digest of all that it depends on: the inputs of an environment with base/,
the chart and this program (as `render` knows them), the files of the repository that gitleaks
reads, the tools with their pins and settings.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from scripts.checks import policy_scanners, secret_scan
from scripts.checks.policy_scanners import FailedCheck
from scripts.checks.secret_scan import Secret
from scripts.core import progress, result_store, toolchain, yamlio
from scripts.core.findings import Finding, UserError
from scripts.environments import environment, layout
from scripts.kubernetes.manifest import Manifest
from scripts.output import render_cache
from scripts.rendering import pipeline

BATCH = 50
"""Environments whose objects are in memory at the same time."""

STORE = "policy"
_SHARED = "_shared"
"""The name of the files that belong to no environment; no environment can have it."""


Rows = list[list[Any]]
"""A result as it is stored: a list of what was found, each with its fields."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed check of an object, without the object itself."""

    check: str
    object: str
    """Kind/name."""
    number: int
    """Of the object, among those of its environment."""
    path: tuple[str | int, ...]
    """To the field; empty if the field is not known."""
    message: str


@dataclass(slots=True)
class Found:
    """What the tools have found."""

    failures: dict[str, list[Failure]] = field(default_factory=dict)
    """Environment → its failed checks, for each environment without invalid inputs."""
    secrets: list[Secret] = field(default_factory=list)
    invalid: list[Finding] = field(default_factory=list)
    """The invalid inputs of the other environments."""


def run(
    root: Path, names: Sequence[str], is_searched: Callable[[str], bool], is_cached: bool
) -> Found:
    """Return what the tools find in the named environments, and in the files of the repository.

    is_searched: whether a file is searched for secrets. is_cached: whether kept results are used.
    Raises UsageError if a tool does not work.
    """
    toolchain.build(["kube-score", secret_scan.TOOL])
    files = dict[str, list[str]]()
    for path in filter(is_searched, secret_scan.names(root)):
        files.setdefault(layout.environment_of(path) or _SHARED, []).append(path)
    keys = _keys(root, names, files)
    kept = {
        entry: result
        for entry, key in keys.items()
        if is_cached and (result := result_store.read(root, STORE, entry, key)) is not None
    }
    found = Found()
    made = _Made(root, names, files, keys, kept, found)
    stale = [n for n in names if not {f"{n}.checks", f"{n}.secrets"}.issubset(kept)]
    for start in range(0, len(stale), BATCH):
        batch = stale[start : start + BATCH]
        with progress.progress(f"checking the policy of {layout.called(batch)}"):
            made.environments(batch)
    with progress.progress("searching the repository for secrets"):
        made.rest()
    for name in names:
        if (rows := kept.get(f"{name}.checks")) is not None:
            found.failures[name] = [
                Failure(check, label, number, tuple(path), message)
                for check, label, number, path, message in rows
            ]
    for name in sorted({*files, *names}):
        found.secrets += [Secret(*row) for row in kept.get(f"{name}.secrets", ())]
    return found


@dataclass(frozen=True, slots=True)
class _Made:
    """Results in the making: what is found is put into `kept`, and into the store."""

    root: Path
    names: Sequence[str]
    files: Mapping[str, Sequence[str]]
    keys: Mapping[str, str]
    kept: dict[str, Rows]
    found: Found

    def environments(self, names: Sequence[str]) -> None:
        """Check some environments, and search their files and their rendered output."""
        rendered = dict[str, tuple[list[Manifest], str]]()
        for name in names:
            try:
                inputs = environment.load(self.root, name)
                rendered[name] = pipeline.objects(self.root, inputs), inputs.kubernetes_version
            except UserError as error:
                self.found.invalid += error.findings
        unchecked = [name for name in rendered if f"{name}.checks" not in self.kept]
        groups = policy_scanners.scan([rendered[name] for name in unchecked])
        results = {
            f"{name}.checks": _rows(rendered[name][0], failed)
            for name, failed in zip(unchecked, groups, strict=True)
        }
        texts = {
            name: _texts(name, manifests)
            for name, (manifests, _) in rendered.items()
            if f"{name}.secrets" not in self.kept
        }
        self._keep([*rendered], results | self._secrets(texts))

    def rest(self) -> None:
        """Search the files that belong to no environment, or to one that is not rendered."""
        groups = [name for name in sorted(self.files) if f"{name}.secrets" not in self.kept]
        results = self._secrets({name: {} for name in groups})
        # Without its rendered output, the result is not that of an environment's inputs.
        invalid = {f"{name}.secrets" for name in self.names}
        self.kept.update((entry, rows) for entry, rows in results.items() if entry in invalid)
        self._keep([], {entry: rows for entry, rows in results.items() if entry not in invalid})

    def _secrets(self, groups: Mapping[str, Mapping[str, str]]) -> dict[str, Rows]:
        """Return the secrets in the files of each group, and in its rendered output.

        groups: environment → path → text of the output.
        """
        if not groups:
            return {}
        paths = [path for name in groups for path in self.files.get(name, ())]
        rendered = {path: text for texts in groups.values() for path, text in texts.items()}
        found = {f"{name}.secrets": Rows() for name in groups}
        for secret in sorted(secret_scan.scan(self.root, paths, rendered), key=astuple):
            group = layout.environment_of(secret.file) or _SHARED
            found[f"{group}.secrets"].append([*astuple(secret)])
        return found

    def _keep(self, names: Sequence[str], results: Mapping[str, Rows]) -> None:
        """Keep results, also for later runs if no file has changed meanwhile."""
        groups = {entry.rpartition(".")[0] for entry in results}
        files = {name: paths for name, paths in self.files.items() if name in groups}
        now = _keys(self.root, names, files) if results else {}
        for entry, rows in results.items():
            self.kept[entry] = rows
            if now.get(entry) == self.keys[entry]:
                result_store.write(self.root, STORE, entry, now[entry], rows)


def _keys(root: Path, names: Sequence[str], files: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return entry of the store → its key, for environments and for groups of files."""
    inputs, version = render_cache.inputs(root, names), policy_scanners.version()
    checks = {f"{name}.checks": _key([inputs[name], version]) for name in names}
    return checks | {
        f"{name}.secrets": _key([inputs.get(name, ""), *_contents(root, files.get(name, ()))])
        for name in {*files, *names}
    }


def _rows(manifests: Sequence[Manifest], failed: Iterable[FailedCheck]) -> Rows:
    numbers = {id(manifest): number for number, manifest in enumerate(manifests)}
    return [
        [one.check, one.manifest.label, numbers[id(one.manifest)], one.path, one.message]
        for one in failed
    ]


def _texts(name: str, manifests: Iterable[Manifest]) -> dict[str, str]:
    """Return path → text of the rendered objects, for the committed ones may be out of date."""
    folder = layout.manifests_folder(name)
    return {f"{folder}/{one.file_name}": yamlio.dump(one.object) for one in manifests}


def _key(parts: Iterable[str]) -> str:
    return hashlib.sha256(json.dumps([*parts]).encode()).hexdigest()


def _contents(root: Path, paths: Iterable[str]) -> Iterable[str]:
    """Yield what a search of files depends on: the tool, its configuration, and each file."""
    yield toolchain.tool(secret_scan.TOOL).name
    yield secret_scan.CONFIG.read_text("utf-8")
    yield hashlib.sha256(Path(secret_scan.__file__).read_bytes()).hexdigest()
    for path in sorted(paths):
        try:
            state = (root / path).lstat()
            is_file = stat.S_ISREG(state.st_mode)
            raw = (root / path).read_bytes() if is_file else b""
        except OSError:
            is_file, raw = False, b""
        yield f"{path}\0{is_file}\0{hashlib.sha256(raw).hexdigest()}"
