"""Storage of backups: what writes backups and what reads them use the same bucket and chain."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.core import paths
from scripts.kubernetes import quantity
from scripts.kubernetes.containers import Container, known_value
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.quantity import shown
from scripts.kubernetes.workloads import mappings
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects

_SAME = (
    "BUCKET",
    "CHAIN",
    "RCLONE_CONFIG_S3_TYPE",
    "RCLONE_CONFIG_S3_PROVIDER",
    "RCLONE_CONFIG_S3_ENDPOINT",
    "RCLONE_CONFIG_S3_REGION",
)
"""Variables of chart/files/backup. A node may restore a backup of another folder (PREFIX)."""


@rule("docs/backups.md")
def backup_storage_differs(objects: Objects) -> Iterator[Problem]:
    """Backups, restores and drills of an environment use the same bucket, provider and chain.

    Otherwise a restore or a drill does not find the backups, or rejects them as those of another
    chain, and no one notices before a backup is needed.
    """
    users = [each for each in map(_variables, objects.containers) if "BUCKET" in each]
    for name in _SAME:
        values = [each[name] for each in users if name in each]
        texts = [text for text, _, _ in values]
        usual = max(texts, key=lambda text: (texts.count(text), text), default="")
        other = next((container for text, container, _ in values if text == usual), None)
        for text, container, path in values:
            if text != usual and other:
                manifest = container.workload.manifest
                message = (
                    f"{name} of the container {container.name} is {text}, but {usual} for the"
                    f" container {other.name} of {other.workload.manifest.label}: one does not find"
                    " the backups of the other"
                )
                yield Problem(manifest, path, message, f'write value: "{usual}" for {name}')


@rule("docs/backups.md")
def invalid_retention(objects: Objects) -> Iterator[Problem]:
    """How long and how many backups are kept are whole numbers.

    Otherwise the script of the backup fails, or deletes backups that should be kept.
    """
    for container in objects.containers:
        for name, (text, _, path) in _variables(container).items():
            if name.startswith("RETENTION_") and not text.isdecimal() and name != "RETENTION_KEEP":
                message = f"{name} of {container.workload.manifest.label} is {text}, not a whole"
                message += " number of at least 0: backups fail"
                fix = 'write the number in digits, for example value: "60"'
                yield Problem(container.workload.manifest, path, message, fix)


@rule("docs/backups.md")
def restore_volume_too_small(objects: Objects) -> Iterator[Problem]:
    """The volume to which a drill restores a backup is as large as the volume of the node.

    Otherwise it fills up, and the drill fails although the backup is complete.
    """
    besu = objects.component("besu")
    sizes = [
        quantity.parse(amount)
        for _, template in mappings(besu.get("spec", "volumeClaimTemplates") if besu else ())
        if (amount := paths.get(template, _STORAGE)) is not None
    ]
    wanted = max((size for size in sizes if size is not None), default=None)
    for container in objects.containers:
        target = _variables(container).get("TARGET_DIR", ("",))[0]
        for _, mount in container.mounts():
            if wanted is None or not target or mount.get("mountPath") != target:
                continue
            for place, volume in container.workload.volumes():
                path = ("ephemeral", "volumeClaimTemplate", *_STORAGE)
                amount = paths.get(volume, path)
                size = quantity.parse(amount) if amount is not None else None
                if volume.get("name") == mount.get("name") and size is not None and size < wanted:
                    manifest = container.workload.manifest
                    message = (
                        f"{manifest.label} restores a backup to a volume of {amount}, less than the"
                        " volume that is backed up: the drill fails once that is fuller"
                    )
                    fix = f"write storage: {shown('storage', wanted)}, the size of Besu's volume"
                    yield Problem(manifest, (*place, *path), message, fix)


_STORAGE = ("spec", "resources", "requests", "storage")


def _variables(container: Container) -> dict[str, tuple[str, Container, Where]]:
    """Return name → value, container, and path of the variables with a known value."""
    return {
        str(variable.get("name")): (value, container, (*path, "value"))
        for path, variable in container.variables()
        if (value := known_value(variable)) is not None
    }
