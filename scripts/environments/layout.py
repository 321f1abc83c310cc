"""Which file stands where: environments, their rendered manifests and Argo CD's objects."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.core.findings import UsageError

RELEASE = "linea-stack"
"""One release name everywhere, so that objects are called the same in every environment."""

Files = Mapping[str, str]
"""Path relative to the repository, with forward slashes → text."""

MARK = '# Written by "nox -s render" from '
ARGOCD_FOLDERS = ("projects", "applications")

_WRITTEN = re.compile(rb"(<{7,} [^\n]*\n)?" + re.escape(MARK.encode()))
"""How a written file begins, also one with the marks of a merge conflict in its first line."""


def header(origin: str) -> str:
    """Return the first line of a written file: what wrote it, and from what."""
    return f"{MARK}{' '.join(origin.split())}; edits are lost.\n"


def is_written(raw: bytes) -> bool:
    """Return whether render wrote a file: it may then be replaced, also where git merged it."""
    return _WRITTEN.match(raw) is not None


def manifests_folder(name: str) -> str:
    """Return where an environment's manifests stand, relative to the repository."""
    return f"overlays/{name}/manifests"


def argocd_file(folder: str, name: str) -> str:
    """Return an environment's AppProject or Application, relative to the repository."""
    return f"argocd/{folder}/{name}.yaml"


def environments(root: Path, wanted: Sequence[str] = ()) -> list[str]:
    """Return the wanted environments, or all: an environment is a folder of overlays/.

    Raises UsageError for a name that is none.
    """
    known = sorted(p.name for p in (root / "overlays").iterdir() if p.is_dir() and p.name[0] != ".")
    for name in wanted:
        if name not in known:
            import difflib

            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known) or 'none'}"
            raise UsageError(f"no environment is called {name}: {hint}")
    return sorted(set(wanted)) or known


def called(names: Sequence[str]) -> str:
    """Return the environments as a sentence names them."""
    return ", ".join(names) if len(names) <= 6 else f"{len(names)} environments"
