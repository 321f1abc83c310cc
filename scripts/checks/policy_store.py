"""Keep what the tools of `policy` have found, so that an unchanged environment is not read again.

An entry is a file in .render/policy/, with the key of all that its result depends on, and a digest
of itself. One that is torn, damaged, or from another version does not match, and has no effect.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(".render") / "policy"


def read(root: Path, name: str, key: str) -> Any:
    """Return the result that is kept under a name for exactly this key; None if there is none."""
    try:
        entry = json.loads(_path(root, name).read_text("utf-8"))
        text = json.dumps(entry["result"])
        is_valid = entry["key"] == key and entry["digest"] == _digest(key, text)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return entry["result"] if is_valid else None


def write(root: Path, name: str, key: str, result: Any) -> None:
    """Keep a result; if that fails, the next run only takes longer."""
    path = _path(root, name)
    # What is read is what JSON makes of it.
    entry = {"key": key, "digest": _digest(key, json.dumps(result)), "result": result}
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=path.parent) as folder:
            new = Path(folder) / "entry"
            new.write_text(json.dumps(entry), "utf-8")
            os.replace(new, path)


def _path(root: Path, name: str) -> Path:
    return root / FOLDER / f"{name}.json"


def _digest(key: str, text: str) -> str:
    return hashlib.sha256(f"{key}\0{text}".encode()).hexdigest()
