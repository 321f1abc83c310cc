"""The flags of the JVMs in the images of Besu and Maru.

docs/configuration-keys.md says how the tables were made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from scripts.chain.version import release

_FIRST_WITH_25 = (25, 12, 0)
"""The first version of Besu whose image has Java 25: docker/Dockerfile of its tag. Maru's has it,
too (maru/docker/Dockerfile)."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag of a JVM, -XX:NAME=VALUE or -XX:+NAME."""

    type: str
    """As the JVM prints it: bool, ccstr (text), double, or one of the integers."""
    unlock: str
    """What unlocks it: Diagnostic or Experimental; empty if it needs nothing."""
    least: float | None = None
    most: float | None = None
    """The range of its value; None if the JVM has none."""


@dataclass(frozen=True, slots=True)
class Jvm:
    """A JVM and its flags."""

    version: str
    flags: Mapping[str, Flag]
    ignored: frozenset[str]
    """The flags of older JVMs that it ignores with a warning."""


def of_image(image: object) -> Jvm:
    """Return the JVM in an image of Besu or Maru; the newest one for an unknown version."""
    found = release(image)
    is_old = found and found.name == "besu" and found.numbers < _FIRST_WITH_25
    return _read(21 if is_old else 25)


@lru_cache
def _read(major: int) -> Jvm:
    data = json.loads(Path(__file__).with_name(f"jvm-{major}.json").read_text("utf-8"))
    flags = {name: _flag(*parts) for name, parts in data["flags"].items()}
    return Jvm(data["version"], flags, frozenset(data["ignored"]))


def _flag(kind: str, unlock: str, least: str = "", most: str = "") -> Flag:
    bounds = [float(text) if text else None for text in (least, most)]
    return Flag(kind, unlock.capitalize(), *bounds)
