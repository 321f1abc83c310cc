"""Unused objects: what is in an environment has a use there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scripts.core import paths
from scripts.core.findings import Severity
from scripts.kubernetes.manifest import Manifest
from scripts.kubernetes.workloads import mappings
from scripts.rules import named_objects
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_CONFIG_MAPS = "https://kubernetes.io/docs/concepts/configuration/configmap/"


@rule(_CONFIG_MAPS, Severity.WARNING, outcome=Outcome.HIDDEN)
def unused_config_map(objects: Objects) -> Iterator[Problem]:
    """A ConfigMap is used by something of the environment.

    Else a change of it changes nothing, whatever it seems to say.
    """
    used = {mention.name for mention in objects.once(named_objects.by_kind).get("ConfigMap", ())}
    for manifest in objects.of_kind("ConfigMap"):
        if manifest.name not in used and not _for_others(manifest):
            others = (one.object for one in objects.manifests if one is not manifest)
            if not any(_says(other, manifest.name) for other in others):
                message = f"nothing of this environment uses {manifest.label}: it has no effect"
                fix = "remove it, or mount it where it was meant to be"
                yield Problem(manifest, ("metadata", "name"), message, fix)


def _for_others(manifest: Manifest) -> bool:
    """Return whether it has a label by which a program, like Grafana's sidecar, may find it."""
    return any(
        not str(name).startswith(("app.kubernetes.io/", "helm.sh/")) for name in manifest.labels
    )


def _says(part: Any, name: str) -> bool:
    """Return whether a text in an object has a name in it."""
    if isinstance(part, dict):
        return any(_says(value, name) for value in part.values())
    if isinstance(part, list):
        return any(_says(item, name) for item in part)
    return isinstance(part, str) and name in part


@rule(
    "https://kubernetes.io/docs/concepts/security/service-accounts/",
    Severity.WARNING,
    outcome=Outcome.HIDDEN,
)
def unused_service_account(objects: Objects) -> Iterator[Problem]:
    """A ServiceAccount is used by pods or by a SecretStore.

    Else those that it was made for act as `default`, without the rights that it has.
    """
    used = {
        mention.name for mention in objects.once(named_objects.by_kind).get("ServiceAccount", ())
    }
    syncs = paths.get(objects.project.object, ["spec", "destinationServiceAccounts"])
    used |= {str(one.get("defaultServiceAccount")) for _, one in mappings(syncs)}
    for manifest in objects.of_kind("ServiceAccount"):
        if manifest.name not in used:
            message = f"nothing acts as {manifest.label}: what it was made for acts as `default`"
            fix = "write it as serviceAccountName of the pods, or remove it"
            yield Problem(manifest, ("metadata", "name"), message, fix)
