"""Paths in the repository: environments, their rendered manifests and Argo CD's objects."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.core.findings import UsageError

RELEASE = "linea-stack"
"""The release name of all environments, so that objects have the same names everywhere."""

Files = Mapping[str, str]
"""Path relative to the repository, with forward slashes → text."""

MARK = '# Written by "nox -s render" from '
ARGOCD_FOLDERS = ("projects", "applications")
ROOT_FILE = "argocd/root.yaml"
"""The app of apps: rendered for all environments together."""
BASE = "base/environment.yaml"
"""The settings that all environments share."""

_WRITTEN = re.compile(rb"(<{7,} [^\n]*\n)?" + re.escape(MARK.encode()))
"""The beginning of a rendered file, which git may have marked with a merge conflict."""


def header(origin: str) -> str:
    """Return the first line of a rendered file, which names its template and patches."""
    return f"{MARK}{' '.join(origin.split())}; edits are lost.\n"


def is_written(raw: bytes) -> bool:
    """Return whether render wrote a file, and so may replace it."""
    return _WRITTEN.match(raw) is not None


def manifests_folder(name: str) -> str:
    """Return the folder of an environment's manifests, relative to the repository."""
    return f"overlays/{name}/manifests"


def argocd_file(folder: str, name: str) -> str:
    """Return the file of an environment's AppProject or Application, relative to the repository."""
    return f"argocd/{folder}/{name}.yaml"


_OF_ENVIRONMENT = re.compile(
    rf"overlays/([^/]+)(?:/.+)?|argocd/(?:{'|'.join(ARGOCD_FOLDERS)})/([^/]+)\.yaml"
)


def environment_of(path: str) -> str | None:
    """Return the environment that a file belongs to; None for a file that all may use."""
    match = _OF_ENVIRONMENT.fullmatch(path)
    return (match[1] or match[2]) if match else None


def environments(root: Path, wanted: Sequence[str] = ()) -> list[str]:
    """Return the wanted environments, or all: each is a folder in overlays/.

    Raises UsageError for an unknown name.
    """
    known = sorted(p.name for p in (root / "overlays").iterdir() if p.is_dir() and p.name[0] != ".")
    for name in wanted:
        if name not in known:
            import difflib

            from scripts.environments import git_index

            if name in git_index.read(root).environments:
                command = git_index.how_to_get(
                    root, git_index.read(root).within(f"overlays/{name}/")
                )
                raise UsageError(f"git has {name}, but this checkout leaves it out: {command}")
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known) or 'none'}"
            raise UsageError(f"unknown environment {name}: {hint}")
    return sorted(set(wanted)) or known


def called(names: Sequence[str]) -> str:
    """Return the names for a sentence; only their number if there are many."""
    return ", ".join(names) if len(names) <= 6 else f"{len(names)} environments"
