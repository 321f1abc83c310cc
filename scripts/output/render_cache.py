"""Cache of digests, so that a render without changes is a no-op.

Only `render` uses it; `validate` and `check` always render. An entry has digests of the inputs and
of the output: if it is stale, or from another branch, it does not match, and has no effect.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from scripts.core import safe_files
from scripts.core.findings import UserError
from scripts.core.repository import PROGRAM
from scripts.environments import layout, releases
from scripts.output import committed

_FILE = ".render/cache.json"

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
    shared = committed.digest(_shared(root))
    digests = {layout.ROOT_FILE: shared}
    for name in names:
        folder = root / "overlays" / name
        # All files but the output, as an unused file is an error.
        own = [path for path in folder.glob("*") if path.name != "manifests"]
        own += [*folder.glob("patches/*"), *folder.glob("objects/*")]
        own_digest = committed.digest(_contents(own, root))
        digests[name] = shared + own_digest + releases.digest(root, name)
    return digests


def output(root: Path, name: str) -> str:
    """Return the digest of an environment's output; empty if it has files of others."""
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


def _shared(root: Path) -> dict[str, bytes]:
    """Return the inputs that all environments share: Python, the chart, base/ and this program."""
    shared = {"python": sys.version.encode()}
    for folder, top in ((root / "chart", root), (root / "base", root), (PROGRAM, PROGRAM)):
        # Python may write compiled files there at any time.
        paths = (path for path in folder.rglob("*") if "__pycache__" not in path.parts)
        shared |= _contents(paths, top)
    return shared | _contents([root / "tools/python/pipeline.txt"], root)


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
        contents[f"{path}\0{link}"] = raw
    return contents
