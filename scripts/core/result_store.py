"""Results that are kept in .render/, so that what has not changed is not checked again.

An entry is a file with the key of all that its result depends on, and a digest of itself. One that
is torn, damaged, or from another version does not match, and has no effect. It appears with one
rename, so that two runs at once never see half of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def read(root: Path, kind: str, name: str, key: str) -> Any:
    """Return the result of a kind that is kept under a name for exactly this key; None without."""
    try:
        # Not Path, which takes longer: there are many entries.
        with open(_path(root, kind, name), encoding="utf-8") as file:  # noqa: PTH123
            digest, of, text = file.read().split("\n", 2)
        return json.loads(text) if of == key and digest == _digest(of, text) else None
    except (OSError, ValueError):
        return None


def write(root: Path, kind: str, name: str, key: str, result: Any) -> None:
    """Keep a result; if that fails, the next run only takes longer."""
    text = json.dumps(result)
    path = Path(_path(root, kind, name))
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=path.parent) as folder:
            new = Path(folder) / "entry"
            new.write_text(f"{_digest(key, text)}\n{key}\n{text}", "utf-8")
            os.replace(new, path)


def keep_only(root: Path, kind: str, names: Iterable[str]) -> None:
    """Delete the results of other names, as of environments that are gone."""
    wanted = {f"{name}.json" for name in names}
    with contextlib.suppress(OSError):
        for path in (root / ".render" / kind).iterdir():
            if path.name not in wanted and path.suffix == ".json":
                path.unlink(missing_ok=True)


def _path(root: Path, kind: str, name: str) -> str:
    return f"{root}/.render/{kind}/{name}.json"


def _digest(key: str, text: str) -> str:
    return hashlib.sha256(f"{key}\0{text}".encode()).hexdigest()
