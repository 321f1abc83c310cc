"""What the last render wrote from what: so that a render with nothing changed does nothing.

Only `render` believes it; `validate` and `render --check` always render. An entry holds digests of
contents, so it can be old, or from another branch, and is then of no use, never wrong.
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
from scripts.output import committed

_FILE = ".render/cache.json"

Digests = Mapping[str, Mapping[str, str]]
"""Environment → `inputs` and `output`, the SHA-256 of each."""


def read(root: Path) -> Digests:
    """Return the digests of the last render, or nothing where they can't be read."""
    try:
        found = json.loads((root / _FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write(root: Path, digests: Digests) -> None:
    """Keep the digests; a disk that refuses costs time at the next render, nothing else."""
    with contextlib.suppress(OSError):
        new = root / f"{_FILE}.new"
        new.write_text(json.dumps(digests), "utf-8")
        os.replace(new, root / _FILE)


def inputs(root: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the digest of all that each environment's output depends on."""
    shared = committed.digest(_shared(root))
    found = {}
    for name in names:
        folder = root / "overlays" / name
        # All that is there but the output, since a file that nothing reads is a mistake, too.
        own = [path for path in folder.glob("*") if path.name != "manifests"]
        own += folder.glob("patches/*")
        found[name] = shared + committed.digest(_contents(own, root))
    return found


def output(root: Path, name: str) -> str:
    """Return the digest of an environment's output, or nothing where it is not render's alone."""
    try:
        return committed.digest(committed.read(root, name))
    except UserError:
        return ""


def _shared(root: Path) -> dict[str, bytes]:
    found = {"python": sys.version.encode()}
    for folder, top in ((root / "chart", root), (root / "base", root), (PROGRAM, PROGRAM)):
        # What Python compiles comes at any time, under names that last for a moment.
        paths = (path for path in folder.rglob("*") if "__pycache__" not in path.parts)
        found |= _contents(paths, top)
    return found | _contents([root / "tools/python/pipeline.txt"], root)


def _contents(paths: Iterable[Path], root: Path) -> dict[str, bytes]:
    """Return what the paths hold; what can't be read is never twice the same."""
    found = {}
    for path in paths:
        link, raw = str(path.readlink()) if path.is_symlink() else "", b""
        if link or not path.is_dir():
            try:
                raw = safe_files.read(path, root)
            except UserError:
                raw = os.urandom(16)
        found[f"{path}\0{link}"] = raw
    return found
