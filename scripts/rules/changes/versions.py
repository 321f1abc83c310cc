"""Versions: an older Besu or Maru opens the data of a newer one only if that is intended."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.chain import node_config
from scripts.chain.node_config import Node, Setting
from scripts.chain.version import Release, release
from scripts.core.findings import Severity
from scripts.kubernetes.workloads import workloads
from scripts.rules import chart_values
from scripts.rules.changes.compared import templates
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects

PROTECTION = "version-compatibility-protection"
_GUARD = (
    "https://github.com/hyperledger/besu/blob/25.11.0/ethereum/core/src/main/java/org/hyperledger/"
    "besu/ethereum/core/VersionMetadata.java"
)
_PAGE = "docs/upgrades.md"


@rule(_GUARD)
def besu_downgraded(objects: Objects) -> Iterator[Problem]:
    """A Besu that has data is not replaced by an older version.

    Besu writes its version to its data folder, and an older version does not start with it: each
    pod that the rollout reaches stays down.
    """
    for node, old, new in _older(objects, node_config.BESU):
        if _is_unprotected(node):
            continue
        message = (
            f"{_name(node)} changes from Besu {old.shown} to {new.shown}, which does not start "
            f"with the data of {old.shown}"
        )
        keep = chart_values.image(objects, node.container, old.tag)
        key, argument = chart_values.section(node.container), f"--{PROTECTION}=false"
        where = f"{key}.extraArgs" if key else f"args of the container {node.container_name}"
        fix = keep + f"; to go back on purpose, add {argument} to {where} for one rollout: {_PAGE}"
        yield Problem(node.workload.manifest, (*node.container.path, "image"), message, fix)


@rule(_PAGE, Severity.WARNING)
def maru_downgraded(objects: Objects) -> Iterator[Problem]:
    """A Maru that has data is not replaced by an older version.

    Maru does not check which version wrote its data, and an older version may be unable to read it.
    """
    for node, old, new in _older(objects, node_config.MARU):
        message = (
            f"{_name(node)} changes from Maru {old.shown} to {new.shown}, which may be unable to "
            f"read the data of {old.shown}"
        )
        keep = chart_values.image(objects, node.container, old.tag)
        fix = keep + f"; to go back on purpose, try it first in another environment: {_PAGE}"
        yield Problem(node.workload.manifest, (*node.container.path, "image"), message, fix)


@rule(_GUARD, Severity.WARNING)
def downgrade_protection_off(objects: Objects) -> Iterator[Problem]:
    """Besu checks when it starts that no newer version has written its data.

    Turn this check off only for one rollout to an older version. If it stays off, an accidental
    downgrade later opens data that the older version may not understand.
    """
    if not objects.programs:
        return
    going_back = {_key(node) for node, *_ in _older(objects, node_config.BESU)}
    for node in objects.programs:
        if node.program == node_config.BESU and _is_unprotected(node):
            if _key(node) in going_back:
                continue
            setting = node.settings[PROTECTION]
            message = (
                f"{setting.called} of the container {node.name} is false: Besu starts even if a "
                "newer version has written its data"
            )
            key, where = chart_values.section(node.container), setting.manifest.label
            if key and setting.manifest is node.workload.manifest:
                values = "extraArgs" if setting.called.startswith("--") else "extraEnv"
                where = f"{key}.{values} in {chart_values.file(objects)}"
            fix = f"once all pods have started, remove {setting.called} from {where}"
            yield Problem(*node.place(setting), message, fix)


def _older(objects: Objects, program: str) -> Iterator[tuple[Node, Release, Release]]:
    """Yield the nodes with a volume that get an older version, with the old and new version."""
    old = {_key(node): release(node.container.data.get("image")) for node in _nodes_before(objects)}
    for node in objects.programs if old else ():
        was, now = old.get(_key(node)), release(node.container.data.get("image"))
        keeps_data = node.program == program and templates(node.workload.manifest)
        if keeps_data and was and now and now.is_older_than(was):
            yield node, was, now


def _nodes_before(objects: Objects) -> list[Node]:
    if not any(old.kind == "StatefulSet" for old, _ in objects.changed):
        return []
    maps = [old for old in objects.old if old.kind == "ConfigMap"]
    return node_config.nodes(workloads(objects.old), maps)


def _key(node: Node) -> tuple[str, str]:
    return node.workload.manifest.label, node.container_name


def _name(node: Node) -> str:
    return f"the container {node.container_name} of {node.workload.manifest.label}"


def _is_unprotected(node: Node) -> bool:
    setting: Setting | None = node.settings.get(PROTECTION)
    return setting is not None and str(setting.value).lower() == "false"
