"""Duplicates: names that must be unique within a pod or a container."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from scripts.core.findings import Severity
from scripts.kubernetes import containers
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.workloads import Workload
from scripts.rules.pod_templates import called
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_PODS = "https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/"
_APPLY = "https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy"

_Named = tuple[Where, str]
"""The path of a name, and the name."""


@rule(_PODS + "#PodSpec", outcome=Outcome.REJECTED)
def duplicate_container_name(objects: Objects) -> Iterator[Problem]:
    """The containers of a pod, including its init containers, have unique names.

    Otherwise the API server rejects the object, so the sync fails or does not begin.
    """
    for workload in objects.makers:
        names = (((*c.path, "name"), c.name) for c in containers.of(workload))
        yield from _duplicates(workload, names, workload.manifest.label, "container")


_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:[\w.-]+(?::[0-9]+)?/)?{_PART}(?:/{_PART})*(?::\w[\w.-]{{0,127}})?(?:@[\w+.-]+:\w{{32,}})?"
)


@rule("https://github.com/distribution/reference/blob/v0.6.0/reference.go")
def invalid_image_name(objects: Objects) -> Iterator[Problem]:
    """The image of a container has the form NAME:TAG or NAME:TAG@DIGEST.

    Otherwise the pod starts nothing: its status is InvalidImageName.
    """
    for workload in objects.makers:
        for container in containers.of(workload):
            image = container.data.get("image")
            if isinstance(image, str) and image and not _REFERENCE.fullmatch(image):
                message = f"{called(container)} has the image {image}, which is not a valid name"
                message += ": the pod does not start"
                fix = "write image: NAME:TAG, or NAME:TAG@sha256:DIGEST, with NAME in lower case"
                tag = image.rpartition("/")[2].partition(":")[2]
                name = image.removesuffix(tag).lower()
                if _REFERENCE.fullmatch(f"{name}{tag}"):
                    fix = f"write image: {name}{tag}"
                yield Problem(workload.manifest, (*container.path, "image"), message, fix, image)


@rule("docs/images.md", Severity.WARNING)
def image_versions_differ(objects: Objects) -> Iterator[Problem]:
    """The containers of a pod that use the same image use the same version of it.

    Otherwise one of them was left behind by an update: two versions share volumes and scripts.
    """
    for workload in objects.makers:
        own = [(c, _IMAGE.match(str(c.data.get("image", "")))) for c in containers.of(workload)]
        main = {match[1]: (c, match[2]) for c, match in own if match and not c.is_init}
        for container, match in own:
            if match and match[1] in main and main[match[1]][1] != match[2]:
                other, version = main[match[1]]
                message = (
                    f"{called(container)} uses version {match[2] or 'latest'} of {match[1]}, but"
                    f" the container {other.name} of the same pod uses {version or 'latest'}: one "
                    "of them was left out of an update"
                )
                fix = f"write image: {other.data.get('image')}"
                yield Problem(workload.manifest, (*container.path, "image"), message, fix)


_IMAGE = re.compile(r"([^@]*?)(?::([\w.-]+))?(?:@.*)?$")
"""The name and the tag of an image."""


@rule(_PODS + "#PodSpec", outcome=Outcome.REJECTED)
def duplicate_volume_name(objects: Objects) -> Iterator[Problem]:
    """The volumes of a pod have unique names.

    Otherwise the API server rejects the object, so the sync fails or does not begin.
    """
    for workload in objects.makers:
        names = (((*path, "name"), str(v.get("name"))) for path, v in workload.volumes())
        yield from _duplicates(workload, names, workload.manifest.label, "volume")


@rule(_PODS + "#Ports", outcome=Outcome.REJECTED)
def duplicate_port_name(objects: Objects) -> Iterator[Problem]:
    """The ports of a container have unique names.

    Otherwise the API server rejects the object, so the sync fails or does not begin.
    """
    for container in (c for workload in objects.makers for c in containers.of(workload)):
        names = (((*port.path, "name"), port.name) for port in container.ports() if port.name)
        label = f"{called(container)} of {container.workload.manifest.label}"
        yield from _duplicates(container.workload, names, label, "port")


@rule(_APPLY, outcome=Outcome.REJECTED)
def duplicate_environment_variable(objects: Objects) -> Iterator[Problem]:
    """The environment variables of a container have unique names.

    Otherwise the sync fails: Argo CD uses server-side apply, which rejects duplicate keys in a
    list. If the object is applied client-side, the last value overrides the others.
    """
    for container in (c for workload in objects.makers for c in containers.of(workload)):
        names = (
            ((*path, "name"), str(variable["name"]))
            for path, variable in container.variables()
            if "name" in variable
        )
        label = f"{called(container)} of {container.workload.manifest.label}"
        yield from _duplicates(container.workload, names, label, "environment variable")


def _duplicates(
    workload: Workload, names: Iterable[_Named], owner: str, what: str
) -> Iterator[Problem]:
    """Yield a problem for each name that repeats an earlier one.

    owner: what may have each name once; what: what is named.
    """
    seen = set[str]()
    for path, name in names:
        if name in seen:
            message = (
                f"{owner} has two {what}s named {name}: the API server rejects the object, so the "
                "sync fails"
            )
            fix = f"remove one of the two {what}s; if both are needed, rename one"
            yield Problem(workload.manifest, path, message, fix)
        seen.add(name)
