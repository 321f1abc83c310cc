"""Environments copied from another, for tests and benchmarks that need many."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import yaml

from scripts.network.keys import Key


def copy_environment(source: Path, target: Path, number: int) -> None:
    """Copy an overlay without its manifests, with a name, a namespace and a chain of its own."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("manifests"))
    file = target / "environment.yaml"
    text = file.read_text("utf-8").replace(f"name: {source.name}", f"name: {target.name}")
    file.write_text(text.replace(f"linea-{source.name}", f"linea-{target.name}"), "utf-8")
    network = target / "network.yaml"
    network.write_text(_another(network.read_text("utf-8"), number), "utf-8")


def _another(network: str, number: int) -> str:
    """Return network.yaml with validators of other keys, which nobody keeps, and a chain id."""
    for validator in yaml.safe_load(network)["network"]["validators"]:
        key, node = (_key(f"{number} {of} {validator['address']}") for of in ("Maru", "Besu"))
        new = {"address": key.address, "nodeId": node.node_id, "peerId": key.peer_id}
        for name, other in new.items():
            old = str(validator[name])
            network = network.replace(old, other).replace(old.lower(), other.lower())
    return re.sub(r'("chainId": )\d+', rf"\g<1>{1_500_000_000 + number}", network)


def _key(seed: str) -> Key:
    return Key.parse(hashlib.sha256(seed.encode()).hexdigest())
