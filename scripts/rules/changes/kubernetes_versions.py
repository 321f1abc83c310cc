"""Kubernetes versions: objects still work after the next upgrades."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from scripts.core import advice
from scripts.core.findings import Severity
from scripts.kubernetes import api_deprecations, minor_version
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects

_REMOVED = api_deprecations.TABLE
"""The removed API versions, which nox -s lock writes."""
_NEXT = 2
"""How many minor versions of Kubernetes to look ahead: eight months."""


@rule("https://kubernetes.io/docs/reference/using-api/deprecation-guide/", Severity.WARNING)
def deprecated_api_version(objects: Objects) -> Iterator[Problem]:
    """An object's API version still exists in the next two minor versions of Kubernetes.

    After the upgrade that removes it, every sync fails.
    """
    for manifest in objects.manifests:
        group, _, version = manifest.api_version.rpartition("/")
        if version.isalpha() or version[1:].isdigit():
            continue  # Only alpha and beta versions have ever been removed.
        row = _removed().get((group, version, manifest.kind))
        now = minor_version.number(objects.kubernetes_version)
        if row and now and 0 < minor_version.number(row["removed"]) - now <= _NEXT:
            message = f"{manifest.api_version} of {manifest.label} is removed in Kubernetes"
            message += f" {row['removed']}, and {objects.name} has {objects.kubernetes_version}:"
            message += " after that upgrade, every sync fails"
            replacement = row.get("replacement")
            none = (
                f"write an apiVersion of {manifest.kind} that Kubernetes {row['removed']} has; if"
            )
            none += " there is none, remove the object"
            fix = advice.write("apiVersion", replacement) if replacement else none
            yield Problem(manifest, ("apiVersion",), message, fix)


@rule("https://kubernetes.io/releases/version-skew-policy/", Severity.WARNING)
def kubernetes_version_skipped(objects: Objects) -> Iterator[Problem]:
    """The kubernetesVersion increases by one minor version at a time, and never decreases.

    A control plane can't be upgraded in another way, so the environment would be checked against a
    version that its cluster does not have.
    """
    was, now = map(
        minor_version.number, (objects.kubernetes_version_before, objects.kubernetes_version)
    )
    if was and now and (now < was or now > was + 1):
        step = "decreases" if now < was else f"increases by {now - was} minor versions at once"
        message = f"kubernetesVersion {step}, from {objects.kubernetes_version_before} to"
        reason = "can't be downgraded" if now < was else "upgrade one minor version at a time"
        message += f" {objects.kubernetes_version}: control planes {reason}"
        fix = f'write kubernetesVersion: "1.{was + 1}", and upgrade to the next version later'
        fix = fix if now > was else f'keep kubernetesVersion: "1.{was}"'
        fix += f"; if the cluster already has 1.{now}, ignore this warning"
        yield Problem(objects.application, ("kubernetesVersion",), message, fix)


@lru_cache
def _removed() -> dict[api_deprecations.Key, dict[str, str]]:
    return api_deprecations.load(_REMOVED)
