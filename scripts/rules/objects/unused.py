"""Unused objects: every ConfigMap and ServiceAccount of an environment is used there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scripts.core import paths
from scripts.core.findings import Severity
from scripts.kubernetes import containers
from scripts.kubernetes.manifest import Manifest
from scripts.kubernetes.workloads import mappings
from scripts.rules import named_objects
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_CONFIG_MAPS = "https://kubernetes.io/docs/concepts/configuration/configmap/"


@rule(_CONFIG_MAPS, Severity.WARNING, outcome=Outcome.HIDDEN)
def unused_config_map(objects: Objects) -> Iterator[Problem]:
    """Every ConfigMap is used by another object of the environment.

    Otherwise a change to it has no effect, and a reader takes its values for those in use.
    """
    used = {mention.name for mention in objects.once(named_objects.by_kind).get("ConfigMap", ())}
    for manifest in objects.of_kind("ConfigMap"):
        if manifest.name not in used and not _is_found_by_label(manifest):
            others = (other.object for other in objects.manifests if other is not manifest)
            if not any(_contains(other, manifest.name) for other in others):
                message = f"no object uses {manifest.label}: changes to it have no effect"
                fix = f"remove {manifest.label}; if a program needs its data, mount it as a volume"
                yield Problem(manifest, ("metadata", "name"), message, fix)


def _is_found_by_label(manifest: Manifest) -> bool:
    """Return whether a program, such as Grafana's sidecar, may look for its labels."""
    return any(
        not str(name).startswith(("app.kubernetes.io/", "helm.sh/")) for name in manifest.labels
    )


def _contains(part: Any, name: str) -> bool:
    """Return whether a string anywhere in an object contains a name."""
    if isinstance(part, dict):
        return any(_contains(value, name) for value in part.values())
    if isinstance(part, list):
        return any(_contains(item, name) for item in part)
    return isinstance(part, str) and name in part


@rule(
    "https://kubernetes.io/docs/concepts/security/service-accounts/",
    Severity.WARNING,
    outcome=Outcome.HIDDEN,
)
def unused_service_account(objects: Objects) -> Iterator[Problem]:
    """Every ServiceAccount is used by pods or by a SecretStore.

    Otherwise the pods that should use it run as `default`, without its RBAC roles and its IAM role.
    """
    used = {
        mention.name for mention in objects.once(named_objects.by_kind).get("ServiceAccount", ())
    }
    syncs = paths.get(objects.project.object, ["spec", "destinationServiceAccounts"])
    used |= {str(entry.get("defaultServiceAccount")) for _, entry in mappings(syncs)}
    for manifest in objects.of_kind("ServiceAccount"):
        if manifest.name not in used:
            message = f"no pod or SecretStore uses {manifest.label}: its rights have no effect"
            fix = (
                f"write serviceAccountName: {manifest.name} in the pods that need its rights; if"
                f" none do, remove {manifest.label}"
            )
            yield Problem(manifest, ("metadata", "name"), message, fix)


@rule("docs/chain.md")
def script_never_run(objects: Objects) -> Iterator[Problem]:
    """A container that mounts start.sh, or a script named after it, runs it.

    Without its command, a container runs the program of its image with that program's defaults.
    """
    known = {each.name: each.get("data") for each in objects.of_kind("ConfigMap")}
    for workload in objects.makers:
        volumes = {
            str(volume.get("name")): known.get(str(paths.get(volume, ["configMap", "name"])))
            for _, volume in workload.volumes()
        }
        for container in containers.of(workload):
            words = " ".join(str(word) for _, word in container.words())
            for _, mount in container.mounts():
                files = volumes.get(str(mount.get("name")))
                own = {"start.sh", f"{container.name}.sh"}
                scripts = own & set(files if isinstance(files, dict) else ())
                if scripts and ".sh" not in words:
                    script = f"{str(mount.get('mountPath')).rstrip('/')}/{min(scripts)}"
                    message = (
                        f"the container {container.name} of {workload.manifest.label} mounts"
                        f" {script}, but runs no script: its image's own program runs instead"
                    )
                    path = (*container.path, "command")
                    fix = f"write command: [/bin/sh, {script}]"
                    yield Problem(workload.manifest, path, message, fix)
