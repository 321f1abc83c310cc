"""What a HorizontalPodAutoscaler scales."""

from __future__ import annotations

from dataclasses import dataclass

from scripts.core import paths
from scripts.kubernetes.manifest import Manifest, Where

KIND = "HorizontalPodAutoscaler"
TARGET: Where = ("spec", "scaleTargetRef")


@dataclass(frozen=True, slots=True)
class Target:
    """What an autoscaler looks for: the controller ignores the version (horizontal.go)."""

    group: str
    kind: str
    name: str

    @property
    def label(self) -> str:
        """Return Kind/name, as people call the object."""
        return f"{self.kind}/{self.name}"


def target(autoscaler: Manifest) -> Target:
    """Return what an autoscaler scales."""
    found = autoscaler.get(*TARGET)
    version, kind, name = (
        str(paths.get(found, (key,)) or "") for key in ("apiVersion", "kind", "name")
    )
    return Target(version.rpartition("/")[0], kind, name)


def as_target(manifest: Manifest) -> Target:
    """Return an object as an autoscaler looks for it."""
    return Target(manifest.group, manifest.kind, manifest.name)
