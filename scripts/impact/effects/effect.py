"""What comes of a change, and how bad it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class Risk(IntEnum):
    """How bad it is, the worst first."""

    BLOCKED = 0
    """Nothing of the change is applied."""
    DATA = 1
    """A volume, a key or the chain itself may be lost."""
    STOPS = 2
    """Blocks, JSON-RPC or a service stop for a while."""
    OPENS = 3
    """Somebody reaches, or may do, what they could not."""
    WAITS = 4
    """A person has to do something before it goes on."""
    RESTARTS = 5
    """Pods are replaced, and what they do goes on."""
    COSTS = 6
    """It takes more of what is paid for."""
    CHANGES = 7
    """Anything else."""


CALLED = {
    Risk.BLOCKED: ("⛔", "can't be applied"),
    Risk.DATA: ("💾", "data at risk"),
    Risk.STOPS: ("🛑", "interrupted"),
    Risk.OPENS: ("🔓", "opened"),
    Risk.WAITS: ("✋", "waits for a person"),
    Risk.RESTARTS: ("🔁", "restarts"),
    Risk.COSTS: ("💰", "costs more"),
    Risk.CHANGES: ("✏️", "changes"),
}
"""Risk → what people see of it: a sign, and words."""


@dataclass(frozen=True, slots=True)
class Consequence:
    """Something that comes of a change."""

    risk: Risk
    message: str
    reason: str
    procedure: str = ""
    """What to do about it; empty for nothing."""
    objects: tuple[str, ...] = ()
    """Kind/name of those it is about."""


def listed(names: Sequence[str], most: int = 12) -> str:
    """Return names as a sentence has them: a, b and c; of more than most, those and how many."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def verb(names: Sequence[str], one: str, more: str) -> str:
    """Return the form of a verb that goes with so many names."""
    return one if len(names) == 1 else more
