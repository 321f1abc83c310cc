"""Read the objects of an environment from its cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from scripts.core.findings import UsageError
from scripts.core.sentences import joined
from scripts.kubernetes.manifest import Identity, Manifest
from scripts.kubernetes.workloads import mappings
from scripts.live.kubectl import ApiError, Client, Object, Resource, Resources
from scripts.live.wanted import Wanted

_TOGETHER = 8
"""Requests at a time: the API server of a cloud takes some 100 ms for each."""
FORBIDDEN, NOT_FOUND = 403, 404

_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Live:
    """What the cluster has of an environment's kinds."""

    resources: Resources
    objects: Mapping[Identity, Manifest]
    notes: tuple[str, ...] = field(default=())

    def find(self, manifest: Manifest) -> Manifest | None:
        """Return the live object; None if it does not exist."""
        return self.objects.get(manifest.identity)

    def resource(self, manifest: Manifest) -> Resource | None:
        """Return how its kind is served; None if the cluster does not know the kind."""
        return self.resources.get((manifest.group, manifest.kind))


def together(function: Callable[[_T], _R], each: Iterable[_T]) -> list[_R]:
    """Return the results of a function that sends requests."""
    with ThreadPoolExecutor(_TOGETHER) as pool:
        return list(pool.map(function, each))


def read(api: Client, wanted: Wanted) -> Live:
    """Return the live objects of the kinds that git has, and of those that the project allows.

    Raises UsageError if the user may not list a kind that git has.
    """
    needed = {(m.group, m.kind): m.api_version for m in wanted.manifests}
    allowed = {
        (str(entry.get("group", "")), str(entry.get("kind", "")))
        for _, entry in mappings(wanted.project.get("spec", "namespaceResourceWhitelist"))
    }
    resources = _resources(api, needed, allowed - needed.keys())
    lists = [
        (kind, resource, namespace)
        for kind, resource in sorted(resources.items())
        for namespace in (wanted.namespaces if resource.is_namespaced else [""])
    ]
    found = together(lambda each: _list(api, *each), lists)
    forbidden = [each[0] for each, objects in zip(lists, found, strict=True) if objects is None]
    if missing := [kind for kind in forbidden if kind in needed]:
        raise UsageError(_no_permission(resources, missing, wanted.environment.namespace))
    notes = list[str]()
    if forbidden:
        among = _plurals(resources, forbidden)
        notes.append(f"objects that git no longer has were not looked for among {among}")
    objects = {m.identity: m for each in found for m in each or ()}
    return Live(resources, objects, tuple(notes))


def _list(
    api: Client, kind: tuple[str, str], resource: Resource, namespace: str
) -> list[Manifest] | None:
    """Return the objects of a kind; None if the user may not list them."""
    try:
        items = api.listed(resource.path(namespace))
    except ApiError as error:
        if error.status == FORBIDDEN:
            return None
        if error.status == NOT_FOUND:
            return []
        raise UsageError(f"list of {resource.plural}: {error}") from error
    version = resource.base.removeprefix("apis/").removeprefix("api/")
    return [Manifest({"apiVersion": version, "kind": kind[1], **item}, "") for item in items]


def _resources(
    api: Client, needed: Mapping[tuple[str, str], str], others: set[tuple[str, str]]
) -> Resources:
    """Return how the API server serves kinds: in git's version, otherwise in its preferred one."""
    versions = _preferred(api) if others else {}
    wanted: dict[tuple[str, str], str] = {
        **{kind: versions[kind[0]] for kind in others if kind[0] in versions},
        **needed,
    }
    bases = sorted(set(wanted.values()))
    served = together(lambda version: _served(api, version), bases)
    by_version = dict(zip(bases, served, strict=True))
    return {
        kind: by_version[version][kind[1]]
        for kind, version in wanted.items()
        if kind[1] in by_version[version]
    }


def _preferred(api: Client) -> dict[str, str]:
    """Return API group → its preferred version, like apps/v1."""
    groups = api.get("apis").get("groups") or ()
    found = {str(each["name"]): str(each["preferredVersion"]["groupVersion"]) for each in groups}
    return {"": "v1", **found}


def _served(api: Client, version: str) -> dict[str, Resource]:
    """Return the kinds of a version of a group, by kind; none if the server does not have it."""
    base = f"apis/{version}" if "/" in version else f"api/{version}"
    try:
        answer = api.get(base)
    except ApiError as error:
        if error.status in (NOT_FOUND, FORBIDDEN):
            return {}
        raise UsageError(f"{base}: {error}") from error
    return {
        str(each["kind"]): Resource(base, str(each["name"]), bool(each.get("namespaced")))
        for each in answer.get("resources") or ()
        if "/" not in str(each["name"])
    }


def _plurals(resources: Resources, kinds: Iterable[tuple[str, str]]) -> str:
    names = {f"{resources[kind].plural}{f'.{kind[0]}' if kind[0] else ''}" for kind in kinds}
    return joined(sorted(names))


def _no_permission(resources: Resources, kinds: Sequence[tuple[str, str]], namespace: str) -> str:
    return (
        f"the user of this context may not list {_plurals(resources, kinds)} in the namespace"
        f" {namespace}: bind a Role that allows get, list and patch on them (patch only for dry"
        " runs; docs/drift.md has the Role), or use another context"
    )


def get(api: Client, path: str) -> Object | int:
    """Return an object, or the status of the error: not found, or forbidden."""
    try:
        return api.get(path)
    except ApiError as error:
        if error.status in (FORBIDDEN, NOT_FOUND):
            return error.status
        raise UsageError(f"{path}: {error}") from error
