"""Sync windows: the AppProject lets the Application sync, and its windows are about it."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.core import paths
from scripts.kubernetes import sync_windows
from scripts.kubernetes.workloads import mappings
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, spec_of

_DOCS = "https://argo-cd.readthedocs.io/en/stable/user-guide/sync_windows/"


@rule(_DOCS)
def sync_window_blocks_sync(objects: Objects) -> Iterator[Problem]:
    """The sync windows of the AppProject are valid, and let the Application sync at some time.

    Otherwise Argo CD applies no change of the environment, and reports only that a window blocks
    it.
    """
    windows = spec_of(objects.project, "syncWindows")
    for found in sync_windows.blocked(windows, *_place(objects)):
        message = (
            f"sync window {found.index + 1} of {objects.project.label} blocks every sync of"
            f" {objects.application.label}: {found.reason}"
        )
        path = ("spec", "syncWindows", found.index, found.field)
        yield Problem(objects.project, path, message, found.fix)


@rule(_DOCS, outcome=Outcome.HIDDEN)
def sync_window_without_application(objects: Objects) -> Iterator[Problem]:
    """Each sync window of the AppProject is about the Application of the environment.

    Otherwise it has no effect: changes are synced at times when no one wants them.
    """
    name, server, namespace = _place(objects)
    for index, window in mappings(spec_of(objects.project, "syncWindows")):
        if not sync_windows.is_about(window, name, server, namespace):
            message = (
                f"sync window {index + 1} of {objects.project.label} matches no Application of the"
                f" project: {objects.application.label} is synced at any time"
            )
            fix = f"write applications: [{name}] in the window"
            yield Problem(objects.project, ("spec", "syncWindows", index), message, fix)


def _place(objects: Objects) -> tuple[str, str, str]:
    """Return the Application's name, and the cluster and namespace of its destination."""
    to = paths.get(objects.application.object, ["spec", "destination"]) or {}
    return objects.application.name, str(to.get("server", "")), str(to.get("namespace", ""))
