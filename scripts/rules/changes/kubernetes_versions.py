"""Kubernetes versions: API versions are there after the next upgrades, too."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from scripts.core.findings import Severity
from scripts.kubernetes import api_deprecations
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects

_REMOVED = api_deprecations.TABLE
"""API versions that go, by nox -s lock."""
_NEXT = 2
"""Minor versions of Kubernetes ahead: eight months."""


@rule("https://kubernetes.io/docs/reference/using-api/deprecation-guide/", Severity.WARNING)
def deprecated_api_version(objects: Objects) -> Iterator[Problem]:
    """An object's API version is there in the next two versions of Kubernetes, too.

    After the upgrade that removes it no sync works, and it is better to move before.
    """
    for manifest in objects.manifests:
        group, _, version = manifest.api_version.rpartition("/")
        if version.isalpha() or version[1:].isdigit():
            continue  # Only what is alpha or beta was ever removed.
        row = _removed().get((group, version, manifest.kind))
        now = _minor(objects.kubernetes_version)
        if row and now and 0 < _minor(row["removed"]) - now <= _NEXT:
            message = f"{manifest.api_version} of {manifest.label} is removed in Kubernetes"
            message += f" {row['removed']}, and {objects.name} has {objects.kubernetes_version}"
            instead = row.get("replacement")
            fix = f"write apiVersion: {instead}" if instead else "write a newer apiVersion"
            yield Problem(manifest, ("apiVersion",), message, fix)


@rule("https://kubernetes.io/releases/version-skew-policy/", Severity.WARNING)
def kubernetes_version_skipped(objects: Objects) -> Iterator[Problem]:
    """Kubernetes goes up by one minor version at a time, and never down.

    A cluster's control plane can't be upgraded otherwise, so that the environment would be checked
    against a version that its cluster does not have.
    """
    was, now = map(_minor, (objects.kubernetes_version_before, objects.kubernetes_version))
    if was and now and (now < was or now > was + 1):
        step = "goes down" if now < was else f"goes up by {now - was} minor versions at once"
        message = f"kubernetesVersion {step}, from {objects.kubernetes_version_before} to"
        message += f" {objects.kubernetes_version}: no cluster can do that"
        fix = f"write 1.{was + 1}, and upgrade again later" if now > was else f"leave it at 1.{was}"
        fix += f"; keep what is written where the cluster has 1.{now} already"
        yield Problem(objects.application, ("kubernetesVersion",), message, fix)


@lru_cache
def _removed() -> dict[api_deprecations.Key, dict[str, str]]:
    return api_deprecations.load(_REMOVED)


def _minor(version: str) -> int:
    """Return 34 of 1.34; 0 where it is none."""
    major, _, minor = version.partition(".")
    return int(minor) if major == "1" and minor.isdecimal() else 0
