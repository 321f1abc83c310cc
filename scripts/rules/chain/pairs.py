"""Marus and the sequencers that they drive."""

from __future__ import annotations

from scripts.kubernetes.workloads import Workload
from scripts.rules.snapshot import Objects


def unpaired(objects: Objects) -> tuple[Workload, Workload] | None:
    """Return Marus and sequencers where there are not as many of each, what is patched first."""
    maru, sequencer = objects.component("maru"), objects.component("sequencer")
    if not maru or not sequencer or maru.most == sequencer.most:
        return None
    return (sequencer, maru) if sequencer.manifest.patches else (maru, sequencer)


def in_words(number: int) -> str:
    """Return a number of pods as people say it."""
    return "1 pod" if number == 1 else f"{number} pods"
