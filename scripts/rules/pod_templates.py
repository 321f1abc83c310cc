"""The pods that objects make, whichever kind the objects are of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.core import paths
from scripts.kubernetes.manifest import PODS, Manifest, Where
from scripts.kubernetes.workloads import mappings
from scripts.rules.rule import Problem
from scripts.rules.snapshot import Objects


@dataclass(frozen=True, slots=True)
class Pod:
    """The pods that an object makes, whichever kind it is of."""

    manifest: Manifest
    path: Where
    spec: Mapping[str, Any]

    @property
    def component(self) -> str:
        """Return the component that it is of, or the name of what makes it."""
        return self.manifest.component or self.manifest.name

    def get(self, *path: str | int) -> Any:
        """Return a field of the spec; None where there is none."""
        return paths.get(self.spec, path)

    def problem(self, path: Sequence[str | int], message: str, fix: str) -> Problem:
        """Return what is wrong at a path in the pod's spec."""
        return Problem(self.manifest, (*self.path, *path), message, fix)

    def containers(self) -> Iterator[tuple[Where, dict[str, Any]]]:
        """Yield the containers with their paths in the spec, init containers first."""
        for kind in ("initContainers", "containers"):
            for index, data in mappings(self.spec.get(kind)):
                yield (kind, index), data

    def contexts(self) -> Iterator[tuple[Where, dict[str, Any]]]:
        """Yield the security contexts of the pod and of its containers."""
        for path, holder in (((), self.spec), *self.containers()):
            found = holder.get("securityContext")
            yield (*path, "securityContext"), found if isinstance(found, dict) else {}


def pods(objects: Objects) -> Iterator[Pod]:
    """Yield the pods of all objects that make some."""
    for manifest in objects.manifests:
        path = PODS.get(manifest.kind.lower())
        spec = paths.get(manifest.object, path) if path else None
        if path and isinstance(spec, dict):
            yield Pod(manifest, path, spec)


def called(container: Mapping[str, Any]) -> str:
    """Return what a container is called in messages."""
    return f"the container {container.get('name', 'without a name')}"
