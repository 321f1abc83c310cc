"""Environments copied from another, for tests and benchmarks that need many."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path


def copy_environment(source: Path, target: Path, number: int) -> None:
    """Copy an overlay without its manifests, with a name, a namespace and a chain of its own."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("manifests"))
    file = target / "environment.yaml"
    text = file.read_text("utf-8").replace(f"name: {source.name}", f"name: {target.name}")
    file.write_text(text.replace(f"linea-{source.name}", f"linea-{target.name}"), "utf-8")
    network = target / "network.yaml"
    network.write_text(_another(network.read_text("utf-8"), number), "utf-8")


def _another(network: str, number: int) -> str:
    """Return network.yaml with other validators, which have no keys, and another chain id."""
    for old in re.findall(r"address: '(0x[0-9a-fA-F]{40})'", network):
        new = f"0x{hashlib.sha256(f'{number} {old}'.encode()).hexdigest()[:40]}"
        network = network.replace(old, new).replace(old.lower(), new)
    return re.sub(r'("chainId": )\d+', rf"\g<1>{10000 + number}", network)
