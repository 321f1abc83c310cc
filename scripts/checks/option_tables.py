"""The tables of the options of Besu and Maru: which one is for which image.

docs/configuration-keys.md says how each was made, and how to make one for another version.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType

from scripts.chain.version import release
from scripts.core.json_schema import read

BESU = MappingProxyType(
    {
        version: Path(__file__).with_name(f"besu-{version}.schema.json")
        for version in ("25.11.0", "26.8.0")
    }
)
"""Version of Besu → the table of its options; the oldest version first."""
BESU_OPEN = Path(__file__).with_name("besu-open.schema.json")
"""Options of Besu that are valid, but would open the node to everyone who reaches the port."""
MARU = Path(__file__).with_name("maru.schema.json")
MARU_TAG = "v1.2.1-20260410142843-d326b73"
"""The tag of the image that the table of Maru is for."""
MARU_COMMIT = MARU_TAG.rpartition("-")[2]
"""Its commit. Upstream's tags end with the commit of their image."""
BESU_GENESIS = Path(__file__).with_name("besu-genesis.schema.json")
MARU_GENESIS = Path(__file__).with_name("maru-genesis.schema.json")

_PAGE = "docs/configuration-keys.md"
_NUMBERS = 3
"""How many numbers a version of Besu has: year, month and patch."""
_RENAMED = 0.84
"""How alike two names are if one replaces the other: fast-sync-min-peers and sync-min-peers."""


def besu(tag: str) -> str:
    """Return the version whose table is used for an image of Besu with this tag.

    The newest version that is not above the tag's; the newest of all for a tag without a version.
    """
    own = _version(tag)
    known = [version for version in BESU if not own or _version(version) <= own]
    return known[-1] if known else next(iter(BESU))


def besu_with(name: str, tag: str) -> tuple[str, str] | None:
    """Return problem and fix for an option that another version has, and the tag's does not.

    None if no version has it.
    """
    own = besu(tag)
    others = [v for v, table in BESU.items() if v != own and name in read(table)["properties"]]
    if not others:
        return None
    near = get_close_matches(name, read(BESU[own])["properties"], 1, _RENAMED)
    message = f"Besu {own} does not start with the option {name}: only Besu {others[0]} has it"
    return message, f"write {near[0]} instead of {name}" if near else f"remove {name}"


def besu_missing(tag: str) -> tuple[str, str] | None:
    """Return problem and fix if the version of Besu in a tag has no table; otherwise None."""
    if any(_version(version) == _version(tag) for version in BESU):
        return None
    return _missing("Besu", tag, besu(tag))


def maru_missing(tag: str) -> tuple[str, str] | None:
    """Return problem and fix if the table of Maru is not for the image with this tag."""
    if tag.rpartition("-")[2] == MARU_COMMIT:
        return None
    return _missing("Maru", tag, MARU_TAG)


def _missing(name: str, tag: str, table: str) -> tuple[str, str]:
    image = f"{name} {tag}" if tag else f"an image of {name} without a tag"
    message = (
        f"scripts/checks has no table of the options of {image}, and checks them against {name} "
        f"{table} instead: {name} may reject or ignore options without an error here"
    )
    fix = f"write tag: {table}; to use another version, first add its table: {_PAGE}"
    return message, fix


def _version(tag: str) -> tuple[int, ...]:
    """Return the numbers of a version in a tag; an empty tuple if it has none."""
    found = release(f"besu:{tag}")
    return found.numbers if found and len(found.numbers) == _NUMBERS else ()
