"""Cache of digests, so that a render without changes is a no-op.

Only `render` uses it: `check` always renders, and `validate` keeps its own results (records.py). An
entry has digests of the inputs and of the output: if it is stale, or from another branch, it does
not match, and has no effect.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from scripts.core import file_facts, safe_files
from scripts.core.findings import UserError
from scripts.core.repository import PROGRAM
from scripts.environments import layout, releases
from scripts.output import committed

_FILE = ".render/cache.json"

KNOWN = ("base/", "chart/", "scripts/", "tools/python/pipeline.txt")
"""What `inputs` has of the files that all environments share."""

Digests = Mapping[str, Mapping[str, str]]
"""Environment, or argocd/root.yaml, → `inputs` and `output`, the SHA-256 of each."""


def read(root: Path) -> Digests:
    """Return the digests of the last render; empty if they can't be read."""
    try:
        digests = json.loads((root / _FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return digests if isinstance(digests, dict) else {}


def write(root: Path, digests: Digests) -> None:
    """Store the digests; if that fails, the next render only takes longer."""
    with contextlib.suppress(OSError):
        new = root / f"{_FILE}.new"
        new.write_text(json.dumps(digests), "utf-8")
        os.replace(new, root / _FILE)


def inputs(root: Path, names: Iterable[str]) -> dict[str, str]:
    """Return environment, or argocd/root.yaml, → the digest of all its inputs."""
    shared = _shared(root)
    digests = {layout.ROOT_FILE: shared}
    for name in names:
        # All files but the output, as an unused file is an error.
        folder = root / "overlays" / name
        own = [path for path in _listed(folder) if not path.endswith("/manifests")]
        folders = [str(folder), f"{folder}/patches", f"{folder}/objects"]
        own += [path for above in folders[1:] for path in _listed(Path(above))]
        digest = file_facts.learn(root, f"inputs {name}", folders + own, partial(_of, root, own))
        digests[name] = shared + digest + releases.digest(root, release(root, name))
    return digests


def _listed(folder: Path) -> list[str]:
    with contextlib.suppress(OSError):
        # Not Path.glob, which takes longer: there are many folders.
        return [f"{folder}/{name}" for name in os.listdir(folder)]  # noqa: PTH208
    return []


def _of(root: Path, paths: Iterable[str]) -> str:
    return committed.digest(_contents(map(Path, paths), root))


def release(root: Path, name: str) -> str:
    """Return the release that an environment names; empty for the working tree."""
    files = [root / "overlays" / name / "environment.yaml", root / layout.BASE]
    return file_facts.learn(root, f"release {name}", files, partial(releases.written, root, name))


def output(root: Path, name: str) -> str:
    """Return the digest of an environment's output; empty if it has files of others."""
    files = _output_files(root, name)
    return file_facts.learn(root, f"output {name}", files, partial(_output, root, name))


def found(root: Path, name: str) -> str:
    """Return the digest of all files where an environment's output belongs."""
    folder, *files = _output_files(root, name)
    there = [folder, *(path for path in files if os.path.lexists(path))]
    return file_facts.learn(root, f"found {name}", [folder, *files], partial(_of, root, there))


def _output_files(root: Path, name: str) -> list[str]:
    folder = root / layout.manifests_folder(name)
    argocd = [str(root / layout.argocd_file(kind, name)) for kind in layout.ARGOCD_FOLDERS]
    return [str(folder), *_listed(folder), *argocd]


def _output(root: Path, name: str) -> str:
    try:
        return committed.digest(committed.read(root, name))
    except UserError:
        return ""


def root_output(root: Path) -> str:
    """Return the digest of argocd/root.yaml; empty if it is missing, or if people wrote it."""
    try:
        raw = committed.read_root(root)
    except UserError:
        return ""
    return committed.digest({layout.ROOT_FILE: raw}) if raw is not None else ""


def digest(root: Path, folder: Path, name: str) -> str:
    """Return the digest of all files in a folder; name: what it is called in digests."""
    paths = [*file_facts.tree(folder)]

    def read() -> str:
        return committed.digest(_contents(paths[1:], folder))

    return name + file_facts.learn(root, f"folder {name}", paths, read)


def _shared(root: Path) -> str:
    """Return the digest of what all environments share: Python, the chart, base/, this program."""
    parts = [sys.version, digest(root, PROGRAM, "program")]
    parts += [digest(root, root / folder, folder) for folder in ("chart", "base")]
    packages = _contents([root / "tools/python/pipeline.txt"], root)
    return hashlib.sha256("\0".join([*parts, committed.digest(packages)]).encode()).hexdigest()


def _contents(paths: Iterable[Path], root: Path) -> dict[str, bytes]:
    """Return path → contents; random bytes for a file that can't be read, so that it is new."""
    contents = {}
    for path in paths:
        link, raw = str(path.readlink()) if path.is_symlink() else "", b""
        if link or not path.is_dir():
            try:
                raw = safe_files.read(path, root)
            except UserError:
                raw = os.urandom(16)
        contents[f"{path.relative_to(root).as_posix()}\0{link}"] = raw
    return contents
