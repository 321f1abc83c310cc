"""How often a chain makes a block, as its genesis says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from scripts.chain.node_config import MARU, Node
from scripts.core import paths


def seconds_between(nodes: Iterable[Node]) -> int:
    """Return the most seconds between two blocks; 0 if they are unknown."""
    return max(_block_times(nodes), default=0)


def _block_times(nodes: Iterable[Node]) -> Iterator[int]:
    """Yield blockTimeSeconds of the last fork in each genesis of a Maru."""
    files = [node.text("genesis-file") for node in nodes if node.program == MARU]
    for text in {file[2] for file in files if file}:
        try:
            data = json.loads(text)
        except ValueError:
            continue  # another check reports it
        forks = paths.get(data, ["config"])
        known = [key for key in forks if key.isdecimal()] if isinstance(forks, dict) else []
        seconds = paths.get(forks, [max(known, key=int, default=""), "blockTimeSeconds"])
        if isinstance(seconds, int):
            yield seconds
