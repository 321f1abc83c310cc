"""Read what is committed for an environment: its objects, its AppProject and its Application."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.core import paths
from scripts.core.findings import UsageError, UserError
from scripts.environments import environment, layout, provided
from scripts.environments.environment import Environment
from scripts.environments.provided import Given
from scripts.kubernetes.manifest import Identity, Manifest
from scripts.output import committed, git_revision


@dataclass(frozen=True, slots=True)
class Wanted:
    """What git has of an environment."""

    environment: Environment
    given: Given
    manifests: tuple[Manifest, ...]
    project: Manifest
    application: Manifest
    files: Mapping[Identity, str]
    """Object → its file."""

    @property
    def namespaces(self) -> list[str]:
        """Return the namespaces of its objects."""
        own = self.environment.namespace
        return sorted({own, *(m.namespace for m in self.manifests if m.namespace)})


def read(root: Path, name: str) -> Wanted:
    """Return what is committed; raises UsageError if that is nothing, or is not valid."""
    try:
        loaded = environment.load(root, name)
        output = committed.read(root, name)
    except UserError as error:
        finding = error.findings[0]
        place = f"{finding.file}:{finding.line}" if finding.line else finding.file
        raise UsageError(
            f"the files of {name} are invalid, so nothing was compared: {place}: {finding.message};"
            f" nox -s validate -- {name} shows all"
        ) from None
    files = {}
    for path, raw in output.items():
        if manifest := git_revision.manifest_of(raw.decode("utf-8", "replace"), path):
            files[path] = manifest
    argocd = [files.pop(layout.argocd_file(kind, name), None) for kind in layout.ARGOCD_FOLDERS]
    if not all(argocd) or not files:
        raise UsageError(f"{name} is not rendered: run nox -s render -- {name}")
    places = {manifest.identity: path for path, manifest in files.items()}
    project, application = (each or Manifest({}, "") for each in argocd)
    for manifest, kind in ((project, "projects"), (application, "applications")):
        places[manifest.identity] = layout.argocd_file(kind, name)
    given = provided.given(loaded)
    return Wanted(loaded, given, tuple(files.values()), project, application, places)


def chain_id(genesis: Any) -> int | None:
    """Return the chain id in the text of Besu's genesis; None without one."""
    try:
        found = paths.get(json.loads(genesis), ["config", "chainId"])
    except (TypeError, ValueError, RecursionError):
        return None
    return found if isinstance(found, int) else None
