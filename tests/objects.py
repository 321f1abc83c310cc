"""Looking at rendered objects: their pods, containers and what they refer to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from scripts.environments import environment, layout
from scripts.environments.environment import Environment
from scripts.kubernetes.manifest import Manifest
from scripts.rendering import helm, pipeline
from scripts.rules.snapshot import Objects
from tests.conftest import EXAMPLE, ROOT

CHART = ROOT / "chart"
FULL = CHART / "ci" / "full-values.yaml"
EXAMPLES = [
    path for path in sorted(CHART.glob("ci/*-values.yaml")) if path.name != "full-values.yaml"
]
ENVIRONMENTS = layout.environments(EXAMPLE)
SETS = [None, *EXAMPLES, FULL]
"""Files of values that the chart is tried with; None for its defaults."""


def of_values(values: Path | None, version: str = "1.34") -> list[Manifest]:
    """Return the chart's objects for a file of values."""
    return of(yaml.safe_load(values.read_text("utf-8")) or {} if values else {}, version)


def of(values: dict[str, Any], version: str = "1.34") -> list[Manifest]:
    """Return the chart's objects for values."""
    return helm.template(CHART, ROOT, values, "linea", version)


@lru_cache
def of_environment(name: str) -> tuple[Environment, list[Manifest]]:
    """Return an environment of the example, and its objects as render writes them."""
    found = environment.load(EXAMPLE, name)
    return found, pipeline.objects(EXAMPLE, found)


def seen(manifests: Sequence[Manifest], *zones: str) -> Objects:
    """Return objects as rules see them, of no environment in particular."""
    nothing = Manifest({}, "")
    return Objects("test", "linea", "1.34", zones, False, tuple(manifests), nothing, nothing)


def one(manifests: Iterable[Manifest], kind: str, name: str) -> dict[str, Any]:
    """Return the object of that kind and name; there is exactly one."""
    found = [m.object for m in manifests if (m.kind, m.name) == (kind, name)]
    assert len(found) == 1, f"{kind}/{name} is there {len(found)} times"
    return found[0]


def of_kind(manifests: Iterable[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest.kind == kind]


def pod(manifest: Manifest) -> dict[str, Any] | None:
    """Return the pod template (or the pod) of an object, where it has one."""
    spec = manifest.object.get("spec", {})
    if manifest.kind == "Pod":
        return manifest.object
    if manifest.kind == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    found = spec.get("template") if manifest.kind != "ExternalSecret" else None
    return dict(found) if found else None


def pods(manifests: Iterable[Manifest]) -> Iterator[tuple[Manifest, dict[str, Any]]]:
    """Yield the objects that make pods, with the template of each."""
    for manifest in manifests:
        template = pod(manifest)
        if template:
            yield manifest, template


def containers(template: dict[str, Any]) -> list[dict[str, Any]]:
    spec = template["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


Fields = tuple[str | int, ...]


def walk(data: Any, path: Fields = ()) -> Iterator[tuple[Fields, Any]]:
    """Yield all parts of data with their paths, the whole first."""
    yield path, data
    if isinstance(data, dict):
        for key, value in data.items():
            yield from walk(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from walk(value, (*path, index))


def references(template: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (kind, name) of all that a pod needs before it can start."""
    spec = template["spec"]
    if "serviceAccountName" in spec:
        yield "ServiceAccount", spec["serviceAccountName"]
    for _, part in walk(spec):
        if not isinstance(part, dict):
            continue
        for key, kind, inner in (
            ("configMap", "ConfigMap", "name"),
            ("secret", "Secret", "secretName"),
            ("configMapKeyRef", "ConfigMap", "name"),
            ("secretKeyRef", "Secret", "name"),
            ("configMapRef", "ConfigMap", "name"),
            ("secretRef", "Secret", "name"),
            ("persistentVolumeClaim", "PersistentVolumeClaim", "claimName"),
        ):
            if isinstance(part.get(key), dict) and inner in part[key]:
                yield kind, part[key][inner]
