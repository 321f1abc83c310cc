"""Fixes in the chart's values: the key that sets what an object contains."""

from __future__ import annotations

import yaml

from scripts.core import advice
from scripts.core.edits import Action
from scripts.core.fixes import Change, Fix
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Manifest
from scripts.rules.snapshot import Objects

_COMPONENTS = ("besu", "ethstats", "maru", "sequencer")
"""Components whose container has the component's name, and its settings in the values."""


def is_from_values(manifest: Manifest) -> bool:
    """Return whether only the chart's values decide what a manifest contains."""
    return not manifest.patches and manifest.template.startswith("chart/")


def file(objects: Objects) -> str:
    """Return the file with the values of the environment."""
    return f"overlays/{objects.name}/values.yaml"


def section(container: Container) -> str:
    """Return the key of the settings of a container in the values; empty if they have none."""
    component, name = container.workload.manifest.component, container.name
    if (component, name) == ("besu", "maru"):
        return "besu.follower"
    return component if component == name and name in _COMPONENTS else ""


def field(objects: Objects, container: Container, value: str, own: str) -> Fix:
    """Return how to write a setting of a container: in the values if only they decide it.

    value: key and value below the container's section of the values; own: the same in the object.
    """
    if (key := section(container)) and is_from_values(container.workload.manifest):
        words = f"write {key}.{value} in {file(objects)}"
        ((name, data),) = yaml.safe_load(value).items()
        inner = data.items() if isinstance(data, dict) else [("", data)]
        above = (*key.split("."), *name.split("."))
        changes = [
            Change(Action.WRITE, (*above, each) if each else above, one) for each, one in inner
        ]
        return Fix(words, (), changes)
    return Fix(f"write {own} for the container {container.name}")


def image_key(container: Container) -> str:
    """Return the key with the tag of a container's image; empty if the values have none."""
    # The follower beside Besu has the image of the validators.
    key = section(container).replace("besu.follower", "maru")
    return f"{key}.image.tag" if key else ""


def image(objects: Objects, container: Container, tag: str) -> str:
    """Return how to write another tag of a container's image."""
    name = str(container.get("image") or "").partition("@")[0]
    repository = name[: -len(name.rpartition("/")[2])] + container.image
    if (key := image_key(container)) and is_from_values(container.workload.manifest):
        return advice.write_values(key, tag, f" in {file(objects)}")
    return f"write image: {repository}:{tag} for the container {container.name}"
