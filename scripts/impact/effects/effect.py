"""An effect of a change, and how severe it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class Risk(IntEnum):
    """How severe an effect is, the worst first."""

    BLOCKED = 0
    """The API server rejects an object, so the change is not applied, or only in part."""
    DATA = 1
    """A volume, a key or the chain itself may be lost."""
    STOPS = 2
    """Blocks, JSON-RPC or a service stop for a while."""
    OPENS = 3
    """Someone gets access or permissions that they did not have."""
    WAITS = 4
    """A person must act before it continues."""
    RESTARTS = 5
    """Pods are replaced without an interruption."""
    COSTS = 6
    """It uses more of what costs money."""
    CHANGES = 7
    """Anything else."""


LABELS = {
    Risk.BLOCKED: ("⛔", "can't be applied"),
    Risk.DATA: ("💾", "data at risk"),
    Risk.STOPS: ("🛑", "interrupted"),
    Risk.OPENS: ("🔓", "opened"),
    Risk.WAITS: ("✋", "waits for a person"),
    Risk.RESTARTS: ("🔁", "restarts"),
    Risk.COSTS: ("💰", "costs more"),
    Risk.CHANGES: ("✏️", "changes"),
}
"""Risk → the sign and the words that a report shows for it."""


@dataclass(frozen=True, slots=True)
class Effect:
    """An effect of a change."""

    risk: Risk
    message: str
    """What happens to which object."""
    reason: str
    """Why: a clause that can follow "because"; empty if the message says it."""
    procedure: str = ""
    """What to do about it; empty if there is nothing to do."""
    objects: tuple[str, ...] = ()
    """Kind/name of the objects it is about."""


def listed(names: Sequence[str], most: int = 12) -> str:
    """Return names as in a sentence: a, b and c; if there are more than most: a, b and 7 more."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def verb(names: Sequence[str], singular: str, plural: str) -> str:
    """Return the singular for one name, otherwise the plural."""
    return singular if len(names) == 1 else plural
