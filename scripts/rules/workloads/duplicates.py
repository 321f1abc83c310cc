"""Duplicates: what is told apart by its name has a name of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from scripts.kubernetes import containers
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.workloads import Workload
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_PODS = "https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/"
_APPLY = "https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy"

_Named = tuple[Where, str]
"""The path of a name, and the name."""


@rule(_PODS + "#PodSpec", outcome=Outcome.REJECTED)
def duplicate_container_name(objects: Objects) -> Iterator[Problem]:
    """The containers of a pod, init containers among them, have different names.

    The API server rejects two containers with one name, and the sync fails or does not begin.
    """
    for workload in objects.makers:
        named = (((*one.path, "name"), one.name) for one in containers.of(workload))
        yield from _duplicates(workload, named, f"{workload.manifest.label} has two containers")


@rule(_PODS + "#PodSpec", outcome=Outcome.REJECTED)
def duplicate_volume_name(objects: Objects) -> Iterator[Problem]:
    """The volumes of a pod have different names.

    The API server rejects two volumes with one name, and the sync fails or does not begin.
    """
    for workload in objects.makers:
        named = (((*path, "name"), str(one.get("name"))) for path, one in workload.volumes())
        yield from _duplicates(workload, named, f"{workload.manifest.label} has two volumes")


@rule(_PODS + "#Ports", outcome=Outcome.REJECTED)
def duplicate_port_name(objects: Objects) -> Iterator[Problem]:
    """The ports of a container have different names.

    The API server rejects two ports with one name, and the sync fails or does not begin.
    """
    for container in (one for workload in objects.makers for one in containers.of(workload)):
        named = (((*port.path, "name"), port.name) for port in container.ports() if port.name)
        what = f"the container {container.name} of {container.workload.manifest.label}"
        yield from _duplicates(container.workload, named, f"{what} has two ports")


@rule(_APPLY, outcome=Outcome.REJECTED)
def duplicate_environment_variable(objects: Objects) -> Iterator[Problem]:
    """The variables in a container's env have different names.

    Argo CD uses server-side apply, which rejects duplicate entries of a list with keys. Applied in
    any other way, the last of the two is in effect, and hides the first.
    """
    for container in (one for workload in objects.makers for one in containers.of(workload)):
        named = (
            ((*path, "name"), str(variable["name"]))
            for path, variable in container.variables()
            if "name" in variable
        )
        what = f"the container {container.name} of {container.workload.manifest.label}"
        yield from _duplicates(container.workload, named, f"{what} has two variables")


def _duplicates(workload: Workload, named: Iterable[_Named], what: str) -> Iterator[Problem]:
    """Yield each name that stands there for the second time."""
    seen = set[str]()
    for path, name in named:
        if name in seen:
            message = f"{what} named {name}: the API server rejects that"
            yield Problem(workload.manifest, path, message, "remove one, or rename it")
        seen.add(name)
