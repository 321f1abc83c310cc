"""A Kubernetes object and where it came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from scripts.core import paths

Identity = tuple[str, str, str, str]
"""API group, kind, namespace, name: what makes two manifests the same object to a cluster."""

Where = tuple[str | int, ...]
"""The path of a field in an object."""

PODS: dict[str, tuple[str, ...]] = {
    "cronjob": ("spec", "jobTemplate", "spec", "template", "spec"),
    "daemonset": ("spec", "template", "spec"),
    "deployment": ("spec", "template", "spec"),
    "job": ("spec", "template", "spec"),
    "pod": ("spec",),
    "replicaset": ("spec", "template", "spec"),
    "statefulset": ("spec", "template", "spec"),
}
"""Kind in lower case, as a manifest's file name begins → where its pod's spec stands."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object. Its dict belongs to it alone: a step that changes it makes a new Manifest."""

    object: dict[str, Any]
    template: str
    """The file that made it, relative to the repository."""
    patches: tuple[str, ...] = ()
    """The patch files that changed it, in their order, relative to the repository."""

    def get(self, *path: str | int) -> Any:
        """Return a field of the object; None if there is none."""
        return paths.get(self.object, path)

    @property
    def api_version(self) -> str:
        """Return apiVersion, or nothing where the object has none."""
        return str(self.object.get("apiVersion", ""))

    @property
    def group(self) -> str:
        """Return the API group; the core group is the empty string."""
        return self.api_version.rpartition("/")[0]

    @property
    def is_custom(self) -> bool:
        """Return whether it is a custom resource, of which the API server knows a schema only."""
        return "." in self.group and not self.group.endswith(".k8s.io")

    @property
    def kind(self) -> str:
        """Return kind, or nothing where the object has none."""
        return str(self.object.get("kind", ""))

    @property
    def metadata(self) -> dict[str, Any]:
        """Return metadata, empty where the object has none."""
        found = self.object.get("metadata")
        return found if isinstance(found, dict) else {}

    @property
    def name(self) -> str:
        """Return metadata.name."""
        return str(self.metadata.get("name", ""))

    @property
    def namespace(self) -> str:
        """Return metadata.namespace, or nothing if it isn't set."""
        return str(self.metadata.get("namespace", ""))

    @property
    def annotations(self) -> dict[str, Any]:
        """Return metadata.annotations, empty where the object has none."""
        found = self.metadata.get("annotations")
        return found if isinstance(found, dict) else {}

    @property
    def labels(self) -> dict[str, Any]:
        """Return metadata.labels, empty where the object has none."""
        found = self.metadata.get("labels")
        return found if isinstance(found, dict) else {}

    @property
    def component(self) -> str:
        """Return the label app.kubernetes.io/component."""
        return str(self.labels.get("app.kubernetes.io/component", ""))

    @property
    def identity(self) -> Identity:
        """Return what makes this object the same to a cluster."""
        return self.group, self.kind, self.namespace, self.name

    @property
    def label(self) -> str:
        """Return Kind/name, as people call the object."""
        return f"{self.kind}/{self.name}"

    @property
    def file_name(self) -> str:
        """Return the name of its file: safe on every file system, unique by kind and name."""
        return f"{self.kind}-{self.name}.yaml".lower().replace(":", "_")

    @property
    def origin(self) -> str:
        """Return the inputs that it was written from, for the first line of its file."""
        return " and ".join((self.template, *self.patches))


def config_maps(data: dict[str, Any]) -> set[str]:
    """Return the names of the ConfigMaps that an object, or a part of it, refers to."""
    return {
        str(value["name"])
        for key, value in _entries(data)
        if key in ("configMap", "configMapKeyRef", "configMapRef")
        and isinstance(value, dict)
        and "name" in value
    }


def secrets(data: dict[str, Any]) -> set[str]:
    """Return the names of the Secrets that an object, or a part of it, refers to."""
    found = set[str]()
    for key, value in _entries(data):
        if key == "imagePullSecrets" and isinstance(value, list):
            found |= {str(each["name"]) for each in value if isinstance(each, dict)}
        elif key in ("secretKeyRef", "secretRef") and isinstance(value, dict):
            found.add(str(value.get("name")))
        elif key == "secretName" and isinstance(value, str):
            found.add(value)
    return found


def _entries(data: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the keys of all mappings in an object, or in a part of it, with their values."""
    left: list[Any] = [data]
    while left:
        part = left.pop()
        if isinstance(part, list):
            left += [value for value in part if isinstance(value, (dict, list))]
            continue
        for key, value in part.items():
            yield key, value
            if isinstance(value, (dict, list)):
                left.append(value)
