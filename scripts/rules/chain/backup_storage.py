"""Storage of backups: what writes backups and what reads them use the same bucket and chain."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.kubernetes.containers import Container, known_value
from scripts.kubernetes.manifest import Where
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


def _variables(container: Container) -> dict[str, tuple[str, Container, Where]]:
    """Return name → value, container, and path of the variables with a known value."""
    return {
        str(variable.get("name")): (value, container, (*path, "value"))
        for path, variable in container.variables()
        if (value := known_value(variable)) is not None
    }
