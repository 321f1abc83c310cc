"""Compare the Secrets that people make with the keys and the chain that they must have."""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.chain import identity
from scripts.core import paths
from scripts.impact.compare.redaction import HIDDEN
from scripts.impact.report import FieldChange
from scripts.kubernetes.manifest import secrets
from scripts.live import cluster
from scripts.live.kubectl import Client
from scripts.live.report import ObjectDrift
from scripts.live.wanted import Wanted, chain_id

_MOST_BYTES = 64 * 1024


def compare(api: Client, wanted: Wanted, root: Path) -> tuple[list[ObjectDrift], list[str]]:
    """Return the Secrets that differ, and what was not compared. No value leaves this function.

    They are not in git: their names and keys come from the values, their chain from network.yaml,
    and their contents from .secrets/<env>/, if this machine has it.
    """
    used = {name for manifest in wanted.manifests for name in secrets(manifest.object)}
    listed = wanted.given.objects.get("Secret", {})
    expected = {name: keys for name, keys in listed.items() if name in used}
    base = f"api/v1/namespaces/{wanted.environment.namespace}/secrets"
    found = cluster.together(lambda name: cluster.get(api, f"{base}/{name}"), expected)
    differ, forbidden = list[ObjectDrift](), list[str]()
    for (name, keys), live in zip(expected.items(), found, strict=True):
        label, script = f"Secret/{name}", f".secrets/{wanted.environment.name}/create-secrets.sh"
        if live == cluster.FORBIDDEN:
            forbidden.append(name)
        elif live == cluster.NOT_FOUND:
            message = "pods that need it wait"
            if (root / script).is_file():
                message += f": sh {script} --context <context> creates it"
            differ.append(ObjectDrift(label, "missing", "", message))
        elif isinstance(live, dict) and (fields := tuple(_fields(root, wanted, name, keys, live))):
            message = "it was made by hand, so no sync repairs it"
            differ.append(ObjectDrift(label, "changed", "", message, fields))
    notes = []
    if forbidden:
        notes.append(
            "Secrets were not compared, because the user may not get them:"
            f" {', '.join(sorted(forbidden))}"
        )
    return differ, notes


def _fields(
    root: Path, wanted: Wanted, name: str, keys: tuple[str, ...], live: dict[str, Any]
) -> Iterator[FieldChange]:
    data = live.get("data") or {}
    folder = root / ".secrets" / wanted.environment.name / name
    for key in keys:
        own, path = _file(folder / key), f"data[{key}]"
        if not data.get(key):
            yield FieldChange(path, HIDDEN, None)
        elif own is not None and own != _decoded(data[key]):
            yield FieldChange(path, HIDDEN, HIDDEN)
    chain, label = _chain(wanted), paths.get(live, ["metadata", "labels", identity.CHAIN_LABEL])
    if chain and label and chain != label:
        yield FieldChange(f"metadata.labels[{identity.CHAIN_LABEL}]", chain, str(label))


def _chain(wanted: Wanted) -> str:
    """Return the label of the chain in network.yaml; empty without one."""
    values = wanted.environment.values
    validators = paths.get(values, ["network", "validators"]) or ()
    addresses = [str(paths.get(each, ["address"]) or "") for each in validators]
    number = chain_id(paths.get(values, ["genesis", "besu"]))
    if not addresses or not all(addresses) or number is None:
        return ""
    return identity.chain_label(addresses, number)


def _file(path: Path) -> bytes | None:
    """Return the bytes of a private file of this machine; None without one."""
    with contextlib.suppress(OSError):
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(opened, "rb") as file:
            return file.read(_MOST_BYTES)
    return None


def _decoded(text: object) -> bytes:
    with contextlib.suppress(binascii.Error, ValueError):
        return base64.b64decode(str(text), validate=True)
    return b""
