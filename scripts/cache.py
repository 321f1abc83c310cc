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

from scripts import tree
from scripts.findings import UserError

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
    shared = tree.digest(_contents(_shared(root)) | {"python": sys.version.encode()})
    found = {}
    for name in names:
        folder = root / "overlays" / name
        # All that is there, since a file that nothing reads is a mistake, too.
        own = [*folder.glob("*"), *folder.glob("patches/*")]
        found[name] = shared + tree.digest(_contents(own))
    return found


def output(root: Path, name: str) -> str:
    """Return the digest of an environment's output, or nothing where it is not render's alone."""
    try:
        return tree.digest(tree.read(root, name))
    except UserError:
        return ""


def _shared(root: Path) -> list[Path]:
    program = Path(__file__).parent
    folders = [root / "chart", root / "base", program]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix != ".pyc"]
    return [path for path in files if path.is_file()] + [root / "tools/python/pipeline.txt"]


def _contents(paths: Iterable[Path]) -> dict[str, bytes]:
    found = {}
    for path in paths:
        found[str(path)] = b""
        with contextlib.suppress(OSError):
            found[str(path)] = path.read_bytes()
    return found
