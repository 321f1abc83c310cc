"""What differs between a live cluster and what is committed, as plain data for every format."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from scripts.impact.report import FieldChange

VERSION = 1


@dataclass(frozen=True, slots=True)
class ObjectDrift:
    """An object that differs."""

    name: str
    """Kind/name."""
    what: str
    """changed, missing (not on the cluster), extra (Argo CD tracks it, git no longer has it),
    foreign (neither git nor Argo CD knows it), or invalid (the API server rejects git's version).
    """
    file: str
    """The committed file; empty for an extra or foreign object."""
    message: str
    """What it means, in one sentence; empty if the fields say it."""
    fields: tuple[FieldChange, ...] = ()
    """old: in git; new: on the cluster. No value of a Secret."""


@dataclass(frozen=True, slots=True)
class SyncState:
    """What Argo CD reports about the environment's Application."""

    sync: str
    """Synced, OutOfSync or Unknown."""
    health: str
    """Healthy, Progressing, Degraded, Suspended, Missing or Unknown."""
    revision: str
    """The commit that Argo CD has compared; empty if there is none."""
    phase: str
    """Of the last sync: Succeeded, Failed, Error, Running or Terminating; empty if there is none.
    """
    message: str
    """Of the last sync."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A comparison of an environment with a cluster."""

    environment: str
    context: str
    server: str
    kubernetes_version: str
    """Of the API server, like 1.34."""
    state: SyncState | None
    """None if the cluster has no Application of the environment, or it may not be read."""
    misfits: tuple[str, ...]
    """Why context and environment do not fit."""
    objects: tuple[ObjectDrift, ...]
    compared: int
    """Number of committed objects that were compared."""
    notes: tuple[str, ...]
    """What was not compared, or not exactly, and why."""

    @property
    def is_none(self) -> bool:
        """Return whether the cluster has what git says."""
        return not self.objects and not self.misfits


def document(drift: Drift) -> dict[str, Any]:
    """Return the comparison as JSON."""
    return {"version": VERSION, "drift": not drift.is_none, **asdict(drift)}
