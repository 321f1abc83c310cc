"""Sync windows and signatures: the AppProject lets the Application sync, and checks its commits."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.core import advice, paths
from scripts.core.findings import Severity
from scripts.kubernetes import sync_windows
from scripts.kubernetes.workloads import mappings
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, nearest, spec_of

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


@rule(_DOCS, outcome=Outcome.HIDDEN)
def unknown_sync_window_time_zone(objects: Objects) -> Iterator[Problem]:
    """The time zone of each sync window exists.

    Otherwise Argo CD uses UTC, and the window is active some hours too early or too late. On a
    machine without the time zone database, this is not checked.
    """
    known = sync_windows.time_zones()
    for index, window in mappings(spec_of(objects.project, "syncWindows")):
        zone = window.get("timeZone")
        if isinstance(zone, str) and zone and known and zone not in known:
            message = (
                f"timeZone {zone} of sync window {index + 1} of {objects.project.label} does not"
                " exist: Argo CD uses UTC instead"
            )
            fix = nearest(zone, known, advice.write("timeZone", "UTC"), zone)
            yield Problem(objects.project, ("spec", "syncWindows", index, "timeZone"), message, fix)


_SIGNATURES = "https://argo-cd.readthedocs.io/en/stable/user-guide/source-integrity-git-gpg/"


@rule(_SIGNATURES, outcome=Outcome.HIDDEN)
def ignored_signature_keys(objects: Objects) -> Iterator[Problem]:
    """The AppProject has either signatureKeys or sourceIntegrity.

    If it has both, Argo CD ignores signatureKeys.
    """
    if spec_of(objects.project, "signatureKeys") and spec_of(objects.project, "sourceIntegrity"):
        message = f"{objects.project.label} has sourceIntegrity, so Argo CD ignores signatureKeys"
        fix = advice.remove("signatureKeys")
        yield Problem(objects.project, ("spec", "signatureKeys"), message, fix)


@rule(_SIGNATURES, outcome=Outcome.RISK, severity=Severity.WARNING)
def commit_signatures_not_checked(objects: Objects) -> Iterator[Problem]:
    """SourceIntegrity of the AppProject does not have the mode none.

    Otherwise keys are listed, but Argo CD syncs every commit, signed or not.
    """
    for index, policy in mappings(spec_of(objects.project, "sourceIntegrity", "git", "policies")):
        if paths.get(policy, ["gpg", "mode"]) == "none":
            message = (
                f"sourceIntegrity of {objects.project.label} has the mode none: Argo CD checks no"
                " signature"
            )
            path = ("spec", "sourceIntegrity", "git", "policies", index, "gpg", "mode")
            yield Problem(objects.project, path, message, advice.write("mode", "head"))


def _place(objects: Objects) -> tuple[str, str, str]:
    """Return the Application's name, and the cluster and namespace of its destination."""
    to = ("spec", "destination")
    server, namespace = (
        str(paths.get(objects.application.object, (*to, field)) or "")
        for field in ("server", "namespace")
    )
    return objects.application.name, server, namespace
