"""Backups: they contain complete nodes, and enough of them are kept."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.chain.node_config import BESU, MARU
from scripts.core import advice, paths
from scripts.core.findings import Severity
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.resilience import ZONE
from scripts.kubernetes.workloads import STATEFUL, mappings
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, once

_DATA = {BESU: "data-path", MARU: "persistence.data-path"}
_POD_LABEL = STATEFUL[0]
_LIMITS = ("RETENTION_DAYS", "RETENTION_DAILY", "RETENTION_WEEKLY")
"""Variables by which backups are deleted, if they are not 0."""


@rule("docs/backups.md")
def incomplete_backup(objects: Objects) -> Iterator[Problem]:
    """A backup clones a volume with the data of both Besu and Maru.

    A node starts only with data of both from the same moment. A backup of one of them fails, or
    can't be restored.
    """
    claims = _claims(objects)
    right = min((name for name, has in claims.items() if has == {BESU, MARU}), default="")
    for container, path, claim in _clones(objects):
        lacks = {BESU, MARU} - claims.get(claim, {BESU, MARU})
        if lacks and all(node.is_known for node in objects.programs):
            manifest = container.workload.manifest
            message = (
                f"{manifest.label} clones PersistentVolumeClaim/{claim}, which has no data of "
                f"{' or '.join(sorted(lacks))}: each backup fails"
            )
            fix = "clone the claim of a pod that runs both Besu and Maru"
            fix += f": write dataSource.name: {right}" if right else ""
            yield Problem(manifest, path, message, fix)


@rule("docs/backups.md")
def backup_in_wrong_zone(objects: Objects) -> Iterator[Problem]:
    """A backup runs in the zone of the pod whose volume it clones.

    A clone is in the zone of its source. In another zone the backup's pod stays Pending.
    """
    claims = _claims(objects)
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    for container, _, claim in _clones(objects):
        manifest = container.workload.manifest
        where: Where = (*container.workload.pod_path, "affinity", "podAffinity", required)
        terms = mappings(manifest.get(*where))
        named = [
            (index, paths.get(term, ["labelSelector", "matchLabels", _POD_LABEL]))
            for index, term in terms
        ]
        wanted = claim.partition("-")[2]
        if claim not in claims or wanted in [name for _, name in named]:
            continue
        for index, name in named:
            if name is not None:
                path = (*where, index, "labelSelector", "matchLabels", _POD_LABEL)
                message = (
                    f"{manifest.label} runs in the zone of pod {name}, but clones the volume of "
                    f"pod {wanted}: if their zones differ, the backup's pod stays Pending"
                )
                fix: str = advice.write(_POD_LABEL, wanted)
                yield Problem(manifest, path, message, fix)
                break
        else:
            if len(objects.zones) > 1:
                message = (
                    f"{manifest.label} may run in any zone, but clones the volume of pod {wanted}: "
                    "in another zone than that volume, the backup's pod stays Pending"
                )
                fix = (
                    f"add this item to podAffinity.{required}: {{topologyKey: {ZONE}, "
                    f"labelSelector: {{matchLabels: {{{_POD_LABEL}: {wanted}}}}}}}"
                )
                yield Problem(manifest, where, message, fix)


@rule("docs/backups.md", outcome=Outcome.RISK)
def backup_retention_deletes_last(objects: Objects) -> Iterator[Problem]:
    """A minimum number of backups is kept, whatever their age.

    Otherwise, if backups fail for long enough, the last good one is deleted.
    """
    for container in objects.containers:
        variables = _variables(container)
        keep, path = variables.get("RETENTION_KEEP", ("1", ()))
        is_limited = any(variables.get(name, "0")[0] != "0" for name in _LIMITS)
        if not keep.isdecimal() or (int(keep) < 1 and is_limited):
            none = "is 0: if no backup succeeds for long enough, all of them are deleted"
            wrong = none if keep.isdecimal() else f"is {keep}, which is not a number: backups fail"
            manifest = container.workload.manifest
            message = f"RETENTION_KEEP of {manifest.label} {wrong}"
            fix = (
                'write value: "8" (backup.retention.keep in the values): the 8 newest backups are '
                "then kept, whatever their age"
            )
            yield Problem(manifest, path, message, fix)


@rule("docs/backups.md", Severity.WARNING, outcome=Outcome.HIDDEN)
def retention_cuts_tiers(objects: Objects) -> Iterator[Problem]:
    """Backups of days and weeks are kept for as long as RETENTION_DAILY and _WEEKLY say.

    Otherwise they are deleted earlier because of their age: RETENTION_DAYS applies to all backups
    but the newest.
    """
    for container in objects.containers:
        variables = _variables(container)
        limits = {name: _number(variables.get(name, ("0", ()))[0]) for name in _LIMITS}
        days = limits["RETENTION_DAYS"]
        tiers = (("RETENTION_DAILY", 1, "days"), ("RETENTION_WEEKLY", 7, "weeks"))
        needed, name, unit = max((limits[name] * each, name, unit) for name, each, unit in tiers)
        if 0 < days < needed:
            message = (
                f"{name} of {container.workload.manifest.label} keeps backups for {limits[name]} "
                f"{unit}, but RETENTION_DAYS deletes them after {days} days"
            )
            fix = f'write value: "{needed}" or more for RETENTION_DAYS'
            fix += " (in the values: backup.retention.days)"
            path = variables["RETENTION_DAYS"][1]
            yield Problem(container.workload.manifest, path, message, fix)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _claims(objects: Objects) -> dict[str, set[str]]:
    """Return claim → programs whose data it has, for the pods that always exist."""
    programs: dict[str, set[str]] = {}
    for node in objects.nodes:
        setting = node.settings.get(_DATA[node.program])
        file = node.file(str(setting.value)) if setting else None
        if file is None or file.kind != "persistentVolumeClaim" or node.claim(file):
            continue
        for ordinal in node.workload.ordinals(least=True):
            claim = f"{file.name}-{node.workload.manifest.name}-{ordinal}"
            programs.setdefault(claim, set()).add(node.program)
    return programs


@once
def _clones(objects: Objects) -> Iterator[tuple[Container, Where, str]]:
    """Yield the containers that mount a clone of a volume, with the path and name of its source."""
    for container in objects.containers:
        mounted = [mount.get("name") for _, mount in container.mounts()]
        for place, volume in container.workload.volumes():
            path = ("ephemeral", "volumeClaimTemplate", "spec", "dataSource", "name")
            claim = paths.get(volume, path)
            if isinstance(claim, str) and volume.get("name") in mounted:
                yield container, (*place, *path), claim


def _variables(container: Container) -> dict[str, tuple[str, Where]]:
    """Return name → (value, its path) of the environment variables with a literal value."""
    return {
        str(variable.get("name")): (variable["value"], (*path, "value"))
        for path, variable in container.variables()
        if isinstance(variable.get("value"), str)
    }


@rule("docs/backups.md")
def backup_of_running_volume(objects: Objects) -> Iterator[Problem]:
    """A backup reads a clone of a node's volume, or the volume of a stopped node.

    The files of a running node change during the copy, so the backup is inconsistent. A volume that
    is attached to another Kubernetes node is not even mounted: the Job waits until its deadline.
    """
    claims = {
        f"{name}-{workload.manifest.name}-{ordinal}": workload
        for workload in objects.workloads
        if workload.manifest.kind == "StatefulSet"
        for _, name, _ in workload.claim_templates()
        for ordinal in workload.ordinals()
    }
    for workload in objects.workloads:
        if workload.manifest.kind != "CronJob":
            continue
        for path, volume in workload.volumes():
            claim = paths.get(volume, ["persistentVolumeClaim", "claimName"])
            if owner := claims.get(str(claim)):
                message = (
                    f"{workload.manifest.label} copies the volume claim {claim}, which a running"
                    f" pod of {owner.manifest.label} uses: the copy is inconsistent, or its pod"
                    " can't mount the volume"
                )
                fix = 'write backup.source.existingClaim: "", so that the volume is cloned'
                where = (*path, "persistentVolumeClaim", "claimName")
                yield Problem(workload.manifest, where, message, fix)
